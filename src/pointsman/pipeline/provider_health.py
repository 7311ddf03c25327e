"""ProviderHealth: when a provider as a whole is out, its deployments do not find out one by one.

Two signs tell. Connecting fails (refused, no answer, no address, TLS) as often in a row, over all
its deployments, as would open one breaker: they share one address. Or hard failures have opened
at least two breakers and at least `provider_share` of all, while none of the others answers.
Then all its deployments count as out, one probe for all of them sees whether it is over, and
when it is they all ramp up, or their queued traffic would knock the provider down again.

Per provider block of the configuration: its deployments have one address and one key. What
tells of a key, a quota or a model's name stays with the deployment that met it, so one bad name
takes nobody else out. A provider with one deployment has its breaker and needs no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, Protocol

from pointsman.clock import Clock
from pointsman.config.settings import BreakerSettings
from pointsman.errors import Cause
from pointsman.pipeline.outage import Change, ChangeListener, Outage, Probe, Random, silent

UNREACHED: Final[dict[Cause, str]] = {
    "refused": "connection refused",
    "connect_timeout": "no connection in time",
    "dns": "no address",
    "tls": "TLS failed",
}
"""The causes that tell of the address, in words for a person."""

LEAST_OUT: Final = 2
"""Breakers that must be open: one broken model is no broken provider."""


class Member(Protocol):
    """A deployment's breaker, as its provider sees it."""

    answered_at: float

    @property
    def is_failing(self) -> bool:
        """Did hard failures open it, and is it still out?"""
        ...

    def provider_changed(self, now: float, is_out: bool) -> None: ...


class ProviderHealth:
    """Shared by the breakers of a provider's deployments; `keep` says which they are."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        settings: BreakerSettings,
        rng: Random,
        tell: ChangeListener = silent,
    ) -> None:
        self.name = name
        self.unreached = 0
        """Attempts in a row that got no connection."""
        self._clock = clock
        self._settings = settings
        self._tell = tell
        self._members: tuple[Member, ...] = ()
        self.outage = Outage(settings, rng)

    def keep(self, members: Iterable[Member]) -> None:
        """Look after these from now on: a reload may add deployments and take some away."""
        self._members = tuple(members)

    @property
    def is_out(self) -> bool:
        return self.outage.is_on

    def state(self, now: float) -> Literal["closed", "open", "half_open"]:
        outage = self.outage
        if not outage.is_on:
            return "closed"
        probe = outage.probe
        if probe is not None and outage.is_lost(now):
            self._out(probe.due, "lost", f"its probe had no content within {probe.limit_s:g} s")
        return "open" if now < outage.until else "half_open"

    @property
    def reason(self) -> str:
        return f"its provider {self.name} is out: {self.outage.reason}"

    def missed(self, cause: Cause, now: float) -> None:
        """An attempt got no connection."""
        self.unreached += 1
        if self.is_out or len(self._members) < LEAST_OUT:
            return
        if self.unreached >= self._settings.streak:
            self._out(now, "unreachable", f"{UNREACHED[cause]} ×{self.unreached}")

    def opened(self, now: float) -> None:
        """A member's breaker has opened that was letting calls through."""
        if self.is_out:
            return
        failing = [member for member in self._members if member.is_failing]
        most = len(self._members)
        if len(failing) < max(LEAST_OUT, self._settings.provider_share * most):
            return
        since = now - self._settings.base_s
        if any(member.answered_at > since for member in self._members if member not in failing):
            return
        self._out(now, "failing", f"{len(failing)} of {most} deployments fail")

    def take_probe(self, now: float, limit_s: float) -> Probe:
        return self.outage.take_probe(now, limit_s)

    def answered(self, now: float) -> None:
        """Its probe, or a call in a panic, had content: it is back."""
        self.unreached = 0
        if self.is_out:
            self.outage.end(now)
            self._tell(Change(f"provider:{self.name}", "recovered"))
            for member in self._members:
                member.provider_changed(now, is_out=False)

    def probe_failed(self, now: float, why: str, retry_after_s: float | None) -> None:
        """Its probe failed in a way that tells of the provider."""
        cause: Literal["unreachable", "failing"] = "unreachable" if self.unreached else "failing"
        self._out(now, cause, f"its probe failed: {why}", retry_after_s)

    def _out(
        self,
        now: float,
        cause: Literal["failing", "unreachable", "lost"],
        reason: str,
        retry_after_s: float | None = None,
    ) -> None:
        again = self.is_out
        wait = self.outage.begin(now, cause, reason, retry_after_s)
        self._tell(Change(f"provider:{self.name}", cause, reason, wait, again))
        if not again:
            for member in self._members:
                member.provider_changed(now, is_out=True)

    def __repr__(self) -> str:
        return f"ProviderHealth({self.name}, {self.outage!r})"
