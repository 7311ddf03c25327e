"""Questions that are nearly the same: found among those that this worker has seen.

For each setting (the whole request but the user's last words) the last few hundred questions are
remembered by what their words look like (likeness.py); the answers themselves stay where they are
kept. Only the most alike is looked at, and only where the words may mean the same.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

from pointsman.cache.likeness import Likeness, likeness_of, may_mean_the_same, similarity
from pointsman.cache.question import Question
from pointsman.clock import Clock

MOST_OF_A_SETTING: Final = 256
"""Questions that are looked through for one: some tenths of a millisecond."""
MOST: Final = 8192
"""Questions over all settings, some 3 KB each."""
MOST_CHARS: Final = 2000
"""Longer ones have too many words in common with anything."""


class Found(msgspec.Struct, frozen=True, gc=False):
    key: bytes
    similarity: float


class _Seen(msgspec.Struct, frozen=True, gc=False):
    likeness: Likeness
    until: float


class NearQuestions:
    """`least` is the similarity, in [0, 1], below which nothing is alike."""

    def __init__(self, clock: Clock, least: float) -> None:
        self._clock = clock
        self._least = least
        self._settings: OrderedDict[bytes, OrderedDict[bytes, _Seen]] = OrderedDict()
        self._count = 0

    def find(self, question: Question) -> Found | None:
        """The most alike of the questions that may mean the same."""
        seen = self._settings.get(question.setting)
        if seen is None or not 0 < len(question.words) <= MOST_CHARS:
            return None
        self._settings.move_to_end(question.setting)
        asked = likeness_of(question.words)
        now = self._clock.wall()
        best: Found | None = None
        for key, each in seen.items():
            if each.until <= now:
                continue
            alike = similarity(asked, each.likeness)
            if alike < self._least or (best is not None and alike <= best.similarity):
                continue
            if may_mean_the_same(asked, each.likeness):
                best = Found(key, alike)
        return best

    def learn(self, question: Question, until: float) -> None:
        """Remember a question whose answer was kept."""
        if not 0 < len(question.words) <= MOST_CHARS:
            return
        seen = self._settings.setdefault(question.setting, OrderedDict())
        self._settings.move_to_end(question.setting)
        if seen.pop(question.key, None) is not None:
            self._count -= 1
        seen[question.key] = _Seen(likeness_of(question.words), until)
        self._count += 1
        if len(seen) > MOST_OF_A_SETTING:
            seen.popitem(last=False)
            self._count -= 1
        while self._count > MOST:
            _, forgotten = self._settings.popitem(last=False)
            self._count -= len(forgotten)

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"NearQuestions({self._count} of {len(self._settings)} settings)"
