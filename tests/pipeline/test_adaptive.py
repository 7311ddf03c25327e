"""How many attempts at once are allowed follows what the other side can take.

`play` is a server in steps of 50 ms: it refuses (429) what is above its capacity, or lets
everything in and gets slower. Demand is always there; every number comes from one seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from pointsman.pipeline.adaptive import RELEASE_S, UNBOUNDED, Adaptive, Gradient, Signalled

STEP_S = 0.05


@dataclass
class Played:
    """One entry a step: what was under way and accepted, and the bound; the moments of signals."""

    under_way: list[int] = field(default_factory=list)
    bounds: list[float] = field(default_factory=list)
    signals: list[float] = field(default_factory=list)

    def mean(self, start_s: float, end_s: float) -> float:
        part = self.under_way[int(start_s / STEP_S) : int(end_s / STEP_S)]
        return sum(part) / len(part)

    def signals_in(self, start_s: float, end_s: float) -> int:
        return sum(start_s <= each < end_s for each in self.signals)


def play(
    limiter: Adaptive,
    seconds: float,
    *,
    clients: int,
    capacity: Callable[[float], int] = lambda now: 10**9,
    ttft_s: Callable[[float, int], float] = lambda now, under_way: 0.5,
    seed: int = 3,
) -> Played:
    rng = random.Random(seed)
    played = Played()
    running: list[tuple[float, int, float]] = []  # ends at, sent as the how manyth, ttft
    resting: list[float] = []
    for step in range(int(seconds / STEP_S)):
        now = 100 + step * STEP_S
        for ends, sent_as, first in [each for each in running if each[0] <= now]:
            running.remove((ends, sent_as, first))
            limiter.succeeded(sent_as, 0, first, now)
        resting = [until for until in resting if until > now]
        for _ in range(clients - len(running) - len(resting)):
            if len(running) + 1 > limiter.bound:
                limiter.blocked(now)
                break
            if len(running) >= capacity(now - 100):
                limiter.signalled(len(running) + 1, now, now)
                played.signals.append(now - 100)
                resting.append(now + 0.25 + 0.5 * rng.random())
                continue
            first = ttft_s(now - 100, len(running) + 1) * (0.8 + 0.4 * rng.random())
            running.append((now + first, len(running) + 1, first))
        played.under_way.append(len(running))
        played.bounds.append(limiter.bound)
    return played


def test_nothing_is_bounded_before_the_first_signal() -> None:
    limiter = Signalled()
    played = play(limiter, 5, clients=300)
    assert limiter.bound == math.inf
    assert max(played.under_way) == 300


def test_a_step_from_100_to_20_is_followed_within_seconds_and_back_again() -> None:
    played = play(
        Signalled(),
        180,
        clients=120,
        capacity=lambda now: 20 if 60 <= now < 120 else 100,
    )
    assert played.mean(30, 60) > 75
    # After the step: most of what there is, and hardly a refusal any more.
    assert 14 < played.mean(70, 120) <= 20
    assert played.signals_in(70, 120) < 30
    assert max(played.bounds[int(70 / STEP_S) : int(120 / STEP_S)]) < 30
    assert played.mean(165, 180) > 75


def test_it_is_led_back_to_where_it_was_in_seconds() -> None:
    limiter = Signalled()
    limiter.signalled(100, 10.0, 10.0)
    assert limiter.bound == 70.0
    now = 10.0
    while limiter.bound < 99:
        now += 0.01
        limiter.succeeded(int(limiter.bound), 0, None, now)
    # CUBIC's K: the cubic root of (100 * 0.3 / 0.4) is 4.2 s.
    assert now - 10.0 < 4.3


def test_signals_that_come_together_are_one() -> None:
    limiter = Signalled()
    for _ in range(30):
        limiter.signalled(50, 9.0, 10.0)
    limiter.signalled(40, 9.9, 12.0)  # Sent before the cut: it tells of what was before it.
    limiter.signalled(40, 10.5, 10.9)
    assert limiter.bound == 35.0
    limiter.signalled(35, 11.5, 12.0)
    assert limiter.bound == pytest.approx(24.5)


def test_it_never_falls_below_one() -> None:
    limiter = Signalled()
    for second in range(20):
        limiter.signalled(1, 10.0 + 2 * second, 10.0 + 2 * second)
    assert limiter.bound == 1.0


def test_a_bound_that_does_not_bind_neither_grows_nor_stays_for_ever() -> None:
    limiter = Signalled()
    limiter.signalled(20, 10.0, 10.0)
    for second in range(int(RELEASE_S)):
        limiter.succeeded(3, 0, None, 11.0 + second)
    assert limiter.bound == 14.0
    limiter.succeeded(3, 0, None, 11.0 + RELEASE_S)
    assert limiter.bound == math.inf


def test_a_clock_that_stands_still_does_no_harm() -> None:
    limiter = Signalled()
    for _ in range(500):
        limiter.signalled(10, 5.0, 5.0)
        limiter.succeeded(int(limiter.bound), 0, 0.1, 5.0)
    assert 7 <= limiter.bound < 50


def queued(slots: int, base_s: float = 0.1) -> Callable[[float, int], float]:
    """A server that works on `slots` at once and lets the others wait."""
    return lambda now, under_way: base_s * max(1.0, under_way / slots)


def test_a_local_server_is_given_more_while_it_is_not_slower() -> None:
    limiter = Gradient()
    play(limiter, 30, clients=150)
    assert limiter.bound > 100


def test_a_local_server_that_slows_down_is_given_less() -> None:
    def slower(now: float, under_way: int) -> float:
        return queued(64 if now < 30 else 8)(now, under_way)

    limiter = Gradient(most=64)
    before = play(limiter, 30, clients=100, ttft_s=slower)
    assert before.bounds[-1] > 50
    after = play(limiter, 10, clients=100, ttft_s=lambda now, under_way: queued(8)(now, under_way))
    assert min(after.bounds) < 0.5 * before.bounds[-1]


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_does_not_make_it_collapse(seed: int) -> None:
    """Times to first content that differ by half, one in fifty by ten times."""
    rng = random.Random(seed)

    def noisy(now: float, under_way: int) -> float:
        slow = 10.0 if rng.random() < 0.02 else 1.0
        return 0.2 * slow * math.exp(rng.gauss(0, 0.4))

    played = play(Gradient(), 60, clients=150, ttft_s=noisy, seed=seed)
    settled = played.bounds[200:]
    assert min(settled) > 15
    assert sum(settled) / len(settled) > 50


def test_it_never_leaves_its_own_bounds() -> None:
    high, low = Gradient(most=32), Gradient()
    play(high, 20, clients=100)
    assert high.bound == 32
    for _ in range(200):
        low.succeeded(200, 0, 0.1, 1.0)
    assert low.bound > 100
    low.has_slots(16)
    for turn in range(300):
        low.succeeded(200, 0, 0.1 * 2**turn, 1.0)
    assert low.bound == 16
    low.signalled(3, 5.0, 5.0)
    assert low.bound == 16


def test_what_is_not_used_does_not_grow() -> None:
    limiter = Gradient()
    for _ in range(5000):
        limiter.succeeded(3, 0, 0.1, 1.0)
    assert limiter.bound == 20


def test_long_inputs_are_compared_with_long_ones() -> None:
    limiter = Gradient()
    for turn in range(600):
        limiter.succeeded(200, 5 if turn % 10 == 0 else 0, 8.0 if turn % 10 == 0 else 0.1, 1.0)
    assert limiter.bound > 150


def test_no_content_time_teaches_nothing() -> None:
    limiter = Gradient()
    for _ in range(50):
        limiter.succeeded(50, 0, None, 1.0)
    UNBOUNDED.succeeded(50, 0, 1.0, 1.0)
    UNBOUNDED.signalled(50, 1.0, 1.0)
    UNBOUNDED.blocked(1.0)
    UNBOUNDED.has_slots(3)
    assert (limiter.bound, UNBOUNDED.bound) == (20, math.inf)
