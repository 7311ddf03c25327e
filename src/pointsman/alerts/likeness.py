"""Which requests are nearly the same: what changes by itself is left out, all else is compared.

Theory. Two kinds of traffic look alike: a loop, and a batch that asks one question of a thousand
texts. What tells them apart is what changes. In a batch it is the text, even if only its numbers;
in a loop only what changes by itself: times, ids, the count of attempts. So

1. where a tool was called, the last results and the calls they answer are compared, with every
   number and id taken out: an agent that calls the same tool with the same arguments and gets the
   same answer has learned nothing;
2. in a conversation, what the user and the model said last, with times and ids taken out; in both,
   together with how the conversation began, since many agents may call the same tool;
3. a single question is compared whole, with times and ids taken out but every number kept, and
   the system prompt too.

What is kept of a request is 16 bytes: nobody can read from it what was said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from pointsman.domain.content import Message, Text, ToolCall, ToolResult
from pointsman.domain.request import ChatRequest, Request

READ_CHARS: Final = 2_000
"""A text is compared by its first and last half of this, and its length."""

_TOKEN = re.compile(r"(?<![0-9a-z_.:+-])[a-z_.:+-]*+\d[0-9a-z_.:+-]*+")
"""What holds a digit, with what it is joined to: all that is looked at for times and ids."""
_CHANGING = re.compile(
    # Dates, times of day, and seconds or milliseconds since the epoch.
    r"\d{4}-\d\d-\d\d(?:t\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:z|[+-]\d\d:?\d\d)?)?"
    r"|\d\d:\d\d:\d\d(?:\.\d+)?z?"
    r"|1[5-9]\d{8}(?:\.\d+|\d{3}|\d{6})?"
    # Ids: UUIDs, long hexadecimal numbers, and those that say so.
    r"|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
    r"|(?=[0-9]*[a-f])[0-9a-f]{16,}"
    r"|(?:call|toolu|req|msg|chatcmpl|run|trace)[_-][a-z0-9_-]{6,}"
)
_NUMBERS = re.compile(r"\d+(?:\.\d+)?")
_SPACE = re.compile(r"\s+")


def fingerprint(request: Request) -> bytes | None:
    """16 bytes that nearly equal requests share; None for what is no conversation."""
    if not isinstance(request, ChatRequest) or not request.messages:
        return None
    last = request.messages[-1]
    results = [part for part in last.parts if isinstance(part, ToolResult)]
    if results:  # 1. a tool has answered
        calls = _calls(request.messages, {result.call_id for result in results})
        said = [
            _opening(request.messages),
            *(f"{call.name} {_cleared(call.arguments, numbers=True)}" for call in calls),
            *(_cleared(_texts(result.parts), numbers=True) for result in results),
        ]
        return _digest("tool", said)
    before = request.messages[:-1]
    answer = next((each for each in reversed(before) if each.role == "assistant"), None)
    if answer is not None:  # 2. a conversation
        spoken = (_cleared(_texts(answer.parts)), _cleared(_texts(last.parts)))
        return _digest("turn", (_opening(request.messages), *spoken))
    return _digest("question", [_cleared(_texts(each.parts)) for each in request.messages])  # 3.


def _opening(messages: Iterable[Message]) -> str:
    first = next((each for each in messages if each.role == "user"), None)
    return "" if first is None else _cleared(_texts(first.parts))


def _calls(messages: Iterable[Message], ids: set[str]) -> list[ToolCall]:
    for message in reversed(tuple(messages)):
        calls = [part for part in message.parts if isinstance(part, ToolCall) and part.id in ids]
        if calls:
            return calls
    return []


def _texts(parts: Iterable[object]) -> str:
    """The text of parts, and of everything else that it is there, with its size."""
    return "\n".join(
        part.text if isinstance(part, Text) else f"{type(part).__name__} {_size(part)}"
        for part in parts
    )


def _size(part: object) -> str:
    data = getattr(part, "data", None) or getattr(part, "url", None) or ""
    return f"{len(data)} {data[-64:]}"


def _cleared(text: str, *, numbers: bool = False) -> str:
    length = len(text)
    if length > READ_CHARS:
        text = text[: READ_CHARS // 2] + text[-READ_CHARS // 2 :]
    text = text.lower()
    if numbers:
        text = _NUMBERS.sub("#", _TOKEN.sub(_without_change, text))
    else:
        text = _TOKEN.sub(_without_change, text)
    # Of what was cut the length says more; a time may change it by a little.
    return f"{_SPACE.sub(' ', text).strip()}{length // 64 if length > READ_CHARS else ''}"


def _without_change(found: re.Match[str]) -> str:
    token = found[0]
    bare = token.rstrip(".:_+-")
    return f"#{token[len(bare) :]}" if _CHANGING.fullmatch(bare) else token


def _digest(kind: str, texts: Iterable[str]) -> bytes:
    digest = blake2b(kind.encode(), digest_size=16)
    for text in texts:
        digest.update(b"\0" + text.encode("utf-8", "surrogatepass"))
    return digest.digest()


_FALLING = bytes(range(33)) + b"0123456789abcdefABCDEF-+:.TZ"
"""Bytes that the first look passes over: all that times, ids and numbers may be made of."""


def first_look(request: Request) -> int | None:
    """A number that nearly equal requests share, and many others too; None: no conversation."""
    if not isinstance(request, ChatRequest) or not request.messages:
        return None
    parts = request.messages[-1].parts
    if not parts:
        return 0
    last = parts[-1]
    if isinstance(last, ToolResult) and last.parts:
        last = last.parts[-1]
    if not isinstance(last, Text):
        return hash(type(last).__name__)
    text = last.text
    if len(text) > READ_CHARS:
        text = text[: READ_CHARS // 2] + text[-READ_CHARS // 2 :]
    return hash(text.encode("utf-8", "surrogatepass").translate(None, _FALLING))
