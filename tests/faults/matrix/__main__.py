"""`python -m matrix`: run the matrix, print it as a table, write it as JSON.

Exits with 1 if any cell is not exactly right. With `--peer litellm` another gateway is run
through the same cells, and both are judged by the rules for any gateway (`judge.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from matrix.compare import Judged, compare, own_times
from matrix.fault import Cell
from matrix.litellm import PYTHON, LiteLLM, times_of
from matrix.peers import beside, peer_json, words
from matrix.report import as_json, table
from matrix.run import FAULTS, Result, cells, run
from matrix.sites import Sites
from matrix.under_test import Pointsman
from pointsman.domain.content import JsonObject


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m matrix", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the order of cells")
    parser.add_argument("--json", type=Path, help="write the result there")
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--quiet", action="store_true", help="print no rows that are right")
    parser.add_argument(
        "--peer", choices=("litellm",), help=f"run it too; {PYTHON} names a Python that has it"
    )
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="uvloop")
    asked = parser.parse_args()
    chosen = cells([fault for fault in FAULTS if asked.only in fault.name])
    logging.getLogger("pointsman").setLevel(logging.ERROR)
    factory = uvloop.new_event_loop if asked.loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        if asked.peer:
            return runner.run(_with_peer(chosen, asked.seed, asked.json))
        started = time.monotonic()
        results = runner.run(_run(chosen, asked.seed))
        seconds = time.monotonic() - started
    sys.stdout.write(table(results, quiet=asked.quiet))
    wrong = sum(bool(result.wrong) for result in results)
    sys.stdout.write(
        f"\n{len(results)} cells of {len({r.cell.fault.name for r in results})} faults, "
        f"{len(results) - wrong} exact, {wrong} not; {sum(r.repeated for r in results)} repeated "
        f"after a stall of the machine; seed {asked.seed}, {seconds:.1f} s\n"
    )
    _write(asked.json, as_json(results, asked.seed, seconds))
    return 1 if wrong else 0


def _write(path: Path | None, fields: JsonObject) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(fields, indent=1) + "\n")


async def _run(chosen: Sequence[Cell], seed: int) -> list[Result]:
    with tempfile.TemporaryDirectory() as folder:
        async with Sites(Path(folder)) as sites:
            return await run(Pointsman(seed), chosen, sites, seed)


async def _with_peer(chosen: Sequence[Cell], seed: int, path: Path | None) -> int:
    """Judge both. Exits with 1 where we are not right by the rules for any gateway."""
    began = time.monotonic()
    theirs: list[Judged] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with Sites(folder) as sites:
            ours = await compare(Pointsman(seed), chosen, sites, seed, own_times)
        peer = LiteLLM(os.environ.get(PYTHON, ""), folder)
        version = await peer.version()
        if version:
            async with Sites(folder) as sites:
                theirs = await compare(peer, chosen, sites, seed, times_of)
    seconds = time.monotonic() - began
    sys.stdout.write(beside(ours, theirs))
    sys.stdout.write(f"\npointsman: {words(ours)}\n")
    if version:
        sys.stdout.write(f"LiteLLM {version}: {words(theirs)}\n")
        _write(path, peer_json("LiteLLM", version, ours, theirs, seed, seconds))
    else:
        sys.stdout.write(f"LiteLLM is not installed: {PYTHON} names no Python that has it\n")
    sys.stdout.write(f"seed {seed}, {seconds:.0f} s\n")
    return 0 if all(each.verdict.is_right for each in ours) else 1


if __name__ == "__main__":
    sys.exit(main())
