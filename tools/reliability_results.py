"""Keep what runs have written, made small, in docs/results: `python tools/reliability_results.py`.

`make faults`, `make faults-peer`, `make chaos`, `make crash`, `make simulate` and `make fuzz` write
into .build; what is kept of it is what docs/reliability.md shows, with date, commit and machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
BUILD = ROOT / ".build"
NAMES = ("faults", "faults-litellm", "chaos", "crash", "simulation", "fuzz")

Fields = dict[str, Any]


def take(build: Path, results: Path, machine: str = "") -> list[str]:
    """Keep every result of `build` that says something new; return their names."""
    taken = []
    for name in NAMES:
        source, target = build / f"{name}.json", results / f"{name}.json"
        if name == "fuzz":
            source = build / "fuzz.xml"
        if not source.exists():
            continue
        text = source.read_text(encoding="utf-8")
        found = json.loads(text) if name != "fuzz" else suites(text)
        kept = {
            "about": _about(source.stat().st_mtime, machine),
            **SMALLER.get(name, dict)(found),
        }
        if target.exists() and _of(json.loads(target.read_text(encoding="utf-8"))) == _of(kept):
            continue
        results.mkdir(parents=True, exist_ok=True)
        target.write_text(_written(kept), encoding="utf-8")
        taken.append(name)
    return taken


def _of(result: Fields) -> Fields:
    return {name: value for name, value in result.items() if name != "about"}


def _about(made: float, machine: str) -> Fields:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return {
        "date": datetime.fromtimestamp(made, UTC).date().isoformat(),
        "commit": commit,
        "machine": machine or f"{os.cpu_count()} cores",
        "python": platform.python_version(),
    }


def _written(result: Fields) -> str:
    """JSON with a line for each row of a list, so that a change is read row by row."""
    parts = []
    for name, value in result.items():
        if isinstance(value, list) and value:
            rows = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in value)
            parts.append(f" {json.dumps(name)}: [\n{rows}\n ]")
        else:
            parts.append(f" {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def suites(junit: str) -> Fields:
    """Sum what pytest's JUnit XML says by test: how often it ran, what failed, the seconds."""
    found: dict[str, Fields] = {}
    for case in ElementTree.fromstring(junit).iter("testcase"):
        name = case.get("name", "").partition("[")[0].removeprefix("test_").replace("_", " ")
        row = found.setdefault(name, {"test": name, "runs": 0, "failed": 0, "seconds": 0.0})
        row["runs"] += 1
        row["failed"] += any(child.tag in ("failure", "error") for child in case)
        row["seconds"] = round(row["seconds"] + float(case.get("time", 0)), 1)
    return {"suites": list(found.values())}


def smaller_faults(found: Fields) -> Fields:
    """A row a fault instead of one a cell."""
    rows = []
    for fault, cells in groupby(found["rows"], key=lambda cell: cell["fault"]):
        each = list(cells)
        right: dict[tuple[bool, bool], str] = {}
        for cell in each:
            right.setdefault((cell["fallback"], cell["streamed"]), cell["right"])
        rows.append(
            {
                "fault": fault,
                "group": each[0]["group"],
                "row": each[0]["catalogue_row"],
                "alone": [right.get((False, streamed)) for streamed in (False, True)],
                "fallback": [right.get((True, streamed)) for streamed in (False, True)],
                "cells": len(each),
                "exact": sum(not cell["wrong"] for cell in each),
            }
        )
    return {**{name: value for name, value in found.items() if name != "rows"}, "rows": rows}


def smaller_simulation(found: Fields) -> Fields:
    """The count of what was broken, and the first of it, instead of all."""
    broken = found.get("broken", [])
    return {**found, "broken": len(broken), "first_broken": broken[:5]}


SMALLER: Mapping[str, Callable[[Fields], Fields]] = {
    "faults": smaller_faults,
    "simulation": smaller_simulation,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machine", default="", help="what to call this machine")
    kept = take(BUILD, RESULTS, parser.parse_args().machine)
    print("kept:", ", ".join(kept) or "nothing new")


if __name__ == "__main__":
    main()
