"""A client's JSON: read strictly, and rewritten without touching what we do not mean to.

Theory. Two readers of one JSON text may disagree where a key stands twice, and a recursive
reader or writer may be driven off its stack; so both are refused before anything else looks at
the values. Depth: orjson itself stops at 1,024 levels without recursion errors; a body with few
brackets cannot be deep, any other is walked level by level before a recursive writer sees it.
Duplicates: each member of an object has one colon outside strings, so a parsed tree with fewer
members than the text has colons has lost some. A compact body that equals its own
re-serialisation (what most SDKs send) needs not even that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import msgspec
import orjson

from pointsman.domain.content import JsonObject
from pointsman.errors import InvalidRequest

MAX_DEPTH = 64
"""Levels of nesting; no known API needs more than about 20."""

MAX_CONTAINERS = 50_000
"""Objects and lists in one body: a conversation of a million tokens in short messages has half of
it. Each costs every later step some microseconds, however small it is; 10 MB can hold three
million."""

_RAW_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def parse_object(body: bytes, max_depth: int = MAX_DEPTH) -> JsonObject:
    """Parse a JSON object. Raises InvalidRequest for anything else, and nothing but that."""
    try:
        fields = orjson.loads(body)
    except ValueError as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None
    if type(fields) is not dict:
        raise InvalidRequest("the body must be a JSON object")
    if body.count(b"[") + body.count(b"{") > max_depth:
        members = _members(fields, max_depth)
    else:
        members = None
    if orjson.dumps(fields) != body:
        if members is None:
            members = _members(fields, max_depth)
        if members != _outside_strings(body).count(b":"):
            raise InvalidRequest(f"the body has the key {_duplicate_of(body)} twice in one object")
    return cast(JsonObject, fields)


def splice(body: bytes, replace: Mapping[str, bytes | None]) -> bytes:
    """Replace, add (bytes) or remove (None) top-level fields; every other value's bytes stay.

    `body` must have passed `parse_object`.
    """
    fields: dict[str, Any] = _RAW_FIELDS.decode(body)
    for key, value in replace.items():
        if value is not None:
            fields[key] = value
        else:
            fields.pop(key, None)
    return join(fields)


def raw_fields(body: bytes) -> dict[str, bytes]:
    """Return the bytes of each top-level value. `body` must have passed `parse_object`."""
    return {key: bytes(value) for key, value in _RAW_FIELDS.decode(body).items()}


def join(fields: Mapping[str, bytes | msgspec.Raw]) -> bytes:
    """Write an object whose values are JSON texts already."""
    pieces: list[bytes | msgspec.Raw] = []
    for key, value in fields.items():
        pieces += (b"," if pieces else b"{", orjson.dumps(key), b":", value)
    pieces.append(b"}" if pieces else b"{}")
    return b"".join(pieces)


def _outside_strings(body: bytes) -> bytes:
    """Drop the strings. What follows a syntax error may come out wrong: no parser gets there."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(body.split(b'"')[::2])


def _members(tree: object, max_depth: int) -> int:
    """Count the members of all objects, level by level, without recursion.

    Raises InvalidRequest for a tree of more than `max_depth` levels or MAX_CONTAINERS nodes.
    """
    count = 0
    containers = 1
    level: list[Any] = [tree]
    for _ in range(max_depth):
        below: list[Any] = []
        for node in level:
            if type(node) is dict:
                count += len(node)
                node = node.values()
            below += [value for value in node if type(value) in _CONTAINERS]
        if not below:
            return count
        containers += len(below)
        if containers > MAX_CONTAINERS:
            raise InvalidRequest(
                f"the body has more than {MAX_CONTAINERS} objects and lists; send less at once"
            )
        level = below
    raise InvalidRequest(f"the body nests deeper than {max_depth} levels")


_CONTAINERS = frozenset({dict, list})


class _Found(Exception):
    pass


def _duplicate_of(body: bytes) -> str:
    def unique(pairs: list[tuple[str, object]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Found(key)
            seen.add(key)

    try:
        json.loads(body, object_pairs_hook=unique, parse_int=lambda _: 0)
    except _Found as found:
        return repr(found.args[0])[:80]
    return "of some member"
