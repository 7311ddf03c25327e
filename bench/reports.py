"""How fast a month's report by three dimensions is over ten million entries.

    python -m bench.reports                 ten million entries, rollups only (a few minutes)
    python -m bench.reports --entries 1000000

Two parts. *Ratio*: so many entries (`--scanned`) are written into the ledger's tables in full, then
the same report is made by reading them all and from the rollups, and both have to be equal. *Size*:
the entries of a month are added up in memory as the rollup does, in batches by the hour, and only
their sums are written: what a report reads is the same, without the disk space of the entries.

The month: 40 tenants' keys, 200 in all, each of one app and team, with 3 routes, 5 models that
follow the route by a skewed share, a tenth with a tag of three values, 2 % failing. Seeded.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from pointsman.clock import SystemClock
from pointsman.reports import EVERYONE, Question, catch_up, report, sketch, total
from pointsman.reports.cells import DIMENSIONS, MEASURES, Cell, Cells, Combo
from pointsman.reports.rollup import add, mark_of
from pointsman.store.database import Database
from pointsman.store.open import Store

MAY = 1_777_593_600
HOURS = 31 * 24
MODELS = ("frontier-1", "frontier-2", "work-1", "work-2", "local-1")
ASKED = ("team", "model", "route")
SCAN = """
SELECT team, final_model, route, count(*), sum(known_nano),
  sum(CASE WHEN unpriced = 0 THEN baseline_nano - known_nano END), sum(baseline_nano),
  sum(outcome NOT IN ('ok', 'abandoned')), sum(fallbacks), sum(attempts), sum(billed_input),
  sum(billed_output), sum(billed_cached), sum(billed_reasoning), sum(unpriced),
  group_concat(CAST(seconds * 1e6 AS INTEGER), ' '),
  group_concat(CAST(ttft_s * 1e6 AS INTEGER), ' ')
