"""A reload swaps what follows from the configuration and keeps what was learnt."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from pointsman.config.load import loads
from pointsman.config.settings import Settings
from pointsman.errors import AllFailed, UnknownModel
from pointsman.gateway import Gateway
from pointsman.generation import Generation
from pointsman.ledger.memory import MemoryLedger
from pointsman.testing import FakeClock
from pointsman.testing.scripted import FakeTransport, Scripted

HI = [{"role": "user", "content": "hi"}]
ENV = {"OLD": "sk-old-canary", "NEW": "sk-new-canary", "CALLER": "sk-caller-canary"}

ANSWER = (
    b'{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
)
OK = Scripted(200, {"content-type": "application/json"}, chunks=(ANSWER,))
REFUSED = Scripted(401, chunks=(b'{"error":{"message":"bad key"}}',))


def settings(
    *names: str, keys: str = "[env:OLD]", more: str = "", origin: str = "test"
) -> Settings:
    """One provider `oa` with a deployment of each name."""
    rows = "".join(
        f"  - {{name: {name}, provider: oa, model: {name}, tier: workhorse, price: free}}\n"
        for name in names
    )
    text = (
        f"providers:\n  oa: {{url: 'http://127.0.0.1:9/v1', dialect: openai, keys: {keys}}}\n"
        f"deployments:\n{rows}{more}"
    )
    return loads(text, origin, ENV, Path.cwd())


def gateway(config: Settings, *script: Scripted, clock: FakeClock | None = None) -> Any:
    clock = clock or FakeClock()
    transport = FakeTransport(*script, clock=clock)
    made = Gateway(
        config, transport=transport, clock=clock, rng=random.Random(7), ledger=MemoryLedger()
    )
    return made, transport


def test_the_digest_is_of_the_meaning_and_not_of_the_text() -> None:
    one = settings("a", "b").origin
    assert one == "test"
    first, _ = gateway(settings("a", "b"))
    same, _ = gateway(settings("a", "b", more="# a comment\n", origin="elsewhere"))
    other, _ = gateway(settings("a", "c"))
    key, _ = gateway(settings("a", "b", keys="[env:NEW]"))
    assert len(first.generation) == 12
    assert first.generation == same.generation
    assert len({first.generation, other.generation, key.generation}) == 3


def test_where_it_listens_is_no_part_of_the_meaning() -> None:
    here, _ = gateway(settings("a", more="server: {port: 4001, workers: 2}\n"))
    there, _ = gateway(settings("a", more="server: {port: 4002}\n"))
    limited, _ = gateway(settings("a", more="server: {max_in_flight: 3}\n"))
    assert here.generation == there.generation != limited.generation


async def test_a_reload_does_not_forget_that_a_provider_is_down() -> None:
    house, transport = gateway(settings("a", "b"))
    transport.script(*[Scripted(200, chunks=(b"<html>",))] * 5)
    for _ in range(5):
        with pytest.raises(AllFailed):
            await house.chat(HI, model="a")
    stack = house.stacks["a"]
    assert stack.breaker.state == "open"
    house.reload(settings("a", "c"))
    assert house.stacks["a"] is stack
    assert house.stacks["a"].breaker.state == "open"
    assert list(house.stacks) == ["a", "c"]


@pytest.mark.parametrize(
    "more", ["breaker: {streak: 3}\n", "retry: {ratio: 0.2}\n", "server: {body_mb: 3}\n"]
)
def test_a_stack_is_carried_over_unless_what_it_is_built_from_changed(more: str) -> None:
    house, _ = gateway(settings("a"))
    stack, retries = house.stacks["a"], house.current.retries
    house.reload(settings("a", more=more))
    assert (house.stacks["a"] is stack) == (not more.startswith("breaker"))
    assert (house.current.retries is retries) == (not more.startswith("retry"))


async def test_a_call_under_way_ends_with_the_generation_it_began_with() -> None:
    house, transport = gateway(settings("a", "b"))
    house_clock = house.clock
    lines = [
        b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"one"}}]}\n\n',
        b'data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
        b"data: [DONE]\n\n",
    ]
    transport.script(Scripted(200, {"content-type": "text/event-stream"}, chunks=tuple(lines)))
    async with await house.stream(HI, model="a") as events:
        stack = house.stacks["a"]
        house.reload(settings("b"))
        assert stack.meter.in_flight == 1
        said = await events.text()
    assert said == "one"
    assert stack.meter.in_flight == 0
    assert [each.deployment for each in house.ledger.entries[0].attempts] == ["a"]
    with pytest.raises(UnknownModel):
        await house.chat(HI, model="a")
    assert house_clock is house.clock


async def test_a_rotated_key_serves_the_next_call_and_keeps_what_was_measured() -> None:
    house, transport = gateway(settings("a"), OK, OK)
    await house.chat(HI, model="a")
    stack = house.stacks["a"]
    house.reload(settings("a", keys="[env:NEW, env:OLD]"))
    await house.chat(HI, model="a")
    shown = [request.headers["authorization"] for request in transport.requests]
    assert shown == ["Bearer sk-old-canary", "Bearer sk-new-canary"]
    assert house.stacks["a"] is stack


async def test_a_refused_key_is_not_seen_by_the_caller_nor_billed_nor_a_failure() -> None:
    house, transport = gateway(settings("a", keys="[env:NEW, env:OLD]"), REFUSED, OK, OK)
    answer = await house.chat(HI, model="a")
    assert answer.text == "hello"
    assert [each.outcome for each in answer.attempts] == ["ok"]
    await house.chat(HI, model="a")
    shown = [request.headers["authorization"][-10:] for request in transport.requests]
    assert shown == ["new-canary", "old-canary", "old-canary"]
    assert not transport.unsettled
    assert b'pointsman_provider_keys_refused{provider="oa"} 1.0' in house.metrics.exposition()


async def test_when_every_key_is_refused_the_attempt_fails_as_refused() -> None:
    house, transport = gateway(settings("a", keys="[env:NEW, env:OLD]"), *[REFUSED] * 2)
    with pytest.raises(AllFailed) as caught:
        await house.chat(HI, model="a")
    assert [each.kind for each in caught.value.failures] == ["refused"]
    assert len(transport.requests) == 2


async def test_other_keys_get_a_closed_breaker_where_the_old_ones_opened_it() -> None:
    house, _ = gateway(settings("a", "b"), REFUSED, REFUSED)
    closed = house.stacks["b"]
    for _ in range(2):
        with pytest.raises(AllFailed):
            await house.chat(HI, model="a")
    assert house.stacks["a"].breaker.state == "open"
    house.reload(settings("a", "b", keys="[env:NEW]"))
    assert house.stacks["a"].breaker.state == "closed"
    assert house.stacks["b"] is closed


def test_what_follows_a_generation_is_told_at_once_and_at_every_swap() -> None:
    house, _ = gateway(settings("a"))
    told: list[str] = []

    def follower(generation: Generation) -> None:
        told.append(",".join(generation.stacks))

    house.follow(follower)
    house.reload(settings("b"))
    assert told == ["a", "b"]


def test_preparing_changes_nothing_of_what_serves() -> None:
    house, _ = gateway(settings("a", keys="[env:OLD]"))
    before = house.generation
    house.prepare(settings("b", keys="[env:NEW]"))
    assert house.generation == before
    key = house.current.keys["oa"].take()
    assert key is not None and key.secret.reveal() == ENV["OLD"]


def test_series_of_a_removed_deployment_end() -> None:
    house, _ = gateway(settings("a"))
    assert b'pointsman_in_flight{deployment="a"}' in house.metrics.exposition()
    house.reload(settings("b"))
    told = house.metrics.exposition()
    assert b'pointsman_in_flight{deployment="a"}' not in told
    assert b'pointsman_in_flight{deployment="b"}' in told
