"""What the same answers would have cost elsewhere.

Two kinds, never mixed up. The *recorded* baseline is what each entry says: its route's baseline
deployment, at the price of that moment. A *recomputed* one asks what today's stated price of some
deployment comes to for the tokens of the same requests, each counted once, however often it was
tried: a what-if, marked as such. Its steps of price by context cannot be applied to sums, so the
base rates are; and a model with another tokenizer would count other tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from pointsman.domain.deployment import Deployment
from pointsman.domain.usage import Rates, Usage
from pointsman.errors import InvalidRequest
from pointsman.reports.question import Question
from pointsman.reports.report import Line, report
from pointsman.store.database import Database

RECORDED = "recorded"
ALWAYS_FRONTIER = "always-frontier"


@dataclass(frozen=True, slots=True)
class Baseline:
    """`rates` for every model, or `by_model` for each one's own; `version` says which prices."""

    name: str
    rates: Rates | None = None
    by_model: Mapping[str, Rates] | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Saving:
    """One line: what it cost, what the baseline would have, and how many requests it has no price
    for, whose cost is left out of `cost_nano` too."""

    group: tuple[str | None, ...]
    period: str | None
    cost_nano: int
    baseline_nano: int
    uncovered: int

    @property
    def saved_nano(self) -> int:
        return self.baseline_nano - self.cost_nano


def named(name: str, deployments: Iterable[Deployment]) -> Baseline:
    """A deployment's baseline by its name, or that of `always-frontier`: of the frontier tier, the
    one whose million tokens in and out together cost most. Raises InvalidRequest."""
    priced = {each.name: each for each in deployments if each.price is not None}
    if name == ALWAYS_FRONTIER:
        frontier = [each for each in priced.values() if each.tier == "frontier"]
        if not frontier:
            raise InvalidRequest("no frontier deployment has a price", param="baseline")
        chosen = max(frontier, key=lambda each: (_sum(each), each.name))
    elif name in priced:
        chosen = priced[name]
    else:
        raise InvalidRequest(
            f"no deployment {name!r} with a price: choose of "
            f"{', '.join([ALWAYS_FRONTIER, *sorted(priced)])}",
            param="baseline",
        )
    assert chosen.price is not None
    return Baseline(
        name if name != ALWAYS_FRONTIER else f"{ALWAYS_FRONTIER} ({chosen.name})",
        chosen.price.rates,
        version=chosen.price.version,
    )


def _sum(deployment: Deployment) -> int:
    assert deployment.price is not None
    return deployment.price.rates.input + deployment.price.rates.output


def savings(database: Database, question: Question, baseline: Baseline) -> list[Saving]:
    """Recompute a baseline for a question's lines, in their order by period, then by saving."""
    detailed = replace(question, group_by=(*question.group_by, "model"), latencies=False)
    lines = report(database, detailed)
    sums: dict[tuple[str | None, tuple[str | None, ...]], list[int]] = {}
    for line in lines:
        found = sums.setdefault((line.period, line.group[:-1]), [0, 0, 0])
        rates = _rates(baseline, line.group[-1])
        if rates is None:
            found[2] += line.requests
        else:
            found[0] += line.cost_nano
            found[1] += would_cost(line, rates)
    made = [Saving(group, period, *found) for (period, group), found in sums.items()]
    return sorted(made, key=lambda each: (each.period or "", -each.saved_nano, _text(each.group)))


def _rates(baseline: Baseline, model: str | None) -> Rates | None:
    if baseline.by_model is not None:
        return baseline.by_model.get(model or "")
    return baseline.rates


def would_cost(line: Line, rates: Rates) -> int:
    """What the requests' own tokens come to, each kind rounded up once."""
    return rates.cost(
        Usage(
            input=line.asked_input,
            output=line.asked_output,
            cached=line.asked_cached,
            cache_write=line.asked_write,
            cache_write_1h=line.asked_write_1h,
        )
    )


def _text(group: Sequence[str | None]) -> list[str]:
    return [value or "" for value in group]
