"""`pointsman usage`: what a person and a script see."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pointsman.cli.main import main
from pointsman.cli.periods import moment
from pointsman.clock import SystemClock
from pointsman.domain.call import Caller
from pointsman.ledger.sqlite import SqliteLedger
from pointsman.ledger.write import insert
from pointsman.store.open import Store

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("POINTSMAN_LEDGER", raising=False)

    def command(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["usage", *arguments])

    return command


@pytest.fixture
def ledger(tmp_path: Path, entry: Any, attempt: Any) -> Path:
    """A day's work: three requests of two apps, one of them by way of a failing model."""
    path = tmp_path / "pointsman.db"
    store = SqliteLedger(path, SystemClock(), flush_s=0.0)
    day = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
    web, bot = Caller("k", app="web"), Caller("k", app="bot")
    failed = attempt("large", 900_000_000, outcome="timeout")
    store.append(entry(failed, attempt("small", 1), at=day, caller=web, baseline_nano=None))
    store.append(entry(attempt("small", 1_500_000_000), at=day, caller=web, baseline_nano=10**9))
    store.append(entry(attempt("small", None), at=day + 86_400, caller=bot, baseline_nano=None))
    store.close()
    return path


def test_the_table_shows_groups_and_their_total(run: Run, ledger: Path) -> None:
    lines = run("--by", "model,app").output.splitlines()
    assert [line.split()[:3] for line in lines[:-1]] == [
        ["model", "app", "requests"],
        ["small", "web", "2"],
        ["large", "web", "0"],
        ["small", "bot", "1"],
        ["total", "3", "0"],
    ]
    assert "$2.40" in lines[-2]
    assert "-$0.5000" in lines[-2]
    assert lines[-1].startswith("Attempts of unknown price, not in the cost: 1.")


def test_json_has_exact_amounts(run: Run, ledger: Path) -> None:
    rows = json.loads(run("--by", "model", "--json").output)
    assert [(row["model"], row["cost_nano_usd"], row["cost_usd"]) for row in rows] == [
        ("small", 1_500_000_001, "1.500000001"),
        ("large", 900_000_000, "0.9"),
    ]
    assert rows[0]["unpriced_attempts"] == 1
    assert rows[0]["saved_nano_usd"] == -500_000_000


def test_csv_is_read_back(run: Run, ledger: Path) -> None:
    output = run("--by", "app", "--bucket", "day", "--csv").output
    rows = list(csv.DictReader(io.StringIO(output)))
    assert [(row["period"], row["app"], row["cost_usd"]) for row in rows] == [
        ("2026-11-20", "web", "2.400000001"),
        ("2026-11-21", "bot", "0"),
    ]


def test_a_day_may_be_asked_for_among_the_dimensions(run: Run, ledger: Path) -> None:
    rows = json.loads(run("--by", "app,day", "--json").output)
    assert [(row["app"], row["day"], row["requests"]) for row in rows] == [
        ("web", "2026-11-20", 2),
        ("bot", "2026-11-21", 1),
    ]
    assert run("--by", "day").output.splitlines()[1].split()[:2] == ["2026-11-20", "2"]


def test_it_says_what_a_report_says(run: Run, ledger: Path) -> None:
    [row] = json.loads(run("--by", "", "--json").output)
    told = CliRunner().invoke(main, ["report", "lines", "--by", "", "--json"]).output
    [line] = json.loads(told)["lines"]
    same = ("requests", "errors", "attempts", "fallbacks", "input_tokens", "cost_nano_usd")
    assert {name: row[name] for name in same} == {name: line[name] for name in same}
    assert (row["seconds_p95"], row["saved_usd"]) == (line["seconds_p95"], line["saved_usd"])


