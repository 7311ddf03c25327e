"""What budgets need of a log that is written ahead: each hold stands there before it is acted on.

The log survives `kill -9`. Whoever reads it afterwards finds every attempt that may have been
paid for, in which leases it was held, and whether it was settled; what was not is charged as held.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol


class AheadLog(Protocol):
    """Called on the event loop, in the order dispatch, then settle or void, once each.

    An attempt's `parts` are what it holds of leases that the store has granted: money only.
    """

    def dispatch(
        self, attempt_id: str, parts: Sequence[tuple[int, int]], amount: int, note: bytes
    ) -> None:
        """Write down that a provider is about to be asked, before its first byte leaves.

        parts: (lease, nano-USD held in it). amount: the most that the attempt can cost, in
        nano-USD. note: `pointsman.wal.note.Note`, encoded. Raises StorageUnavailable where it
        cannot be written, or where the worker's leases may have run out: then nobody is asked.
        """
        ...

    def synced(self) -> Awaitable[None] | None:
        """What to wait for until all that was written is on the disk; None: go on at once."""
        ...

    def settle(
        self,
        attempt_id: str,
        charges: Sequence[tuple[int, int, int]],
        exact: bool,
        charged_nano: int | None = None,
    ) -> None:
        """Say what a dispatched attempt has cost. Never raises.

        charges: (lease, held, charged) for each of its parts, those of 0 too. exact: whether the
        provider has said what was used. charged_nano: what was charged, to be given where there
        are no parts to tell it. No charges and no charged_nano is `void`.
        """
        ...

    def void(self, attempt_id: str) -> None:
        """Say that after all nothing was sent for a dispatched attempt. Never raises."""
        ...


class NoLog:
    """No log is kept: a worker that dies leaves its leases to the store's conservative guess."""

    def dispatch(
        self, attempt_id: str, parts: Sequence[tuple[int, int]], amount: int, note: bytes
    ) -> None: ...

    def synced(self) -> None: ...

    def settle(
        self,
        attempt_id: str,
        charges: Sequence[tuple[int, int, int]],
        exact: bool,
        charged_nano: int | None = None,
    ) -> None: ...

    def void(self, attempt_id: str) -> None: ...


NO_LOG = NoLog()
