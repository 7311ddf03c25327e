"""What the ledger keeps of a request: one entry, with every attempt. Append-only."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from pointsman.domain.call import Caller
from pointsman.domain.deployment import Tier
from pointsman.domain.outcome import OutcomeKind
from pointsman.domain.usage import NO_USAGE, Usage
from pointsman.routing.decision import Decision

CacheWord = Literal["", "hit", "similar", "miss", "bypass"]


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One call to one deployment. `cost_nano` is None only for an unknown price.

    `started_s` is seconds after the request came in; `seconds` and `ttft_s` count from there.
    """

    deployment: str
    provider: str
    model: str
    tier: Tier
    outcome: OutcomeKind
    usage: Usage = NO_USAGE
    cost_nano: int | None = 0
    price_version: str = ""
    started_s: float = 0.0
    seconds: float = 0.0
    ttft_s: float | None = None
    http_status: int | None = None
    detail: str = ""
    hedge: bool = False
    """Made beside another that was late, and called off if that one answered first."""
    id: str = ""
    """What the provider was told as `x-pointsman-attempt-id`: unique over all workers."""
    charged_nano: int | None = None
    """What budgets count for it where that is not `cost_nano`: where nobody said what it used, the
    most that it can have cost, until an invoice tells."""


class LedgerEntry(msgspec.Struct, frozen=True, gc=False):
    """One request. `at` is seconds since the epoch; `cost_nano` the sum over its attempts.

    `baseline_nano` is what the route's baseline deployment would have cost for the same usage:
    savings are `baseline_nano - cost_nano`. `status` is what the client was told (499: it left).
    """

    request_id: str
    decision_id: str
    at: float
    operation: str
    route: str
    requested_model: str
    caller: Caller
    stream: bool
    status: int
    outcome: OutcomeKind
    attempts: tuple[Attempt, ...]
    usage: Usage = NO_USAGE
    cost_nano: int | None = 0
    baseline_nano: int | None = None
    seconds: float = 0.0
    ttft_s: float | None = None
    error_code: str = ""
    decision: Decision | None = None
    tags: tuple[tuple[str, str], ...] = msgspec.field(default=())
    cache: CacheWord = ""
    """Whether it was answered from the cache: `hit` (the same question), `similar` (one that is
    nearly the same), `miss`, or `bypass`, where nobody looked; "" where there is none."""
    saved_nano: int = 0
    """What the answer had cost when it was made, where it was answered from the cache."""


class LedgerStore(Protocol):
    """Where entries go. `append` is called on the event loop: it never waits and never raises
    for a full disk or a locked file (it counts, see `lost`); writing happens elsewhere."""

    lost: int
    """Entries that could not be kept, ever growing."""

    def append(self, entry: LedgerEntry) -> None: ...

    def flush(self) -> None:
        """Return when everything appended before is durable; blocks, never on the loop."""
        ...

    def close(self) -> None:
        """Flush and let go."""
        ...
