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

from fuzz_bases import BASES
from hypothesis import strategies as st

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
