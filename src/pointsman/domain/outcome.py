"""How an attempt ended."""

from __future__ import annotations

from typing import Literal

import msgspec

from pointsman.domain.usage import NO_USAGE, Usage
from pointsman.errors import FailureKind

OutcomeKind = FailureKind | Literal["ok", "abandoned", "rejected"]
"""`abandoned`: the client left, or a hedge lost. `rejected`: our own refusal, or the caller's
mistake: nothing that tells against the provider."""

FAILURES: frozenset[str] = frozenset(
    {"throttled", "overloaded", "unavailable", "timeout", "refused", "malformed"}
)
"""The kinds that tell against a deployment. A content filter or a full context does not."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """`ttft_s` is seconds to the first content, `seconds` to the end; both from dispatch."""

    kind: OutcomeKind
    usage: Usage = NO_USAGE
    ttft_s: float | None = None
    seconds: float = 0.0
    http_status: int | None = None
    detail: str = ""
    code: str = ""
    """What the client was told it is, where the stream did not end well."""
    finish: str | None = None
    seen_bytes: int | None = None
    """The content of a stream that we left when all of it that had come was read: its provider has
    made that, and what was on its way. None for every other end."""

    @property
    def is_failure(self) -> bool:
        return self.kind in FAILURES
