"""Over real sockets: a route with `resume: true` continues what a provider cut off."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from e2e_house import House, open_house

from pointsman.testing import Answer, Cut, ErrorEvent, Hang, Slow, Truncate
from pointsman.testing.plays import Play

WHOLE = (
    "A pointsman sets the points so that each train takes the right track, and when that track "
    "is closed he sends it by another one, without the travellers noticing more than a curve."
)


@pytest.fixture
async def resuming() -> AsyncIterator[House]:
    def change(config: dict[str, object]) -> None:
        routes = config["routes"]
        assert isinstance(routes, list)
        routes[0]["resume"] = True

    async with open_house(change) as house:
        yield house


FAULTS: dict[str, Play] = {
    "reset": Cut(after_tokens=20),
    "closed": Cut("fin", after_tokens=20),
    "truncated": Truncate(after_tokens=20),
    "error event": ErrorEvent(after_tokens=20),
    "hangs": Hang(after_tokens=20),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_a_stream_that_is_cut_reads_whole(fault: str, dialect: str, resuming: House) -> None:
    resuming.openai.script((Answer(WHOLE), Slow(tokens_per_second=500), FAULTS[fault]))
    resuming.claude.script(Answer(WHOLE))
    ask = resuming.chat if dialect == "openai" else resuming.message
    got = await ask(stream=True)
    assert got.status == 200
    events = got.events()
    if dialect == "openai":
        assert events[-1] == "[DONE]"
        said = "".join(
            event["choices"][0]["delta"].get("content") or ""
            for event in events[:-1]
            if event["choices"]
        )
    else:
        assert events[-1]["type"] == "message_stop"
        said = "".join(
            event["delta"]["text"] for event in events if event["type"] == "content_block_delta"
        )
    assert said == WHOLE
    assert "error" not in json.dumps([event for event in events if event != "[DONE]"])
    (entry,) = await resuming.told()
    assert [attempt.deployment for attempt in entry.attempts] == ["first", "second"]
    assert entry.attempts[0].outcome != "ok"
    assert entry.attempts[1].outcome == entry.outcome == "ok"
    assert entry.attempts[0].usage.output > 0
    metrics = (await resuming.get("/metrics")).body.decode()
    assert 'pointsman_resumes_total{result="joined",route="auto"} 1.0' in metrics
    assert entry.cost_nano == sum(attempt.cost_nano or 0 for attempt in entry.attempts)


async def test_where_nobody_continues_the_stream_ends_with_its_error(resuming: House) -> None:
    resuming.openai.script((Answer(WHOLE), Cut(after_tokens=20)))
    resuming.claude.script(Answer("Something else altogether. " * 20))
    got = await resuming.chat(stream=True)
    last = got.events()[-1]
    assert last["error"]["code"] == "upstream_disconnected"
    assert last["attempts"] == 2
    (entry,) = await resuming.told()
    assert len(entry.attempts) == 2
    assert entry.outcome == entry.attempts[0].outcome
