"""A wire format without I/O, both roles in one object (after h11).

Server half: what clients send us and what we send them. Client half: what we send providers
and what they send us. A request whose client and provider speak the same dialect is passed
through: its own bytes go out with the model renamed, the provider's bytes come back.

A provider's stream is read in one of two ways. A `Tap` watches bytes that pass through and
hands back whole SSE events only; a `Decoder` turns them into neutral events. Both know the
same four things (`Progress`): has content begun, did the stream end properly, what was used,
why did it finish. Both raise `ProviderFailure` for an error event ("unavailable", "overloaded",
"throttled", … by what it says) and for bytes that are not the protocol ("malformed").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pointsman.domain.content import JsonObject
from pointsman.domain.reply import ChatReply, Event
from pointsman.domain.request import ChatRequest, Source
from pointsman.domain.usage import Usage
from pointsman.errors import InvalidRequest, PointsmanError, ProviderFailure


class Progress(Protocol):
    """What is known of a provider's stream so far."""

    has_content: bool
    """Content (text, reasoning, a tool call) has come: the reply is committed."""
    ended: bool
    """The protocol's own end was seen: a finish reason (OpenAI), message_stop (Anthropic)."""
    failure: ProviderFailure | None
    """What is to be raised in place of the next piece: the last one broke off after content."""
    done: bool
    """Nothing more will come: `[DONE]` (OpenAI; usage may stand between it and the finish
    reason), message_stop (Anthropic)."""
    usage: Usage | None
    finish: str | None
    """Why it finished, in the words of `FinishReason`."""
    content_bytes: int
    """Bytes of content seen, to estimate the output tokens of a stream that was left."""
    model: str | None
    """The model the provider says it is."""


class Tap(Progress, Protocol):
    def feed(self, data: bytes) -> bytes:
        """Take bytes from the provider; return the whole events among them, as they came."""
        ...

    def eof(self) -> bytes:
        """The connection ended: return what is still due to the client (OpenAI's `[DONE]`
        where a provider left it out). Raise ProviderFailure("malformed") if `ended` is false."""
        ...


class Decoder(Progress, Protocol):
    def feed(self, data: bytes) -> list[Event]: ...

    def eof(self) -> list[Event]: ...


class Encoder(Protocol):
    """Neutral events to the bytes of a client's stream."""

    def encode(self, event: Event) -> bytes:
        """Bytes of one event, b"" where this dialect has nothing to say."""
        ...

    def end(self) -> bytes:
        """The proper end of the stream; called once, after the last event."""
        ...


class Target(Protocol):
    """What a dialect must know of the deployment it writes to (a `Deployment` fits)."""

    @property
    def model(self) -> str: ...
    @property
    def default_max_tokens(self) -> int | None: ...
    @property
    def capabilities(self) -> frozenset[str]: ...
    @property
    def refuses(self) -> frozenset[str]: ...


class Dialect(Protocol):
    name: str
    chat_path: str
    """Path of a chat request below a provider's base URL (which ends in /v1 for OpenAI)."""
    forwarded_headers: tuple[str, ...]
    """Client headers that go on to a provider of the same dialect (lower case)."""

    # Server half.

    def parse_request(self, fields: JsonObject, source: Source) -> ChatRequest:
        """Validate and read a client's JSON; raise InvalidRequest naming the field in `param`."""
        ...

    def render_reply(self, reply: ChatReply, request: ChatRequest) -> bytes: ...

    def encoder(self, request: ChatRequest) -> Encoder: ...

    def render_error(self, error: PointsmanError, request_id: str) -> bytes:
        """The JSON body of an error answer."""
        ...

    def render_stream_error(self, error: PointsmanError, request_id: str) -> bytes:
        """The event that ends a stream that failed after content; no proper end follows."""
        ...

    # Client half.

    def render_request(self, request: ChatRequest, target: Target) -> bytes:
        """The body for a provider. Same dialect: `request.source.body` with every value's own
        bytes, `model` replaced and, for streams, usage asked for. Other dialect: rendered anew;
        raise InvalidRequest for what this dialect cannot say."""
        ...

    def bounded(self, request: ChatRequest, target: Target, tokens: int) -> ChatRequest:
        """The same request, which states no longest answer, with one of `tokens`; bytes that
        pass through say it too."""
        ...

    def headers(self, key: str | None, request: ChatRequest) -> Mapping[str, str]:
        """Authorization and version headers, and the forwarded ones of the same dialect."""
        ...

    def parse_reply(self, body: bytes) -> ChatReply:
        """Raise ProviderFailure("malformed") for anything that is not a whole answer, and the
        matching kind for an error object inside a 200."""
        ...

    def check_reply(self, body: bytes) -> tuple[Usage | None, str | None]:
        """Verify a whole answer that passes through: (usage, finish). Raise as parse_reply."""
        ...

    def tap(self, request: ChatRequest) -> Tap: ...

    def decoder(self) -> Decoder: ...

    def parse_failure(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> ProviderFailure | InvalidRequest:
        """Read a provider's error answer (status >= 300). InvalidRequest where the caller's
        request is at fault (400, 422 that are neither context length nor content filter)."""
        ...
