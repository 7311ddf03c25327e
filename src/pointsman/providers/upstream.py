"""Upstream: the innermost service. One attempt at one provider, in the provider's dialect.

It renders the request, sends it, reads until the answer is committed, and turns everything that
goes wrong on the way into a `ProviderFailure`. What is malformed or hostile stops here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import quote

from msgspec.structs import replace

from pointsman.clock import Clock
from pointsman.config.settings import ProviderSettings
from pointsman.dialects import embeddings
from pointsman.dialects.dialect import Dialect
from pointsman.dialects.rate_limits import granted
from pointsman.dialects.retry_after import retry_after_s
from pointsman.dialects.sse import BOM
from pointsman.domain.content import ToolCall
from pointsman.domain.deployment import Deployment
from pointsman.domain.reply import ChatReply, Event, Started
from pointsman.domain.request import ChatRequest, EmbeddingsRequest
from pointsman.domain.usage import NO_USAGE, Usage, filled
from pointsman.errors import (
    Cause,
    FailureKind,
    InvalidRequest,
    PointsmanError,
    ProviderFailure,
    Unsupported,
)
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply, StreamBody
from pointsman.providers.committed import CommittedStream
from pointsman.providers.keys import Key, KeyChain
from pointsman.providers.transport import (
    HttpRequest,
    HttpResponse,
    Transport,
    TransportError,
    TransportFault,
)
from pointsman.providers.unsaid import confidential, quieted, unsaid_bytes

KIND_OF_FAULT: Mapping[TransportFault, FailureKind] = MappingProxyType(
    {
        "refused": "unavailable",
        "connect_timeout": "timeout",
        "dns": "unavailable",
        "tls": "unavailable",
        "reset": "unavailable",
        "protocol": "malformed",
        "too_large": "malformed",
    }
)

CAUSE_OF_FAULT: Mapping[TransportFault, Cause] = MappingProxyType(
    {
        "refused": "refused",
        "connect_timeout": "connect_timeout",
        "dns": "dns",
        "tls": "tls",
    }
)
"""The faults in which the provider was not reached at all."""

Dated = TypeVar("Dated", ChatReply, Started)

ID_PREFIXES: Mapping[str, str] = MappingProxyType({"anthropic": "msg_"})
"""What an answer's id begins with, by the client's dialect; other ones use OpenAI's word."""

ERROR_BODY_BYTES = 64 * 1024
"""What we read of a provider's error answer."""

CREDENTIAL = frozenset({401, 403})
"""What a provider answers where it does not take the key."""

KEPT_HEADERS = ("content-type", "request-id", "x-request-id", "openai-processing-ms")
"""Headers of the provider that a client may see (an allow-list: nothing else leaks through)."""


