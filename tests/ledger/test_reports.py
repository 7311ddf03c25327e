"""Reports over the ledger's file: each figure in the right group, and nothing twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pointsman.clock import SystemClock
from pointsman.domain.call import Caller
from pointsman.domain.usage import Usage
from pointsman.errors import ConfigError, InvalidRequest
from pointsman.ledger.entries import LedgerEntry
from pointsman.ledger.reports import DIMENSIONS, UsageRow, entry_by_id, recent, usage_report
from pointsman.ledger.sqlite import SqliteLedger

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


def by_group(rows: Sequence[UsageRow]) -> dict[tuple[str | None, ...], UsageRow]:
    return {row.group: row for row in rows}


def test_cost_of_a_failed_attempt_belongs_to_the_model_that_failed(
    written: Write, entry: Any, attempt: Any
) -> None:
    failed = attempt("large", 900, outcome="unavailable", usage=Usage(input=10))
    path = written(entry(failed, attempt("small", 80)), entry(attempt("large", 500)))
    groups = by_group(usage_report(path, ["model"]))
    large, small = groups["large",], groups["small",]
    assert (large.cost_nano, large.attempts, large.input_tokens) == (1_400, 2, 20)
    assert (small.cost_nano, small.attempts, small.input_tokens) == (80, 1, 10)
    assert (large.requests, small.requests) == (1, 1)
    assert (large.fallbacks, small.fallbacks) == (0, 1)


def test_repeating_on_the_same_deployment_is_no_fallback(
    written: Write, entry: Any, attempt: Any
) -> None:
    again = (attempt("small", outcome="overloaded"), attempt("small"), attempt("large"))
    [total] = usage_report(written(entry(*again)))
    assert (total.attempts, total.fallbacks) == (3, 1)


def test_a_hedge_is_kept_as_one_and_is_no_fallback(
    written: Write, entry: Any, attempt: Any
) -> None:
    lost = attempt("slow", outcome="abandoned", ttft_s=None, started_s=0.0)
    won = attempt("quick", hedge=True, started_s=1.0)
    path = written(entry(lost, won))
    [total] = usage_report(path)
    assert (total.attempts, total.fallbacks, total.hedges) == (2, 0, 1)
    assert {row.group: row.hedges for row in usage_report(path, ["model"])} == {
        ("slow",): 0,
        ("quick",): 1,
    }
    [recorded] = recent(path)
    assert [each.hedge for each in recorded.entry.attempts] == [False, True]
    # The hedge lost, or failed: what it ran beside is no fallback either, what follows both is.
    failed = attempt("quick", outcome="malformed", hedge=True, started_s=1.0)
    both = (failed, attempt("slow", outcome="unavailable"), attempt("third", started_s=2.0))
    [total] = usage_report(written(entry(failed, attempt("slow")), entry(*both)))
    assert (total.attempts, total.fallbacks) == (2 + 5, 1)


def test_a_ledger_of_the_first_form_is_still_read(written: Write, entry: Any, attempt: Any) -> None:
    path = written(entry(attempt()))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("ALTER TABLE attempt DROP COLUMN hedge")
        connection.execute("PRAGMA user_version = 1")
    [recorded] = recent(path)
    assert not recorded.entry.attempts[0].hedge
    assert usage_report(path, ["model"])[0].hedges == 0


def test_an_unknown_price_is_counted_apart_and_spoils_no_saving(
    written: Write, entry: Any, attempt: Any
) -> None:
    path = written(
        entry(attempt(cost=None), baseline_nano=5_000),
        entry(attempt(cost=100), baseline_nano=1_000),
        entry(attempt(cost=100), baseline_nano=None),
        entry(attempt("dear", 3_000), baseline_nano=1_000),
    )
    [total] = usage_report(path)
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
    groups = by_group(usage_report(path, ["outcome"]))
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
    [row] = usage_report(path, ["model", "tier"])
    assert row.group == (None, None)
    assert (row.requests, row.attempts, row.cost_nano) == (1, 0, 0)
    assert row.seconds_p50 is None
    assert row.ttft_p95 is None


def test_percentiles_are_values_that_were_measured(written: Write, entry: Any) -> None:
    path = written(
        *(entry(seconds=number / 10, ttft_s=number / 100) for number in range(1, 101)),
        entry(seconds=0.05, ttft_s=None),
    )
    [total] = usage_report(path)
    assert total.seconds_p50 == pytest.approx(5.0, abs=1e-6)
    assert total.seconds_p95 == pytest.approx(9.5, abs=1e-6)
    assert total.ttft_p50 == pytest.approx(0.5, abs=1e-6)
    assert total.ttft_p95 == pytest.approx(0.95, abs=1e-6)


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
    assert [row.period for row in usage_report(path, ["model"], bucket=bucket)] == periods


def test_a_period_has_its_beginning_and_not_its_end(written: Write, entry: Any) -> None:
    path = written(*(entry(at=at(f"2026-11-0{day}")) for day in (1, 2, 3)))
    rows = usage_report(path, ["day"], since=at("2026-11-01"), until=at("2026-11-03"))
    assert [row.group for row in rows] == [("2026-11-01",), ("2026-11-02",)]


def test_filters_of_one_dimension_widen_and_of_several_narrow(written: Write, entry: Any) -> None:
    path = written(
        entry(caller=Caller("k", app="web", team="a")),
        entry(caller=Caller("k", app="api", team="a")),
        entry(caller=Caller("k", app="bot", team="a")),
        entry(caller=Caller("k", app="web", team="b")),
        entry(caller=Caller("k", app=None, team="a")),
    )
    web_or_api = [("app", "web"), ("app", "api"), ("team", "a")]
    assert len(usage_report(path, ["app"], filters=web_or_api)) == 2
    assert usage_report(path, filters=web_or_api)[0].requests == 2
    assert usage_report(path, filters=[("app", "")])[0].requests == 1


def test_filtering_by_a_model_keeps_that_models_attempts_only(
    written: Write, entry: Any, attempt: Any
) -> None:
    both = entry(attempt("large", 900, outcome="timeout"), attempt("small", 80))
    path = written(both, entry(attempt("large", 500)))
    [large] = usage_report(path, ["app"], filters=[("model", "large")])
    assert (large.cost_nano, large.attempts, large.requests) == (1_400, 2, 1)


def test_a_tag_report_counts_no_cost_twice(written: Write, entry: Any) -> None:
    path = written(
        entry(tags=(("feature", "search"), ("env", "prod"))),
        entry(tags=(("feature", "chat"), ("env", "prod"))),
        entry(tags=(("env", "test"),)),
        entry(),
    )
    feature = by_group(usage_report(path, ["tag:feature"]))
    assert {group: row.cost_nano for group, row in feature.items()} == {
        ("search",): 100,
        ("chat",): 100,
        (None,): 200,
    }
    crossed = usage_report(path, ["tag:feature", "tag:env"])
    assert sum(row.cost_nano for row in crossed) == 400
    [one] = usage_report(path, filters=[("tag:env", "prod")])
    assert (one.cost_nano, one.requests) == (200, 2)
    [both] = usage_report(path, filters=[("tag:env", "prod"), ("tag:feature", "chat")])
    assert (both.cost_nano, both.requests) == (100, 1)


def test_one_tenants_report_shows_nothing_of_another(
    written: Write, entry: Any, attempt: Any
) -> None:
    path = written(
        entry(attempt("a-model", 100), caller=Caller("k1", tenant="north")),
        entry(attempt("b-model", 999), caller=Caller("k2", tenant="south")),
    )
    rows = usage_report(path, ["model", "key"], filters=[("tenant", "north")])
    assert [(row.group, row.cost_nano) for row in rows] == [(("a-model", "k1"), 100)]


@pytest.mark.parametrize(
    "name", ["modle", "", "tag:", "e.route", "model; DROP TABLE entry", "request_id"]
)
def test_an_unknown_dimension_is_named(written: Write, entry: Any, name: str) -> None:
    path = written(entry())
    with pytest.raises(InvalidRequest, match="unknown dimension") as raised:
        usage_report(path, [name])
    assert raised.value.param == "group_by"
    with pytest.raises(InvalidRequest, match="unknown dimension") as raised:
        usage_report(path, filters=[(name, "x")])
    assert raised.value.param == "filters"


@pytest.mark.parametrize("text", ["'; DROP TABLE entry; --", '") OR 1=1', "%", "a\x00b", "ключ"])
def test_what_a_caller_writes_is_only_ever_a_value(written: Write, entry: Any, text: str) -> None:
    path = written(entry(tags=((text, text),), route=text), entry())
    assert usage_report(path, [f"tag:{text}"], filters=[("route", text)])[0].group == (text,)
    assert usage_report(path, filters=[(f"tag:{text}", text)])[0].requests == 1
    assert usage_report(path)[0].requests == 2


def test_every_dimension_can_be_asked_for_at_once(written: Write, entry: Any) -> None:
    rows = usage_report(written(entry()), [*DIMENSIONS, "tag:x"], bucket="hour")
    assert rows[0].group == (
        *("small", "acme/small", "acme", "workhorse", "auto", "ada", "web", "search"),
        *("north", "key-1", "2023-11-14", "ok", None),
    )


def test_an_empty_ledger_gives_an_empty_report(written: Write) -> None:
    path = written()
    assert usage_report(path, ["model"]) == []
    assert recent(path) == []


def test_one_request_is_found_with_all_its_attempts(
    written: Write, entry: Any, attempt: Any, decision: Any
) -> None:
    wanted = entry(attempt("large", outcome="timeout"), attempt("small"), decision=decision)
    path = written(entry(), wanted, entry())
    found = entry_by_id(path, wanted.request_id)
    assert found is not None
    assert found.entry.attempts == wanted.attempts
    assert found.decision is not None
    assert found.decision["why"] == "cheapest that fits"
    assert entry_by_id(path, "never") is None


def test_the_most_recent_come_first(written: Write, entry: Any) -> None:
    made = [entry() for _ in range(5)]
    newest = recent(written(*made), 2)
    assert [each.entry.request_id for each in newest] == [e.request_id for e in made[:2:-1]]


def test_a_report_reads_beside_the_writer_and_changes_nothing(tmp_path: Path, entry: Any) -> None:
    path = tmp_path / "a ledger #1 100%.db"
    ledger = SqliteLedger(path, SystemClock(), flush_s=0.0)
    for count in (1, 2, 3):
        ledger.append(entry())
        ledger.flush()
        assert usage_report(path)[0].requests == count
    ledger.close()
    assert ledger.lost == 0


def test_a_missing_ledger_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; start"):
        usage_report(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    text, empty = tmp_path / "text.db", tmp_path / "empty.db"
    text.write_text("nothing of the kind\n" * 100)
    empty.touch()
    with pytest.raises(ConfigError, match="cannot be read"):
        usage_report(text)
    with pytest.raises(ConfigError, match="is it a ledger"):
        usage_report(empty)
