"""Let requests in while there is room; keep shares fair and refuse early where there is none.

Theory. Work that cannot be done in time is refused before it costs anything: at the gate the key
is known, and nothing of the body has been read. What is refused is in the metrics
(`pointsman_shed_total`), not in the ledger, which holds what was worked on.

1. A key's own bound (`max_in_flight`): 429, whatever else is free.
2. Lateness of the worker (observe/lag.py): where the event loop runs behind, waiting would only
   add to it. The first to go are tenants far above their share, at a quarter of the limit, then
   sheddable requests at half of it, default ones at the limit, critical ones at twice. Within a
   turn of the loop that has very many requests to begin, the look that is overdue counts.
3. Places (`max_in_flight`): the last twentieth is kept for critical requests, the last fifth from
   sheddable ones. Who finds no place waits up to `queue_wait_s`, in an order that waiting.py
   explains. Nothing idle is withheld from a tenant: shares count only among those who wait.

The way in that is not contested is a dict look-up, two comparisons and three additions.
"""

from __future__ import annotations

import asyncio
import math
import random
import sys
from collections.abc import Callable
from typing import Protocol

from pointsman.clock import Clock, Timer
from pointsman.config.settings import ServerSettings
from pointsman.domain.call import Caller, Criticality
from pointsman.errors import Overloaded, PointsmanError, RateLimited
from pointsman.server.waiting import Place, Tenant, Told, Waiter, WaitingRoom

KEPT: dict[Criticality, float] = {"critical": 0.0, "default": 0.05, "sheddable": 0.2}
"""Share of the places that a class leaves to those above it (our own choice)."""
LATENESS: dict[Criticality, float] = {"critical": 2.0, "default": 1.0, "sheddable": 0.5}
"""At what multiple of `lag_shed_s` a class is shed."""
HOG_LATENESS = 0.25
"""The same for a tenant far above its share: 50 ms by default, where others begin to notice."""
HOG_SWINGS = 3.0
"""How far above its fair part of what is under way a tenant must be, in square roots of it: the
standard deviation of arrivals that are merely random."""
BURST = 16
"""Requests between two looks at the lag, above which the wait for the next look counts as lag: a
turn of the loop that has hundreds of requests to begin is late long before it has ended. With
fewer it is one stumble, which is nobody's fault."""
STANDING_S = 0.1
"""A waiting room that was not empty for so long is no burst: CoDel's interval (RFC 8289)."""
STALLED_S = 0.01
"""A timer that is later than this was held up by the loop."""
SECOND_LOOK_S = 0.02
"""Until its sockets have been heard and what they said was acted upon: some turns of the loop."""
RETRY_AFTER_S = (1.0, 3.0)
"""Clients that are refused together shall not return together."""
MOST_REMEMBERED = 10_000
"""Keys whose counts are kept; idle ones are forgotten beyond it."""

Shed = Callable[[str, Criticality], object]
"""Told (reason, class) of every refusal."""


class Lag(Protocol):
    @property
    def now_s(self) -> float: ...

    @property
    def looks(self) -> int: ...

    @property
    def overdue_s(self) -> float: ...


