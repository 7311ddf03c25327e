"""Every dialect against every dialect: what a client says in one arrives in the other.

Each conversation is written by the client half of the client's dialect (as an SDK would), read
by its server half, written for the provider's dialect and read there. What arrives must be what
was said, up to what the table in `pointsman.dialects.portability` lets go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pointsman.dialects.dialect import Dialect
from pointsman.dialects.registry import DIALECTS
from pointsman.dialects.strict_json import parse_object
from pointsman.domain.content import (
    Document,
    Image,
    Json,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from pointsman.domain.deployment import Deployment
from pointsman.domain.reply import ChatReply, FinishReason
from pointsman.domain.request import ChatRequest, Source
from pointsman.domain.usage import NO_USAGE, Usage
from pointsman.errors import InvalidRequest, ProviderFailure

PAIRS = [
    pytest.param(client, upstream, id=f"{client.name}-to-{upstream.name}")
    for client in DIALECTS.values()
    for upstream in DIALECTS.values()
]
TARGET = Deployment(
    name="there",
    provider="there",
    model="claude-sonnet-4-5",
    tier="frontier",
    dialect="any",
    price=None,
    capabilities=frozenset({"chat", "tools", "vision", "json", "json_schema", "reasoning"}),
)
WEATHER = Tool(
    "get_weather",
    "Tell the weather.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
CLOCK = Tool("get_time", "", {"type": "object", "properties": {}})
SCHEMA: dict[str, Json] = {
    "type": "object",
    "properties": {"answer": {"type": "integer"}},
    "required": ["answer"],
    "additionalProperties": False,
}


def user(*parts: Part | str) -> Message:
    return Message("user", tuple(Text(part) if isinstance(part, str) else part for part in parts))


def model(*parts: Part | str) -> Message:
    return Message("assistant", user(*parts).parts)


def system(text: str) -> Message:
    return Message("system", (Text(text),))


def result(call_id: str, text: str) -> ToolResult:
    return ToolResult(call_id, (Text(text),))


HELLO = user('Hello, "wörld" \\ \n 😀 \u2028')
TWO_CALLS = model(
    "Let me look.",
    ToolCall("call_1", "get_weather", '{"city":"Oslo"}'),
    ToolCall("call_2", "get_weather", '{"city":"Rome","days":[1,2.5,null,true]}'),
)
TWO_RESULTS = user(result("call_1", "rain"), result("call_2", "sun"))

CONVERSATIONS: Mapping[str, ChatRequest] = {
    name: replace(request, model="auto", max_tokens=request.max_tokens or 2048)
    for name, request in {
        "text": ChatRequest("", (HELLO,)),
        "a system message": ChatRequest("", (system("Be terse."), HELLO)),
        "two system messages": ChatRequest("", (system("Be terse."), system("Be kind."), HELLO)),
        "several turns": ChatRequest("", (user("1+1?"), model("2"), user("And 2+2?"))),
        "a turn of several parts": ChatRequest("", (user("first", "second"),)),
        "two turns of one speaker": ChatRequest("", (user("first"), user("second"))),
        "an answer begun": ChatRequest("", (user("A number?"), model("The number is"))),
        "an image by URL": ChatRequest("", (user("See?", Image(url="https://x.test/a.png")),)),
        "an image in base64": ChatRequest(
            "", (user(Image(data="aGk=", media_type="image/jpeg"), "See?"),)
        ),
        "a document": ChatRequest(
            "",
            (user(Document(media_type="application/pdf", data="aGk=", name="a.pdf"), "Sum up."),),
        ),
        "tools": ChatRequest("", (HELLO,), tools=(WEATHER, CLOCK)),
        "a tool that must be called": ChatRequest(
            "", (HELLO,), tools=(WEATHER, CLOCK), tool_choice=ToolChoice("tool", "get_time")
        ),
        "any tool": ChatRequest("", (HELLO,), tools=(WEATHER,), tool_choice=ToolChoice("any")),
        "no tool": ChatRequest("", (HELLO,), tools=(WEATHER,), tool_choice=ToolChoice("none")),
        "one call at a time": ChatRequest(
            "",
            (HELLO,),
            tools=(WEATHER,),
            tool_choice=ToolChoice("auto"),
            parallel_tools=False,
        ),
        "a strict tool": ChatRequest("", (HELLO,), tools=(replace(WEATHER, strict=True),)),
        "calls and results": ChatRequest("", (HELLO, TWO_CALLS, TWO_RESULTS), tools=(WEATHER,)),
        "results, then words": ChatRequest(
            "",
            (HELLO, TWO_CALLS, user(*TWO_RESULTS.parts, "Go on.")),
            tools=(WEATHER,),
        ),
        "a call without arguments": ChatRequest(
            "",
            (HELLO, model(ToolCall("call_1", "get_time", "{}")), user(result("call_1", "noon"))),
            tools=(CLOCK,),
        ),
        "an empty result": ChatRequest(
            "",
            (HELLO, model(ToolCall("call_1", "get_time", "{}")), user(ToolResult("call_1", ()))),
            tools=(CLOCK,),
        ),
        "a failed call": ChatRequest(
            "",
            (
                HELLO,
                model(ToolCall("call_1", "get_time", "{}")),
                user(ToolResult("call_1", (Text("Error: no clock"),), is_error=True)),
            ),
            tools=(CLOCK,),
        ),
        "a JSON schema": ChatRequest(
            "", (HELLO,), response_format=ResponseFormat("json_schema", schema=SCHEMA)
        ),
        "thinking wanted": ChatRequest("", (HELLO,), reasoning=Reasoning(effort="medium")),
        "sampling": ChatRequest("", (HELLO,), temperature=0.25, stop=("END", "\n\nQ:")),
        "top_p": ChatRequest("", (HELLO,), top_p=0.5),
        "a user and a limit": ChatRequest("", (HELLO,), user="u-1", max_tokens=7),
        "a stream": ChatRequest("", (HELLO,), stream=True),
    }.items()
}


def read_by(dialect: Dialect, body: bytes) -> ChatRequest:
    return dialect.parse_request(parse_object(body), Source(dialect.name, body))


def essence(request: ChatRequest) -> dict[str, object]:
    """What must survive any move: turns joined, seals and layout gone."""
    turns: list[tuple[str, list[object]]] = []
    for message in request.messages:
        parts = [kept for part in message.parts if (kept := essence_of(part)) is not None]
        if turns and turns[-1][0] == message.role:
            turns[-1][1].extend(parts)
        elif parts:
            turns.append((message.role, parts))
    wanted = request.response_format
    return {
        "turns": turns,
        "max_tokens": request.max_tokens,
        "stream": request.stream,
        "tools": [(tool.name, tool.description, dict(tool.schema)) for tool in request.tools],
        "tool_choice": request.tool_choice,
        "one call at a time": request.parallel_tools is False,
        "schema": None if wanted is None else (wanted.kind, dict(wanted.schema)),
        "thinks": request.reasoning is not None and request.reasoning.enabled,
        "sampling": (request.temperature, request.top_p, request.stop),
        "user": request.user,
        "extra": dict(request.extra),
    }


def essence_of(part: Part) -> object:
    if isinstance(part, Thinking):
        return None
    if isinstance(part, ToolCall):
        return "call", part.id, part.name, orjson.loads(part.arguments)
    if isinstance(part, ToolResult):
        return "result", part.call_id, [shown for shown in part.parts if shown != Text("")]
    return part


@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_what_the_client_says_arrives_at_the_provider(
    client: Dialect, upstream: Dialect, name: str
) -> None:
    said = CONVERSATIONS[name]
    at_us = read_by(client, client.render_request(said, TARGET))
    assert essence(at_us) == essence(said)
    there = read_by(upstream, upstream.render_request(at_us, TARGET))
    assert essence(there) == essence(said)
    assert there.model == TARGET.model


@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_in_the_same_dialect_the_clients_own_bytes_go_out(dialect: Dialect, name: str) -> None:
    body = dialect.render_request(replace(CONVERSATIONS[name], stream=False), TARGET)
    body = body[:-1] + b',"x_unknown":[1.0,1e-7,12345678901234567890123,"\\u00e9\\/"] }'
    request = read_by(dialect, body)
    assert dialect.render_request(request, TARGET) == body
    renamed = dialect.render_request(request, replace(TARGET, model="other"))
    assert b'[1.0,1e-7,12345678901234567890123,"\\u00e9\\/"]' in renamed
    assert {**orjson.loads(renamed), "model": 0} == {**orjson.loads(body), "model": 0}
    assert orjson.loads(renamed)["model"] == "other"


CALL = ToolCall("call_1", "get_weather", '{"city":"Oslo"}')
COUNTS = Usage(input=120, output=30, cached=100, reasoning=10)

REPLIES: Mapping[str, ChatReply] = {
    name: replace(
        reply, id="id-1", model="m-1", usage=COUNTS if reply.usage is NO_USAGE else reply.usage
    )
    for name, reply in {
        "text": ChatReply("", "", (Text('Hi "there" 😀\n'),), usage=COUNTS),
        "nothing": ChatReply("", "", (), usage=Usage(3, 0)),
        "usage of zero": ChatReply("", "", (Text("Hi"),), usage=Usage(0, 0)),
        "cache writes": ChatReply("", "", (Text("Hi"),), usage=Usage(50, 5, 10, cache_write=30)),
        "one call": ChatReply("", "", (CALL,), finish="tool_calls", usage=COUNTS),
        "words and calls": ChatReply(
            "",
            "",
            (Text("Looking."), CALL, replace(CALL, id="call_2", arguments='{"city":"Rome"}')),
            finish="tool_calls",
            usage=COUNTS,
        ),
        "a call without arguments": ChatReply(
            "", "", (ToolCall("call_1", "get_time", "{}"),), finish="tool_calls"
        ),
        "thinking": ChatReply("", "", (Thinking("Hmm."), Text("42"))),
        "a length reached": ChatReply("", "", (Text("Once upon"),), finish="length"),
        "a stop sequence": ChatReply(
            "", "", (Text("A"),), finish="stop_sequence", stop_sequence="END"
        ),
        "a refusal": ChatReply("", "", (Text("I cannot."),), finish="refusal"),
    }.items()
}

SEEN: Mapping[str, Mapping[FinishReason, FinishReason]] = {
    "openai": {"stop_sequence": "stop"},
    "anthropic": {"content_filter": "refusal"},
}
"""Reasons that a dialect has no word of its own for, and what they become."""


def seen_in(reply: ChatReply, *dialects: Dialect) -> dict[str, object]:
    finish = reply.finish
    for dialect in dialects:
        finish = SEEN[dialect.name].get(finish, finish)
    return {
        "id": reply.id,
        "model": reply.model,
        "parts": [
            ("thought", part.text) if isinstance(part, Thinking) else essence_of(part)
            for part in reply.parts
            if part != Text("")
        ],
        "finish": finish,
        "usage": reply.usage,
    }


@pytest.mark.parametrize("name", REPLIES)
@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_what_the_provider_answers_arrives_at_the_client(
    client: Dialect, upstream: Dialect, name: str
) -> None:
    answered, request = REPLIES[name], CONVERSATIONS["tools"]
    at_us = upstream.parse_reply(upstream.render_reply(answered, request))
    assert seen_in(at_us) == seen_in(answered, upstream)
    there = client.parse_reply(client.render_reply(at_us, request))
    assert seen_in(there) == seen_in(answered, upstream, client)


@pytest.mark.parametrize("name", REPLIES)
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_checking_an_answer_tells_the_same_as_reading_it(dialect: Dialect, name: str) -> None:
    body = dialect.render_reply(REPLIES[name], CONVERSATIONS["tools"])
    read = dialect.parse_reply(body)
    assert dialect.check_reply(body) == (read.usage, read.finish)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_usage_that_was_not_reported_is_told_from_zero(dialect: Dialect) -> None:
    fields = orjson.loads(dialect.render_reply(REPLIES["usage of zero"], CONVERSATIONS["text"]))
    assert dialect.parse_reply(orjson.dumps(fields)).usage == NO_USAGE
    assert dialect.parse_reply(orjson.dumps(fields)).usage is not NO_USAGE
    assert dialect.check_reply(orjson.dumps(fields))[0] == Usage(0, 0)
    del fields["usage"]
    assert dialect.parse_reply(orjson.dumps(fields)).usage is NO_USAGE
    assert dialect.check_reply(orjson.dumps(fields))[0] is None


BROKEN_ANSWERS: Mapping[str, tuple[bytes, str]] = {
    "empty": (b"", "malformed"),
    "HTML": (b"<html><body>It works!</body></html>", "malformed"),
    "cut JSON": (b'{"id":"x","choices":[{"message"', "malformed"),
    "no object": (b"[1,2]", "malformed"),
    "a number": (b"7", "malformed"),
    "an empty object": (b"{}", "malformed"),
    "no choices and no content": (b'{"id":"x","choices":[],"usage":{}}', "malformed"),
    "null choices and null content": (b'{"choices":null,"content":null}', "malformed"),
    "choices and content of another type": (b'{"choices":{"a":1},"content":"x"}', "malformed"),
    "a choice without message": (b'{"choices":[{"finish_reason":"stop"}]}', "malformed"),
    "a choice that is a text": (b'{"choices":["x"],"content":["x"]}', "malformed"),
    "not UTF-8": (b'{"choices":[{"message":{"content":"\xff"}}]}', "malformed"),
    "deep": (b"[" * 100_000, "malformed"),
    "an error object": (b'{"error":{"message":"m","type":"server_error"}}', "unavailable"),
    "an error text": (b'{"error":"overloaded"}', "unavailable"),
    "an overload": (
        b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}',
        "overloaded",
    ),
    "a rate limit": (b'{"error":{"message":"m","code":429}}', "throttled"),
    "a full quota": (b'{"error":{"message":"m","code":"insufficient_quota"}}', "refused"),
    "vLLM's error": (b'{"object":"error","message":"m","code":500}', "unavailable"),
}


@pytest.mark.parametrize("name", BROKEN_ANSWERS)
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_what_is_no_answer_is_a_failure_of_its_kind(dialect: Dialect, name: str) -> None:
    body, kind = BROKEN_ANSWERS[name]
    for read in (dialect.parse_reply, dialect.check_reply):
        with pytest.raises(ProviderFailure) as failure:
            read(body)
        assert failure.value.kind == kind


@given(st.binary())
def test_random_bytes_raise_nothing_but_a_provider_failure(body: bytes) -> None:
    for dialect in DIALECTS.values():
        for read in (dialect.parse_reply, dialect.check_reply):
            try:
                read(body)
            except ProviderFailure:
                pass


WORDS = (
    *("model", "messages", "role", "user", "assistant", "tool", "system", "content", "type"),
    *("text", "image_url", "tool_calls", "function", "name", "arguments", "id", "tools"),
    *("tool_choice", "stop", "n", "max_tokens", "response_format", "json_schema", "schema"),
    *("choices", "message", "usage", "error", "tool_use", "tool_result", "input", "source"),
    *("tool_use_id", "tool_call_id", "thinking", "stream", "metadata", "output_config"),
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(WORDS), JSON, max_size=6))
def test_random_json_raises_nothing_but_the_errors_that_are_ours(fields: dict[str, Json]) -> None:
    for dialect in DIALECTS.values():
        try:
            dialect.parse_request(fields, Source(dialect.name, b"{}"))
        except InvalidRequest:
            pass
        for read in (dialect.parse_reply, dialect.check_reply):
            try:
                read(json.dumps(fields).encode())
            except ProviderFailure:
                pass
