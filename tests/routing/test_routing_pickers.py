"""Pickers: their odds are exact, and what is drawn agrees with them."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.domain.deployment import Deployment
from pointsman.domain.usage import FREE
from pointsman.routing.pickers import PICKERS, Pool, draw, explored, place_of
from pointsman.routing.scorers import Lineup
from pointsman.routing.signals import DeploymentState


def pool(
    scores: list[float],
    weights: list[float] | None = None,
    shares: list[float] | None = None,
    session: str | None = None,
) -> Pool:
    n = len(scores)
    deployments = [
        Deployment(f"d{i}", "acme", f"m{i}", "workhorse", "openai", FREE, weight=weight)
        for i, weight in enumerate(weights or [1.0] * n)
    ]
    states = [DeploymentState(share=share) for share in shares or [1.0] * n]
    return Pool(Lineup(deployments, states, [0] * n, [1.0] * n), scores, session)


@pytest.mark.parametrize(
    ("picker", "given_", "odds"),
    [
        ("best", pool([0.2, 0.9, 0.5]), [0, 1, 0]),
        ("best", pool([0.9, 0.9, 0.5]), [0.5, 0.5, 0]),
        # On its way back with a tenth: taken in a tenth of the cases, else the next best.
        ("best", pool([0.9, 0.5, 0.4], shares=[0.1, 1, 1]), [0.1, 0.9, 0]),
        ("best", pool([0.9, 0.5], shares=[0.1, 0.1]), [0.1 / 0.19, 0.09 / 0.19]),
        ("weighted", pool([0, 0, 0], weights=[1, 3, 0]), [0.25, 0.75, 0]),
        ("weighted", pool([0, 0], weights=[0, 0]), [0.5, 0.5]),
        ("best", pool([0.9, 0.9, 0.5], shares=[0.1, 1, 1]), [0.05, 0.95, 0]),
        # A quarter of its half; the rest goes to the others, in proportion to their own odds.
        ("weighted", pool([0, 0], weights=[1, 1], shares=[1, 0.25]), [0.875, 0.125]),
        (
            "weighted",
            pool([0] * 3, weights=[1, 2, 1], shares=[1, 1, 0.2]),
            [0.95 / 3, 1.9 / 3, 0.05],
        ),
        ("random", pool([0] * 3, shares=[0.5, 0.5, 0.5]), [1 / 3] * 3),
        ("random", pool([0, 1, 0.5, 0.2]), [0.25] * 4),
        ("round_robin", pool([0, 1]), [0.5, 0.5]),
        # Of three pairs the best is in two, the middle wins one, the worst none.
        ("power_of_two", pool([0.9, 0.1, 0.5]), [2 / 3, 0, 1 / 3]),
        ("power_of_two", pool([0.5, 0.5]), [0.5, 0.5]),
        ("power_of_two", pool([0.5]), [1.0]),
        ("power_of_two", pool([0.9, 0.9, 0.1]), [0.5, 0.5, 0]),
        # It is idle and would win every draw: its share of an even part, and no more.
        ("power_of_two", pool([0.9, 0.1], shares=[0.2, 1]), [0.1, 0.9]),
        ("power_of_two", pool([0.1, 0.9], shares=[0.2, 1]), [0.02, 0.98]),
        ("power_of_two", pool([0.5] * 4, shares=[0.4, 1, 1, 1]), [0.1, 0.3, 0.3, 0.3]),
    ],
)
def test_odds_are_exact(picker: str, given_: Pool, odds: list[float]) -> None:
    assert PICKERS[picker](given_) == pytest.approx(odds)


def test_power_of_two_probes_what_it_would_never_draw() -> None:
    """The last of three is in no pair the best one; without this it was out for minutes."""
    given_ = pool([0.9, 0.1, 0.5])
    given_.lineup.states[1] = DeploymentState(breaker="half_open")  # type: ignore[index]
    odds = PICKERS["power_of_two"](given_)
    assert odds == pytest.approx([4 / 9, 1 / 3, 2 / 9])


def test_power_of_two_is_what_drawing_two_and_comparing_gives() -> None:
    scores = [0.1, 0.7, 0.7, 0.3, 0.9]
    rng = random.Random(5)
    wins: Counter[int] = Counter()
    rounds = 20_000
    for _ in range(rounds):
        a, b = rng.sample(range(5), 2)
        if scores[a] == scores[b]:
            wins[rng.choice((a, b))] += 1
        else:
            wins[a if scores[a] > scores[b] else b] += 1
    for i, chance in enumerate(PICKERS["power_of_two"](pool(scores))):
        assert wins[i] / rounds == pytest.approx(chance, abs=0.015)


@pytest.mark.parametrize("picker", ["best", "weighted", "random", "power_of_two"])
def test_what_is_drawn_agrees_with_the_odds(picker: str) -> None:
    odds = explored(
        PICKERS[picker](pool([0.9, 0.5, 0.9, 0.1], [1, 2, 3, 4], [1, 1, 0.5, 1])), [1, 3], 0.2
    )
    rng = random.Random(11)
    rounds = 20_000
    drawn = Counter(draw(odds, rng.random()) for _ in range(rounds))
    for i, chance in enumerate(odds):
        assert drawn[i] / rounds == pytest.approx(chance, abs=0.015)


def test_round_robin_takes_each_in_turn() -> None:
    odds = PICKERS["round_robin"](pool([0.1, 0.9, 0.5]))
    assert [draw(odds, place_of(turn, odds)) for turn in range(6)] == [0, 1, 2, 0, 1, 2]


def test_round_robin_gives_one_on_its_way_back_its_share() -> None:
    odds = PICKERS["round_robin"](pool([0, 0, 0], shares=[1, 1, 0.1]))
    turns = Counter(draw(odds, place_of(turn, odds)) for turn in range(2_100))
    assert turns[2] == pytest.approx(70, abs=3)
    assert turns[0] == pytest.approx(1_015, abs=5)


def test_a_session_stays_where_it_is() -> None:
    many = pool([0, 0, 0], session="session-7")
    assert PICKERS["sticky"](many) == PICKERS["sticky"](many)
    assert max(PICKERS["sticky"](many)) == 1.0


def test_only_the_sessions_of_a_lost_deployment_move() -> None:
    full = pool([0.0] * 4)
    left = pool([0.0] * 3)
    moved = 0
    for number in range(500):
        session = f"s{number}"
        before = draw(PICKERS["sticky"](full._replace(session=session)), 0.5)
        after = draw(PICKERS["sticky"](left._replace(session=session)), 0.5)
        assert before == 3 or after == before
        moved += before == 3
    assert 80 < moved < 170


def test_sessions_are_shared_out_by_weight() -> None:
    homes = Counter(
        draw(PICKERS["sticky"](pool([0, 0], weights=[1, 3], session=f"s{i}")), 0.5)
        for i in range(2_000)
    )
    assert homes[1] / 2_000 == pytest.approx(0.75, abs=0.04)


def test_without_a_session_sticky_draws_by_weight() -> None:
    assert PICKERS["sticky"](pool([0, 0], weights=[1, 3])) == pytest.approx([0.25, 0.75])


columns = st.integers(1, 8).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(0, 1), min_size=n, max_size=n),
        st.lists(st.floats(0, 100), min_size=n, max_size=n),
        st.lists(st.floats(0.01, 1), min_size=n, max_size=n),
        st.lists(st.integers(0, n - 1), unique=True, max_size=n),
    )
)


@given(
    st.sampled_from(sorted(PICKERS)),
    columns,
    st.floats(0, 1),
    st.sampled_from([None, "s1", "s2"]),
    st.floats(0, 1, exclude_max=True),
)
def test_odds_sum_to_one_and_what_is_drawn_has_some(
    picker: str,
    given_: tuple[list[float], list[float], list[float], list[int]],
    rate: float,
    session: str | None,
    point: float,
) -> None:
    scores, weights, shares, cold = given_
    odds = explored(PICKERS[picker](pool(scores, weights, shares, session)), cold, rate)
    assert sum(odds) == pytest.approx(1)
    assert min(odds) >= 0
    assert odds[draw(odds, point)] > 0


@pytest.mark.parametrize("picker", sorted(set(PICKERS) - {"best"}))
@pytest.mark.parametrize("share", [0.1, 0.35, 0.7, 1.0])
def test_one_on_its_way_back_gets_its_share_of_an_even_part(picker: str, share: float) -> None:
    rng = random.Random(17)
    rounds = 24_000
    back = pool([0.6, 0.6, 0.6], shares=[1, share, 1])
    got = 0
    for turn in range(rounds):
        odds = PICKERS[picker](back._replace(session=f"s{turn}"))
        point = place_of(turn, odds) if picker == "round_robin" else rng.random()
        got += draw(odds, point) == 1
    # Within a twentieth of its share, and of what that many draws leave to chance.
    assert got / rounds == pytest.approx(share / 3, rel=0.05, abs=0.003)


def test_sessions_come_back_to_one_on_its_way_back_and_no_others_move() -> None:
    homes: list[list[int]] = []
    for share in (0.1, 0.5, 1.0):
        odds = (PICKERS["sticky"](pool([0] * 3, None, [1, share, 1], f"s{i}")) for i in range(600))
        homes.append([draw(each, 0.5) for each in odds])
    for before, after in pairwise(homes):
        assert all(new in (old, 1) for old, new in zip(before, after, strict=True))
    assert homes[0].count(1) < homes[1].count(1) < homes[2].count(1)
