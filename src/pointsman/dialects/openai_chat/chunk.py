"""One event of a chat completion stream, decoded by type, or leniently where types differ."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from pointsman.dialects.failures import malformed
from pointsman.dialects.openai_chat.reply import split_chunks


class Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class CallDelta(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[CallDelta] | None = None


class Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: Delta | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    """Moonshot's place for it."""


class Piece(msgspec.Struct, gc=False):
    """What matters of any chunk but the first: half the work of reading all of it."""

    choices: list[Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    x_groq: dict[str, Any] | None = None
    service_tier: Any = None


class Chunk(Piece, gc=False):
    id: str | None = None
    model: str | None = None
    created: Any = None


_PIECE = msgspec.json.Decoder(Piece)
_CHUNK = msgspec.json.Decoder(Chunk)


def decode_piece(data: bytes) -> Piece:
    """Read the data of one event; raise ProviderFailure("malformed") if it is no JSON object."""
    try:
        return _PIECE.decode(data)
    except msgspec.ValidationError:
        return _decode_leniently(data)
    except (ValueError, RecursionError):
        raise malformed("the provider's stream has an event that is not JSON") from None


def decode(data: bytes) -> Chunk:
    """Do as `decode_piece`, and read who answers."""
    try:
        return _CHUNK.decode(data)
    except msgspec.ValidationError:
        return _decode_leniently(data)
    except (ValueError, RecursionError):
        raise malformed("the provider's stream has an event that is not JSON") from None


def _decode_leniently(data: bytes) -> Chunk:
    try:
        fields = orjson.loads(data)
    except ValueError:
        raise malformed("the provider's stream has an event that is not JSON") from None
    if type(fields) is not dict:
        raise malformed("the provider's stream has an event that is not a JSON object")
    choices = fields.get("choices")
    return Chunk(
        id=_text(fields.get("id")),
        model=_text(fields.get("model")),
        choices=[_choice(item) for item in choices if type(item) is dict]
        if type(choices) is list
        else None,
        usage=_object(fields.get("usage")),
        error=fields.get("error"),
        x_groq=_object(fields.get("x_groq")),
        service_tier=fields.get("service_tier"),
        created=fields.get("created"),
    )


def _object(value: object) -> dict[str, Any] | None:
    return value if type(value) is dict else None


def _text(value: object) -> str | None:
    return value if type(value) is str else None


def _choice(item: dict[str, Any]) -> Choice:
    index = item.get("index")
    delta = item.get("delta")
    return Choice(
        index=index if type(index) is int else 0,
        delta=_delta(delta) if type(delta) is dict else None,
        finish_reason=_text(item.get("finish_reason")),
        usage=_object(item.get("usage")),
    )


def _delta(fields: dict[str, Any]) -> Delta:
    content = fields.get("content")
    thought = _text(fields.get("reasoning_content")) or _text(fields.get("reasoning"))
    if type(content) is list:
        more, content = split_chunks(content)
        thought = (thought or "") + more
    calls = fields.get("tool_calls")
    return Delta(
        content=_text(content),
        reasoning_content=thought,
        refusal=_text(fields.get("refusal")),
        tool_calls=[_call(call) for call in calls if type(call) is dict]
        if type(calls) is list
        else None,
    )


def _call(fields: dict[str, Any]) -> CallDelta:
    index = fields.get("index")
    function = fields.get("function")
    if type(function) is not dict:
        function = {}
    arguments = function.get("arguments")
    if type(arguments) is dict:
        arguments = orjson.dumps(arguments).decode()
    return CallDelta(
        index=index if type(index) is int else None,
        id=_text(fields.get("id")),
        function=Function(_text(function.get("name")), _text(arguments)),
    )
