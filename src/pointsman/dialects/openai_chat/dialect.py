"""The OpenAI chat dialect: both halves under one name."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from pointsman.dialects.dialect import Target
from pointsman.dialects.failures import read_answer
from pointsman.dialects.openai_chat.encoder import OpenAIEncoder
from pointsman.dialects.openai_chat.parse import parse_request
from pointsman.dialects.openai_chat.render import bounded, render_request
from pointsman.dialects.openai_chat.reply import check_reply, parse_reply, render_reply
from pointsman.dialects.openai_chat.stream import OpenAIDecoder, OpenAITap
from pointsman.domain.billing import ANY, BillingRule
from pointsman.domain.content import JsonObject
from pointsman.domain.reply import ChatReply
from pointsman.domain.request import ChatRequest, Source
from pointsman.domain.usage import Usage
from pointsman.errors import InvalidRequest, PointsmanError, ProviderFailure

TYPE_OF_STATUS: Mapping[int, str] = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""`error.type` by status; other 4xx are invalid_request_error, other 5xx server_error."""


class OpenAIChat:
    """Implements `Dialect`; it has no state but the rule by which its provider reports usage."""

    name = "openai"
    chat_path = "/chat/completions"
    forwarded_headers: tuple[str, ...] = ()

    def __init__(self, rule: BillingRule = ANY) -> None:
        self._rule = rule

    def parse_request(self, fields: JsonObject, source: Source) -> ChatRequest:
        return parse_request(fields, source)

    def render_reply(self, reply: ChatReply, request: ChatRequest) -> bytes:
        return render_reply(reply, request)

    def encoder(self, request: ChatRequest) -> OpenAIEncoder:
        return OpenAIEncoder(request)

    def render_error(self, error: PointsmanError, request_id: str) -> bytes:
        return orjson.dumps(
            {"error": _error(error), "request_id": request_id, "attempts": error.attempts}
        )

    def render_stream_error(self, error: PointsmanError, request_id: str) -> bytes:
        return b"data: " + self.render_error(error, request_id) + b"\n\n"

    def render_request(self, request: ChatRequest, target: Target) -> bytes:
        return render_request(request, target)

    def bounded(self, request: ChatRequest, target: Target, tokens: int) -> ChatRequest:
        return bounded(request, target, tokens)

    def headers(self, key: str | None, request: ChatRequest) -> Mapping[str, str]:
        return {} if key is None else {"authorization": f"Bearer {key}"}

    def parse_reply(self, body: bytes) -> ChatReply:
        return parse_reply(body, self._rule)

    def check_reply(self, body: bytes) -> tuple[Usage | None, str | None]:
        return check_reply(body, self._rule)

    def tap(self, request: ChatRequest) -> OpenAITap:
        return OpenAITap(request.choices, request.include_usage, self._rule)

    def decoder(self) -> OpenAIDecoder:
        return OpenAIDecoder(self._rule)

    def parse_failure(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> ProviderFailure | InvalidRequest:
        return read_answer(status, headers, body)

    def __repr__(self) -> str:
        return "OpenAIChat()"


def _error(error: PointsmanError) -> dict[str, str | None]:
    kind = TYPE_OF_STATUS.get(error.status)
    if kind is None:
        kind = "invalid_request_error" if error.status < 500 else "server_error"
    if error.code == "budget_exceeded":
        kind = "budget_exceeded"
    return {"message": error.told, "type": kind, "param": error.param, "code": error.code}
