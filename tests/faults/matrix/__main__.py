"""`python -m matrix`: run the matrix, print it as a table, write it as JSON.

Exits with 1 if any cell is not exactly right.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from matrix.fault import Cell
from matrix.report import as_json, table
from matrix.run import FAULTS, Result, cells, run
from matrix.sites import Sites
from matrix.under_test import Pointsman


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m matrix", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the order of cells")
    parser.add_argument("--json", type=Path, help="write the result there")
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--quiet", action="store_true", help="print no rows that are right")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="uvloop")
    asked = parser.parse_args()
    chosen = cells([fault for fault in FAULTS if asked.only in fault.name])
    started = time.monotonic()
    factory = uvloop.new_event_loop if asked.loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        results = runner.run(_run(chosen, asked.seed))
    seconds = time.monotonic() - started
    sys.stdout.write(table(results, quiet=asked.quiet))
    wrong = sum(bool(result.wrong) for result in results)
    sys.stdout.write(
        f"\n{len(results)} cells of {len({r.cell.fault.name for r in results})} faults, "
        f"{len(results) - wrong} exact, {wrong} not; {sum(r.repeated for r in results)} repeated "
        f"after a stall of the machine; seed {asked.seed}, {seconds:.1f} s\n"
    )
    if asked.json is not None:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(as_json(results, asked.seed, seconds), indent=1) + "\n")
    return 1 if wrong else 0


async def _run(chosen: Sequence[Cell], seed: int) -> list[Result]:
    with tempfile.TemporaryDirectory() as folder:
        async with Sites(Path(folder)) as sites:
            return await run(Pointsman(seed), chosen, sites, seed)


if __name__ == "__main__":
    sys.exit(main())
