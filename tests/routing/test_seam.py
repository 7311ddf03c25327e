"""A continued answer joins where it was cut off: nothing lost, nothing said twice."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.domain.content import Message, ResponseFormat, Text
from pointsman.domain.request import ChatRequest, Source
from pointsman.routing.seam import ANCHOR, LEAD, NoSeam, Seam, can_continue, continuation

SAID = "Point blades are moved by a rod, and the pointsman who moves them looks at the sig"
REST = "nal first, then at the clock."


def joined(said: str, told: list[str]) -> str:
    seam = Seam(said)
    new = "".join([*map(seam.feed, told), seam.end()])
    return said + new


def test_the_anchor_is_the_last_words_from_the_beginning_of_one() -> None:
    anchor = Seam(SAID).anchor
    assert SAID.endswith(anchor)
    assert len(anchor) <= ANCHOR
    assert SAID[-len(anchor) - 1] == " "


@pytest.mark.parametrize("lead", ["", "\n", "Sure, here is the rest: ", '"'])
def test_what_follows_the_anchor_is_new(lead: str) -> None:
    assert joined(SAID, [lead + Seam(SAID).anchor + REST]) == SAID + REST


def test_an_answer_told_again_from_its_start_joins() -> None:
    assert joined(SAID, [SAID + REST]) == SAID + REST


def test_a_word_that_was_cut_in_two_is_whole() -> None:
    assert "signal" in joined(SAID, [Seam(SAID).anchor + REST])


@pytest.mark.parametrize("tail", [" ", "\n\n"])
@pytest.mark.parametrize("again", ["", " ", "\n\n"])
def test_white_space_at_the_seam_is_said_once(tail: str, again: str) -> None:
    said = "The first part." + tail
    assert joined(said, [Seam(said).anchor + again + "Then more."]) == said + "Then more."


def test_a_part_of_the_anchor_is_enough_at_the_very_start() -> None:
    last = SAID[-20:]
    assert joined(SAID, ["\n", last[:7], last[7:] + REST]) == SAID + REST
    with pytest.raises(NoSeam):
        joined(SAID, ["So: " + last + REST])


def test_an_indentation_after_the_seam_is_kept() -> None:
    said = "def stop(signal):\n"
    told = ["def stop(signal):", "\n", "    return", " signal.red"]
    assert joined(said, told) == said + "    return signal.red"


def test_an_answer_that_says_something_else_does_not_join() -> None:
    seam = Seam(SAID)
    with pytest.raises(NoSeam):
        seam.feed("I cannot continue that. " * 10)


def test_an_anchor_that_comes_too_late_does_not_join() -> None:
    seam = Seam(SAID)
    with pytest.raises(NoSeam):
        seam.feed("x" * (LEAD + 1) + seam.anchor)


def test_a_continuation_that_ends_before_the_anchor_does_not_join() -> None:
    seam = Seam(SAID)
    assert seam.feed(seam.anchor[:10]) == ""
    with pytest.raises(NoSeam):
        seam.end()


WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=200).filter(str.strip)


@given(said=WORDS, rest=st.text(max_size=60), cuts=st.lists(st.integers(0, 300), max_size=8))
def test_a_faithful_continuation_joins_however_it_is_cut(
    said: str, rest: str, cuts: list[int]
) -> None:
    """Law: said + what is new = said + rest, but for white space where they meet."""
    seam = Seam(said)
    text = seam.anchor + rest
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    pieces = [text[a:b] for a, b in pairwise(places)]
    whole = joined(said, pieces)
    if said == said.rstrip() and rest == rest.lstrip():
        assert whole == said + rest
    assert "".join(whole.split()) == "".join((said + rest).split())


@given(said=WORDS, told=st.text(max_size=400), size=st.integers(1, 50))
def test_any_continuation_joins_or_is_refused_and_never_repeats_the_anchor(
    said: str, told: str, size: int
) -> None:
    pieces = [told[at : at + size] for at in range(0, len(told), size)]
    seam = Seam(said)
    try:
        new = "".join([*map(seam.feed, pieces), seam.end()])
    except NoSeam:
        assert not seam.is_joined
    else:
        assert told.endswith(new)


def ask(**changes: object) -> ChatRequest:
    fields: dict[str, object] = {
        "model": "auto",
        "messages": (Message("user", (Text("hi"),)),),
        "stream": True,
        "source": Source("openai", b"{}"),
    }
    return ChatRequest(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "can"),
    [
        ({}, True),
        ({"stream": False}, False),
        ({"choices": 2}, False),
        ({"response_format": ResponseFormat("json")}, False),
        ({"response_format": ResponseFormat("text")}, True),
    ],
)
def test_only_a_stream_of_one_plain_answer_can_be_continued(
    changes: dict[str, object], can: bool
) -> None:
    assert can_continue(ask(**changes)) is can


def test_the_rest_is_asked_for_with_what_was_said_and_is_rendered_anew() -> None:
    rest = continuation(ask(), SAID, Seam(SAID))
    assert rest is not None
    assert rest.source is None
    assert [message.role for message in rest.messages] == ["user", "assistant", "user"]
    assert rest.messages[1].parts == (Text(SAID),)
    assert Seam(SAID).anchor in str(rest.messages[2])


def test_the_clients_bound_holds_over_both_parts() -> None:
    """What was said is taken from the bound; the repeated anchor is not charged to the client."""
    said = "word " * 100
    rest = continuation(ask(max_tokens=150), said, Seam(said))
    assert rest is not None
    assert rest.max_tokens is not None
    assert 25 <= rest.max_tokens <= 45
    assert continuation(ask(max_tokens=100), said, Seam(said)) is None
