"""`pointsman report`: what a person and a script see."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.reports.conftest import DAY, MAY, entries, write
from tests.reports.test_reconcile import by_attempt
from tests.reports.test_trend import daily

from pointsman.cli.main import main
from pointsman.reports import EVERYONE, Question, report, total
from pointsman.store.database import Database

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("POINTSMAN_LEDGER", raising=False)

    def command(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["report", *arguments, "--ledger", "ledger.db"])

    return command


def test_lines_are_what_the_library_says(run: Run, ledger: Database) -> None:
    write(ledger, entries(50))
    found = json.loads(run("lines", "--by", "tenant,model", "--json").output)
    lines = report(ledger, Question.of(EVERYONE, ["tenant", "model"]))
    assert [(row["tenant"], row["model"], row["cost_nano_usd"]) for row in found["lines"]] == [
        (*line.group, line.cost_nano) for line in lines
    ]
    assert found["total"]["cost_nano_usd"] == total(lines).cost_nano
    text = run("lines", "--by", "tenant,model", "--bucket", "month").output.splitlines()
    assert text[0].split()[:4] == ["period", "tenant", "model", "requests"]
    assert len(text) > 5


def test_a_tenant_sees_its_own(run: Run, ledger: Database) -> None:
    write(ledger, entries(50))
    found = json.loads(run("lines", "--by", "tenant", "--tenant", "north", "--json").output)
    assert [row["tenant"] for row in found["lines"]] == ["north"]


@pytest.mark.parametrize(
    ("arguments", "option", "words"),
    [
        (["lines", "--by", "modle"], "--by", "unknown dimension 'modle'"),
        (["lines", "--where", "app"], "--where", "no DIMENSION=VALUE"),
        (["lines", "--since", "soon"], "--since", "is no moment"),
        (["lines", "--timezone", "Mars"], "--timezone", "unknown time zone"),
        (["lines", "--tenant", ""], "--tenant", "needs a tenant"),
        (["runway", "--limit-usd", "NaN"], "--limit-usd", "no amount"),
        (["trend", "--ahead", "4000"], "--ahead", "up to 400"),
        (["savings", "--baseline", "x"], "--config", "is needed"),
        (["export", "--what", "focus", "--since", "2026-05-01T10:00"], "--since", "whole days"),
    ],
)
def test_a_mistake_names_its_option(
    run: Run, ledger: Database, arguments: list[str], option: str, words: str
) -> None:
    write(ledger, entries(2))
    result = run(*arguments)
    assert result.exit_code == 2
    assert option in result.output
    assert words in result.output


def test_without_a_ledger_it_says_what_to_do(run: Run) -> None:
    result = run("lines")
    assert result.exit_code == 1
    assert "ledger ledger.db: no such file" in result.output


def test_trend_drivers_and_runway_are_told(run: Run, ledger: Database) -> None:
    from pointsman.clock import SystemClock

    shift = SystemClock.wall() // DAY * DAY - MAY - 40 * DAY
    from msgspec.structs import replace

    write(ledger, [replace(each, at=each.at + shift) for each in daily(40, 10.0, 0.1)])
    assert "with 80 %" in run("trend", "--ahead", "3").output
    assert len(json.loads(run("trend", "--json").output)["ahead"]) == 14
    output = run("drivers", "--before", "40d", "--since", "20d").output
    assert output.splitlines()[-1].startswith("total")
    found = json.loads(run("drivers", "--before", "40d", "--since", "20d", "--json").output)
    assert sum(found["effects"].values()) == found["after_nano"] - found["before_nano"]
    assert "are spent; the window ends" in run("runway", "--limit-usd", "5000").output
    Path("pointsman.yaml").write_text(
        "providers: {ollama: {}}\nledger: {path: ledger.db}\n"
        "deployments: [{model: m, provider: ollama, price: free}]\n"
        "routes: [{name: auto, deployments: [ollama/m]}]\n"
        "budgets: [{name: north, scope: tenant, limit_usd: 5000}]\n"
    )
    asked = ("runway", "--budget", "north", "--subject", "north", "-c", "pointsman.yaml")
    assert "of $5,000.00 are spent" in run(*asked).output
    assert "no budget 'nort'" in run("runway", "--budget", "nort", "-c", "pointsman.yaml").output
    assert run("runway").exit_code == 2


def test_exports_are_files(run: Run, ledger: Database, tmp_path: Path) -> None:
    import duckdb

    write(ledger, entries(30))
    printed = list(csv.DictReader(io.StringIO(run("export", "--by", "model").output, newline="")))
    assert {row["model"] for row in printed} >= {"small", "large"}
    assert run("export", "--what", "attempts", "--to", "a.parquet").exit_code == 0
    with duckdb.connect() as connection:
        [spent] = connection.read_parquet("a.parquet").sum("cost_nano_usd").fetchall()[0]
    assert spent == total(report(ledger, Question.of(EVERYONE))).cost_nano
    assert run("export", "--what", "focus", "--since", "2026-05-01", "--to", "f.csv").exit_code == 0
    with Path("f.csv").open(newline="") as file:
        assert "ChargePeriodStart" in csv.DictReader(file).fieldnames  # type: ignore[operator]


def test_an_invoice_is_compared_and_booked(run: Run, ledger: Database) -> None:
    made = [each for each in entries(30) if each.attempts]
    write(ledger, made)
    invoice = Path("invoice.csv")
    invoice.write_text("\n".join(by_attempt(made)) + "\n")
    agreed = run("reconcile", str(invoice))
    assert (agreed.exit_code, "agree" in agreed.output) == (0, True)
    one = made[0].attempts[0]
    changed = by_attempt(made, **{one.id.replace("-", "_"): (one.cost_nano or 0) + 5})
    invoice.write_text("\n".join(changed) + "\n")
    differs = run("reconcile", str(invoice), "--json")
    assert differs.exit_code == 1
    assert json.loads(differs.output)["difference_nano_usd"] == 5
    assert json.loads(run("reconcile", str(invoice), "--book", "--json").output)["booked"] == 1
    assert run("reconcile", str(invoice)).exit_code == 0


def test_nothing_is_booked_in_a_ledger_that_stays_as_it_is(
    run: Run, ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [each for each in entries(5) if each.attempts]
    write(ledger, made)
    Path("invoice.csv").write_text("\n".join(by_attempt(made)) + "\n")
    monkeypatch.setattr(os, "access", lambda _, mode: mode != os.W_OK)
    assert run("reconcile", "invoice.csv").exit_code == 0
    result = run("reconcile", "invoice.csv", "--book")
    assert result.exit_code == 1
    assert "nothing is booked in it" in result.output
