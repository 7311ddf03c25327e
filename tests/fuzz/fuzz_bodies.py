"""A grammar of requests: good ones of both dialects, and what can be done to them.

Mutations are of three sorts: of the tree (a value of another type anywhere, a field left out,
renamed, doubled, moved), of the text (what no tree can say: NaN, a key twice, half a surrogate,
bytes that are no UTF-8), and of the header lines.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OURS = {
    "prefer": "cost", "timeout_s": 5, "max_cost_usd": 0.5, "fallbacks": ["second"],
    "allow": ["second", "oa/*"], "require": ["chat"], "sensitive": False,
    "session": "s", "max_attempts": 2, "tags": {"team": "a"},
}  # fmt: skip

CHAT: tuple[dict[str, Any], ...] = (
    {"model": "auto", "messages": [{"role": "user", "content": "hi"}]},
    {
        "model": "to-first",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "Grüße 🚂"}], "name": "ann"},
            {"role": "assistant", "content": "yes"},
            {"role": "user", "content": "and?"},
        ],
        "max_completion_tokens": 50,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["\n\n", "END"],
        "seed": 7,
        "user": "u",
    },
    {
        "model": "to-third",
        "messages": [
            {"role": "user", "content": "weather?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "look", "arguments": '{"city":"Ulm"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "fog"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "look",
                    "description": "Look.",
                    "parameters": SCHEMA,
                    "strict": True,
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": False,
        "max_tokens": 100,
    },
    {
        "model": "to-second",
        "messages": [
            {"role": "developer", "content": "be exact"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what?"},
                    {
                        "type": "image_url",
                        "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"},
                    },
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                ],
            },
        ],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": SCHEMA, "strict": True},
        },
        "reasoning_effort": "low",
        "max_tokens": 60,
    },
    {
        "model": "to-second",
        "stream": True,
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "", "refusal": "no", "reasoning_content": "hm"},
            {
                "role": "assistant",
                "content": "x",
                "tool_calls": [
                    {"id": "é:1", "type": "function", "function": {"name": "f", "arguments": ""}},
                    {"id": "b", "type": "function", "function": {"name": "g", "arguments": "[1]"}},
                ],
            },
            {"role": "tool", "tool_call_id": "é:1", "content": [{"type": "text", "text": "1"}]},
            {"role": "tool", "tool_call_id": "b", "content": ""},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "auto",
        "reasoning": {"effort": "high", "max_tokens": 2000, "enabled": True},
        "n": 1,
        "logprobs": False,
    },
    {
        "model": "to-first",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                    {
                        "type": "file",
                        "file": {
                            "filename": "a.pdf",
                            "file_data": "data:application/pdf;base64,AAAA",
                        },
                    },
                ],
            },
            {"role": "function", "name": "old", "content": "1"},
        ],
        "functions": [{"name": "old", "parameters": {}}],
        "n": 2,
        "logit_bias": {"50256": -100},
        "metadata": {"a": "b", "tags": {"team": "x"}},
    },
    {
        "models": ["auto", "second"],
        "messages": [{"role": "user", "content": "hi"}],
        "pointsman": OURS,
        "timeout": 3.5,
        "fallbacks": ["first"],
        "max_cost_usd": 1,
    },
)

MESSAGES: tuple[dict[str, Any], ...] = (
    {"model": "auto", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]},
    {
        "model": "to-second",
        "max_tokens": 50,
        "stream": True,
        "system": [
            {"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Grüße 🚂"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
            {"role": "user", "content": "and?"},
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
    },
    {
        "model": "to-first",
        "max_tokens": 500,
        "system": "be exact",
        "messages": [
            {"role": "user", "content": "weather?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "zz"},
                    {"type": "text", "text": "let me look"},
                    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"city": "Ulm"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "is_error": True,
                        "content": [
                            {"type": "text", "text": "fog"},
                            {"type": "image", "source": {
                                "type": "base64", "media_type": "image/png", "data": PIXEL}},
                        ],
                    },
                    {"type": "text", "text": "so?"},
                ],
            },
        ],
        "tools": [{"name": "look", "description": "Look.", "input_schema": SCHEMA}],
        "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
    },
    {
        "model": "to-third",
        "max_tokens": 3000,
        "stream": True,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "url", "url": "https://example.com/a"}},
                    {
                        "type": "document",
                        "title": "t",
                        "source": {"type": "text", "media_type": "text/plain", "data": "words"},
                    },
                    {
                        "type": "document",
                        "source": {
                            "type": "base64",
                            "media_type": "application/pdf",
                            "data": "AAAA",
                        },
                    },
                ],
            }
        ],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "low"},
    },
    {
        "model": "second",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
        "mcp_servers": [],
        "container": None,
        "service_tier": "auto",
        "pointsman": OURS,
        "timeout": 3.5,
    },
)  # fmt: skip

EMBEDDINGS: tuple[dict[str, Any], ...] = (
    {"model": "embed", "input": "hi"},
    {"model": "vectors", "input": ["a"], "dimensions": 8, "encoding_format": "float", "user": "u"},
    {"model": "embed", "input": [[1, 2]], "pointsman": {"max_cost_usd": 1}},
)

BASES = {
    "/v1/chat/completions": CHAT,
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": MESSAGES,
    "/v1/embeddings": EMBEDDINGS,
    "/v1/route:explain": CHAT,
}

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63),
    10**30, 0.5, -0.0, 1e308, 5e-324, 1e-7, 1.0,
    "", " ", "x", "auto", "user", "assistant", "system", "tool", "function", "text", "none", "any",
    "required", "first", "second", "a/b", "*", "auto:fast", "\x00", "\u202e\ufeff", "🚂", "é" * 300,
    "A" * 4000, "\ud83d", "data:image/png;base64,AAAA", "data:,", "data:;base64,", "base64", "url",
    "file", "image", "image_url", "tool_use", "tool_result", "thinking", "json_object", "ephemeral",
    "json_schema", "custom", "\n", "\\", '"', "</s>", "${x}", "../..", "{}", '{"a":1}', "[",
    [], {}, [[]], [None], [{}], ["x"], [1, "x"], {"": None}, {"a": {"b": [1]}}, {"type": None},
    {"type": "text", "text": "more"}, [{"type": "text", "text": "more"}], {"type": "x"},
    {"type": "custom", "custom": {"name": "c", "input": "i"}}, {"type": "file_search"},
    {"type": "tool_result", "tool_use_id": "t", "content": "r"}, {"type": "web_search_20250305"},
    {"role": "user", "content": "hi"}, {"role": "assistant"}, {"name": "f"}, {"id": "1"},
    [{"role": "user", "content": "hi"}] * 3,
)  # fmt: skip

FIELDS = (
    "model", "messages", "max_tokens", "stream", "content", "role", "type", "text", "id", "name",
    "tool_calls", "tool_call_id", "function", "arguments", "custom", "input", "pointsman",
    "residency", "models", "timeout", "fallbacks", "metadata", "tags", "system", "n", "unknown",
    "", "é",
    "__proto__", "extra_body", "$ref", "a" * 200, "stream_options", "thinking", "top_k", "refusal",
    "max_completion_tokens", "audio", "modalities", "prediction", "web_search_options", "store",
)  # fmt: skip

HEADERS: tuple[tuple[bytes, bytes], ...] = (
    *((b"x-request-timeout-ms", each) for each in (
        b"1000", b"0", b"-1", b"1e3", b"nan", b"inf", b"", b" 7 ", b"1_0", b"\xd9\xa3", b"x")),
    *((b"x-pointsman-prefer", each) for each in (b"cost", b"COST", b"", b"\xff")),
    *((b"x-pointsman-session", each) for each in (b"s", b"", b"\xe2\x80\xae", b"s" * 5000)),
    *((b"x-pointsman-tags", each) for each in (
        b"a=b", b"a", b"a=b,a=c", b",,", b"=", b"a=", b"\xff=\xff", b"a=b," * 40)),
    *((b"x-pointsman-app", each) for each in (b"app", b"", b"\x80" * 300)),
    (b"x-pointsman-user", b"\xf0\x9f\x9a\x82"),
    *((b"x-pointsman-criticality", each) for each in (b"sheddable", b"", b"critical", b"x")),
    (b"x-pointsman-unknown", b"1"),
    *((b"anthropic-version", each) for each in (b"2023-06-01", b"", b"\xff\xfe", b"x" * 500)),
    *((b"anthropic-beta", each) for each in (b"a,b", b"", b"\xa0\t\xff", b"b" * 5000)),
    (b"openai-beta", b"\xe9"),
    (b"openai-organization", b"org\t\xff"),
    (b"content-type", b"text/plain"),
    (b"accept", b"\x80"),
    (b"accept-encoding", b"gzip"),
    (b"idempotency-key", b"k\xff"),
    (b"expect", b"100-continue"),
    (b"x-forwarded-for", b"'; drop"),
)  # fmt: skip

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Case:
    """A request as it is sent."""

    path: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


def places(tree: Any, path: Path = ()) -> Iterator[Path]:
    """Walk to everything in a tree but its root."""
    if path:
        yield path
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from places(value, (*path, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from places(value, (*path, index))


def at(tree: Any, path: Path) -> Any:
    for step in path:
        tree = tree[step]
    return tree


def nested(depth: int, value: Any, as_list: bool) -> Any:
    for _ in range(depth):
        value = [value] if as_list else {"a": value}
    return value


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda each: st.lists(each, max_size=3)
    | st.dictionaries(st.text(max_size=5), each, max_size=3),
    max_leaves=6,
)  # fmt: skip

ANYTHING = (
    st.sampled_from(ODD)
    | st.sampled_from(ODD)
    | JSON_VALUES
    | st.builds(nested, st.integers(2, 80), st.sampled_from(ODD), st.booleans())
)
DICE = st.integers(0, 2**32)
"""One draw for several choices."""


def _replace(tree: Any, path: Path, value: Any, other: Path) -> None:
    at(tree, path[:-1])[path[-1]] = value


def _drop(tree: Any, path: Path, value: Any, other: Path) -> None:
    del at(tree, path[:-1])[path[-1]]


def _add(tree: Any, path: Path, value: Any, other: Path) -> None:
    holder = at(tree, path)
    if isinstance(holder, list):
        holder.append(value)
        return
    holder = holder if isinstance(holder, dict) else tree
    holder[other[-1]] = value


def _move(tree: Any, path: Path, value: Any, other: Path) -> None:
    at(tree, path[:-1])[path[-1]] = copy.deepcopy(at(tree, other))


def _rename(tree: Any, path: Path, value: Any, other: Path) -> None:
    holder = at(tree, path[:-1])
    if isinstance(holder, dict):
        names = [step for step in other if isinstance(step, str)] or ["x"]
        holder[names[-1]] = holder.pop(path[-1])


def _double(tree: Any, path: Path, value: Any, other: Path) -> None:
    held = at(tree, path)
    if isinstance(held, list):
        held.extend(copy.deepcopy(held))


TREE_OPS = (_replace, _replace, _replace, _drop, _add, _add, _move, _rename, _double)

TEXTS: tuple[tuple[bytes, bytes], ...] = (
    (b": true", b": NaN"), (b": 1", b": 1e999"), (b": 5", b": -Infinity"), (b'"hi"', b"'hi'"),
    (b'"hi"', b'"\\ud800"'), (b'"hi"', b'"\\udc00\\ud800"'), (b'"hi"', b'"\xff\xfe"'),
    (b'"hi"', b'"\xed\xa0\x80"'), (b'"hi"', b'"\xc0\x80"'), (b'"hi"', b'"a\nb"'),
    (b'"hi"', b'"\\u0000"'), (b'"hi"', b'"\\/\\b\\u00e9"'), (b'"hi"', b'"\\x41"'),
    (b'"role"', b'"r\\u006fle"'), (b'"model"', b'"mod\\u0065l"'), (b"}", b",}"), (b"]", b",]"),
    (b'"messages"', b'"messages": [], "messages"'), (b'"model"', b'"model": "x", "model"'),
    (b'"model"', b'"mod\\u0065l": "x", "model"'), (b'"content"', b'"content": 1, "content"'),
    (b'"type"', b'"type": "x", "type"'), (b": ", b":"), (b": ", b" :\t"), (b", ", b",\r\n  "),
    (b"{", b"\xef\xbb\xbf{"), (b"{", b"// c\n{"), (b": 5", b": 05"), (b": 5", b": 5."),
    (b": 5", b": +5"), (b": 5", b": 5E0"), (b": 0.5", b": .5"),
    (b": 0.5", b": 0.50000000000000000001"),
    (b": 50", b": 5e1"), (b": 5", b": " + b"9" * 400), (b": 0.5", b": 1" + b"0" * 400),
    (b": 0.5", b": 1e-400"), (b"true", b"True"), (b"null", b"undefined"), (b"}", b"}\x00"),
    (b"}", b"}}"), (b"[", b"[" * 70), (b'"', b""),
)  # fmt: skip


def _text_op(body: bytes, number: int, spot: int) -> bytes:
    if number < len(TEXTS):
        old, new = TEXTS[number]
        parts = body.split(old)
        if len(parts) < 2:
            return body
        cut = 1 + spot % (len(parts) - 1)
        return old.join(parts[:cut]) + new + old.join(parts[cut:])
    spot %= len(body) + 1
    match number - len(TEXTS):
        case 0:
            return body[:spot]
        case 1:
            return body[:spot] + body[spot + 1 :]
        case 2:
            return body[:spot] + bytes([spot % 256]) + body[spot:]
        case 3:
            return body + body
        case 4:
            return body.replace(b": ", b":").replace(b", ", b",")
        case _:
            return b" \r\n\t" + body + b" \n"


def _changed(tree: Any, dice: int, value: Any) -> None:
    """Change one place of a tree; `dice` says which, and how."""
    found = list(places(tree))
    if not found:
        return
    dice, op = divmod(dice, len(TREE_OPS))
    dice, spot = divmod(dice, len(found))
    change = TREE_OPS[op]
    other = found[dice % len(found)] if change is not _add else (FIELDS[dice % len(FIELDS)],)
    change(tree, found[spot], value, other)


@st.composite
def cases(draw: st.DrawFn, path: str) -> Case:
    """Draw a request to `path`, mostly a little wrong. Few draws: they are what takes the time."""
    bases = BASES[path]
    dice, base = divmod(draw(DICE), len(bases))
    tree = copy.deepcopy(bases[base])
    dice, changes = divmod(dice, 7)
    for _ in range((1, 1, 1, 2, 2, 3, 0)[changes]):
        how = draw(DICE)
        needs_value = TREE_OPS[how % len(TREE_OPS)] in (_replace, _add)
        _changed(tree, how, copy.deepcopy(draw(ANYTHING)) if needs_value else None)
    dice, is_ascii = divmod(dice, 2)
    try:
        body = json.dumps(tree, ensure_ascii=bool(is_ascii)).encode()
    except (UnicodeEncodeError, RecursionError):
        body = json.dumps(tree).encode()
    dice, spoils_text = divmod(dice, 4)
    if not spoils_text:
        spot, number = divmod(draw(DICE), len(TEXTS) + 6)
        body = _text_op(body, number, spot)
    headers: list[tuple[bytes, bytes]] = []
    dice, count = divmod(dice, 8)
    for _ in range(max(0, count - 5)):
        dice, number = divmod(dice, len(HEADERS))
        headers.append(HEADERS[number])
    return Case(path, body, tuple(headers))
