"""A deployment: one model at one provider."""

from __future__ import annotations

from typing import Literal

import msgspec

from pointsman.domain.billing import ANY, BillingRule
from pointsman.domain.usage import Price

Tier = Literal["frontier", "workhorse", "local"]
TIERS: tuple[Tier, ...] = ("frontier", "workhorse", "local")

CAPABILITIES: dict[str, str] = {
    "chat": "answers a conversation",
    "embeddings": "turns text into vectors",
    "tools": "calls functions",
    "parallel_tools": "calls several functions in one turn",
    "vision": "reads images",
    "documents": "reads PDF and other files",
    "audio": "hears audio",
    "json": "answers in JSON when told to",
    "json_schema": "answers in JSON that fits a given schema",
    "reasoning": "thinks before it answers",
}
"""The capabilities a request can ask for by its content. A file may declare its own as
`x-something` and ask for it by route or request; any other name is an error that names it."""


class Limits(msgspec.Struct, frozen=True):
    """What a deployment can take. `None` is no declared limit.

    context_tokens: input plus output. output_tokens: longest answer. max_in_flight: attempts
    at once. requests_per_minute, tokens_per_minute: as the provider grants them.
    """

    context_tokens: int | None = None
    output_tokens: int | None = None
    max_in_flight: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


class Deployment(msgspec.Struct, frozen=True):
    """One model at one provider; immutable.

    `name` is unique in a configuration and is what metrics, ledger and explanations show
    (default `provider/model`). `price` is None only where the operator chose `price: unknown`.
    `weight` is its share in weighted routing. `quality` in [0, 1] is a declared prior, used by
    the hybrid strategy until quality is learnt.
    """

    name: str
    provider: str
    model: str
    tier: Tier
    dialect: str
    price: Price | None
    limits: Limits = Limits()
    capabilities: frozenset[str] = frozenset({"chat"})
    residency: str | None = None
    weight: float = 1.0
    quality: float | None = None
    default_max_tokens: int | None = None
    adaptive: bool = True
    """Learn how many attempts at once it can bear (pipeline/limits.py)."""
    refuses: frozenset[str] = frozenset()
    """Request fields that this provider answers with an error, though others of its dialect
    take them: `stream_options`, `max_completion_tokens`."""
    tags: frozenset[str] = msgspec.field(default_factory=frozenset)
    billing: BillingRule = ANY
    """How its provider reports what it bills."""
