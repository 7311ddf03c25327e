"""What clients of Anthropic's dialect send, and how it is read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pointsman.dialects.anthropic.dialect import Anthropic
from pointsman.dialects.anthropic.seals import OUR_SEAL
from pointsman.dialects.strict_json import parse_object
from pointsman.domain.content import (
    Document,
    Image,
    Json,
    Message,
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
from pointsman.domain.request import ChatRequest, Source
from pointsman.errors import InvalidRequest

ANTHROPIC = Anthropic()
USER = {"role": "user", "content": "Hi"}
TARGET = Deployment("d", "p", "claude-there", "frontier", "anthropic", None)


def parse(messages: Any = None, headers: dict[str, str] | None = None, **more: Any) -> ChatRequest:
    given = [USER] if messages is None else messages
    fields = {"model": "auto", "max_tokens": 9, "messages": given, **more}
    body = orjson.dumps({name: value for name, value in fields.items() if value != "left out"})
    source = Source("anthropic", body, headers or {})
    return ANTHROPIC.parse_request(parse_object(body), source)


def test_system_is_a_text_or_blocks() -> None:
    assert parse(system="Be terse.").messages[0] == Message("system", (Text("Be terse."),))
    cached = {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}
    assert parse(system=[{"type": "text", "text": "a"}, cached]).messages[0].parts == (
        Text("a"),
        Text("b", {"cache_control": {"type": "ephemeral"}}),
    )


def test_blocks_of_every_type_are_read() -> None:
    request = parse(
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "See"},
                    {"type": "image", "source": {"type": "url", "url": "https://x/a.png"}},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
                    },
                    {
                        "type": "document",
                        "title": "a",
                        "source": {"type": "text", "media_type": "text/plain", "data": "words"},
                    },
                    {"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}},
                    {"type": "document", "source": {"type": "file", "file_id": "f1"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "xyz"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1]}},
                    {"type": "tool_use", "id": "t2", "name": "f", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "a"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "t2",
                        "is_error": True,
                        "content": [{"type": "text", "text": "b"}],
                    },
                ],
            },
        ]
    )
    assert request.messages == (
        Message(
            "user",
            (
                Text("See"),
                Image(url="https://x/a.png"),
                Image(data="aGk=", media_type="image/png"),
                Document(media_type="text/plain", text="words", name="a"),
                Document(url="https://x/a.pdf"),
                Document(file_id="f1"),
            ),
        ),
        Message(
            "assistant",
            (
                Thinking("Hm", "sig"),
                Thinking("", redacted="xyz"),
                ToolCall("t1", "f", '{"a":[1]}'),
                ToolCall("t2", "f", "{}"),
            ),
        ),
        Message(
            "user",
            (ToolResult("t1", (Text("a"),)), ToolResult("t2", (Text("b"),), is_error=True)),
        ),
    )


SCHEMA: dict[str, Json] = {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": 0}, {"max_tokens": 0}),
        ({"stop_sequences": ["a"]}, {"stop": ("a",)}),
        ({"metadata": {"user_id": "u"}}, {"user": "u"}),
        ({"top_k": 5, "top_p": 1, "temperature": 0}, {"top_k": 5, "top_p": 1.0, "temperature": 0}),
        (
            {"tools": [{"name": "f", "description": "d", "input_schema": SCHEMA, "strict": True}]},
            {"tools": (Tool("f", "d", SCHEMA, True),)},
        ),
        ({"tool_choice": {"type": "any"}}, {"tool_choice": ToolChoice("any")}),
        ({"tool_choice": {"type": "none"}}, {"tool_choice": ToolChoice("none")}),
        (
            {"tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True}},
            {"tool_choice": ToolChoice("tool", "f"), "parallel_tools": False},
        ),
        ({"thinking": {"type": "disabled"}}, {"reasoning": Reasoning(enabled=False)}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            {"reasoning": Reasoning(budget_tokens=2048)},
        ),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
            {"reasoning": Reasoning(effort="high")},
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            {"response_format": ResponseFormat("json_schema", schema=SCHEMA)},
        ),
        (
            {"output_format": {"type": "json_schema", "schema": SCHEMA}},
            {"response_format": ResponseFormat("json_schema", schema=SCHEMA)},
        ),
        ({"container": "c"}, {"extra": {"container": "c"}}),
    ],
)
def test_settings_are_read(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    request = parse(**fields)
    assert {name: getattr(request, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": "left out"}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [USER, {"role": "user", "content": [{"type": "image"}]}]},
            "messages[1].content[0].source",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "id": "a", "name": "f", "input": "{}"}],
                    }
                ]
            },
            "messages[0].content[0].input",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "tool_result",
                                "tool_use_id": "a",
                                "content": [{"type": "text", "text": 5}],
                            }
                        ],
                    }
                ]
            },
            "messages[0].content[0].content[0].text",
        ),
        ({"system": 5}, "system"),
        ({"system": [{"type": "text"}]}, "system[0].text"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": ["f"]}, "tools[0]"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"stop_sequences": [5]}, "stop_sequences[0]"),
        ({"thinking": {"type": "enabled", "budget_tokens": "x"}}, "thinking.budget_tokens"),
        ({"metadata": {"user_id": 5}}, "metadata.user_id"),
        ({"stream": 1}, "stream"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        parse(**fields)
    assert error.value.param == param


def test_blocks_and_tools_of_anthropics_own_are_no_mistake() -> None:
    request = parse(
        [
            USER,
            {
                "role": "assistant",
                "content": [
                    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                    {"type": "container_upload", "file_id": "f"},
                ],
            },
        ],
        tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}],
    )
    assert request.tools[0].name == "web_search"
    assert request.source is not None
    sent = ANTHROPIC.render_request(request, TARGET)
    assert sent == request.source.body.replace(b'"auto"', b'"claude-there"', 1)


def test_counting_needs_no_limit() -> None:
    fields = parse_object(orjson.dumps({"model": "m", "messages": [USER]}))
    request = ANTHROPIC.parse_count_request(fields)
    assert (request.max_tokens, request.source) == (None, None)


def test_version_and_betas_of_the_client_go_on_to_anthropic() -> None:
    given = {"anthropic-version": "2023-01-01", "anthropic-beta": "a,b", "cookie": "secret"}
    assert ANTHROPIC.headers("k", parse(headers=given)) == {
        "anthropic-version": "2023-01-01",
        "anthropic-beta": "a,b",
        "x-api-key": "k",
    }
    other = ChatRequest("m", (), source=Source("openai", b"{}", given))
    assert ANTHROPIC.headers(None, other) == {"anthropic-version": "2023-06-01"}


def thinking(seal: str) -> dict[str, str]:
    return {"type": "thinking", "thinking": "Hm", "signature": seal}


def test_thinking_that_we_wrote_never_reaches_anthropic() -> None:
    request = parse(
        [
            USER,
            {"role": "assistant", "content": [thinking(OUR_SEAL), {"type": "text", "text": "é"}]},
            USER,
            {"role": "assistant", "content": [thinking(OUR_SEAL)]},
            USER,
            {"role": "assistant", "content": [thinking("theirs"), {"type": "text", "text": "b"}]},
            {"role": "user", "content": f"What is {OUR_SEAL}?"},
        ],
    )
    assert request.messages[1].parts[0] == Thinking("Hm")
    sent = orjson.loads(ANTHROPIC.render_request(request, TARGET))["messages"]
    assert sent == [
        USER,
        {"role": "assistant", "content": [{"type": "text", "text": "é"}]},
        USER,
        USER,
        {"role": "assistant", "content": [thinking("theirs"), {"type": "text", "text": "b"}]},
        {"role": "user", "content": f"What is {OUR_SEAL}?"},
    ]
