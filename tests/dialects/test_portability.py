"""What is carried, dropped and refused when a request moves to the other dialect."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from pointsman.dialects.portability import TABLES, Row
from pointsman.dialects.registry import DIALECTS
from pointsman.dialects.strict_json import parse_object
from pointsman.domain.content import Image, Message, Text, Tool, ToolCall, ToolResult
from pointsman.domain.deployment import Deployment
from pointsman.domain.reply import ChatReply, Started, ToolCallStarted
from pointsman.domain.request import ChatRequest, Source
from pointsman.errors import InvalidRequest

USER = {"role": "user", "content": "Hi"}
CAPABLE = frozenset({"chat", "tools", "json", "json_schema", "reasoning"})


def moved(client: str, upstream: str, model: str = "m", **fields: Any) -> dict[str, Any]:
    """Return what a provider of the other dialect is sent."""
    target = Deployment("d", "p", model, "frontier", upstream, None, capabilities=CAPABLE)
    body = orjson.dumps({"model": "auto", "messages": [USER], **fields})
    request = DIALECTS[client].parse_request(parse_object(body), Source(client, body))
    sent: dict[str, Any] = orjson.loads(DIALECTS[upstream].render_request(request, target))
    return sent


def to_anthropic(model: str = "claude-sonnet-4-5", **fields: Any) -> dict[str, Any]:
    return moved("openai", "anthropic", model, **fields)


def to_openai(model: str = "m", **fields: Any) -> dict[str, Any]:
    return moved("anthropic", "openai", model, **{"max_tokens": 9, **fields})


def rows(client: str, upstream: str, fate: str) -> list[Row]:
    return [
        row
        for row in TABLES[client, upstream]
        if row.fate == fate and "[" not in row.field and "." not in row.field
    ]


PAIRS = list(TABLES)
GIVEN: dict[str, Any] = {"n": 2, "functions": [{"name": "f"}], "seed": 3, "top_k": 3}


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_a_refused_field_is_named_unless_it_asks_for_nothing(client: str, upstream: str) -> None:
    least: dict[str, Any] = {"max_tokens": 9} if client == "anthropic" else {}
    for row in rows(client, upstream, "refused"):
        given: Any = GIVEN.get(row.field, {"x": 1})
        with pytest.raises(InvalidRequest) as error:
            moved(client, upstream, **{**least, row.field: given})
        assert error.value.param == row.field
        for harmless in (None, *row.unless):
            moved(client, upstream, **{**least, row.field: harmless})


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_a_dropped_or_unknown_field_leaves_no_trace(client: str, upstream: str) -> None:
    least: dict[str, Any] = {"max_tokens": 9} if client == "anthropic" else {}
    plain = moved(client, upstream, **least)
    for name in (*(row.field for row in rows(client, upstream, "dropped")), "x_vendor"):
        sent = moved(client, upstream, **{**least, name: GIVEN.get(name, {"x": 1})})
        assert sent == plain


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_no_row_stands_twice_and_each_says_why(client: str, upstream: str) -> None:
    table = TABLES[client, upstream]
    assert len({row.field for row in table}) == len(table)
    assert all(row.note for row in table if row.fate != "carried")


def test_extra_of_messages_parts_and_tools_does_not_leak() -> None:
    marked = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    tool = {"name": "f", "input_schema": {"type": "object"}, "cache_control": {}}
    sent = to_openai(messages=[{"role": "user", "content": [marked]}], tools=[tool])
    assert b"cache_control" not in orjson.dumps(sent)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools"),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "server_tool_use", "id": "s", "name": "x", "input": {}}
                        ],
                    }
                ]
            },
            "messages",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}],
                    }
                ]
            },
            "messages",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "tool_result",
                                "tool_use_id": "t",
                                "content": [{"type": "search_result", "source": "x"}],
                            }
                        ],
                    }
                ]
            },
            "messages",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "document", "source": {"type": "url", "url": "https://x/a"}}
                        ],
                    }
                ]
            },
            "messages",
        ),
    ],
)
def test_what_only_anthropic_understands_is_not_sent_to_openai(
    fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as error:
        to_openai(**fields)
    assert (error.value.param, error.value.code) == (param, "unsupported_parameter")


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "custom", "custom": {"name": "grep"}}]},
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}},
        {"response_format": {"type": "grammar"}},
        {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {}}]}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}
                    ],
                }
            ]
        },
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
        {"messages": [USER, {"role": "function", "name": "f", "content": "x"}]},
        {"stop": ["\n"]},
    ],
)
def test_what_only_openai_understands_is_not_sent_to_anthropic(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as error:
        to_anthropic(**fields)
    assert error.value.param == next(iter(fields))


def test_system_messages_anywhere_become_system_blocks_in_order() -> None:
    sent = to_anthropic(
        messages=[
            {"role": "system", "content": "a"},
            USER,
            {"role": "developer", "content": "b"},
            {"role": "assistant", "content": "c"},
            {"role": "user", "content": ""},
        ]
    )
    assert sent["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant"]


def test_a_conversation_of_system_words_alone_is_asked_by_the_user() -> None:
    sent = to_anthropic(messages=[{"role": "system", "content": "Say hi."}])
    assert sent["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Say hi."}]}]
    assert "system" not in sent


def test_a_prefilled_answer_loses_its_trailing_space() -> None:
    sent = to_anthropic(messages=[USER, {"role": "assistant", "content": "The answer: \n"}])
    assert sent["messages"][-1]["content"][0]["text"] == "The answer:"


@pytest.mark.parametrize(
    ("default", "asked", "sent"), [(None, None, 4096), (100, None, 100), (100, 7, 7), (100, 0, 0)]
)
def test_anthropic_is_always_told_a_limit(
    default: int | None, asked: int | None, sent: int
) -> None:
    target = Deployment("d", "p", "m", "frontier", "anthropic", None, default_max_tokens=default)
    request = ChatRequest("auto", (Message("user", (Text("Hi"),)),), max_tokens=asked)
    fields = orjson.loads(DIALECTS["anthropic"].render_request(request, target))
    assert fields["max_tokens"] == sent


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o", "max_tokens"),
        ("qwen3-32b", "max_tokens"),
        ("o3-mini", "max_completion_tokens"),
        ("gpt-5.2", "max_completion_tokens"),
        ("openai/gpt-5", "max_completion_tokens"),
        ("foo3", "max_tokens"),
    ],
)
def test_openais_reasoning_models_are_told_the_limit_by_its_new_name(model: str, name: str) -> None:
    assert to_openai(model)[name] == 9


@pytest.mark.parametrize(
    ("model", "thinking", "config"),
    [
        ("claude-sonnet-4-5-20250929", {"type": "enabled", "budget_tokens": 8192}, None),
        ("claude-3-7-sonnet-20250219", {"type": "enabled", "budget_tokens": 8192}, None),
        ("claude-sonnet-4-20250514", {"type": "enabled", "budget_tokens": 8192}, None),
        ("some-compatible-model", {"type": "enabled", "budget_tokens": 8192}, None),
        ("claude-opus-4-6", {"type": "adaptive"}, {"effort": "medium"}),
        ("anthropic/claude-opus-4.7", {"type": "adaptive"}, {"effort": "medium"}),
        ("claude-sonnet-5", {"type": "adaptive"}, {"effort": "medium"}),
        ("claude-opus-5-20260101", {"type": "adaptive"}, {"effort": "medium"}),
    ],
)
def test_thinking_is_asked_for_in_the_form_the_model_takes(
    model: str, thinking: dict[str, Any], config: dict[str, Any] | None
) -> None:
    sent = to_anthropic(model, reasoning_effort="medium", max_tokens=50_000, temperature=0.5)
    assert (sent["thinking"], sent.get("output_config")) == (thinking, config)
    assert "temperature" not in sent


def test_a_thinking_budget_leaves_room_for_the_answer() -> None:
    sent = to_anthropic(reasoning_effort="high", max_tokens=4096)
    assert sent["thinking"]["budget_tokens"] == 2048
    assert "thinking" not in to_anthropic(reasoning_effort="high", max_tokens=1000)


def test_thinking_is_not_asked_for_where_it_would_be_refused() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    loop = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ]
    tools = [{"type": "function", "function": {"name": "f"}}]
    wants: dict[str, Any] = {"reasoning_effort": "high", "max_tokens": 9000, "tools": tools}
    assert "thinking" not in to_anthropic(messages=loop, **wants)
    assert "thinking" not in to_anthropic(tool_choice="required", **wants)
    assert "thinking" in to_anthropic("claude-opus-4-6", messages=loop, **wants)
    assert "thinking" in to_anthropic(**wants)
    assert "thinking" not in to_anthropic(**{**wants, "reasoning_effort": "none"})


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 8000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 32000}}, "high"),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "xhigh"),
        ({"thinking": {"type": "disabled"}}, None),
    ],
)
def test_a_budget_becomes_an_effort(fields: dict[str, Any], effort: str | None) -> None:
    assert to_openai(**fields).get("reasoning_effort") == effort


def test_a_model_that_does_not_reason_is_not_asked_to() -> None:
    request = ChatRequest("auto", (Message("user", (Text("Hi"),)),))
    body = orjson.dumps({"model": "a", "messages": [USER], "reasoning_effort": "high"})
    request = DIALECTS["openai"].parse_request(parse_object(body), Source("openai", body))
    plain = Deployment("d", "p", "m", "frontier", "any", None)
    for upstream in ("openai", "anthropic"):
        there = replace(request, source=None)
        sent = orjson.loads(DIALECTS[upstream].render_request(there, plain))
        assert not {"reasoning_effort", "thinking", "output_config"} & sent.keys()


def test_sampling_is_fitted_to_the_model() -> None:
    assert to_anthropic(temperature=1.7)["temperature"] == 1.0
    both = to_anthropic(temperature=0.5, top_p=0.9)
    assert both["temperature"] == 0.5
    assert "top_p" not in both
    newest = to_anthropic("claude-opus-4-7", temperature=0.5, top_k=3)
    assert not {"temperature", "top_k"} & newest.keys()


def test_json_is_asked_for_as_far_as_the_model_can() -> None:
    sent = to_anthropic(response_format={"type": "json_object"})
    assert "JSON" in sent["system"][-1]["text"]
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    sent = to_anthropic(response_format=schema)
    assert sent["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {"type": "object"},
    }
    body = orjson.dumps({"model": "a", "messages": [USER], "response_format": schema})
    request = DIALECTS["openai"].parse_request(parse_object(body), Source("openai", body))
    plain = Deployment("d", "p", "m", "frontier", "anthropic", None)
    with pytest.raises(InvalidRequest, match="json_schema"):
        DIALECTS["anthropic"].render_request(request, plain)


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        ({"type": "object", "properties": {}, "additionalProperties": False}, None),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "string"}},
                "required": ["a"],
                "additionalProperties": False,
            },
            True,
        ),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "object", "properties": {"b": {}}}},
                "required": ["a"],
                "additionalProperties": False,
            },
            None,
        ),
        ({"type": "object"}, None),
    ],
)
def test_a_schema_is_strict_for_openai_only_where_openai_would_take_it(
    schema: dict[str, Any], strict: bool | None
) -> None:
    sent = to_openai(output_config={"format": {"type": "json_schema", "schema": schema}})
    assert sent["response_format"]["json_schema"].get("strict") == strict


def test_images_of_a_result_follow_it_in_a_user_message() -> None:
    image = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    sent = to_openai(
        messages=[
            USER,
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "a", "name": "f", "input": {}},
                    {"type": "tool_use", "id": "b", "name": "f", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "a",
                        "content": [{"type": "image", "source": image}],
                    },
                    {
                        "type": "tool_result",
                        "tool_use_id": "b",
                        "content": "no such file",
                        "is_error": True,
                    },
                    {"type": "text", "text": "Go on."},
                ],
            },
        ]
    )["messages"]
    assert [item["role"] for item in sent] == ["user", "assistant", "tool", "tool", "user"]
    assert sent[3] == {"role": "tool", "tool_call_id": "b", "content": "Error: no such file"}
    assert [part["type"] for part in sent[4]["content"]] == ["image_url", "text"]


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize(
    "call_id", ["functions.f:0", "call_" + "x" * 90, "weird id é", "", "call_ok"]
)
def test_ids_are_made_acceptable_the_same_in_call_and_result(dialect: str, call_id: str) -> None:
    request = ChatRequest(
        "auto",
        (
            Message("user", (Text("Hi"),)),
            Message("assistant", (ToolCall(call_id, "f", "{}"),)),
            Message("user", (ToolResult(call_id, (Text("x"),)),)),
        ),
    )
    target = Deployment("d", "p", "m", "frontier", dialect, None)
    body = DIALECTS[dialect].render_request(request, target)
    messages = orjson.loads(body)["messages"]
    if dialect == "openai":
        ids = [messages[1]["tool_calls"][0]["id"], messages[2]["tool_call_id"]]
        assert len(ids[0]) <= 40
    else:
        ids = [messages[1]["content"][0]["id"], messages[2]["content"][0]["tool_use_id"]]
        assert ids[0].replace("_", "").isalnum()
    assert ids[0] == ids[1] != ""
    accepted = {"call_ok", "functions.f:0"} if dialect == "openai" else {"call_ok"}
    assert (ids[0] == call_id) is (call_id in accepted)
    assert body == DIALECTS[dialect].render_request(request, target)


def test_a_tools_long_name_comes_back_as_the_client_gave_it() -> None:
    long = "mcp__server__" + "x" * 80
    request = ChatRequest("auto", (), tools=(Tool(long),))
    for dialect in DIALECTS.values():
        target = Deployment("d", "p", "m", "frontier", dialect.name, None)
        asked = replace(request, messages=(Message("user", (Text("Hi"),)),))
        sent = orjson.loads(dialect.render_request(asked, target))["tools"][0]
        short = sent.get("function", sent)["name"]
        assert len(short) <= 64
        reply = ChatReply("i", "m", (ToolCall("c", short, "{}"),), finish="tool_calls")
        assert long.encode() in dialect.render_reply(reply, request)
        encoder = dialect.encoder(request)
        stream = encoder.encode(Started("i", "m")) + encoder.encode(ToolCallStarted(0, "c", short))
        assert long.encode() in stream + encoder.end()


def test_arguments_keep_their_bytes_and_what_is_no_object_is_kept_as_text() -> None:
    for arguments, there in (
        ('{"a": 1.0, "b": 12345678901234567890}', b'"input":{"a": 1.0, "b": 12345678901234567890}'),
        ("", b'"input":{}'),
        ("{bad", b'"input":{"arguments":"{bad"}'),
        ("[1]", b'"input":{"arguments":"[1]"}'),
    ):
        request = ChatRequest(
            "auto",
            (
                Message("user", (Text("Hi"),)),
                Message("assistant", (ToolCall("c", "f", arguments),)),
            ),
        )
        target = Deployment("d", "p", "m", "frontier", "anthropic", None)
        assert there in DIALECTS["anthropic"].render_request(request, target)


def test_a_picture_without_words_stays_a_picture() -> None:
    request = ChatRequest("auto", (Message("user", (Image(url="https://x/a.png", detail="low"),)),))
    target = Deployment("d", "p", "m", "frontier", "openai", None)
    sent = orjson.loads(DIALECTS["openai"].render_request(request, target))["messages"][0]
    assert sent["content"] == [
        {"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "low"}}
    ]
