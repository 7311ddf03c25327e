"""An answer as its client reads it, in either dialect; shares no code with the house."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from matrix.fault import Wire


@dataclass(frozen=True, slots=True)
class Got:
    """What came over the wire. left_at: seconds since the epoch when the client went away. broken:
    the connection was lost before the end of the answer; status 0: before its beginning."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    left_at: float | None = None
    broken: bool = False


@dataclass
class Read:
    """What that says. ends: "proper" and "error" in the order they came. faults: what no client
    should meet. usage: (input, output) as the client is told them last."""

    text: str = ""
    finish: str | None = None
    ends: list[str] = field(default_factory=list)
    error: dict[str, Any] | None = None
    request_id: str | None = None
    usage: tuple[int, int] | None = None
    faults: list[str] = field(default_factory=list)


FINISH_OF = {
    "end_turn": "stop", "max_tokens": "length", "refusal": "content_filter",
    "tool_use": "tool_calls", "stop_sequence": "stop",
}  # fmt: skip
"""Anthropic's words in OpenAI's."""


def read_whole(wire: Wire, body: bytes) -> Read:
    read = Read()
    try:
        fields = json.loads(body)
        if "error" in fields:
            read.error, read.request_id = fields["error"], fields.get("request_id")
            if wire == "anthropic" and fields.get("type") != "error":
                read.faults.append("an error that does not say type: error")
        elif wire == "openai":
            choice = fields["choices"][0]
            said = choice["message"]
            # Anthropic's refusal has a field of its own in OpenAI's dialect.
            read.text = said["content"] or said.get("refusal") or ""
            read.finish = choice["finish_reason"]
            read.usage = _openai_usage(fields.get("usage"))
        else:
            read.text = "".join(block.get("text", "") for block in fields["content"])
            read.finish = FINISH_OF.get(fields["stop_reason"])
            read.usage = _anthropic_usage(fields.get("usage") or {})
    except (ValueError, KeyError, TypeError, IndexError) as error:
        read.faults.append(f"an answer that cannot be read ({error!r}): {body[:120]!r}")
    return read


def read_stream(wire: Wire, body: bytes) -> Read:
    """Read what has come of a stream; half an event at its end is a fault."""
    read = Read()
    text = body.decode("utf-8", "replace")
    if "�" in text:
        read.faults.append("bytes that are not UTF-8")
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    blocks = text.split("\n\n")
    if blocks.pop().strip():
        read.faults.append("half an event at the end")
    for block in blocks:
        name, data = "", []
        for line in block.split("\n"):
            key, _, value = line.partition(":")
            if key == "data":
                data.append(value.removeprefix(" "))
            elif key == "event":
                name = value.strip()
        if data:
            _take(read, wire, name, "\n".join(data))
    return read


def _take(read: Read, wire: Wire, name: str, data: str) -> None:
    if read.ends and not (wire == "openai" and data == "{}"):
        read.faults.append(f"an event after the end: {data[:80]}")
    if data == "[DONE]":
        read.ends.append("proper")
        return
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        read.faults.append(f"an event that is no JSON: {data[:80]}")
        return
    if not isinstance(fields, dict):
        read.faults.append(f"an event that is no object: {data[:80]}")
    elif isinstance(fields.get("error"), dict):
        read.ends.append("error")
        read.error, read.request_id = fields["error"], fields.get("request_id")
        if wire == "anthropic" and name != "error":
            read.faults.append(f"an error under the name {name!r}")
    elif wire == "openai":
        _take_chunk(read, fields)
    else:
        _take_frame(read, fields)


def _take_chunk(read: Read, fields: dict[str, Any]) -> None:
    for choice in fields.get("choices") or ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if isinstance(delta, dict):
            read.text += delta.get("content") or ""
            read.finish = choice.get("finish_reason") or read.finish
    read.usage = _openai_usage(fields.get("usage")) or read.usage


def _take_frame(read: Read, fields: dict[str, Any]) -> None:
    kind = fields.get("type")
    delta = fields.get("delta")
    said = delta if isinstance(delta, dict) else {}
    if kind == "message_start":
        message = fields.get("message")
        read.usage = _anthropic_usage(message.get("usage") if isinstance(message, dict) else None)
    elif kind == "content_block_delta":
        read.text += said.get("text") or ""
    elif kind == "message_delta":
        reason = said.get("stop_reason")
        read.finish = FINISH_OF.get(reason, read.finish) if reason else read.finish
        told = _anthropic_usage(fields.get("usage"))
        if told is not None:
            read.usage = (told[0] or (read.usage or (0, 0))[0], told[1])
    elif kind == "message_stop":
        read.ends.append("proper")


def _openai_usage(fields: Any) -> tuple[int, int] | None:
    try:
        return int(fields["prompt_tokens"]), int(fields["completion_tokens"])
    except (KeyError, TypeError, ValueError):
        return None


def _anthropic_usage(fields: Any) -> tuple[int, int] | None:
    try:
        given = int(fields.get("input_tokens") or 0)
        for part in ("cache_read_input_tokens", "cache_creation_input_tokens"):
            given += int(fields.get(part) or 0)
        return given, int(fields["output_tokens"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
