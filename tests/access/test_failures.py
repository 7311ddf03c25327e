"""Failures are counted where they come from, and good keys do not suffer for them."""

from __future__ import annotations

import pytest

from pointsman.access.failures import MOST_BUCKETS, Failures, TooManyFailures, network_of
from pointsman.testing import FakeClock


def refused(failures: Failures, address: str, key: str | None = None) -> bool:
    try:
        failures.count(address, key)
    except TooManyFailures:
        return True
    return False


def test_ten_a_minute_are_told_no_and_the_rest_to_wait() -> None:
    clock = FakeClock()
    failures = Failures(clock)
    assert [refused(failures, "a") for _ in range(12)] == [False] * 10 + [True] * 2
    clock.advance(6)
    assert [refused(failures, "a") for _ in range(2)] == [False, True]
    clock.advance(600)
    assert sum(not refused(failures, "a") for _ in range(20)) == 10


def test_one_address_does_not_use_up_anothers() -> None:
    failures = Failures(FakeClock())
    for _ in range(20):
        refused(failures, "a")
    assert not refused(failures, "b")


def test_one_key_is_counted_over_all_addresses() -> None:
    failures = Failures(FakeClock())
    told = [refused(failures, f"10.0.0.{n}", "abcd1234") for n in range(12)]
    assert told == [False] * 10 + [True] * 2


def test_everybody_together_is_bounded() -> None:
    failures = Failures(FakeClock(), all_per_minute=50)
    assert sum(not refused(failures, f"a{n}") for n in range(100)) == 50


def test_it_says_when_to_come_back() -> None:
    failures = Failures(FakeClock())
    for _ in range(10):
        refused(failures, "a")
    with pytest.raises(TooManyFailures) as told:
        failures.count("a")
    assert told.value.status == 429
    assert told.value.retry_after_s == pytest.approx(6.0)


def test_a_million_addresses_take_bounded_memory() -> None:
    failures = Failures(FakeClock(), all_per_minute=10)
    for n in range(MOST_BUCKETS + 500):
        refused(failures, f"a{n}")
    assert len(failures) == MOST_BUCKETS


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("", ""),
        (":not:an:address", ":not:an:address"),
    ],
)
def test_an_ipv6_client_is_its_network(address: str, network: str) -> None:
    assert network_of(address) == network
