"""A second reader of requests, slow and strict: what is JSON, what a param names, and whether what
a provider was sent still means what the client said."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pointsman.dialects.ids import portable_name
from pointsman.dialects.registry import DIALECTS
from pointsman.domain.content import Message, Text, ToolCall, ToolResult
from pointsman.domain.request import ChatRequest, Source
from pointsman.routing.upper import UNSTATED_OUTPUT

OURS = ("pointsman", "models", "fallbacks", "timeout", "max_cost_usd", "cache")
_WRONG = re.compile(
    r"must be (?:.+), not (an object|an array|a string|an integer|a number|a boolean|null)$"
)
_TYPES: dict[str, type] = {
    "an object": dict,
    "an array": list,
    "a string": str,
    "an integer": int,
    "a number": float,
    "a boolean": bool,
    "null": type(None),
}
LENGTHS = ("max_tokens", "max_completion_tokens")
MISSING = object()
SHOWN = 80
"""What a message shows of a name that the client chose."""


class NotJson(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotJson("a key twice")
    return found


def _no_constant(text: str) -> Any:
    raise NotJson(text)


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise NotJson(text)
    return number


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
)


def read(body: bytes) -> Any:
    """Read as RFC 8259 and I-JSON (RFC 7493) have it. Raises NotJson."""
    try:
        text = body.decode()
        value = _DECODER.decode(text)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from None
    return value


def members(body: bytes) -> dict[str, str]:
    """Slice a JSON object into the texts of its top-level values."""
    text = body.decode()
    found: dict[str, str] = {}
    space = re.compile(r"[ \t\r\n]*")

    def skip(at: int) -> int:
        match = space.match(text, at)
        assert match is not None
        return match.end()

    at = skip(skip(0) + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        at = skip(skip(at) + 1)
        _, end = _DECODER.raw_decode(text, at)
        found[key] = text[at:end]
        at = skip(end)
        if text[at] == ",":
            at = skip(at + 1)
    return found


def found_at(tree: Any, param: str) -> Any:
    """What `param` (a.b[0].c) names; MISSING where nothing is there. Names may hold dots."""
    if not param:
        return tree
    if isinstance(tree, list):
        match = re.match(r"\[(\d+)\]\.?", param)
        if match is None or int(match[1]) >= len(tree):
            return MISSING
        return found_at(tree[int(match[1])], param[match.end() :])
    if not isinstance(tree, dict):
        return MISSING
    for name, value in tree.items():
        if param == name[:SHOWN]:
            return value
        if param.startswith(name):
            rest = param[len(name) :]
            if not rest or rest[0] in ".[":
                found = found_at(value, rest.removeprefix("."))
                if found is not MISSING:
                    return found
    return MISSING


def misnamed(tree: Any, headers: set[str], param: str, message: str) -> str | None:
    """Say what is wrong with an error's `param`; None where it names what the message is about."""
    if param.partition(".")[0] in headers:
        return None
    found = found_at(tree, param)
    if message.endswith("is required"):
        holder, _, name = param.rpartition(".")
        if found is not MISSING and found is not None:
            return f"{param} is there"
        above = found_at(tree, holder)
        return None if isinstance(above, dict) and name else f"nothing could be at {param}"
    if (said := _WRONG.search(message)) is not None:
        if found is MISSING:
            return f"nothing is at {param}"
        kind = _TYPES[said[1]]
        # Integers beyond 64 bits are read as floats, so they may be told as numbers.
        is_so = type(found) is kind or (kind is float and type(found) is int)
        return None if is_so else f"{param} is {found!r}"
    if found is MISSING and not param.startswith(("model", "fallbacks")):
        return f"nothing is at {param}"
    return None


# What a provider was sent.


