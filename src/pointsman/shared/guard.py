"""A guard before a shared server: after some failures in a row it is not asked any more.

A server that hangs costs every question its whole timeout. So after `streak` failures in a row
nobody asks it but a probe, each second, until one is answered. The log has a line when it is lost
and one when it is back, however many requests there were in between.
"""

from __future__ import annotations

import logging
from typing import Final

from pointsman.clock import Clock

PROBE_S: Final = 1.0

_log = logging.getLogger("pointsman")


class Guard:
    """`use` is what the server is used for, for the log."""

    def __init__(self, use: str, clock: Clock, streak: int) -> None:
        self._use = use
        self._clock = clock
        self._streak = streak
        self._failures = 0
        self._lost_at = 0.0
        self._probe_at = 0.0
        self.is_up = True

    def is_probe_due(self) -> bool:
        """Whether to probe now; asking is promising to do it."""
        now = self._clock.now()
        if self.is_up or now < self._probe_at:
            return False
        self._probe_at = now + PROBE_S
        return True

    def answered(self) -> None:
        self._failures = 0
        if not self.is_up:
            self.is_up = True
            after_s = self._clock.now() - self._lost_at
            _log.warning("redis.back use=%s after_s=%.1f", self._use, after_s)

    def failed(self, error: Exception) -> None:
        """The error's name is told and not its text, which may hold what was sent."""
        self._failures += 1
        now = self._clock.now()
        self._probe_at = now + PROBE_S
        if self.is_up and self._failures >= self._streak:
            self.is_up = False
            self._lost_at = now
            _log.warning("redis.lost use=%s error=%s", self._use, type(error).__name__)

    def __repr__(self) -> str:
        return f"Guard({self._use}, {'up' if self.is_up else 'down'})"
