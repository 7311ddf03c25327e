"""`python -m bench`: measure, print, write; on loopback, bounded, and nothing is left running."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from bench.report import table, write_json
from bench.rounds import Figures, Shape, measure
from bench.targets import BenchError, Load, Mock, Running, cores, end, plans, start

_ALWAYS = ("passthrough", "passthrough-lean", "pointsman")
_QUICK = ("passthrough", "pointsman")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, under 15 s")
    parser.add_argument(
        "--targets",
        help="comma-separated: passthrough, passthrough-aiohttp, passthrough-lean, pointsman,"
        " pointsman-aiohttp, litellm (needs BENCH_LITELLM_PYTHON)",
    )
    parser.add_argument("--rounds", type=int, help="default 5, or 1 with --quick")
    parser.add_argument("--seconds", type=float, help="of one measurement; default 3, or 0.8")
    parser.add_argument("--json", type=Path, help="write the figures there")
    return parser.parse_args()


def _shape(arguments: argparse.Namespace) -> Shape:
    shape = Shape(rounds=1, seconds=0.8, streams=(50,)) if arguments.quick else Shape()
    if arguments.rounds is not None:
        shape = replace(shape, rounds=min(max(arguments.rounds, 1), 50))
    if arguments.seconds is not None:
        shape = replace(shape, seconds=min(max(arguments.seconds, 0.2), 60.0))
    return shape


def run(arguments: argparse.Namespace) -> tuple[dict[str, Figures], Shape, dict[str, str]]:
    """Start everything, measure, and end everything."""
    shape = _shape(arguments)
    gateway_core, load_core = cores()
    missing: dict[str, str] = {}
    if gateway_core == load_core:
        _say("only one core: gateway, load and mock share it, and wall figures mean little")
    key = secrets.token_hex(16)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        mock = Mock(load_core)
        stack.callback(mock.end)
        load = Load(load_core)
        stack.callback(load.end)
        known = plans(mock.port, key, folder)
        wanted = arguments.targets.split(",") if arguments.targets else list(_wanted(arguments))
        targets: list[Running] = []
        for name in wanted:
            if name == "litellm" and name not in known:
                missing[name] = "not installed: set BENCH_LITELLM_PYTHON to a python that has it"
                _say(f"litellm: {missing[name]}")
                continue
            if name not in known:
                raise BenchError(f"no target {name!r}; there are {', '.join(known)}")
            running = start(name, known[name], key, gateway_core, folder)
            if running.process is not None:
                stack.callback(end, running.process)
            targets.append(running)
            _say(f"{name} ready in {running.ready_s:.2f} s")
        direct = Running("direct", mock.pid, mock.port, "m0", key, 0.0, shape.rate)
        figures = measure(load, direct, targets, shape, _say)
    return figures, shape, missing


def _wanted(arguments: argparse.Namespace) -> tuple[str, ...]:
    if arguments.quick:
        return _QUICK
    return (*_ALWAYS, "litellm")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    arguments = _arguments()
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    started = time.perf_counter()
    try:
        figures, shape, missing = run(arguments)
    except BenchError as error:
        _say(f"bench: {error}")
        return 1
    print(table(figures, shape))
    for name, reason in missing.items():
        print(f"{name}: {reason}")
    print(f"took {time.perf_counter() - started:.0f} s")
    if arguments.json is not None:
        write_json(arguments.json, figures, shape, missing)
    wrong = {name: one for name, one in figures.items() if one.errors}
    for name, one in wrong.items():
        _say(f"{name}: {one.errors} wrong answers, the first began with: {one.example[:300]!r}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
