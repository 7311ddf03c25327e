"""What the client is told when every allowed attempt has failed: the table of contract.py, read.

A refused credential is never the client's 401. `should_retry` is False once we have retried
ourselves or may not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from pointsman.errors import (
    AllFailed,
    ContextTooLong,
    FailureKind,
    PointsmanError,
    ProviderFailure,
    Rejected,
)
from pointsman.routing.contract import COOLING, KINDS, LATE, MIXED, UNAVAILABLE, EndRow, KindRow

FILTERED: Final = KINDS["content_filter"]
BUSY: Final = "deployment_busy"
"""The code of a refusal by our own limits: slots, requests and tokens a minute."""

LONGEST_HINT_S: Final = 300.0
"""A client is told of no longer wait: the default of BreakerSettings.retry_after_max_s, after
which the provider is asked again, whatever it said."""


class Failure(Protocol):
    """What a verdict looks at (failover.Failed fits)."""

    @property
    def deployment(self) -> str: ...
    @property
    def error(self) -> ProviderFailure | Rejected: ...
    @property
    def kind(self) -> FailureKind | None: ...
    @property
    def at(self) -> float: ...


def verdict(
    route: str,
    failures: Sequence[Failure],
    *,
    now: float,
    why: str,
    retry_allowed: bool = False,
    late: bool = False,
) -> PointsmanError:
    """Make the error that the client gets; it names deployments, kinds and status codes only,
    never what a provider wrote."""
    kinds = [failed.kind for failed in failures if failed.kind is not None]
    told = [failed.error for failed in failures if isinstance(failed.error, ProviderFailure)]
    last = kinds[-1] if kinds else None
    others = {kind for kind in kinds if kind != "context_length"}
    message = f"route {route}: {_listed(failures)}; {why}"
    if not late and last == "context_length" and not others:
        return ContextTooLong(
            f"{message}. Shorten the conversation or ask a model with a larger window."
        )
    hints = [hint for failed in failures if (hint := _hint_left(failed, now)) is not None]
    face: EndRow | KindRow
    if late:
        face = LATE
    elif last == "content_filter":
        face = FILTERED
    elif not kinds:
        is_busy = bool(failures) and all(failed.error.code == BUSY for failed in failures)
        face = COOLING if is_busy else UNAVAILABLE
    elif len(others) == 1:
        face = KINDS[next(iter(others))]
    else:
        face = MIXED
    error = AllFailed(
        message,
        told,
        status=face.status,
        code=face.code,
        retry_after_s=min(hints) if hints and face.retry_after else None,
    )
    error.should_retry = face.retry != "no" and retry_allowed
    return error


def _hint_left(failed: Failure, now: float) -> float | None:
    """Seconds of the provider's own Retry-After that are still to come."""
    hint = failed.error.retry_after_s
    return None if hint is None else max(0.0, failed.at + min(hint, LONGEST_HINT_S) - now)


def _listed(failures: Sequence[Failure]) -> str:
    if not failures:
        return "nobody was tried"
    shown = []
    for failed in failures:
        status = failed.error.http_status if isinstance(failed.error, ProviderFailure) else None
        kind = failed.kind or f"not called, {failed.error.code}"
        shown.append(f"{failed.deployment} ({kind}{f' {status}' if status else ''})")
    return f"{len(failures)} tried: {', '.join(shown)}"
