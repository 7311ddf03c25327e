"""What must never be given to the next who asks: each shape of it, asked twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from tests.cache.house import D0, ELSEWHERE, House, read, said

from pointsman.cache.answers import MOST_ANSWER_BYTES
from pointsman.config.settings_money import CacheSettings
from pointsman.domain.content import ResponseFormat, Text, Thinking, Tool, ToolCall
from pointsman.domain.reply import Event, Finished, Started, TextDelta
from pointsman.domain.usage import Usage
from pointsman.errors import DeadlineExceeded, ProviderFailure
from pointsman.ledger.entries import Attempt
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply

START: list[Event] = [Started("c", "m"), TextDelta("half")]
END: list[Event] = [Finished("stop")]

CUT = ProviderFailure("unavailable", "reset", code="upstream_disconnected")


def elsewhere(house: House) -> Reply:
    reply = house.whole(said("from another model"))
    reply.deployment = ELSEWHERE
    return reply


def failed(house: House) -> Reply:
    reply = house.stream(START, END)
    reply.fail(DeadlineExceeded("late"))
    return reply


SHAPES: dict[str, Callable[[House], Reply]] = {
    "cut at its longest": lambda h: h.whole(said("half of", finish="length")),
    "filtered": lambda h: h.whole(said("I cannot", finish="content_filter")),
    "refused": lambda h: h.whole(said("I will not", finish="refusal")),
    "calls a tool": lambda h: h.whole(
        replace(said(""), parts=(ToolCall("1", "pay", "{}"),), finish="tool_calls")
    ),
    "calls a tool and says stop": lambda h: h.whole(
        replace(said(""), parts=(Text("ok"), ToolCall("1", "pay", "{}")))
    ),
    "empty": lambda h: h.whole(said("")),
    "nothing but space": lambda h: h.whole(said(" \n\t ")),
    "nothing but thoughts": lambda h: h.whole(replace(said(""), parts=(Thinking("hm"),))),
    "an error's status": lambda h: h.whole(said("oops"), status=502),
    "bytes that are no answer": lambda h: h.bytes(b"<html>busy</html>"),
    "an error in a 200": lambda h: h.bytes(b'{"error":{"message":"overloaded"}}'),
    "no choices": lambda h: h.bytes(b'{"id":"c","choices":[]}'),
    "a refusal beside the text": lambda h: h.bytes(
        b'{"id":"c","model":"m","choices":[{"index":0,"finish_reason":"stop",'
        b'"message":{"role":"assistant","content":null,"refusal":"I will not."}}]}'
    ),
    "a stream that was cut": lambda h: h.stream(START, CUT),
    "a stream that never finished": lambda h: h.stream(START),
    "a stream that ran out of time": failed,
    "a stream without content": lambda h: h.stream([Started("c", "m")], END),
    "another route's model": elsewhere,
    "usage that makes no sense": lambda h: h.whole(
        said("x", usage=Usage(1, 1, estimated=True, flags=("insane",)))
    ),
    "too long": lambda h: h.whole(said("x" * (MOST_ANSWER_BYTES + 1))),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_it_is_not_kept(shape: str) -> None:
    house = House()
    house.answer = lambda call: SHAPES[shape](house)
    layer = house.layer()
    for _ in range(2):
        assert await read(layer, house.call(stream="stream" in shape)) == "miss"
    assert house.asked == 2


async def test_the_same_house_keeps_what_is_whole() -> None:
    house = House()
    layer = house.layer()
    assert [await read(layer, house.call()) for _ in range(2)] == ["miss", "hit"]
    house.answer = lambda call: house.stream(START, [TextDelta(" and half")], END)
    assert await read(layer, house.call("streamed", stream=True)) == "miss"
    call = house.call("streamed")
    reply = await layer(call)
    assert reply.chat is not None and reply.chat.text == "half and half"
    reply.close()


async def test_a_sum_that_is_not_its_parts_tells_nothing_against_an_answer() -> None:
    house = House()
    house.answer = lambda call: house.whole(said("x", usage=Usage(9, 9, flags=("total_mismatch",))))
    layer = house.layer()
    assert [await read(layer, house.call()) for _ in range(2)] == ["miss", "hit"]


async def test_who_leaves_in_the_middle_leaves_nothing() -> None:
    house = House()
    house.answer = lambda call: house.stream(START, END)
    layer = house.layer()
    async with await layer(house.call(stream=True)) as reply:
        await reply.__anext__()
    assert await read(layer, house.call(stream=True)) == "miss"


async def test_two_models_halves_are_not_kept() -> None:
    broke_off = Attempt("d1", "p", "m", "workhorse", "unavailable", ttft_s=0.2)
    never_began = replace(broke_off, ttft_s=None)
    house = House(before=(broke_off,))
    layer = house.layer()
    assert [await read(layer, house.call()) for _ in range(2)] == ["miss", "miss"]
    house.before = (never_began,)
    assert [await read(layer, house.call()) for _ in range(2)] == ["miss", "hit"]


@pytest.mark.parametrize(("text", "word"), [("{", "miss"), ('{"a": 1}', "hit")])
async def test_where_json_is_asked_for_nothing_else_is_kept(text: str, word: str) -> None:
    house = House()
    house.answer = lambda call: house.whole(said(text))
    layer = house.layer()
    for _ in range(2):
        found = await read(layer, house.call(response_format=ResponseFormat("json")))
    assert found == word


async def test_tool_calls_are_kept_where_the_operator_says_so() -> None:
    house = House(settings=CacheSettings("exact", tools=True))
    layer = house.layer()

    def calling(arguments: str) -> Callable[[Call], Reply]:
        parts = (ToolCall("1", "look", arguments),)
        return lambda call: house.whole(replace(said(""), parts=parts, finish="tool_calls"))

    house.answer = calling('{"a": 1}')
    assert [await read(layer, house.call("a")) for _ in range(2)] == ["miss", "hit"]
    house.answer = calling('{"a": 1')
    assert [await read(layer, house.call("b")) for _ in range(2)] == ["miss", "miss"]


@pytest.mark.parametrize(
    "request_",
    [
        {"choices": 2},
        {"extra": {"logprobs": True}},
        {"extra": {"web_search_options": {}}},
        {"tools": (Tool("web_search", extra={"type": "web_search_20250305"}),)},
    ],
    ids=["several answers", "probabilities", "a search", "a provider's tool"],
)
async def test_requests_without_one_plain_answer_go_past(request_: dict[str, Any]) -> None:
    house = House()
    layer = house.layer()
    assert [await read(layer, house.call(**request_)) for _ in range(2)] == ["bypass"] * 2


async def test_an_answer_whose_model_is_gone_is_not_given() -> None:
    house = House()
    await read(house.layer(), house.call())
    layer = house.layer()
    layer._deployments = {"d9": D0}
    assert await read(layer, house.call()) == "miss"
