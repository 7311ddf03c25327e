"""Applications that run in circles: nearly the same request, again and again without an end.

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

Reading a request so closely takes longer than all else that is done with most. So first only what
it ends with is read, without any digits, and nothing more where that was not seen a few times.

Requests count together where key, application, user and run are the same. What is kept of one is 16
bytes: nobody can read from it what was said. Memory is bounded: the loops not asked for the
longest are forgotten first.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from hashlib import blake2b
from typing import Final

import msgspec

from pointsman.config.settings_money import LoopSettings
from pointsman.domain.call import Caller
from pointsman.domain.content import Message, Text, ToolCall, ToolResult
from pointsman.domain.request import ChatRequest, Request

READ_CHARS: Final = 2_000
"""A text is compared by its first and last half of this, and its length."""
MOST_LOOPS: Final = 4_096
MOST_LOOKS: Final = 16_384
PARTS: Final = 6
"""Parts of `within_s` that are counted by; what is too old goes one part at a time."""
ONE_IN_S: Final = 10.0
"""A loop that is throttled may go on once in this many seconds."""
SHARED_FROM: Final = 8
"""Counts of `repeats / SHARED_FROM` are told to the other workers."""

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


class Loop(msgspec.Struct):
    """How often it was asked lately, by parts of the time. `let_at`: when one was last let in."""

    id: str
    caller: Caller
    run: str | None
    counts: list[int]
    part: int
    others: int = 0
    """What the other workers have counted."""
    others_at: float = 0.0
    since: float | None = None
    """When it was found to be a loop; None: it is none."""
    let_at: float = -1e12
    refused: int = 0


class Loops:
    """Count requests and find what repeats. Times are seconds of the clock."""

    def __init__(self, settings: LoopSettings) -> None:
        self.settings = settings
        self._loops: OrderedDict[str, Loop] = OrderedDict()
        self._shared_from = max(2, settings.repeats // SHARED_FROM)
        self._looks: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()
        """How often a first look has seen the same without a pause, and when last."""
        self._hot: set[str] = set()
        """Those that were counted `_shared_from` times."""

    def allows(self, caller: Caller, request: Request, run: str | None, now: float) -> float | None:
        """Count a request; return in how many seconds it may come again, None: it may now."""
        settings = self.settings
        if not settings.enabled or (ends := first_look(request)) is None:
            return None
        whose = (caller.tenant, caller.key, caller.app, caller.user, run)
        credit = self._looked((*whose, ends), now)
        if credit is None or (said := fingerprint(request)) is None:
            return None
        digest = blake2b(repr(whose).encode("utf-8", "surrogatepass"), digest_size=16, key=said)
        loop = self._counted(digest.hexdigest(), caller, run, now, credit)
        if loop.since is None:
            if self._recent(loop, now) < settings.repeats:
                return None
            loop.since = now
        elif self._recent(loop, now) < settings.repeats / 2:
            loop.since, loop.refused = None, 0
            return None
        if not settings.throttle or now - loop.let_at >= ONE_IN_S:
            loop.let_at = now
            return None
        loop.refused += 1
        return loop.let_at + ONE_IN_S - now

    def _looked(self, looks: Hashable, now: float) -> int | None:
        """None: this was not seen often enough to be read closely. Else how many times it was
        seen before that: the first to be read closely is taken to be like those."""
        count, last = self._looks.get(looks, (0, now))
        if now - last > self.settings.within_s:
            count = 0
        count += 1
        self._looks[looks] = count, now
        self._looks.move_to_end(looks)
        if len(self._looks) > MOST_LOOKS:
            self._looks.popitem(last=False)
        if count < self._shared_from:
            return None
        return count - 1 if count == self._shared_from else 0

    def _counted(self, id: str, caller: Caller, run: str | None, now: float, credit: int) -> Loop:
        part = int(now * PARTS / self.settings.within_s)
        loop = self._loops.get(id)
        if loop is None:
            loop = self._loops[id] = Loop(id, caller, run, [0] * PARTS, part)
            if len(self._loops) > MOST_LOOPS:
                self._loops.popitem(last=False)
        else:
            self._loops.move_to_end(id)
            self._turn(loop, part)
        loop.counts[part % PARTS] += 1 + credit
        if sum(loop.counts) >= self._shared_from:
            self._hot.add(id)
        return loop

    def _turn(self, loop: Loop, part: int) -> None:
        for passed in range(loop.part + 1, min(part, loop.part + PARTS) + 1):
            loop.counts[passed % PARTS] = 0
        loop.part = max(part, loop.part)

    def _recent(self, loop: Loop, now: float) -> int:
        others = loop.others if now - loop.others_at < self.settings.within_s else 0
        return sum(loop.counts) + others

    # For whoever looks once a second.

    def standing(self, now: float) -> list[Loop]:
        """Loops that go on. What is over is no loop any more."""
        standing = []
        for loop in self._lively(now):
            if loop.since is not None:
                if self._recent(loop, now) >= self.settings.repeats / 2:
                    standing.append(loop)
                else:
                    loop.since, loop.refused = None, 0
        return standing

    def counts(self, now: float) -> dict[str, int]:
        """What is asked often enough here for other workers to know."""
        return {loop.id: sum(loop.counts) for loop in self._lively(now)}

    def _lively(self, now: float) -> list[Loop]:
        """The few that are worth a look; what has gone quiet is dropped from them."""
        part = int(now * PARTS / self.settings.within_s)
        lively = []
        for id in sorted(self._hot):
            loop = self._loops.get(id)
            if loop is not None:
                self._turn(loop, part)
            if loop is None or sum(loop.counts) < self._shared_from:
                self._hot.discard(id)
                if loop is not None:
                    loop.since, loop.refused = None, 0
            else:
                lively.append(loop)
        return lively

    def hear(self, counts: Mapping[str, int], now: float) -> None:
        """Take what the other workers have counted."""
        for id, count in counts.items():
            if (loop := self._loops.get(id)) is not None:
                loop.others, loop.others_at = count, now

    def __repr__(self) -> str:
        return f"Loops({len(self._loops)} watched)"
