"""Cached answers over real sockets: in both dialects, whole and as streams, and what they cost."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from e2e_house import Got, House, open_house

from pointsman.testing import Answer, Fail


def opened(**cache: Any) -> AbstractAsyncContextManager[House]:
    def change(config: dict[str, Any]) -> None:
        config["cache"] = {"mode": "exact", **cache}

    return open_house(change)


def said(got: Got) -> str:
    """The text that a client reads, whatever the dialect and whether it was streamed."""
    if got.headers["content-type"].startswith("text/event-stream"):
        text = ""
        for event in got.events():
            if event == "[DONE]":
                continue
            for choice in event.get("choices", ()):
                text += choice["delta"].get("content") or ""
            text += event.get("delta", {}).get("text", "") if "delta" in event else ""
        return text
    if "choices" in got.json:
        return str(got.json["choices"][0]["message"]["content"])
    return "".join(block["text"] for block in got.json["content"] if block["type"] == "text")


async def test_the_same_question_is_answered_without_asking_anybody() -> None:
    async with opened() as house:
        first = await house.chat("What is a pointsman?")
        second = await house.chat("What is a pointsman?")
        assert (first.headers["x-pointsman-cache"], second.headers["x-pointsman-cache"]) == (
            "miss",
            "hit",
        )
        assert house.asked() == {"openai": 1, "claude": 0}
        assert said(second) == said(first) != ""
        for name in ("prompt_tokens", "completion_tokens"):
            assert second.json["usage"][name] == first.json["usage"][name] > 0
        assert second.headers["age"] == "0"
        assert second.headers["x-pointsman-attempts"] == "0"
        assert second.headers["x-pointsman-cost-usd"] == "0"
        assert second.headers["x-pointsman-saved-usd"] == first.headers["x-pointsman-cost-usd"]


async def test_a_hit_stands_in_the_ledger_at_no_cost_with_what_it_saved() -> None:
    async with opened() as house:
        await house.chat("once")
        await house.chat("once")
        miss, hit = await house.told(2)
        assert (miss.cache, miss.saved_nano) == ("miss", 0)
        assert (hit.cache, hit.cost_nano, hit.attempts, hit.outcome) == ("hit", 0, (), "ok")
        assert hit.saved_nano == miss.cost_nano and (miss.cost_nano or 0) > 0
        assert hit.usage.total == 0 and hit.baseline_nano == 0


async def test_an_answer_is_told_again_in_each_shape_and_dialect() -> None:
    async with opened() as house:
        first = await house.chat("shapes", max_tokens=200)
        told = [
            await house.chat("shapes", max_tokens=200),
            await house.chat("shapes", max_tokens=200, stream=True),
            await house.message("shapes"),
            await house.message("shapes", stream=True),
        ]
        assert [each.headers["x-pointsman-cache"] for each in told] == ["hit"] * 4
        assert {said(each) for each in told} == {said(first)}
        assert told[1].events()[-1] == "[DONE]"
        assert told[3].events()[-1]["type"] == "message_stop"
        assert house.asked() == {"openai": 1, "claude": 0}


async def test_a_stream_that_was_read_to_its_end_answers_whole_requests() -> None:
    async with opened() as house:
        for dialect in (house.chat, house.message):
            first = await dialect(f"{dialect.__name__}", stream=True)
            second = await dialect(f"{dialect.__name__}")
            assert second.headers["x-pointsman-cache"] == "hit"
            assert said(second) == said(first) != ""


async def test_the_callers_word_on_the_cache_is_kept() -> None:
    async with opened() as house:
        await house.chat("word", cache={"no-store": True})
        assert (await house.chat("word")).headers["x-pointsman-cache"] == "miss"
        fresh = await house.chat("word", cache={"no-cache": True})
        assert fresh.headers["x-pointsman-cache"] == "bypass"
        assert (await house.chat("word")).headers["x-pointsman-cache"] == "hit"
        old = await house.chat("word", cache={"s-maxage": 0})
        assert old.headers["x-pointsman-cache"] == "miss"
        body = {"model": "auto", "messages": [{"role": "user", "content": "word"}]}
        header = await house.post("/v1/chat/completions", body, {"cache-control": "no-cache"})
        assert header.headers["x-pointsman-cache"] == "bypass"
        wrong = await house.chat("word", cache={"nocache": True})
        assert (wrong.status, wrong.error["param"]) == (400, "cache.nocache")


async def test_an_answer_from_the_cache_needs_no_provider() -> None:
    async with opened() as house:
        await house.chat("kept")
        house.openai.script(*[Fail(500)] * 3)
        house.claude.script(*[Fail(500)] * 3)
        assert (await house.chat("kept")).status == 200
        assert (await house.chat("new")).status == 502


async def test_a_reload_is_another_epoch() -> None:
    async with opened() as house:
        await house.chat("epoch")
        config = house.gateway.settings
        house.gateway.reload(replace(config, retry=replace(config.retry, ratio=0.2)))
        assert (await house.chat("epoch")).headers["x-pointsman-cache"] == "miss"


async def test_without_a_cache_nothing_is_said_of_it() -> None:
    async with open_house() as house:
        assert "x-pointsman-cache" not in (await house.chat("plain")).headers
        (entry,) = await house.told()
        assert entry.cache == ""


async def test_an_answer_cut_short_is_not_kept() -> None:
    async with opened() as house:
        house.openai.script(Answer("half of it", finish="length"))
        await house.chat("long")
        assert (await house.chat("long")).headers["x-pointsman-cache"] == "miss"
