"""What a caller asks for, in no provider's dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from pointsman.domain.content import (
    Json,
    Message,
    Reasoning,
    ResponseFormat,
    Tool,
    ToolChoice,
    nothing,
)

Preference = Literal["cost", "speed", "quality", "balanced"]


class Source(msgspec.Struct, frozen=True, gc=False):
    """The bytes a request came in, kept so that the same dialect can go out unchanged.

    `body` is the client's JSON without the fields addressed to Pointsman.
    """

    dialect: str
    body: bytes
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Headers the dialect forwards to a provider of its own (`anthropic-beta`, …)."""


class CacheControl(msgspec.Struct, frozen=True, gc=False):
    """What the caller says of cached answers: `no_cache` takes none, `no_store` leaves none,
    `ttl_s` is how long its answer may be kept, `max_age_s` how old one may be that it takes."""

    no_cache: bool = False
    no_store: bool = False
    ttl_s: float | None = None
    max_age_s: float | None = None


class RouteOptions(msgspec.Struct, frozen=True, gc=False):
    """What the caller told *us*, in the body, a suffix of the model's name or a header.

    prefer: which of cost, speed and quality matters. timeout_s: seconds for the whole call.
    max_cost_nano: the most it may cost, over all attempts. fallbacks: names of deployments
    tried after the chosen one, instead of the route's own. allow: the only deployments or
    `provider/*` that may answer. require: capabilities beyond what the content needs.
    residency: where the data may go. sensitive: True keeps the request on the local tier.
    session: sticky key. max_attempts: 1 turns falling back off. run: one run of an agent, whose
    requests may have a budget together. cache: what the caller says of cached answers.
    """

    prefer: Preference | None = None
    timeout_s: float | None = None
    max_cost_nano: int | None = None
    fallbacks: tuple[str, ...] | None = None
    allow: tuple[str, ...] | None = None
    require: frozenset[str] = frozenset()
    residency: str | None = None
    sensitive: bool | None = None
    session: str | None = None
    max_attempts: int | None = None
    run: str | None = None
    cache: CacheControl | None = None
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)


class ChatRequest(msgspec.Struct, frozen=True, gc=False):
    """A conversation to be continued.

    `model` is what the client asked for: a route, an alias or `provider/model`.
    `extra` holds top-level fields of `source.dialect` that have no neutral meaning here; they
    reach a provider of that same dialect only.
    """

    model: str
    messages: tuple[Message, ...]
    max_tokens: int | None = None
    stream: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning: Reasoning | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    user: str | None = None
    choices: int = 1
    include_usage: bool = False
    """The client wants usage in the stream (OpenAI's `stream_options.include_usage`)."""
    extra: Mapping[str, Json] = msgspec.field(default_factory=nothing)
    source: Source | None = None


class EmbeddingsRequest(msgspec.Struct, frozen=True, gc=False):
    """Texts (or token lists) to be turned into vectors; OpenAI's shape only."""

    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    source: Source
    stream: bool = False
    user: str | None = None


Request = ChatRequest | EmbeddingsRequest
