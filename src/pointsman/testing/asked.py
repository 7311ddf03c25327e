"""What a request asks for, read from either dialect; the provider's own reading, not the router's.

It shares no code with `pointsman.dialects` on purpose: a double that read requests with the
router's own parser could not notice that the router writes them wrongly.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

from pointsman.domain.content import Json, JsonObject
from pointsman.testing.tokens import PER_ATTACHMENT, PER_MESSAGE, PER_TOOL, count_tokens

DialectName = Literal["openai", "anthropic"]
Operation = Literal["chat", "embeddings", "models", "count_tokens"]


class BadRequest(Exception):
    """A request that no provider of this dialect would take; `param` names the field."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


@dataclass(frozen=True, slots=True)
class AskedTool:
    name: str
    schema: JsonObject


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the provider understands it.

    `last` is the last user text, `tool_results` the texts of results in the last turn.
    `must_call`: "" free to answer, "*" any tool, else a tool's name; `may_call` False forbids.
    """

    dialect: DialectName
    operation: Operation
    model: str
    stream: bool = False
    last: str = ""
    tool_results: tuple[str, ...] = ()
    tools: tuple[AskedTool, ...] = ()
    may_call: bool = True
    must_call: str = ""
    parallel: bool = True
    json_object: bool = False
    schema: JsonObject | None = None
    thinks: bool = False
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    choices: int = 1
    include_usage: bool = True
    input_tokens: int = 0
    fields: JsonObject = field(default_factory=dict)


def read_body(body: bytes) -> JsonObject:
    """Parse a body; raise BadRequest for anything but a JSON object."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"We could not parse the JSON body of your request. ({error})") from error
    if not isinstance(fields, dict):
        raise BadRequest("The body of your request is not a JSON object.")
    return fields


def read_openai(fields: JsonObject, operation: Operation, model: str | None) -> Asked:
    """Read a chat or embeddings request in OpenAI's shape. `model` from the path (Azure) wins."""
    name = model or fields.get("model")
    if not isinstance(name, str) or not name:
        raise BadRequest("you must provide a model parameter", "model")
    if operation == "embeddings":
        return Asked("openai", operation, name, input_tokens=_input_of(fields), fields=fields)
    messages = _messages(fields)
    options = _object(fields.get("stream_options"))
    choice = fields.get("tool_choice")
    form = _object(fields.get("response_format"))
    return Asked(
        dialect="openai",
        operation=operation,
        model=name,
        stream=fields.get("stream") is True,
        last=_last(messages, "user"),
        tool_results=_trailing_openai_results(messages),
        tools=tuple(_openai_tool(tool) for tool in _list(fields.get("tools"))),
        may_call=choice != "none",
        must_call=_openai_must_call(choice),
        parallel=fields.get("parallel_tool_calls") is not False,
        json_object=form.get("type") == "json_object",
        schema=_object(_object(form.get("json_schema")).get("schema")) or None,
        thinks=fields.get("reasoning_effort") not in (None, "none"),
        max_tokens=_integer(fields.get("max_completion_tokens", fields.get("max_tokens"))),
        stop=_stops(fields.get("stop")),
        choices=_integer(fields.get("n")) or 1,
        include_usage=options.get("include_usage") is True,
        input_tokens=_tokens_in(fields, messages),
        fields=fields,
    )


