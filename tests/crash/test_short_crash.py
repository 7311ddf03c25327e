"""Checks of `make crash` in short: those that a busy machine cannot fail for want of time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import uvloop
from chaos.check import Findings
from crash.registry import CHECKS, Unpinned

pytestmark = [pytest.mark.slow, pytest.mark.real]

SHORT = {"A9": 0.2, "A17": 0.2}


@pytest.mark.parametrize("name", SHORT)
def test_what_must_hold_of_money_and_keys(name: str, tmp_path: Path) -> None:
    async def run() -> Findings:
        findings = Findings()
        async with asyncio.timeout(60), Unpinned(tmp_path, seed=1, scale=SHORT[name]) as world:
            await CHECKS[name].run(world, findings)
        return findings

    findings = uvloop.run(run())
    assert not findings.failures, findings.figures
    assert findings.figures
