"""What the provider says when nothing goes wrong, in both dialects, as their SDKs read it."""

from __future__ import annotations

import base64
import json
import struct
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from pointsman.domain.usage import Usage
from pointsman.testing import Answer, FaultProvider, OddUsage
from pointsman.testing.plays import UsageKind

if TYPE_CHECKING:
    from tests.testing.conftest import Raw

TOOL = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
OPENAI_TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": TOOL}}]
ANTHROPIC_TOOLS = [{"name": "weather", "input_schema": TOOL}]
CALL = 'call weather {"city": "Rome", "days": 3}'
ARGUMENTS = {"city": "Rome", "days": 3}


async def test_a_whole_openai_answer_has_every_field(raw: Raw) -> None:
    seen = await raw.chat("one two", stream=False)
    reply = seen.json
    assert seen.status == 200 and seen.headers["content-type"] == "application/json"
    assert reply["object"] == "chat.completion" and reply["id"].startswith("chatcmpl-")
    assert reply["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "You said: one two",
                "refusal": None,
                "annotations": [],
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert (reply["usage"]["prompt_tokens"], reply["usage"]["completion_tokens"]) == (5, 4)
    assert reply["usage"]["total_tokens"] == 9


async def test_an_openai_stream_begins_with_the_role_and_ends_with_done(raw: Raw) -> None:
    seen = await raw.chat("one two")
    assert seen.is_whole and seen.headers["content-type"].startswith("text/event-stream")
    events = [event for _, event in seen.events]
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert seen.text == "You said: one two"
    assert events[-3]["choices"][0]["finish_reason"] == "stop"
    assert events[-2]["choices"] == [] and events[-2]["usage"]["completion_tokens"] == 4
    assert events[-1] == "[DONE]"
    assert all(event["usage"] is None for event in events[:-2])


async def test_an_openai_stream_reports_usage_only_when_asked(raw: Raw) -> None:
    seen = await raw.chat("one two", stream_options={})
    assert all("usage" not in event for _, event in seen.events[:-1])


async def test_an_anthropic_stream_has_its_events_in_order(raw: Raw) -> None:
    seen = await raw.message("one two", thinking={"type": "enabled", "budget_tokens": 1024})
    names = [name for name, _ in seen.events]
    assert names[:3] == ["message_start", "ping", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    kinds = [e["content_block"]["type"] for n, e in seen.events if n == "content_block_start"]
    assert kinds == ["thinking", "text"]
    assert seen.text == "You said: one two"
    assert all(name == event["type"] for name, event in seen.events)
    start, end = seen.events[0][1], seen.events[-2][1]
    assert start["message"]["usage"]["input_tokens"] == 5
    assert end["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert end["usage"]["output_tokens"] == raw.provider.journal.entries[0].billed.output


async def test_a_whole_anthropic_answer_carries_thinking_text_and_tool_use(raw: Raw) -> None:
    seen = await raw.message(
        CALL, stream=False, tools=ANTHROPIC_TOOLS, thinking={"type": "enabled"}
    )
    blocks = seen.json["content"]
    assert [block["type"] for block in blocks] == ["thinking", "tool_use"]
    assert blocks[0]["signature"] and blocks[1]["input"] == ARGUMENTS
    assert blocks[1]["id"].startswith("toolu_") and seen.json["stop_reason"] == "tool_use"


async def test_tool_arguments_stream_piece_by_piece_in_both_dialects(raw: Raw) -> None:
    chat = await raw.chat(CALL, tools=OPENAI_TOOLS)
    pieces = [
        call
        for _, event in chat.events[:-1]
        for choice in event["choices"]
        for call in choice["delta"].get("tool_calls", [])
    ]
    assert pieces[0]["function"]["name"] == "weather" and pieces[0]["id"].startswith("call_")
    assert len(pieces) > 3
    assert json.loads("".join(piece["function"]["arguments"] for piece in pieces)) == ARGUMENTS

    message = await raw.message(CALL, tools=ANTHROPIC_TOOLS)
    partial = [
        event["delta"]["partial_json"]
        for name, event in message.events
        if name == "content_block_delta"
    ]
    assert len(partial) > 3 and json.loads("".join(partial)) == ARGUMENTS


async def test_parallel_calls_have_indices_of_their_own(raw: Raw) -> None:
    seen = await raw.chat(f"{CALL} then {CALL}", tools=OPENAI_TOOLS)
    indices = {
        call["index"]
        for _, event in seen.events[:-1]
        for choice in event["choices"]
        for call in choice["delta"].get("tool_calls", [])
    }
    assert indices == {0, 1}


async def test_structured_output_fits_its_schema_in_both_dialects(raw: Raw) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": TOOL}}
    chat = await raw.chat(stream=False, response_format=form)
    jsonschema.validate(json.loads(chat.json["choices"][0]["message"]["content"]), TOOL)
    config = {"format": {"type": "json_schema", "schema": TOOL}}
    message = await raw.message(stream=False, output_config=config)
    jsonschema.validate(json.loads(message.json["content"][0]["text"]), TOOL)


async def test_reasoning_is_shown_and_counted(raw: Raw) -> None:
    seen = await raw.chat("why", stream=False, reasoning_effort="low")
    reply = seen.json
    assert reply["choices"][0]["message"]["reasoning_content"]
    details = reply["usage"]["completion_tokens_details"]
    assert 0 < details["reasoning_tokens"] < reply["usage"]["completion_tokens"]


async def test_several_choices_are_each_paid_for(raw: Raw) -> None:
    seen = await raw.chat("one two", stream=False, n=3)
    assert [choice["index"] for choice in seen.json["choices"]] == [0, 1, 2]
    assert seen.json["usage"]["completion_tokens"] == 12
    assert raw.provider.journal.entries[0].billed.output == 12


async def test_equal_requests_have_equal_answers_and_other_seeds_other_ids(
    raw: Raw, raw_of: type[Raw]
) -> None:
    first, again = [(await raw.chat(stream=False)).json["id"] for _ in range(2)]
    assert first == again
    async with FaultProvider(seed=1) as other:
        assert (await raw_of(other).chat(stream=False)).json["id"] != first


async def test_scripted_cache_reads_are_reported_in_each_dialects_own_way(raw: Raw) -> None:
    step = Answer("ok", cached=3, cache_write=1)
    raw.provider.script(step, step)
    chat = (await raw.chat("a b c d e", stream=False)).json["usage"]
    assert chat["prompt_tokens"] == 8 and chat["prompt_tokens_details"]["cached_tokens"] == 3
    message = (await raw.message("a b c d e", stream=False)).json["usage"]
    assert message["input_tokens"] == 4
    assert message["cache_read_input_tokens"] == 3 and message["cache_creation_input_tokens"] == 1
    billed = {entry.billed for entry in raw.provider.journal.entries}
    assert billed == {Usage(input=8, output=1, cached=3, cache_write=1)}


async def test_embeddings_are_unit_vectors_and_the_same_in_base64(raw: Raw) -> None:
    asked: dict[str, Any] = {"model": "e", "input": ["one two", "three"], "dimensions": 8}
    seen = (await raw.send(asked, "/v1/embeddings")).json
    assert [row["index"] for row in seen["data"]] == [0, 1]
    vector = seen["data"][0]["embedding"]
    assert len(vector) == 8 and sum(x * x for x in vector) == pytest.approx(1)
    assert seen["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    packed = await raw.send({**asked, "encoding_format": "base64"}, "/v1/embeddings")
    raw_bytes = base64.b64decode(packed.json["data"][0]["embedding"])
    assert struct.unpack("<8f", raw_bytes) == pytest.approx(vector)
    assert raw.provider.journal.billed() == Usage(input=6)


async def test_token_lists_can_be_embedded(raw: Raw) -> None:
    seen = await raw.send({"model": "e", "input": [1, 2, 3]}, "/v1/embeddings")
    assert len(seen.json["data"]) == 1 and seen.json["usage"]["prompt_tokens"] == 3


async def test_counted_tokens_are_what_the_same_message_is_billed(raw: Raw) -> None:
    fields = {"model": "c", "messages": [{"role": "user", "content": "a b c"}], "system": "be kind"}
    counted = await raw.send(fields, "/v1/messages/count_tokens", anthropic_version="x")
    await raw.send({**fields, "max_tokens": 5}, "/v1/messages", anthropic_version="x")
    counting, asking = raw.provider.journal.entries
    assert counting.billed == Usage() and raw.provider.journal.calls == (asking,)
    assert counted.json == {"input_tokens": asking.billed.input}


async def test_models_are_listed_in_the_clients_dialect(raw_of: type[Raw]) -> None:
    async with FaultProvider(models=("small", "large")) as provider:
        raw = raw_of(provider)
        openai = await raw.send(b"", "/v1/models", method="GET")
        assert [row["id"] for row in openai.json["data"]] == ["small", "large"]
        anthropic = await raw.send(b"", "/v1/models", method="GET", anthropic_version="x")
        assert anthropic.json["first_id"] == "small" and anthropic.json["has_more"] is False
        unknown = await raw.chat(model="other")
        assert unknown.status == 404 and unknown.json["error"]["code"] == "model_not_found"


async def test_a_wrong_key_is_refused_in_the_dialect_and_a_revoked_one_too(
    raw_of: type[Raw],
) -> None:
    async with FaultProvider(keys=("good",)) as provider:
        raw = raw_of(provider)
        fields = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 9}
        good = await raw.send(fields, authorization="Bearer good")
        bad = await raw.send(fields, authorization="Bearer bad")
        message = await raw.send(fields, "/v1/messages", x_api_key="bad", anthropic_version="x")
        assert [good.status, bad.status, message.status] == [200, 401, 401]
        assert bad.json["error"]["code"] == "invalid_api_key"
        assert message.json["error"]["type"] == "authentication_error"
        assert provider.keys is not None
        provider.keys.discard("good")
        assert (await raw.send(fields, authorization="Bearer good")).status == 401
        assert provider.journal.billed() == provider.journal.entries[0].billed


async def test_anthropic_insists_on_its_version_header(raw: Raw) -> None:
    fields = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    seen = await raw.send(fields, "/v1/messages")
    assert seen.status == 400 and "anthropic-version" in seen.json["error"]["message"]


async def test_azures_path_names_the_model(raw: Raw) -> None:
    path = "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"
    seen = await raw.send({"messages": [{"role": "user", "content": "x"}]}, path, api_key="k")
    assert seen.json["model"] == "my-gpt"
    assert raw.provider.journal.entries[0].model == "my-gpt"


async def test_what_is_not_json_is_answered_with_400_and_costs_nothing(raw: Raw) -> None:
    for body in (b"{", b"[1]", b"\xff", b""):
        seen = await raw.send(body)
        assert seen.status == 400 and seen.json["error"]["type"] == "invalid_request_error"
    assert raw.provider.journal.billed() == Usage()


# Usage, told oddly. What is billed stays true: six tokens in, three out.

TOLD: dict[UsageKind, tuple[Any, Any]] = {
    # kind: (what OpenAI's last word is, as (input, output) or as it stands; Anthropic's)
    "missing": ("absent", "absent"),
    "null": (None, None),
    "zero": ((0, 0), {"output_tokens": 0}),
    "negative": ((-7, -4), {"output_tokens": -4}),
    "huge": ((2**60 + 6, 2**60 + 3), {"output_tokens": 2**60 + 3}),
    "float": ((6.5, 3.5), {"output_tokens": 3.5}),
    "string": (("6", "3"), {"output_tokens": "3"}),
    "empty_object": ({}, {}),
    "not_an_object": ("plenty", "plenty"),
    "only_total": ({"total_tokens": 9}, {"total_tokens": 9}),
    "wrong_total": ((6, 3), {"output_tokens": 3}),
    "twice": ((6, 3), {"output_tokens": 3}),
    "twice_growing": ((6, 3), {"output_tokens": 3}),
    "cumulative": ((6, 3), {"output_tokens": 3}),
    "unasked": ((6, 3), {"output_tokens": 3}),
    "early": ((6, 3), "absent"),
    "cached_above_input": ((6, 3), {"output_tokens": 3}),
    "reasoning_above_output": ((6, 3), {"output_tokens": 3}),
}


@pytest.mark.parametrize(("kind", "told"), TOLD.items())
async def test_odd_usage_is_told_as_scripted_and_billed_truly(
    raw: Raw, kind: UsageKind, told: tuple[Any, Any]
) -> None:
    step = (Answer("a b c"), OddUsage(kind))
    raw.provider.script(step, step)
    chat = await raw.chat()
    reports = [e["usage"] for _, e in chat.events[:-1] if not e["choices"]]
    shown: Any = reports[-1] if reports else "absent"
    if isinstance(told[0], tuple):
        shown = (shown["prompt_tokens"], shown["completion_tokens"])
    assert shown == told[0]
    message = await raw.message()
    last = [event for name, event in message.events if name == "message_delta"][-1]
    assert last.get("usage", "absent") == told[1]
    assert {entry.billed for entry in raw.provider.journal.entries} == {Usage(input=6, output=3)}


async def test_whole_answers_tell_odd_usage_too(raw: Raw) -> None:
    raw.provider.script(OddUsage("missing"), OddUsage("zero"), OddUsage("wrong_total"))
    assert "usage" not in (await raw.chat(stream=False)).json
    assert (await raw.message(stream=False)).json["usage"]["output_tokens"] == 0
    usage = (await raw.chat(stream=False)).json["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] + 100


async def test_honest_splits_are_billed_as_they_are_told(raw: Raw) -> None:
    raw.provider.script(OddUsage("cached"), OddUsage("reasoning"))
    cached = (await raw.chat("a b c", stream=False)).json["usage"]
    reasoned = (await raw.chat("a b c", stream=False)).json["usage"]
    first, second = raw.provider.journal.entries
    assert first.billed.cached == 3 == cached["prompt_tokens_details"]["cached_tokens"]
    told = reasoned["completion_tokens_details"]["reasoning_tokens"]
    assert second.billed.reasoning == told > 0


async def test_growing_usage_comes_with_every_event(raw: Raw) -> None:
    raw.provider.script((Answer("a b c"), OddUsage("cumulative")))
    seen = await raw.chat()
    outputs = [e["usage"]["completion_tokens"] for _, e in seen.events[:-1]]
    assert outputs == [0, 1, 2, 3, 3, 3]


async def test_early_usage_comes_before_content(raw: Raw) -> None:
    raw.provider.script((Answer("a b c"), OddUsage("early")))
    events = [event for _, event in (await raw.chat()).events]
    assert events[1]["choices"] == [] and events[1]["usage"]["completion_tokens"] == 3


async def test_unasked_usage_comes_all_the_same(raw: Raw) -> None:
    raw.provider.script(OddUsage("unasked"))
    seen = await raw.chat(stream_options={})
    assert seen.events[-2][1]["usage"]["prompt_tokens"] == 6


async def test_the_journal_keeps_what_was_told_beside_what_was_billed(raw: Raw) -> None:
    raw.provider.script((Answer("a b c"), OddUsage("zero")), Answer("a b c"))
    for _ in range(2):
        await raw.chat()
    odd, true = raw.provider.journal.entries
    assert isinstance(odd.reported, dict) and odd.reported["completion_tokens"] == 0
    assert isinstance(true.reported, dict) and true.reported["completion_tokens"] == 3
    assert odd.billed == true.billed == Usage(input=6, output=3)
