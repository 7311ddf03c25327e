"""The metrics there are: names, labels and meanings, which docs/metrics.md prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Kind = Literal["counter", "histogram", "gauge"]


class Described(msgspec.Struct, frozen=True):
    """A metric: what it is, its labels, and how gauges of several workers are added up."""

    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    merge: Literal["sum", "min", "max"] = "sum"


_BUDGET = ("budget",)

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
    "pointsman_cache_total": Described(
        "counter",
        "Requests on routes with a cache, by route and result: hit, similar, miss or bypass.",
        ("route", "result"),
    ),
    "pointsman_cache_saved_usd_total": Described(
        "counter",
        "What answers from the cache had cost when they were made, in US dollars, by route.",
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
    "pointsman_ledger_pending": Described(
        "gauge", "Entries and charges that wait in memory for the ledger's store."
    ),
    "pointsman_log_records_total": Described("counter", "Records written to write-ahead logs."),
    "pointsman_log_bytes_total": Described("counter", "Bytes written to write-ahead logs."),
    "pointsman_log_open_attempts": Described(
        "gauge", "Attempts that were dispatched and are not settled in the log."
    ),
    "pointsman_log_recovered_total": Described(
        "counter", "Logs of workers that died, told to the store by another."
    ),
    "pointsman_budget_limit_usd": Described(
        "gauge", "What each account of a budget may spend in its window, by budget.", _BUDGET, "max"
    ),
    "pointsman_budget_spent_usd": Described(
        "gauge",
        "Spent in the windows that run, over all accounts of a budget and all workers; at most "
        "10 s old.",
        _BUDGET,
        "max",
    ),
    "pointsman_budget_leased_usd": Described(
        "gauge",
        "Leased to workers and not yet spent, likewise; with what is in suspense.",
        _BUDGET,
        "max",
    ),
    "pointsman_budget_over_usd": Described(
        "gauge",
        "What stands above the limit, likewise: tight budgets, lowered limits, providers that "
        "reported more than they may.",
        _BUDGET,
        "max",
    ),
    "pointsman_budget_suspense_usd": Described(
        "gauge",
        "Counted as used though nobody knows, likewise: the rest of leases of workers that died.",
        _BUDGET,
        "max",
    ),
    "pointsman_budget_fullest_ratio": Described(
        "gauge",
        "Spent and leased share of its limit, of the fullest account of a budget or rate.",
        _BUDGET,
        "max",
    ),
    "pointsman_budget_held_usd": Described(
        "gauge", "Set aside for attempts under way now, by budget.", _BUDGET
    ),
    "pointsman_budget_idle_usd": Described(
        "gauge", "Leased by workers and free there, by budget.", _BUDGET
    ),
    "pointsman_budget_waiting": Described("gauge", "Requests that wait for room in a budget."),
    "pointsman_budget_denials_total": Described(
        "counter",
        "Requests and attempts refused, by budget or rate and code (budget_exceeded, rate_limited, "
        'unpriced_model, unknown_budget, storage_unavailable); "" where it is no single budget.',
        ("budget", "code"),
    ),
    "pointsman_budget_refills_total": Described(
        "counter", "Times that a worker leased a part of an account."
    ),
    "pointsman_budget_fencings_total": Described(
        "counter", "Times that a worker was taken for dead and began anew."
    ),
    "pointsman_alerts_raised_total": Described(
        "counter",
        "Alerts that a worker was the first to raise, by kind (threshold, burn_rate, forecast, "
        "anomaly, loop).",
        ("kind",),
    ),
    "pointsman_redis_up": Described(
        "gauge",
        "1 where the shared server answers, 0 where we go on without it, by use (rates, cache); "
        "the worker's that is worst off.",
        ("use",),
        "min",
    ),
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
    "pointsman_auth_failures_total": Described(
        "counter", "Requests that showed no good key, those told to slow down too."
    ),
    "pointsman_keys_age_seconds": Described(
        "gauge",
        "How long ago the keys and limits of the store were read, or the start was, in seconds; "
        "the worker's that is furthest behind.",
        (),
        "max",
    ),
    "pointsman_log_lines_lost_total": Described(
        "counter", "Log lines dropped because nobody read them fast enough."
    ),
}

METRICS: Mapping[str, str] = {name: each.help for name, each in TABLE.items()}
"""Names and meanings: what docs/metrics.md prints."""
