"""What was used and what it costs: whole numbers, bounded, and no token in two lines."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.domain.money import MOST_NANO, NANO, told_cost
from pointsman.domain.tiers import ANTHROPIC, tier_of
from pointsman.domain.usage import INSANE, Lane, Price, Rates, Usage, filled, summed

SEEN = Usage(input=20, output=7, estimated=True)


@pytest.mark.parametrize(
    ("told", "is_final", "right"),
    [
        (None, True, SEEN),
        (None, False, SEEN),
        (INSANE, True, Usage(20, 7, estimated=True, flags=("insane",))),
        (Usage(25, 15), True, Usage(25, 15)),
        (Usage(0, 0), True, Usage(0, 0)),
        (Usage(25, 15), False, Usage(25, 15, estimated=True)),
        (Usage(25, 1, cached=5), False, Usage(25, 7, cached=5, estimated=True)),
        (Usage(25, 1, estimated=True), True, Usage(25, 7, estimated=True)),
        (Usage(25, 1, told_nano=5), False, Usage(25, 7, estimated=True)),
    ],
)
def test_what_a_provider_left_open_is_filled_with_what_was_seen(
    told: Usage | None, is_final: bool, right: Usage
) -> None:
    assert filled(told, SEEN, is_final=is_final) == right


COUNTS = st.builds(
    Usage, *(st.integers(0, 99),) * 6, estimated=st.booleans(), searches=st.integers(0, 9)
)


@given(COUNTS, COUNTS)
def test_a_sum_has_all_of_both(first: Usage, second: Usage) -> None:
    both = summed(first, second)
    for name in Usage.__struct_fields__:
        if isinstance(getattr(first, name), int) and name != "estimated":
            assert getattr(both, name) == getattr(first, name) + getattr(second, name)
    assert both.estimated == (first.estimated or second.estimated)


@pytest.mark.parametrize(
    ("amount", "per_usd", "nano"),
    [
        (0, 1, 0),
        (1, 1, NANO),
        (0.00014, 1, 140_000),
        (1.5e-9, 1, 2),
        (37_756_000, 10**10, 3_775_600),
        (1, 10**10, 1),
        (10**9, 1, MOST_NANO),
        (10**9 + 1, 1, None),
        (-0.0, 1, 0),
        (-1e-12, 1, None),
        (float("inf"), 1, None),
        (float("nan"), 1, None),
        ("0.5", 1, None),
        (True, 1, None),
        (None, 1, None),
    ],
)
def test_a_told_cost_is_rounded_up_or_refused(
    amount: object, per_usd: int, nano: int | None
) -> None:
    assert told_cost(amount, per_usd) == nano


@given(st.integers(0, 2**53), st.integers(0, 2**53), st.integers(0, 10**15))
def test_no_count_costs_a_credit_or_more_than_can_be_kept(
    given_: int, output: int, rate: int
) -> None:
    price = Price(Rates.of(rate, rate), "test")
    cost = price.cost(Usage(given_, output))
    assert 0 <= cost <= MOST_NANO < 2**63 // 9
    exact = Decimal(given_ + output) * rate / 10**6
    assert cost == MOST_NANO or exact <= cost < exact + 2


def test_a_line_is_rounded_up_once() -> None:
    price = Price(Rates.of(1, 1, cached=1), "test")
    assert price.cost(Usage(2, 1, cached=1)) == 3
    assert price.cost(Usage(2, 0)) == 1


def test_parts_have_their_own_rates_and_are_taken_out_of_their_whole() -> None:
    m = 10**6
    rates = Rates.of(
        *(1 * m, 10 * m, 100 * m),
        audio_input=3 * m,
        audio_cached=5 * m,
        audio_output=7 * m,
        image_input=11 * m,
        image_output=13 * m,
        reasoning=17 * m,
    )
    used = Usage(
        *(1_000, 100, 50, 0, 0, 40),
        audio_input=200,
        audio_cached=20,
        audio_output=10,
        image_input=30,
        image_output=5,
    )
    text, output = 1_000 - 50 - 180 - 30, 100 - 40 - 10 - 5
    right = text * 1 + 30 * 100 + 20 * 5 + 180 * 3 + 30 * 11
    right += output * 10 + 40 * 17 + 10 * 7 + 5 * 13
    assert Price(rates, "test").cost(used) == right


def test_nothing_is_cheaper_for_being_cached_where_no_list_says_so() -> None:
    m = 10**6
    rates = Rates.of(1 * m, 0, audio_input=9 * m)
    assert rates.cost(Usage(10, audio_input=10, cached=10, audio_cached=10)) == 90


def test_a_tier_has_its_own_rates_and_steps_and_an_unknown_one_the_standard() -> None:
    m = 10**6
    lane = Lane("flex", Rates.of(1 * m, 1 * m), ((100, Rates.of(2 * m, 2 * m)),))
    price = Price(Rates.of(4 * m, 4 * m), "test", lanes=(lane,), batch=Rates.of(3 * m, 3 * m))
    assert [
        price.cost(Usage(10, 0, tier=tier)) for tier in ("", "standard", "flex", "batch", "turbo")
    ] == [40, 40, 10, 30, 40]
    assert price.cost(Usage(101, 0, tier="flex")) == 202


def test_fees_are_for_each_search_and_each_answered_request() -> None:
    price = Price(Rates.of(0, 0), "test", search_nano=7, request_nano=5)
    assert price.cost(Usage(1, 1, searches=3)) == 26
    assert price.cost(Usage()) == 0


def test_a_providers_own_bill_counts_only_where_the_price_says_so() -> None:
    told = Usage(10, 10, told_nano=3)
    rates = Rates.of(10**6, 10**6)
    assert Price(rates, "test").cost(told) == 20
    assert Price(rates, "test", by_bill=True).cost(told) == 3
    assert Price(rates, "test", by_bill=True).cost(Usage(10, 10)) == 20


def test_words_for_tiers_are_read() -> None:
    assert [tier_of(word) for word in ("default", "auto", "Priority", "flex", None, 7, "")] == [
        *("", "", "priority", "flex", "", "", "")
    ]
    assert tier_of("priority", ANTHROPIC) == ""
    assert len(tier_of("x" * 999)) == 32
    assert math.isfinite(MOST_NANO)
