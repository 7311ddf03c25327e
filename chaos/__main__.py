"""`python -m chaos [A4 A5 …]`: break things under load, print what held, write it as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvloop

from chaos.check import Check, Findings
from chaos.registry import CHECKS
from chaos.world import World


def _arguments(checks: Mapping[str, Check], program: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=__doc__)
    parser.add_argument("ids", nargs="*", help=f"of {', '.join(checks)}; default all")
    parser.add_argument("--seed", type=int, help="repeat the choices of an earlier run")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full seconds")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--keep", type=Path, help="keep logs, ledgers and files there")
    return parser.parse_args()


async def _run(
    check: Check, world_of: type[World], folder: Path, seed: int, scale: float
) -> tuple[Findings, float]:
    findings = Findings()
    started = time.perf_counter()
    try:
        async with asyncio.timeout(check.seconds * scale * 3 + 60):
            async with world_of(folder, seed, scale) as world:
                await check.run(world, findings)
    except Exception as error:  # noqa: BLE001 - the edge of a check: what broke it is its failure
        traceback.print_exc()
        findings.failures.append(f"the check broke: {type(error).__name__}: {error}")
    return findings, time.perf_counter() - started


def main(
    checks: Mapping[str, Check] = CHECKS, world_of: type[World] = World, program: str = "chaos"
) -> int:
    arguments = _arguments(checks, program)
    unknown = [each for each in arguments.ids if each not in checks]
    if unknown:
        print(f"no check is called {', '.join(unknown)}; there are {', '.join(checks)}")
        return 2
    seed = secrets.randbelow(1_000_000) if arguments.seed is None else arguments.seed
    chosen = [checks[each] for each in arguments.ids or checks]
    print(
        f"seed {seed}, about {sum(c.seconds for c in chosen) * arguments.scale:.0f} s", flush=True
    )
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix=f"{program}-") as temporary:
        base = arguments.keep or Path(temporary)
        for check in chosen:
            folder = base / check.id
            folder.mkdir(parents=True, exist_ok=True)
            print(f"{check.id}  {check.title}", flush=True)
            findings, seconds = uvloop.run(_run(check, world_of, folder, seed, arguments.scale))
            for name, value in findings.figures.items():
                print(f"      {name}: {value}")
            for failure in findings.failures:
                print(f"      FAILED: {failure}")
            word = "ok" if not findings.failures else "FAILED"
            print(f"      {word}, {seconds:.0f} s: {check.pass_line}", flush=True)
            results.append(
                {
                    "id": check.id,
                    "title": check.title,
                    "pass_line": check.pass_line,
                    "ok": not findings.failures,
                    "seconds": round(seconds, 1),
                    "figures": findings.figures,
                    "failures": findings.failures,
                }
            )
    good = sum(result["ok"] for result in results)
    print(f"{good} of {len(results)} hold (seed {seed})")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(
            json.dumps({"seed": seed, "scale": arguments.scale, "checks": results}, indent=1) + "\n"
        )
    return 0 if good == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
