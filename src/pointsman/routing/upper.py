"""The most that an attempt can use and cost: what strict budgets set aside before it is made.

Theory. An estimate that holds on average lets a budget be overspent by half of the requests, so
what is set aside is a bound. Text: a byte-level tokeniser makes no more tokens than bytes; to them
come what templates put around messages and what a provider says of its own about tools. Output:
what the request allows (and is made to state), for each of its choices. What has no bound of its
own (files; a provider that acts: searches, and reads what it finds) is bounded by the context
window, once for each of its turns. All of the input may be of the dearest kind that the request
can cause: written to a cache, heard, seen. A price with steps is the dearest of those in reach.

Not bounded: a provider that serves in a dearer tier than was asked for (an account's own default),
bills what its price list does not say, or adds more text of its own than PREAMBLE. Then what it
reports is recorded as it is, and stands above the limit in the open (`over`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import structs
from msgspec.structs import replace

from pointsman.domain.deployment import Deployment
from pointsman.domain.money import MILLION, MOST_NANO
from pointsman.domain.usage import Price, Rates, Usage
from pointsman.routing.signals import DeploymentState, RequestFeatures

UNSTATED_OUTPUT: Final = 4096
"""Longest answer assumed where neither the client nor the deployment states one."""

UNSTATED_CONTEXT: Final = 2_097_152
"""Where a deployment states no window: above the widest on any list of November 2026."""

PREAMBLE: Final = 64
"""Tokens a template puts around all messages: beginning, date, the assistant's turn."""

TOOLS_PREAMBLE: Final = 1_024
"""What a provider says to a model about tools or a schema: Anthropic lists 159 to 530, and up to
700 for its own tools (platform.claude.com/docs: tool use, pricing; 2026-11)."""

IMAGE_BOUNDS: Final[tuple[tuple[str, int], ...]] = (
    ("claude", 5_000),
    ("gemini-3", 2_300),
    ("gemini-4", 2_300),
)
"""The most tokens of an image, by what a model's name contains: Anthropic's 4,784 of a large one,
Gemini's 2,240 at its highest resolution (both providers' vision pages, 2026-11)."""

IMAGE_BOUND: Final = 65_536
"""Of any other model. OpenAI's gpt-4o-mini counts up to 48,169 for one (2,833 + 8 * 5,667); its
models of 2026 count patches of 32 pixels, some 14,400 for 12 megapixels, and state no end."""

LEFT_TOKENS: Final = 256
"""What a provider may have made of a choice when it sees that its stream was left, beyond what has
arrived: a second or more of the fastest of those that stop (our own placement)."""

UNSEEN: Final = frozenset({"reasoning", "audio"})
"""Capabilities of models whose answers may cost what their text does not show."""

LINES: Final = 11
"""Lines of a bill, each rounded up on its own."""


def model_tokens(features: RequestFeatures, state: DeploymentState) -> int:
    """Input tokens as this model counts them."""
    scale = state.token_scale
    tokens = features.input_tokens
    return tokens if scale == 1.0 else int(tokens * scale) + 1


def longest_answer(features: RequestFeatures, deployment: Deployment) -> int:
    """The most tokens one answer can have: what the client allows, else the deployment's default,
    else its limit, else UNSTATED_OUTPUT; never above its limit. Embeddings have none."""
    if "embeddings" in features.needs:
        return 0
    limit = deployment.limits.output_tokens
    stated = features.max_output_tokens or deployment.default_max_tokens
    if stated is None:
        return UNSTATED_OUTPUT if limit is None else limit
    return stated if limit is None else min(stated, limit)


def image_bound(model: str) -> int:
    """The most tokens that `model` counts for an image."""
    name = model.lower()
    return next((most for part, most in IMAGE_BOUNDS if part in name), IMAGE_BOUND)


def upper_usage(features: RequestFeatures, deployment: Deployment, state: DeploymentState) -> Usage:
    """The most that an attempt can use: each count is one that it cannot exceed, parts in their
    wholes, and `tier` the dearest it may be served in. Where the features bound no input (they
    were not read from a request), the estimate stands for it."""
    more = features.besides
    context = deployment.limits.context_tokens or UNSTATED_CONTEXT
    text = features.upper_tokens
    seen = more.images * image_bound(deployment.model) if more.images else 0
    if text is None:
        given = model_tokens(features, state)
    else:
        given = (
            max(text, features.sent_bytes)
            + PREAMBLE
            + (TOOLS_PREAMBLE if more.has_tools else 0)
            + seen
            + more.sound
        )
    if more.is_open:
        given = max(given, context) * (1 + more.searches)
    output = longest_answer(features, deployment)
    if not deployment.billing.limit_covers_reasoning and "reasoning" in deployment.capabilities:
        output = max(output, deployment.limits.output_tokens or context)
    return Usage(
        input=given,
        output=output * more.choices * (1 + more.searches),
        audio_input=more.sound,
        image_input=seen,
        searches=more.searches,
        tier=more.tier,
    )


