"""Where a continued answer joins the one that was cut off. Pure.

Theory
------
No API lets a model go on in the middle of its own answer, so the next one is asked to: it sees
what was said and is told to begin by repeating the last words, the anchor. That repetition is
the proof that it goes on from the right place. The continuation is held back until the anchor
has come; what follows it is new, and nothing is lost or said twice. Three shapes are taken:

1. the anchor, after at most `LEAD` characters of introduction, which are dropped;
2. the whole answer told again, character for character: what follows it is new;
3. at once the last `OVERLAP` characters or more of what was said;
4. anything else is no seam, and the answer stays cut off.

White space where both meet may differ; what was said already keeps its own.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from pointsman.domain.content import Message, Text
from pointsman.domain.request import ChatRequest

ANCHOR: Final = 48
"""Characters to be repeated: some eight words, enough to be found once and short to say."""
LEAD: Final = 80
"""Characters of introduction ("Sure, here is the rest:") that are forgiven."""
OVERLAP: Final = 16
"""Characters of the anchor that must be repeated where it is not repeated whole."""
BYTES_PER_TOKEN: Final = 4

ASK: Final = (
    "Your answer above was cut off. Continue it from exactly where it stopped. Begin your message "
    "by repeating its last words, character for character, and go on from there:\n\n{anchor}\n\n"
    "No introduction, no comment, and do not start over."
)


class NoSeam(Exception):
    """The continuation does not continue what was said."""


class Seam:
    """Joins a continuation, piece by piece, to `said`, which is not blank."""

    __slots__ = ("_held", "_said", "_tail", "anchor", "is_joined")

    def __init__(self, said: str) -> None:
        whole = said.strip()
        last = whole[-ANCHOR:]
        if len(whole) > ANCHOR:
            # Begin with a whole word where there is one to begin with.
            _, blank, words = last.partition(" ")
            last = words.lstrip() if blank and len(words) >= ANCHOR // 2 else last
        self.anchor = last.strip()
        self.is_joined = False
        self._said = whole
        self._tail = said[len(said.rstrip()) :]
        self._held = ""

    def feed(self, text: str) -> str:
        """Take a piece; return what of it is new, "" while that is not known.

        Raises NoSeam."""
        if self.is_joined:
            return self._after_blank(text) if self._tail else text
        self._held += text
        held = self._held
        at = held.find(self.anchor)
        if 0 <= at <= LEAD:
            return self._join(at + len(self.anchor))
        start = held.lstrip()
        if start.startswith(self._said):
            return self._join(len(held) - len(start) + len(self._said))
        if self._said.startswith(start) or len(held) < LEAD + len(self.anchor):
            return ""
        return self._join(self._overlap())

    def end(self) -> str:
        """The continuation is over: return what of it is still new. Raises NoSeam."""
        return "" if self.is_joined else self._join(self._overlap())

    def _overlap(self) -> int:
        """Find how far the held text repeats the end of what was said. Raises NoSeam."""
        start = self._held.lstrip()
        for size in range(min(len(self.anchor), len(start)), OVERLAP - 1, -1):
            if self.anchor.endswith(start[:size]):
                return len(self._held) - len(start) + size
        raise NoSeam("the continuation does not begin where the answer stopped")

    def _join(self, at: int) -> str:
        self.is_joined = True
        rest, self._held = self._held[at:], ""
        return self._after_blank(rest) if self._tail else rest

    def _after_blank(self, text: str) -> str:
        """Leave out the white space that was said already; keep an indentation after it."""
        self._held += text
        rest, tail = self._held, self._tail
        if not rest.strip():
            return ""
        self._held = self._tail = ""
        return rest[len(tail) :] if rest.startswith(tail) else rest.lstrip()


def can_continue(request: ChatRequest) -> bool:
    """Is this an answer that could be continued: one stream of plain text?"""
    form = request.response_format
    return request.stream and request.choices == 1 and (form is None or form.kind == "text")


def continuation(request: ChatRequest, said: str, seam: Seam) -> ChatRequest | None:
    """Ask for the rest of `said`; None where the client's bound leaves no room for one.

    The request is written anew for whoever gets it: the client's own bytes ask for the start."""
    room = request.max_tokens
    if room is not None:
        room += (len(seam.anchor.encode()) - len(said.encode())) // BYTES_PER_TOKEN
        if room <= 0:
            return None
    turns = (
        Message("assistant", (Text(said.rstrip()),)),
        Message("user", (Text(ASK.format(anchor=seam.anchor)),)),
    )
    messages = (*request.messages, *turns)
    return replace(request, messages=messages, max_tokens=room, source=None)
