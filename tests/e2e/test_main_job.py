"""The main job over real sockets: find a way, fall back, account."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from e2e_house import House

from pointsman.testing import Answer, Cut, ErrorEvent, Fail, Hang, Malformed, Slow, Truncate

PARIS = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


async def test_a_request_is_answered_explained_and_accounted(house: House) -> None:
    got = await house.chat("hello", user="u-7", metadata={"tags": {"team": "red"}})
    assert got.status == 200
    assert got.json["choices"][0]["message"]["content"] == "You said: hello"
    assert got.json["model"] == "gpt-test"
    entry = (await house.told())[0]
    assert got.headers["x-pointsman-request-id"] == entry.request_id
    assert got.headers["x-pointsman-deployment"] == "first"
    assert got.headers["x-pointsman-route"] == "auto"
    assert got.headers["x-pointsman-attempts"] == "1"
    billed = house.openai.journal.billed()
    assert (entry.usage.input, entry.usage.output) == (billed.input, billed.output)
    assert entry.cost_nano == billed.input * 1000 + billed.output * 2000
    assert float(got.headers["x-pointsman-cost-usd"]) == pytest.approx(entry.cost_nano / 1e9)
    assert (entry.caller.app, entry.caller.user, entry.tags) == ("tests", "u-7", (("team", "red"),))
    assert entry.baseline_nano == billed.input * 3000 + billed.output * 15000


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "play",
    [
        Fail(429, {"retry-after": "7"}),
        Fail(500),
        Fail(503),
        Fail(529),
        Fail(401),
        Cut(),
        Hang(),
        Hang(after_head=True),
    ],
    ids=repr,
)
async def test_a_failure_before_content_is_never_seen_by_the_client(
    house: House, play: Any, stream: bool
) -> None:
    house.openai.script(play)
    got = await house.chat("hello", stream=stream)
    assert got.status == 200
    assert got.headers["x-pointsman-deployment"] == "second"
    assert got.headers["x-pointsman-attempts"] == "2"
    if stream:
        events = got.events()
        assert events[-1] == "[DONE]"
        said = [event["choices"][0]["delta"].get("content") or "" for event in events[:-1]]
        assert "".join(said) == "You said: hello"
    entry = (await house.told())[0]
    assert [attempt.deployment for attempt in entry.attempts] == ["first", "second"]
    assert entry.outcome == "ok"


@pytest.mark.parametrize(
    "play",
    [ErrorEvent(0), ErrorEvent(None), Truncate(0), Malformed("bad_json", 0)],
    ids=repr,
)
async def test_an_early_error_inside_a_200_stream_falls_over_unseen(
    house: House, play: Any
) -> None:
    house.openai.script(play)
    got = await house.chat("hello", stream=True)
    assert got.headers["x-pointsman-deployment"] == "second"
    assert got.events()[-1] == "[DONE]"
    assert b"error" not in got.body


@pytest.mark.parametrize(
    "play", [Cut(after_tokens=2), Truncate(2), ErrorEvent(2), Hang(after_tokens=2)], ids=repr
)
async def test_after_content_a_stream_ends_with_an_error_event_and_no_done(
    house: House, play: Any
) -> None:
    house.openai.script((Slow(tokens_per_second=200), play))
    got = await house.chat("one two three four five", stream=True)
    events = got.events()
    assert "error" in events[-1]
    assert "[DONE]" not in events
    assert house.asked()["claude"] == 0
    entry = (await house.told())[0]
    assert entry.outcome not in ("ok", "abandoned")
    assert entry.usage.output > 0 and entry.usage.estimated


@pytest.mark.parametrize("play", [Cut(after_tokens=2), Truncate(2), ErrorEvent(2)], ids=repr)
async def test_an_anthropic_stream_ends_with_its_own_error_event(house: House, play: Any) -> None:
    house.openai.script((Slow(tokens_per_second=200), play))
    got = await house.message("one two three four five", stream=True)
    assert got.events()[-1]["type"] == "error"
    assert b"event: error" in got.body
    assert b"message_stop" not in got.body


async def test_tools_cross_the_dialects_with_their_arguments(house: House) -> None:
    house.claude.script(Answer(calls=(("weather", '{"city": "Köln"}'), ("weather", "{}"))))
    got = await house.chat("w", model="second", tools=[PARIS])
    calls = got.json["choices"][0]["message"]["tool_calls"]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"city": "Köln"}, {}]
    house.openai.script(Answer(calls=(("weather", '{"city": "Köln"}'),)))
    tool = {"name": "weather", "input_schema": {"type": "object"}}
    got = await house.message("w", model="first", tools=[tool], stream=True)
    pieces = [
        event["delta"]["partial_json"]
        for event in got.events()
        if event["type"] == "content_block_delta"
    ]
    assert json.loads("".join(pieces)) == {"city": "Köln"}


async def test_what_we_do_not_know_reaches_a_provider_of_the_same_dialect_unchanged(
    house: House,
) -> None:
    body = (
        b'{"model": "first", "messages": [{"role":"user","content":"\\u0068i"}],'
        b' "x_new": {"big": 123456789012345678901234567890, "one": 1.0, "tiny": 1e-7},'
        b' "pointsman": {"tags": {"a": "b"}}}'
    )
    got = await house.post("/v1/chat/completions", body)
    assert got.status == 200
    sent = house.openai.journal.calls[0].body
    assert b'{"big": 123456789012345678901234567890, "one": 1.0, "tiny": 1e-7}' in sent
    assert b"\\u0068i" in sent
    assert b"pointsman" not in sent
    assert json.loads(sent)["model"] == "gpt-test"


async def test_a_client_that_leaves_ends_the_providers_work(house: House) -> None:
    house.openai.script((Slow(tokens_per_second=20),))
    body = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": "a " * 200}]}
    async with house.client.post(
        f"{house.url}/v1/chat/completions", json=body, headers=house.auth
    ) as response:
        await response.content.readany()
    await house.openai.journal.settled(1)
    call = house.openai.journal.calls[0]
    assert call.cancelled_at is not None
    assert call.generated < 50
    entry = (await house.told())[0]
    assert (entry.outcome, entry.status) == ("abandoned", 499)
    assert entry.usage.output > 0


async def test_a_client_that_leaves_before_content_is_accounted_too(house: House) -> None:
    house.openai.script(Hang())
    body = {"model": "solo", "messages": [{"role": "user", "content": "hi"}]}
    waiting = asyncio.create_task(house.post("/v1/chat/completions", body))
    async with asyncio.timeout(2):
        while house.openai.journal.arrived == 0:
            await asyncio.sleep(0.005)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    entry = (await house.told())[0]
    assert (entry.outcome, entry.status) == ("abandoned", 499)
    await house.openai.journal.settled(1)
    assert house.openai.journal.calls[0].ended != "done"


async def test_a_repeatedly_failing_provider_is_left_alone(house: House) -> None:
    house.openai.set_rules()
    for _ in range(5):
        house.openai.script(Fail(503))
        assert (await house.chat()).headers["x-pointsman-attempts"] == "2"
    got = await house.chat()
    assert got.headers["x-pointsman-attempts"] == "1"
    assert got.headers["x-pointsman-deployment"] == "second"
    assert house.asked()["openai"] == 5
    ready = await house.get("/readyz")
    assert ready.json["breakers"]["first"] == "open"


async def test_embeddings_pass(house: House) -> None:
    got = await house.post("/v1/embeddings", {"model": "embed", "input": ["a b", "c"]})
    assert got.status == 200
    assert len(got.json["data"]) == 2
    entry = (await house.told())[0]
    assert (entry.operation, entry.attempts[0].deployment) == ("embeddings", "vectors")
    assert entry.cost_nano == house.openai.journal.billed().input * 100


async def test_explain_decides_and_calls_nobody(house: House) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    got = await house.post("/v1/route:explain", body)
    assert got.status == 200
    assert got.json["chosen"] == "first"
    assert {row["deployment"] for row in got.json["candidates"]} == {"first", "second"}
    assert house.asked() == {"openai": 0, "claude": 0}
    assert house.ledger.entries == ()


async def test_models_are_listed_for_both_sdks(house: House) -> None:
    ids = [row["id"] for row in (await house.get("/v1/models")).json["data"]]
    assert ids == ["auto", "solo", "embed", "first", "second", "vectors"]
    got = await house.get("/v1/models", {"anthropic-version": "2023-06-01"})
    assert got.json["data"][0] == {
        "type": "model",
        "id": "auto",
        "display_name": "auto",
        "created_at": "1970-01-01T00:00:00Z",
    }


async def test_tokens_are_counted_without_a_provider(house: House) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "one two three"}]}
    got = await house.post("/v1/messages/count_tokens", body)
    assert 3 <= got.json["input_tokens"] <= 12


async def test_metrics_count_requests_attempts_and_money(house: House) -> None:
    house.openai.script(Fail(500))
    await house.chat()
    text = (await house.get("/metrics")).body.decode()
    assert 'pointsman_requests_total{outcome="ok",route="auto",status="200"} 1.0' in text
    assert 'pointsman_attempts_total{deployment="first",outcome="unavailable"} 1.0' in text
    assert 'pointsman_fallbacks_total{route="auto"} 1.0' in text
    assert 'pointsman_in_flight{deployment="second"} 0.0' in text


async def test_a_stated_deadline_is_kept(house: House) -> None:
    house.openai.script(Hang())
    body = {"model": "solo", "messages": [{"role": "user", "content": "hi"}]}
    got = await house.post("/v1/chat/completions", body, {"x-request-timeout-ms": "150"})
    assert (got.status, got.error["code"]) == (504, "deadline_exceeded")
    entry = (await house.told())[0]
    assert entry.seconds < 1


async def test_the_highest_cost_is_a_hard_limit(house: House) -> None:
    got = await house.chat("hi", max_tokens=1000, max_cost_usd=0.005)
    assert got.status == 200
    got = await house.chat("hi", max_tokens=1000, max_cost_usd=0.0000001)
    assert got.status == 400
    assert got.error["code"] == "no_candidate"
    assert "first" in got.error["message"]


async def test_a_bare_model_name_and_a_suffix_are_understood(house: House) -> None:
    assert (await house.chat(model="gpt-test")).headers["x-pointsman-deployment"] == "first"
    assert (await house.chat(model="an/claude-test")).headers["x-pointsman-deployment"] == "second"
    got = await house.chat(model="auto:cheap")
    assert got.status == 200
    got = await house.chat(model="atuo")
    assert (got.status, got.error["code"]) == (404, "model_not_found")
    assert "auto" in got.error["message"]


async def test_named_fallbacks_follow_a_pinned_model(house: House) -> None:
    house.openai.script(Fail(503))
    got = await house.chat(model="first", fallbacks=["second"])
    assert got.headers["x-pointsman-deployment"] == "second"
    house.openai.script(Fail(503), Fail(503))
    got = await house.chat(model="first")
    assert got.status == 502


async def test_a_request_one_dialect_cannot_say_goes_to_the_next(house: House) -> None:
    got = await house.chat(model="second", fallbacks=["first"], n=2)
    assert (got.status, got.headers["x-pointsman-deployment"]) == (200, "first")
    assert house.asked() == {"openai": 1, "claude": 0}
    got = await house.chat(model="second", n=2)
    assert (got.status, got.error["param"]) == (400, "n")
