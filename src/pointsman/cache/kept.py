"""An answer as it is kept: bytes, the same in memory and in a shared store.

As bytes its size is known to the byte, and nobody who was given an answer can change it for the
next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from pointsman.domain.content import NOTHING, Text, Thinking, ToolCall
from pointsman.domain.reply import ChatReply, FinishReason
from pointsman.domain.usage import Usage

VERSION: Final = 1


class Kept(msgspec.Struct, frozen=True, gc=False):
    """`cost_nano` is what the answer cost when it was made, None for an unknown price. `at` and
    `until` are seconds since the epoch: when it was made, and how long it serves."""

    chat: ChatReply
    deployment: str
    cost_nano: int | None
    at: float
    until: float


_Written = tuple[str, str, str | None, str | None, dict[str, Any]]
"""A part: its kind (text, thinking, call), and its fields."""


class _Form(msgspec.Struct, frozen=True, gc=False, array_like=True):
    version: int
    deployment: str
    cost_nano: int | None
    at: float
    until: float
    id: str
    model: str
    created: int
    finish: FinishReason
    stop_sequence: str | None
    usage: Usage
    parts: list[_Written]
    extra: dict[str, Any]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Form)


def encode(kept: Kept) -> bytes:
    """Raises TypeError, ValueError or OverflowError for what msgpack cannot say."""
    chat = kept.chat
    return _encoder.encode(
        _Form(
            VERSION,
            kept.deployment,
            kept.cost_nano,
            kept.at,
            kept.until,
            chat.id,
            chat.model,
            chat.created,
            chat.finish,
            chat.stop_sequence,
            chat.usage,
            [_written(part) for part in chat.parts],
            dict(chat.extra),
        )
    )


def decode(body: bytes) -> Kept | None:
    """Read what `encode` wrote; None for anything else, such as another version's."""
    try:
        form = _decoder.decode(body)
    except msgspec.DecodeError:
        return None
    if form.version != VERSION:
        return None
    chat = ChatReply(
        id=form.id,
        model=form.model,
        parts=tuple(_part(each) for each in form.parts),
        finish=form.finish,
        stop_sequence=form.stop_sequence,
        usage=form.usage,
        created=form.created,
        extra=form.extra or NOTHING,
    )
    return Kept(chat, form.deployment, form.cost_nano, form.at, form.until)


def _written(part: Text | Thinking | ToolCall) -> _Written:
    extra = dict(part.extra)
    if isinstance(part, Text):
        return "text", part.text, None, None, extra
    if isinstance(part, Thinking):
        return "thinking", part.text, part.signature, part.redacted, extra
    return "call", part.arguments, part.id, part.name, extra


def _part(written: _Written) -> Text | Thinking | ToolCall:
    kind, text, first, second, fields = written
    extra: Mapping[str, Any] = fields or NOTHING
    if kind == "text":
        return Text(text, extra)
    if kind == "thinking":
        return Thinking(text, first, second, extra)
    return ToolCall(first or "", second or "", text, extra)
