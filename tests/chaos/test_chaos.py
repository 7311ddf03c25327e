"""The checks of `make chaos` in short: what does not depend on how busy the machine is holds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import uvloop
from chaos.check import Findings
from chaos.client import chat
from chaos.load import percentile
from chaos.registry import CHECKS
from chaos.world import World, deployments

pytestmark = [pytest.mark.slow, pytest.mark.real]

SHORT = {"A4": 0.06, "A11": 0.1, "A12": 0.03, "A13": 0.03, "A15": 0.04}
"""Share of the full length; the rest is about time, and runs with `make chaos`."""
TIMED = ("ms at the", "live ", "late at", "still asked", "p99", "hears of it")
"""Words of what a busy machine may fail."""


@pytest.mark.parametrize("name", SHORT)
def test_what_must_hold_when_things_break(name: str, tmp_path: Path) -> None:
    async def run() -> Findings:
        findings = Findings()
        async with asyncio.timeout(60), World(tmp_path, seed=1, scale=SHORT[name]) as world:
            await CHECKS[name].run(world, findings)
        return findings

    findings = uvloop.run(run())
    wrong = [each for each in findings.failures if not any(word in each for word in TIMED)]
    assert not wrong, findings.figures
    assert findings.figures


def test_large_bodies_leave_no_memory_behind(tmp_path: Path) -> None:
    async def run() -> tuple[float, float]:
        async with asyncio.timeout(60), World(tmp_path, seed=1) as world:
            provider = await world.raw(delay_s=0.1)
            gateway = await world.gateway(deployments([provider]))
            await world.warm(gateway, 20)
            body = gateway.client.render_body(chat("all is well " * 80_000))
            before = gateway.rss_mb()
            for _ in range(2):
                await asyncio.gather(
                    *(gateway.client.ask("/v1/chat/completions", body) for _ in range(60))
                )
            return before, gateway.rss_mb()

    before, after = uvloop.run(run())
    assert after <= before + 25


def test_the_smallest_value_that_a_share_does_not_exceed() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([], 0.99) == 0.0
