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


def test_the_other_runs_are_shown_as_they_were_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, results = tmp_path / "build", tmp_path / "results"
    build.mkdir()
    checks = [
        {"id": "A4", "title": "one is dead", "pass_line": "99.9 %", "ok": True, "seconds": 9.0,
         "figures": {"success": 0.9995}, "failures": []},
        {"id": "A5", "title": "all are dead", "pass_line": "1.1", "ok": False, "seconds": 9.0,
         "figures": {}, "failures": ["1.2 attempts"]},
    ]  # fmt: skip
    chaos = {"seed": 5, "scale": 0.5, "checks": checks}
    simulated = {
        "sequences": 1000, "base": 0, "seconds": 3.0, "broken": [{"seed": 4, "law": "x"}],
        "laws": ["no slot leaks"], "met": {"429": 12}, "met_too_seldom": [],
    }  # fmt: skip
    (build / "chaos.json").write_text(json.dumps(chaos))
    (build / "simulation.json").write_text(json.dumps(simulated))
    (build / "fuzz.xml").write_text('<testsuite><testcase name="test_x" time="1"/></testsuite>')
    assert take(build, results) == ["chaos", "simulation", "fuzz"]
    monkeypatch.setattr("tools.reliability_page.RESULTS", results)
    assert "**1 of 2 hold**" in TABLES["chaos"]()
    assert "scale 0.5" in TABLES["chaos"]()
    assert "| A5 | all are dead | 1.1 | **does not hold**: 1.2 attempts |" in TABLES["chaos"]()
    assert "**1,000 sequences, 1 broken**" in TABLES["simulation"]()
    assert "- no slot leaks\n" in TABLES["simulation"]()
    assert "| x | 1 | 0 | 1.0 |" in TABLES["fuzz"]()
