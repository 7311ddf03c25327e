"""Keys as a worker knows them: a second old, good for a while without the store, never guessed."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.access.on_thread import OnThread

from pointsman.access import directory as module
from pointsman.access.directory import STALE_S, Directory
from pointsman.access.house import House
from pointsman.access.keys import change_key, make_key, revoke_key, rotate_key
from pointsman.access.pepper import settled_pepper
from pointsman.access.principal import EVERYTHING, OPERATOR
from pointsman.access.records import KeyChange, NewKey, TenantRecord, day
from pointsman.access.rules import remove_rule, set_rule
from pointsman.access.tenants import set_bound
from pointsman.access.tokens import digest, mint, public_id
from pointsman.config.schema_money import BudgetBlock
from pointsman.domain.call import Caller
from pointsman.store.database import Database
from pointsman.store.errors import StorageUnavailable
from pointsman.store.open import Store
from pointsman.testing import FakeClock
from pointsman.testing.servers import PostgresServer


@pytest.fixture
def database(store: Store) -> Iterator[Database]:
    database = OnThread(store.open())
    yield database
    database.close()


@pytest.fixture
async def directory(store: Store, clock: FakeClock) -> AsyncIterator[Directory]:
    directory = Directory(store, clock)
    await directory.look()
    yield directory
    await directory.close()


def make(database: Database, house: House, name: str = "web", **fields: Any) -> tuple[str, str]:
    pepper = settled_pepper(database, None)
    key, text = make_key(database, OPERATOR, NewKey(name=name, **fields), house, pepper)
    return key.id, text


def who(directory: Directory, text: str) -> Caller | None:
    token = text.encode()
    id = public_id(token)
    assert id is not None
    return directory.caller(token, id)


async def test_a_new_key_is_good_after_a_look(
    directory: Directory, database: Database, house: House
) -> None:
    assert not directory.has_keys
    _, text = make(database, house, team="t")
    assert who(directory, text) is None
    await directory.look()
    caller = who(directory, text)
    assert caller is not None and (caller.key, caller.team) == ("web", "t")
    assert directory.has_keys


async def test_a_revoked_key_is_bad_after_a_look(
    directory: Directory, database: Database, house: House
) -> None:
    id, text = make(database, house)
    await directory.look()
    revoke_key(database, OPERATOR, id)
    await directory.look()
    assert who(directory, text) is None
    assert directory.has_keys  # There was one: the door does not open again.


async def test_it_looks_every_second(store: Store, database: Database, house: House) -> None:
    clock = FakeClock()
    directory = Directory(store, clock)
    await directory.start()
    try:
        id, text = make(database, house)
        await passes(clock, lambda: who(directory, text) is not None)
        revoke_key(database, OPERATOR, id)
        began = clock.now()
        await passes(clock, lambda: who(directory, text) is None)
        assert clock.now() - began <= 2
    finally:
        await directory.close()


async def passes(clock: FakeClock, condition: Any) -> None:
    """Move the clock, second by second, until something holds; threads get real time for it."""
    async with asyncio.timeout(5):
        while not condition():
            if clock.pending:
                clock.advance(0.5)
            await asyncio.sleep(0.01)


async def test_a_wrong_secret_with_a_known_id_is_bad(
    directory: Directory, database: Database, house: House
) -> None:
    _, text = make(database, house)
    await directory.look()
    other = mint().text.encode()
    assert directory.caller(other, text[3:11]) is None


async def test_an_expired_key_ends_by_the_stores_clock(
    directory: Directory, database: Database, house: House, clock: FakeClock
) -> None:
    _, text = make(database, house, expires=day(database.now() + 100))
    await directory.look()
    assert who(directory, text) is not None
    clock.advance(101)
    assert who(directory, text) is None


async def test_both_secrets_are_good_until_the_old_ones_end(
    store: Store, database: Database, house: House
) -> None:
    clock = FakeClock()
    directory = Directory(store, clock)
    id, old = make(database, house)
    _, young = rotate_key(database, OPERATOR, id, 100.0, settled_pepper(database, None))
    await directory.look()
    assert who(directory, old) == who(directory, young) is not None
    clock.advance(200)
    assert who(directory, old) is None
    assert who(directory, young) is not None
    await directory.close()


async def test_a_tenants_bound_holds_for_keys_that_are_there(
    directory: Directory, database: Database, house: House
) -> None:
    _, text = make(database, house, tenant="acme")
    await directory.look()
    caller = who(directory, text)
    assert caller is not None and caller.routes is None
    set_bound(database, OPERATOR, "acme", TenantRecord(routes=("cheap",)), house)
    await directory.look()
    caller = who(directory, text)
    assert caller is not None and caller.routes == frozenset({"cheap"})


async def test_a_change_counts_from_the_next_look(
    directory: Directory, database: Database, house: House
) -> None:
    id, text = make(database, house)
    await directory.look()
    change_key(database, OPERATOR, id, KeyChange(routes=("cheap",)), house)
    await directory.look()
    caller = who(directory, text)
    assert caller is not None and caller.routes == frozenset({"cheap"})


async def test_followers_are_told_of_stored_limits(
    directory: Directory, database: Database, house: House
) -> None:
    told: list[list[str]] = []
    directory.follow(lambda limits: told.append([each.name for each in limits]))
    block = BudgetBlock(name="b", scope="key", limit_usd=1)
    set_rule(database, OPERATOR, block, house)
    await directory.look()
    make(database, house)
    await directory.look()
    remove_rule(database, OPERATOR, "b")
    await directory.look()
    assert told == [[], ["b"], []]


async def test_use_is_noted_coarsely(
    directory: Directory, database: Database, house: House, clock: FakeClock
) -> None:
    from pointsman.access.keys import found_key

    id, text = make(database, house)
    await directory.look()
    who(directory, text)
    await directory.look()
    assert found_key(database, EVERYTHING, id).used_at is None
    clock.advance(61)
    await directory.look()
    assert found_key(database, EVERYTHING, id).used_at == pytest.approx(database.now(), abs=100)


# Without the store.


async def test_a_store_that_was_never_read_is_503_and_not_401(
    tmp_path: Any, clock: FakeClock
) -> None:
    directory = Directory(Store.of(tmp_path, clock), clock)  # A folder is no database.
    await directory.look()
    assert directory.fault and directory.complaint()
    with pytest.raises(StorageUnavailable) as told:
        who(directory, mint().text)
    assert (told.value.status, told.value.should_retry) == (503, True)
    assert told.value.retry_after_s is not None
    with pytest.raises(StorageUnavailable):
        _ = directory.has_keys
    await directory.close()


@pytest.mark.real
@pytest.mark.slow
async def test_keys_go_on_without_the_store_for_a_quarter_of_an_hour(
    postgres: PostgresServer, postgres_database: str, house: House
) -> None:
    clock = FakeClock()
    store = Store.of(postgres_database, clock, timeout_s=0.3, connect_s=0.3)
    database = OnThread(store.open())
    _, text = make(database, house)
    directory = Directory(store, clock)
    await directory.look()
    postgres.freeze()
    clock.advance(STALE_S - 1)
    await directory.look()
    assert directory.fault
    assert who(directory, text) is not None
    assert directory.complaint() == ""
    clock.advance(2)
    with pytest.raises(StorageUnavailable):
        who(directory, text)
    postgres.thaw()
    async with asyncio.timeout(5):
        while directory.fault:
            await directory.look()
    assert who(directory, text) is not None
    database.close()
    await directory.close()


async def test_it_recovers_by_itself_from_a_store_that_was_down_at_the_start(
    tmp_path: Any, clock: FakeClock, house: House
) -> None:
    place = tmp_path / "store.db"
    place.mkdir()
    directory = Directory(Store.of(place, clock), clock)
    await directory.look()
    assert directory.fault
    place.rmdir()
    database = Store.of(place, clock).open()
    _, text = make(database, house)
    await directory.look()
    assert not directory.fault and who(directory, text) is not None
    database.close()
    await directory.close()


# That nothing can be told from the time.


async def test_known_and_unknown_ids_take_the_same_steps(
    directory: Directory, database: Database, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, text = make(database, house)
    gone, revoked = make(database, house, "gone")
    revoke_key(database, OPERATOR, gone)
    await directory.look()
    steps: list[str] = []

    def counted(name: str, work: Any) -> Any:
        def step(*values: Any) -> Any:
            steps.append(f"{name} {[len(value) for value in values]}")
            return work(*values)

        return step

    monkeypatch.setattr(module, "digest", counted("digest", digest))
    monkeypatch.setattr(hmac, "compare_digest", counted("compare", hmac.compare_digest))
    seen = []
    wrong = text[:11] + mint().text[11:]
    for token in (wrong, mint().text, revoked):
        steps.clear()
        assert directory.caller(token.encode(), token[3:11]) is None
        seen.append(tuple(steps))
    assert len(set(seen)) == 1
    assert seen[0] == ("digest [32, 60]", "compare [32, 32]")


async def test_nobody_sees_a_secret_by_printing(
    directory: Directory, database: Database, house: House
) -> None:
    _, text = make(database, house)
    await directory.look()
    shown = f"{directory!r} {directory._held!r} {directory._keys!r}"
    assert text[11:] not in shown
    held = directory._held[text[3:11]]
    assert repr(held.digest) not in shown and held.digest.hex() not in shown
