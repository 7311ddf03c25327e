"""Rollups against plain counting of the same entries: equal, always."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.reports.conftest import DAY, MAY, Open, an_entry, entries, write
from tests.reports.plain import counted, quantile

from pointsman.errors import InvalidRequest
from pointsman.reports import EVERYONE, Question, catch_up, report, total
from pointsman.reports.cells import MEASURES, cells_of
from pointsman.reports.rollup import add, mark_of
from pointsman.store.database import Database
from pointsman.store.errors import StorageError

QUESTIONS: list[dict[str, Any]] = [
    {},
    {"by": ["model"]},
    {"by": ["model", "app", "tag:env"]},
    {"by": ["tag:feature", "tenant", "outcome"], "since": MAY + 3_000, "until": MAY + 40 * DAY + 7},
    {"by": ["deployment"], "where": [("app", ""), ("app", "web"), ("tag:env", "x")]},
    {"by": ["route"], "where": [("model", "large")], "since": MAY + 0.5},
    {"by": ["key"], "bucket": "hour", "since": MAY, "until": MAY + 2 * DAY},
    {"by": ["model"], "bucket": "day"},
    {"bucket": "week", "by": ["provider", "tier"], "until": MAY + 33 * DAY + 1_234.5},
    {"bucket": "month", "by": ["app", "model", "key"]},
    {"since": MAY + 100, "until": MAY + 101},
    {"since": MAY + 9 * DAY, "until": MAY + 9 * DAY},
]


@pytest.mark.parametrize("asked", QUESTIONS)
def test_a_report_from_rollups_is_what_counting_says(
    ledger: Database, asked: dict[str, Any]
) -> None:
    made = entries(400)
    write(ledger, made)
    expected = counted(made, **asked)
    found = {
        (line.period, line.group): line for line in report(ledger, Question.of(EVERYONE, **asked))
    }
    assert {
        place: {name: getattr(line, name) for name in MEASURES} for place, line in found.items()
    } == {place: {**dict.fromkeys(MEASURES, 0), **plain.sums} for place, plain in expected.items()}
    for place, line in found.items():
        plain = expected[place]
        for about, exactly in (
            (line.seconds[0], quantile(plain.seconds, 50)),
            (line.ttft[1], quantile(plain.ttft, 95)),
        ):
            assert (about is None) == (exactly is None)
            assert about is None or about == pytest.approx(exactly, rel=0.026, abs=0.001)


@pytest.mark.parametrize("timezone", ["Asia/Kolkata", "America/New_York", "Pacific/Apia"])
@pytest.mark.parametrize("bucket", ["day", "week", "month"])
def test_days_of_any_time_zone_hold_what_was_written_in_them(
    ledger: Database, bucket: str, timezone: str
) -> None:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    made = entries(120)
    write(ledger, made)
    expected: dict[str, int] = {}
    for each in made:
        day = datetime.fromtimestamp(each.at, ZoneInfo(timezone)).date()
        if bucket == "week":
            day = day.fromordinal(day.toordinal() - day.weekday())
        name = day.strftime("%Y-%m") if bucket == "month" else day.isoformat()
        expected[name] = expected.get(name, 0) + 1
    lines = report(ledger, Question.of(EVERYONE, bucket=bucket, timezone=timezone, latencies=False))
    assert {line.period: line.requests for line in lines if line.requests} == expected


def test_the_day_that_has_25_hours_is_one_line(ledger: Database) -> None:
    """Berlin put its clocks back on 2026-10-25."""
    draw, begin = random.Random(7), 1_792_879_200.0  # 2026-10-25T00:00+02:00
    write(ledger, [an_entry(draw, f"h{n}", begin + n * 3_600 + 60) for n in range(-1, 26)])
    lines = report(ledger, Question.of(EVERYONE, bucket="day", timezone="Europe/Berlin"))
    assert [(line.period, line.requests) for line in lines] == [
        ("2026-10-24", 1),
        ("2026-10-25", 25),
        ("2026-10-26", 1),
    ]


def test_every_entry_is_summed_once_however_it_is_caught_up(ledger: Database) -> None:
    made = entries(300)
    for begin in range(0, 300, 70):
        write(ledger, made[begin : begin + 70])
        assert catch_up(ledger, batch=32) == len(made[begin : begin + 70])
        assert catch_up(ledger) == 0
        assert total(report(ledger, Question.of(EVERYONE))).requests == min(begin + 70, 300)


def test_catching_up_can_be_done_little_by_little(ledger: Database) -> None:
    write(ledger, entries(100))
    assert catch_up(ledger, batch=10, most=25) == 30
    assert mark_of(ledger) == (30, 0)
    assert catch_up(ledger) == 70


def test_late_entries_count_in_the_hour_they_are_of(ledger: Database) -> None:
    draw = random.Random(3)
    write(ledger, [an_entry(draw, "new", MAY + 20 * DAY)])
    catch_up(ledger)
    write(ledger, [an_entry(draw, "late", MAY)])
    lines = report(ledger, Question.of(EVERYONE, bucket="day"))
    assert [line.period for line in lines if line.requests] == ["2026-05-01", "2026-05-21"]


def test_who_comes_second_adds_nothing(ledger: Database) -> None:
    write(ledger, entries(20))
    cells = cells_of(ledger, "e.seq <= ?", (20,))
    assert add(ledger, cells, (0, 0), (20, 0))
    assert not add(ledger, cells, (0, 0), (20, 0))
    assert total(report(ledger, Question.of(EVERYONE))).requests == 20


def test_what_is_interrupted_leaves_nothing_behind(
    ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pointsman.reports import rollup

    write(ledger, entries(20))

    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(rollup, "_add_latencies", fails)
        with pytest.raises(KeyboardInterrupt):
            catch_up(ledger)
    assert mark_of(ledger) == (0, 0)
    assert ledger.rows("SELECT count(*) FROM rollup") == [(0,)]
    assert total(report(ledger, Question.of(EVERYONE))).requests == 20


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_several_catch_up_at_once_and_nothing_is_counted_twice(
    opened: Open, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    where = tmp_path / "ledger.db"
    if kind == "postgresql":
        where = request.getfixturevalue("postgres_database")
    write(opened(where), entries(400))
    failures: list[BaseException] = []

    def work(database: Database) -> None:
        try:
            catch_up(database, batch=25)
        except StorageError as error:
            failures.append(error)

    def grow(database: Database) -> None:
        for begin in range(0, 200, 20):
            write(database, more[begin : begin + 20])

    more = entries(200, seed=2)
    threads = [threading.Thread(target=grow, args=(opened(where),))]
    threads += [threading.Thread(target=work, args=(opened(where),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures
    sums = total(report(opened(where), Question.of(EVERYONE)))
    cells = cells_of(opened(where), "e.seq > ?", (0,))
    plain = [sum(cell.sums[place] for cell in cells.values()) for place in range(len(MEASURES))]
    assert [getattr(sums, name) for name in MEASURES] == plain


@pytest.mark.real
@pytest.mark.slow
def test_postgresql_says_what_sqlite_says(
    ledger: Database, opened: Open, postgres_database: str
) -> None:
    made, other = entries(250), opened(postgres_database)
    for database in (ledger, other):
        write(database, made)
    for asked in QUESTIONS:
        question = Question.of(EVERYONE, **asked)
        assert report(other, question) == report(ledger, question)


# Whose figures they are.


def test_a_tenants_report_is_of_that_tenant_alone(ledger: Database) -> None:
    made = entries(300)
    write(ledger, made)
    for asked in QUESTIONS:
        for tenant in ("north", "south"):
            lines = report(ledger, Question.of(tenant, ["tenant", *asked.get("by", ())]))
            assert {line.group[0] for line in lines} == {tenant}
    own = total(report(ledger, Question.of("north"))).requests
    assert own == sum(each.caller.tenant == "north" for each in made)
    # Neither by filters nor by tags, nor in the part of an hour that is read from the entries.
    for where in ([("tenant", "south")], [("tenant", "")], [("tag:tenant", "south")]):
        assert report(ledger, Question.of("north", where=where)) == []
    edge = Question.of("north", ["tenant"], since=MAY + 10, until=MAY + 70 * DAY - 10)
    assert {line.group for line in report(ledger, edge)} == {("north",)}
    assert report(ledger, Question.of("nobody")) == []


@pytest.mark.parametrize("nobody", ["", None, 0, ["north"]])
def test_a_question_without_a_tenant_is_none(nobody: Any) -> None:
    with pytest.raises(InvalidRequest, match="needs a tenant") as raised:
        Question.of(nobody)
    assert raised.value.param == "tenant"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"by": ["modle"]}, "by"),
        ({"by": ["tag:"]}, "by"),
        ({"by": ["c.tenant"]}, "by"),
        ({"where": [("model; DROP TABLE entry", "x")]}, "where"),
        ({"by": ["day", "hour"]}, "by"),
        ({"by": ["day"], "bucket": "week"}, "by"),
        ({"where": [("day", "2026-05-01")]}, "where"),
        ({"bucket": "year"}, "bucket"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"since": float("nan")}, "since"),
        ({"until": -1.0}, "since"),
    ],
)
def test_a_mistake_is_named(asked: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        Question.of(EVERYONE, **asked)
    assert raised.value.param == param


@pytest.mark.parametrize("text", ["'; DROP TABLE entry; --", '") OR 1=1', "%", "ключ"])
def test_what_a_caller_writes_is_only_ever_a_value(ledger: Database, text: str) -> None:
    from msgspec.structs import replace

    odd = replace(an_entry(random.Random(1), "odd", MAY), tags=((text, text),), route=text)
    write(ledger, [odd, *entries(5)])
    [line] = report(ledger, Question.of(EVERYONE, [f"tag:{text}"], where=[("route", text)]))
    assert (line.group, line.requests) == ((text,), 1)
    assert total(report(ledger, Question.of(EVERYONE))).requests == 6
