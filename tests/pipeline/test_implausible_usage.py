"""A provider's report is held to what its request can have used, and the log tells of it."""

from __future__ import annotations

import pytest
from tests.pipeline.house import Does, House

from pointsman.domain.usage import Usage
from pointsman.testing.clock import FakeClock


async def test_an_impossible_report_is_held_and_told(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(clock, {"a": [Does(usage=Usage(10**12, 5)), Does(usage=Usage(10, 5))]})
    with caplog.at_level("WARNING", "pointsman"):
        await house.ask()
    entry, attempt = house.told[-1], house.attempts[0]
    assert attempt.usage.flags == ("too_large",)
    assert attempt.usage.estimated and 0 < attempt.usage.input < 1_000
    assert entry.usage == attempt.usage
    assert "usage.insane request=req_1 deployment=a flags=too_large" in caplog.text
    caplog.clear()
    await house.ask()
    assert house.attempts[0].usage == Usage(10, 5)
    assert "usage." not in caplog.text
