"""A client's Messages request, read into a ChatRequest."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson

from pointsman.dialects.anthropic.seals import OUR_SEAL
from pointsman.dialects.fields import (
    as_object,
    extra_of,
    missing,
    opt_bool,
    opt_int,
    opt_list,
    opt_number,
    opt_object,
    opt_str,
    req_str,
    strings,
    wrong,
)
from pointsman.dialects.portability import opaque
from pointsman.domain.content import (
    NOTHING,
    Document,
    Image,
    Json,
    JsonObject,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from pointsman.domain.request import ChatRequest, Source
from pointsman.errors import InvalidRequest

KNOWN = frozenset(
    {
        *("model", "messages", "system", "max_tokens", "stream", "tools", "tool_choice"),
        *("output_config", "output_format", "thinking", "temperature", "top_p", "top_k"),
        *("stop_sequences", "metadata"),
    }
)
"""Top-level fields with a neutral meaning; the others are `extra`."""

_MODES: Mapping[str, ToolChoice] = {
    "auto": ToolChoice("auto"),
    "any": ToolChoice("any"),
    "none": ToolChoice("none"),
}
_ROLES: Mapping[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}


def parse_request(fields: JsonObject, source: Source) -> ChatRequest:
    """Validate and read; raise InvalidRequest naming the field in `param`."""
    if fields.get("max_tokens") is None:
        missing("max_tokens")
    return _read(fields, source)


def parse_count_request(fields: JsonObject, source: Source | None = None) -> ChatRequest:
    """Read a request to /v1/messages/count_tokens, where max_tokens may be left out."""
    return _read(fields, source)


def _read(fields: JsonObject, source: Source | None) -> ChatRequest:
    choice, parallel = _tool_choice(fields)
    stop = fields.get("stop_sequences")
    metadata = opt_object(fields, "metadata")
    return ChatRequest(
        model=req_str(fields, "model"),
        messages=(*_system(fields), *_messages(fields)),
        max_tokens=opt_int(fields, "max_tokens", least=0),
        stream=opt_bool(fields, "stream") or False,
        tools=_tools(fields),
        tool_choice=choice,
        parallel_tools=parallel,
        response_format=_response_format(fields),
        reasoning=_reasoning(fields),
        temperature=opt_number(fields, "temperature", least=0),
        top_p=opt_number(fields, "top_p", least=0),
        top_k=opt_int(fields, "top_k"),
        stop=() if stop is None else strings(stop, "stop_sequences"),
        user=None if metadata is None else opt_str(metadata, "user_id", "metadata."),
        include_usage=True,
        extra=extra_of(fields, KNOWN),
        source=source,
    )


def _system(fields: JsonObject) -> tuple[Message, ...]:
    system = fields.get("system")
    if system is None or system == "":
        return ()
    return (Message("system", _parts(system, "system")),)


def _messages(fields: JsonObject) -> list[Message]:
    items = opt_list(fields, "messages")
    if not items:
        if items is None:
            missing("messages")
        raise InvalidRequest("messages must not be empty", param="messages")
    return [_message(item, f"messages[{i}]") for i, item in enumerate(items)]


def _message(item: Json, path: str) -> Message:
    if type(item) is not dict:
        wrong(path, "an object", item)
    where = path + "."
    given = req_str(item, "role", where)
    role = _ROLES.get(given)
    if role is None:
        raise InvalidRequest(
            f"{where}role is {given[:80]!r}; known are {', '.join(_ROLES)}", param=where + "role"
        )
    content = item.get("content")
    if content is None:
        missing(where + "content")
    extra = NOTHING if len(item) == 2 else extra_of(item, _MESSAGE)
    return Message(role, _parts(content, where + "content"), extra=extra)


def _parts(content: Json, path: str) -> tuple[Part, ...]:
    if type(content) is str:
        return (Text(content),)
    if type(content) is not list:
        wrong(path, "a string or an array", content)
    return tuple(_block(block, f"{path}[{j}]") for j, block in enumerate(content))


def _block(block: Json, path: str) -> Part:
    if type(block) is not dict:
        wrong(path, "an object", block)
    where = path + "."
    read = _BY_TYPE.get(req_str(block, "type", where))
    if read is not None:
        return read(block, where)
    return opaque(block, orjson.dumps(block).decode())


def _text(block: JsonObject, where: str) -> Part:
    text = req_str(block, "text", where)
    return Text(text) if len(block) == 2 else Text(text, extra_of(block, _TEXT))


def _image(block: JsonObject, where: str) -> Part:
    source, inner = _source(block, where)
    extra = extra_of(block, _IMAGE)
    kind = req_str(source, "type", inner)
    if kind == "base64":
        return Image(
            data=req_str(source, "data", inner),
            media_type=req_str(source, "media_type", inner),
            extra=extra,
        )
    if kind == "url":
        return Image(url=req_str(source, "url", inner), extra=extra)
    return Image(extra=block)


def _document(block: JsonObject, where: str) -> Part:
    source, inner = _source(block, where)
    name = opt_str(block, "title", where)
    extra = extra_of(block, _DOCUMENT)
    kind = req_str(source, "type", inner)
    if kind == "base64":
        data, media_type = req_str(source, "data", inner), req_str(source, "media_type", inner)
        return Document(media_type=media_type, data=data, name=name, extra=extra)
    if kind == "text":
        text = req_str(source, "data", inner)
        return Document(media_type="text/plain", text=text, name=name, extra=extra)
    if kind == "url":
        return Document(url=req_str(source, "url", inner), name=name, extra=extra)
    if kind == "file":
        return Document(file_id=req_str(source, "file_id", inner), name=name, extra=extra)
    return Document(name=name, extra=block)


def _source(block: JsonObject, where: str) -> tuple[JsonObject, str]:
    source = opt_object(block, "source", where)
    if source is None:
        missing(where + "source")
    return source, where + "source."


def _thinking(block: JsonObject, where: str) -> Part:
    signature = opt_str(block, "signature", where)
    if signature in ("", OUR_SEAL):
        signature = None
    return Thinking(req_str(block, "thinking", where), signature)


def _redacted(block: JsonObject, where: str) -> Part:
    return Thinking("", redacted=req_str(block, "data", where))


def _tool_use(block: JsonObject, where: str) -> Part:
    given = block.get("input")
    if type(given) is not dict:
        wrong(where + "input", "an object", given)
    return ToolCall(
        req_str(block, "id", where),
        req_str(block, "name", where),
        orjson.dumps(given).decode(),
        extra_of(block, _TOOL_USE),
    )


def _tool_result(block: JsonObject, where: str) -> Part:
    content = block.get("content")
    parts: list[Text | Image | Document] = []
    for part in () if content is None else _parts(content, where + "content"):
        if isinstance(part, Text | Image | Document):
            parts.append(part)
        else:
            raise InvalidRequest(
                f"{where}content holds a block that cannot be in a tool result",
                param=where + "content",
            )
    return ToolResult(
        req_str(block, "tool_use_id", where),
        tuple(parts),
        opt_bool(block, "is_error", where) or False,
        extra_of(block, _TOOL_RESULT),
    )


_MESSAGE = frozenset({"role", "content"})
_TEXT = frozenset({"type", "text"})
_IMAGE = frozenset({"type", "source"})
_DOCUMENT = frozenset({"type", "source", "title"})
_TOOL_USE = frozenset({"type", "id", "name", "input"})
_TOOL_RESULT = frozenset({"type", "tool_use_id", "content", "is_error"})

_BY_TYPE: Mapping[str, Callable[[JsonObject, str], Part]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
}


def _tools(fields: JsonObject) -> tuple[Tool, ...]:
    items = opt_list(fields, "tools")
    if not items:
        return ()
    return tuple(
        _tool(as_object(item, f"tools[{i}]"), f"tools[{i}].") for i, item in enumerate(items)
    )


def _tool(item: JsonObject, where: str) -> Tool:
    kind = opt_str(item, "type", where)
    name = (
        req_str(item, "name", where) if kind in (None, "custom") else opt_str(item, "name", where)
    )
    if kind not in (None, "custom"):
        return Tool(name or kind or "", extra=item)
    schema = opt_object(item, "input_schema", where)
    if schema is None:
        missing(where + "input_schema")
    return Tool(
        name or "",
        opt_str(item, "description", where) or "",
        schema,
        opt_bool(item, "strict", where),
        extra_of(item, _TOOL),
    )


_TOOL = frozenset({"type", "name", "description", "input_schema", "strict"})


def _tool_choice(fields: JsonObject) -> tuple[ToolChoice | None, bool | None]:
    """Return the choice, and whether several calls in one turn are allowed."""
    choice = opt_object(fields, "tool_choice")
    if choice is None:
        return None, None
    where = "tool_choice."
    alone = opt_bool(choice, "disable_parallel_tool_use", where)
    parallel = None if alone is None else not alone
    mode = req_str(choice, "type", where)
    if mode == "tool":
        return ToolChoice("tool", req_str(choice, "name", where)), parallel
    if mode not in _MODES:
        raise InvalidRequest(
            f"tool_choice.type is {mode[:80]!r}; known are {', '.join(_MODES)} and tool",
            param="tool_choice.type",
        )
    return _MODES[mode], parallel


def _response_format(fields: JsonObject) -> ResponseFormat | None:
    """Read `output_config.format`, or the beta's `output_format`."""
    config = opt_object(fields, "output_config")
    where = "output_config.format."
    wanted = None if config is None else opt_object(config, "format", "output_config.")
    if wanted is None:
        where = "output_format."
        wanted = opt_object(fields, "output_format")
    if wanted is None:
        return None
    if req_str(wanted, "type", where) != "json_schema":
        return None
    schema = opt_object(wanted, "schema", where)
    if schema is None:
        missing(where + "schema")
    return ResponseFormat("json_schema", schema=schema)


def _reasoning(fields: JsonObject) -> Reasoning | None:
    config = opt_object(fields, "output_config")
    effort = None if config is None else opt_str(config, "effort", "output_config.")
    thinking = opt_object(fields, "thinking")
    if thinking is None:
        return None if effort is None else Reasoning(effort=effort)
    kind = req_str(thinking, "type", "thinking.")
    if kind == "disabled":
        return Reasoning(enabled=False)
    budget = opt_int(thinking, "budget_tokens", "thinking.", least=0)
    return Reasoning(effort=effort, budget_tokens=budget)
