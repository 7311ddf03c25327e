"""The pure parts: tokens, content, instances of schemas, and cutting moves anywhere."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.domain.content import Json
from pointsman.testing.asked import Asked, BadRequest, read_anthropic, read_openai
from pointsman.testing.content import plan_content
from pointsman.testing.framing import frame
from pointsman.testing.instance import smallest
from pointsman.testing.moves import (
    Body,
    Generate,
    Head,
    Move,
    Send,
    drip,
    split_after_tokens,
    split_at_byte,
)
from pointsman.testing.persona import PERSONAS
from pointsman.testing.plays import PLAYS, Answer, Play, describe, read_plays
from pointsman.testing.tokens import count_tokens, split_tokens

ECHO = PERSONAS["echo"]


def user(text: str, **more: Any) -> Asked:
    fields = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    return read_openai(fields, "chat", None)


TOOLS: list[Json] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
    for name in ("weather", "time")
]


@given(st.text())
def test_the_tokens_of_a_text_joined_are_the_text(text: str) -> None:
    assert "".join(split_tokens(text)) == text
    assert len(split_tokens(text)) == count_tokens(text)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("Hello, world", 2), ("Constantinople", 3), ("a b c", 3), ("a b  ", 3), ("  ", 1)],
)
def test_the_counting_rule_can_be_checked_by_hand(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens


def test_input_counts_messages_tools_and_attachments() -> None:
    assert user("one two three").input_tokens == 3 + 3
    with_image = read_openai(
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "be kind"},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "look here"},
                        {"type": "image_url", "image_url": {"url": "data:,"}},
                    ],
                },
            ],
        },
        "chat",
        None,
    )
    assert with_image.input_tokens == (3 + 2) + (3 + 2 + 85)
    assert user("hi", tools=TOOLS).input_tokens > user("hi").input_tokens + 2 * 3


@pytest.mark.parametrize(
    ("text", "more", "calls"),
    [
        ('call weather {"city": "Rome"}', {}, [("weather", '{"city":"Rome"}')]),
        ("please call weather", {}, [("weather", '{"city":"text"}')]),
        (
            'call weather {"city": "A"} and call time {"city": "B"}',
            {},
            [("weather", '{"city":"A"}'), ("time", '{"city":"B"}')],
        ),
        (
            'call weather {"city": "A"} and call time {"city": "B"}',
            {"parallel_tool_calls": False},
            [("weather", '{"city":"A"}')],
        ),
        ("call unknown {}", {}, []),
        ("call weather {broken", {}, []),
        ("hello", {}, []),
        ("call weather", {"tool_choice": "none"}, []),
        ("hello", {"tool_choice": "required"}, [("weather", '{"city":"text"}')]),
        (
            "hello",
            {"tool_choice": {"type": "function", "function": {"name": "time"}}},
            [("time", '{"city":"text"}')],
        ),
    ],
)
def test_tools_are_called_when_the_text_or_the_choice_says_so(
    text: str, more: dict[str, Any], calls: list[tuple[str, str]]
) -> None:
    content = plan_content(user(text, tools=TOOLS, **more), ECHO, Answer(), "seal")
    assert [(call.name, call.arguments) for call in content.calls] == calls
    assert content.finish == ("tool_calls" if calls else "stop")
    assert bool(content.text) != bool(calls)


def test_tool_results_are_reported_instead_of_calling_again() -> None:
    asked = read_openai(
        {
            "model": "m",
            "tools": TOOLS,
            "messages": [
                {"role": "user", "content": "call weather"},
                {"role": "assistant", "tool_calls": []},
                {"role": "tool", "tool_call_id": "a", "content": "sunny"},
                {"role": "tool", "tool_call_id": "b", "content": "noon"},
            ],
        },
        "chat",
        None,
    )
    content = plan_content(asked, ECHO, Answer(), "seal")
    assert "".join(content.text) == "The tool said: sunny; noon"


@given(st.integers(1, 30))
def test_an_answer_is_never_longer_than_allowed(most: int) -> None:
    asked = user("a b c d e f g h", max_tokens=most, reasoning_effort="low")
    content = plan_content(asked, ECHO, Answer(thinking="x y z"), "seal")
    free = plan_content(user("a b c d e f g h"), ECHO, Answer(thinking="x y z"), "seal")
    assert content.output_tokens == min(most, free.output_tokens)
    assert content.finish == ("length" if most < free.output_tokens else "stop")


def test_a_stop_sequence_ends_the_answer_before_it() -> None:
    content = plan_content(user("one two three", stop=["two"]), ECHO, Answer(), "seal")
    assert "".join(content.text) == "You said: one "
    assert (content.finish, content.stop_sequence) == ("stop_sequence", "two")


SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    {"type": "object", "properties": {"k": {"enum": ["x", "y"]}}, "required": ["k"]},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
    {"type": "integer", "minimum": 5},
    {"type": "integer", "exclusiveMinimum": 5},
    {"type": "integer", "maximum": -5},
    {"type": "number", "exclusiveMaximum": 0},
    {"type": "string", "minLength": 9},
    {"type": "string", "maxLength": 2},
    {"type": ["null", "string"]},
    {"const": 7},
    {"anyOf": [{"type": "string"}, {"type": "null"}]},
    {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]},
            {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]},
        ]
    },
    {
        "$defs": {"step": {"type": "object", "properties": {"n": {"type": "integer"}},
                           "required": ["n"]}},
        "type": "object",
        "properties": {"steps": {"type": "array", "items": {"$ref": "#/$defs/step"},
                                 "minItems": 1}},
        "required": ["steps"],
    },
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_smallest_instance_fits_its_schema(schema: dict[str, Any]) -> None:
    jsonschema.validate(smallest(schema), schema)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": "x"}]}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": ["x"]}, "messages"),
        ({"model": "m", "messages": [{"role": "user"}], "tools": [{}]}, "tools"),
    ],
)
def test_a_request_that_no_provider_takes_is_refused_with_its_field(
    fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequest) as refusal:
        read_openai(fields, "chat", None)
    assert refusal.value.param == param


def test_anthropic_insists_on_max_tokens() -> None:
    fields: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    with pytest.raises(BadRequest, match="max_tokens"):
        read_anthropic(fields, "chat")
    assert read_anthropic(fields, "count_tokens").input_tokens == 4


MOVES: tuple[Move, ...] = (
    Head(200, {}),
    Body(b"start "),
    Generate(1, 0.5),
    Body(b"one "),
    Generate(3, 3.0),
    Body(b"two three four "),
    Body(b"end"),
)


def sent(moves: tuple[Move, ...]) -> bytes:
    return b"".join(move.data for move in moves if isinstance(move, Body))


def made(moves: tuple[Move, ...]) -> int:
    return sum(move.tokens for move in moves if isinstance(move, Generate))


@given(st.integers(0, 40))
def test_parting_at_a_byte_loses_and_doubles_nothing(position: int) -> None:
    before, after = split_at_byte(MOVES, position, Body)
    assert len(sent(before)) == min(position, len(sent(MOVES)))
    assert sent(before) + sent(after) == sent(MOVES)


@given(st.integers(0, 6))
def test_parting_after_tokens_loses_and_doubles_nothing(tokens: int) -> None:
    before, after = split_after_tokens(MOVES, tokens)
    assert made(before) == min(tokens, 4)
    assert made(after) == 4 - made(before)
    assert sent(before) + sent(after) == sent(MOVES)


def test_parting_after_tokens_stops_behind_what_carries_the_last_of_them() -> None:
    before, _ = split_after_tokens(MOVES, 1)
    assert sent(before) == b"start one "
    before, after = split_after_tokens(MOVES, 4)
    assert sent(before) == b"start one two three four " and sent(after) == b"end"


def test_parting_within_tokens_shares_out_their_time() -> None:
    before, after = split_after_tokens(MOVES, 2)
    assert before[-1] == Generate(1, 1.0) and after[0] == Generate(2, 2.0)


@given(st.integers(1, 9))
def test_dripping_changes_no_byte(size: int) -> None:
    framed = frame(MOVES)
    dripped = drip(framed, size, 1.0)
    assert all(len(move.data) <= size for move in dripped if isinstance(move, Send))
    assert b"".join(m.data for m in dripped if isinstance(m, Send)) == b"".join(
        m.data for m in framed if isinstance(m, Send)
    )


@pytest.mark.parametrize("kind", PLAYS.values())
def test_what_is_written_of_a_play_reads_back_as_the_play(kind: type[Play]) -> None:
    play = kind()
    assert read_plays(describe(play), "test") == (play,)


def test_a_play_with_everything_stated_reads_back() -> None:
    play = Answer("t", "h", (("f", "{}"),), "length", 3, 4, "other")
    assert read_plays(describe(play), "test") == (play,)


def test_the_canned_answers_differ_by_persona_and_repeat() -> None:
    question = "Where is my parcel?"
    brief, thorough = (PERSONAS[n].answer(question) for n in ("workhorse", "frontier"))
    assert thorough.startswith(brief) and len(thorough) > len(brief)
    assert PERSONAS["frontier"].answer(question) == thorough
