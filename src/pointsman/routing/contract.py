"""The client contract, as one table: what each end of a request means for everybody.

For the client: status, code, `x-should-retry` and Retry-After. For us: what it does to the
deployment's breaker, whether another deployment is asked, what the retry costs, and whether the
attempt may be billed. `verdict.py`, `failover.py` and the breaker read their words here, tests
go through it cell by cell, and docs/errors.md prints it: there is no second place.

Theory. Faults are told apart by whose they are, for a client can act on nothing else: its own
(4xx, never repeated), ours (503, come back), the provider's (429 and 502 to 504, after we have
done what could be done). A provider's 401 is our operator's matter and never the client's 401; a
provider's 429 is a client's 429 only where nobody else could answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from pointsman.errors import FailureKind

Effect = Literal["hard", "cool", "credential", "neutral"]
"""What a failure does to its deployment's breaker. hard: counts, in a row and in the window.
cool: left alone for as long as was asked, no failure counted. credential: two in a row open it.
neutral: nothing."""

Falls = Literal["yes", "larger window", "by policy", "no"]
"""Is another deployment asked?"""

Retry = Literal["yes", "while the retry budget lasts", "no"]
"""x-should-retry. SDKs repeat twice by themselves: three times three attempts are a storm."""

Billed = Literal["no", "unknown", "reported", "partial"]
"""What the attempt may cost. unknown: an estimate is kept, unless nobody was reached or the answer
was an error status; partial: what was seen is counted."""


class KindRow(msgspec.Struct, frozen=True):
    """One kind of failure before the first content; the face is for the end, when all that was
    tried failed like this. `again`: the same deployment may be asked again when nobody else is
    left; `waits`: a Retry-After of it is waited for then."""

    means: str
    status: int
    code: str
    retry: Retry
    retry_after: bool
    breaker: Effect
    falls_back: Falls
    retry_cost: int
    again: bool
    waits: bool
    billed: Billed


KINDS: Final[Mapping[FailureKind, KindRow]] = MappingProxyType(
    {
        "throttled": KindRow(
            means="429: too many requests or tokens",
            status=429,
            code="upstream_rate_limited",
            retry="while the retry budget lasts",
            retry_after=True,
            breaker="cool",
            falls_back="yes",
            retry_cost=1,
            again=False,
            waits=True,
            billed="no",
        ),
        "overloaded": KindRow(
            means="503, 529, 498: no capacity",
            status=502,
            code="upstream_error",
            retry="no",
            retry_after=False,
            breaker="hard",
            falls_back="yes",
            retry_cost=1,
            again=True,
            waits=True,
            billed="no",
        ),
        "unavailable": KindRow(
            means="other 5xx; connection, TLS or DNS failed, or was lost",
            status=502,
            code="upstream_error",
            retry="no",
            retry_after=False,
            breaker="hard",
            falls_back="yes",
            retry_cost=1,
            again=True,
            waits=False,
            billed="unknown",
        ),
        "timeout": KindRow(
            means="one of our timers: connecting, first content, whole answer",
            status=504,
            code="upstream_timeout",
            retry="no",
            retry_after=False,
            breaker="hard",
            falls_back="yes",
            retry_cost=2,
            again=False,
            waits=False,
            billed="unknown",
        ),
        "refused": KindRow(
            means="401, 402, 403, 404: our credential, quota or model name",
            status=502,
            code="upstream_error",
            retry="no",
            retry_after=False,
            breaker="credential",
            falls_back="yes",
            retry_cost=1,
            again=False,
            waits=False,
            billed="no",
        ),
        "malformed": KindRow(
            means="bytes that are not the protocol; an empty or truncated answer",
            status=502,
            code="upstream_protocol",
            retry="no",
            retry_after=False,
            breaker="hard",
            falls_back="yes",
            retry_cost=1,
            again=False,
            waits=False,
            billed="unknown",
        ),
        "content_filter": KindRow(
            means="the provider's filter refused this request",
            status=400,
            code="content_filter",
            retry="no",
            retry_after=False,
            breaker="neutral",
            falls_back="by policy",
            retry_cost=0,
            again=False,
            waits=False,
            billed="no",
        ),
        "context_length": KindRow(
            means="the input does not fit the model's window",
            status=400,
            code="context_length_exceeded",
            retry="no",
            retry_after=False,
            breaker="neutral",
            falls_back="larger window",
            retry_cost=0,
            again=False,
            waits=False,
            billed="no",
        ),
    }
)


class EndRow(msgspec.Struct, frozen=True):
    """Another way in which a request ends before its first content."""

    means: str
    status: int
    code: str
    retry: Retry
    retry_after: bool = False


MIXED: Final = EndRow("attempts failed in different ways", 502, "upstream_error", "no")
LATE: Final = EndRow("the call's own deadline passed", 504, "deadline_exceeded", "no")
COOLING: Final = EndRow(
    "every deployment is cooling down after a 429, or its limits are used up",
    429,
    "upstream_rate_limited",
    "while the retry budget lasts",
    True,
)
UNAVAILABLE: Final = EndRow(
    "every deployment is out, at least one by its breaker; nobody was called",
    503,
    "upstream_unavailable",
    "while the retry budget lasts",
    True,
)
BUDGET: Final = EndRow(
    "a budget has less left than the longest answer may cost",
    402,
    "budget_exceeded",
    "no",
    True,
)
RATE: Final = EndRow(
    "a rate that the request has to keep is used up, or as many are under way as may be",
    429,
    "rate_limited",
    "yes",
    True,
)
UNKNOWN_BUDGET: Final = EndRow(
    "the key draws on a budget that does not exist", 403, "unknown_budget", "no"
)
UNPRICED: Final = EndRow(
    "a budget counts the request, and no deployment that may answer has a known price",
    400,
    "unpriced_model",
    "no",
)
STORAGE: Final = EndRow(
    "what was granted of the budgets is used up and their store does not answer, or the "
    "write-ahead log cannot be written",
    503,
    "storage_unavailable",
    "yes",
    True,
)
ENDS: Final = (
    *(MIXED, LATE, COOLING, UNAVAILABLE),
    *(BUDGET, RATE, UNKNOWN_BUDGET, UNPRICED, STORAGE),
)


class StreamRow(msgspec.Struct, frozen=True):
    """A stream that fails after its first content: 200 has been sent, an error event ends it."""

    means: str
    code: str
    breaker: Effect


IN_STREAM: Final = (
    StreamRow(
        "the connection was lost, or the stream lacks its end", "upstream_disconnected", "hard"
    ),
    StreamRow("no content for `timeouts.idle_s`", "upstream_stalled", "hard"),
    StreamRow("the provider sent an error event", "upstream_error", "hard"),
    StreamRow("bytes that are not the protocol", "upstream_protocol", "hard"),
    StreamRow("the call's own deadline passed", "deadline_exceeded", "neutral"),
    StreamRow("this server is shutting down", "draining", "neutral"),
)


def kinds_with(effect: Effect) -> frozenset[FailureKind]:
    """Name the kinds of failure that have this effect on a breaker."""
    return frozenset(kind for kind, row in KINDS.items() if row.breaker == effect)
