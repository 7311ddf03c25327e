"""What metrics tell of budgets, of who counts them, of the log and of the ledger's writer.

The store knows how budgets stand, and asking it takes a moment: so it is asked now and then, beside
the event loop, and what was heard last is shown. Labels are names of budgets, which the operator
gave; never a subject of theirs, of which there is no end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from pointsman.budgets.escrow import AccountStanding
from pointsman.budgets.treasury import Treasury
from pointsman.ledger.keeper import KeptLedger
from pointsman.ledger.opening import Kept
from pointsman.observe.metrics import Labels

USD = 1e9
"""nano-USD to a dollar."""


class Watched(Protocol):
    """What shows numbers (`Metrics`)."""

    def watch(self, name: str, read: Callable[[], Mapping[Labels, float]]) -> None: ...


def show_treasury(metrics: Watched, treasury: Treasury) -> None:
    """Show what this worker knows of its budgets."""

    def held() -> Mapping[Labels, float]:
        bounds = treasury.bounds()
        return {(each.budget,): each.held / USD for each in bounds if each.unit == "nano_usd"}

    def idle() -> Mapping[Labels, float]:
        bounds = treasury.bounds()
        return {(each.budget,): each.idle / USD for each in bounds if each.unit == "nano_usd"}

    metrics.watch("pointsman_budget_held_usd", held)
    metrics.watch("pointsman_budget_idle_usd", idle)
    metrics.watch("pointsman_budget_waiting", lambda: {(): treasury.waiting})
    metrics.watch("pointsman_budget_refills_total", lambda: {(): treasury.refills})
    metrics.watch("pointsman_budget_fencings_total", lambda: {(): treasury.fencings})


def show_standings(metrics: Watched, heard: Callable[[], Iterable[AccountStanding]]) -> None:
    """Show how budgets stand over all workers; `heard` is what the store said last."""

    def summed(read: Callable[[AccountStanding], int]) -> Callable[[], Mapping[Labels, float]]:
        def told() -> Mapping[Labels, float]:
            sums: dict[Labels, float] = {}
            for each in heard():
                if each.unit == "nano_usd":
                    key = (each.budget,)
                    sums[key] = sums.get(key, 0.0) + read(each) / USD
            return sums

        return told

    def limits() -> Mapping[Labels, float]:
        return {(each.budget,): each.limit / USD for each in heard() if each.unit == "nano_usd"}

    def fullest() -> Mapping[Labels, float]:
        shares: dict[Labels, float] = {}
        for each in heard():
            share = (each.spent + each.leased) / max(1, each.limit)
            shares[each.budget,] = max(share, shares.get((each.budget,), 0.0))
        return shares

    metrics.watch("pointsman_budget_limit_usd", limits)
    metrics.watch("pointsman_budget_spent_usd", summed(lambda each: each.spent))
    metrics.watch("pointsman_budget_leased_usd", summed(lambda each: each.leased))
    metrics.watch("pointsman_budget_over_usd", summed(lambda each: each.over))
    metrics.watch("pointsman_budget_suspense_usd", summed(lambda each: each.suspense))
    metrics.watch("pointsman_budget_fullest_ratio", fullest)


def show_redis(metrics: Watched, uses: Mapping[str, Callable[[], bool]]) -> None:
    """Show whether the shared server answers; `uses` says for each use of it."""
    if uses:
        metrics.watch(
            "pointsman_redis_up", lambda: {(use,): float(is_up()) for use, is_up in uses.items()}
        )


def show_kept(metrics: Watched, kept: Kept) -> None:
    """Show what waits to be written, and what was."""
    ledger, wal, recovery = kept.ledger, kept.wal, kept.recovery
    if isinstance(ledger, KeptLedger):
        metrics.watch("pointsman_ledger_pending", lambda: {(): ledger.pending})
    if wal is not None:
        metrics.watch("pointsman_log_records_total", lambda: {(): wal.appended})
        metrics.watch("pointsman_log_bytes_total", lambda: {(): wal.bytes_written})
        metrics.watch("pointsman_log_open_attempts", lambda: {(): wal.open_attempts})
    if recovery is not None:
        metrics.watch("pointsman_log_recovered_total", lambda: {(): recovery.recovered})
