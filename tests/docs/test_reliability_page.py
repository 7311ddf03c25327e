"""docs/reliability.md shows what docs/results holds, and results are made small without loss."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tools.reliability_page import PAGE, TABLE, TABLES, rewritten
from tools.reliability_results import smaller_faults, suites, take

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_is_what_the_results_print() -> None:
    assert rewritten(TEXT) == TEXT, "run: python tools/reliability_page.py"


def test_every_table_is_on_the_page() -> None:
    assert [match[2] for match in TABLE.finditer(TEXT)] == list(TABLES)


def cell(fallback: bool, streamed: bool, right: str, *wrong: str) -> dict[str, object]:
    return {
        "fault": "500",
        "group": "Statuses",
        "catalogue_row": "3",
        "fallback": fallback,
        "streamed": streamed,
        "right": right,
        "wrong": list(wrong),
    }


def test_a_fault_becomes_one_row_with_its_modes() -> None:
    rows = [
        cell(False, True, "502 error x1"),
        cell(False, True, "502 error x1", "status 500"),
        cell(True, True, "200 from b x2"),
    ]
    assert smaller_faults({"seed": 3, "rows": rows}) == {
        "seed": 3,
        "rows": [
            {
                "fault": "500",
                "group": "Statuses",
                "row": "3",
                "alone": [None, "502 error x1"],
                "fallback": [None, "200 from b x2"],
                "cells": 3,
                "exact": 2,
            }
        ],
    }


def test_a_result_is_kept_once_and_says_where_it_is_from(tmp_path: Path) -> None:
    build, results = tmp_path / "build", tmp_path / "results"
    build.mkdir()
    chaos = {"seed": 1, "scale": 1.0, "checks": [{"id": "A4", "ok": True}]}
    (build / "chaos.json").write_text(json.dumps(chaos))
    assert take(build, results, "2 cores") == ["chaos"]
    kept = json.loads((results / "chaos.json").read_text())
    about = kept.pop("about")
    assert kept == chaos
    assert about["machine"] == "2 cores"
    assert set(about) == {"date", "commit", "machine", "python"}
    assert take(build, results, "2 cores") == []


def test_the_runs_of_one_test_are_summed() -> None:
    junit = (
        '<testsuites><testsuite><testcase name="test_a_thing[1]" time="0.5"/>'
        '<testcase name="test_a_thing[2]" time="1.25"><failure message="no"/></testcase>'
        '<testcase name="test_other" time="2"/></testsuite></testsuites>'
    )
    assert suites(junit)["suites"] == [
        {"test": "a thing", "runs": 2, "failed": 1, "seconds": 1.8},
        {"test": "other", "runs": 1, "failed": 0, "seconds": 2.0},
    ]


@pytest.mark.parametrize("name", list(TABLES))
def test_a_table_without_a_result_says_how_to_make_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.reliability_page.RESULTS", tmp_path)
    assert "Not yet run for this page: `make " in TABLES[name]()
