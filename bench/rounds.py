"""Interleave the measurements and keep their medians."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from bench.canned import request_body
from bench.load import Job, Result
from bench.procfs import resident_mb
from bench.targets import Load, Running


@dataclass(frozen=True, slots=True)
class Shape:
    """How much is measured. Seconds are of one round of one kind."""

    rounds: int = 5
    seconds: float = 3.0
    streams: tuple[int, ...] = (50, 200)
    unary: int = 64
    rate: float = 200.0


@dataclass(slots=True)
class Figures:
    """One target's rounds; a list has one entry a round."""

    ready_s: float
    unary_per_cpu_s: list[float] = field(default_factory=list)
    unary_per_s: list[float] = field(default_factory=list)
    chunks_per_cpu_s: dict[int, list[float]] = field(default_factory=dict)
    chunks_per_s: dict[int, list[float]] = field(default_factory=dict)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    rss_mb: float = 0.0
    requests: int = 0
    errors: int = 0
    example: str = ""

    def medians(self) -> dict[str, object]:
        """Return what a report needs: each list's median, each single figure."""
        return {
            name: statistics.median(value)
            if isinstance(value, list) and value
            else {str(key): statistics.median(one) for key, one in value.items()}
            if isinstance(value, dict)
            else value
            for name, value in asdict(self).items()
        }


def measure(
    load: Load,
    direct: Running,
    targets: Sequence[Running],
    shape: Shape,
    say: Callable[[str], None],
) -> dict[str, Figures]:
    """Run every kind of job on every target, round by round, so that a busy minute of the
    machine falls on all of them alike."""
    figures = {target.name: Figures(target.ready_s) for target in (direct, *targets)}
    for number in range(shape.rounds):
        say(f"round {number + 1} of {shape.rounds}")
        for target in targets:
            result = _run(load, target, shape, figures, "unary", shape.unary)
            kept = figures[target.name]
            kept.unary_per_cpu_s.append(_per(result.done, result.cpu_s))
            kept.unary_per_s.append(_per(result.done, result.wall_s))
        for streams in shape.streams:
            for target in targets:
                result = _run(load, target, shape, figures, "stream", streams)
                kept = figures[target.name]
                kept.chunks_per_cpu_s.setdefault(streams, []).append(
                    _per(result.done, result.cpu_s)
                )
                kept.chunks_per_s.setdefault(streams, []).append(_per(result.done, result.wall_s))
        for target in (direct, *targets):
            result = _run(load, target, shape, figures, "open", 0)
            times = sorted(result.times_ms)
            if times:
                figures[target.name].p50_ms.append(times[len(times) // 2])
                figures[target.name].p99_ms.append(times[int(len(times) * 0.99)])
    for target in (direct, *targets):
        figures[target.name].rss_mb = resident_mb(target.pid)
    return figures


def _run(
    load: Load,
    target: Running,
    shape: Shape,
    figures: dict[str, Figures],
    kind: str,
    concurrency: int,
) -> Result:
    body = request_body(target.model, stream=kind == "stream").decode()
    result = load.run(
        Job(
            kind=kind,  # type: ignore[arg-type]
            port=target.port,
            pid=target.pid,
            key=target.key,
            body=body,
            seconds=shape.seconds,
            concurrency=concurrency,
            rate=min(shape.rate, target.rate),
        )
    )
    kept = figures[target.name]
    kept.errors += result.errors
    kept.requests += result.done if kind != "stream" else 0
    kept.example = kept.example or result.example
    return result


def _per(count: int, seconds: float) -> float:
    return count / seconds if seconds else 0.0
