"""The plainest possible reading of entries: what reports are held against.

Each request counts in the group of its last attempt, each attempt in its own, one after the other.
Nothing here is of the house's own ways to add up.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pointsman.ledger.entries import Attempt, LedgerEntry

OF_ATTEMPT = ("model", "provider", "deployment", "tier")
OF_CALLER = ("tenant", "team", "app", "user", "key")

Place = tuple[str | None, tuple[str | None, ...]]
"""A period's name and a group."""


@dataclass
class Counted:
    """What a line has to say: its sums by their names, and all its seconds."""

    sums: dict[str, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    ttft: list[float] = field(default_factory=list)

    def add(self, **sums: int) -> None:
        for name, number in sums.items():
            self.sums[name] = self.sums.get(name, 0) + number


def counted(
    entries: Iterable[LedgerEntry],
    by: Sequence[str] = (),
    *,
    since: float | None = None,
    until: float | None = None,
    where: Sequence[tuple[str, str]] = (),
    bucket: str | None = None,
) -> dict[Place, Counted]:
    found: dict[Place, Counted] = {}

    def line(entry: LedgerEntry, attempt: Attempt | None) -> Counted:
        for name in {name for name, _ in where}:
            wanted = [value for other, value in where if other == name]
            if (label(entry, attempt, name) or "") not in wanted:
                return Counted()  # Thrown away.
        group = tuple(label(entry, attempt, name) for name in by)
        return found.setdefault((period(entry.at, bucket), group), Counted())

    for entry in entries:
        if (since is not None and entry.at < since) or (until is not None and entry.at >= until):
            continue
        _count_request(line(entry, entry.attempts[-1] if entry.attempts else None), entry)
        for attempt in entry.attempts:
            _count_attempt(line(entry, attempt), attempt)
    return found


def label(entry: LedgerEntry, attempt: Attempt | None, name: str) -> str | None:
    if name.startswith("tag:"):
        return {**entry.caller.tags, **dict(entry.tags)}.get(name[4:])
    holder = attempt if name in OF_ATTEMPT else entry.caller if name in OF_CALLER else entry
    value: str | None = None if holder is None else getattr(holder, name)
    return value


def period(at: float, bucket: str | None) -> str | None:
    here = datetime.fromtimestamp(at, UTC)
    if bucket == "week":
        here -= timedelta(days=here.weekday())
    forms = {"hour": "%Y-%m-%dT%H:00Z", "month": "%Y-%m"}
    return None if bucket is None else here.strftime(forms.get(bucket, "%Y-%m-%d"))


def quantile(values: Iterable[float], percent: int) -> float | None:
    """The smallest value that so many per cent do not exceed."""
    ascending = sorted(values)
    return ascending[max(-(-len(ascending) * percent // 100), 1) - 1] if ascending else None


def _count_request(line: Counted, entry: LedgerEntry) -> None:
    line.add(
        requests=1,
        errors=entry.outcome not in ("ok", "abandoned"),
        fallbacks=sum(
            this.deployment != before.deployment
            and not this.hedge
            and not (before.hedge and this.started_s <= before.started_s)
            for before, this in itertools.pairwise(entry.attempts)
        ),
        cache_hits=entry.cache in ("hit", "similar"),
        hits_saved_nano=entry.saved_nano,
        asked_input=entry.usage.input,
        asked_output=entry.usage.output,
        asked_cached=entry.usage.cached,
    )
    if entry.baseline_nano is not None:
        line.add(baseline_nano=entry.baseline_nano)
        if all(each.cost_nano is not None for each in entry.attempts):
            cost = sum(each.cost_nano or 0 for each in entry.attempts)
            line.add(saved_nano=entry.baseline_nano - cost)
    if entry.attempts:
        line.seconds.append(entry.seconds)
        line.add(timed=1, seconds_us=int(entry.seconds * 1e6))
        if entry.ttft_s is not None:
            line.ttft.append(entry.ttft_s)
            line.add(ttft_timed=1, ttft_us=int(entry.ttft_s * 1e6))


def _count_attempt(line: Counted, attempt: Attempt) -> None:
    usage, cost = attempt.usage, attempt.cost_nano
    line.add(
        attempts=1,
        hedges=attempt.hedge,
        input=usage.input,
        output=usage.output,
        cached=usage.cached,
        reasoning=usage.reasoning,
        estimated=usage.estimated,
        cost_nano=cost or 0,
        unpriced=cost is None,
    )
    if attempt.charged_nano is not None:
        line.add(uncertain_nano=attempt.charged_nano - (cost or 0))
