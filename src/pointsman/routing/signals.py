"""All that a policy may look at: features of the request, states of the deployments."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from pointsman.domain.request import Preference

Task = Literal[
    "chat", "code", "math", "reasoning", "summary", "translation", "extraction", "creative"
]


class Besides(msgspec.Struct, frozen=True, gc=False):
    """What a request may cause besides its text, for the bound of its cost (upper.py).

    choices: answers asked for. images: how many. sound: the most tokens of it. tier: the tier of
    service asked for, "" for the standard one. searches: web searches that the provider may make.
    is_open: it may read more than was sent: files, or what it finds. has_tools: tools or a schema
    come with it. caches: how long it asks a provider to keep its input, "", "5m" or "1h".
    is_unseen: what is billed of an answer may not be text that it shows.
    """

    choices: int = 1
    images: int = 0
    sound: int = 0
    tier: str = ""
    searches: int = 0
    is_open: bool = False
    has_tools: bool = False
    caches: Literal["", "5m", "1h"] = ""
    is_unseen: bool = False


PLAIN: Final = Besides()
"""Of a request that is nothing but text."""


class RequestFeatures(msgspec.Struct, frozen=True, gc=False):
    """What is known of a request before it is sent. Tokens are the estimator's, see tokens.py.

    `output_tokens` is the expected answer, `max_output_tokens` the longest one the client allows,
    0 where it states none (estimate.longest_answer then asks the deployment).
    `needs` are capabilities the request's own content makes hard constraints. `language` is an
    ISO 639-1 code or "und". `sensitive` names what was found ("secret", "pii"), or "declared"
    where the caller said so, "" for nothing. `upper_tokens` bounds the input from above as far as
    it is text, `sent_bytes` are those of the body without its files, and `besides` is what else
    may be charged for.
    """

    input_tokens: int
    output_tokens: int
    max_output_tokens: int
    needs: frozenset[str] = frozenset()
    task: Task = "chat"
    language: str = "und"
    sensitive: str = ""
    streaming: bool = False
    prefer: Preference | None = None
    residency: str | None = None
    allow: tuple[str, ...] | None = None
    max_cost_nano: int | None = None
    budget_nano: int | None = None
    """What is left in budgets that let a cheaper deployment answer; None where there is none."""
    remaining_s: float = float("inf")
    session: str | None = None
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    upper_tokens: int | None = None
    sent_bytes: int = 0
    besides: Besides = PLAIN
    beginning: tuple[bytes, ...] = ()
    """What the request begins with, as affinity.chain_of tells it; () on routes without."""
    read_by: tuple[str, int] | None = None
    """Who read how many bytes of that before (affinity.Read), where somebody did."""


SIZES: Final = (256, 1024, 4096, 16_384, 65_536)
"""Upper bounds, in input tokens, of all buckets but the last: steps of four."""

REPORT_S: Final = 10.0
"""Seconds for which a load report holds: ten of the rounds in which servers are asked."""


def size_of(input_tokens: int) -> int:
    """Return the bucket, 0 for the smallest, that an input of this size is measured in."""
    return bisect_left(SIZES, input_tokens)


class LoadReport(msgspec.Struct, frozen=True):
    """What a local server says of itself: requests it works on and keeps waiting, the share in
    [0, 1] of its key-value cache in use, requests it can work on at once (0 where it does not
    say). `at` is in the clock's seconds. `cold_s`: what loading the model first will take, in
    seconds; 0 where it is in memory."""

    running: int
    waiting: int
    memory_used: float
    at: float
    slots: int = 0
    cold_s: float = 0.0


class DeploymentState(msgspec.Struct, frozen=True, gc=False):
    """What the layers of one deployment measured. Seconds; None where nothing was measured.

    `ttft_s` is time to first content for inputs of the asked size (SIZES), `per_token_s` time per
    output token after it, both peak-EWMA. `headroom` in [0, 1] is the share of its limits (slots,
    requests and tokens a minute) still free. `share` in [0, 1] is what a breaker lets through: 0
    open, below 1 on its way back. `reopens_in_s` is how long until a closed track may be tried.
    `token_scale` is this model's own tokens per estimated token, learnt from reported usage
    (tokens.TokenScale).
    """

    in_flight: int = 0
    ttft_s: float | None = None
    per_token_s: float | None = None
    samples: int = 0
    headroom: float = 1.0
    share: float = 1.0
    reopens_in_s: float = 0.0
    breaker: Literal["closed", "open", "half_open", "ramping"] = "closed"
    reason: str = ""
    """Why the breaker is not closed, or why it cools down, in words for a person."""
    token_scale: float = 1.0
    penalty_s: float = 0.0
    """Seconds that recent failures add to a score: failing fast must not look fast. They are no
    expectation of time: no deadline is compared with them."""
    waiting: int = 0
    """Requests that wait at a local server, by its last report if that is fresh."""
    memory_used: float = 0.0
    """Share in [0, 1] of a local server's key-value cache in use, likewise."""
    cold_s: float = 0.0
    """Seconds that a local server needs to load the model first, likewise."""
    free_in_s: float = 0.0
    """Seconds until a used-up limit grants something again; 0 where there is something left, or
    where only attempts under way can free it."""
    bears: int | None = None
    """Attempts at once that it was learnt to bear, None while nothing tells against more."""


COLD = DeploymentState()
