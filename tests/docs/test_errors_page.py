"""docs/errors.md is the client contract of the code, and the code keeps the contract's table."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from tools.errors_page import OWN, PAGE, TABLE, TABLES, rewritten

import pointsman
from pointsman import PointsmanError, ProviderFailure, Rejected, errors
from pointsman.errors import FailureKind
from pointsman.routing.contract import ENDS, IN_STREAM, KINDS, MIXED, UNAVAILABLE, kinds_with
from pointsman.routing.failover import Failed, retry_cost
from pointsman.routing.verdict import verdict

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_is_what_the_code_prints() -> None:
    assert rewritten(TEXT) == TEXT, "run: python tools/errors_page.py"


def test_every_table_is_on_the_page() -> None:
    assert [match[2] for match in TABLE.finditer(TEXT)] == list(TABLES)


def test_every_error_a_client_may_see_is_documented() -> None:
    tree = {each for each in vars(errors).values() if isinstance(each, type)}
    faces = {each.__name__ for each in tree if issubclass(each, PointsmanError)}
    inside = {"PointsmanError", "ConfigError", "Rejected", "ProviderFailure", "AllFailed"}
    inside.add("Unsupported")  # Where nobody can say a request, the client gets InvalidRequest.
    assert {name for name, _ in OWN} == faces - inside


def told(*kinds: FailureKind, retry_allowed: bool = True) -> PointsmanError:
    failures = [
        Failed(f"d{n}", ProviderFailure(kind, "", retry_after_s=7.0), 0.0)
        for n, kind in enumerate(kinds)
    ]
    return verdict("auto", failures, now=0.0, why="", retry_allowed=retry_allowed)


@pytest.mark.parametrize("kind", get_args(FailureKind))
def test_the_verdict_on_a_kind_keeps_its_row(kind: FailureKind) -> None:
    row = KINDS[kind]
    for error in (told(kind), told(kind, kind)):
        assert (error.status, error.code) == (row.status, row.code)
        assert error.should_retry == (row.retry != "no")
        assert error.retry_after_s == (7.0 if row.retry_after else None)
    assert not told(kind, retry_allowed=False).should_retry
    failed = Failed("d", ProviderFailure(kind, ""), 0.0)
    assert retry_cost([failed]) == row.retry_cost


def test_the_verdict_on_several_kinds_keeps_its_row() -> None:
    error = told("throttled", "timeout")
    assert (error.status, error.code, error.should_retry) == (MIXED.status, MIXED.code, False)


def test_the_verdict_where_nobody_was_called_keeps_its_row() -> None:
    refused = Failed("d", Rejected("", retry_after_s=3.0), 0.0)
    error = verdict("auto", [refused], now=0.0, why="", retry_allowed=True)
    assert (error.status, error.code) == (UNAVAILABLE.status, UNAVAILABLE.code)
    assert (error.should_retry, error.retry_after_s) == (True, 3.0)


def test_nothing_that_is_the_callers_own_counts_against_a_provider() -> None:
    assert kinds_with("neutral") == {"content_filter", "context_length"}
    assert kinds_with("hard") == {"overloaded", "unavailable", "timeout", "malformed"}


def test_no_providers_401_becomes_the_clients() -> None:
    assert all(row.status not in (401, 403, 404) for row in KINDS.values())


def test_each_code_of_the_contract_is_raised_somewhere() -> None:
    """A code that no line of the code knows would be a promise about nothing."""
    source = Path(pointsman.__file__).parent
    text = "".join(
        path.read_text(encoding="utf-8")
        for path in source.rglob("*.py")
        if path.name != "contract.py"
    )
    read_from_the_table = {row.code for row in KINDS.values()} | {row.code for row in ENDS}
    for row in IN_STREAM:
        assert f'"{row.code}"' in text or row.code in read_from_the_table, row.code
