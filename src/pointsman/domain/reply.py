"""What a model answers: whole, or as events; in no provider's dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from pointsman.domain.content import Json, Text, Thinking, ToolCall, nothing
from pointsman.domain.usage import NO_USAGE, Usage

FinishReason = Literal["stop", "stop_sequence", "length", "tool_calls", "content_filter", "refusal"]


class ChatReply(msgspec.Struct, frozen=True, gc=False):
    """A whole answer. `model` is the model that really answered."""

    id: str
    model: str
    parts: tuple[Text | Thinking | ToolCall, ...]
    finish: FinishReason = "stop"
    stop_sequence: str | None = None
    usage: Usage = NO_USAGE
    created: int = 0
    extra: Mapping[str, Json] = msgspec.field(default_factory=nothing)

    @property
    def text(self) -> str:
        """The answer's text without reasoning and tool calls."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


class Started(msgspec.Struct, frozen=True, gc=False):
    """The provider began; no content yet."""

    id: str
    model: str
    created: int = 0


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    text: str


class ThinkingDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of reasoning, or (last) its `signature`, or a whole `redacted` block."""

    text: str = ""
    signature: str | None = None
    redacted: str | None = None


class ToolCallStarted(msgspec.Struct, frozen=True, gc=False):
    """`index` numbers the tool calls of one answer from 0; their deltas may interleave."""

    index: int
    id: str
    name: str


class ToolCallDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of the JSON text of a call's arguments."""

    index: int
    arguments: str


class Finished(msgspec.Struct, frozen=True, gc=False):
    reason: FinishReason
    stop_sequence: str | None = None


class UsageReported(msgspec.Struct, frozen=True, gc=False):
    """Usage so far; the last one counts."""

    usage: Usage


Event: TypeAlias = (
    Started | TextDelta | ThinkingDelta | ToolCallStarted | ToolCallDelta | Finished | UsageReported
)

CONTENT: tuple[type, ...] = (TextDelta, ThinkingDelta, ToolCallStarted, ToolCallDelta)
"""The events that commit a reply: after one of these nothing is repeated elsewhere."""
