"""Remember at which hours of the week a deployment is asked, so that it can be ready before. Pure.

Theory. Traffic follows the week. Each of its 168 hours has a count that is forgotten
exponentially, by two thirds in four weeks, so that an office that changes its hours is followed
within a month. An hour is expected to be busy where about two requests were made in it last
week, or one in each of the last two. Within the first week there is no such hour yet, and the
same hour of any earlier day counts instead.
"""

from __future__ import annotations

import math
from typing import Final

WEEK_HOURS: Final = 7 * 24
WEEK_S: Final = WEEK_HOURS * 3600.0
FORGET_S: Final = 4 * WEEK_S
"""Time constant; also how far back a ledger is worth reading."""
ENOUGH: Final = 1.0
"""Requests remembered of an hour that make it one with traffic."""


class Habits:
    """Counts by name and hour of the week, 0 for Monday from midnight to one, local time."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[int, tuple[float, float]]] = {}
        self._since = float("inf")

    def observe(self, name: str, hour: int, requests: float, wall: float) -> None:
        """`requests` were made in this hour of the week; `wall` is their moment (epoch seconds).
        May be told of the past in any order."""
        cells = self._counts.setdefault(name, {})
        count, at = cells.get(hour, (0.0, wall))
        if wall >= at:
            cells[hour] = (count * _left(wall - at) + requests, wall)
        else:
            cells[hour] = (count + requests * _left(at - wall), at)
        self._since = min(self._since, wall)

    def expects(self, name: str, hour: int, wall: float) -> bool:
        """Is traffic to be expected in this hour of the week?"""
        cells = self._counts.get(name)
        if cells is None:
            return False
        hours = [hour]
        if wall - self._since < WEEK_S:
            hours = list(range(hour % 24, WEEK_HOURS, 24))
        return any(_count(cells.get(each), wall) >= ENOUGH for each in hours)


def _left(seconds: float) -> float:
    return math.exp(-seconds / FORGET_S)


def _count(cell: tuple[float, float] | None, wall: float) -> float:
    if cell is None:
        return 0.0
    count, at = cell
    return count * _left(max(0.0, wall - at))
