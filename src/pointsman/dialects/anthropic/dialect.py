"""The Anthropic Messages dialect: both halves under one name."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from msgspec.structs import replace

from pointsman.dialects.anthropic.encoder import AnthropicEncoder
from pointsman.dialects.anthropic.parse import parse_count_request, parse_request
from pointsman.dialects.anthropic.render import render_request
from pointsman.dialects.anthropic.reply import check_reply, parse_reply, render_reply
from pointsman.dialects.anthropic.stream import AnthropicDecoder, AnthropicTap
from pointsman.dialects.dialect import Target
from pointsman.dialects.failures import read_answer
from pointsman.domain.content import JsonObject
from pointsman.domain.reply import ChatReply
from pointsman.domain.request import ChatRequest, Source
from pointsman.domain.usage import Usage
from pointsman.errors import InvalidRequest, PointsmanError, ProviderFailure

VERSION = "2023-06-01"
"""The only version of the API that there has been since."""

TYPE_OF_STATUS: Mapping[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""`error.type` by status; other 4xx are invalid_request_error, other 5xx api_error."""


class Anthropic:
    """Implements `Dialect`; it has no state."""

    name = "anthropic"
    chat_path = "/v1/messages"
    forwarded_headers: tuple[str, ...] = ("anthropic-version", "anthropic-beta")

    def parse_request(self, fields: JsonObject, source: Source) -> ChatRequest:
        return parse_request(fields, source)

    def parse_count_request(self, fields: JsonObject, source: Source | None = None) -> ChatRequest:
        """Read a request to /v1/messages/count_tokens."""
        return parse_count_request(fields, source)

    def render_reply(self, reply: ChatReply, request: ChatRequest) -> bytes:
        return render_reply(reply, request)

    def encoder(self, request: ChatRequest) -> AnthropicEncoder:
        return AnthropicEncoder(request)

    def render_error(self, error: PointsmanError, request_id: str) -> bytes:
        kind = TYPE_OF_STATUS.get(error.status)
        if kind is None:
            kind = "invalid_request_error" if error.status < 500 else "api_error"
        # Anthropic has no codes; ours tell apart what a type lumps together.
        detail = {"type": kind, "message": error.told, "code": error.code}
        return orjson.dumps(
            {
                "type": "error",
                "error": detail,
                "request_id": request_id,
                "attempts": error.attempts,
            }
        )

    def render_stream_error(self, error: PointsmanError, request_id: str) -> bytes:
        return b"event: error\ndata: " + self.render_error(error, request_id) + b"\n\n"

    def render_request(self, request: ChatRequest, target: Target) -> bytes:
        return render_request(request, target)

    def bounded(self, request: ChatRequest, target: Target, tokens: int) -> ChatRequest:
        # Bytes of this dialect always state one; so only what is rendered anew gets here.
        return replace(request, max_tokens=tokens)

    def headers(self, key: str | None, request: ChatRequest) -> Mapping[str, str]:
        headers = {"anthropic-version": VERSION}
        source = request.source
        if source is not None and source.dialect == "anthropic":
            for name in self.forwarded_headers:
                if name in source.headers:
                    headers[name] = source.headers[name]
        if key is not None:
            headers["x-api-key"] = key
        return headers

    def parse_reply(self, body: bytes) -> ChatReply:
        return parse_reply(body)

    def check_reply(self, body: bytes) -> tuple[Usage | None, str | None]:
        return check_reply(body)

    def tap(self, request: ChatRequest) -> AnthropicTap:
        return AnthropicTap()

    def decoder(self) -> AnthropicDecoder:
        return AnthropicDecoder()

    def parse_failure(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> ProviderFailure | InvalidRequest:
        return read_answer(status, headers, body)

    def __repr__(self) -> str:
        return "Anthropic()"
