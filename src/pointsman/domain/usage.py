"""What an attempt used, and what that costs.

Theory. A provider's bill is a sum of lines: so many of one kind of token at one rate, so many
searches at one fee. `Usage` has a count for each kind, `Rates` a rate for it, and no token is in
two lines: parts are taken out of their whole before it is priced. Each line is rounded up once.
Amounts are bounded (`MOST_NANO`), so that no report of a provider, however absurd, is a credit or
more than a ledger can add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from pointsman.domain.money import MOST_NANO, line_cost

FLAGS: Final[Mapping[str, str]] = {
    "insane": "a count was negative, no integer or above 2^53: the report was not used",
    "too_large": "more than the request can have used: held to the most that it can",
    "parts_clamped": "a part was larger than its whole, and was cut to it",
    "total_mismatch": "the total is not the sum of its parts: the parts count",
    "tier_unpriced": "served in a tier that the price does not list: charged as standard",
    "cost_insane": "the provider's own figure for the cost made no sense: the price counts",
}
"""What can be wrong with a report. All of them are logged as `usage.odd`, the first two and the
last as `usage.insane`."""

ALARMING: Final = frozenset({"insane", "too_large", "cost_insane"})


class Usage(msgspec.Struct, frozen=True, gc=False):
    """What one attempt used, normalised over providers.

    `cached`, `cache_write` and `cache_write_1h` are parts of `input`; `reasoning` is a part of
    `output`. (OpenAI counts so; Anthropic's `input_tokens` leave the cache out, and its dialect
    adds them.) So are `audio_input`, `image_input` and `audio_output`, `image_output`;
    `audio_cached` is a part of both `cached` and `audio_input`. `searches` are web searches, each
    with a fee. `tier` is the lane it was served in, "" for the standard one. `told_nano` is what
    the provider itself says that it cost, in nano-USD. `estimated` says that the provider did not
    report all of it and we counted ourselves. `flags` are keys of FLAGS.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    estimated: bool = False
    audio_input: int = 0
    audio_cached: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_output: int = 0
    searches: int = 0
    tier: str = ""
    told_nano: int | None = None
    flags: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        return self.input + self.output


NO_USAGE = Usage()

INSANE = Usage(estimated=True, flags=("insane",))
"""What a dialect gives for a report that makes no sense: it says nothing but that it was there."""


def filled(told: Usage | None, estimate: Usage, *, is_final: bool = True) -> Usage:
    """What an attempt used, where its provider may not have had the last word.

    1. it said nothing: our estimate; 2. nothing that makes sense: the estimate, with the flag;
    3. all of it: that; 4. its beginning (`is_final` False, or counted as estimated): what it said
    of the input, and of the output the longer of what it said and what was seen.
    """
    if told is None:
        return estimate
    if told.estimated and "insane" in told.flags and not told.input:
        return replace(estimate, flags=told.flags, tier=told.tier)
    if is_final and not told.estimated:
        return told
    return replace(told, output=max(told.output, estimate.output), told_nano=None, estimated=True)


def summed(first: Usage, second: Usage) -> Usage:
    """Both together, as of an answer that two attempts gave."""
    told = None
    if first.told_nano is not None and second.told_nano is not None:
        told = first.told_nano + second.told_nano
    return Usage(
        input=first.input + second.input,
        output=first.output + second.output,
        cached=first.cached + second.cached,
        cache_write=first.cache_write + second.cache_write,
        cache_write_1h=first.cache_write_1h + second.cache_write_1h,
        reasoning=first.reasoning + second.reasoning,
        estimated=first.estimated or second.estimated,
        audio_input=first.audio_input + second.audio_input,
        audio_cached=first.audio_cached + second.audio_cached,
        audio_output=first.audio_output + second.audio_output,
        image_input=first.image_input + second.image_input,
        image_output=first.image_output + second.image_output,
        searches=first.searches + second.searches,
        tier=second.tier,
        told_nano=told,
        flags=tuple(dict.fromkeys(first.flags + second.flags)),
    )


