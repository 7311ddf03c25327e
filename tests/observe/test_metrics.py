"""What is counted is what is scraped, over one worker or several."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pointsman.domain.call import ANONYMOUS
from pointsman.domain.usage import Usage
from pointsman.ledger.entries import Attempt, LedgerEntry
from pointsman.observe.budget_metrics import show_redis
from pointsman.observe.metrics import Metrics
from pointsman.routing.signals import DeploymentState


class Stack:
    def state(self) -> DeploymentState:
        return DeploymentState(in_flight=3, share=0.5)


def entry(seconds: float = 0.1) -> LedgerEntry:
    usage = Usage(100, 50, cached=10, reasoning=5)
    attempts = (
        Attempt("a", "p", "m", "workhorse", "timeout", Usage(100), 100_000),
        Attempt("b", "p", "m", "workhorse", "ok", usage, 2_000_000, ttft_s=0.3),
    )
    return LedgerEntry(
        *("r", "r", 0.0, "chat", "auto", "auto", ANONYMOUS, True, 200, "ok", attempts, usage),
        cost_nano=2_100_000,
        baseline_nano=9_000_000,
        seconds=seconds,
    )


def test_whether_a_shared_server_answers_is_told_by_use() -> None:
    metrics = Metrics({}, lambda: 0)
    show_redis(metrics, {})
    assert not any(name.startswith("pointsman_redis_up{") for name in lines(metrics))
    show_redis(metrics, {"rates": lambda: True, "cache": lambda: False})
    seen = lines(metrics)
    assert seen['pointsman_redis_up{use="rates"}'] == 1
    assert seen['pointsman_redis_up{use="cache"}'] == 0


def lines(metrics: Metrics) -> dict[str, float]:
    text = metrics.exposition().decode()
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_a_request_moves_every_series_it_touches() -> None:
    metrics = Metrics({"a": Stack()}, lambda: 7)
    metrics(entry())
    metrics(entry(seconds=500.0))
    seen = lines(metrics)
    assert seen['pointsman_requests_total{outcome="ok",route="auto",status="200"}'] == 2
    assert seen['pointsman_attempts_total{deployment="a",outcome="timeout"}'] == 2
    assert seen['pointsman_fallbacks_total{route="auto"}'] == 2
    assert seen['pointsman_tokens_total{deployment="b",kind="cached"}'] == 20
    assert seen['pointsman_cost_usd_total{deployment="b"}'] == pytest.approx(0.004)
    assert seen['pointsman_baseline_usd_total{route="auto"}'] == pytest.approx(0.018)
    duration = "pointsman_request_duration_seconds"
    assert seen[f'{duration}_bucket{{le="0.08",route="auto"}}'] == 0
    assert seen[f'{duration}_bucket{{le="0.16",route="auto"}}'] == 1
    assert seen[f'{duration}_bucket{{le="81.92",route="auto"}}'] == 1
    assert seen[f'{duration}_bucket{{le="+Inf",route="auto"}}'] == 2
    assert seen[f'{duration}_count{{route="auto"}}'] == 2
    assert seen[f'{duration}_sum{{route="auto"}}'] == pytest.approx(500.1)
    assert seen['pointsman_in_flight{deployment="a"}'] == 3
    assert seen['pointsman_breaker_share{deployment="a"}'] == 0.5
    assert seen["pointsman_ledger_lost_entries"] == 7


def test_workers_add_up_and_a_dead_ones_gauges_are_left_out(tmp_path: Path) -> None:
    mine = Metrics({"a": Stack()}, lambda: 0, directory=tmp_path)
    mine(entry())
    mine.share()
    own = tmp_path / f"{os.getpid()}.tally"
    (tmp_path / f"{os.getppid()}.tally").write_bytes(own.read_bytes())
    (tmp_path / "4194000.tally").write_bytes(own.read_bytes())  # beyond any live process
    seen = lines(mine)
    assert seen['pointsman_requests_total{outcome="ok",route="auto",status="200"}'] == 3
    assert seen['pointsman_request_duration_seconds_count{route="auto"}'] == 3
    assert seen['pointsman_in_flight{deployment="a"}'] == 6
    assert seen['pointsman_breaker_share{deployment="a"}'] == 0.5


def test_a_directory_that_is_gone_costs_no_request(tmp_path: Path) -> None:
    metrics = Metrics({}, lambda: 0, directory=tmp_path / "gone")
    metrics(entry())
    metrics.share()
    assert lines(metrics)['pointsman_fallbacks_total{route="auto"}'] == 1


def test_what_is_shed_and_how_late_the_loop_runs_is_counted() -> None:
    metrics = Metrics({}, lambda: 0)
    metrics.count("pointsman_shed_total", "lag", "sheddable")
    metrics.count("pointsman_shed_total", "lag", "sheddable")
    metrics.observe("pointsman_loop_lag_seconds", 0.03)
    seen = lines(metrics)
    assert seen['pointsman_shed_total{criticality="sheddable",reason="lag"}'] == 2
    assert seen['pointsman_loop_lag_seconds_bucket{le="0.02"}'] == 0
    assert seen['pointsman_loop_lag_seconds_bucket{le="0.08"}'] == 1


def test_what_is_watched_is_asked_when_somebody_scrapes() -> None:
    metrics = Metrics({}, lambda: 0)
    waiting = [3.0]
    metrics.watch("pointsman_queue_waiting", lambda: {(): waiting[0]})
    metrics.watch("pointsman_log_lines_lost_total", lambda: {(): 5})
    assert lines(metrics)["pointsman_queue_waiting"] == 3
    waiting[0] = 0
    assert lines(metrics)["pointsman_queue_waiting"] == 0
    assert lines(metrics)["pointsman_log_lines_lost_total"] == 5
