"""Prometheus metrics. The table, which docs/metrics.md prints:

see `METRICS`. Labels come from closed sets: routes, deployments, outcomes and status codes of
the configuration; never a user, a key or a model name that a client made up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from pointsman.ledger.entries import LedgerEntry
from pointsman.routing.signals import DeploymentState

METRICS: Mapping[str, str] = {
    "pointsman_requests_total": "Requests by route, outcome and status told to the client.",
    "pointsman_attempts_total": "Attempts by deployment and outcome.",
    "pointsman_fallbacks_total": "Attempts after the first, by route.",
    "pointsman_request_duration_seconds": "Seconds from a request to its end, by route.",
    "pointsman_first_content_seconds": "Seconds to first content of streams, by deployment.",
    "pointsman_tokens_total": "Tokens by deployment and kind (input, output, cached, reasoning).",
    "pointsman_cost_usd_total": "Cost in US dollars, by deployment.",
    "pointsman_baseline_usd_total": "What the baseline would have cost in US dollars, by route.",
    "pointsman_in_flight": "Attempts under way now, by deployment.",
    "pointsman_breaker_share": "Share of calls let through now (1 closed, 0 open), by deployment.",
    "pointsman_ledger_lost_entries": "Ledger entries that could not be kept.",
}

DURATION_BUCKETS = (
    0.005,
    0.02,
    0.08,
    0.16,
    0.32,
    0.64,
    1.28,
    2.56,
    5.12,
    10.24,
    20.48,
    40.96,
    81.92,
)
"""The conventions' buckets for generative AI clients, thinned (OpenTelemetry semconv 1.42)."""


class Stateful(Protocol):
    def state(self) -> DeploymentState: ...


class Metrics:
    """Observe requests. `multiprocess_dir` is set where several workers share one /metrics."""

    def __init__(
        self,
        stacks: Mapping[str, Stateful],
        ledger_lost: Callable[[], int],
        *,
        multiprocess_dir: str | None = None,
    ) -> None:
        self._stacks = stacks
        self._ledger_lost = ledger_lost
        self._multiprocess_dir = multiprocess_dir
        registry = self._registry = CollectorRegistry()
        help_of = METRICS.__getitem__

        def counter(name: str, *labels: str) -> Counter:
            return Counter(name, help_of(name), labels, registry=registry)

        def histogram(name: str, *labels: str) -> Histogram:
            return Histogram(
                name, help_of(name), labels, registry=registry, buckets=DURATION_BUCKETS
            )

        def gauge(name: str, *labels: str) -> Gauge:
            mode = "livesum" if name == "pointsman_in_flight" else "livemin"
            return Gauge(
                name,
                help_of(name),
                labels,
                registry=registry,
                multiprocess_mode=mode,  # type: ignore[arg-type]
            )

        self._requests = counter("pointsman_requests_total", "route", "outcome", "status")
        self._attempts = counter("pointsman_attempts_total", "deployment", "outcome")
        self._fallbacks = counter("pointsman_fallbacks_total", "route")
        self._duration = histogram("pointsman_request_duration_seconds", "route")
        self._first_content = histogram("pointsman_first_content_seconds", "deployment")
        self._tokens = counter("pointsman_tokens_total", "deployment", "kind")
        self._cost = counter("pointsman_cost_usd_total", "deployment")
        self._baseline = counter("pointsman_baseline_usd_total", "route")
        self._in_flight = gauge("pointsman_in_flight", "deployment")
        self._breaker = gauge("pointsman_breaker_share", "deployment")
        self._lost = gauge("pointsman_ledger_lost_entries")
        # Children are looked up once: `.labels()` costs as much as the counting.
        self._bound: dict[tuple[str, ...], object] = {}

    def _child(self, metric: Counter | Histogram, *labels: str) -> Counter | Histogram:
        key = (metric._name, *labels)
        child = self._bound.get(key)
        if child is None:
            child = self._bound[key] = metric.labels(*labels)
        return child  # type: ignore[return-value]

    def _count(self, metric: Counter, amount: float, *labels: str) -> None:
        child = self._child(metric, *labels)
        assert isinstance(child, Counter)
        child.inc(amount)

    def _time(self, metric: Histogram, seconds: float, *labels: str) -> None:
        child = self._child(metric, *labels)
        assert isinstance(child, Histogram)
        child.observe(seconds)

    def __call__(self, entry: LedgerEntry) -> None:
        self._count(self._requests, 1, entry.route, entry.outcome, str(entry.status))
        self._time(self._duration, entry.seconds, entry.route)
        if entry.baseline_nano:
            self._count(self._baseline, entry.baseline_nano / 1e9, entry.route)
        if len(entry.attempts) > 1:
            self._count(self._fallbacks, len(entry.attempts) - 1, entry.route)
        for attempt in entry.attempts:
            name = attempt.deployment
            self._count(self._attempts, 1, name, attempt.outcome)
            usage = attempt.usage
            if usage.input:
                self._count(self._tokens, usage.input, name, "input")
            if usage.output:
                self._count(self._tokens, usage.output, name, "output")
            if usage.cached:
                self._count(self._tokens, usage.cached, name, "cached")
            if usage.reasoning:
                self._count(self._tokens, usage.reasoning, name, "reasoning")
            if attempt.cost_nano:
                self._count(self._cost, attempt.cost_nano / 1e9, name)
            if attempt.ttft_s is not None:
                self._time(self._first_content, attempt.ttft_s, name)

    def exposition(self) -> bytes:
        """Return the text format; the states are read now."""
        for name, stack in self._stacks.items():
            state = stack.state()
            self._in_flight.labels(name).set(state.in_flight)
            self._breaker.labels(name).set(state.share)
        self._lost.set(self._ledger_lost())
        if self._multiprocess_dir is None:
            return generate_latest(self._registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged, path=self._multiprocess_dir)  # type: ignore[no-untyped-call]
        return generate_latest(merged)

    def __repr__(self) -> str:
        return "Metrics()"
