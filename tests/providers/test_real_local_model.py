"""The real llama.cpp server, as Pointsman sees it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from pointsman.gateway import Gateway
from pointsman.ledger.memory import MemoryLedger
from pointsman.testing.local_model import MODEL, LocalModel

pytestmark = [pytest.mark.slow, pytest.mark.real]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.02)


async def test_its_load_is_known_and_it_is_warmed_up(
    local_model: LocalModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pointsman")
    ledger = MemoryLedger()
    config = {
        "providers": {"house": {"kind": "llamacpp", "url": local_model.base_url, "load_s": 0.1}},
        "deployments": [
            {"provider": "house", "model": MODEL, "name": "small", "preload": {"model": True}}
        ],
    }
    async with Gateway.from_config(config, ledger=ledger) as gateway:
        await until(lambda: any("preload.ready" in each.message for each in caplog.records))
        assert not ledger.entries
        meter = gateway.stacks["small"].meter
        await until(lambda: meter.report.at > 0)
        assert meter.report.slots == 2
        messages = [{"role": "user", "content": "Tell a long story about a lighthouse."}]
        asking = [
            asyncio.create_task(gateway.chat(messages, max_tokens=96, temperature=0))
            for _ in range(4)
        ]
        await until(lambda: meter.report.running == 2 and meter.report.waiting == 2)
        state = gateway.stacks["small"].state()
        assert (state.in_flight, state.waiting) == (4, 2)
        text = gateway.metrics.exposition().decode()
        assert 'pointsman_local_waiting{deployment="small"} 2.0' in text
        await asyncio.gather(*asking)
        assert len(ledger.entries) == 4
    assert not any("load.unknown" in each.message for each in caplog.records)
