"""What both dialects' writers share: events of a stream, and what is reported as usage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import orjson

from pointsman.domain.content import Json, JsonObject
from pointsman.domain.usage import Usage
from pointsman.testing.plays import OddUsage

Part = Literal["start", "content", "finish", "usage", "end"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One event of a stream. `tokens` are made just before it is sent."""

    data: bytes
    part: Part
    event: str | None = None
    tokens: int = 0
    reasoning: bool = False

    def sse(self) -> bytes:
        """The event as a server should write it."""
        if self.event is None:
            return b"data: " + self.data + b"\n\n"
        return b"event: " + self.event.encode() + b"\ndata: " + self.data + b"\n\n"


@dataclass(frozen=True, slots=True)
class Reports:
    """How usage will be told.

    early: before content (OpenAI's shape) or in message_start (Anthropic's). final: at the end,
    once for each item, nothing at all when empty. every: in every content event too, growing.
    """

    early: Json = None
    final: tuple[Json, ...] = ()
    every: bool = False

    @property
    def last(self) -> Json:
        """What a client that believes the last word will believe."""
        return self.final[-1] if self.final else self.early


def dump(value: Json) -> bytes:
    return orjson.dumps(value)


def split_for(play: OddUsage | None, usage: Usage) -> Usage:
    """Apply the two honest kinds: half of the input cached, half of the output reasoning."""
    if play is not None and play.kind == "cached":
        half = usage.input // 2
        return Usage(usage.input, usage.output, half, reasoning=usage.reasoning)
    if play is not None and play.kind == "reasoning":
        half = usage.output // 2
        return Usage(usage.input, usage.output, usage.cached, usage.cache_write, reasoning=half)
    return usage


def plan_reports(play: OddUsage | None, plain: JsonObject, *, asked_for: bool) -> Reports:
    """Decide what is reported, given the true fields; `asked_for`: the client wants it at all."""
    if play is None:
        return Reports(final=(plain,) if asked_for else ())
    if play.kind == "unasked":
        return Reports(final=(plain,))
    if not asked_for:
        return Reports()
    if play.kind == "early":
        return Reports(early=plain)
    return Reports(final=_FINAL[play.kind](plain), every=play.kind == "cumulative")


def scaled(fields: JsonObject, change: Callable[[int], Json]) -> JsonObject:
    """Change every count in a usage object, nested ones as well."""
    changed: JsonObject = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            changed[name] = scaled(value, change)
        elif isinstance(value, int):
            changed[name] = change(value)
        else:
            changed[name] = value
    return changed


def _above(fields: JsonObject, name: str, excess: int) -> JsonObject:
    """Put an impossible count where `name` stands, at the top or in a details object."""
    changed: JsonObject = {}
    for key, value in fields.items():
        if isinstance(value, dict):
            changed[key] = _above(value, name, excess)
        else:
            changed[key] = excess if key == name else value
    return changed


def _total(fields: JsonObject) -> int:
    total = fields.get("total_tokens")
    if isinstance(total, int):
        return total
    return sum(value for value in fields.values() if isinstance(value, int))


_IMPOSSIBLE = 1_000_000
_FINAL: dict[str, Callable[[JsonObject], tuple[Json, ...]]] = {
    "missing": lambda plain: (),
    "null": lambda plain: (None,),
    "zero": lambda plain: (scaled(plain, lambda count: 0),),
    "twice": lambda plain: (plain, plain),
    "twice_growing": lambda plain: (scaled(plain, lambda count: count // 2), plain),
    "cumulative": lambda plain: (plain,),
    "negative": lambda plain: (scaled(plain, lambda count: -count - 1),),
    "huge": lambda plain: (scaled(plain, lambda count: 2**60 + count),),
    "string": lambda plain: (scaled(plain, str),),
    "float": lambda plain: (scaled(plain, lambda count: count + 0.5),),
    "only_total": lambda plain: ({"total_tokens": _total(plain)},),
    "wrong_total": lambda plain: ({**plain, "total_tokens": _total(plain) + 100},),
    "cached": lambda plain: (plain,),
    "cached_above_input": lambda plain: (
        _above(_above(plain, "cached_tokens", _IMPOSSIBLE), "cache_read_input_tokens", -1),
    ),
    "reasoning": lambda plain: (plain,),
    "reasoning_above_output": lambda plain: (_above(plain, "reasoning_tokens", _IMPOSSIBLE),),
    "empty_object": lambda plain: ({},),
    "not_an_object": lambda plain: ("plenty",),
}
