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
from typing import Literal, Protocol

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
from pointsman.pipeline.outage import Change
from pointsman.routing.signals import DeploymentState

_log = logging.getLogger("pointsman")

Kind = Literal["counter", "histogram", "gauge"]


class Described(msgspec.Struct, frozen=True):
    """A metric: what it is, its labels, and how gauges of several workers are added up."""

    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    merge: Literal["sum", "min", "max"] = "sum"


TABLE: Mapping[str, Described] = {
    "pointsman_requests_total": Described(
        "counter",
        "Requests by route, outcome and status told to the client.",
        ("route", "outcome", "status"),
    ),
    "pointsman_attempts_total": Described(
        "counter", "Attempts by deployment and outcome.", ("deployment", "outcome")
    ),
    "pointsman_fallbacks_total": Described(
        "counter", "Attempts after the first, by route; hedges are not counted.", ("route",)
    ),
    "pointsman_resumes_total": Described(
        "counter",
        "Answers that were cut off and asked for elsewhere, by route and result: joined or failed.",
        ("route", "result"),
    ),
    "pointsman_hedges_total": Described(
        "counter",
        "Second attempts beside a late first one, by route and result: won (it answered), lost "
        "(the first one did, or the client left) or failed.",
        ("route", "result"),
    ),
    "pointsman_hedge_usd_total": Described(
        "counter",
        "What the attempts that lost against a hedge, or as one, may have cost in US dollars, "
        "by route.",
        ("route",),
    ),
    "pointsman_request_duration_seconds": Described(
        "histogram", "Seconds from a request to its end, by route.", ("route",)
    ),
    "pointsman_first_content_seconds": Described(
        "histogram", "Seconds to first content of streams, by deployment.", ("deployment",)
    ),
    "pointsman_tokens_total": Described(
        "counter",
        "Tokens by deployment and kind (input, output, cached, reasoning).",
        ("deployment", "kind"),
    ),
    "pointsman_cost_usd_total": Described(
        "counter", "Cost in US dollars, by deployment.", ("deployment",)
    ),
    "pointsman_baseline_usd_total": Described(
        "counter", "What the baseline would have cost in US dollars, by route.", ("route",)
    ),
    "pointsman_in_flight": Described(
        "gauge", "Attempts under way now, by deployment.", ("deployment",)
    ),
    "pointsman_breaker_share": Described(
        "gauge",
        "Share of calls let through now (1 closed, 0 open), by deployment.",
        ("deployment",),
        "min",
    ),
    "pointsman_breaker_state": Described(
        "gauge",
        "1 where the breaker is in this state (closed, open, half_open, ramping), by deployment; "
        "the number of workers that say so.",
        ("deployment", "state"),
    ),
    "pointsman_breaker_openings_total": Described(
        "counter",
        "Times that a deployment was put out, by what for (failing, throttled, lost, unreachable, "
        "credential, quota); failed probes count again. A provider's own are `provider:name`.",
        ("deployment", "cause"),
    ),
    "pointsman_config_reloads_total": Described(
        "counter", "Configurations read while running, by result (ok, rejected).", ("result",)
    ),
    "pointsman_config_loaded_seconds": Described(
        "gauge",
        "When the configuration in use was loaded, in Unix time; the worker's that is furthest "
        "behind.",
        (),
        "min",
    ),
    "pointsman_provider_keys_refused": Described(
        "gauge", "API keys of ours put aside because the provider refused them.", ("provider",)
    ),
    "pointsman_local_running": Described(
        "gauge",
        "Requests that a local server works on by its own word, whoever sent them, by deployment.",
        ("deployment",),
        "max",
    ),
    "pointsman_local_waiting": Described(
        "gauge",
        "Requests that wait at a local server by its own word, by deployment.",
        ("deployment",),
        "max",
    ),
    "pointsman_local_memory_share": Described(
        "gauge",
        "Share of a local server's key-value cache in use (1 full), by deployment.",
        ("deployment",),
        "max",
    ),
    "pointsman_local_load_unknown_total": Described(
        "counter", "Times that a local server did not tell its load, by provider.", ("provider",)
    ),
    "pointsman_connections": Described("gauge", "Connections of clients that are open now."),
    "pointsman_connections_refused_total": Described(
        "counter",
        "Connections not served, by reason (full, address, descriptors).",
        ("reason",),
    ),
    "pointsman_connections_cut_total": Described(
        "counter",
        "Connections we ended early, by reason (slow_head, slow_body, stalled, bad_request, "
        "draining).",
        ("reason",),
    ),
    "pointsman_ledger_lost_entries": Described("gauge", "Ledger entries that could not be kept."),
    "pointsman_server_in_flight": Described("gauge", "Clients' requests under way now."),
    "pointsman_queue_waiting": Described("gauge", "Clients' requests that wait for a place now."),
    "pointsman_shed_total": Described(
        "counter",
        "Requests turned away at the gate, by reason (queue_full, queue_wait, lag, tenant_share, "
        "key_limit, bodies) and criticality.",
        ("reason", "criticality"),
    ),
    "pointsman_loop_lag_seconds": Described(
        "histogram", "Seconds by which the event loop ran late, looked at 20 times a second."
    ),
    "pointsman_log_lines_lost_total": Described(
        "counter", "Log lines dropped because nobody read them fast enough."
    ),
}

STATES = ("closed", "open", "half_open", "ramping")

METRICS: Mapping[str, str] = {name: each.help for name, each in TABLE.items()}
"""Names and meanings: what docs/metrics.md prints."""

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
