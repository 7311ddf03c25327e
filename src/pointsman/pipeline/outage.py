"""Outage: how long nobody is let through, and the one probe that sees whether it is over.

Theory. The wait doubles with each failed probe, so that a dead provider is asked less and less,
and has equal jitter (half fixed, half drawn), so that the replicas of a gateway do not come back
together. The doublings are forgotten only after a time in service: one that dies soon after each
recovery waits longer each time. A probe that shows nothing within its limit is lost and counts as
failed; one whose client left says nothing and makes room for the next. A deployment's breaker and
its provider's health are the same kind of outage. After AWS, Exponential Backoff and Jitter (2015).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from pointsman.config.settings import BreakerSettings

OutageCause = Literal["failing", "throttled", "lost", "credential", "quota", "unreachable"]
"""failing: hard failures, or a failed probe. throttled: the probe was. lost: the probe showed
nothing. unreachable: a provider's address gave no connection."""

MOST_DOUBLINGS = 30
"""More change nothing: a billion times `base_s` is beyond any `max_s`."""


class Random(Protocol):
    def random(self) -> float: ...


class Probe:
    """One call that may look. `due` is when it is lost, in the clock's seconds."""

    __slots__ = ("due", "limit_s")

    def __init__(self, now: float, limit_s: float) -> None:
        self.due = now + limit_s
        self.limit_s = limit_s


class Change(msgspec.Struct, frozen=True):
    """What observers are told when something goes out or comes back.

    `who` is a deployment, or "provider:" and its name. `cause` is "recovered" where a probe
    succeeded. `again` where it was out for the same cause before its probe: nothing new.
    """

    who: str
    cause: OutageCause | Literal["recovered"]
    reason: str = ""
    wait_s: float = 0.0
    again: bool = False


ChangeListener = Callable[[Change], None]


def silent(change: Change) -> None:
    """Listen, and do nothing."""


class Outage:
    """At most one at a time; `is_on` from `begin` to `end`."""

    __slots__ = (
        "_doublings",
        "_ended_at",
        "_rng",
        "_settings",
        "began",
        "cause",
        "is_on",
        "probe",
        "reason",
        "until",
    )

    def __init__(self, settings: BreakerSettings, rng: Random) -> None:
        self._settings = settings
        self._rng = rng
        self._doublings = 0
        self._ended_at = float("-inf")
        self.is_on = False
        self.until = 0.0
        """From here on a probe may pass, in the clock's seconds."""
        self.cause: OutageCause = "failing"
        self.reason = ""
        self.probe: Probe | None = None
        self.began = 0
        """How often it has begun or was prolonged by a failed probe; ever growing."""

    def begin(
        self, now: float, cause: OutageCause, reason: str, retry_after_s: float | None = None
    ) -> float:
        """Begin, or wait again after a failed probe; return the wait in seconds."""
        settings = self._settings
        if cause == "quota":
            # Money comes back by a date or by a person, not by waiting a little longer each time.
            # A hint below `quota_s` is of some other limit: providers send those headers always.
            wait = max(settings.quota_s, retry_after_s or 0.0)
        else:
            in_service_s = settings.ramp_s + settings.window_s
            if not self.is_on and now - self._ended_at >= in_service_s:
                self._doublings = 0
            base = min(settings.max_s, settings.base_s * 2.0**self._doublings)
            self._doublings = min(self._doublings + 1, MOST_DOUBLINGS)
            wait = base / 2 + self._rng.random() * base / 2
            if retry_after_s is not None:
                wait = max(wait, min(retry_after_s, settings.retry_after_max_s))
        self.is_on = True
        self.began += 1
        self.until = now + wait
        self.cause = cause
        self.reason = reason
        self.probe = None
        return wait

    def end(self, now: float) -> None:
        self.is_on = False
        self._ended_at = now
        self.probe = None
        self.reason = ""

    def is_lost(self, now: float) -> bool:
        """Has the probe shown nothing for too long?"""
        return self.probe is not None and now >= self.probe.due

    def take_probe(self, now: float, limit_s: float) -> Probe:
        assert self.probe is None, "one probe at a time"
        self.probe = Probe(now, limit_s)
        return self.probe

    def give_back(self, probe: Probe) -> None:
        """Make room for the next probe, unless this one's place was taken away already."""
        if self.probe is probe:
            self.probe = None

    def __repr__(self) -> str:
        return f"Outage({self.cause}: {self.reason})" if self.is_on else "Outage(none)"
