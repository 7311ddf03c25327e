"""Who waits for a place, who is served next, who is shed first.

Theory. A free place goes to the highest criticality that waits. Within it, it goes to the tenant
with the fewest requests under way for its weight (ties: the longest wait): whoever is above its
share of the places waits until the others are served, and shares of greedy tenants settle at
their weights. Where the room is full, the same order is read from its other end. Within a tenant
the longest wait comes first, until the room has not been empty for a while: then the newest
does, since whoever has waited longest under overload has nearly given up (adaptive LIFO, as in
Facebook's "Fail at Scale", ACM Queue 13(8), 2015, beside CoDel).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pointsman.domain.call import CRITICALITIES, Caller, Criticality
from pointsman.errors import PointsmanError

RANKS: dict[Criticality, int] = {each: rank for rank, each in enumerate(CRITICALITIES)}

Told = Callable[[PointsmanError | None], object]
"""Called once with None (the place is yours) or with the refusal."""


class Tenant:
    """Whose requests share: `weight` is the greatest that any of its keys states."""

    __slots__ = ("in_flight", "name", "waiting", "weight", "weights")

    def __init__(self, name: str) -> None:
        self.name = name
        self.weights: dict[str, float] = {}
        self.weight = 1.0
        self.in_flight = 0
        self.waiting = 0

    @property
    def is_busy(self) -> bool:
        return self.in_flight > 0 or self.waiting > 0

    def weigh(self, key: str, weight: float) -> None:
        self.weights[key] = weight
        self.weight = max(self.weights.values())

    def __repr__(self) -> str:
        return f"Tenant({self.name!r}, {self.in_flight} in flight, {self.waiting} waiting)"


class Place:
    """What one key holds: `in_flight` counts its requests under way and waiting, `most` bounds
    them. It is also the ticket of each of them."""

    __slots__ = ("caller", "in_flight", "most", "tenant")

    def __init__(self, caller: Caller, tenant: Tenant, most: int) -> None:
        self.caller = caller
        self.tenant = tenant
        self.most = most
        self.in_flight = 0


class Waiter:
    """A request in the waiting room since `since` (the clock's seconds)."""

    __slots__ = ("criticality", "has_place", "order", "place", "since", "told")

    def __init__(
        self, place: Place, criticality: Criticality, since: float, order: int, told: Told
    ) -> None:
        self.place = place
        self.criticality: Criticality = criticality
        self.since = since
        self.order = order
        self.told = told
        self.has_place = False


Queue = dict[Waiter, None]
"""In the order of arrival; a dict, so that any of them can leave at once."""


class WaitingRoom:
    def __init__(self) -> None:
        self._all: Queue = {}
        self._classes: tuple[dict[Tenant, Queue], ...] = ({}, {}, {})

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, waiter: Waiter) -> bool:
        return waiter in self._all

    def __iter__(self) -> Iterator[Waiter]:
        """The longest wait first."""
        return iter(self._all)

    def add(self, waiter: Waiter) -> None:
        tenant = waiter.place.tenant
        tenant.waiting += 1
        self._all[waiter] = None
        self._classes[RANKS[waiter.criticality]].setdefault(tenant, {})[waiter] = None

    def remove(self, waiter: Waiter) -> None:
        tenant = waiter.place.tenant
        tenant.waiting -= 1
        del self._all[waiter]
        tenants = self._classes[RANKS[waiter.criticality]]
        queue = tenants[tenant]
        del queue[waiter]
        if not queue:
            del tenants[tenant]

    def oldest(self) -> Waiter:
        """Who has waited longest of all; there must be somebody."""
        return next(iter(self._all))

    def next(self, newest_first: bool) -> Waiter | None:
        """Who gets the next free place."""
        for tenants in self._classes:
            if tenants:
                tenant = min(tenants, key=lambda t: (t.in_flight / t.weight, _first(tenants[t])))
                queue = tenants[tenant]
                return next(reversed(queue) if newest_first else iter(queue))
        return None

    def victim(self, newcomer: Place, criticality: Criticality) -> Waiter | None:
        """Who leaves a full room for the newcomer; None where the newcomer itself is the one.

        1. the lowest class. 2. within it the tenant with the most for its weight; of its
        requests the longest wait.
        """
        rank = RANKS[criticality]
        last = max((n for n, tenants in enumerate(self._classes) if tenants), default=-1)
        if last < rank:
            return None
        tenants = self._classes[last]
        heaviest = max(tenants, key=lambda t: (t.in_flight + t.waiting) / t.weight)
        if last == rank:
            mine = newcomer.tenant
            load = (mine.in_flight + mine.waiting + 1) / mine.weight
            if heaviest is mine or (heaviest.in_flight + heaviest.waiting) / heaviest.weight < load:
                return None
        return next(iter(tenants[heaviest]))


def _first(queue: Queue) -> int:
    return next(iter(queue)).order