@pytest.mark.real
@pytest.mark.parametrize("how", ["option", "environment", "config"])
def test_a_ledger_in_postgresql_is_reported(
    run: Run,
    how: str,
    entry: Any,
    postgres_database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (
        closing(Store.of(postgres_database, SystemClock()).open()) as database,
        database.transaction(),
    ):
        insert(database, [entry(), entry()])
    arguments: tuple[str, ...] = ()
    if how == "option":
        arguments = ("--ledger", postgres_database)
    elif how == "environment":
        monkeypatch.setenv("POINTSMAN_LEDGER", postgres_database)
    else:
        monkeypatch.setenv("LEDGER_URL", postgres_database)
        (tmp_path / "pointsman.yaml").write_text("ledger: {url: env:LEDGER_URL}\n")
        arguments = ("--config", "pointsman.yaml")
    [row] = json.loads(run("--by", "model", "--json", *arguments).output)
    assert (row["model"], row["requests"], row["cost_nano_usd"]) == ("small", 2, 200)


def test_csv_of_nothing_still_has_its_head(run: Run, ledger: Path) -> None:
    output = run("--by", "app", "--csv", "--since", "2027-01-01").output
    assert output.startswith("app,requests,errors,")
    assert output.count("\n") == 1


def test_a_period_without_requests_says_so(run: Run, ledger: Path) -> None:
    result = run("--since", "2027-01-01")
    assert result.exit_code == 0
    assert "No requests in this period" in result.output


def test_filters_and_periods_reach_the_report(run: Run, ledger: Path) -> None:
    where = ("--where", "app=web", "--where", "app=bot", "--since", "2026-11-21", "--json")
    [row] = json.loads(run("--by", "", *where).output)
    assert row["requests"] == 1


@pytest.mark.parametrize(
    ("arguments", "option", "words"),
    [
        (["--by", "modle"], "--by", "unknown dimension 'modle'"),
        (["--where", "modle=x"], "--where", "unknown dimension 'modle'"),
        (["--where", "app"], "--where", "no DIMENSION=VALUE"),
        (["--since", "soon"], "--since", "'soon' is no moment; try 24h"),
        (["--until", "2026-13-01"], "--until", "is no moment"),
        (["--bucket", "year"], "--bucket", "'year' is not one of"),
        (["--by", "day", "--bucket", "week"], "--by", "one of hour, day, week and month"),
        (["--where", "day=2026-11-20"], "--where", "named by since and until"),
    ],
)
def test_a_mistake_names_its_option(
    run: Run, ledger: Path, arguments: list[str], option: str, words: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert option in result.output
    assert words in result.output


def test_without_a_ledger_it_says_what_to_do(run: Run) -> None:
    result = run()
    assert result.exit_code == 1
    assert "ledger pointsman.db: no such file; start `pointsman serve`" in result.output


def test_the_ledger_is_found_by_the_configuration_without_its_keys(
    run: Run, ledger: Path, tmp_path: Path
) -> None:
    """A key in the file that this shell does not have is none of our business."""
    folder = tmp_path / "etc"
    folder.mkdir()
    ledger.rename(folder / "money.db")
    config = folder / "pointsman.yaml"
    config.write_text(
        "providers: {openai: {key: env:NOT_SET_ANYWHERE}}\nledger: {path: money.db}\n"
    )
    assert json.loads(run("--config", str(config), "--json").output)[0]["requests"] == 3


@pytest.mark.parametrize("text", ["routes: []\n", "ledger:\n", "ledger: {path: [a]}\n", "- a\n"])
def test_a_configuration_without_a_ledger_is_told(run: Run, tmp_path: Path, text: str) -> None:
    config = tmp_path / "pointsman.yaml"
    config.write_text(text)
    result = run("--config", str(config))
    assert result.exit_code == 1
    assert "no ledger.path" in result.output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", "2026-11-18T13:45:30"),
        ("24h", "2026-11-17T15:15:30"),
        ("7d", "2026-11-11T15:15:30"),
        ("2w", "2026-11-04T15:15:30"),
        ("now", "2026-11-18T15:15:30"),
        ("today", "2026-11-18T00:00:00"),
        ("Yesterday", "2026-11-17T00:00:00"),
        ("week", "2026-11-16T00:00:00"),
        ("month", "2026-11-01T00:00:00"),
        ("2026-11-01", "2026-11-01T00:00:00"),
        ("2026-11-01T09:30", "2026-11-01T09:30:00"),
        ("2026-11-01T09:30Z", "2026-11-01T09:30:00"),
        ("2026-11-01T09:30+02:00", "2026-11-01T07:30:00"),
    ],
)
def test_a_moment_is_read_in_utc(text: str, expected: str) -> None:
    now = datetime(2026, 11, 18, 15, 15, 30, tzinfo=UTC).timestamp()
    assert datetime.fromtimestamp(moment(text, now), UTC).isoformat() == f"{expected}+00:00"


@pytest.mark.parametrize(
    "text", ["", "7", "d7", "-7d", "tomorrow-ish", "99999999999d", "2026-02-30"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="try 24h"):
        moment(text, 1_790_000_000.0)
