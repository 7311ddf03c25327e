"""docs/errors.md is the client contract of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import orjson
import pytest

import pointsman
from pointsman import PointsmanError, ProviderFailure, Rejected, errors
from pointsman.dialects.registry import DIALECTS
from pointsman.errors import FailureKind
from pointsman.routing.failover import Failed
from pointsman.routing.verdict import verdict

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (.+) \|$", re.MULTILINE)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [
        [cell.strip(" `") for cell in match[1].split(" | ")] for match in ROW.finditer(section)
    ][1:]


OWN = rows("The caller's, and ours")
FAILED = {row[0]: row[1:] for row in rows("When every attempt has failed")}
WORDS = rows("The word for a status")


@pytest.mark.parametrize("row", OWN, ids=lambda row: row[0])
def test_an_error_of_ours_is_as_documented(row: list[str]) -> None:
    kind = getattr(pointsman, row[0])
    error = kind("")
    assert [str(error.status), error.code, str(error.should_retry).lower()] == row[1:4]


def test_every_error_a_client_may_see_is_documented() -> None:
    tree = {each for each in vars(errors).values() if isinstance(each, type)}
    faces = {each.__name__ for each in tree if issubclass(each, PointsmanError)}
    inside = {"PointsmanError", "ConfigError", "Rejected", "ProviderFailure", "AllFailed"}
    inside.add("Unsupported")  # Where nobody can say a request, the client gets InvalidRequest.
    assert {row[0] for row in OWN} == faces - inside


def told(*kinds: FailureKind) -> list[str]:
    failures = [Failed(f"d{n}", ProviderFailure(kind, ""), 0.0) for n, kind in enumerate(kinds)]
    error = verdict("auto", failures, now=0.0, why="")
    return [str(error.status), error.code]


@pytest.mark.parametrize("kind", get_args(FailureKind))
def test_the_verdict_on_a_kind_is_as_documented(kind: FailureKind) -> None:
    assert told(kind) == told(kind, kind) == FAILED[kind]


def test_the_verdict_on_several_kinds_is_as_documented() -> None:
    assert told("throttled", "timeout") == FAILED["different kinds"]


def test_the_verdict_where_nobody_was_called_is_as_documented() -> None:
    error = verdict("auto", [Failed("d", Rejected(""), 0.0)], now=0.0, why="")
    assert [str(error.status), error.code] == FAILED["nobody was called: breakers, limits"]
    assert len(FAILED) == len(get_args(FailureKind)) + 2


@pytest.mark.parametrize("row", WORDS, ids=lambda row: row[0])
def test_the_word_for_a_status_is_as_documented(row: list[str]) -> None:
    error = PointsmanError("", status=int(row[0]))
    words = [
        orjson.loads(DIALECTS[name].render_error(error, ""))["error"]["type"]
        for name in ("openai", "anthropic")
    ]
    assert words == row[1:]