class Gate:
    """Enter with `try_enter`, and with `wait` where that gives None; `leave` exactly once."""

    def __init__(
        self, settings: ServerSettings, clock: Clock, rng: random.Random, lag: Lag, shed: Shed
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._lag = lag
        self._shed = shed
        self._places: dict[str, Place] = {}
        self._tenants: dict[str, Tenant] = {}
        self._room = WaitingRoom()
        self._standing_since = 0.0
        self._timer: Timer | None = None
        self._is_second_look = False
        self._looks = self._asked = 0
        self._order = 0
        self._weights = (0.0, 0.0)
        self.in_flight = 0
        self._settle(settings)

    @property
    def waiting(self) -> int:
        return len(self._room)

    def reconfigure(self, settings: ServerSettings) -> None:
        """Go on with other bounds; who is inside stays."""
        self._settle(settings)
        self._serve()

    def complaint(self) -> str:
        """Say why nobody is let in now, "" where somebody is: for /readyz."""
        late = self._lag.now_s
        if late < self._late_s["critical"]:
            return ""
        return f"lets nobody in, the event loop runs {late:.2f} s late"

    def try_enter(self, caller: Caller, criticality: Criticality) -> Place | None:
        """Take a place; None where one must `wait`. Raises RateLimited and Overloaded."""
        place = self._places.get(caller.key)
        if place is None or place.caller is not caller:
            place = self._place_of(caller)
        if place.in_flight >= place.most:
            raise self._key_limit(place, criticality)
        lag = self._lag
        if lag.looks != self._looks:
            self._looks, self._asked = lag.looks, 0
        self._asked += 1
        late = lag.now_s if self._asked <= BURST else max(lag.now_s, lag.overdue_s)
        if late >= self._hog_late_s:
            self._refuse_late(place.tenant, criticality, late)
        # No look at those who wait: with room for this class there is none of it or above
        # waiting, since `leave` serves them first.
        if self.in_flight >= self._places_for[criticality]:
            return None
        self.in_flight += 1
        place.in_flight += 1
        place.tenant.in_flight += 1
        return place

    async def wait(self, caller: Caller, criticality: Criticality) -> Place:
        """Wait for a place, after `try_enter` gave none. Raises Overloaded."""
        answer: asyncio.Future[PointsmanError | None] = asyncio.get_running_loop().create_future()

        def told(refusal: PointsmanError | None) -> None:
            if not answer.done():
                answer.set_result(refusal)

        waiter = self.join(caller, criticality, told)
        try:
            refusal = await answer
        except asyncio.CancelledError:
            self.withdraw(waiter)
            raise
        if refusal is not None:
            raise refusal
        return waiter.place

    def leave(self, place: Place) -> None:
        """Give a place back."""
        self.in_flight -= 1
        place.in_flight -= 1
        place.tenant.in_flight -= 1
        if self._room:
            self._serve()

    def join(self, caller: Caller, criticality: Criticality, told: Told) -> Waiter:
        """Go into the waiting room; `told` hears later how it ended. Raises Overloaded."""
        place, room = self._place_of(caller), self._room
        victim: Waiter | None = None
        if len(room) >= self._most_queued:
            victim = room.victim(place, criticality) if room else None
            if victim is None:
                raise self._no_place(place.tenant, criticality, "queue_full")
        if not place.tenant.is_busy:
            self._weights = (0.0, 0.0)
        now = self._clock.now()
        if not room:
            self._standing_since = now
        self._order += 1
        waiter = Waiter(place, criticality, now, self._order, told)
        place.in_flight += 1
        room.add(waiter)
        if victim is not None:
            self._turn_away(victim, "queue_full")
        if self._timer is None:
            self._timer = self._clock.call_later(self._wait_s, self._expire)
        return waiter

    def withdraw(self, waiter: Waiter) -> None:
        """Leave the waiting room, or the place that was given in the meantime."""
        if waiter in self._room:
            self._room.remove(waiter)
            waiter.place.in_flight -= 1
        elif waiter.has_place:
            waiter.has_place = False
            self.leave(waiter.place)

    # Settings and places.

    def _settle(self, settings: ServerSettings) -> None:
        most = settings.max_in_flight
        self._places_for = {each: most - int(most * kept) for each, kept in KEPT.items()}
        self._most_queued = settings.max_queued
        self._wait_s = settings.queue_wait_s
        self._late_s = {each: settings.lag_shed_s * by for each, by in LATENESS.items()}
        self._hog_late_s = settings.lag_shed_s * HOG_LATENESS

    def _place_of(self, caller: Caller) -> Place:
        place = self._places.get(caller.key)
        name = _tenant_of(caller)
        if place is not None and place.caller is caller:
            return place
        most = sys.maxsize if caller.max_in_flight is None else caller.max_in_flight
        if place is None or place.tenant.name != name:
            if len(self._places) >= MOST_REMEMBERED:
                self._forget_idle()
            tenant = self._tenants.get(name)
            if tenant is None:
                tenant = self._tenants[name] = Tenant(name)
            place = self._places[caller.key] = Place(caller, tenant, most)
        place.caller, place.most = caller, most
        place.tenant.weigh(caller.key, caller.weight)
        return place

    def _forget_idle(self) -> None:
        self._places = {key: each for key, each in self._places.items() if each.in_flight}
        busy = {id(place.tenant) for place in self._places.values()}
        self._tenants = {
            name: tenant
            for name, tenant in self._tenants.items()
            if id(tenant) in busy or tenant.is_busy
        }

    # Serving and refusing.

    def _serve(self) -> None:
        room = self._room
        while room:
            waiter = room.next(self._clock.now() - self._standing_since > STANDING_S)
            if waiter is None or self.in_flight >= self._places_for[waiter.criticality]:
                return
            room.remove(waiter)
            self.in_flight += 1
            waiter.place.tenant.in_flight += 1
            waiter.has_place = True
            waiter.told(None)

    def _expire(self) -> None:
        self._timer = None
        room = self._room
        now = self._clock.now()
        due = now - self._wait_s + 1e-6
        if room and due - room.oldest().since > STALLED_S and not self._is_second_look:
            # The loop stood still, and runs its timers before it hears who has ended meanwhile.
            self._is_second_look = True
            self._timer = self._clock.call_later(SECOND_LOOK_S, self._expire)
            return
        self._is_second_look = False
        while room:
            oldest = room.oldest()
            if oldest.since > due:
                wait = oldest.since + self._wait_s - self._clock.now()
                self._timer = self._clock.call_later(wait, self._expire)
                return
            self._turn_away(oldest, "queue_wait")

    def _turn_away(self, waiter: Waiter, reason: str) -> None:
        refusal = self._no_place(waiter.place.tenant, waiter.criticality, reason)
        self._room.remove(waiter)
        waiter.place.in_flight -= 1
        waiter.told(refusal)

    def _no_place(self, tenant: Tenant, criticality: Criticality, reason: str) -> Overloaded:
        most = self._places_for[criticality]
        weights = max(self._weight_of_busy(), tenant.weight)
        share = self._places_for["critical"] * tenant.weight / weights
        if tenant.in_flight > share:
            return self._overloaded(
                "tenant_share",
                criticality,
                f"{tenant.name} has {tenant.in_flight} requests under way; its share is "
                f"{share:.0f} while others need places (server.max_in_flight, keys' weight)",
            )
        why = (
            f"{self._most_queued} wait already (server.max_queued)"
            if reason == "queue_full"
            else f"none came free within {self._wait_s:g} s (server.queue_wait_s)"
        )
        what = f"all {most} places for {criticality} requests are taken (server.max_in_flight)"
        return self._overloaded(reason, criticality, f"{what}, and {why}")

    def _refuse_late(self, tenant: Tenant, criticality: Criticality, lag_s: float) -> None:
        """Raise Overloaded for whom the worker runs too late."""
        if lag_s >= self._late_s[criticality]:
            raise self._overloaded(
                "lag",
                criticality,
                f"the server runs {lag_s:.2f} s late, too late for {criticality} requests "
                "(server.lag_shed_s)",
            )
        weights = self._weight_of_busy()
        if criticality == "critical" or weights <= tenant.weight:
            return
        fair = self.in_flight * tenant.weight / weights
        if tenant.in_flight > fair + HOG_SWINGS * math.sqrt(fair):
            raise self._overloaded(
                "tenant_share",
                criticality,
                f"the server runs {lag_s:.2f} s late, and {tenant.name} has "
                f"{tenant.in_flight} requests under way where its share is {fair:.0f}",
            )

    def _weight_of_busy(self) -> float:
        """Sum the weights of tenants with something under way or waiting; 0.1 s old at most."""
        taken, weights = self._weights
        now = self._clock.now()
        if not weights or not 0 <= now - taken < STANDING_S:
            weights = sum(t.weight for t in self._tenants.values() if t.is_busy)
            self._weights = (now, weights)
        return weights

    def _key_limit(self, place: Place, criticality: Criticality) -> RateLimited:
        self._shed("key_limit", criticality)
        return RateLimited(
            f"the API key {place.caller.key!r} has {place.most} requests under way, which is all "
            "it may have at once (max_in_flight of the key)",
            retry_after_s=self._rng.uniform(*RETRY_AFTER_S),
        )

    def _overloaded(self, reason: str, criticality: Criticality, message: str) -> Overloaded:
        self._shed(reason, criticality)
        return Overloaded(message, retry_after_s=self._rng.uniform(*RETRY_AFTER_S))

    def __repr__(self) -> str:
        most = self._places_for["critical"]
        return f"Gate({self.in_flight} of {most} in flight, {len(self._room)} waiting)"


def _tenant_of(caller: Caller) -> str:
    """Name who shares: the key's tenant, else its team, app, or the key itself."""
    if caller.tenant:
        return f"tenant {caller.tenant}"
    if caller.team:
        return f"team {caller.team}"
    return f"app {caller.app}" if caller.app else f"key {caller.key}"