class Rates(msgspec.Struct, frozen=True):
    """Prices in nano-USD per million tokens of each kind. None: as the whole it is a part of
    (sound that was cached as other cached input)."""

    input: int
    output: int
    cached: int
    cache_write: int
    cache_write_1h: int
    reasoning: int | None = None
    audio_input: int | None = None
    audio_cached: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_output: int | None = None

    @classmethod
    def of(
        cls,
        input: int,
        output: int,
        cached: int | None = None,
        cache_write: int | None = None,
        cache_write_1h: int | None = None,
        **parts: int | None,
    ) -> Rates:
        """Fill in what a list leaves out: cached tokens cost as much as plain input."""
        write = input if cache_write is None else cache_write
        if cached is None and parts.get("audio_cached") is None:
            parts["audio_cached"] = parts.get("audio_input")  # Nothing is cheaper for being cached.
        return cls(
            input,
            output,
            input if cached is None else cached,
            write,
            write if cache_write_1h is None else cache_write_1h,
            **parts,
        )

    def cost(self, usage: Usage) -> int:
        """Cost of `usage` in nano-USD, each line rounded up."""
        rest = usage.input - usage.cached - usage.cache_write - usage.cache_write_1h
        cached, output, cost = usage.cached, usage.output, 0
        if usage.audio_input and self.audio_input is not None:
            kept = usage.audio_cached if self.audio_cached is not None else 0
            # Cached sound without a rate of its own is in the line of cached tokens.
            heard = usage.audio_input - usage.audio_cached
            cost += line_cost(heard, self.audio_input) + line_cost(kept, self.audio_cached or 0)
            rest -= heard
            cached -= kept
        if usage.image_input and self.image_input is not None:
            cost += line_cost(usage.image_input, self.image_input)
            rest -= usage.image_input
        for part, rate in (
            (usage.reasoning, self.reasoning),
            (usage.audio_output, self.audio_output),
            (usage.image_output, self.image_output),
        ):
            if part and rate is not None:
                cost += line_cost(part, rate)
                output -= part
        if rest < 0:  # Sound or images that were cached as well: they are in both lines.
            rest = 0
        cost += line_cost(rest, self.input) + line_cost(max(output, 0), self.output)
        if cached:
            cost += line_cost(cached, self.cached)
        if usage.cache_write:
            cost += line_cost(usage.cache_write, self.cache_write)
        if usage.cache_write_1h:
            cost += line_cost(usage.cache_write_1h, self.cache_write_1h)
        return cost

    @property
    def dearest_output(self) -> int:
        """The most that a token of output can cost."""
        parts = (self.reasoning, self.audio_output, self.image_output)
        return max(self.output, *(part or 0 for part in parts))


Steps = tuple[tuple[int, Rates], ...]
"""(input tokens above which these rates hold for the whole request, rates), ascending."""


class Lane(msgspec.Struct, frozen=True):
    """Rates of a tier of service beside the standard one: priority, flex, fast."""

    tier: str
    rates: Rates
    steps: Steps = ()


class Price(msgspec.Struct, frozen=True):
    """What a deployment charges, and where we know it from.

    `batch` is the rate of the provider's batch lane, where it has one, with steps of its own;
    `lanes` are its other tiers. `search_nano` is the fee of one web search, `request_nano` that
    of each answered request. `by_bill`: where the provider says what it charges, that counts.
    `version` names the source and its date, and is kept with every ledger entry; `source`,
    `since` and `until` say the same to people: the list, and the days from which and before which
    it holds ("" for no end). A price is never changed, another day's is another Price: no entry
    is ever repriced.
    """

    rates: Rates
    version: str
    steps: Steps = ()
    batch: Rates | None = None
    batch_steps: Steps = ()
    lanes: tuple[Lane, ...] = ()
    search_nano: int = 0
    request_nano: int = 0
    by_bill: bool = False
    source: str = ""
    since: str = ""
    until: str = ""

    def rates_for(self, input_tokens: int) -> Rates:
        return _stepped(self.rates, self.steps, input_tokens)

    def lane(self, tier: str) -> tuple[Rates, Steps] | None:
        """Rates and steps of a tier, None for one that is not listed."""
        if tier in ("", "standard"):
            return self.rates, self.steps
        if tier == "batch":
            return None if self.batch is None else (self.batch, self.batch_steps)
        for lane in self.lanes:
            if lane.tier == tier:
                return lane.rates, lane.steps
        return None

    def cost(self, usage: Usage) -> int:
        """Cost of `usage` in nano-USD, in [0, MOST_NANO]."""
        if self.by_bill and usage.told_nano is not None:
            return min(usage.told_nano, MOST_NANO)
        return self.listed(usage)

    def listed(self, usage: Usage) -> int:
        """Cost of `usage` by the list, whatever the provider says."""
        rates, steps = self.rates, self.steps
        if usage.tier:
            rates, steps = self.lane(usage.tier) or (rates, steps)
        if steps:
            rates = _stepped(rates, steps, usage.input)
        cost = rates.cost(usage)
        if usage.searches:
            cost += usage.searches * self.search_nano
        if self.request_nano and usage.total:
            cost += self.request_nano
        return cost if cost <= MOST_NANO else MOST_NANO


def _stepped(rates: Rates, steps: Steps, input_tokens: int) -> Rates:
    chosen = rates
    for above, other in steps:
        if input_tokens > above:
            chosen = other
    return chosen


FREE = Price(Rates(0, 0, 0, 0, 0), version="free")
"""The price of a model on the operator's own machine: chosen in words, never assumed."""
