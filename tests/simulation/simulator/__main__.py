"""`make simulate`: run many sequences on all cores, or one with its story told.

python -m simulator                      100,000 sequences; exits with 1 if a law is broken
python -m simulator --seed 41            one sequence, event by event
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from .coverage import missing
from .laws import Violation
from .run import run_sequence

CHUNK = 250
LAWS = (
    "each reply closes once and tells every listener the same outcome",
    "each call has exactly one ledger entry, and no request that is not in it",
    "no slot, in-flight count, place of a probe or of one who waits leaks; no task, timer, "
    "exchange or held money is left",
    "one probe at a time for a deployment, and for a provider that is out; each counts once",
    "nobody is called while it cools down, or while it is open but for panics, which are apart",
    "attempts with hedges within max_attempts, one hedge at most",
    "retries within the budget",
    "no call is kept longer than its deadline and 0.25 s",
    "a stream ends in one way: its proper end, an error, or a reader who left; no false end",
    "what a client is given is one answer from its beginning, nothing missing, twice or mixed",
    "no purse is overdrawn, at no moment",
    "when providers are well, each deployment is asked and found well in bounded time",
    "the event loop is told of no error",
)


def run_chunk(first: int, count: int) -> tuple[Counter[str], list[tuple[int, str]]]:
    """Run sequences; what was met, and the seeds of those that broke a law."""
    _be_quiet()
    met: Counter[str] = Counter()
    broken: list[tuple[int, str]] = []
    for seed in range(first, first + count):
        try:
            met += run_sequence(seed)
        except Violation as violation:
            broken.append((seed, str(violation)))
    return met, broken


def _be_quiet() -> None:
    logging.getLogger("pointsman").setLevel(logging.CRITICAL)
    # A sequence that was broken off leaves coroutines behind.
    warnings.filterwarnings("ignore", message="coroutine .* was never awaited")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one and tell its story")
    parser.add_argument("--sequences", type=int, default=100_000)
    parser.add_argument("--base", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="write the result there")
    asked = parser.parse_args()
    if asked.seed is not None:
        return _replay(asked.seed)
    began = time.monotonic()
    met: Counter[str] = Counter()
    broken: list[tuple[int, str]] = []
    last = asked.base + asked.sequences
    firsts = range(asked.base, last, CHUNK)
    counts = [min(CHUNK, last - first) for first in firsts]
    with ProcessPoolExecutor(asked.workers) as pool:
        for place, (more, violations) in enumerate(pool.map(run_chunk, firsts, counts), 1):
            met += more
            broken += violations
            if place % 40 == 0:
                rate = met["sequence"] / (time.monotonic() - began)
                print(f"{met['sequence']:7d} sequences, {rate:.0f}/s, {len(broken)} broken")
    seconds = time.monotonic() - began
    for law in LAWS:
        print(f"  law: {law}")
    for name, times in sorted(met.items()):
        print(f"  {name:32s} {times:9d}")
    for seed, law in broken[:20]:
        print(f"seed {seed}: {law}")
    lacks = missing(met, asked.sequences)
    for name, (times, least) in lacks.items():
        print(f"met too seldom: {name}, {times} times where {least:.0f} are the least")
    print(
        f"{asked.sequences} sequences from seed {asked.base} in {seconds:.0f} s "
        f"({asked.sequences / seconds:.0f}/s), {len(broken)} broken"
    )
    if asked.json is not None:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        result = {
            "sequences": asked.sequences,
            "base": asked.base,
            "seconds": round(seconds, 1),
            "broken": [{"seed": seed, "law": law} for seed, law in broken],
            "laws": LAWS,
            "met": dict(sorted(met.items())),
            "met_too_seldom": sorted(lacks),
        }
        asked.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if broken or lacks else 0


def _replay(seed: int) -> int:
    _be_quiet()
    try:
        run_sequence(seed, print)
    except Violation as violation:
        print(f"broken: {violation}")
        return 1
    print("every law held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
