"""Prometheus metrics: counted in plain dictionaries, written out when somebody scrapes.

Labels come from closed sets: routes, deployments, outcomes and status codes of the
configuration; never a user, a key or a model name that a client made up.

Theory. A request touches a dozen series. Counting in the client library's own objects costs a
microsecond each, and two with its files for several processes; adding to a float in a dict costs
a tenth. So a `Tally` holds this worker's numbers, and the library writes the text. With several
workers each keeps its tally in a file that it rewrites once a second and when it is scraped; a
scrape adds all files up. Counters survive their worker, gauges of a worker that is gone do not.
"""

from __future__ import annotations

import logging
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import add
from pathlib import Path
from typing import Protocol

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from pointsman.domain.outcome import FAILURES
from pointsman.ledger.entries import Attempt, LedgerEntry
from pointsman.observe.metric_table import TABLE, Described
from pointsman.pipeline.outage import Change
from pointsman.routing.signals import DeploymentState

_log = logging.getLogger("pointsman")

STATES = ("closed", "open", "half_open", "ramping")


DURATION_BUCKETS = (
    *(0.005, 0.02, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
"""The conventions' buckets for generative AI clients, thinned (OpenTelemetry semconv 1.42)."""

Labels = tuple[str, ...]


class Tally(msgspec.Struct):
    """One worker's numbers. A histogram's list is counts per bucket, then over all, then the sum;
    amounts of money are nano-USD until they are written out."""

    counters: dict[str, dict[Labels, int]] = msgspec.field(default_factory=dict)
    histograms: dict[str, dict[Labels, list[float]]] = msgspec.field(default_factory=dict)
    gauges: dict[str, dict[Labels, float]] = msgspec.field(default_factory=dict)


class Stateful(Protocol):
    def state(self) -> DeploymentState: ...


class Metrics(Collector):
    """Observe requests. `directory` is where several workers put their tallies together."""

    def __init__(
        self,
        stacks: Mapping[str, Stateful],
        ledger_lost: Callable[[], int],
        *,
        directory: Path | None = None,
    ) -> None:
        self.stacks = stacks
        """Whose states are shown; a reload sets it anew."""
        self._ledger_lost = ledger_lost
        self._directory = directory
        self._tally = Tally(
            {name: {} for name, each in TABLE.items() if each.kind == "counter"},
            {name: {} for name, each in TABLE.items() if each.kind == "histogram"},
            {name: {} for name, each in TABLE.items() if each.kind == "gauge"},
        )
        counters, histograms = self._tally.counters, self._tally.histograms
        self._requests = counters["pointsman_requests_total"]
        self._attempts = counters["pointsman_attempts_total"]
        self._fallbacks = counters["pointsman_fallbacks_total"]
        self._tokens = counters["pointsman_tokens_total"]
        self._cost = counters["pointsman_cost_usd_total"]
        self._baseline = counters["pointsman_baseline_usd_total"]
        self._openings = counters["pointsman_breaker_openings_total"]
        self._duration = histograms["pointsman_request_duration_seconds"]
        self._first_content = histograms["pointsman_first_content_seconds"]
        self._watched: dict[str, Callable[[], Mapping[Labels, float]]] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def __call__(self, entry: LedgerEntry) -> None:
        route = (entry.route,)
        _add(self._requests, (entry.route, entry.outcome, str(entry.status)), 1)
        _observe(self._duration, route, entry.seconds)
        if entry.baseline_nano:
            _add(self._baseline, route, entry.baseline_nano)
        if entry.cache:
            self.count("pointsman_cache_total", entry.route, entry.cache)
            if entry.saved_nano:
                saved = self._tally.counters["pointsman_cache_saved_usd_total"]
                _add(saved, route, entry.saved_nano)
        if len(entry.attempts) > 1:
            hedges = [each for each in entry.attempts if each.hedge]
            if (repeats := len(entry.attempts) - 1 - len(hedges)) > 0:
                _add(self._fallbacks, route, repeats)
            for hedge in hedges:
                self._hedged(entry, hedge)
            # One that had begun to answer, and was followed by another all the same.
            if any(e.ttft_s is not None and e.outcome in FAILURES for e in entry.attempts[:-1]):
                result = "joined" if entry.outcome == "ok" else "failed"
                self.count("pointsman_resumes_total", entry.route, result)
        for attempt in entry.attempts:
            name, usage = attempt.deployment, attempt.usage
            _add(self._attempts, (name, attempt.outcome), 1)
            if usage.input:
                _add(self._tokens, (name, "input"), usage.input)
            if usage.output:
                _add(self._tokens, (name, "output"), usage.output)
            if usage.cached:
                _add(self._tokens, (name, "cached"), usage.cached)
            if usage.reasoning:
                _add(self._tokens, (name, "reasoning"), usage.reasoning)
            if attempt.cost_nano:
                _add(self._cost, (name,), attempt.cost_nano)
            if attempt.ttft_s is not None:
                _observe(self._first_content, (name,), attempt.ttft_s)

    def _hedged(self, entry: LedgerEntry, hedge: Attempt) -> None:
        # One that had content answered: losers are noted without a time to first content.
        won = hedge.ttft_s is not None
        result = "won" if won else "lost" if hedge.outcome == "abandoned" else "failed"
        _add(self._tally.counters["pointsman_hedges_total"], (entry.route, result), 1)
        lost = [a for a in entry.attempts if a.outcome == "abandoned" and a.ttft_s is None]
        extra = sum(each.cost_nano or 0 for each in (lost if won else [hedge]))
        if extra:
            _add(self._tally.counters["pointsman_hedge_usd_total"], (entry.route,), extra)

    def breaker_changed(self, change: Change) -> None:
        if change.cause != "recovered":
            _add(self._openings, (change.who, change.cause), 1)

    def count(self, name: str, *labels: str) -> None:
        """Add one to a counter of `TABLE`."""
        _add(self._tally.counters[name], labels, 1)

    def watch(self, name: str, read: Callable[[], Mapping[Labels, float]]) -> None:
        """Show a gauge or counter of `TABLE` as `read` gives it whenever somebody looks."""
        self._watched[name] = read

    def observe(self, name: str, seconds: float, *labels: str) -> None:
        """Add one to a histogram of `TABLE`."""
        _observe(self._tally.histograms[name], labels, seconds)

    def connection_refused(self, reason: str) -> None:
        _add(self._tally.counters["pointsman_connections_refused_total"], (reason,), 1)

    def connection_cut(self, reason: str) -> None:
        _add(self._tally.counters["pointsman_connections_cut_total"], (reason,), 1)

    def exposition(self) -> bytes:
        """Return the text format; states are read now."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Give the library every family, over all workers."""
        tallies = [self._own()]
        if self._directory is not None:
            self.share()
            tallies += self._others(self._directory)
        for name, each in TABLE.items():
            match each.kind:
                case "counter":
                    yield _counter(name, each, [tally.counters[name] for tally in tallies])
                case "histogram":
                    yield _histogram(name, each, [tally.histograms[name] for tally in tallies])
                case "gauge":
                    yield _gauge(name, each, [tally.gauges[name] for tally in tallies])

    def share(self) -> None:
        """Write this worker's tally where the others find it; nothing where there are none."""
        if self._directory is None:
            return
        path = self._directory / f"{os.getpid()}.tally"
        fresh = path.with_suffix(".new")
        try:
            fresh.write_bytes(_encode(self._own()))
            fresh.replace(path)
        except OSError as error:
            _log.warning("metrics.not_shared path=%s error=%s", path, error)

    def _own(self) -> Tally:
        gauges = self._tally.gauges
        gauges["pointsman_in_flight"].clear()  # a reload may have removed deployments
        gauges["pointsman_breaker_share"].clear()
        for name, stack in self.stacks.items():
            state = stack.state()
            gauges["pointsman_in_flight"][(name,)] = state.in_flight
            gauges["pointsman_breaker_share"][(name,)] = state.share
            for each in STATES:
                gauges["pointsman_breaker_state"][(name, each)] = float(each == state.breaker)
        for name, read in self._watched.items():
            if TABLE[name].kind == "counter":
                counted = {labels: int(value) for labels, value in read().items()}
                self._tally.counters[name] = counted
            else:
                gauges[name] = dict(read())
        gauges["pointsman_ledger_lost_entries"][()] = self._ledger_lost()
        return self._tally

    def _others(self, directory: Path) -> list[Tally]:
        tallies: list[Tally] = []
        for path in directory.glob("*.tally"):
            if path.stem == str(os.getpid()):
                continue
            tally = _decode(path.read_bytes())
            if not _is_alive(int(path.stem)):
                tally.gauges = {name: {} for name in tally.gauges}
            tallies.append(tally)
        return tallies

    def __repr__(self) -> str:
        return "Metrics()"


def _add(series: dict[Labels, int], labels: Labels, amount: int) -> None:
    series[labels] = series.get(labels, 0) + amount


def _observe(series: dict[Labels, list[float]], labels: Labels, seconds: float) -> None:
    counts = series.get(labels)
    if counts is None:
        counts = series[labels] = [0.0] * (len(DURATION_BUCKETS) + 2)
    counts[bisect_left(DURATION_BUCKETS, seconds)] += 1
    counts[-1] += seconds


def _counter(name: str, each: Described, series: Iterable[dict[Labels, int]]) -> Metric:
    family = CounterMetricFamily(name, each.help, labels=each.labels)
    scale = 1e-9 if name.endswith("_usd_total") else 1
    total: dict[Labels, int] = {}
    for one in series:
        for labels, amount in one.items():
            total[labels] = total.get(labels, 0) + amount
    for labels, amount in total.items():
        family.add_metric(labels, amount * scale)
    return family


def _histogram(name: str, each: Described, series: Iterable[dict[Labels, list[float]]]) -> Metric:
    family = HistogramMetricFamily(name, each.help, labels=each.labels)
    total: dict[Labels, list[float]] = {}
    for one in series:
        for labels, counts in one.items():
            before = total.get(labels)
            total[labels] = (
                counts if before is None else [a + b for a, b in zip(before, counts, strict=True)]
            )
    for labels, counts in total.items():
        running = 0.0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, DURATION_BUCKETS), "+Inf"), counts, strict=False):
            running += count
            buckets.append((bound, running))
        family.add_metric(labels, buckets, counts[-1])
    return family


