"""Reports over what a ledger has written: each figure in the right group, and nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pointsman.clock import SystemClock
from pointsman.domain.call import Caller
from pointsman.domain.usage import Usage
from pointsman.errors import InvalidRequest
from pointsman.ledger.entries import LedgerEntry
from pointsman.ledger.lookup import every_entry
from pointsman.ledger.reading import reading
from pointsman.ledger.sqlite import SqliteLedger
from pointsman.reports import EVERYONE, Line, Question, report
from pointsman.reports.cells import DIMENSIONS

Write = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Write entries to a ledger's file."""

    def write(*entries: LedgerEntry) -> Path:
        path = tmp_path / "ledger.db"
        ledger = SqliteLedger(path, SystemClock(), flush_s=0.0)
        for each in entries:
            ledger.append(each)
        ledger.close()
        return path

    return write


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def asked(path: Path, by: Sequence[str] = (), **more: Any) -> list[Line]:
    with reading(path, SystemClock()) as ledger:
        return report(ledger.database, Question.of(EVERYONE, by, **more))


def by_group(rows: Sequence[Line]) -> dict[tuple[str | None, ...], Line]:
    return {row.group: row for row in rows}


def test_cost_of_a_failed_attempt_belongs_to_the_model_that_failed(
    written: Write, entry: Any, attempt: Any
) -> None:
    failed = attempt("large", 900, outcome="unavailable", usage=Usage(input=10))
    path = written(entry(failed, attempt("small", 80)), entry(attempt("large", 500)))
    groups = by_group(asked(path, ["model"]))
    large, small = groups["large",], groups["small",]
    assert (large.cost_nano, large.attempts, large.input) == (1_400, 2, 20)
    assert (small.cost_nano, small.attempts, small.input) == (80, 1, 10)
    assert (large.requests, small.requests) == (1, 1)
    assert (large.fallbacks, small.fallbacks) == (0, 1)


def test_repeating_on_the_same_deployment_is_no_fallback(
    written: Write, entry: Any, attempt: Any
) -> None:
    again = (attempt("small", outcome="overloaded"), attempt("small"), attempt("large"))
    [total] = asked(written(entry(*again)))
    assert (total.attempts, total.fallbacks) == (3, 1)


def test_a_hedge_is_kept_as_one_and_is_no_fallback(
    written: Write, entry: Any, attempt: Any
) -> None:
    lost = attempt("slow", outcome="abandoned", ttft_s=None, started_s=0.0)
    won = attempt("quick", hedge=True, started_s=1.0)
    path = written(entry(lost, won))
    [total] = asked(path)
    assert (total.attempts, total.fallbacks, total.hedges) == (2, 0, 1)
    assert {row.group: row.hedges for row in asked(path, ["model"])} == {
        ("slow",): 0,
        ("quick",): 1,
    }
    with reading(path, SystemClock()) as ledger:
        [recorded] = every_entry(ledger.database)
    assert [each.hedge for each in recorded.entry.attempts] == [False, True]
    # The hedge lost, or failed: what it ran beside is no fallback either, what follows both is.
    failed = attempt("quick", outcome="malformed", hedge=True, started_s=1.0)
    both = (failed, attempt("slow", outcome="unavailable"), attempt("third", started_s=2.0))
    [total] = asked(written(entry(failed, attempt("slow")), entry(*both)))
    assert (total.attempts, total.fallbacks) == (2 + 5, 1)


def test_an_unknown_price_is_counted_apart_and_spoils_no_saving(
    written: Write, entry: Any, attempt: Any
) -> None:
    path = written(
        entry(attempt(cost=None), baseline_nano=5_000),
        entry(attempt(cost=100), baseline_nano=1_000),
        entry(attempt(cost=100), baseline_nano=None),
        entry(attempt("dear", 3_000), baseline_nano=1_000),
    )
    [total] = asked(path)
    assert total.unpriced == 1
    assert total.cost_nano == 3_200
    assert total.baseline_nano == 7_000
    assert total.saved_nano == (1_000 - 100) + (1_000 - 3_000)


def test_errors_are_requests_that_ended_badly_and_the_client_leaving_is_none(
    written: Write, entry: Any, attempt: Any
) -> None:
    path = written(
        entry(),
        entry(attempt(outcome="abandoned"), status=499),
        entry(attempt(outcome="timeout"), status=504),
        replace(entry(status=402, outcome="rejected"), attempts=()),
    )
    groups = by_group(asked(path, ["outcome"]))
    assert {name: row.errors for (name,), row in groups.items()} == {
        "ok": 0,
        "abandoned": 0,
        "timeout": 1,
        "rejected": 1,
    }


def test_a_request_nobody_was_called_for_has_no_model_and_no_latency(
    written: Write, entry: Any
) -> None:
    path = written(replace(entry(status=402, outcome="rejected"), attempts=()))
    [row] = asked(path, ["model", "tier"])
    assert row.group == (None, None)
    assert (row.requests, row.attempts, row.cost_nano) == (1, 0, 0)
    assert set(row.seconds) == set(row.ttft) == {None}


def test_percentiles_are_those_of_what_was_measured(written: Write, entry: Any) -> None:
    path = written(
        *(entry(seconds=number / 10, ttft_s=number / 100) for number in range(1, 101)),
        entry(seconds=0.05, ttft_s=None),
    )
    [total] = asked(path)
    assert total.seconds == pytest.approx((5.0, 9.5, 9.9), rel=0.025)
    assert total.ttft == pytest.approx((0.5, 0.95, 0.99), rel=0.025)
    assert total.mean_s == pytest.approx((sum(range(1, 101)) / 10 + 0.05) / 101)


