"""Invoices against the ledger: what agrees, what differs, and what booking it changes."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.reports.conftest import DAY, MAY, Open, entries, write

from pointsman.errors import InvalidRequest
from pointsman.ledger.entries import LedgerEntry
from pointsman.reports import EVERYONE, Question, report, total
from pointsman.reports.attempts import attempts
from pointsman.reports.invoice import items, mapped
from pointsman.reports.reconcile import Tolerance, book, reconcile
from pointsman.store.database import Database


def by_attempt(made: list[LedgerEntry], **changed: int) -> list[str]:
    """An invoice of every attempt; `changed` costs by the attempt's id with _ for -."""
    lines = ["attempt_id,cost_nano_usd"]
    for entry in made:
        for each in entry.attempts:
            cost = changed.get(each.id.replace("-", "_"), each.cost_nano)
            lines.append(f"{each.id},{cost or 0}")
    return lines


def test_an_invoice_of_every_attempt_agrees_to_the_nano(ledger: Database) -> None:
    made = entries(120)
    write(ledger, made)
    found = reconcile(ledger, EVERYONE, items(by_attempt(made)))
    assert found.is_agreed
    assert found.nano == 0
    assert book(ledger, found, "may") == []


def test_what_differs_is_booked_once_and_then_agrees(ledger: Database) -> None:
    made = [each for each in entries(60) if each.attempts]
    write(ledger, made)
    before = total(report(ledger, Question.of(EVERYONE)))
    one, lost = made[3].attempts[0], made[5].attempts[0]
    invoice = by_attempt(made, **{one.id.replace("-", "_"): (one.cost_nano or 0) + 777})
    invoice = [line for line in invoice if not line.startswith(f"{lost.id},")]
    invoice.append("stray,55")
    found = reconcile(ledger, EVERYONE, items(invoice), since=0.0)
    wrong = {each.attempt_id: each for each in found.differences if each.verdict != "agrees"}
    assert wrong[one.id].nano == 777
    assert wrong["stray"].verdict == "only invoice"
    if lost.cost_nano:
        assert (wrong[lost.id].verdict, wrong[lost.id].nano) == ("only ledger", -lost.cost_nano)
    assert len(book(ledger, found, "may")) == len(wrong)
    assert book(ledger, found, "may") == []
    again = reconcile(ledger, EVERYONE, items(invoice), since=0.0)
    assert [each.attempt_id for each in again.differences if each.verdict != "agrees"] == ["stray"]
    after = total(report(ledger, Question.of(EVERYONE)))
    assert after.adjusted_nano == found.nano == 777 - (lost.cost_nano or 0) + 55
    assert after.cost_nano == before.cost_nano
    # It belongs to whom the attempt belonged to.
    [line] = [
        each
        for each in report(ledger, Question.of(EVERYONE, ["key", "model", "route"]))
        if each.group == (made[3].caller.key, one.model, made[3].route)
    ]
    assert line.adjusted_nano in (777, 777 - (lost.cost_nano or 0))


def test_what_nobody_had_said_is_settled_in_ledger_and_budgets(ledger: Database) -> None:
    """An attempt whose answer was cut off counts its hold until the invoice tells."""
    from pointsman.budgets.check import check
    from pointsman.budgets.escrow_sql import Charge, enrol, settle

    made = next(each for each in entries(50) if len(each.attempts) == 1)
    cut_off = replace(made.attempts[0], cost_nano=40, charged_nano=100)
    write(ledger, [replace(made, attempts=(cut_off,), cost_nano=40)])
    with ledger.transaction():
        enrol(ledger, "w", 1, "h", "b", 0.0)
        for sql in (
            "INSERT INTO budget_account VALUES (1, 'month', 'web', 'nano_usd')",
            "INSERT INTO budget_slice VALUES (1, 0.0, 9e9, 1000, 0, 100, 0)",
            "INSERT INTO lease VALUES (1, 1, 0.0, 'w', 1, 100, 0, 0, 'live', 9e9)",
        ):
            ledger.run(sql)
        settle(ledger, "w", 1, [Charge(cut_off.id, 1, 100, 100, False, 1, made.at)])
    before = total(report(ledger, Question.of(EVERYONE)))
    assert (before.cost_nano, before.uncertain_nano) == (40, 60)

    agreed = reconcile(ledger, EVERYONE, items(["attempt_id,cost_nano", f"{cut_off.id},40"]))
    assert [each.verdict for each in agreed.differences] == ["uncertain"]
    found = reconcile(ledger, EVERYONE, items(["attempt_id,cost_nano", f"{cut_off.id},55"]))
    assert len(book(ledger, found, "may")) == 1
    after = total(report(ledger, Question.of(EVERYONE)))
    assert (after.cost_nano, after.adjusted_nano, after.uncertain_nano) == (40, 15, 0)
    assert ledger.rows("SELECT spent FROM budget_slice") == [(55,)]
    assert check(ledger) == []
    again = reconcile(ledger, EVERYONE, items(["attempt_id,cost_nano", f"{cut_off.id},55"]))
    assert again.is_agreed
    assert book(ledger, again, "june") == []


