"""The fault matrix holds: every cell exact, over real sockets. `make faults` prints it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from matrix.fault import UPSTREAM_ERROR, Expect, Fault, Pair, fails
from matrix.report import as_json, table
from matrix.run import FAULTS, cells, run
from matrix.sites import Sites
from matrix.under_test import Pointsman

from pointsman.testing import Fail

SEED = int(os.environ.get("POINTSMAN_SEED", "1"))


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    """Keep the line of each of the thousands of failed requests out; errors stay."""
    logger = logging.getLogger("pointsman")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


def test_the_matrix_is_as_large_as_it_says() -> None:
    chosen = cells()
    names = [fault.name for fault in FAULTS]
    assert len({fault.name for fault in FAULTS}) >= 60
    assert len(chosen) >= 1200
    assert len({cell.id for cell in chosen}) == len(chosen)
    assert {fault.row for fault in FAULTS} >= {str(row) for row in (*range(1, 19), 21, 22, 23)}
    assert all(name.strip() == name for name in names)


@pytest.mark.slow
async def test_every_cell_of_the_matrix_is_exact(tmp_path: Path) -> None:
    async with Sites(tmp_path) as sites:
        results = await run(Pointsman(SEED), cells(), sites, SEED)
    wrong = [result for result in results if result.wrong]
    assert not wrong, f"seed {SEED}\n{table(wrong)}"


@pytest.mark.slow
async def test_what_is_not_right_is_seen(tmp_path: Path) -> None:
    """Each side of a cell is really looked at: wrong expectations are all reported."""
    good = Fault("a 500", "3", Fail(500), None, fails("unavailable", UPSTREAM_ERROR))
    assert good.stream is not None
    off, on = good.stream.off, good.stream.on
    told = replace(UPSTREAM_ERROR, status=503)
    lies: dict[str, Expect] = {
        "status 502, right is 503": replace(off, told=told),
        "code upstream_error, right is": replace(off, told=replace(told, status=502, code="x")),
        "x-should-retry": replace(off, told=replace(told, status=502, should_retry=True)),
        "retry-after None": replace(off, told=replace(told, status=502).after(3)),
        "breaker: hard, right is neutral": replace(off, a="neutral"),
        "status 502, right is 200": replace(on, a="hard"),
        "usage of a (unavailable)": replace(off, tried=(replace(off.tried[0], books="exact"),)),
        "the ledger's attempts": replace(off, tried=(replace(off.tried[0], outcome="timeout"),)),
        "was called 1 times": replace(off, tried=off.tried * 2),
    }
    faults = [
        Fault(name, "3", Fail(500), None, Pair(lie, on), clients=("openai",), upstreams=("openai",))
        for name, lie in lies.items()
    ]
    chosen = [cell for cell in cells(faults) if not cell.fallback]
    async with Sites(tmp_path) as sites:
        results = await run(Pointsman(1), chosen, sites, 1)
    for result in results:
        name = result.cell.fault.name
        if name.startswith("usage"):  # A failed status bills nothing: exactly nothing is right too.
            continue
        assert any(name in text for text in result.wrong), (name, result.wrong)
    assert as_json(results, 1, 0.0)["wrong"] == len(results) - 1
