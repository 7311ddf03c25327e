"""One event of a Messages stream, decoded by type, or leniently where types differ."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import orjson

from pointsman.dialects.failures import malformed


class Delta(msgspec.Struct, gc=False):
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class Block(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None


class Head(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    usage: dict[str, Any] | None = None


class Frame(msgspec.Struct, gc=False):
    type: str | None = None
    index: int = 0
    delta: Delta | None = None
    content_block: Block | None = None
    message: Head | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


_FRAME = msgspec.json.Decoder(Frame)


def decode(data: bytes) -> Frame:
    """Read the data of one event; raise ProviderFailure("malformed") if it is no JSON object."""
    try:
        return _FRAME.decode(data)
    except msgspec.ValidationError:
        return _decode_leniently(data)
    except (ValueError, RecursionError):
        raise malformed("the provider's stream has an event that is not JSON") from None


def _decode_leniently(data: bytes) -> Frame:
    try:
        fields = orjson.loads(data)
    except ValueError:
        raise malformed("the provider's stream has an event that is not JSON") from None
    if type(fields) is not dict:
        raise malformed("the provider's stream has an event that is not a JSON object")
    index = fields.get("index")
    return Frame(
        type=_text(fields.get("type")),
        index=index if type(index) is int else 0,
        delta=_texts(Delta, fields.get("delta")),
        content_block=_texts(Block, fields.get("content_block")),
        message=_texts(Head, fields.get("message")),
        usage=_object(fields.get("usage")),
        error=fields.get("error"),
    )


def _text(value: object) -> str | None:
    return value if type(value) is str else None


def _object(value: object) -> dict[str, Any] | None:
    return value if type(value) is dict else None


Record = TypeVar("Record", bound=msgspec.Struct)

_OBJECTS = frozenset({"input", "usage"})


def _texts(kind: type[Record], value: object) -> Record | None:
    """Fill a record with those fields of `value` that are of their type."""
    if type(value) is not dict:
        return None
    given = {}
    for name in kind.__struct_fields__:
        read = _object if name in _OBJECTS else _text
        given[name] = read(value.get(name))
    return kind(**given)