def changed_in_passing(sent: bytes, passed: bytes, model: str, *, speaks: bool) -> Iterator[str]:
    """Name what differs between what a client sent and what its own dialect's provider got;
    `speaks`: the answer has a length."""
    before, after = members(sent), members(passed)
    whole = json.loads(sent)
    if speaks and _is_capped(whole) and all(whole.get(name) is None for name in LENGTHS):
        # What was set aside for the longest answer is what the provider is told.
        told = [json.loads(after.pop(name)) for name in LENGTHS if name in after]
        if told != [UNSTATED_OUTPUT]:
            yield f"a longest answer of {told}"
        for name in LENGTHS:
            before.pop(name, None)
    for name in OURS:
        before.pop(name, None)
    if json.loads(after.pop("model")) != model:
        yield "the model is another one"
    before.pop("model", None)
    if isinstance(whole.get("metadata"), dict) and isinstance(whole["metadata"].get("tags"), dict):
        rest = {name: value for name, value in whole["metadata"].items() if name != "tags"}
        before.pop("metadata")
        if json.loads(after.pop("metadata", "{}")) != rest:
            yield "metadata"
    if json.loads(before.get("stream", "null")) is True:
        options = json.loads(after.get("stream_options", "null"))
        said = json.loads(before.get("stream_options", "null"))
        if options != said and options != {**(said or {}), "include_usage": True}:
            yield "stream_options"
        before.pop("stream_options", None)
        after.pop("stream_options", None)
    if before != after:
        for name in before.keys() | after.keys():
            if name == "messages" and _without_ids(before[name]) == _without_ids(after[name]):
                continue
            if before.get(name) != after.get(name):
                yield f"{name}: {before.get(name)!r:.80} became {after.get(name)!r:.80}"


def _is_capped(whole: dict[str, Any]) -> bool:
    """The client says what the request may cost."""
    ours = whole.get("pointsman") or {}
    return any(each.get("max_cost_usd") is not None for each in (whole, ours))


def _without_ids(messages: str) -> Any:
    items = json.loads(messages)
    for item in items:
        item.pop("tool_call_id", None)
        for call in (item["role"] == "assistant" and item.get("tool_calls")) or ():
            call.pop("id", None)
    return items


def lost_in_translation(request: ChatRequest, to: str, passed: bytes) -> Iterator[str]:
    """Name what a provider of the other dialect `to` is not told."""
    written = DIALECTS[to].parse_request(read(passed), Source(to, passed))
    for role in ("system", "user", "assistant"):
        said = list(_texts(request, role))
        # Where nobody else speaks, Anthropic is told by the user what the system would say.
        is_alone = all(
            message.role == "system"
            or all(isinstance(part, Text) and not part.text.strip() for part in message.parts)
            for message in request.messages
        )
        told = "\0".join(_texts(written, "user" if is_alone else role))
        at = 0
        for text in said:
            at = told.find(text, at)
            if at < 0:
                yield f"{role} said {text!r:.80}, which is not in {told!r:.200}"
                break
            at += len(text)
    if list(_calls(request)) != list(_calls(written)):
        yield f"calls {list(_calls(request))} became {list(_calls(written))}"
    if sum(_results(request)) != sum(_results(written)):
        yield f"{sum(_results(request))} results became {sum(_results(written))}"
    names = [portable_name(tool.name) for tool in request.tools]
    if [tool.name for tool in written.tools] != names:
        yield f"tools {names} became {[tool.name for tool in written.tools]}"
    if request.max_tokens is not None and written.max_tokens != request.max_tokens:
        yield f"max_tokens {request.max_tokens} became {written.max_tokens}"
    if written.stop != request.stop:
        yield f"stop {request.stop} became {written.stop}"
    if written.stream != request.stream or written.choices != request.choices:
        yield "stream or n"


def _texts(request: ChatRequest, role: str) -> Iterator[str]:
    for message in request.messages:
        if message.role == role:
            for part in message.parts:
                if isinstance(part, Text) and part.text.strip():
                    yield part.text.strip()


def _calls(request: ChatRequest) -> Iterator[tuple[str, Any]]:
    for part in _parts(request.messages):
        if isinstance(part, ToolCall):
            try:
                arguments = json.loads(part.arguments or "{}")
            except ValueError:
                arguments = part.arguments
            if not isinstance(arguments, dict):
                arguments = {"arguments": part.arguments}
            yield portable_name(part.name), arguments


def _results(request: ChatRequest) -> Iterator[int]:
    return (isinstance(part, ToolResult) for part in _parts(request.messages))


def _parts(messages: tuple[Message, ...]) -> Iterator[object]:
    return (part for message in messages for part in message.parts)
