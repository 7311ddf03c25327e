"""Hostile requests by a seeded grammar: good ones of both dialects, spoilt as trees and bytes."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chaos.borrowed import mutated

_TOOL = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}
_PICTURE = "data:image/png;base64,iVBORw0KGgo="

OPENAI: dict[str, Any] = {
    "model": "auto",
    "messages": [
        {"role": "system", "content": "You keep the signal box."},
        {"role": "user", "content": [{"type": "text", "text": "hi"},
                                     {"type": "image_url", "image_url": {"url": _PICTURE}}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "green"},
        {"role": "user", "content": "and now?"},
    ],
    "tools": [{"type": "function", "function": {"name": "look", "parameters": _TOOL}}],
    "tool_choice": "auto",
    "max_tokens": 100,
    "temperature": 0.5,
    "top_p": 0.9,
    "stop": ["END"],
    "n": 1,
    "seed": 7,
    "stream": False,
    "response_format": {"type": "text"},
    "metadata": {"a": "b"},
    "user": "u1",
}  # fmt: skip
ANTHROPIC: dict[str, Any] = {
    "model": "auto",
    "max_tokens": 100,
    "system": [{"type": "text", "text": "You keep the signal box."}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "x"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "green"}]},
    ],
    "tools": [{"name": "look", "description": "Look.", "input_schema": _TOOL}],
    "tool_choice": {"type": "auto"},
    "temperature": 0.5,
    "stop_sequences": ["END"],
    "stream": False,
    "metadata": {"user_id": "u1"},
}  # fmt: skip
EMBEDDINGS: dict[str, Any] = {"model": "auto", "input": ["a", "b"], "encoding_format": "float"}
EXPLAIN = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": OPENAI,
    "/v1/messages": ANTHROPIC,
    "/v1/messages/count_tokens": ANTHROPIC,
    "/v1/embeddings": EMBEDDINGS,
    "/v1/route:explain": EXPLAIN,
}
_PATHS = ("/v1/chat/completions", "/v1/messages") * 4 + tuple(BODIES)[2:]

STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**63, -(2**70), 1e308, -0.0, 0.1, "", " ", "auto", "\x00",
    "\ud7ff\ue000", "\u202e\u200b", "a" * 5000, "🚂" * 500, [], {}, [[]], [None], [{}], {"": ""},
    {"type": "text"}, {"type": None}, {"$ref": "#"}, {"__class__": "x"}, "../../etc/passwd",
    "${jndi:ldap://x}", "{{7*7}}", "'; drop table entry; --", "<script>", "file:///etc/passwd",
    "http://127.0.0.1:9/", "data:;base64,####", "NaN", "Infinity", "1e999", ["a"] * 300,
)  # fmt: skip
HEADERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("content-type", ("text/plain", "application/xml", "", "application/json; charset=utf-16")),
    ("content-encoding", ("gzip", "br", "identity", "x")),
    ("accept-encoding", ("br;q=0", "*", "")),
    ("accept", ("text/html", "*/*;q=nan", "")),
    ("x-request-timeout-ms", ("-1", "0", "NaN", "1e99", "abc", "9" * 400, "")),
    ("x-pointsman-criticality", ("critical", "root", "", "\xff")),
    ("x-pointsman-request-id", ("x" * 3000, "../..", "")),
    ("x-pointsman-tags", ("a=b", "=", "{}", "a" * 3000, ",,,")),
    ("x-request-id", ("x" * 3000, "\xff\xfe", "")),
    ("traceparent", ("00-0-0-00", "zz", "")),
    ("anthropic-version", ("1900-01-01", "", "x" * 1000)),
    ("anthropic-beta", ("x," * 400, "")),
    ("x-forwarded-for", ("::1", "127.0.0.1, " * 50)),
    ("cookie", ("a=b; " * 200,)),
    ("authorization", ("", "Bearer", "Basic eDp5", "Bearer \xff", "Bearer " + "x" * 4000)),
    ("x-api-key", ("", "sk-other", "\xe9" * 100)),
)


@dataclass(frozen=True, slots=True)
class Hostile:
    """One request."""

    path: str
    body: bytes
    headers: dict[str, str]


def hostile(rng: random.Random) -> Hostile:
    """Draw one."""
    path = rng.choice(_PATHS)
    body = json.loads(json.dumps(BODIES[path]))
    if rng.random() < 0.3:
        body["stream"] = True
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
        _spoil(body, rng)
    data = json.dumps(body, ensure_ascii=rng.random() < 0.5).encode()
    roll = rng.random()
    if roll < 0.25:
        data = mutated(data, json.dumps(BODIES[rng.choice(_PATHS)]).encode(), rng)
    elif roll < 0.33:
        data = rng.choice(_WRAPS)(data, rng)
    headers: dict[str, str] = {}
    if rng.random() < 0.3:
        for name, values in rng.sample(HEADERS, rng.choice((1, 1, 3))):
            headers[name] = rng.choice(values)
    return Hostile(path, data, headers)


def _nodes(tree: Any) -> list[tuple[Any, Any]]:
    """All (container, key) of a tree."""
    found: list[tuple[Any, Any]] = []
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree))
    for key in keys:
        found.append((tree, key))
        if isinstance(tree[key], dict | list):
            found += _nodes(tree[key])
    return found


def _strange(rng: random.Random) -> Any:
    return copy.deepcopy(rng.choice(STRANGE))


def _spoil(body: dict[str, Any], rng: random.Random) -> None:
    container, key = rng.choice(_nodes(body) or [(body, "model")])
    roll = rng.random()
    if roll < 0.55:
        container[key] = _strange(rng)
    elif roll < 0.7:
        del container[key]
    elif roll < 0.8 and isinstance(container, dict):
        container[rng.choice(("model", "role", "type", "x", "stream", "", "n"))] = container[key]
    elif roll < 0.9:
        container[key] = [container[key]] * rng.choice((1, 2, 50))
    elif isinstance(container, dict):
        container[f"unknown_{rng.randrange(100)}"] = _strange(rng)
    else:
        container.append(_strange(rng))


def _deep(data: bytes, rng: random.Random) -> bytes:
    depth = rng.choice((60, 70, 500, 20_000))
    return b'{"model":"auto","messages":' + b"[" * depth + b"]" * depth + b"}"


def _twice(data: bytes, rng: random.Random) -> bytes:
    return data[:-1] + b',"model":"other"}'


def _many(data: bytes, rng: random.Random) -> bytes:
    return b'{"model":"auto","messages":[' + b",".join([b"{}"] * rng.choice((60, 60_000))) + b"]}"


def _number(data: bytes, rng: random.Random) -> bytes:
    number = rng.choice((b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"01", b"1.", b"-"))
    return b'{"model":"auto","max_tokens":' + number + b',"messages":[]}'


def _large(data: bytes, rng: random.Random) -> bytes:
    return data[:-1] + b',"x":"' + b"a" * rng.choice((70_000, 300_000, 1_100_000)) + b'"}'


def _charset(data: bytes, rng: random.Random) -> bytes:
    return data.decode().encode(rng.choice(("utf-16", "utf-8-sig", "utf-32")), "replace")


def _nothing(data: bytes, rng: random.Random) -> bytes:
    return rng.choice((b"", b" ", b"null", b"[]", b"1", b'"x"', b"{}", b"\x00", b"{" * 100))


_WRAPS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _deep, _twice, _many, _number, _large, _charset, _nothing,
)  # fmt: skip
