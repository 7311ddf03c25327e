"""What applications call when the gateway runs inside of them: `chat`, `stream`, `explain_chat`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import orjson

from pointsman.answers import Answer, AnswerStream
from pointsman.dialects.registry import DIALECTS
from pointsman.domain.call import ANONYMOUS, Caller
from pointsman.domain.content import JsonObject
from pointsman.domain.request import Request, RouteOptions, Source
from pointsman.errors import InvalidRequest
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply


class InProcess(ABC):
    """Conversations in OpenAI's shape over what a gateway offers its server."""

    @abstractmethod
    def new_id(self) -> str: ...

    @abstractmethod
    def new_call(
        self,
        request: Request,
        caller: Caller,
        options: RouteOptions,
        *,
        wire: str | None,
        id: str,
        app: str | None = None,
        user: str | None = None,
    ) -> Call: ...

    @abstractmethod
    async def handle(self, call: Call) -> Reply: ...

    @abstractmethod
    def explain(self, call: Call) -> JsonObject: ...

    async def chat(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        model: str = "auto",
        caller: Caller = ANONYMOUS,
        options: RouteOptions | None = None,
        **fields: object,
    ) -> Answer:
        """Answer a conversation written in OpenAI's shape; `fields` are the body's others
        (`tools`, `temperature`, …). Raises PointsmanError."""
        call = self._own_call(messages, model, caller, options, {**fields, "stream": False})
        async with await self.handle(call) as reply:
            assert reply.chat is not None
            reply.close()
            return Answer(reply.chat, reply.deployment, call.trail, call.id)

    async def stream(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        model: str = "auto",
        caller: Caller = ANONYMOUS,
        options: RouteOptions | None = None,
        **fields: object,
    ) -> AnswerStream:
        """As `chat`, committed but still coming: `async with await gateway.stream(…) as events`."""
        call = self._own_call(messages, model, caller, options, {**fields, "stream": True})
        return AnswerStream(await self.handle(call), call)

    def explain_chat(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        model: str = "auto",
        caller: Caller = ANONYMOUS,
        options: RouteOptions | None = None,
        **fields: object,
    ) -> JsonObject:
        """Decide for a conversation without calling anybody, and tell why."""
        return self.explain(self._own_call(messages, model, caller, options, fields))

    def _own_call(
        self,
        messages: Sequence[Mapping[str, object]],
        model: str,
        caller: Caller,
        options: RouteOptions | None,
        fields: Mapping[str, object],
    ) -> Call:
        dialect = DIALECTS["openai"]
        body = {"model": model, "messages": list(messages), **fields}
        try:
            data = orjson.dumps(body)
        except TypeError as error:
            raise InvalidRequest(f"messages and fields must be JSON values: {error}") from error
        parsed: JsonObject = orjson.loads(data)
        request = dialect.parse_request(parsed, Source(dialect.name, data))
        return self.new_call(
            request, caller, options or RouteOptions(), wire=None, id=self.new_id()
        )
