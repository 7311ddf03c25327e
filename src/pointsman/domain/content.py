"""What is said in a conversation, in no provider's dialect."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"

NOTHING: Mapping[str, Json] = MappingProxyType({})
"""The empty `extra`."""


def nothing() -> Mapping[str, Json]:
    """Give the one empty `extra`: CPython 3.11 takes no mappingproxy as a plain default."""
    return NOTHING


Role = Literal["system", "user", "assistant"]


class Text(msgspec.Struct, frozen=True, gc=False):
    """`extra` keeps the block's fields we give no meaning to, such as `cache_control`."""

    text: str
    extra: Mapping[str, Json] = msgspec.field(default_factory=nothing)


class Image(msgspec.Struct, frozen=True, gc=False):
    """An image by `url`, or by base64 `data` with its `media_type`. URLs are never fetched."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None
    extra: Mapping[str, Json] = msgspec.field(default_factory=nothing)


class Audio(msgspec.Struct, frozen=True, gc=False):
    """Base64 `data` in `format` (wav, mp3, …)."""

    data: str
    format: str
    extra: Mapping[str, Json] = msgspec.field(default_factory=nothing)


class Document(msgspec.Struct, frozen=True, gc=False):
    """A file by `url`, `data` (base64), plain `text` or a provider's `file_id`."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    text: str | None = None
    file_id: str | None = None
    name: str | None = None
    extra: Mapping[str, Json] = msgspec.field(default_factory=nothing)


class Thinking(msgspec.Struct, frozen=True, gc=False):
    """Reasoning that a model showed. `signature` and `redacted` are the provider's own seal:
    of use only to the provider that made them, so never sent to another."""

    text: str
    signature: str | None = None
    redacted: str | None = None
    extra: Mapping[str, Json] = msgspec.field(default_factory=nothing)


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """A function call a model asked for; `arguments` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str
    extra: Mapping[str, Json] = msgspec.field(default_factory=nothing)


class ToolResult(msgspec.Struct, frozen=True, gc=False):
    """What a function call gave back."""

    call_id: str
    parts: tuple[Text | Image | Document, ...]
    is_error: bool = False
    extra: Mapping[str, Json] = msgspec.field(default_factory=nothing)


Part: TypeAlias = Text | Image | Audio | Document | Thinking | ToolCall | ToolResult


class Message(msgspec.Struct, frozen=True, gc=False):
    """One turn. Tool results stand in user messages (as in Anthropic's API)."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    extra: Mapping[str, Json] = msgspec.field(default_factory=nothing)


class Tool(msgspec.Struct, frozen=True, gc=False):
    """A function the model may call; `schema` is the JSON Schema of its arguments."""

    name: str
    description: str = ""
    schema: Mapping[str, Json] = msgspec.field(default_factory=dict)
    strict: bool | None = None
    extra: Mapping[str, Json] = msgspec.field(default_factory=nothing)


class ToolChoice(msgspec.Struct, frozen=True, gc=False):
    """`auto`, `none`, `any` (must call one), or `tool` with a `name`."""

    mode: Literal["auto", "none", "any", "tool"] = "auto"
    name: str | None = None


class ResponseFormat(msgspec.Struct, frozen=True, gc=False):
    """`text`, `json` (any object) or `json_schema`."""

    kind: Literal["text", "json", "json_schema"] = "text"
    name: str = "answer"
    schema: Mapping[str, Json] = msgspec.field(default_factory=nothing)
    strict: bool | None = None
    description: str | None = None


class Reasoning(msgspec.Struct, frozen=True, gc=False):
    """How much to think: an `effort` word, a `budget_tokens`, or `enabled=False` for none."""

    enabled: bool = True
    effort: str | None = None
    budget_tokens: int | None = None
