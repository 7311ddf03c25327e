"""A stream ends once: properly, or with an error event; promptly; in either dialect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from e2e_house import House

from pointsman.dialects.openai_chat.encoder import OpenAIEncoder
from pointsman.testing import Answer, Cut, ErrorEvent, Malformed, OddUsage, Slow, Truncate

CHUNK = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def openai_events(text: str = "hello") -> Iterator[bytes]:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    for fields in ({"choices": [choice]}, {"choices": [end]}, {"choices": [], "usage": usage}):
        yield b"data: " + json.dumps({**CHUNK, **fields}).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def anthropic_events(text: str = "hello") -> Iterator[bytes]:
    usage = {"input_tokens": 7, "output_tokens": 1}
    message = {"id": "", "type": "message", "role": "assistant", "content": [], "usage": usage}
    block = {"type": "text", "text": ""}
    for name, fields in (
        ("message_start", {"message": {**message, "model": "m"}}),
        ("content_block_start", {"index": 0, "content_block": block}),
        ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": text}}),
        ("content_block_stop", {"index": 0}),
        ("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}),
        ("message_stop", {}),
    ):
        data = json.dumps({"type": name, **fields}).encode()
        yield b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


class Line:
    """A provider that says `pieces` and then keeps the connection open."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for piece in self.pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        try:
            await writer.drain()
            while await reader.read(65536):
                pass
        except ConnectionError:
            pass
        self.closed.set()
        writer.close()


