"""/readyz tells the truth, and why; it asks nobody and waits for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pointsman.config.load import loads
from pointsman.errors import AllFailed
from pointsman.gateway import Gateway
from pointsman.ledger.memory import MemoryLedger
from pointsman.ledger.sqlite import SqliteLedger
from pointsman.testing import FakeClock
from pointsman.testing.scripted import FakeTransport, Scripted

TEXT = """\
providers:
  oa: {url: 'http://127.0.0.1:9/v1', dialect: openai}
deployments:
  - {name: a, provider: oa, model: a, tier: workhorse, price: free}
  - {name: b, provider: oa, model: b, tier: workhorse, price: free}
routes:
  - {name: first, deployments: [a]}
  - {name: second, deployments: [b]}
"""


def house(ledger: Any = None, *script: Scripted) -> tuple[Any, FakeTransport]:
    clock = FakeClock()
    transport = FakeTransport(*script, clock=clock)
    gateway = Gateway(
        loads(TEXT, "test", {}, Path.cwd()),
        transport=transport,
        clock=clock,
        ledger=ledger or MemoryLedger(),
    )
    return gateway, transport


async def take_out(gateway: Any, transport: FakeTransport, name: str) -> None:
    """Have a deployment answer rubbish until it is left alone."""
    while gateway.stacks[name].breaker.share > 0:
        transport.script(Scripted(200, chunks=(b"<html>",)))
        with pytest.raises(AllFailed):
            await gateway.chat([{"role": "user", "content": "hi"}], model=name)


async def test_it_is_ready_only_once_it_has_started() -> None:
    gateway, _ = house()
    assert (gateway.health()["ready"], gateway.health()["reasons"]) == (False, ["starting"])
    await gateway.start()
    told = gateway.health()
    assert (told["ready"], told["reasons"]) == (True, [])
    assert told["generation"] == gateway.generation
    gateway.vitals.phase = "draining"
    assert gateway.health()["reasons"] == ["draining"]


async def test_it_is_unready_when_nobody_can_be_asked_and_says_so_by_route() -> None:
    gateway, transport = house()
    await gateway.start()
    await take_out(gateway, transport, "a")
    told = gateway.health()
    assert told["ready"] is True
    assert told["routes"]["first"] == {"ready": False, "out": {"a": "open"}}
    assert told["routes"]["second"] == {"ready": True, "out": {}}
    await take_out(gateway, transport, "b")
    told = gateway.health()
    assert (told["ready"], told["reasons"]) == (False, ["no deployment can be asked"])


async def test_it_is_unready_while_the_ledger_cannot_be_written(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "l.db", FakeClock())
    gateway, _ = house(ledger)
    await gateway.start()
    assert gateway.health()["ready"] is True
    ledger._stalled_at = 1.0
    assert gateway.health()["reasons"] == ["ledger cannot be written"]
    ledger._stalled_at = None
    ledger.close()
    assert gateway.health()["reasons"] == ["ledger closed"]


async def test_others_may_say_no() -> None:
    gateway, _ = house()
    await gateway.start()
    late = ""
    gateway.vitals.checks["loop"] = lambda: late
    assert gateway.health()["ready"] is True
    late = "0.3 s late"
    assert gateway.health()["reasons"] == ["loop: 0.3 s late"]
