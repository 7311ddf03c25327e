"""Exports: read back as they were written, by the readers that people use."""

from __future__ import annotations

import csv
import io
import random
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.reports.conftest import DAY, MAY, an_entry, entries, write

from pointsman.domain.call import Caller
from pointsman.errors import InvalidRequest
from pointsman.reports import EVERYONE, Question, report, total
from pointsman.reports.attempts import attempts
from pointsman.reports.exports import ATTEMPT_COLUMNS, attempt_rows, columns_for, line_rows
from pointsman.reports.focus import COLUMNS, focus_question, focus_rows, kinds
from pointsman.reports.tables import safe, write_csv, write_parquet
from pointsman.store.database import Database


def as_csv(database: Database, question: Question) -> list[dict[str, str]]:
    target = io.StringIO()
    write_csv(target, columns_for(question), line_rows(question, report(database, question)))
    return list(csv.DictReader(io.StringIO(target.getvalue(), newline="")))


def test_csv_is_read_back_to_the_nano(ledger: Database) -> None:
    write(ledger, entries(100))
    question = Question.of(EVERYONE, ["model", "tag:env"], bucket="month")
    rows = as_csv(ledger, question)
    spent = total(report(ledger, question)).cost_nano
    assert sum(Decimal(row["cost_usd"]) for row in rows) * 10**9 == spent
    assert sum(int(row["cost_nano_usd"]) for row in rows) == spent


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_cell_is_never_a_formula(ledger: Database, text: str) -> None:
    odd = replace(an_entry(random.Random(1), "odd", MAY), caller=Caller("k", app=text), tags=())
    write(ledger, [odd])
    [row] = as_csv(ledger, Question.of(EVERYONE, ["app"]))
    assert row["app"] == "'" + text
    assert safe(-5, "whole") == -5
    assert safe("-0.5", "usd") == "-0.5"


def test_every_attempt_is_exported_once_whatever_the_page(ledger: Database) -> None:
    made = entries(90)
    write(ledger, made)
    expected = {each.id for entry in made for each in entry.attempts}
    for page in (1, 7, 5_000):
        found = [each.attempt_id for each in attempts(ledger, EVERYONE, 0.0, 4e9, page)]
        assert len(found) == len(expected)
        assert set(found) == expected
    own = list(attempts(ledger, "north", MAY, MAY + 30 * DAY))
    assert {each.tenant for each in own} == {"north"}
    assert all(MAY <= each.at < MAY + 30 * DAY for each in own)


def test_parquet_holds_what_the_ledger_holds(ledger: Database, tmp_path: Path) -> None:
    import duckdb

    made = entries(80)
    odd = replace(an_entry(random.Random(1), "odd", MAY), caller=Caller('a"b,\r\n\r', app=""))
    write(ledger, [*made, odd])
    path = tmp_path / "it's attempts.parquet"
    found = attempts(ledger, EVERYONE, 0.0, 4e9)
    count = write_parquet(path, ATTEMPT_COLUMNS, attempt_rows(found))
    with duckdb.connect() as connection:
        table = connection.read_parquet(str(path))
        assert dict(zip(table.columns, map(str, table.types), strict=True))["cost_usd"] == (
            "DECIMAL(38,9)"
        )
        rows = table.select(
            "request_id", "key", "app", "cost_nano_usd", "cost_usd", "at"
        ).fetchall()
    assert len(rows) == count
    spent = sum(each.cost_nano or 0 for entry in [*made, odd] for each in entry.attempts)
    assert sum(row[3] or 0 for row in rows) == spent
    assert sum(row[4] or 0 for row in rows) == Decimal(spent) / 10**9
    assert {row[1:3] for row in rows if row[0] == "odd"} == {('a"b,\r\n\r', "")}
    unpriced = sum(each.cost_nano is None for entry in [*made, odd] for each in entry.attempts)
    assert sum(row[3] is None for row in rows) == unpriced
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


# FOCUS.

NEVER_EMPTY = {
    *("BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodStart"),
    *("BillingPeriodEnd", "ChargeCategory", "ChargePeriodStart", "ChargePeriodEnd"),
    *("ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ProviderName"),
    *("PublisherName", "ServiceCategory", "ServiceName", "ServiceSubcategory"),
}
"""Columns that FOCUS 1.2 does not allow to be null."""

PRESENT = NEVER_EMPTY | {
    *("BillingAccountName", "BillingAccountType", "ChargeClass", "ChargeDescription"),
    *("ChargeFrequency", "ConsumedQuantity", "ConsumedUnit", "PricingQuantity", "PricingUnit"),
    *("ResourceId", "ResourceName", "ResourceType", "RegionId", "RegionName", "SkuId"),
    *("SkuPriceId", "SubAccountId", "SubAccountName", "SubAccountType", "Tags"),
}

ALLOWED: dict[str, set[str | None]] = {
    "ChargeCategory": {"Usage", "Purchase", "Tax", "Credit", "Adjustment"},
    "ChargeClass": {None, "Correction"},
    "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
    "PricingCategory": {None, "Standard", "Dynamic", "Committed", "Other"},
    "ServiceCategory": {"AI and Machine Learning"},
    "BillingCurrency": {"USD"},
}


def test_focus_rows_fit_the_specification_and_add_up(ledger: Database) -> None:
    import json
    import re

    write(ledger, entries(150))
    ledger.run(
        "INSERT INTO adjustment (source, reference, at, provider, model, amount_nano, reason, "
        "booked) VALUES ('i', 'r', ?, 'p', 'small', -12345, 'differs', 0.0)",
        (MAY + 60.0,),
    )
    question = focus_question(EVERYONE, MAY, MAY + 90 * DAY)
    lines = report(ledger, question)
    rows = list(focus_rows(lines, account="acme"))
    assert set(COLUMNS) >= PRESENT
    assert all(re.fullmatch(r"x_\w+|[A-Z][A-Za-z]+", name) for name in COLUMNS)
    for row in rows:
        assert all(row[name] not in (None, "") for name in NEVER_EMPTY)
        assert all(row[name] in allowed for name, allowed in ALLOWED.items())
        for name, kind in kinds().items():
            value = row[name]
            if kind == "usd":
                assert re.fullmatch(r"-?\d+(\.\d{1,9})?", str(value))
            elif kind == "moment":
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(value))
            elif value is not None:
                assert isinstance(value, int if kind == "whole" else str)
        assert str(row["BillingPeriodStart"]) <= str(row["ChargePeriodStart"])
        assert str(row["ChargePeriodEnd"]) <= str(row["BillingPeriodEnd"])
        assert isinstance(json.loads(str(row["Tags"])), dict)
    sums = total(lines)
    billed = sum(Decimal(str(row["BilledCost"])) for row in rows) * 10**9
    assert billed == sums.billed_nano == sums.cost_nano - 12_345
    assert sum(int(row["ConsumedQuantity"] or 0) for row in rows) == sums.input + sums.output
    [adjusted] = [row for row in rows if row["ChargeCategory"] == "Adjustment"]
    assert adjusted["ChargeClass"] == "Correction"
    with pytest.raises(InvalidRequest, match="whole days"):
        focus_question(EVERYONE, MAY + 1, MAY + DAY)
