"""The table that people read and the JSON that machines compare."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

from bench.rounds import Figures, Shape

BASELINE = "passthrough"


def table(figures: dict[str, Figures], shape: Shape) -> str:
    """Return the figures as text, one target a row, medians of the rounds."""
    rows = [
        [
            "target",
            "req/s per core",
            "req/s wall",
            *(f"chunks/s per core @{n}" for n in shape.streams),
            "added p50 ms",
            "added p99 ms",
            "RSS MiB",
            "ready s",
            "errors",
        ]
    ]
    medians = {name: one.medians() for name, one in figures.items()}
    direct = medians["direct"]
    for name, one in medians.items():
        if name == "direct":
            continue
        rows.append(
            [
                name,
                f"{_number(one['unary_per_cpu_s']):,.0f}",
                f"{_number(one['unary_per_s']):,.0f}",
                *(f"{_at(one['chunks_per_cpu_s'], n):,.0f}" for n in shape.streams),
                f"{_number(one['p50_ms']) - _number(direct['p50_ms']):.2f}",
                f"{_number(one['p99_ms']) - _number(direct['p99_ms']):.2f}",
                f"{_number(one['rss_mb']):.0f}",
                f"{_number(one['ready_s']):.2f}",
                f"{_number(one['errors']):.0f}",
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines.append(
        f"direct to the mock: p50 {_number(direct['p50_ms']):.2f} ms,"
        f" p99 {_number(direct['p99_ms']):.2f} ms"
    )
    return "\n".join(lines + ratios(medians, shape))


def ratios(medians: dict[str, dict[str, Any]], shape: Shape) -> list[str]:
    """Say how each target compares with the bare pass-through, where that ran too."""
    base = medians.get(BASELINE)
    if base is None:
        return []
    lines = []
    for name, one in medians.items():
        if name in ("direct", BASELINE):
            continue
        words = [f"unary {_ratio(one['unary_per_cpu_s'], base['unary_per_cpu_s'])}"]
        for n in shape.streams:
            ours, theirs = (_at(each["chunks_per_cpu_s"], n) for each in (one, base))
            words.append(f"chunks@{n} {_ratio(ours, theirs)}")
        lines.append(f"{name} / {BASELINE}, per core: {', '.join(words)}")
    return lines


def write_json(
    path: Path, figures: dict[str, Figures], shape: Shape, missing: dict[str, str]
) -> None:
    """Write medians, every round, and what they were taken on."""
    path.write_text(
        json.dumps(
            {
                "machine": {
                    "python": platform.python_version(),
                    "system": platform.platform(),
                    "cpu": _cpu(),
                },
                "shape": {
                    "rounds": shape.rounds,
                    "seconds": shape.seconds,
                    "unary_connections": shape.unary,
                    "streams": shape.streams,
                    "open_loop_rate": shape.rate,
                },
                "missing": missing,
                "targets": {name: one.medians() for name, one in figures.items()},
                "rounds": {
                    name: {
                        "unary_per_cpu_s": one.unary_per_cpu_s,
                        "unary_per_s": one.unary_per_s,
                        "chunks_per_cpu_s": one.chunks_per_cpu_s,
                        "chunks_per_s": one.chunks_per_s,
                        "p50_ms": one.p50_ms,
                        "p99_ms": one.p99_ms,
                    }
                    for name, one in figures.items()
                },
            },
            indent=1,
        )
        + "\n"
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _at(values: Any, streams: int) -> float:
    return float(values.get(str(streams), 0.0))


def _ratio(value: Any, base: Any) -> str:
    return f"{_number(value) / _number(base):.2f}" if _number(base) else "-"