def test_an_adjustment_is_never_changed(ledger: Database) -> None:
    from pointsman.store.errors import RowRefused

    write(ledger, entries(3))
    ledger.run(
        "INSERT INTO adjustment (source, reference, at, amount_nano, reason, booked) "
        "VALUES ('s', 'r', 0.0, 5, 'differs', 0.0)"
    )
    for change in ("UPDATE adjustment SET amount_nano = 6", "DELETE FROM adjustment"):
        with pytest.raises(RowRefused):
            ledger.run(change)


def test_an_attempt_billed_twice_is_told(ledger: Database) -> None:
    made = next(each for each in entries(20) if each.attempts)
    write(ledger, [made])
    [first, *_] = made.attempts
    lines = by_attempt([made])
    found = reconcile(ledger, EVERYONE, items([*lines, f"{first.id},{first.cost_nano or 0}"]))
    assert found.twice == (first.id,)
    assert not found.is_agreed


def invoice_by_day(made: list[LedgerEntry], heads: dict[str, str], date: str = "%Y-%m-%d") -> str:
    """A provider's file with `heads` (field -> column), summed by day and model."""
    sums: dict[tuple[str, str], dict[str, int]] = {}
    for entry in made:
        day = datetime.fromtimestamp(entry.at, UTC).strftime(date)
        for each in entry.attempts:
            found = sums.setdefault(
                (day, each.model), dict.fromkeys(("input", "plain", "output", "cached", "cost"), 0)
            )
            found["input"] += each.usage.input
            found["plain"] += each.usage.input - each.usage.cached
            found["output"] += each.usage.output
            found["cached"] += each.usage.cached
            found["cost"] += each.cost_nano or 0
    target = io.StringIO()
    writer = csv.DictWriter(target, list(heads.values()))
    writer.writeheader()
    for (day, model), found in sums.items():
        said = {**{name: str(value) for name, value in found.items()}, "day": day}
        said |= {"model": f"{model}-2026-04-01", "usd": f"{found['cost'] / 1e9:.9f}", "n": "1"}
        writer.writerow({column: said[name] for name, column in heads.items()})
    return target.getvalue()


FILES = {
    "openai-usage": {
        "day": "start_time_iso",
        "model": "model",
        "n": "num_model_requests",
        "input": "input_tokens",
        "output": "output_tokens",
        "cached": "input_cached_tokens",
    },
    "openai-costs": {"day": "start_time_iso", "model": "line_item", "usd": "amount_value"},
    "anthropic-usage": {
        "day": "usage_date_utc",
        "model": "model_version",
        "plain": "usage_input_tokens_no_cache",
        "cached": "usage_input_tokens_cache_read",
        "output": "usage_output_tokens",
    },
    "anthropic-cost": {"day": "usage_date_utc", "model": "model", "usd": "cost_usd"},
}


@pytest.mark.parametrize("name", FILES)
def test_a_providers_file_agrees_with_what_was_counted(ledger: Database, name: str) -> None:
    made = [
        replace(each, attempts=tuple(replace(a, usage=_sound(a.usage)) for a in each.attempts))
        for each in entries(80, span=5 * DAY)
    ]
    write(ledger, made)
    text = invoice_by_day(made, FILES[name])
    found = reconcile(ledger, EVERYONE, items(text.splitlines()), provider="p")
    assert found.is_agreed
    assert len(found.differences) == 10
    dearer = text.replace("\r\n", "\n").splitlines()
    cells = dearer[1].split(",")
    cells[-1] = str(float(cells[-1]) * 1.5 if "." in cells[-1] else int(cells[-1]) * 2 + 500)
    found = reconcile(
        ledger, EVERYONE, items([dearer[0], ",".join(cells), *dearer[2:]]), provider="p"
    )
    assert [each.verdict for each in found.differences].count("differs") == 1


def _sound(usage: object) -> object:
    from pointsman.domain.usage import Usage

    assert isinstance(usage, Usage)
    return Usage(input=max(usage.input, 3), output=usage.output, cached=3)