def worst_cost(
    features: RequestFeatures, deployment: Deployment, state: DeploymentState
) -> int | None:
    """The most that an attempt can cost in nano-USD; None where the price is unknown."""
    price = deployment.price
    if price is None:
        return None
    return _dearest_of(features, deployment, price, upper_usage(features, deployment, state))


def left_cost(
    features: RequestFeatures, deployment: Deployment, state: DeploymentState, seen_bytes: int
) -> int | None:
    """The most that a stream costs that was left after `seen_bytes` of content, in nano-USD.

    A token is at least a byte, so its provider made no more than that many and those on their way.
    None where what was seen bounds nothing: the provider goes on or nobody says whether it stops,
    the model may think, speak or act unseen, or the price is unknown.
    """
    price, more = deployment.price, features.besides
    if price is None or deployment.billing.on_cancel != "stops" or more.is_open or more.is_unseen:
        return None
    if not UNSEEN.isdisjoint(deployment.capabilities) or "reasoning" in features.needs:
        return None
    most = upper_usage(features, deployment, state)
    made = seen_bytes + LEFT_TOKENS * more.choices
    return _dearest_of(features, deployment, price, replace(most, output=min(most.output, made)))


def _dearest_of(
    features: RequestFeatures, deployment: Deployment, price: Price, most: Usage
) -> int:
    is_marked = features.besides.caches
    # Anthropic caches what is marked; others write to a cache when they like.
    may_write = bool(is_marked) or deployment.dialect != "anthropic"
    return dearest(price, most, may_write=may_write, for_an_hour=is_marked == "1h")


def dearest(price: Price, most: Usage, *, may_write: bool = True, for_an_hour: bool = True) -> int:
    """The most that any usage within `most` costs by the list."""
    # Files and what a provider finds may be heard or seen as well: `most` then has no such parts,
    # and they are priced as text, but where a part of that kind was sent.
    worst = 0
    given, heard, seen = most.input, most.audio_input, most.image_input
    for top in _ceilings(price, most.tier, may_write, for_an_hour):
        if given > top.above or top.above < 0:
            cost = given * top.plain + most.output * top.output
            if heard or seen:
                cost += heard * (top.heard - top.plain) + seen * (top.seen - top.plain)
            cost = -(-cost // MILLION) + top.slack
            if cost > worst:
                worst = cost
    worst += most.searches * price.search_nano + price.request_nano
    return min(worst, MOST_NANO)


class _Ceiling(msgspec.Struct, frozen=True, gc=False):
    """The dearest rates above so many tokens of input (-1: always), and what the rounding of the
    lines may add, in nano-USD."""

    above: int
    plain: int
    heard: int
    seen: int
    output: int
    slack: int


_KNOWN: dict[tuple[int, str, bool, bool], tuple[Price, tuple[_Ceiling, ...]]] = {}
"""Ceilings by the identity of their price: every decision asks for them, and prices are few."""

_MOST_KNOWN: Final = 10_000


def _ceilings(price: Price, tier: str, may_write: bool, for_an_hour: bool) -> tuple[_Ceiling, ...]:
    key = (id(price), tier, may_write, for_an_hour)
    known = _KNOWN.get(key)
    if known is not None and known[0] is price:
        return known[1]
    ceilings = tuple(
        _ceiling(above, rates, may_write, for_an_hour) for above, rates in _lists(price, tier)
    )
    if len(_KNOWN) >= _MOST_KNOWN:  # Generations of configurations, each with prices of its own.
        _KNOWN.clear()
    _KNOWN[key] = price, ceilings
    return ceilings


def _lists(price: Price, tier: str) -> Iterator[tuple[int, Rates]]:
    """Every set of rates that may be charged: of the tier asked for, and of the standard one,
    which a provider falls back to."""
    for each in dict.fromkeys(("", tier)):
        lane = price.lane(each)
        if lane is not None:
            yield -1, lane[0]
            yield from lane[1]


def _ceiling(above: int, rates: Rates, may_write: bool, for_an_hour: bool) -> _Ceiling:
    plain = max(rates.input, rates.cached)
    if may_write:
        plain = max(plain, rates.cache_write)
    if for_an_hour:
        plain = max(plain, rates.cache_write_1h)
    every = [rate for rate in structs.astuple(rates) if rate is not None]
    return _Ceiling(
        above=above,
        plain=plain,
        heard=max(plain, rates.audio_input or 0, rates.audio_cached or 0),
        seen=max(plain, rates.image_input or 0),
        output=rates.dearest_output,
        # Each of the lines that the bill may have is rounded up.
        slack=LINES - 1 if any(rate % MILLION for rate in every) else 0,
    )