def read_anthropic(fields: JsonObject, operation: Operation) -> Asked:
    """Read a messages or count_tokens request in Anthropic's shape."""
    name = fields.get("model")
    if not isinstance(name, str) or not name:
        raise BadRequest("model: Field required", "model")
    messages = _messages(fields, "messages: Field required")
    limit = _integer(fields.get("max_tokens"))
    if operation == "chat" and limit is None:
        raise BadRequest("max_tokens: Field required", "max_tokens")
    choice = _object(fields.get("tool_choice"))
    last = messages[-1]
    config = _object(fields.get("output_config"))
    form = _object(config.get("format", fields.get("output_format")))
    return Asked(
        dialect="anthropic",
        operation=operation,
        model=name,
        stream=fields.get("stream") is True,
        last=_last(messages, "user"),
        tool_results=tuple(
            _text_of(block.get("content"))
            for block in map(_object, _list(last.get("content")))
            if block.get("type") == "tool_result"
        ),
        tools=tuple(
            AskedTool(str(tool.get("name")), _object(tool.get("input_schema")))
            for tool in map(_object, _list(fields.get("tools")))
        ),
        may_call=choice.get("type") != "none",
        must_call=_anthropic_must_call(choice),
        parallel=choice.get("disable_parallel_tool_use") is not True,
        schema=_object(form.get("schema")) or None,
        thinks=_object(fields.get("thinking")).get("type") in ("enabled", "adaptive"),
        max_tokens=limit,
        stop=_stops(fields.get("stop_sequences")),
        input_tokens=_tokens_in(fields, messages),
        fields=fields,
    )


def _openai_tool(tool: Json) -> AskedTool:
    function = _object(_object(tool).get("function"))
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise BadRequest("Missing required parameter: 'tools[0].function.name'.", "tools")
    return AskedTool(name, _object(function.get("parameters")))


def _openai_must_call(choice: Json) -> str:
    if choice == "required":
        return "*"
    return str(_object(_object(choice).get("function")).get("name") or "")


def _anthropic_must_call(choice: JsonObject) -> str:
    if choice.get("type") == "any":
        return "*"
    return str(choice.get("name") or "") if choice.get("type") == "tool" else ""


def _trailing_openai_results(messages: list[JsonObject]) -> tuple[str, ...]:
    found: list[str] = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        found.append(_text_of(message.get("content")))
    return tuple(reversed(found))


def _messages(
    fields: JsonObject, missing: str = "Missing required parameter: 'messages'."
) -> list[JsonObject]:
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest(missing, "messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadRequest(f"messages[{index}]: an object with a role is required", "messages")
    return [_object(message) for message in messages]


def _last(messages: list[JsonObject], role: str) -> str:
    for message in reversed(messages):
        if message.get("role") == role:
            text = _text_of(message.get("content"))
            if text:
                return text
    return ""


def _text_of(content: Json) -> str:
    if isinstance(content, str):
        return content
    blocks = map(_object, _list(content))
    return "\n".join(str(b["text"]) for b in blocks if isinstance(b.get("text"), str))


def _tokens_in(fields: JsonObject, messages: list[JsonObject]) -> int:
    total = _count(fields.get("system"))
    for message in messages:
        total += PER_MESSAGE + _count(message.get("content")) + _count(message.get("tool_calls"))
    for tool in _list(fields.get("tools")):
        total += PER_TOOL + count_tokens(json.dumps(tool, separators=(",", ":")))
    return total


def _count(content: Json) -> int:
    """Tokens of a content: a text, or a list of blocks, whatever their dialect."""
    if isinstance(content, str):
        return count_tokens(content)
    total = 0
    for block in map(_object, _list(content)):
        kind = block.get("type")
        if kind == "text":
            total += count_tokens(str(block.get("text")))
        elif kind in ("image", "image_url", "document", "file", "input_audio"):
            total += PER_ATTACHMENT
        elif kind == "tool_result":
            total += _count(block.get("content"))
        else:
            total += count_tokens(json.dumps(block, separators=(",", ":"), ensure_ascii=False))
    return total


def _input_of(fields: JsonObject) -> int:
    return sum(embedding_tokens(item) for item in embedding_inputs(fields))


def embedding_inputs(fields: JsonObject) -> list[Json]:
    """The texts or token lists to embed, one a vector."""
    given = fields.get("input")
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        raise BadRequest("Missing required parameter: 'input'.", "input")
    return [given] if isinstance(given[0], int) else given


def embedding_tokens(item: Json) -> int:
    return len(item) if isinstance(item, list) else count_tokens(str(item))


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _integer(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _stops(value: Json) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(item for item in _list(value) if isinstance(item, str))