def test_a_day_that_differs_is_booked_for_its_model(ledger: Database) -> None:
    made = entries(60, span=3 * DAY)
    write(ledger, made)
    text = "Date,Model,Amount\n2026-05-02,small,$1.000000001\n2026-05-02,unheard,2\n"
    shape = mapped({"day": "Date", "model": "Model", "cost_usd": "Amount"})
    found = reconcile(ledger, EVERYONE, items(text.splitlines(), shape), provider="p")
    verdicts = {each.model: each.verdict for each in found.differences}
    assert verdicts == {"small": "differs", "large": "only ledger", "unheard": "only invoice"}
    assert {each.model for each in book(ledger, found, "bill")} == {"small", "unheard"}
    lines = report(ledger, Question.of(EVERYONE, ["model"], bucket="day"))
    billed = {(line.period, line.group[0]): line.billed_nano for line in lines}
    assert billed["2026-05-02", "small"] == 1_000_000_001
    assert billed["2026-05-02", "unheard"] == 2_000_000_000
    again = reconcile(ledger, EVERYONE, items(text.splitlines(), shape), provider="p")
    assert {each.model for each in again.differences if each.verdict != "agrees"} == {"large"}
    # A correction without a caller is nobody's: no tenant's report shows it.
    assert total(report(ledger, Question.of("north"))).adjusted_nano == 0


def test_tolerance_is_a_share_or_an_amount() -> None:
    tolerance = Tolerance(share=0.01)
    assert tolerance.holds(10_000, 10_100, 0)
    assert not tolerance.holds(10_000, 10_102, 0)
    assert tolerance.holds(0, 5, 5)
    assert Tolerance(share=0.0).holds(10**18, 10**18, 0)
    assert not Tolerance(share=0.0).holds(10**18, 10**18 + 1, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "none of attempts"),
        ("a,b\n1,2\n", "none of attempts, openai-usage"),
        ("attempt_id,cost_usd\nx,1e400\n", "line 2: '1e400' is no amount"),
        ("attempt_id,cost_usd\nx,NaN\n", "line 2: 'NaN' is no amount"),
        ("attempt_id,cost_usd\nx,free\n", "line 2: 'free' is no amount"),
        ("attempt_id,cost_usd,currency\nx,1,EUR\n", "line 2: EUR is not USD"),
        ("usage_date_utc,model,cost_usd\nyesterday,m,1\n", "line 2: 'yesterday' is no day"),
        ("usage_date_utc,cost_usd\n2026-05-01,1\n", "no column model or model_version"),
        ("attempt_id,model\nx,y\n", "no column input_tokens"),
        ("start_time,model,input_tokens,num_model_requests\n1,a,1.5,1\n", "line 2"),
    ],
)
def test_a_file_that_cannot_be_understood_names_what(text: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        list(items(text.splitlines()))


@pytest.mark.parametrize(
    "text", ["attempt_id,cost_usd\na,1\n".encode("utf-16"), b"PAR1\x15\xfe\x00", b"\xff"]
)
def test_a_file_that_is_no_text_is_told_so(text: bytes, tmp_path: Path) -> None:
    """Spreadsheets write UTF-16, and some take an export in Parquet for an invoice."""
    (tmp_path / "invoice").write_bytes(text)
    with (
        (tmp_path / "invoice").open(encoding="utf-8-sig", newline="") as lines,
        pytest.raises(InvalidRequest, match="UTF-8"),
    ):
        list(items(lines))


def test_numbers_and_days_are_read_as_they_are_written() -> None:
    lines = [
        "\ufeffstart_time,model,input_tokens,output_tokens,num_model_requests",
        '1777593600,m,"1,234",5,2',
        ",,,,",
    ]
    [item] = items(lines)
    assert (item.day, item.input, item.output, item.cached) == ("2026-05-01", 1_234, 5, None)


@pytest.mark.real
@pytest.mark.slow
def test_postgresql_books_what_sqlite_books(
    ledger: Database, opened: Open, postgres_database: str
) -> None:
    made = [each for each in entries(60) if each.attempts]
    one = made[3].attempts[0]
    invoice = by_attempt(made, **{one.id.replace("-", "_"): (one.cost_nano or 0) + 777})
    other = opened(postgres_database)
    for database in (ledger, other):
        write(database, made)
        assert total(report(database, Question.of(EVERYONE))).adjusted_nano == 0
        found = reconcile(database, EVERYONE, items(invoice))
        assert [each.nano for each in book(database, found, "may")] == [777]
        assert reconcile(database, EVERYONE, items(invoice)).is_agreed
    everything = Question.of(EVERYONE, ["tenant", "model"], bucket="day")
    assert report(other, everything) == report(ledger, everything)
    assert list(attempts(other, EVERYONE, 0.0, 4e9, 7)) == list(
        attempts(ledger, EVERYONE, 0.0, 4e9)
    )
    assert list(attempts(other, "north", MAY, 4e9)) == list(attempts(ledger, "north", MAY, 4e9))