@pytest.mark.parametrize(
    ("bucket", "periods"),
    [
        ("hour", ["2026-10-31T23:00Z", "2026-11-01T00:00Z", "2026-11-02T00:00Z"]),
        ("day", ["2026-10-31", "2026-11-01", "2026-11-02"]),
        ("week", ["2026-10-26", "2026-11-02"]),
        ("month", ["2026-10", "2026-11"]),
    ],
)
def test_buckets_begin_where_people_think_they_do(
    written: Write, entry: Any, bucket: Any, periods: list[str]
) -> None:
    """The first of November 2026 is a Sunday: its week began in October."""
    path = written(
        entry(at=at("2026-10-31T23:59:59")),
        entry(at=at("2026-11-01T00:00:00")),
        entry(at=at("2026-11-02T00:30:00")),
    )
    assert [row.period for row in asked(path, ["model"], bucket=bucket)] == periods


def test_a_period_has_its_beginning_and_not_its_end(written: Write, entry: Any) -> None:
    path = written(*(entry(at=at(f"2026-11-0{day}")) for day in (1, 2, 3)))
    rows = asked(path, ["day"], since=at("2026-11-01"), until=at("2026-11-03"))
    assert [row.period for row in rows] == ["2026-11-01", "2026-11-02"]


def test_filters_of_one_dimension_widen_and_of_several_narrow(written: Write, entry: Any) -> None:
    path = written(
        entry(caller=Caller("k", app="web", team="a")),
        entry(caller=Caller("k", app="api", team="a")),
        entry(caller=Caller("k", app="bot", team="a")),
        entry(caller=Caller("k", app="web", team="b")),
        entry(caller=Caller("k", app=None, team="a")),
    )
    web_or_api = [("app", "web"), ("app", "api"), ("team", "a")]
    assert len(asked(path, ["app"], where=web_or_api)) == 2
    assert asked(path, where=web_or_api)[0].requests == 2
    assert asked(path, where=[("app", "")])[0].requests == 1


def test_filtering_by_a_model_keeps_that_models_attempts_only(
    written: Write, entry: Any, attempt: Any
) -> None:
    both = entry(attempt("large", 900, outcome="timeout"), attempt("small", 80))
    path = written(both, entry(attempt("large", 500)))
    [large] = asked(path, ["app"], where=[("model", "large")])
    assert (large.cost_nano, large.attempts, large.requests) == (1_400, 2, 1)


def test_a_tag_report_counts_no_cost_twice(written: Write, entry: Any) -> None:
    path = written(
        entry(tags=(("feature", "search"), ("env", "prod"))),
        entry(tags=(("feature", "chat"), ("env", "prod"))),
        entry(tags=(("env", "test"),)),
        entry(),
    )
    feature = by_group(asked(path, ["tag:feature"]))
    assert {group: row.cost_nano for group, row in feature.items()} == {
        ("search",): 100,
        ("chat",): 100,
        (None,): 200,
    }
    crossed = asked(path, ["tag:feature", "tag:env"])
    assert sum(row.cost_nano for row in crossed) == 400
    [one] = asked(path, where=[("tag:env", "prod")])
    assert (one.cost_nano, one.requests) == (200, 2)
    [both] = asked(path, where=[("tag:env", "prod"), ("tag:feature", "chat")])
    assert (both.cost_nano, both.requests) == (100, 1)


def test_one_tenants_report_shows_nothing_of_another(
    written: Write, entry: Any, attempt: Any
) -> None:
    path = written(
        entry(attempt("a-model", 100), caller=Caller("k1", tenant="north")),
        entry(attempt("b-model", 999), caller=Caller("k2", tenant="south")),
    )
    rows = asked(path, ["model", "key"], where=[("tenant", "north")])
    assert [(row.group, row.cost_nano) for row in rows] == [(("a-model", "k1"), 100)]


@pytest.mark.parametrize(
    "name", ["modle", "", "tag:", "c.route", "model; DROP TABLE entry", "request_id"]
)
def test_an_unknown_dimension_is_named(written: Write, entry: Any, name: str) -> None:
    path = written(entry())
    with pytest.raises(InvalidRequest, match="unknown dimension") as raised:
        asked(path, [name])
    assert raised.value.param == "by"
    with pytest.raises(InvalidRequest, match="unknown dimension") as raised:
        asked(path, where=[(name, "x")])
    assert raised.value.param == "where"


@pytest.mark.parametrize("text", ["'; DROP TABLE entry; --", '") OR 1=1', "%", "a\x00b", "ключ"])
def test_what_a_caller_writes_is_only_ever_a_value(written: Write, entry: Any, text: str) -> None:
    path = written(entry(tags=((text, text),), route=text), entry())
    assert asked(path, [f"tag:{text}"], where=[("route", text)])[0].group == (text,)
    assert asked(path, where=[(f"tag:{text}", text)])[0].requests == 1
    assert asked(path)[0].requests == 2


def test_every_dimension_can_be_asked_for_at_once(written: Write, entry: Any) -> None:
    rows = asked(written(entry()), [*DIMENSIONS, "tag:x"], bucket="hour")
    assert rows[0].group == (
        *("north", "search", "web", "ada", "key-1", "auto", "chat", "ok"),
        *("small", "acme", "acme/small", "workhorse", None),
    )


def test_an_empty_ledger_gives_an_empty_report(written: Write) -> None:
    assert asked(written(), ["model"]) == []


def test_a_report_reads_beside_the_writer_and_loses_nothing(tmp_path: Path, entry: Any) -> None:
    path = tmp_path / "a ledger #1 100%.db"
    ledger = SqliteLedger(path, SystemClock(), flush_s=0.0)
    for count in (1, 2, 3):
        ledger.append(entry())
        ledger.flush()
        assert asked(path)[0].requests == count
    ledger.close()
    assert ledger.lost == 0
