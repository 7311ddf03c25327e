"""Local servers behind a gateway, over real sockets: their queues, their models, what they read."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any

import pytest

from pointsman.domain.call import Caller
from pointsman.gateway import Gateway
from pointsman.ledger.memory import MemoryLedger
from pointsman.testing import FakeClock, FaultProvider, LocalFace
from pointsman.testing.local_face import LocalKind

TEXT = "The timetable of the northern line, in full. " * 100


def config(
    one: FaultProvider, two: FaultProvider, kind: LocalKind | None, **route: Any
) -> dict[str, Any]:
    how: dict[str, Any] = {"dialect": "openai", "key": "none"}
    if kind is not None:
        how = {"kind": kind, "load_s": 0.02}
    preload = route.pop("preload", None)
    deployment = {"model": "m", "price": "free", "tier": "local", "capabilities": ["chat"]}
    if preload is not None:
        deployment["preload"] = preload
    return {
        "providers": {
            "one": {**how, "url": one.base_url},
            "two": {**how, "url": two.base_url},
        },
        "deployments": [
            {**deployment, "provider": "one", "name": "one"},
            {**deployment, "provider": "two", "name": "two"},
        ],
        "routes": [{"name": "auto", "explore": 0, **route}],
    }


@asynccontextmanager
async def house(
    kind: LocalKind | None,
    faces: tuple[LocalFace | None, LocalFace | None] = (None, None),
    clock: FakeClock | None = None,
    seed: int = 1,
    **route: Any,
) -> AsyncIterator[tuple[Gateway, MemoryLedger]]:
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(FaultProvider(local=face, seed=place))
            for place, face in enumerate(faces)
        ]
        ledger = MemoryLedger()
        gateway = Gateway.from_config(
            config(one, two, kind, **route), ledger=ledger, rng=Random(seed), clock=clock
        )
        await stack.enter_async_context(gateway)
        yield gateway, ledger


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)


async def asked(gateway: Gateway, *said: str, key: str = "ann") -> str:
    messages = [{"role": "user", "content": text} for text in said]
    return (await gateway.chat(messages, caller=Caller(key=key))).deployment.name


@pytest.mark.parametrize("strategy", ["load", "latency"])
@pytest.mark.parametrize(
    ("kind", "busy_says", "idle_says"),
    [
        ("vllm", {"running": 4, "waiting": 9}, {}),
        ("vllm", {"memory_used": 0.97}, {"memory_used": 0.5}),
        ("llamacpp", {"running": 4, "waiting": 9}, {}),
    ],
    ids=["vllm queue", "vllm memory", "llamacpp queue"],
)
async def test_a_server_with_a_queue_or_a_full_cache_loses_to_an_idle_one(
    strategy: str, kind: LocalKind, busy_says: dict[str, Any], idle_says: dict[str, Any]
) -> None:
    busy, idle = LocalFace(kind, **busy_says), LocalFace(kind, **idle_says)
    async with house(kind, (busy, idle), strategy=strategy) as (gateway, _):
        reports = [gateway.stacks[name].meter for name in ("one", "two")]
        await until(lambda: all(each.report.at > 0 for each in reports))
        found = Counter([await asked(gateway, "hello") for _ in range(20)])
        assert found == {"two": 20}
        text = gateway.metrics.exposition().decode()
        assert f'pointsman_local_waiting{{deployment="one"}} {busy.waiting}.0' in text
        assert f'pointsman_local_memory_share{{deployment="one"}} {busy.memory_used}' in text
        # That it is free again is seen, though none of our traffic goes there.
        busy.waiting, busy.memory_used = 0, 0.0
        free = gateway.stacks["one"].state
        await until(lambda: free().waiting == 0 and free().headroom == 1.0)


async def test_a_model_that_is_not_in_memory_loses_to_one_that_is() -> None:
    faces = (LocalFace("ollama"), LocalFace("ollama", loaded={"m"}))
    async with house("ollama", faces, strategy="latency") as (gateway, _):
        stacks = [gateway.stacks[name] for name in ("one", "two")]
        await until(lambda: all(each.meter.report.at > 0 for each in stacks))
        assert stacks[0].state().cold_s > 0
        assert {await asked(gateway, "hello") for _ in range(10)} == {"two"}


async def test_a_model_is_loaded_before_anybody_asks_and_is_no_request() -> None:
    faces = (LocalFace("ollama"), LocalFace("ollama"))
    preload = {"model": True, "keep_s": 90}
    async with house("ollama", faces, strategy="static", preload=preload) as (gateway, ledger):
        await until(lambda: all(face.loaded == {"m"} for face in faces))
        assert faces[0].keep_alive == {"m": "90s"}
        assert gateway.stacks["one"].meter.begun == 0
        assert not ledger.entries


async def test_a_warm_up_is_no_request_and_its_failure_no_failure() -> None:
    faces = (LocalFace("vllm"), LocalFace("vllm"))
    preload = {"model": True}
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(FaultProvider(local=face, models=(name,)))
            for face, name in zip(faces, ("m", "other"), strict=True)
        ]
        ledger = MemoryLedger()
        gateway = Gateway.from_config(
            config(one, two, "vllm", strategy="static", preload=preload), ledger=ledger
        )
        await stack.enter_async_context(gateway)
        await until(lambda: len(one.journal.entries) == len(two.journal.entries) == 1)
        await asyncio.gather(one.journal.settled(), two.journal.settled())
        assert not ledger.entries
        for name in ("one", "two"):
            state = gateway.stacks[name].state()
            assert (state.breaker, state.penalty_s, state.samples) == ("closed", 0.0, 0)


async def test_a_conversation_stays_where_it_was_begun() -> None:
    """Over a clock that stands still: no server is measured to be slower than the other."""
    still = FakeClock()
    async with house(None, clock=still, strategy="round_robin", affinity=True) as (gateway, ledger):
        texts = [f"Conversation {number}. {TEXT}" for number in range(6)]
        begun = [await asked(gateway, text) for text in texts]
        assert set(begun) == {"one", "two"}
        for turn in range(3):
            more = [f"question {each}" for each in range(turn)]
            assert [await asked(gateway, text, *more, "and then?") for text in texts] == begun
        picked = [entry.decision.picker for entry in ledger.entries if entry.decision is not None]
        assert picked == ["round_robin"] * 6 + ["affinity"] * 18
        # What is too short to be worth it is spread as ever; and nobody profits from another's.
        assert {await asked(gateway, "short") for _ in range(4)} == {"one", "two"}
        await asked(gateway, texts[0], key="bob")
        entry = ledger.entries[-1]
        assert entry.decision is not None and entry.decision.picker == "round_robin"


async def test_without_affinity_conversations_are_spread_as_ever() -> None:
    async with house(None, strategy="round_robin") as (gateway, _):
        assert [await asked(gateway, TEXT) for _ in range(4)] == ["one", "two"] * 2