class Held:
    """Stands in for a deployment's provider while it is entered."""

    def __init__(self, house: House, name: str, pieces: list[bytes]) -> None:
        self.line = Line(pieces)
        self._upstream: Any = house.gateway.stacks[name].limits.inner.inner  # type: ignore[attr-defined]

    async def __aenter__(self) -> Line:
        from dataclasses import replace

        self._server = await asyncio.start_server(self.line.serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        provider = self._upstream.provider
        endpoint = replace(provider.endpoint, base_url=f"http://127.0.0.1:{port}")
        self._upstream.provider = replace(provider, endpoint=endpoint)
        return self.line

    async def __aexit__(self, *error: object) -> None:
        self._server.close()


async def stream(house: House, wire: str, model: str, text: str = "a b c d e") -> Any:
    ask = house.chat if wire == "openai" else house.message
    more = {"stream_options": {"include_usage": True}} if wire == "openai" else {}
    return await ask(text, model=model, stream=True, **more)


def ended_properly(wire: str, events: list[Any]) -> bool:
    last = events[-1]
    return bool(last == "[DONE]" if wire == "openai" else last["type"] == "message_stop")


def ended_in_error(wire: str, events: list[Any]) -> bool:
    last = events[-1]
    return last != "[DONE]" and bool(
        "error" in last if wire == "openai" else last["type"] == "error"
    )


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("model", ["first", "second"])
async def test_a_stream_is_over_at_its_last_word_though_the_provider_holds_the_line(
    house: House, wire: str, model: str
) -> None:
    pieces = list(openai_events() if model == "first" else anthropic_events())
    async with Held(house, model, pieces) as line, asyncio.timeout(1.0):
        got = await stream(house, wire, model)
        await line.closed.wait()
    assert ended_properly(wire, got.events())
    assert b"error" not in got.body
    entry = (await house.told())[0]
    assert (entry.outcome, entry.usage.input, entry.usage.output) == ("ok", 7, 3)
    assert not entry.usage.estimated


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_a_finish_reason_is_an_end_though_done_never_comes(house: House, wire: str) -> None:
    pieces = list(openai_events())[:2]
    async with Held(house, "first", pieces), asyncio.timeout(3.0):
        got = await stream(house, wire, "auto")
    assert got.headers["x-pointsman-deployment"] == "first"
    assert ended_properly(wire, got.events())
    assert b"error" not in got.body
    assert (await house.told())[0].outcome == "ok"


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("model", ["first", "second"])
@pytest.mark.parametrize(
    "play",
    [
        Cut(after_tokens=2),
        Cut(how="fin", after_tokens=2),
        Truncate(2),
        ErrorEvent(2),
        ErrorEvent(2, done=True),
        Malformed("bad_json", 2),
        Malformed("not_utf8", 2),
        Malformed("wrong_shape", 2),
        Malformed("deep", 2),
    ],
    ids=repr,
)
async def test_each_failure_after_content_is_one_error_event_and_one_entry(
    house: House, wire: str, model: str, play: Any
) -> None:
    provider = house.openai if model == "first" else house.claude
    provider.script((Slow(tokens_per_second=500), play))
    got = await stream(house, wire, model)
    events = got.events()
    assert ended_in_error(wire, events), events[-3:]
    assert sum(ended_in_error(wire, [event]) for event in events) == 1
    assert not any(ended_properly(wire, [event]) for event in events)
    entry = (await house.told())[0]
    assert entry.outcome not in ("ok", "abandoned")
    assert len(house.ledger.entries) == 1
    assert [stack.meter.in_flight for stack in house.gateway.stacks.values()] == [0, 0, 0]


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("model", ["first", "second"])
async def test_a_deadline_in_the_middle_is_told(house: House, wire: str, model: str) -> None:
    provider = house.openai if model == "first" else house.claude
    provider.script((Slow(tokens_per_second=20),))
    body = {
        "model": model,
        "max_tokens": 900,
        "stream": True,
        "timeout": 0.3,
        "messages": [{"role": "user", "content": "a " * 100}],
    }
    path = "/v1/chat/completions" if wire == "openai" else "/v1/messages"
    got = await house.post(path, body)
    assert ended_in_error(wire, got.events())
    if wire == "openai":
        assert got.events()[-1]["error"]["code"] == "deadline_exceeded"
    entry = (await house.told())[0]
    assert (entry.status, entry.outcome, entry.error_code) == (200, "timeout", "deadline_exceeded")
    assert house.gateway.stacks[model].breaker.state == "closed"


async def test_our_own_mistake_in_a_stream_is_told_and_logged(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def trip(self: object, event: object) -> bytes:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(OpenAIEncoder, "encode", trip)
    caplog.set_level("ERROR", logger="pointsman")
    house.claude.script((Slow(tokens_per_second=100),))
    got = await stream(house, "openai", "second")
    assert ended_in_error("openai", got.events())
    assert got.events()[-1]["error"]["code"] == "internal_error"
    assert "a mistake" not in got.body.decode()
    assert any("crashed" in record.message for record in caplog.records)
    entry = (await house.told())[0]
    assert entry.error_code == "internal_error"
    assert entry.status != 499
    assert house.gateway.stacks["second"].meter.in_flight == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_in_the_other_dialect_has_an_id_and_a_date(
    house: House, stream: bool
) -> None:
    got = await house.chat(model="second", stream=stream)
    shown = got.events()[0] if stream else got.json
    assert shown["created"] > 1_700_000_000
    async with Held(house, "second", list(anthropic_events())):
        got = await house.chat(model="second", stream=True)
    assert got.events()[0]["id"].startswith("chatcmpl-")
    assert got.events()[0]["id"] != "chatcmpl-0"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("model", ["first", "second"])
async def test_a_reported_zero_is_zero_and_what_is_missing_is_estimated(
    house: House, wire: str, model: str, stream: bool
) -> None:
    provider = house.openai if model == "first" else house.claude
    ask = house.chat if wire == "openai" else house.message
    provider.script(OddUsage("zero"))
    await ask("one two three", model=model, stream=stream)
    provider.script(OddUsage("missing"))
    await ask("one two three", model=model, stream=stream)
    zero, missing = await house.told(2)
    assert (zero.usage.total, zero.usage.estimated, zero.cost_nano) == (0, False, 0)
    assert missing.usage.estimated
    assert missing.usage.input > 0
    assert 3 <= missing.usage.output <= 20


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_tool_calls_count_where_usage_is_missing(house: House, wire: str) -> None:
    provider = house.openai
    call = (("weather", '{"city": "' + "x" * 400 + '"}'),)
    provider.script((Answer(text="", calls=call), OddUsage("missing")))
    ask = house.chat if wire == "openai" else house.message
    assert (await ask("w", model="first")).status == 200
    entry = (await house.told())[0]
    assert entry.usage.output >= 100


@pytest.mark.parametrize("model", ["first", "second"])
async def test_a_stream_that_a_shutdown_cancels_is_told_so(house: House, model: str) -> None:
    provider = house.openai if model == "first" else house.claude
    provider.script((Slow(tokens_per_second=50),))
    asking = asyncio.create_task(stream(house, "openai", model, "a " * 100))
    async with asyncio.timeout(2):
        while not house.gateway.stacks[model].meter.in_flight:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)
    await house.server.finish(0.0)
    got = await asking
    assert got.events()[-1]["error"]["code"] == "draining"
    entry = (await house.told())[0]
    assert (entry.status, entry.error_code) == (200, "draining")
