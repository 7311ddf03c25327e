"""The semantic cache on pairs of questions, and how it is bounded."""

from __future__ import annotations

from tests.cache.house import House, read
from tests.cache.pairs import DIFFERENT, DRESS, REWORDED

from pointsman.cache.likeness import likeness_of, may_mean_the_same, similarity
from pointsman.cache.near import MOST_OF_A_SETTING, NearQuestions
from pointsman.config.settings_money import CacheSettings
from pointsman.domain.call import Caller
from pointsman.domain.content import Message, Text
from pointsman.testing.clock import FakeClock

LEAST = 0.95


def is_hit(one: str, other: str) -> bool:
    first, second = likeness_of(one), likeness_of(other)
    return similarity(first, second) >= LEAST and may_mean_the_same(first, second)


def hits(pairs: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    return [pair for pair in pairs if is_hit(*pair)]


def test_no_answer_is_given_to_another_question() -> None:
    """The measure of docs/cache.md: 0 of 82 traps."""
    assert hits(DIFFERENT) == []
    assert [pair for pair in DIFFERENT if is_hit(pair[1], pair[0])] == []


def test_the_same_question_in_another_dress_is_found() -> None:
    assert len(hits(DRESS)) >= 20


def test_other_words_are_never_found() -> None:
    """It knows spelling, not meaning; nobody should expect more."""
    assert hits(REWORDED) == []


def test_similarity_alone_would_be_wrong() -> None:
    """Why words are compared besides: many traps are more alike than the threshold asks."""
    alike = [
        pair for pair in DIFFERENT if similarity(likeness_of(pair[0]), likeness_of(pair[1])) >= 0.7
    ]
    assert len(alike) >= 10


def house(least: float = LEAST) -> House:
    clock = FakeClock()
    return House(clock, CacheSettings("semantic"), near=NearQuestions(clock, least))


async def test_a_question_in_another_dress_is_a_hit_and_says_so() -> None:
    here = house()
    layer = here.layer()
    assert await read(layer, here.call("How do I reset my password?")) == "miss"
    call = here.call("Hi, how do I reset my password? Thanks")
    assert await read(layer, call) == "similar"
    assert 0.95 <= call.trail.cache.similarity <= 1.0
    assert call.trail.cache.saved_nano == 20_000
    assert await read(layer, here.call("How do I reset my password?")) == "hit"
    assert await read(layer, here.call("How do I reset my passcode?")) == "miss"


async def test_tenants_and_settings_never_meet() -> None:
    here = house()
    layer = here.layer()
    near = "Please, why is the sky blue?"
    await read(layer, here.call("Why is the sky blue?"))
    assert await read(layer, here.call(near, caller=Caller("k", tenant="umbrella"))) == "miss"
    assert await read(layer, here.call(near, temperature=0.1)) == "miss"
    system = (Message("system", (Text("Be brief."),)), Message("user", (Text(near),)))
    assert await read(layer, here.call(messages=system)) == "miss"
    assert await read(layer, here.call("why is the sky blue")) == "similar"


async def test_what_no_longer_serves_is_not_found() -> None:
    here = house()
    layer = here.layer()
    await read(layer, here.call("Why is the sky blue?"))
    here.clock.advance(3601)
    assert await read(layer, here.call("why is the sky blue")) == "miss"


async def test_only_the_last_words_may_differ() -> None:
    here = house()
    layer = here.layer()

    def talk(first: str, last: str) -> tuple[Message, ...]:
        return (
            Message("user", (Text(first),)),
            Message("assistant", (Text("yes"),)),
            Message("user", (Text(last),)),
        )

    await read(layer, here.call(messages=talk("We speak of cats.", "How long do they live?")))
    other = talk("We speak of rats.", "how long do they live")
    same = talk("We speak of cats.", "how long do they live")
    assert await read(layer, here.call(messages=other)) == "miss"
    assert await read(layer, here.call(messages=same)) == "similar"


async def test_it_remembers_a_bounded_number() -> None:
    here = house()
    layer = here.layer()
    assert here.near is not None
    for number in range(MOST_OF_A_SETTING + 20):
        await read(layer, here.call(f"Question number {number} of many?"))
    assert len(here.near) == MOST_OF_A_SETTING
