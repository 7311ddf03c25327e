"""What is published of the matrix in docs/results is what the code expects of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matrix.compare import fits
from matrix.groups import GROUPS, group_of
from matrix.report import MODES, told_as
from matrix.run import FAULTS, cells

RESULTS = Path(__file__).parents[2] / "docs" / "results"
STALE = "stale: run `make faults reliability`"


def published(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def test_each_fault_is_in_one_group() -> None:
    grouped = [fault.name for _, faults in GROUPS for fault in faults]
    assert grouped == [fault.name for fault in FAULTS]
    assert group_of(FAULTS[0]) == GROUPS[0][0]


def test_the_published_ends_are_those_of_the_code() -> None:
    result = published("faults")
    right: dict[str, dict[tuple[bool, bool], str]] = {}
    for cell in cells():
        mode = (cell.fallback, cell.streamed)
        right.setdefault(cell.fault.name, {}).setdefault(mode, told_as(cell.expect))
    shown = {
        row["fault"]: {
            (fallback, streamed): end
            for fallback, ends in ((False, row["alone"]), (True, row["fallback"]))
            for streamed, end in zip((False, True), ends, strict=True)
            if end is not None
        }
        for row in result["rows"]
    }
    assert shown == right, STALE


def test_every_published_cell_is_exact() -> None:
    result = published("faults")
    assert result["cells"] == result["exact"] == len(cells()), STALE


def test_the_peers_cells_are_those_that_fit_any_gateway() -> None:
    """A fault that is newer than the peer's run has no row yet; what has one has every cell of it,
    and by these rules ours are all right."""
    result = published("faults-litellm")
    fitting: dict[str, list[int]] = {}
    for cell in filter(fits, cells()):
        counts = fitting.setdefault(cell.fault.name, [0] * len(MODES))
        counts[MODES.index((cell.streamed, cell.fallback))] += 1
    for side in ("ours", "theirs"):
        for row in result["rows"]:
            shown = [sum(mode.values()) for mode in row[side]]
            assert shown == fitting.get(row["fault"]), f"{row['fault']}: `make faults-peer`"
    assert result["ours"] == {"ok": result["cells"]}