_MERGES: Mapping[str, Callable[[float, float], float]] = {"sum": add, "min": min, "max": max}


def _gauge(name: str, each: Described, series: Iterable[dict[Labels, float]]) -> Metric:
    family = GaugeMetricFamily(name, each.help, labels=each.labels)
    total: dict[Labels, float] = {}
    for one in series:
        for labels, value in one.items():
            before = total.get(labels)
            if before is None:
                total[labels] = value
            else:
                total[labels] = _MERGES[each.merge](before, value)
    for labels, value in total.items():
        family.add_metric(labels, value)
    return family


class _File(msgspec.Struct):
    """A tally with its labels as lists: JSON has no tuples for keys."""

    counters: dict[str, list[tuple[Labels, int]]]
    histograms: dict[str, list[tuple[Labels, list[float]]]]
    gauges: dict[str, list[tuple[Labels, float]]]


def _encode(tally: Tally) -> bytes:
    return msgspec.json.encode(
        _File(
            {name: list(series.items()) for name, series in tally.counters.items()},
            {name: list(series.items()) for name, series in tally.histograms.items()},
            {name: list(series.items()) for name, series in tally.gauges.items()},
        )
    )


def _decode(data: bytes) -> Tally:
    file = msgspec.json.decode(data, type=_File)
    return Tally(
        {name: dict(series) for name, series in file.counters.items()},
        {name: dict(series) for name, series in file.histograms.items()},
        {name: dict(series) for name, series in file.gauges.items()},
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
