"""Who is let in where there is not room for all, and who is refused first."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from pointsman.config.settings import ServerSettings
from pointsman.domain.call import Caller, Criticality
from pointsman.errors import InvalidRequest, Overloaded, PointsmanError, RateLimited
from pointsman.server import gate as gates
from pointsman.server.gate import Gate
from pointsman.server.options import criticality_of
from pointsman.server.waiting import Place, Waiter
from pointsman.testing import FakeClock
from pointsman.testing.clock import settle


@dataclass
class Late:
    now_s: float = 0.0
    looks: int = 0
    overdue_s: float = 0.0


@dataclass
class Scene:
    """A gate with what it is told and what it tells."""

    most: int = 4
    queued: int = 8
    wait_s: float = 0.05
    clock: FakeClock = field(default_factory=FakeClock)
    lag: Late = field(default_factory=Late)
    shed: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        settings = ServerSettings(
            max_in_flight=self.most, max_queued=self.queued, queue_wait_s=self.wait_s
        )
        self.gate = Gate(settings, self.clock, random.Random(7), self.lag, self._told)

    def _told(self, reason: str, criticality: Criticality) -> None:
        self.shed[reason, criticality] += 1

    def enter(self, caller: Caller, criticality: Criticality | None = None) -> Place:
        place = self.gate.try_enter(caller, criticality or caller.criticality)
        assert place is not None, "there was no room"
        return place

    def fill(self, caller: Caller, count: int) -> list[Place]:
        return [self.enter(caller) for _ in range(count)]

    def join(self, caller: Caller) -> Waiting:
        assert self.gate.try_enter(caller, caller.criticality) is None, "there was room"
        waiting = Waiting()
        waiting.waiter = self.gate.join(caller, caller.criticality, waiting.told.append)
        return waiting


@dataclass
class Waiting:
    told: list[PointsmanError | None] = field(default_factory=list)
    waiter: Waiter | None = None

    @property
    def is_in(self) -> bool:
        return self.told == [None]

    @property
    def refusal(self) -> PointsmanError | None:
        return self.told[0] if self.told else None


def key(name: str, criticality: Criticality = "default", weight: float = 1.0) -> Caller:
    return Caller(key=name, criticality=criticality, weight=weight)


# Places.


def test_with_room_a_request_enters_at_once_and_its_place_comes_back() -> None:
    scene = Scene(most=2)
    first = scene.enter(key("a"))
    second = scene.enter(key("b"))
    assert scene.gate.try_enter(key("a"), "default") is None
    scene.gate.leave(first)
    scene.gate.leave(second)
    assert scene.gate.in_flight == 0
    scene.fill(key("a"), 2)


def test_a_keys_own_bound_is_told_as_429_with_its_name() -> None:
    scene = Scene()
    caller = Caller(key="nightly", max_in_flight=2)
    place, _ = scene.fill(caller, 2)
    with pytest.raises(RateLimited, match="'nightly' has 2 requests under way") as told:
        scene.gate.try_enter(caller, "default")
    assert (told.value.status, told.value.code, told.value.should_retry) == (
        429,
        "rate_limited",
        True,
    )
    assert scene.shed == {("key_limit", "default"): 1}
    scene.enter(key("other"))
    scene.gate.leave(place)
    scene.enter(caller)


def test_waiting_requests_count_towards_the_keys_own_bound() -> None:
    scene = Scene(most=1)
    scene.enter(key("other"))
    caller = Caller(key="nightly", max_in_flight=1)
    waiting = scene.join(caller)
    with pytest.raises(RateLimited):
        scene.gate.try_enter(caller, "default")
    scene.clock.advance(0.06)
    assert waiting.refusal is not None
    scene.join(caller)


# Waiting.


async def test_who_waits_gets_the_place_that_comes_free() -> None:
    scene = Scene(most=1)
    held = scene.enter(key("a"))
    assert scene.gate.try_enter(key("b"), "default") is None
    waiting = asyncio.create_task(scene.gate.wait(key("b"), "default"))
    await settle()
    assert (scene.gate.waiting, waiting.done()) == (1, False)
    scene.gate.leave(held)
    place = await waiting
    assert (scene.gate.waiting, scene.gate.in_flight) == (0, 1)
    scene.gate.leave(place)
    assert scene.gate.in_flight == 0


async def test_waiting_too_long_is_told_as_503_with_retry_after() -> None:
    scene = Scene(most=1)
    scene.enter(key("a"))
    waiting = asyncio.create_task(scene.gate.wait(key("b"), "default"))
    await scene.clock.run_for(0.049)
    assert not waiting.done()
    await scene.clock.run_for(0.002)
    with pytest.raises(Overloaded, match=r"none came free within 0\.05 s") as told:
        await waiting
    assert told.value.status == 503
    assert told.value.should_retry
    assert told.value.retry_after_s is not None and told.value.retry_after_s >= 1
    assert scene.shed == {("queue_wait", "default"): 1}


class StalledClock(FakeClock):
    """Timers run late by `late_s`, as after something has held the loop."""

    late_s = 0.0

    def now(self) -> float:
        return super().now() + self.late_s


def test_after_a_stall_places_that_came_free_meanwhile_are_given_first() -> None:
    clock = StalledClock()
    scene = Scene(most=1, clock=clock)
    place = scene.enter(key("a"))
    waiting, other = scene.join(key("b")), scene.join(key("c"))
    clock.late_s = 0.03
    clock.advance(0.05)  # the loop runs its timers before it reads its sockets
    assert not waiting.told
    scene.gate.leave(place)
    assert waiting.is_in
    clock.advance(0.05)
    assert isinstance(other.refusal, Overloaded)

    assert scene.gate.waiting == 0
    assert scene.clock.pending == ()


def test_each_wait_is_bounded_by_itself() -> None:
    scene = Scene(most=1)
    scene.enter(key("a"))
    first = scene.join(key("b"))
    scene.clock.advance(0.03)
    second = scene.join(key("c"))
    scene.clock.advance(0.025)
    assert (len(first.told), len(second.told)) == (1, 0)
    scene.clock.advance(0.03)
    assert len(second.told) == 1


def test_refused_together_they_do_not_return_together() -> None:
    scene = Scene(most=1, queued=0)
    scene.enter(key("a"))
    waits = []
    for _ in range(50):
        with pytest.raises(Overloaded) as told:
            scene.gate.join(key("b"), "default", lambda _: None)
        waits.append(told.value.retry_after_s or 0.0)
    assert min(waits) >= 1
    assert max(waits) - min(waits) > 1
    assert len(set(waits)) == 50


@pytest.mark.parametrize("moment", ["while it waits", "when it has just been let in"])
async def test_a_waiter_that_is_cancelled_leaves_nothing_behind(moment: str) -> None:
    scene = Scene(most=1)
    held = scene.enter(key("a"))
    waiting = asyncio.create_task(scene.gate.wait(key("b"), "default"))
    await settle()
    if moment == "when it has just been let in":
        scene.gate.leave(held)
        waiting.cancel()
    else:
        waiting.cancel()
        scene.gate.leave(held)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (scene.gate.waiting, scene.gate.in_flight) == (0, 0)
    scene.fill(key("b"), 1)


# Criticality.


def test_the_last_places_are_kept_for_those_above() -> None:
    scene = Scene(most=20)
    scene.fill(key("s", "sheddable"), 16)
    assert scene.gate.try_enter(key("s"), "sheddable") is None
    scene.fill(key("d"), 3)
    assert scene.gate.try_enter(key("d"), "default") is None
    scene.fill(key("c"), 0)
    scene.enter(key("c"), "critical")
    assert scene.gate.try_enter(key("c"), "critical") is None


def test_a_small_cap_keeps_nothing_back() -> None:
    scene = Scene(most=1)
    scene.enter(key("s", "sheddable"))


def test_a_free_place_goes_to_the_highest_class() -> None:
    scene = Scene(most=1)
    held = scene.enter(key("a"))
    low = scene.join(key("low", "sheddable"))
    middle = scene.join(key("middle"))
    high = scene.join(key("high", "critical"))
    scene.gate.leave(held)
    assert (low.is_in, middle.is_in, high.is_in) == (False, False, True)


def test_a_class_with_room_does_not_wait_behind_a_lower_one() -> None:
    scene = Scene(most=20)
    scene.fill(key("a"), 16)
    scene.join(key("low", "sheddable"))
    scene.fill(key("b"), 3)


def test_in_a_full_queue_the_lowest_class_makes_room() -> None:
    scene = Scene(most=1, queued=2)
    scene.enter(key("a"))
    low = scene.join(key("low", "sheddable"))
    scene.join(key("middle"))
    scene.join(key("high", "critical"))
    assert isinstance(low.refusal, Overloaded)
    assert scene.shed == {("queue_full", "sheddable"): 1}
    with pytest.raises(Overloaded, match="2 wait already"):
        scene.join(key("low", "sheddable"))
    assert scene.gate.waiting == 2


@pytest.mark.parametrize(
    ("lag_s", "let_in"),
    [
        (0.09, {"critical", "default", "sheddable"}),
        (0.11, {"critical", "default"}),
        (0.21, {"critical"}),
        (0.41, set()),
    ],
)
def test_a_late_worker_sheds_class_after_class(lag_s: float, let_in: set[Criticality]) -> None:
    scene = Scene(most=100)
    scene.lag.now_s = lag_s
    classes: tuple[Criticality, ...] = ("critical", "default", "sheddable")
    for each in classes:
        if each in let_in:
            scene.enter(key("a"), each)
        else:
            with pytest.raises(Overloaded, match=r"server\.lag_shed_s"):
                scene.gate.try_enter(key("a"), each)
            assert scene.shed["lag", each] == 1


def test_a_worker_that_is_a_little_late_sheds_the_hog_only() -> None:
    scene = Scene(most=1000)
    scene.fill(key("hog"), 200)
    for name in "abcdefghi":
        scene.fill(key(name), 10)
    scene.lag.now_s = 0.06
    with pytest.raises(Overloaded, match="key hog has 200 requests under way where its share"):
        scene.gate.try_enter(key("hog"), "default")
    for name in "abcdefghi":
        scene.fill(key(name), 3)
    assert scene.shed == {("tenant_share", "default"): 1}


def test_alone_nobody_is_above_its_share() -> None:
    scene = Scene(most=1000)
    scene.fill(key("only"), 200)
    scene.lag.now_s = 0.06
    scene.enter(key("only"))


# Shares.


def test_a_free_place_goes_to_the_tenant_with_the_least_for_its_weight() -> None:
    scene = Scene(most=6)
    hog = scene.fill(key("hog", weight=2), 4)
    scene.fill(key("small"), 2)
    waiting = {name: scene.join(key(name, weight=w)) for name, w in (("hog", 2), ("small", 1))}
    newcomer = scene.join(key("newcomer"))
    scene.gate.leave(hog.pop())
    assert newcomer.is_in
    scene.gate.leave(hog.pop())
    assert (waiting["hog"].is_in, waiting["small"].is_in) == (True, False)


def test_keys_of_one_tenant_share_one_share() -> None:
    scene = Scene(most=2)
    one = Caller(key="one", tenant="acme")
    two = Caller(key="two", tenant="acme")
    held = scene.enter(one)
    scene.enter(key("else"))
    second = scene.join(two)
    scene.join(key("third"))
    scene.gate.leave(held)
    assert second.is_in, "acme has nothing under way any more and has waited longest"


def test_a_hog_cannot_fill_the_queue_against_others() -> None:
    scene = Scene(most=4, queued=4)
    held = scene.fill(key("hog"), 4)
    hogs = [scene.join(key("hog")) for _ in range(4)]
    with pytest.raises(Overloaded, match="wait already"):
        scene.join(key("hog"))
    other = scene.join(key("other"))
    assert [each.refusal is not None for each in hogs] == [True, False, False, False]
    assert scene.shed == {("queue_full", "default"): 1, ("tenant_share", "default"): 1}
    scene.gate.leave(held.pop())
    assert other.is_in


def test_a_refusal_above_the_share_says_whose_and_how_much() -> None:
    scene = Scene(most=4)
    scene.fill(Caller(key="k", team="batch"), 4)
    scene.join(key("other"))
    hog = scene.join(Caller(key="k", team="batch"))
    scene.clock.advance(0.06)
    assert hog.refusal is not None
    assert "team batch has 4 requests under way; its share is 2" in hog.refusal.message
    assert scene.shed["tenant_share", "default"] == 1
    assert scene.shed["queue_wait", "default"] == 1


# Settings that change, and memory.


def test_more_places_after_a_reload_serve_those_who_wait() -> None:
    scene = Scene(most=1)
    scene.enter(key("a"))
    waiting = scene.join(key("b"))
    scene.gate.reconfigure(ServerSettings(max_in_flight=2))
    assert waiting.is_in


def test_a_key_that_is_reloaded_keeps_what_it_has_under_way() -> None:
    scene = Scene(most=10)
    before = Caller(key="k", max_in_flight=3, weight=1)
    places = scene.fill(before, 2)
    after = Caller(key="k", max_in_flight=2, weight=5)
    with pytest.raises(RateLimited):
        scene.gate.try_enter(after, "default")
    scene.gate.leave(places[0])
    assert scene.enter(after).tenant.weight == 5


def test_idle_tenants_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "MOST_REMEMBERED", 10)
    scene = Scene(most=5)
    kept = scene.fill(key("kept"), 2)
    for n in range(100):
        scene.gate.leave(scene.enter(key(f"t{n}")))
    assert len(scene.gate._places) <= 10
    assert len(scene.gate._tenants) <= 10
    for place in kept:
        scene.gate.leave(place)
    assert scene.gate.in_flight == 0
    assert scene.enter(key("kept")).in_flight == 1


# Simulations: open arrivals, a seeded random source, time by hand.


@dataclass
class Source:
    caller: Caller
    per_s: float
    served: int = 0
    refused: int = 0
    waits: list[float] = field(default_factory=list)

    @property
    def admitted(self) -> float:
        return self.served / (self.served + self.refused)


class Traffic:
    """Poisson arrivals of several sources at one gate; a request takes `work_s` on average."""

    def __init__(self, scene: Scene, sources: list[Source], work_s: float, seed: int) -> None:
        self.scene, self.sources, self.work_s = scene, sources, work_s
        self.rng = random.Random(seed)
        self.held: Counter[str] = Counter()
        self.area: Counter[str] = Counter()

    def run(self, seconds: float) -> None:
        for source in self.sources:
            self._next(source)
        for _ in range(round(seconds / 0.1)):
            self.scene.clock.advance(0.1)
            self.area.update(self.held)

    def _next(self, source: Source) -> None:
        wait = self.rng.expovariate(source.per_s)
        self.scene.clock.call_later(wait, lambda: self._arrive(source))

    def _arrive(self, source: Source) -> None:
        self._next(source)
        gate, clock, came = self.scene.gate, self.scene.clock, self.scene.clock.now()
        waiter: list[Waiter] = []

        def told(refusal: PointsmanError | None) -> None:
            if refusal is None:
                begin(waiter[0].place)
            else:
                source.refused += 1

        def begin(place: Place) -> None:
            source.served += 1
            source.waits.append(clock.now() - came)
            self.held[source.caller.key] += 1
            clock.call_later(self.rng.uniform(0.5, 1.5) * self.work_s, lambda: end(place))

        def end(place: Place) -> None:
            self.held[source.caller.key] -= 1
            gate.leave(place)

        try:
            place = gate.try_enter(source.caller, source.caller.criticality)
            if place is not None:
                begin(place)
            else:
                waiter.append(gate.join(source.caller, source.caller.criticality, told))
        except Overloaded:
            source.refused += 1


@pytest.mark.parametrize("seed", range(3))
def test_one_tenant_at_twenty_times_the_load_harms_nobody_else(seed: int) -> None:
    """Ten places' worth of normal traffic on forty places; the hog alone wants two hundred."""
    scene = Scene(most=40, queued=16)
    normal = [Source(key(f"n{n}"), per_s=10) for n in range(9)]
    hog = Source(key("hog"), per_s=2000)
    Traffic(scene, [*normal, hog], work_s=0.1, seed=seed).run(10)
    waits = sorted(wait for source in normal for wait in source.waits)
    assert min(source.admitted for source in normal) == 1.0
    assert waits[len(waits) // 2] < 0.005
    assert waits[int(len(waits) * 0.99)] < 0.03  # nobody leaves for 50 ms after the first rush
    assert waits[-1] < 0.05
    # What is left is the hog's, all of it: 38 places / 0.1 s less the 90 a second of the others.
    assert hog.served / 10 == pytest.approx(38 / 0.1 - 90, rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_greedy_tenants_share_by_weight(seed: int) -> None:
    scene = Scene(most=40, queued=64)
    weights = {"one": 1.0, "two": 2.0, "four": 4.0}
    sources = [Source(key(name, weight=w), per_s=1000) for name, w in weights.items()]
    traffic = Traffic(scene, sources, work_s=0.1, seed=seed)
    traffic.run(5)
    total = sum(traffic.area.values())
    for name, weight in weights.items():
        assert traffic.area[name] / total == pytest.approx(weight / 7, abs=0.05)


def test_idle_places_are_given_to_whoever_asks() -> None:
    scene = Scene(most=40)
    calm = Source(key("calm"), per_s=5)
    eager = Source(key("eager", weight=0.01), per_s=150)
    Traffic(scene, [calm, eager], work_s=0.1, seed=1).run(10)
    assert (calm.refused, eager.refused) == (0, 0)


def test_under_a_standing_queue_what_is_served_has_hardly_waited() -> None:
    """First come first served would let everybody wait for the full 50 ms, then refuse half."""
    scene = Scene(most=20, queued=64)
    source = Source(key("all"), per_s=400)
    Traffic(scene, [source], work_s=0.1, seed=3).run(10)
    waits = sorted(source.waits)
    assert source.refused > source.served / 2
    assert waits[len(waits) // 2] < 0.01


def test_twenty_times_the_load_of_sheddable_requests_does_not_touch_the_critical_ones() -> None:
    scene = Scene(most=40, queued=16)
    bulk = Source(key("bulk", "sheddable"), per_s=2000)
    people = Source(key("people", "critical"), per_s=100)
    Traffic(scene, [bulk, people], work_s=0.1, seed=5).run(10)
    assert people.refused == 0
    assert max(people.waits) == 0
    assert bulk.served > 1500


# What a request says of itself.


@pytest.mark.parametrize(
    ("of_key", "said", "counts"),
    [
        ("default", None, "default"),
        ("default", b"sheddable", "sheddable"),
        ("critical", b"default", "default"),
        ("critical", b" sheddable ", "sheddable"),
        ("default", b"critical", "default"),
        ("sheddable", b"critical", "sheddable"),
    ],
)
def test_a_request_may_lower_its_class_and_never_raise_it(
    of_key: Criticality, said: bytes | None, counts: Criticality
) -> None:
    headers = {} if said is None else {b"x-pointsman-criticality": said}
    assert criticality_of(headers, key("k", of_key)) == counts


def test_an_unknown_class_is_told() -> None:
    with pytest.raises(InvalidRequest, match="'urgent' is none of critical, default, sheddable"):
        criticality_of({b"x-pointsman-criticality": b"urgent"}, key("k"))


def test_a_gate_that_lets_nobody_in_says_so() -> None:
    scene = Scene()
    scene.lag.now_s = 0.39
    assert scene.gate.complaint() == ""
    scene.lag.now_s = 0.41
    assert scene.gate.complaint() == "lets nobody in, the event loop runs 0.41 s late"


def test_a_turn_full_of_requests_is_late_before_it_ends() -> None:
    scene = Scene(most=1000)
    scene.lag.overdue_s = 0.25
    let_in = [scene.enter(key("a")) for _ in range(gates.BURST)]
    with pytest.raises(Overloaded, match="late"):
        scene.enter(key("a"))
    assert scene.shed == {("lag", "default"): 1}
    scene.lag.looks += 1
    scene.lag.overdue_s = 0.0
    scene.enter(key("a"))
    assert len(let_in) == gates.BURST


def test_one_blocked_moment_refuses_none_of_the_few_that_follow_it() -> None:
    scene = Scene()
    scene.lag.overdue_s = 5.0
    scene.fill(key("a"), 3)
    assert not scene.shed