class Upstream:
    def __init__(
        self,
        deployment: Deployment,
        provider: ProviderSettings,
        dialect: Dialect,
        transport: Transport,
        clock: Clock,
        keys: KeyChain,
    ) -> None:
        self.deployment = deployment
        self.provider = provider
        self.dialect = dialect
        self._transport = transport
        self._clock = clock
        self._keys = keys
        self._chat_path = self._path(dialect.chat_path)
        self._embeddings_path = self._path("/embeddings")

    def _path(self, operation: str) -> str:
        path = operation
        if self.provider.path_style == "azure":
            path = f"/openai/deployments/{quote(self.deployment.model, safe='')}{operation}"
        return f"{path}?{self.provider.query}" if self.provider.query else path

    async def __call__(self, call: Call) -> Reply:
        started = self._clock.now()
        request = call.request
        key = self._keys.take()
        response = await self._send(self._http_request(call, key))
        try:
            while response.status >= 300:  # A redirect is no answer, and is never followed.
                failure = await self._failure(response)
                if key is None or response.status not in CREDENTIAL or not is_refusal(failure):
                    raise failure
                # The key, and not the request: the next one is tried at once, unseen.
                key = self._keys.refused(key)
                if key is None:
                    raise failure
                response.abort()
                response = await self._send(self._http_request(call, key))
            if key is not None:
                self._keys.accepted(key)
            if isinstance(request, EmbeddingsRequest):
                return await self._embeddings(call, response, started)
            if request.stream:
                return await self._stream(call, request, response, started)
            return await self._whole(call, request, response, started)
        except PointsmanError as failure:
            response.abort()
            quieted(failure, self._confidential())
            raise
        except BaseException:
            response.abort()
            raise

    def _confidential(self) -> frozenset[str]:
        return confidential(self._keys.texts, self.provider.headers)

    def _quiet(self, failure: PointsmanError) -> None:
        quieted(failure, self._confidential())

    def _http_request(self, call: Call, shown: Key | None) -> HttpRequest:
        key = shown.secret.reveal() if shown is not None else None
        named = self.provider.key_header
        own = key if named is None else None
        if isinstance(call.request, EmbeddingsRequest):
            body = embeddings.render_request(call.request, self.deployment)
            path = self._embeddings_path
            headers = {"authorization": f"Bearer {own}"} if own is not None else {}
        else:
            try:
                body = self.dialect.render_request(
                    self._request(call, call.request), self.deployment
                )
            except InvalidRequest as error:
                raise Unsupported(error.message, param=error.param) from error
            path = self._chat_path
            headers = dict(self.dialect.headers(own, call.request))
        if named is not None and key is not None:
            headers[named] = f"Bearer {key}" if named == "authorization" else key
        headers.update(self.provider.headers)
        headers["content-type"] = "application/json"
        once = (("x-pointsman-attempt-id", call.attempt_id),)
        return HttpRequest(
            self.provider.endpoint, path, body, headers, once=once, resend=not call.is_paid
        )

    def _request(self, call: Call, request: ChatRequest) -> ChatRequest:
        """The request, with the longest answer that was set aside for it, if it states none."""
        most = call.most_tokens
        if most is None or request.max_tokens is not None:
            return request
        return self.dialect.bounded(request, self.deployment, most)

    async def _send(self, http: HttpRequest) -> HttpResponse:
        try:
            return await self._transport.send(http)
        except TransportError as error:
            raise self._lost(error, before_answer=True) from error

    def _lost(self, error: TransportError, *, before_answer: bool) -> ProviderFailure:
        kind = KIND_OF_FAULT[error.fault]
        code = "upstream_timeout" if kind == "timeout" else "upstream_error"
        if not before_answer:
            code = "upstream_disconnected"
        elif kind == "malformed":
            code = "upstream_protocol"
        return ProviderFailure(
            kind,
            f"deployment {self.deployment.name}: {error.fault}: {error}",
            code=code,
            maybe_billed=error.sent,
            cause=CAUSE_OF_FAULT.get(error.fault, ""),
        )

    async def _failure(self, response: HttpResponse) -> PointsmanError:
        body = b""
        try:
            while len(body) < ERROR_BODY_BYTES and (piece := await response.read_some()):
                body += piece
        except TransportError:
            pass  # The status alone says enough; a cut error body is no other failure.
        body = unsaid_bytes(body, self._confidential())
        failure = self.dialect.parse_failure(response.status, response.headers, body)
        if isinstance(failure, ProviderFailure):
            failure.maybe_billed = False
            if failure.retry_after_s is None:
                failure.retry_after_s = retry_after_s(response.headers, self._clock.wall())
            failure.granted = granted(response.headers, self._clock.wall())
        return failure

    async def _read(self, response: HttpResponse) -> bytes:
        try:
            return await response.read()
        except TransportError as error:
            raise self._lost(error, before_answer=False) from error

    async def _embeddings(self, call: Call, response: HttpResponse, started: float) -> Reply:
        body = await self._read(response)
        told = embeddings.check_reply(body)
        usage = filled(told, Usage(input=call.expected_tokens[0], estimated=True))
        return self._reply(call, response, started, wire="openai", body=body, usage=usage)

    async def _whole(
        self, call: Call, request: ChatRequest, response: HttpResponse, started: float
    ) -> Reply:
        body = await self._read(response)
        if response.headers.get("content-type", "")[:9].lower() == "text/html":
            raise ProviderFailure(
                "malformed",
                f"deployment {self.deployment.name}: answered with a page of HTML",
                code="upstream_protocol",
            )
        body = body.removeprefix(BOM)  # Readers may ignore it (RFC 8259, 8.1); ours do not.
        if call.wire == self.dialect.name:
            usage, finish = self.dialect.check_reply(body)
            if usage is None or usage.estimated:
                usage = filled(usage, _estimate(call, self.dialect.parse_reply(body)))
            return self._reply(
                call, response, started, wire=call.wire, body=body, usage=usage, finish=finish
            )
        chat = self._dated(call, self.dialect.parse_reply(body))
        usage = chat.usage
        if usage is NO_USAGE or usage.estimated:
            told = None if usage is NO_USAGE else usage
            usage = filled(told, _estimate(call, chat))
        reply = self._reply(call, response, started, finish=chat.finish, usage=usage)
        reply.chat = chat
        return reply

    async def _stream(
        self, call: Call, request: ChatRequest, response: HttpResponse, started: float
    ) -> Reply:
        kind = response.headers.get("content-type", "text/event-stream")
        if "event-stream" not in kind.lower():
            raise await self._not_a_stream(response, kind)
        passes = call.wire == self.dialect.name
        body: CommittedStream[bytes] | CommittedStream[list[Event]]
        if passes:
            body = CommittedStream(
                response, self.dialect.tap(request), self._lost, self._clock, self._quiet
            )
            await body.commit()
        else:
            events = CommittedStream(
                response, self.dialect.decoder(), self._lost, self._clock, self._quiet
            )
            await events.commit()
            self._date(call, events.held)
            body = events
        return self._reply(
            call,
            response,
            started,
            wire=self.dialect.name if passes else None,
            stream=body,
            ttft_s=self._clock.now() - started,
        )

    def _dated(self, call: Call, told: Dated) -> Dated:
        """Fill in what the provider's dialect does not say and the client's must."""
        return replace(
            told,
            id=told.id or _own_id(call),
            model=told.model or self.deployment.model,
            created=told.created or int(self._clock.wall()),
        )

    def _date(self, call: Call, held: deque[list[Event]]) -> None:
        """See to it that the events begin with a whole `Started`."""
        for events in held:
            for place, event in enumerate(events):
                if isinstance(event, Started):
                    events[place] = self._dated(call, event)
                    return
        held.appendleft([self._dated(call, Started("", ""))])

    async def _not_a_stream(self, response: HttpResponse, kind: str) -> PointsmanError:
        body = await self._read(response)
        try:
            self.dialect.check_reply(body)
        except ProviderFailure as failure:
            return failure
        return ProviderFailure(
            "malformed",
            f"deployment {self.deployment.name}: answered a stream request with {kind[:80]}",
            code="upstream_protocol",
        )

    def _reply(
        self,
        call: Call,
        response: HttpResponse,
        started: float,
        *,
        wire: str | None = None,
        body: bytes = b"",
        stream: StreamBody | None = None,
        usage: Usage | None = None,
        finish: str | None = None,
        ttft_s: float | None = None,
    ) -> Reply:
        expected_input = call.expected_tokens[0]

        def tokens_if_left(content_bytes: int) -> Usage:
            # Four bytes a token: right for English, high for most scripts, so never too low.
            output = -(-content_bytes // 4)
            return Usage(input=expected_input, output=output, estimated=True)

        headers = {
            name: value
            for name in KEPT_HEADERS
            if (value := response.headers.get(name)) is not None
        }
        reply = Reply(
            self.deployment,
            self._clock,
            started,
            wire=wire,
            status=response.status,
            headers=headers,
            body=body,
            stream=stream,
            usage=usage,
            finish=finish,
            ttft_s=ttft_s,
            tokens_if_left=tokens_if_left,
        )
        reply.granted = granted(response.headers, self._clock.wall())
        return reply

    def __repr__(self) -> str:
        return f"Upstream({self.deployment.name} at {self.provider.endpoint.base_url})"


def is_refusal(failure: PointsmanError) -> bool:
    return isinstance(failure, ProviderFailure) and failure.kind == "refused"


def _own_id(call: Call) -> str:
    return ID_PREFIXES.get(call.wire or "", "chatcmpl-") + call.id.removeprefix("req_")


def _estimate(call: Call, chat: ChatReply) -> Usage:
    """Count what a provider did not report, as for a stream: a token for four bytes of content."""
    size = 0
    for part in chat.parts:
        said = part.name + part.arguments if isinstance(part, ToolCall) else part.text
        size += len(said.encode())
    return Usage(input=call.expected_tokens[0], output=-(-size // 4), estimated=True)
