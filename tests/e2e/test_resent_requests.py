"""A request whose connection is lost may have been billed: whoever pays sends it as an attempt."""

from __future__ import annotations

from typing import Any

from e2e_house import open_house

from pointsman.testing.plays import Answer, Cut


def with_a_budget(config: dict[str, Any]) -> None:
    config["routes"].append({"name": "alone", "deployments": ["first"]})
    config["budgets"] = [{"name": "all", "scope": "everyone", "limit_usd": 1}]


async def test_what_is_charged_covers_a_request_that_was_sent_twice() -> None:
    """The provider has taken it, bills its input, and resets the pooled connection."""
    async with open_house(with_a_budget) as house:
        assert (await house.chat("warm", model="alone")).status == 200
        house.openai.script(Cut(), Answer("fine"))
        assert (await house.chat("word " * 50, model="alone", max_tokens=20)).status == 200
        entries = await house.told(2)
        charged = sum(
            (each.cost_nano or 0) if each.charged_nano is None else each.charged_nano
            for each in entries[1].attempts
        )
        await house.openai.journal.settled()
        calls = house.openai.journal.calls[1:]
        assert len(calls) == 2
        assert {call.attempt_id for call in calls} == {each.id for each in entries[1].attempts}
        assert charged >= sum(
            call.billed.input * 1_000 + call.billed.output * 2_000 for call in calls
        )
