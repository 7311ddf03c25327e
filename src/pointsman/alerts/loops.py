"""Applications that run in circles: nearly the same request, again and again without an end.

Requests count together where key, application, user and run are the same, and what is asked is
nearly the same (likeness.py). Reading a request so closely takes longer than all else that is done
with most. So first only what it ends with is read, without any digits, and nothing more where that
was not seen a few times. Memory is bounded: the loops not asked for the longest are forgotten
first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from hashlib import blake2b
from typing import Final

import msgspec

from pointsman.alerts.likeness import fingerprint, first_look
from pointsman.config.settings_money import LoopSettings
from pointsman.domain.call import Caller
from pointsman.domain.request import Request

MOST_LOOPS: Final = 4_096
MOST_LOOKS: Final = 16_384
PARTS: Final = 6
"""Parts of `within_s` that are counted by; what is too old goes one part at a time."""
ONE_IN_S: Final = 10.0
"""A loop that is throttled may go on once in this many seconds."""
SHARED_FROM: Final = 8
"""Counts of `repeats / SHARED_FROM` are told to the other workers."""


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
