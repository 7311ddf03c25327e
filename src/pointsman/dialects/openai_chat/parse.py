"""A client's chat completion request, read into a ChatRequest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn

import orjson

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
from pointsman.dialects.openai_chat.parts import read_parts
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
        *("model", "messages", "max_tokens", "max_completion_tokens", "stream", "stream_options"),
        *("tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort"),
        *("reasoning", "temperature", "top_p", "top_k", "stop", "seed", "user", "n"),
    }
)
"""Top-level fields with a neutral meaning; the others are `extra`."""

_MESSAGE = frozenset(
    {
        *("role", "content", "name", "refusal", "tool_calls", "tool_call_id"),
        *("reasoning_content", "reasoning", "reasoning_details", "annotations"),
    }
)


def parse_request(fields: JsonObject, source: Source) -> ChatRequest:
    """Validate and read; raise InvalidRequest naming the field in `param`."""
    tool_choice, foreign_choice = _tool_choice(fields)
    response_format, foreign_format = _response_format(fields)
    extra = extra_of(fields, KNOWN)
    if foreign_choice or foreign_format:
        extra = {**extra, **foreign_choice, **foreign_format}
    old_limit = opt_int(fields, "max_tokens", least=0)
    limit = opt_int(fields, "max_completion_tokens", least=0)
    options = opt_object(fields, "stream_options")
    stop = fields.get("stop")
    choices = opt_int(fields, "n", least=1)
    return ChatRequest(
        model=req_str(fields, "model"),
        messages=parse_messages(fields),
        max_tokens=old_limit if limit is None else limit,
        stream=opt_bool(fields, "stream") or False,
        tools=_tools(fields),
        tool_choice=tool_choice,
        parallel_tools=opt_bool(fields, "parallel_tool_calls"),
        response_format=response_format,
        reasoning=_reasoning(fields),
        temperature=opt_number(fields, "temperature", least=0),
        top_p=opt_number(fields, "top_p", least=0),
        top_k=opt_int(fields, "top_k"),
        stop=() if stop is None else strings(stop, "stop"),
        seed=opt_int(fields, "seed"),
        user=opt_str(fields, "user"),
        choices=1 if choices is None else choices,
        include_usage=options is not None
        and opt_bool(options, "include_usage", "stream_options.") is True,
        extra=extra,
        source=source,
    )


def parse_messages(fields: JsonObject) -> tuple[Message, ...]:
    items = opt_list(fields, "messages")
    if not items:
        if items is None:
            missing("messages")
        raise InvalidRequest("messages must not be empty", param="messages")
    messages: list[Message] = []
    results: list[Part] = []
    for i, item in enumerate(items):
        if type(item) is not dict:
            wrong(f"messages[{i}]", "an object", item)
        role = item.get("role")
        if role == "tool":
            results.append(_tool_result(item, f"messages[{i}]."))
            continue
        if results:
            messages.append(Message("user", tuple(results)))
            results = []
        read = _BY_ROLE.get(role) if type(role) is str else None
        if read is None:
            _unknown_role(item, f"messages[{i}].")
        messages.append(read(item, f"messages[{i}]."))
    if results:
        messages.append(Message("user", tuple(results)))
    return tuple(messages)


def _unknown_role(item: JsonObject, where: str) -> NoReturn:
    role = req_str(item, "role", where)
    raise InvalidRequest(
        f"{where}role is {role[:80]!r}; known are {', '.join(_BY_ROLE)} and tool",
        param=where + "role",
    )


def _extra(item: JsonObject) -> Mapping[str, Json]:
    return NOTHING if len(item) == 2 and "content" in item else extra_of(item, _MESSAGE)


def _system(item: JsonObject, where: str) -> Message:
    parts = read_parts(item, where)
    return Message("system", parts, _name(item, where), _extra(item))


def _user(item: JsonObject, where: str) -> Message:
    if item.get("content") is None:
        missing(where + "content")
    return Message("user", read_parts(item, where), _name(item, where), _extra(item))


def _name(item: JsonObject, where: str) -> str | None:
    return opt_str(item, "name", where) if "name" in item else None


def _assistant(item: JsonObject, where: str) -> Message:
    if len(item) == 2 and "content" in item:
        return Message("assistant", read_parts(item, where))
    parts: list[Part] = []
    thought = item.get("reasoning_content") or item.get("reasoning")
    if type(thought) is str and thought:
        parts.append(Thinking(thought))
    parts += read_parts(item, where)
    refusal = opt_str(item, "refusal", where)
    if refusal:
        parts.append(Text(refusal))
    calls = opt_list(item, "tool_calls", where)
    for j, call in enumerate(calls or ()):
        parts.append(
            _tool_call(as_object(call, f"{where}tool_calls[{j}]"), f"{where}tool_calls[{j}].")
        )
    return Message("assistant", tuple(parts), _name(item, where), _extra(item))


def _function_result(item: JsonObject, where: str) -> Message:
    """Read the answer of a `function_call`, the form that `tools` replaced in 2023."""
    return Message("user", (opaque({"type": "function", **item}, _plain(item.get("content"))),))


def _plain(content: Json) -> str:
    return content if type(content) is str else ""


_BY_ROLE: Mapping[str, Callable[[JsonObject, str], Message]] = {
    "system": _system,
    "developer": _system,
    "user": _user,
    "assistant": _assistant,
    "function": _function_result,
}


def _tool_call(call: JsonObject, where: str) -> ToolCall:
    kind = opt_str(call, "type", where)
    if kind is not None and kind != "function":
        custom = call.get("custom")
        body = custom if type(custom) is dict else {}
        return ToolCall(
            opt_str(call, "id", where) or "",
            _plain(body.get("name")),
            _plain(body.get("input")),
            {**call, "type": kind},
        )
    function = opt_object(call, "function", where)
    if function is None:
        missing(where + "function")
    arguments = function.get("arguments")
    if type(arguments) is dict:
        arguments = orjson.dumps(arguments).decode()  # Ollama's own form; some clients send it.
    elif arguments is None:
        arguments = ""
    elif type(arguments) is not str:
        wrong(where + "function.arguments", "a string of JSON", arguments)
    return ToolCall(
        req_str(call, "id", where),
        req_str(function, "name", where + "function."),
        arguments,
        extra_of(call, _CALL),
    )


_CALL = frozenset({"id", "type", "function", "index"})


def _tool_result(item: JsonObject, where: str) -> ToolResult:
    parts: list[Text | Image | Document] = []
    for part in read_parts(item, where):
        if isinstance(part, Text | Image | Document):
            parts.append(part)
        else:
            wrong(where + "content", "text", item.get("content"))
    call_id = req_str(item, "tool_call_id", where)
    return ToolResult(call_id, tuple(parts), extra=extra_of(item, _MESSAGE))


def _tools(fields: JsonObject) -> tuple[Tool, ...]:
    if "tools" not in fields and "functions" not in fields:
        return ()
    tools = [
        _tool(as_object(item, f"tools[{i}]"), f"tools[{i}].")
        for i, item in enumerate(opt_list(fields, "tools") or ())
    ]
    for i, item in enumerate(opt_list(fields, "functions") or ()):
        tools.append(_function(as_object(item, f"functions[{i}]"), f"functions[{i}].", NOTHING))
    return tuple(tools)


def _tool(item: JsonObject, where: str) -> Tool:
    kind = req_str(item, "type", where)
    if kind != "function":
        body = item.get(kind)
        name = body.get("name") if type(body) is dict else None
        return Tool(name if type(name) is str else kind, extra=item)
    function = opt_object(item, "function", where)
    if function is None:
        missing(where + "function")
    return _function(function, where + "function.", extra_of(item, _FUNCTION))


_FUNCTION = frozenset({"type", "function"})


def _function(function: JsonObject, where: str, extra: Mapping[str, Json]) -> Tool:
    return Tool(
        req_str(function, "name", where),
        opt_str(function, "description", where) or "",
        opt_object(function, "parameters", where) or {},
        opt_bool(function, "strict", where),
        extra,
    )


_MODES: Mapping[str, ToolChoice] = {
    "auto": ToolChoice("auto"),
    "none": ToolChoice("none"),
    "required": ToolChoice("any"),
    "any": ToolChoice("any"),
}


def _tool_choice(fields: JsonObject) -> tuple[ToolChoice | None, Mapping[str, Json]]:
    """Return the choice, or what we cannot read of it as `extra`."""
    choice = fields.get("tool_choice")
    if choice is None:
        return None, NOTHING
    if type(choice) is str:
        if choice not in _MODES:
            raise InvalidRequest(
                f"tool_choice is {choice[:80]!r}; known are {', '.join(_MODES)}",
                param="tool_choice",
            )
        return _MODES[choice], NOTHING
    if type(choice) is not dict:
        wrong("tool_choice", "a string or an object", choice)
    if req_str(choice, "type", "tool_choice.") != "function":
        return None, {"tool_choice": choice}
    function = opt_object(choice, "function", "tool_choice.")
    if function is None:
        missing("tool_choice.function")
    return ToolChoice("tool", req_str(function, "name", "tool_choice.function.")), NOTHING


def _response_format(fields: JsonObject) -> tuple[ResponseFormat | None, Mapping[str, Json]]:
    given = opt_object(fields, "response_format")
    if given is None:
        return None, NOTHING
    kind = req_str(given, "type", "response_format.")
    if kind == "text":
        return ResponseFormat("text"), NOTHING
    if kind == "json_object":
        return ResponseFormat("json"), NOTHING
    if kind != "json_schema":
        return None, {"response_format": given}
    where = "response_format.json_schema."
    holder = opt_object(given, "json_schema", "response_format.")
    if holder is None:
        missing("response_format.json_schema")
    return (
        ResponseFormat(
            "json_schema",
            opt_str(holder, "name", where) or "answer",
            opt_object(holder, "schema", where) or {},
            opt_bool(holder, "strict", where),
            opt_str(holder, "description", where),
        ),
        NOTHING,
    )


def _reasoning(fields: JsonObject) -> Reasoning | None:
    effort = opt_str(fields, "reasoning_effort")
    if effort is not None:
        return Reasoning(enabled=effort != "none", effort=None if effort == "none" else effort)
    given = opt_object(fields, "reasoning")
    if given is None:
        return None
    effort = opt_str(given, "effort", "reasoning.")
    enabled = opt_bool(given, "enabled", "reasoning.")
    return Reasoning(
        enabled=enabled is not False and effort != "none",
        effort=None if effort == "none" else effort,
        budget_tokens=opt_int(given, "max_tokens", "reasoning.", least=0),
    )