FROM entry GROUP BY 1, 2, 3
"""
"""What `pointsman usage` shows, without sums, each entry having one attempt: read them all."""


def combos(draw: random.Random) -> list[Combo]:
    """Who asks for what, as it occurs: keys × routes × models × outcomes × tags."""
    found = []
    for key in range(200):
        tenant = f"tenant-{key % 40}"
        for route in ("auto", "cheap", "code"):
            for model in draw.sample(MODELS, 3):
                for outcome, tag in (("ok", None), ("ok", draw.choice("abc")), ("timeout", None)):
                    values = {
                        "tenant": tenant,
                        "team": f"team-{key % 80}",
                        "app": f"app-{key % 25}",
                        "key": f"key-{key}",
                        "route": route,
                        "operation": "chat",
                        "outcome": outcome,
                        "model": model,
                        "provider": "p",
                        "deployment": f"p/{model}",
                        "tier": "workhorse",
                    }
                    named = tuple(values.get(name) for name in DIMENSIONS)
                    found.append(Combo(named, (("feature", tag),) if tag else ()))
    return found


def weights(found: Sequence[Combo]) -> list[float]:
    """Common and rare combinations: a thousand to one."""
    draw = random.Random(4)
    rare = {True: 0.02, False: 1.0}
    return [draw.paretovariate(1.1) * rare[each.get("outcome") != "ok"] for each in found]


def observed(draw: random.Random) -> tuple[int, int, int, int]:
    """Input, output, cost and baseline of a request."""
    size, answer = int(draw.expovariate(1 / 1_500)), int(draw.expovariate(1 / 300))
    return size, answer, size * 250 + answer * 2_000, size * 2_500 + answer * 10_000


# Ratio.


def write_entries(database: Database, count: int) -> None:
    """Entries in full, one attempt each, straight into the tables."""
    draw = random.Random(1)
    found = combos(draw)
    chosen = draw.choices(found, weights(found), k=count)
    entry = (
        "INSERT INTO entry (seq, request_id, decision_id, at, day, operation, route, "
        'requested_model, key, "user", app, team, tenant, stream, status, outcome, error_code, '
        "final_deployment, final_provider, final_model, final_tier, seconds, ttft_s, attempts, "
        "fallbacks, billed_input, billed_output, billed_cached, billed_reasoning, known_nano, "
        "unpriced, baseline_nano, cost_nano, input, output, cached, cache_write, cache_write_1h, "
        "reasoning, estimated) VALUES (" + ", ".join("?" * 40) + ")"
    )
    attempt = (
        "INSERT INTO attempt (entry, n, deployment, provider, model, tier, outcome, fallback, "
        "input, output, cached, cache_write, cache_write_1h, reasoning, estimated, cost_nano, "
        "price_version, started_s, seconds, ttft_s, http_status, detail) "
        "VALUES (?, 1, ?, ?, ?, ?, ?, 0, ?, ?, 0, 0, 0, 0, 0, ?, 'v', 0.0, 1.0, 0.5, 200, '')"
    )
    for begin in range(0, count, 20_000):
        rows, tries, tags = [], [], []
        for seq in range(begin + 1, min(begin + 20_000, count) + 1):
            combo = chosen[seq - 1]
            get = dict(zip(DIMENSIONS, combo.values, strict=True))
            at = MAY + (seq - 1) * HOURS * 3_600 / count
            size, answer, cost, baseline = observed(draw)
            seconds = draw.lognormvariate(0, 0.8)
            day = time.strftime("%Y-%m-%d", time.gmtime(at))
            rows.append(
                (
                    *(seq, f"r{seq}", "d", at, day, "chat", get["route"], "auto", get["key"]),
                    *(None, get["app"], get["team"], get["tenant"], 0, 200, get["outcome"], ""),
                    *(get["deployment"], "p", get["model"], get["tier"], seconds, seconds / 3),
                    *(1, 0, size, answer, 0, 0, cost, 0, baseline, cost),
                    *(size, answer, 0, 0, 0, 0, 0),
                )
            )
            tries.append(
                (
                    *(seq, get["deployment"], "p", get["model"], get["tier"], get["outcome"]),
                    *(size, answer, cost),
                )
            )
            tags += [(seq, *tag) for tag in combo.tags]
        with database.transaction():
            database.run_many(entry, rows)
            database.run_many(attempt, tries)
            database.run_many("INSERT INTO tag (entry, name, value) VALUES (?, ?, ?)", tags)


def scan(database: Database) -> dict[tuple[Any, ...], tuple[int, int, int]]:
    """The same report from the entries themselves, with all seconds in order."""
    found = {}
    for team, model, route, requests, cost, saved, *_, seconds, ttft in database.rows(SCAN):
        for microseconds in (seconds, ttft):
            if len(sorted(map(int, microseconds.split()))) != requests:
                raise SystemExit("an entry has no seconds")
        found[team, model, route] = (requests, cost, saved)
    return found


def ratio(folder: Path, count: int) -> dict[str, Any]:
    path = folder / "scanned.db"
    with closing(Store.of(path, SystemClock()).open()) as database:
        write_entries(database, count)
        begun = time.perf_counter()
        catch_up(database)
        rolled_s = time.perf_counter() - begun
        scan_s, scanned = timed(lambda: scan(database), 3)
        question = Question.of(EVERYONE, ASKED)
        report_s, lines = timed(lambda: report(database, question), 5)
    found = {each.group: (each.requests, each.cost_nano, each.saved_nano) for each in lines}
    if scanned != found:
        raise SystemExit("the rollup and the scan differ")
    return {
        "entries": count,
        "lines": len(lines),
        "scan_s": scan_s,
        "report_s": report_s,
        "ratio": scan_s / report_s,
        "catch_up_us_per_entry": rolled_s / count * 1e6,
    }


# Size.


def write_sums(database: Database, count: int) -> int:
    """A month's sums, an hour at a time; return the requests in them."""
    draw = random.Random(2)
    found = combos(draw)
    share = weights(found)
    per_hour = count // HOURS
    cells: Cells = {}
    cost_at, requests_at = MEASURES.index("cost_nano"), MEASURES.index("requests")
    baseline_at, saved_at = MEASURES.index("baseline_nano"), MEASURES.index("saved_nano")
    attempts_at, timed_at = MEASURES.index("attempts"), MEASURES.index("timed")
    input_at, output_at = MEASURES.index("input"), MEASURES.index("output")
    ones = [sketch.one(draw.lognormvariate(0, 0.8)) for _ in range(4_096)]
    requests = 0
    for hour in range(HOURS):
        cells = {}
        for combo in draw.choices(found, share, k=per_hour):
            key = (MAY // 3_600 + hour, combo)
            cell = cells.get(key)
            if cell is None:
                cell = cells[key] = Cell()
            size, answer, cost, baseline = observed(draw)
            sums = cell.sums
            sums[requests_at] += 1
            sums[attempts_at] += 1
            sums[timed_at] += 1
            sums[input_at] += size
            sums[output_at] += answer
            sums[cost_at] += cost
            sums[baseline_at] += baseline
            sums[saved_at] += baseline - cost
            cell.seconds += ones[cost & 4_095]
            cell.ttft += ones[size & 4_095]
        requests += per_hour
        mark = mark_of(database)
        if not add(database, cells, mark, mark):
            raise SystemExit("somebody else is writing")
    return requests


def size(folder: Path, count: int) -> dict[str, Any]:
    path = folder / "sums.db"
    with closing(Store.of(path, SystemClock()).open()) as database:
        begun = time.perf_counter()
        written = write_sums(database, count)
        built_s = time.perf_counter() - begun
        if total(report(database, Question.of(EVERYONE))).requests != written:
            raise SystemExit("not all that was written is in the sums")
        questions = {
            "month": Question.of(EVERYONE, ASKED),
            "month, one tenant": Question.of("tenant-7", ASKED),
            "30.5 days from noon": Question.of(
                EVERYONE, ASKED, since=MAY + 43_200.0, until=MAY + 31 * 86_400.0
            ),
            "month by day": Question.of(EVERYONE, ASKED, bucket="day"),
            "month by day in New York": Question.of(
                EVERYONE, ASKED, bucket="day", timezone="America/New_York"
            ),
            "month by day, no quantiles": Question.of(
                EVERYONE, ASKED, bucket="day", latencies=False
            ),
        }
        found = {}
        for name, question in questions.items():
            seconds, lines = timed(partial(report, database, question), 5)
            found[name] = {"s": seconds, "lines": len(lines)}
        cells = database.rows("SELECT grain, count(*) FROM rollup GROUP BY grain ORDER BY grain")
    return {
        "entries": written,
        "build_s": built_s,
        "cells": dict(cells),
        "megabytes": path.stat().st_size / 1e6,
        "reports": found,
    }


def timed(work: Callable[[], Any], times: int) -> tuple[float, Any]:
    """The median of so many seconds, and the last result."""
    seconds, result = [], None
    for _ in range(times):
        begun = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - begun)
    return median(seconds), result


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Measure reports over many entries.")
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--scanned", type=int, default=300_000)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        found = {"ratio": ratio(Path(name), asked.scanned)}
        found["size"] = size(Path(name), asked.entries)
    text = json.dumps(found, indent=2)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
