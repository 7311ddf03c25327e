"""What clients of OpenAI's dialect send, and how it is read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pointsman.dialects.registry import DIALECTS
from pointsman.dialects.strict_json import parse_object
from pointsman.domain.content import (
    Audio,
    Document,
    Image,
    Message,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from pointsman.domain.deployment import Deployment
from pointsman.domain.request import ChatRequest, Source
from pointsman.errors import InvalidRequest

OPENAI = DIALECTS["openai"]
USER = {"role": "user", "content": "Hi"}


def parse(messages: Any = None, **more: Any) -> ChatRequest:
    fields = {"model": "auto", "messages": [USER] if messages is None else messages, **more}
    body = orjson.dumps({name: value for name, value in fields.items() if value != "left out"})
    return OPENAI.parse_request(parse_object(body), Source("openai", body))


def target(model: str = "auto") -> Deployment:
    return Deployment("d", "p", model, "frontier", "openai", None)


def test_roles_anywhere_names_and_unknown_fields_are_kept() -> None:
    request = parse(
        [
            {"role": "developer", "content": "Be terse.", "name": "boss"},
            {"role": "user", "content": "Hi", "x_vendor": 1},
            {"role": "system", "content": [{"type": "text", "text": "Now kind."}]},
        ],
        min_p=0.1,
        provider={"order": ["a"]},
    )
    assert request.messages == (
        Message("system", (Text("Be terse."),), "boss"),
        Message("user", (Text("Hi"),), extra={"x_vendor": 1}),
        Message("system", (Text("Now kind."),)),
    )
    assert request.extra == {"min_p": 0.1, "provider": {"order": ["a"]}}


def test_parts_of_every_type_are_read() -> None:
    request = parse(
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "See", "cache_control": {"type": "ephemeral"}},
                    {"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                    {"type": "image_url", "image_url": "https://x/b.png"},
                    {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
                    {"type": "file", "file": {"file_id": "file-1"}},
                    {
                        "type": "file",
                        "file": {
                            "filename": "a.pdf",
                            "file_data": "data:application/pdf;base64,aGk=",
                        },
                    },
                ],
            }
        ]
    )
    assert request.messages[0].parts == (
        Text("See", {"cache_control": {"type": "ephemeral"}}),
        Image(url="https://x/a.png", detail="low"),
        Image(data="aGk=", media_type="image/png"),
        Image(url="https://x/b.png"),
        Audio("aGk=", "wav"),
        Document(file_id="file-1"),
        Document(media_type="application/pdf", data="aGk=", name="a.pdf"),
    )


def test_parallel_results_become_one_turn() -> None:
    calls = [
        {"id": f"c{i}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for i in range(2)
    ]
    request = parse(
        [
            USER,
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c0", "content": "a"},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "b"}]},
            USER,
        ]
    )
    assert request.messages[1].parts == (ToolCall("c0", "f", "{}"), ToolCall("c1", "f", "{}"))
    assert request.messages[2] == Message(
        "user", (ToolResult("c0", (Text("a"),)), ToolResult("c1", (Text("b"),)))
    )
    assert len(request.messages) == 4


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_that_comes_back_is_thinking(field: str) -> None:
    request = parse([USER, {"role": "assistant", "content": "42", field: "Hm"}, USER])
    assert request.messages[1].parts == (Thinking("Hm"), Text("42"))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_tokens": 5, "max_completion_tokens": 7}, {"max_tokens": 7}),
        ({"stream": True}, {"stream": True, "include_usage": False}),
        (
            {"stream": True, "stream_options": {"include_usage": True}},
            {"stream": True, "include_usage": True},
        ),
        ({"stop": "END"}, {"stop": ("END",)}),
        ({"stop": ["a", "b"]}, {"stop": ("a", "b")}),
        ({"stop": None, "temperature": None, "n": None}, {"stop": (), "choices": 1}),
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"n": 3}, {"choices": 3}),
        ({"seed": -4}, {"seed": -4}),
        ({"tool_choice": "required"}, {"tool_choice": ToolChoice("any")}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tool_choice": ToolChoice("tool", "f")},
        ),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}},
            {
                "tool_choice": None,
                "extra": {"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}},
            },
        ),
        ({"parallel_tool_calls": False}, {"parallel_tools": False}),
        ({"response_format": {"type": "json_object"}}, {"response_format": ResponseFormat("json")}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
                }
            },
            {
                "response_format": ResponseFormat(
                    "json_schema", "n", {"type": "object"}, strict=True
                )
            },
        ),
        (
            {"response_format": {"type": "grammar", "grammar": "x"}},
            {"extra": {"response_format": {"type": "grammar", "grammar": "x"}}},
        ),
        ({"reasoning_effort": "high"}, {"reasoning": Reasoning(effort="high")}),
        ({"reasoning_effort": "none"}, {"reasoning": Reasoning(enabled=False)}),
        ({"reasoning": {"max_tokens": 2000}}, {"reasoning": Reasoning(budget_tokens=2000)}),
        ({"reasoning": {"enabled": False}}, {"reasoning": Reasoning(enabled=False)}),
    ],
)
def test_settings_are_read(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    request = parse(**fields)
    assert {name: getattr(request, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": "left out"}, "model"),
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
        ({"messages": "left out"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
        ({"messages": [USER, {"role": "robot", "content": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
        (
            {"messages": [USER, USER, {"role": "user", "content": [{"text": "x"}]}]},
            "messages[2].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
            "messages[0].content[0].text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content[0].image_url",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "data:x,y"}}],
                    }
                ]
            },
            "messages[0].content[0].image_url.url",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]},
            "messages[0].tool_calls[0].function",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 5.0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"n": 0}, "n"),
        ({"max_completion_tokens": 5, "max_tokens": -1}, "max_tokens"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"type": {}}]}]},
            "messages[0].tool_calls[0].type",
        ),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", 5]}, "stop[1]"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            "tools[0].function.parameters",
        ),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"reasoning_effort": 5}, "reasoning_effort"),
        ({"user": 5}, "user"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        parse(**fields)
    assert error.value.param == param
    assert param in error.value.message


def test_parts_and_tools_we_do_not_know_are_no_mistake() -> None:
    request = parse(
        [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "u"}}]}],
        tools=[{"type": "custom", "custom": {"name": "grep"}}, {"type": "web_search"}],
    )
    assert [tool.name for tool in request.tools] == ["grep", "web_search"]
    assert OPENAI.render_request(request, target()) == request.source.body  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (None, {"include_usage": True}),
        ({"include_usage": False}, {"include_usage": True}),
        ({"x": 1.0}, {"x": 1.0, "include_usage": True}),
    ],
)
def test_a_stream_asks_the_provider_for_usage(options: Any, expected: dict[str, Any]) -> None:
    request = parse(stream=True, stream_options=options)
    assert orjson.loads(OPENAI.render_request(request, target()))["stream_options"] == expected


def test_a_stream_that_asks_itself_goes_out_untouched() -> None:
    request = parse(stream=True, stream_options={"include_usage": True})
    assert request.source is not None
    assert OPENAI.render_request(request, target()) == request.source.body


def test_ids_that_the_next_model_would_refuse_are_replaced_in_call_and_result() -> None:
    call = {"id": "call_0123456789abcdef", "type": "function", "function": {"name": "f"}}
    request = parse(
        [
            USER,
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_0123456789abcdef", "content": "x"},
        ],
        temperature=1.0,
    )
    assert request.source is not None
    assert OPENAI.render_request(request, target()) == request.source.body
    sent = orjson.loads(OPENAI.render_request(request, target("mistral-large-latest")))
    given = sent["messages"][1]["tool_calls"][0]["id"]
    assert sent["messages"][2]["tool_call_id"] == given
    assert len(given) == 9
    assert given.isalnum()
    again = orjson.loads(OPENAI.render_request(request, target("mistral-large-latest")))
    assert again == sent


def test_ids_are_replaced_beside_what_has_none() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    other = {"type": "custom", "custom": {"name": "g", "input": "x"}}
    messages = [
        {"role": "user", "content": "Hi", "tool_calls": True},
        {"role": "assistant", "content": None, "tool_calls": [call, other]},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
    ]
    sent = orjson.loads(OPENAI.render_request(parse(messages), target("mistral-large-latest")))
    first, second = sent["messages"][1]["tool_calls"]
    assert first["id"] == sent["messages"][2]["tool_call_id"] != "call_1"
    assert second == other
    assert sent["messages"][0] == messages[0]


def test_headers_carry_the_key_only() -> None:
    assert OPENAI.headers("k", parse()) == {"authorization": "Bearer k"}
    assert OPENAI.headers(None, parse()) == {}
