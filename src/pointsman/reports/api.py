"""Reports as functions from a query to what JSON can say, for whoever serves them.

Each takes the database, whose figures may be seen, a query whose fields are text as a URL has them,
and the time. They block, and raise InvalidRequest (`param` names the field) and StorageError.
`ROUTES` lists them: a server adds who may use each.

The tenant is an argument and no field: it comes from the caller's token. An operator narrows a
report down by `where=tenant=NAME`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from pointsman.domain.content import JsonObject
from pointsman.domain.deployment import Deployment
from pointsman.domain.money import from_usd
from pointsman.domain.windows import PERIODS, Window
from pointsman.errors import InvalidRequest
from pointsman.reports.baseline import Baseline, named, savings
from pointsman.reports.drivers import drivers
from pointsman.reports.exports import line_rows
from pointsman.reports.periods import moment
from pointsman.reports.question import Filter, Question, Whose
from pointsman.reports.report import Line, report, total
from pointsman.reports.trend import Step, runway, trend
from pointsman.store.database import Database


class Selection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a report is of. by: dimensions, with commas. where: DIMENSION=VALUE, with commas.
    since, until: moments as `pointsman usage` takes them."""

    by: str = "model"
    since: str | None = None
    until: str | None = None
    where: str = ""
    bucket: str | None = None
    timezone: str = "UTC"


class SavingsQuery(Selection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """baseline: a deployment's name, or `always-frontier`."""

    baseline: str


class TrendQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """step: hour or day. ahead: how many of them to foretell."""

    step: str = "day"
    since: str | None = None
    where: str = ""
    timezone: str = "UTC"
    ahead: int = 14


class DriversQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The later period begins at `since`, the earlier at `before` and ends there, unless it ends at
    `before_until`."""

    before: str
    since: str
    until: str | None = None
    before_until: str | None = None
    by: str = "model"
    where: str = ""


class RunwayQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long so many USD last in a window, spent as before."""

    limit_usd: str
    window: str = "month"
    timezone: str = "UTC"
    where: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What every function is given. `deployments` are those whose prices a baseline may name."""

    database: Database
    whose: Whose
    now: float
    deployments: Iterable[Deployment] = ()


def lines(context: Context, query: Selection) -> JsonObject:
    """Lines and their total."""
    question = question_of(context.whose, query, context.now)
    found = report(context.database, question)
    everything = msgspec.structs.replace(question, group_by=(), bucket=None)
    [summed] = line_rows(everything, [total(found)])
    return {"lines": [dict(row) for row in line_rows(question, found)], "total": dict(summed)}


def saved(context: Context, query: SavingsQuery) -> JsonObject:
    """What a stated baseline would have cost, recomputed at today's price."""
    question = question_of(context.whose, query, context.now)
    baseline: Baseline = named(query.baseline, context.deployments)
    return {
        "baseline": baseline.name,
        "prices": baseline.version,
        "is_recomputed": True,
        "lines": [
            {
                **dict(zip(question.group_by, each.group, strict=True)),
                "period": each.period,
                "cost_nano_usd": each.cost_nano,
                "baseline_nano_usd": each.baseline_nano,
                "saved_nano_usd": each.saved_nano,
                "uncovered_requests": each.uncovered,
            }
            for each in savings(context.database, question, baseline)
        ],
    }


def trends(context: Context, query: TrendQuery) -> JsonObject:
    """Season, shifts of level, and what comes."""
    if query.step not in ("hour", "day"):
        raise InvalidRequest(f"step {query.step!r}: choose hour or day", param="step")
    step: Step = "hour" if query.step == "hour" else "day"
    found = trend(
        context.database,
        context.whose,
        context.now,
        step=step,
        timezone=_zone(query.timezone),
        since=_moment("since", query.since, context.now),
        where=filters(query.where),
        ahead=query.ahead,
    )
    return _built(found)


def driven(context: Context, query: DriversQuery) -> JsonObject:
    """Why a period cost more or less than another."""
    since = _moment("since", query.since, context.now)
    until = _moment("until", query.until, context.now)
    begin = _moment("before", query.before, context.now)
    end = _moment("before_until", query.before_until, context.now)
    by = _names(query.by)
    where = filters(query.where)

    def of(begin: float | None, end: float | None) -> list[Line]:
        question = Question.of(
            context.whose, by, since=begin, until=end, where=where, latencies=False
        )
        if question.bucket is not None:
            raise InvalidRequest("two periods are compared whole", param="by")
        return report(context.database, question)

    earlier = of(begin, since if end is None else end)
    later = of(since, context.now if until is None else until)
    return _built(drivers(earlier, later))


def lasting(context: Context, query: RunwayQuery) -> JsonObject:
    """How long a limit lasts."""
    period = next((each for each in PERIODS if each == query.window), None)
    if period is None:
        known = ", ".join(PERIODS)
        raise InvalidRequest(f"window {query.window!r}: choose of {known}", param="window")
    try:
        limit = from_usd(query.limit_usd)
    except (ArithmeticError, ValueError):
        limit = -1
    if not 0 <= limit < 1 << 63:
        raise InvalidRequest(f"{query.limit_usd!r} is no amount", param="limit_usd")
    window = Window(period=period, timezone=_zone(query.timezone))
    where = filters(query.where)
    return _built(runway(context.database, context.whose, context.now, limit, window, where=where))


def question_of(whose: Whose, query: Selection, now: float) -> Question:
    """A selection as a question."""
    return Question.of(
        whose,
        _names(query.by),
        since=_moment("since", query.since, now),
        until=_moment("until", query.until, now),
        where=filters(query.where),
        bucket=query.bucket,
        timezone=query.timezone,
    )


def filters(text: str) -> list[Filter]:
    """`team=search,app=` as filters."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            raise InvalidRequest(f"{part!r} is no DIMENSION=VALUE", param="where")
        found.append((name.strip(), value))
    return found


def _names(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


def _moment(param: str, text: str | None, now: float) -> float | None:
    try:
        return None if text is None else moment(text, now)
    except ValueError as error:
        raise InvalidRequest(str(error), param=param) from None


def _zone(text: str) -> str:
    return Question.of("anybody", timezone=text).timezone


def _built(value: object) -> JsonObject:
    found: JsonObject = msgspec.to_builtins(value)
    return found


@dataclass(frozen=True, slots=True)
class Route:
    """A path, the type of its query, and the function that answers."""

    path: str
    summary: str
    query: type[Any]
    work: Callable[[Context, Any], JsonObject]


ROUTES: Final = (
    Route("/admin/v1/reports/lines", "Add up the ledger by any dimensions", Selection, lines),
    Route("/admin/v1/reports/savings", "Compare with a stated baseline", SavingsQuery, saved),
    Route("/admin/v1/reports/trend", "Season, shifts and forecast", TrendQuery, trends),
    Route("/admin/v1/reports/drivers", "Why two periods differ", DriversQuery, driven),
    Route("/admin/v1/reports/runway", "How long a limit lasts", RunwayQuery, lasting),
)
