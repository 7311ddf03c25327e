"""A request that the transport sends again on a fresh connection may be billed twice."""

from __future__ import annotations

import pytest
from e2e_house import open_house

from pointsman.testing.plays import Answer, Cut


@pytest.mark.xfail(strict=True, reason="a resent request is one attempt, charged once")
async def test_what_is_charged_covers_a_request_that_was_sent_twice() -> None:
    """The provider has taken it, bills its input, and resets the pooled connection."""
    async with open_house() as house:
        assert (await house.chat("warm", model="solo")).status == 200
        house.openai.script(Cut(), Answer("fine"))
        assert (await house.chat("word " * 50, model="solo", max_tokens=20)).status == 200
        entries = await house.told(2)
        charged = sum(
            (each.cost_nano or 0) if each.charged_nano is None else each.charged_nano
            for each in entries[1].attempts
        )
        await house.openai.journal.settled()
        calls = house.openai.journal.calls[1:]
        assert {call.attempt_id for call in calls} == {each.id for each in entries[1].attempts}
        assert charged >= sum(
            call.billed.input * 1_000 + call.billed.output * 2_000 for call in calls
        )
