"""Whose answers are whose, how long they serve, and what a hit is."""

from __future__ import annotations

from itertools import combinations

import pytest
from msgspec.structs import replace
from tests.cache.house import ACME, House, read, said

from pointsman.cache.answers import MemoryAnswers
from pointsman.cache.question import question_of
from pointsman.domain.call import Caller
from pointsman.domain.content import Message, Reasoning, ResponseFormat, Text, Tool, ToolChoice
from pointsman.domain.request import CacheControl, ChatRequest, RouteOptions, Source
from pointsman.testing.clock import FakeClock

SECRET = b"s" * 32


def cache(**said: object) -> RouteOptions:
    return RouteOptions(cache=CacheControl(**said))  # type: ignore[arg-type]


async def test_tenants_never_meet() -> None:
    house = House()
    layer = house.layer()
    assert await read(layer, house.call()) == "miss"
    assert await read(layer, house.call(caller=Caller("k2", tenant="acme"))) == "hit"
    for other in (
        Caller("k1", tenant="umbrella"),
        Caller("k1"),
        Caller("acme"),
        Caller("tenant acme"),
    ):
        assert await read(layer, house.call(caller=other)) == "miss"


async def test_keys_without_a_tenant_share_with_nobody() -> None:
    house = House()
    layer = house.layer()
    assert await read(layer, house.call(caller=Caller("a"))) == "miss"
    assert await read(layer, house.call(caller=Caller("b"))) == "miss"
    assert await read(layer, house.call(caller=Caller("a"))) == "hit"


async def test_another_configuration_or_route_is_another_question() -> None:
    house = House()
    await read(house.layer(), house.call())
    assert await read(house.layer("epoch2\nauto"), house.call()) == "miss"
    assert await read(house.layer("epoch\nother"), house.call()) == "miss"
    assert await read(house.layer(secret=b"t" * 32), house.call()) == "miss"


def variants() -> dict[str, tuple[ChatRequest, RouteOptions]]:
    """One request, and each of what makes it another."""
    plain = ChatRequest("auto", (Message("system", (Text("be"),)), Message("user", (Text("hi"),))))
    source = Source("openai", b"{}")
    changes: dict[str, dict[str, object]] = {
        "plain": {},
        "messages": {"messages": (Message("user", (Text("hi"),)),)},
        "role": {"messages": (Message("user", (Text("be"),)), plain.messages[1])},
        "joined": {"messages": (plain.messages[0], Message("user", (Text("h"), Text("i"))))},
        "name": {"messages": (plain.messages[0], replace(plain.messages[1], name="ann"))},
        "max_tokens": {"max_tokens": 5},
        "tools": {"tools": (Tool("f"),)},
        "schema": {"tools": (Tool("f", schema={"type": "object"}),)},
        "tool_choice": {"tool_choice": ToolChoice("any")},
        "parallel": {"parallel_tools": False},
        "format": {"response_format": ResponseFormat("json")},
        "reasoning": {"reasoning": Reasoning(effort="high")},
        "temperature": {"temperature": 0.5},
        "cold": {"temperature": 0.0},
        "top_p": {"top_p": 0.5},
        "top_k": {"top_k": 5},
        "stop": {"stop": ("x",)},
        "seed": {"seed": 1},
        "choices": {"choices": 2},
        "extra": {"extra": {"logit_bias": {"1": 2}}, "source": source},
        "extra else": {"extra": {"logit_bias": {"1": 3}}, "source": source},
        "dialect": {
            "extra": {"logit_bias": {"1": 2}},
            "source": Source("anthropic", b"{}"),
        },
        "header": {"source": Source("anthropic", b"{}", {"anthropic-beta": "x"})},
    }
    found = {name: (replace(plain, **change), RouteOptions()) for name, change in changes.items()}
    for name, options in {
        "prefer": RouteOptions(prefer="cost"),
        "allow": RouteOptions(allow=("d0",)),
        "fallbacks": RouteOptions(fallbacks=("d0",)),
        "require": RouteOptions(require=frozenset({"vision"})),
        "residency": RouteOptions(residency="eu"),
        "sensitive": RouteOptions(sensitive=True),
    }.items():
        found[name] = (plain, options)
    return found


