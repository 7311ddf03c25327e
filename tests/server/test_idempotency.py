"""Repeated requests are made once and answered as often as they are asked, on any worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from admin_house import Said, ask

from pointsman.gateway import Gateway
from pointsman.ledger.memory import MemoryLedger
from pointsman.server import idempotency as module
from pointsman.server import tape
from pointsman.server.app import App
from pointsman.server.idempotency_rows import (
    KEPT_S,
    LEASE_S,
    Claimed,
    Conflict,
    Running,
    TooLong,
    claim,
    give_up,
    keep,
    renew,
)
from pointsman.server.tape import Answer as Kept
from pointsman.store.database import Database
from pointsman.store.open import Store
from pointsman.testing import Answer, Cut, Fail, FakeClock, FaultProvider, Slow

KEYS = {"ONE": "sk-one-0123456789abcdef", "TWO": "sk-two-0123456789abcdef"}
BODY = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
CHAT = "/v1/chat/completions"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    url: str = request.getfixturevalue("postgres_database")
    return url


class Workers:
    """Gateways over one store, as several workers have it."""

    def __init__(self, provider: FaultProvider, apps: list[App]) -> None:
        self.provider = provider
        self.apps = apps

    @property
    def calls(self) -> int:
        return len(self.provider.journal.calls)

    async def chat(
        self,
        key: str | None,
        body: object = BODY,
        *,
        at: int = 0,
        who: str = "ONE",
        path: str = CHAT,
        **headers: str,
    ) -> Said:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["idempotency-key"] = key
        return await ask(self.apps[at], "POST", path, body, token=KEYS[who], headers=sent)


@asynccontextmanager
async def workers_of(
    store: Callable[[], Store | None], count: int = 2, tenants: Mapping[str, str] | None = None
) -> AsyncIterator[Workers]:
    async with FaultProvider() as provider:
        config: dict[str, Any] = {
            "server": {
                "keys": [
                    {"key": f"env:{name}", "name": name, "tenant": (tenants or {}).get(name)}
                    for name in KEYS
                ]
            },
            "providers": {
                "oa": {"url": provider.base_url, "dialect": "openai", "key": "env:PROVIDER"}
            },
            "deployments": [
                {
                    "name": "first",
                    "provider": "oa",
                    "model": "m",
                    "context_tokens": 10_000,
                    "price": {"input_usd": 1, "output_usd": 2},
                    "capabilities": ["chat"],
                }
            ],
            "routes": [{"name": "auto", "deployments": ["first"], "fallback": {"enabled": False}}],
        }
        env = {**KEYS, "PROVIDER": "sk-provider-canary-0123456"}
        gateways = [
            Gateway.from_config(config, env=env, ledger=MemoryLedger()) for _ in range(count)
        ]
        apps = [App(gateway, None, store()) for gateway in gateways]
        try:
            yield Workers(provider, apps)
        finally:
            for app, gateway in zip(apps, gateways, strict=True):
                await app.close()
                await gateway.close()


@pytest.fixture
async def workers(where: str) -> AsyncIterator[Workers]:
    clock = FakeClock()  # of SQLite's store only: time stands still there
    async with workers_of(lambda: Store.of(where, clock)) as workers:
        yield workers


async def test_five_at_once_on_two_workers_are_one_call(workers: Workers) -> None:
    workers.provider.script((Answer("one answer"), Slow(first_token_s=0.1)))
    told = await asyncio.gather(*(workers.chat("k1", at=n % 2) for n in range(5)))
    assert workers.calls == 1
    assert {said.status for said in told} == {200}
    assert len({said.body for said in told}) == 1
    assert sum("idempotency-replayed" in said.headers for said in told) == 4
    assert len({said.headers["x-pointsman-request-id"] for said in told}) == 5
    assert len({said.headers["x-pointsman-decision-id"] for said in told}) == 1


async def test_a_later_repetition_is_given_the_same(workers: Workers) -> None:
    first = await workers.chat("k1")
    again = await workers.chat("k1", at=1)
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["x-pointsman-cost-usd"] == first.headers["x-pointsman-cost-usd"]
    assert workers.calls == 1


async def test_another_body_is_a_conflict(workers: Workers) -> None:
    await workers.chat("k1")
    said = await workers.chat("k1", {**BODY, "temperature": 0.5}, at=1)
    assert (said.status, said.code) == (422, "idempotency_conflict")
    assert workers.calls == 1


async def test_a_stream_is_given_again_event_by_event(workers: Workers) -> None:
    body = {**BODY, "stream": True}
    first = await workers.chat("k1", body)
    again = await workers.chat("k1", body, at=1)
    assert again.headers["content-type"].startswith("text/event-stream")
    assert plain(again.body) == plain(first.body)
    assert plain(again.body).endswith(b"data: [DONE]\n\n")
    assert workers.calls == 1


def plain(chunked: bytes) -> bytes:
    """A body without its chunks."""
    found, rest = b"", chunked
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if not int(size, 16):
            return found
        found, rest = found + rest[: int(size, 16)], rest[int(size, 16) + 2 :]


async def test_two_callers_and_two_paths_never_meet(workers: Workers) -> None:
    await workers.chat("k1")
    assert "idempotency-replayed" not in (await workers.chat("k1", who="TWO")).headers
    message = {**BODY, "max_tokens": 9}
    assert (await workers.chat("k1", message, path="/v1/messages")).status == 200
    assert workers.calls == 3


async def test_without_the_header_nothing_is_kept(workers: Workers) -> None:
    await workers.chat(None)
    await workers.chat(None)
    assert workers.calls == 2


@pytest.mark.parametrize("key", ["", " ", "a" * 256, "ü", "a b"])
async def test_a_bad_key_is_refused(key: str, workers: Workers) -> None:
    said = await workers.chat(key)
    assert said.status == 400 and said.json["error"]["param"] == "idempotency-key"
    assert workers.calls == 0


async def test_what_was_never_dispatched_is_not_kept(workers: Workers) -> None:
    bad = {"model": "no-such", "messages": BODY["messages"]}
    assert (await workers.chat("k1", bad)).status == 404
    assert (await workers.chat("k1", bad)).status == 404
    assert (await workers.chat("k1")).status == 200  # another body, for the first came to nothing


@pytest.mark.slow
async def test_what_the_client_was_told_to_try_again_is_made_again(workers: Workers) -> None:
    workers.provider.script(Fail(429))
    first = await workers.chat("k1")
    assert first.status >= 400 and first.headers["x-should-retry"] == "true"
    assert "idempotency-replayed" not in (await workers.chat("k1")).headers


async def test_a_failure_that_may_have_been_billed_is_given_again(workers: Workers) -> None:
    workers.provider.script(Cut(after_tokens=2))
    first = await workers.chat("k1")
    assert first.status >= 500 and first.headers["x-should-retry"] == "false"
    again = await workers.chat("k1", at=1)
    assert (again.status, again.headers.get("idempotency-replayed")) == (first.status, "true")
    assert workers.calls == 1


async def test_an_answer_too_long_to_keep_is_not_made_twice(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tape, "MOST_BYTES", 20)
    assert (await workers.chat("k1")).status == 200
    said = await workers.chat("k1", at=1)
    assert (said.status, said.code) == (409, "idempotency_not_kept")
    assert workers.calls == 1


async def test_waiting_is_bounded(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.05)
    workers.provider.script((Answer("x"), Slow(first_token_s=0.4)))
    first = asyncio.create_task(workers.chat("k1"))
    while not (workers.apps[0]._once and workers.apps[0]._once._claims):
        await asyncio.sleep(0.005)
    said = await workers.chat("k1", at=1)
    assert (said.status, said.code) == (409, "idempotency_in_flight")
    assert said.headers["x-should-retry"] == "true"
    assert (await first).status == 200


async def test_without_the_store_only_those_with_the_header_are_refused(tmp_path: Path) -> None:
    async with workers_of(lambda: Store.of(tmp_path, FakeClock()), count=1) as workers:
        said = await workers.chat("k1")
        assert (said.status, said.code) == (503, "storage_unavailable")
        assert workers.calls == 0
        assert (await workers.chat(None)).status == 200


async def test_one_worker_without_a_kept_ledger_remembers_by_itself() -> None:
    async with workers_of(lambda: None, count=1) as workers:
        await workers.chat("k1")
        assert (await workers.chat("k1")).headers["idempotency-replayed"] == "true"
        assert workers.calls == 1


# The rows.


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(tmp_path: Path, clock: FakeClock) -> Any:
    opened = Store.of(tmp_path / "store.db", clock).open()
    yield opened
    opened.close()


ANSWER = Kept(200, b"application/json", ((b"a", b"\xff"),), b"{}", False)


def test_a_claim_is_one_workers(database: Database) -> None:
    assert isinstance(claim(database, b"s", b"b", "one"), Claimed)
    assert isinstance(claim(database, b"s", b"b", "two"), Running)
    assert isinstance(claim(database, b"s", b"other", "two"), Conflict)
    keep(database, b"s", "one", ANSWER)
    assert claim(database, b"s", b"b", "two") == ANSWER
    give_up(database, b"s", "one")
    assert claim(database, b"s", b"b", "two") == ANSWER


def test_a_dead_workers_claim_goes_to_one_other(database: Database, clock: FakeClock) -> None:
    claim(database, b"s", b"b", "one")
    clock.advance(LEASE_S - 1)
    renew(database, "one")
    clock.advance(LEASE_S - 1)
    assert isinstance(claim(database, b"s", b"b", "two"), Running)
    clock.advance(1)
    assert isinstance(claim(database, b"s", b"b", "two"), Claimed)
    assert isinstance(claim(database, b"s", b"b", "three"), Running)
    keep(database, b"s", "one", ANSWER)  # One that was only slow does not answer for another.
    assert isinstance(claim(database, b"s", b"b", "three"), Running)


def test_what_was_too_long_is_said_so(database: Database) -> None:
    claim(database, b"s", b"b", "one")
    keep(database, b"s", "one", None)
    assert isinstance(claim(database, b"s", b"b", "two"), TooLong)


def test_a_day_later_it_is_forgotten(database: Database, clock: FakeClock) -> None:
    claim(database, b"s", b"b", "one")
    keep(database, b"s", "one", ANSWER)
    clock.advance(KEPT_S + 1)
    assert isinstance(claim(database, b"s", b"b2", "two"), Claimed)
    keep(database, b"s", "two", ANSWER)
    clock.advance(KEPT_S + 1)
    renew(database, "x")
    assert database.rows("SELECT * FROM idempotency") == []
