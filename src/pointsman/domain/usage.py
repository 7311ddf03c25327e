"""What an attempt used, in tokens, and what that costs."""

from __future__ import annotations

import msgspec

from pointsman.domain.money import line_cost


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one attempt, normalised over providers.

    `cached`, `cache_write` and `cache_write_1h` are parts of `input`; `reasoning` is a part of
    `output`. (OpenAI counts so; Anthropic's `input_tokens` leave the cache out, and its dialect
    adds them.) `estimated` says that the provider did not report and we counted ourselves.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    estimated: bool = False

    @property
    def total(self) -> int:
        return self.input + self.output


NO_USAGE = Usage()


class Rates(msgspec.Struct, frozen=True):
    """Prices in nano-USD per million tokens of each kind."""

    input: int
    output: int
    cached: int
    cache_write: int
    cache_write_1h: int

    @classmethod
    def of(
        cls,
        input: int,
        output: int,
        cached: int | None = None,
        cache_write: int | None = None,
        cache_write_1h: int | None = None,
    ) -> Rates:
        """Fill in what a list leaves out: cached tokens cost as much as plain input."""
        write = input if cache_write is None else cache_write
        return cls(
            input=input,
            output=output,
            cached=input if cached is None else cached,
            cache_write=write,
            cache_write_1h=write if cache_write_1h is None else cache_write_1h,
        )

    def cost(self, usage: Usage) -> int:
        """Cost of `usage` in nano-USD, each line rounded up."""
        plain = usage.input - usage.cached - usage.cache_write - usage.cache_write_1h
        return (
            line_cost(plain, self.input)
            + line_cost(usage.output, self.output)
            + (line_cost(usage.cached, self.cached) if usage.cached else 0)
            + (line_cost(usage.cache_write, self.cache_write) if usage.cache_write else 0)
            + (line_cost(usage.cache_write_1h, self.cache_write_1h) if usage.cache_write_1h else 0)
        )


class Price(msgspec.Struct, frozen=True):
    """What a deployment charges, and where we know it from.

    `steps` are (input tokens above which these rates hold for the whole request, rates),
    ascending. `batch` is the rate of the provider's batch lane, where it has one, with steps of
    its own. `version` names the source and its date, and is kept with every ledger entry.
    """

    rates: Rates
    version: str
    steps: tuple[tuple[int, Rates], ...] = ()
    batch: Rates | None = None
    batch_steps: tuple[tuple[int, Rates], ...] = ()

    def rates_for(self, input_tokens: int) -> Rates:
        chosen = self.rates
        for above, rates in self.steps:
            if input_tokens > above:
                chosen = rates
        return chosen

    def cost(self, usage: Usage) -> int:
        """Cost of `usage` in nano-USD."""
        if not self.steps:
            return self.rates.cost(usage)
        return self.rates_for(usage.input).cost(usage)


FREE = Price(Rates(0, 0, 0, 0, 0), version="free")
"""The price of a model on the operator's own machine: chosen in words, never assumed."""