def test_whatever_changes_the_answer_changes_the_key() -> None:
    keys = {}
    for name, (request, options) in variants().items():
        question = question_of(request, options, ACME, "here", SECRET)
        assert question is not None
        keys[name] = question.key
    for (one, first), (other, second) in combinations(keys.items(), 2):
        assert first != second, f"{one} is {other}"


@pytest.mark.parametrize(
    ("change", "options"),
    [
        ({"stream": True, "include_usage": True}, RouteOptions()),
        ({"user": "ann"}, RouteOptions()),
        ({"model": "an-alias"}, RouteOptions()),
        ({"extra": {"metadata": {"a": "b"}}}, RouteOptions()),
        ({"source": Source("anthropic", b"{...}")}, RouteOptions()),
        ({}, RouteOptions(timeout_s=5, max_cost_nano=7, session="s", run="r", tags={"a": "b"})),
    ],
)
def test_how_it_is_delivered_does_not(change: dict[str, object], options: RouteOptions) -> None:
    plain, none = variants()["plain"]
    first = question_of(plain, none, ACME, "here", SECRET)
    assert question_of(replace(plain, **change), options, ACME, "here", SECRET) == first


def test_long_requests_are_not_questions() -> None:
    plain, none = variants()["plain"]
    long = replace(plain, source=Source("openai", b"x" * (1024 * 1024 + 1)))
    assert question_of(long, none, ACME, "here", SECRET) is None


async def test_an_answer_serves_for_its_time() -> None:
    house = House()
    layer = house.layer()
    await read(layer, house.call())
    await read(layer, house.call("short", options=cache(ttl_s=10.0)))
    await read(layer, house.call("greedy", options=cache(ttl_s=1e6)))
    house.clock.advance(11)
    assert await read(layer, house.call("short")) == "miss"
    assert await read(layer, house.call(options=cache(max_age_s=5.0))) == "miss"
    house.clock.advance(3590)
    assert await read(layer, house.call("greedy")) == "miss"


async def test_the_callers_word_is_kept() -> None:
    house = House()
    layer = house.layer()
    assert await read(layer, house.call(options=cache(no_store=True))) == "miss"
    assert await read(layer, house.call(options=cache(no_cache=True, no_store=True))) == "bypass"
    assert await read(layer, house.call()) == "miss"
    assert await read(layer, house.call(options=cache(no_cache=True))) == "bypass"
    house.clock.advance(1)
    call = house.call()
    reply = await layer(call)
    reply.close()
    assert reply.chat is not None and reply.chat.text == "answer 4"  # The fresh one.


async def test_a_hit_uses_nothing_and_says_what_it_saved() -> None:
    house = House()
    layer = house.layer()
    await read(layer, house.call())
    house.clock.advance(7)
    for stream in (False, True):
        call = house.call(stream=stream)
        async with await layer(call) as reply:
            async for _ in reply:
                pass
        mark = call.trail.cache
        assert (mark.word, mark.saved_nano, mark.age_s) == ("hit", 20_000, 7.0)
        assert call.trail.attempts == []
        assert reply.outcome is not None
        assert (reply.outcome.kind, reply.outcome.usage.total) == ("ok", 0)


async def test_memory_holds_no_more_than_it_may() -> None:
    clock = FakeClock()
    answers = MemoryAnswers(clock, 10_000)
    house = House(clock, answers=answers)
    house.answer = lambda call: house.whole(said("x" * 1000))
    layer = house.layer()
    for number in range(50):
        await read(layer, house.call(f"q{number}"))
        assert answers.bytes <= 10_000
    assert 5 <= len(answers) < 10
    assert await read(layer, house.call("q0")) == "miss"
    assert await read(layer, house.call("q49")) == "hit"


async def test_who_was_used_last_stays_longest() -> None:
    clock = FakeClock()
    house = House(clock, answers=MemoryAnswers(clock, 6_000))
    house.answer = lambda call: house.whole(said("x" * 1000))
    layer = house.layer()
    for text in ("a", "b", "a", "c", "d"):
        await read(layer, house.call(text))
    assert await read(layer, house.call("a")) == "hit"
    assert await read(layer, house.call("b")) == "miss"
