"""Rates in a real Valkey: the rules of every escrow, among workers that do not know each other."""

from __future__ import annotations

import threading
import time

import pytest

from pointsman.budgets.escrow import Back, Fenced, Lease, Refused, Want
from pointsman.clock import SystemClock
from pointsman.config.settings_money import RedisSettings
from pointsman.domain.budgets import Budget
from pointsman.domain.windows import Window
from pointsman.shared.escrow import WORKERS, RedisEscrow
from pointsman.store.errors import StorageUnavailable
from pointsman.testing.servers import ValkeyServer

pytestmark = pytest.mark.real

MINUTE = Window("minute", rolling=True)
RPM = Budget("rpm", "everyone", 10, unit="requests", window=MINUTE)
TPM = Budget("tpm", "key", 1000, unit="tokens", window=MINUTE, strict=False)
SLOTS = Budget("slots", "everyone", 3, unit="at_once", window=Window("total"))

Pair = tuple[RedisEscrow, RedisEscrow]


def want(budget: Budget, least: int, wish: int = 0, subject: str = "") -> Want:
    return Want(budget, (budget.name, subject), least, wish)


def got(answer: list[Lease] | Refused) -> list[Lease]:
    assert isinstance(answer, list), answer
    return answer


def refused(answer: list[Lease] | Refused) -> Refused:
    assert isinstance(answer, Refused), answer
    return answer


def test_two_workers_have_one_limit(workers: Pair) -> None:
    one, two = workers
    assert got(one.grant([want(RPM, 6)]))[0].left == 4
    assert refused(two.grant([want(RPM, 5)])).left == 4
    assert got(two.grant([want(RPM, 4)]))[0].left == 0
    no = refused(one.grant([want(RPM, 1)]))
    assert no.budget is RPM
    assert 58 < no.reopens_in_s <= 61.1


def test_all_or_nothing(workers: Pair) -> None:
    one, two = workers
    assert refused(one.grant([want(RPM, 1), want(TPM, 1001, subject="a")])).budget is TPM
    assert got(two.grant([want(RPM, 10)]))[0].granted == 10


def test_subjects_have_accounts_of_their_own(workers: Pair) -> None:
    one, two = workers
    got(one.grant([want(TPM, 1000, subject="a")]))
    got(two.grant([want(TPM, 1000, subject="b")]))
    assert refused(two.grant([want(TPM, 1, subject="a")])).account == ("tpm", "a")


def test_a_lease_grows_and_what_is_given_back_is_given_back_once(workers: Pair) -> None:
    one, two = workers
    slots = got(one.grant([want(SLOTS, 2)]))[0]
    assert refused(two.grant([want(SLOTS, 2)])).left == 1
    for _ in range(2):
        one.give_back([Back(slots.id, returned=1)])
    assert got(two.grant([want(SLOTS, 2)]))[0].left == 0
    one.give_back([Back(slots.id, returned=2)])
    again = got(one.grant([want(SLOTS, 1)]))[0]
    assert (again.id, again.granted, again.returned, again.left) == (slots.id, 3, 2, 0)


def test_what_was_used_beyond_the_grant_counts(workers: Pair) -> None:
    one, two = workers
    lease = got(one.grant([want(TPM, 100)]))[0]
    one.give_back([Back(lease.id, returned=0, used=900)])
    assert refused(two.grant([want(TPM, 101)])).left == 100
    got(two.grant([want(TPM, 100)]))
    (standing,) = one.standing([TPM])
    assert (standing.spent, standing.leased, standing.over) == (900, 100, 0)


def test_a_refill_takes_a_fiftieth_and_nothing_of_nothing(workers: Pair) -> None:
    one, _ = workers
    assert got(one.grant([want(TPM, 0, wish=1 << 62)]))[0].granted == 20
    got(one.grant([want(TPM, 980)]))
    assert refused(one.grant([want(TPM, 0, wish=1 << 62)])).left == 0


def test_alert_lets_pass(workers: Pair) -> None:
    one, _ = workers
    alert = Budget("soft", "everyone", 1, unit="requests", window=MINUTE, at_cap="alert")
    assert got(one.grant([want(alert, 3)]))[0].left == -2
    (standing,) = one.standing([alert])
    assert standing.over == 2


def test_an_answer_that_was_lost_is_found_in_the_next(workers: Pair) -> None:
    """A grant that was carried out and not heard of shows in the sums of the next."""
    one, _ = workers
    first = got(one.grant([want(RPM, 1)]))[0]
    got(one.grant([want(RPM, 2)]))  # As if nobody had heard it.
    third = got(one.grant([want(RPM, 1)]))[0]
    if third.id == first.id:  # Else the second turned in between, which is a lease of its own.
        assert third.granted == 4


def test_a_worker_that_is_not_heard_of_loses_its_slots(workers: Pair, valkey: ValkeyServer) -> None:
    one, two = workers
    got(one.grant([want(SLOTS, 3)]))
    assert refused(two.grant([want(SLOTS, 1)])).left == 0
    valkey.say("ZADD", WORKERS, "1", one.worker)  # As if it had long been silent.
    assert got(two.grant([want(SLOTS, 3)]))[0].left == 0
    with pytest.raises(Fenced):
        one.grant([want(SLOTS, 1)])
    assert not one.renew()
    assert one.renew()


def test_a_server_that_comes_back_empty_begins_anew(workers: Pair, valkey: ValkeyServer) -> None:
    one, _ = workers
    lease = got(one.grant([want(RPM, 10)]))[0]
    valkey.say("FLUSHALL")
    with pytest.raises(Fenced):
        one.grant([want(RPM, 1)])
    assert not one.renew()
    one.give_back([Back(lease.id, returned=10)])  # Nobody knows it any more.
    assert got(one.grant([want(RPM, 4)]))[0].left == 6


def test_it_knows_how_many_live(workers: Pair) -> None:
    one, two = workers
    one.renew()
    assert (one.workers, two.workers) == (2, 2)


def test_no_name_of_a_subject_stands_there(workers: Pair, valkey: ValkeyServer) -> None:
    one, _ = workers
    got(one.grant([want(TPM, 1, subject="tenant-canary/ann-canary")]))
    assert b"canary" not in valkey.say("KEYS", "*")


def test_nothing_lasts_for_ever(workers: Pair, valkey: ValkeyServer) -> None:
    one, _ = workers
    got(one.grant([want(RPM, 1), want(SLOTS, 1)]))
    names = [word for word in valkey.say("KEYS", "*").split(b"\r\n") if word.startswith(b"{")]
    assert len(names) == 5
    for name in names:
        assert int(valkey.say("TTL", name.decode()).strip(b":\r\n")) > 0


@pytest.mark.slow
def test_a_hung_server_costs_the_timeout(settings: RedisSettings, valkey: ValkeyServer) -> None:
    escrow = RedisEscrow(settings, SystemClock())
    assert escrow.renew()
    valkey.freeze()
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        escrow.grant([want(RPM, 1)])
    assert time.monotonic() - began < 2 * settings.timeout_s + 0.2
    escrow.close()


@pytest.mark.slow
def test_many_at_once_are_never_over(settings: RedisSettings) -> None:
    """Six workers, each with a thread: what is granted to all of them is the limit, to the one."""
    budget = Budget("crowd", "everyone", 500, unit="requests", window=Window("hour", rolling=True))
    granted = [0] * 6

    def work(number: int) -> None:
        escrow = RedisEscrow(settings, SystemClock())
        escrow.renew()
        while isinstance(answer := escrow.grant([want(budget, 1, wish=1 << 62)]), list):
            granted[number] = answer[0].granted
        escrow.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sum(granted) == 500
