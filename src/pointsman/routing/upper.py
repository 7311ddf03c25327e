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
    most = upper_usage(features, deployment, state)
    is_marked = features.besides.caches
    # Anthropic caches what is marked; others write to a cache when they like.
    may_write = bool(is_marked) or deployment.dialect != "anthropic"
    return dearest(price, most, may_write=may_write, for_an_hour=is_marked == "1h")


def dearest(price: Price, most: Usage, *, may_write: bool = True, for_an_hour: bool = True) -> int:
    """The most that any usage within `most` costs by the list."""
    # Files and what a provider finds may be heard or seen as well: `most` then has no such parts,
    # and they are priced as text, but where a part of that kind was sent.
    worst = 0
    for rates in _in_reach(price, most):
        plain = max(rates.input, rates.cached)
        if may_write:
            plain = max(plain, rates.cache_write)
        if for_an_hour:
            plain = max(plain, rates.cache_write_1h)
        heard = max(plain, rates.audio_input or 0, rates.audio_cached or 0)
        seen = max(plain, rates.image_input or 0)
        rest = most.input - most.audio_input - most.image_input
        cost = (
            rest * plain
            + most.audio_input * heard
            + most.image_input * seen
            + most.output * rates.dearest_output
        )
        # Each of the lines that the bill may have is rounded up.
        slack = LINES - 1 if _rounds(rates) else 0
        worst = max(worst, -(-cost // MILLION) + slack)
    worst += most.searches * price.search_nano + price.request_nano
    return min(worst, MOST_NANO)


def _in_reach(price: Price, most: Usage) -> Iterator[Rates]:
    """Every set of rates that usage within `most` may be charged by."""
    lanes = {id(lane): lane for tier in ("", most.tier) if (lane := price.lane(tier)) is not None}
    for rates, steps in lanes.values():
        yield rates
        for above, stepped in steps:
            if most.input > above:
                yield stepped


def _rounds(rates: Rates) -> bool:
    """May a line of these rates have a part of a nano-USD?"""
    return any(
        rate % MILLION
        for rate in (
            *(rates.input, rates.output, rates.cached, rates.cache_write, rates.cache_write_1h),
            *(rates.reasoning or 0, rates.audio_input or 0, rates.audio_cached or 0),
            *(rates.audio_output or 0, rates.image_input or 0, rates.image_output or 0),
        )
    )
