"""Why two periods cost differently: more calls, other models, longer ones, or other prices.

Theory. For each group (a model, unless asked otherwise) with n calls, t tokens and cost c, the old
figures are replaced by the new ones step by step, and what each step changes is its effect:

    volume   as many calls as now, shared out and costing as before:  c0 · (N1 / N0 - 1)
    mix      shared out over the groups as now, each call costing as before:  Σ n1 · c0 / n0 - …
    length   calls as long as now, a token costing as before:  Σ c0 · t1 / t0 - …
    price    what is left: a token costs as now

The steps telescope, so the effects add up to the difference. They are fractions until the end; the
rounding to whole nano-USD gives the largest remainders the missing ones, so the sum is exact. What
was not there before has no price of before: a new group is mix, and with nothing before at all,
volume. Calls are attempts, since money is spent by attempts. A shift from input to output tokens,
which cost differently, counts as price.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pointsman.reports.report import Line


@dataclass(frozen=True, slots=True)
class Effects:
    """In nano-USD; together exactly the later cost less the earlier."""

    volume: int = 0
    mix: int = 0
    length: int = 0
    price: int = 0

    @property
    def total(self) -> int:
        return self.volume + self.mix + self.length + self.price


@dataclass(frozen=True, slots=True)
class Part:
    """What one group has to do with it."""

    group: tuple[str | None, ...]
    before_nano: int
    after_nano: int
    effects: Effects


@dataclass(frozen=True, slots=True)
class Drivers:
    before_nano: int
    after_nano: int
    effects: Effects
    parts: tuple[Part, ...]
    """The groups, the largest difference first; they add up to the effects."""


def drivers(before: Sequence[Line], after: Sequence[Line]) -> Drivers:
    """Explain the difference between two reports with the same dimensions and no buckets."""
    old = {line.group: line for line in before}
    new = {line.group: line for line in after}
    calls_before = sum(line.attempts for line in before)
    calls_after = sum(line.attempts for line in after)
    growth = Fraction(calls_after, calls_before) if calls_before else None
    groups = list(dict.fromkeys([*old, *new]))
    exact: dict[tuple[str | None, ...], list[Fraction]] = {
        group: _effects(old.get(group, Line()), new.get(group, Line()), growth) for group in groups
    }
    whole = _rounded(exact)
    parts = [
        Part(
            group,
            old.get(group, Line()).cost_nano,
            new.get(group, Line()).cost_nano,
            Effects(*whole[group]),
        )
        for group in groups
    ]
    parts.sort(key=lambda part: (-abs(part.effects.total), [name or "" for name in part.group]))
    sums = [sum(whole[group][place] for group in groups) for place in range(4)]
    return Drivers(
        sum(line.cost_nano for line in before),
        sum(line.cost_nano for line in after),
        Effects(*sums),
        tuple(parts),
    )


def _effects(old: Line, new: Line, growth: Fraction | None) -> list[Fraction]:
    """Volume, mix, length and price of one group; their sum is its difference.

    1. nothing was there at all before; 2. this group was not; 3. it was there.
    """
    was, now, nothing = Fraction(old.cost_nano), Fraction(new.cost_nano), Fraction(0)
    if growth is None:
        return [now - was, nothing, nothing, nothing]
    if not old.attempts:
        return [was * (growth - 1), now - was * growth, nothing, nothing]
    as_many = was * growth
    as_shared = was * new.attempts / old.attempts
    tokens_before, tokens_after = old.input + old.output, new.input + new.output
    as_long = was * tokens_after / tokens_before if tokens_before else as_shared
    return [as_many - was, as_shared - as_many, as_long - as_shared, now - as_long]


def _rounded(
    exact: Mapping[tuple[str | None, ...], Sequence[Fraction]],
) -> dict[tuple[str | None, ...], list[int]]:
    """Each group's effects as whole numbers that have the same sum, which is whole."""
    found = {}
    for group, effects in exact.items():
        floors = [effect.__floor__() for effect in effects]
        missing = int(sum(effects) - sum(floors))
        for place in sorted(range(4), key=lambda n: floors[n] - effects[n])[:missing]:
            floors[place] += 1
        found[group] = floors
    return found
