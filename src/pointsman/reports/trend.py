"""How spending goes: its season, its changes, its future, and how long a limit lasts.

The series is what budgets count, cost and what is uncertain on top of it, by the hour or the day of
a wall clock. The period that is still going on is left out of what is learnt from, since it is not
whole; what was spent in it already is taken off what is foretold for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from pointsman.domain.budgets import Budget
from pointsman.domain.windows import Window
from pointsman.errors import InvalidRequest
from pointsman.reports.forecast import Exhaustion, Forecast, exhaustion, forecast
from pointsman.reports.question import Filter, Question, Whose
from pointsman.reports.report import report
from pointsman.reports.season import changes, decomposed
from pointsman.reports.spans import buckets, label
from pointsman.store.database import Database

Step = Literal["hour", "day"]
SEASONS: Final = {"hour": 24, "day": 7}
HISTORY: Final = {"hour": 14 * 86_400.0, "day": 120 * 86_400.0}
"""How far back is looked, in seconds, unless said otherwise."""
MOST_AHEAD: Final = 400


class Point(msgspec.Struct, frozen=True):
    period: str
    nano: int


class Shift(msgspec.Struct, frozen=True):
    """From this period on the level was another: usual spending before and after, per period."""

    period: str
    before_nano: int
    after_nano: int


class Ahead(msgspec.Struct, frozen=True):
    period: str
    low_nano: int
    middle_nano: int
    high_nano: int


class Trend(msgspec.Struct, frozen=True):
    """season: by how much each phase differs from usual, as a factor, or in nano-USD where there
    were periods without cost (`is_factor` false). ahead, total: None where there is too little to
    tell from. share: of the drawn futures that lie between low and high."""

    step: Step
    points: tuple[Point, ...]
    season: tuple[float, ...]
    is_factor: bool
    shifts: tuple[Shift, ...]
    ahead: tuple[Ahead, ...] = ()
    total: Ahead | None = None
    share: float = 0.8


class Runway(msgspec.Struct, frozen=True):
    """How long a limit lasts. Moments are seconds since the epoch, None where it outlasts its
    window in the respective future. likelihood: of being used up before the window ends; None
    where there is too little to tell from."""

    limit_nano: int
    spent_nano: int
    window_ends: float
    likelihood: float | None = None
    early: float | None = None
    middle: float | None = None
    late: float | None = None


def trend(
    database: Database,
    whose: Whose,
    now: float,
    *,
    step: Step = "day",
    timezone: str = "UTC",
    since: float | None = None,
    where: Sequence[Filter] = (),
    ahead: int = 14,
    share: float = 0.8,
) -> Trend:
    """Look back from `now`, and ahead. Raises InvalidRequest, StorageError."""
    if not 0 <= ahead <= MOST_AHEAD or not 0 < share < 1:
        raise InvalidRequest(f"ahead is up to {MOST_AHEAD}, share between 0 and 1", param="ahead")
    begin = max(now - HISTORY[step], 0.0) if since is None else since
    starts, values, going_on = _series(database, whose, begin, now, step, timezone, where)
    parts = decomposed(values, SEASONS[step])
    names = [label(step, timezone, start) for start in starts]
    found = forecast(values, SEASONS[step], ahead, share=share) if ahead else None
    future = _future(now, step, timezone, ahead) if found is not None else []
    return Trend(
        step,
        tuple(Point(name, value) for name, value in zip(names, values, strict=True)),
        tuple(parts.value(each) if parts.is_log else each for each in parts.season),
        parts.is_log,
        tuple(
            Shift(names[each.place], round(each.before), round(each.after))
            for each in changes(parts)
        ),
        ()
        if found is None
        else tuple(
            Ahead(
                name, max(round(at.low), going), max(round(at.middle), going), _up(at.high, going)
            )
            for name, at, going in zip(
                future, found.steps, [going_on, *[0] * (ahead - 1)], strict=True
            )
        ),
        None if found is None else _total(found, f"{future[0]}..{future[-1]}"),
        share,
    )


def _up(high: float, going_on: int) -> int:
    return max(round(high), going_on)


def _total(found: Forecast, name: str) -> Ahead:
    total = found.total
    return Ahead(name, round(total.low), round(total.middle), round(total.high))


def _series(
    database: Database,
    whose: Whose,
    since: float,
    now: float,
    step: Step,
    timezone: str,
    where: Sequence[Filter],
) -> tuple[list[float], list[int], int]:
    """Where each whole period begins and what it cost, from the first that cost anything; and what
    the one that is going on has cost so far."""
    window = Window(period=step, timezone=timezone)
    begin, current = window.slice_at(since)[0], window.slice_at(now)[0]
    if begin < since:
        begin = window.slice_at(since)[1]
    question = Question.of(
        whose,
        since=max(begin, 0.0),
        until=now,
        where=tuple(where),
        bucket=step,
        timezone=timezone,
        latencies=False,
    )
    spent = {
        window.slice_at(line.begins or 0.0)[0]: line.cost_nano + line.uncertain_nano
        for line in report(database, question)
    }
    first = min((start for start in spent if spent[start]), default=current)
    starts = [start for start, _ in buckets(step, timezone, first, current)]
    return starts, [spent.get(start, 0) for start in starts], spent.get(current, 0)


def _future(now: float, step: Step, timezone: str, ahead: int) -> list[str]:
    window = Window(period=step, timezone=timezone)
    found, at = [], window.slice_at(now)[0]
    for _ in range(ahead):
        found.append(label(step, timezone, at))
        at = window.slice_at(at)[1]
    return found


# How long a limit lasts.


def runway(
    database: Database,
    whose: Whose,
    now: float,
    limit_nano: int,
    window: Window,
    *,
    where: Sequence[Filter] = (),
    share: float = 0.8,
) -> Runway:
    """Foretell when a limit is used up, before its window ends. A rolling window is taken as if
    nothing that was spent left it, which is never too late. Raises InvalidRequest, StorageError."""
    if window.period in ("minute", "total"):
        raise InvalidRequest(f"a window of a {window.period} is not foretold", param="budget")
    began, ends = window.since(now), window.slice_at(now)[1]
    if window.rolling:
        ends = now + (now - began)
    step: Step = "hour" if ends - began <= 2 * 86_400 else "day"
    current = Question.of(whose, since=began, until=now, where=tuple(where), latencies=False)
    spent = sum(line.cost_nano + line.uncertain_nano for line in report(database, current))
    told = Runway(limit_nano, spent, ends)
    if spent >= limit_nano:
        return msgspec.structs.replace(told, likelihood=1.0, early=now, middle=now, late=now)
    timezone = "UTC" if window.rolling else window.timezone
    begin = max(now - HISTORY[step], 0.0)
    _, values, going_on = _series(database, whose, begin, now, step, timezone, where)
    slices = buckets(step, timezone, Window(period=step, timezone=timezone).slice_at(now)[0], ends)
    coming = forecast(values, SEASONS[step], len(slices), share=share)
    if coming is None:
        return told
    # What was spent of the period that is going on is in `spent` and in its forecast: once is
    # enough, so what is left is counted from where that period began.
    found = exhaustion(limit_nano - spent + going_on, coming)
    return msgspec.structs.replace(told, **_moments(found, slices, now))


def _moments(
    found: Exhaustion, slices: Sequence[tuple[float, float]], now: float
) -> dict[str, float | None]:
    def moment(steps: float | None) -> float | None:
        if steps is None or steps >= len(slices):
            return None
        begin, end = slices[int(steps)]
        return max(begin + (steps - int(steps)) * (end - begin), now)

    return {
        "likelihood": found.likelihood,
        "early": moment(found.early),
        "middle": moment(found.middle),
        "late": moment(found.late),
    }


_SHARED: Final = ("tenant", "route", "model", "provider")
_TENANTS_OWN: Final = ("team", "app", "user", "key", "tag")


def filters_of(budget: Budget, subject: str) -> tuple[Filter, ...]:
    """What a budget's account counts, as filters; `subject` as in `domain.budgets.Account`. Raises
    InvalidRequest where the ledger does not tell who used it: a run, or keys that name it."""
    if budget.unit != "nano_usd":
        raise InvalidRequest(f"budget {budget.name!r} is not about money", param="budget")
    found: list[Filter]
    name = f"tag:{budget.tag}" if budget.scope == "tag" else budget.scope
    if budget.scope == "everyone":
        found = []
    elif budget.scope in _SHARED:
        found = [(name, subject)]
    elif budget.scope in _TENANTS_OWN:
        # Without a tenant's part it is an account of those who have none.
        before, slash, own = subject.partition("/")
        tenant, own = (before, own) if slash else ("", subject)
        found = [("tenant", _decoded(tenant)), (name, _decoded(own))]
    else:
        raise InvalidRequest(
            f"budget {budget.name!r}: the ledger does not tell whose {budget.scope!r} it was",
            param="budget",
        )
    if budget.tenant is not None and not any(each == "tenant" for each, _ in found):
        found.append(("tenant", budget.tenant))
    return tuple(found)


def _decoded(part: str) -> str:
    return part.replace("%00", "\0").replace("%2F", "/").replace("%25", "%")


def shown(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="minutes")
