"""A ledger entry as bytes for the log, and back.

Why the request went where it went (`decision`) is left out: with its candidates it is twenty times
as long as the rest, and who died in between can be accounted for without it. It is kept where the
entry reaches the store from memory, which is nearly always.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pointsman.domain.call import Caller
from pointsman.domain.outcome import OutcomeKind
from pointsman.domain.usage import Usage
from pointsman.ledger.entries import Attempt, CacheWord, LedgerEntry


class _Logged(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The order of `encode`. Fields are only ever added at the end, with a default."""

    request_id: str
    decision_id: str
    at: float
    operation: str
    route: str
    requested_model: str
    key: str
    user: str | None
    app: str | None
    team: str | None
    tenant: str | None
    key_tags: Mapping[str, str]
    stream: bool
    status: int
    outcome: OutcomeKind
    attempts: tuple[Attempt, ...]
    usage: Usage
    cost_nano: int | None
    baseline_nano: int | None
    seconds: float
    ttft_s: float | None
    error_code: str
    tags: tuple[tuple[str, str], ...]
    cache: CacheWord = ""
    saved_nano: int = 0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Logged)


def encode(entry: LedgerEntry) -> bytes:
    """Raises ValueError, TypeError or OverflowError for what msgpack cannot say."""
    caller = entry.caller
    return _encoder.encode(
        (
            entry.request_id,
            entry.decision_id,
            entry.at,
            entry.operation,
            entry.route,
            entry.requested_model,
            caller.key,
            caller.user,
            caller.app,
            caller.team,
            caller.tenant,
            caller.tags,
            entry.stream,
            entry.status,
            entry.outcome,
            entry.attempts,
            entry.usage,
            entry.cost_nano,
            entry.baseline_nano,
            entry.seconds,
            entry.ttft_s,
            entry.error_code,
            entry.tags,
            entry.cache,
            entry.saved_nano,
        )
    )


def decode(body: bytes) -> LedgerEntry:
    """Read what `encode` wrote. Raises msgspec.DecodeError for anything else."""
    read = _decoder.decode(body)
    return LedgerEntry(
        request_id=read.request_id,
        decision_id=read.decision_id,
        at=read.at,
        operation=read.operation,
        route=read.route,
        requested_model=read.requested_model,
        caller=Caller(read.key, read.user, read.app, read.team, read.tenant, tags=read.key_tags),
        stream=read.stream,
        status=read.status,
        outcome=read.outcome,
        attempts=read.attempts,
        usage=read.usage,
        cost_nano=read.cost_nano,
        baseline_nano=read.baseline_nano,
        seconds=read.seconds,
        ttft_s=read.ttft_s,
        error_code=read.error_code,
        tags=read.tags,
        cache=read.cache,
        saved_nano=read.saved_nano,
    )
