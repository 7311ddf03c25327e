"""Every fault of the catalogue really is on the wire as said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pointsman.domain.usage import Usage
from pointsman.testing import (
    Answer,
    Broken,
    Cut,
    Drip,
    ErrorEvent,
    Fail,
    FakeClock,
    FaultProvider,
    Hang,
    Instead,
    Malformed,
    Slow,
    Truncate,
)
from pointsman.testing.canned import CANNED, CONTEXT_DIALECTS, STREAM_ERRORS
from pointsman.testing.events import HUGE

if TYPE_CHECKING:
    from tests.testing.conftest import Raw

STATUSES = (400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 529)
ABC = Answer("a b c d e")
"""Five tokens, five events."""


@pytest.mark.parametrize("status", STATUSES)
async def test_an_error_status_comes_in_the_shape_of_the_requests_dialect(
    raw: Raw, status: int
) -> None:
    fail = Fail(status, {"Retry-After": "7", "x-should-retry": "false"})
    raw.provider.script(fail, fail)
    chat, message = await raw.chat(), await raw.message(stream=False)
    assert (chat.status, message.status) == (status, status)
    assert set(chat.json["error"]) >= {"message", "type", "param", "code"}
    assert message.json["type"] == "error" and message.json["error"]["type"]
    assert chat.headers["retry-after"] == "7" and chat.headers["x-should-retry"] == "false"
    assert raw.provider.journal.billed() == Usage()


async def test_retry_after_can_be_a_date(raw_of: type[Raw]) -> None:
    async with FaultProvider(clock=FakeClock(epoch=1_700_000_000.0)) as provider:
        provider.script(Fail(429, retry_at_s=90.0))
        seen = await raw_of(provider).chat()
    assert seen.headers["retry-after"] == "Tue, 14 Nov 2023 22:14:50 GMT"


@pytest.mark.parametrize("name", CANNED)
async def test_canned_errors_are_sent_with_their_own_status(raw: Raw, name: str) -> None:
    raw.provider.script(Fail(canned=name))
    seen = await raw.chat()
    assert (seen.status, seen.json) == (CANNED[name].status, CANNED[name].body)


def test_context_length_is_known_in_six_dialects_and_more() -> None:
    assert len(CONTEXT_DIALECTS) >= 6


async def test_an_error_body_can_be_anything(raw: Raw) -> None:
    raw.provider.script(Fail(502, {"content-type": "text/html"}, body="<h1>Bad Gateway</h1>"))
    seen = await raw.chat()
    assert seen.body == b"<h1>Bad Gateway</h1>" and seen.headers["content-type"] == "text/html"


INSTEAD: dict[str, tuple[str, bytes]] = {
    "html": ("text/html", b"<html>"),
    "empty": ("application/json", b""),
    "null": ("application/json", b"null"),
    "text": ("text/plain", b"OK"),
    "array": ("application/json", b"[]"),
    "no_content": ("application/json", b"{}"),
    "wrong_type": ("text/html", b'{"id":'),
    "empty_choices": ("application/json", b'{"id":'),
    "error": ("application/json", b'{"error":'),
    "other_dialect": ("application/json", b'{"id":"msg_x"'),
}


@pytest.mark.parametrize(("what", "shown"), INSTEAD.items())
async def test_a_200_can_carry_no_answer_at_all(
    raw: Raw, what: Any, shown: tuple[str, bytes]
) -> None:
    raw.provider.script(Instead(what))
    seen = await raw.chat()
    assert seen.status == 200 and seen.is_whole
    assert seen.headers["content-type"] == shown[0] and seen.body.startswith(shown[1])
    assert raw.provider.journal.billed() == Usage()


async def test_a_hang_sends_nothing_or_the_head_or_so_many_tokens(raw: Raw) -> None:
    raw.provider.script(Hang(), Hang(after_head=True), (ABC, Hang(after_tokens=2)))
    nothing = await raw.chat()
    assert (nothing.wire, nothing.ending) == (b"", "open")
    head = await raw.chat()
    assert (head.status, head.payload, head.ending) == (200, b"", "open")
    some = await raw.chat()
    assert (some.text, some.ending, some.is_whole) == ("a b", "open", False)


@pytest.mark.parametrize(
    ("cut", "ending"), [(Cut("rst", after_tokens=3), "rst"), (Cut("fin", after_tokens=3), "fin")]
)
async def test_a_cut_stream_ends_after_the_token_by_rst_or_fin(
    raw: Raw, cut: Cut, ending: str
) -> None:
    raw.provider.script((ABC, cut))
    seen = await raw.chat()
    assert (seen.text, seen.ending, seen.is_whole) == ("a b c", ending, False)
    assert "[DONE]" not in seen.body.decode()


async def test_a_cut_without_a_place_loses_the_connection_before_any_byte(raw: Raw) -> None:
    raw.provider.script(Cut("fin"), Cut("rst"))
    fin, rst = await raw.chat(), await raw.chat()
    assert (fin.wire, fin.ending, rst.wire, rst.ending) == (b"", "fin", b"", "rst")
    assert [entry.status for entry in raw.provider.journal.entries] == [0, 0]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cut_at_a_byte_of_the_wire_is_exact(raw: Raw, stream: bool) -> None:
    fields = {"model": "m", "stream": stream, "messages": [{"role": "user"}]}
    whole = await raw.send(fields, x_request_id="r")
    for position in (0, 1, 20, len(whole.head) + 5, len(whole.wire) - 1):
        raw.provider.script(Cut("fin", at_wire_byte=position))
        assert (await raw.send(fields, x_request_id="r")).wire == whole.wire[:position]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stall_at_a_byte_of_the_body_is_exact(raw: Raw, stream: bool) -> None:
    whole = await raw.chat(stream=stream)
    raw.provider.script(Hang(at_byte=33))
    seen = await raw.chat(stream=stream)
    assert (seen.body, seen.ending) == (whole.body[:33], "open")


async def test_a_cut_past_the_end_leaves_the_answer_whole(raw: Raw) -> None:
    raw.provider.script(Cut("fin", at_wire_byte=10_000_000))
    seen = await raw.chat()
    assert seen.is_whole and seen.events[-1][1] == "[DONE]"


async def test_a_truncated_stream_ends_properly_in_http_and_nowhere_else(raw: Raw) -> None:
    raw.provider.script(*[(ABC, Truncate(n)) for n in (0, 2, 5)])
    for text in ("", "a b", "a b c d e"):
        seen = await raw.chat()
        assert seen.is_whole and seen.text == text
        assert all(e["choices"][0]["finish_reason"] is None for _, e in seen.events)


async def test_a_truncated_whole_answer_has_half_its_json_in_a_right_frame(raw: Raw) -> None:
    raw.provider.script(Truncate())
    seen = await raw.chat(stream=False)
    assert seen.is_whole
    with pytest.raises(json.JSONDecodeError):
        json.loads(seen.body)


@pytest.mark.parametrize("kind", STREAM_ERRORS["openai"])
async def test_an_error_event_comes_before_everything_before_content_or_after(
    raw: Raw, kind: Any
) -> None:
    places: tuple[int | None, ...] = (None, 0, 2)
    raw.provider.script(*[(ABC, ErrorEvent(n, kind)) for n in places for _ in range(2)])
    for place, text, opening in ((None, "", 0), (0, "", 1), (2, "a b", 3)):
        chat = await raw.chat()
        assert chat.is_whole and chat.text == text and len(chat.events) == opening + 1, place
        assert chat.events[-1] == (None, STREAM_ERRORS["openai"][kind])
        message = await raw.message()
        assert message.is_whole and message.text == text
        assert message.events[-1] == ("error", STREAM_ERRORS["anthropic"][kind])
    outputs = [entry.billed.output for entry in raw.provider.journal.entries]
    inputs = [entry.billed.input for entry in raw.provider.journal.entries]
    assert outputs == [0, 0, 0, 0, 2, 2] and inputs == [0, 0, 0, 0, 6, 6]


async def test_done_can_follow_an_error_event(raw: Raw) -> None:
    raw.provider.script(ErrorEvent(done=True))
    assert (await raw.chat()).events[-1][1] == "[DONE]"


async def test_an_error_event_in_a_whole_answer_is_a_200_with_an_error(raw: Raw) -> None:
    raw.provider.script(ErrorEvent())
    seen = await raw.chat(stream=False)
    assert seen.status == 200 and seen.json == STREAM_ERRORS["openai"]["overloaded"]


# Malformed events: what a strict reading of the stream shows.


def lenient_data(body: bytes) -> list[bytes]:
    """The data of a stream's events by the letter of the SSE specification."""
    text = body.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found: list[bytes] = []
    data: list[bytes] = []
    for line in text.split(b"\n"):
        if not line:
            if data:
                found.append(b"\n".join(data))
            data = []
        elif line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
    return found


LEGAL = (
    "crlf", "mixed_newlines", "bom", "comments", "no_space", "two_data_lines", "split_utf8",
    "unknown_event", "id_and_retry",
)  # fmt: skip


@pytest.mark.parametrize("kind", LEGAL)
async def test_odd_but_legal_streams_say_the_same_as_straight_ones(raw: Raw, kind: Any) -> None:
    answer = Answer("grüße 🚂 all")
    raw.provider.script(answer, (answer, Malformed(kind)))
    straight, odd = await raw.chat(), await raw.chat()
    assert odd.body != straight.body or kind == "split_utf8"
    said = [
        json.loads(data)
        for data in lenient_data(odd.body)
        if data != b"[DONE]" and b"of_the_future" not in data
    ]
    assert said == [event for _, event in straight.events[:-1]]


async def test_characters_are_split_between_chunks_of_the_wire(raw: Raw) -> None:
    raw.provider.script(Malformed("split_utf8"))
    seen = await raw.chat("plain")
    pieces = [line for line in seen.payload.split(b"\r\n")[1::2] if line]
    broken = 0
    for piece in pieces:
        try:
            piece.decode()
        except UnicodeDecodeError:
            broken += 1
    assert broken >= 2 and "🚂" in seen.text


async def test_a_stream_may_lack_done_or_have_more_after_it(raw: Raw) -> None:
    raw.provider.script(Malformed("no_done"), Malformed("after_done"))
    without = await raw.chat()
    assert without.is_whole and without.events[-1][1]["usage"]["prompt_tokens"] == 6
    more = await raw.chat()
    assert more.body.endswith(b"data: [DONE]\n\n: bye\n\ndata: {}\n\n")


BROKEN_EVENTS = ("bad_json", "not_utf8", "wrong_shape", "huge_line", "nan", "deep")


@pytest.mark.parametrize("kind", BROKEN_EVENTS)
async def test_a_broken_event_stands_where_it_was_put(raw: Raw, kind: Any) -> None:
    raw.provider.script((ABC, Malformed(kind, after_tokens=2)))
    data = lenient_data((await raw.chat()).body)
    bad = data[3]
    assert b'" b"' in data[2] and b'" c"' in data[4]
    if kind == "bad_json":
        with pytest.raises(json.JSONDecodeError):
            json.loads(bad)
    elif kind == "not_utf8":
        with pytest.raises(UnicodeDecodeError):
            bad.decode()
    elif kind == "huge_line":
        assert len(bad) > HUGE
    else:
        assert bad.startswith((b"42", b'{"choices":[[[[', b'{"choices":[{'))
    message = await raw.message()
    assert message.is_whole


@pytest.mark.parametrize("kind", BROKEN_EVENTS)
async def test_whole_answers_are_broken_likewise(raw: Raw, kind: Any) -> None:
    raw.provider.script(Answer("x"), (Answer("x"), Malformed(kind)))
    straight, broken = await raw.chat(stream=False), await raw.chat(stream=False)
    assert broken.is_whole and broken.body != straight.body


# HTTP itself.


async def test_a_bad_status_line_and_no_http_at_all(raw: Raw) -> None:
    raw.provider.script(Broken("bad_status_line"), Broken("not_http"))
    assert (await raw.chat()).wire.startswith(b"HTTP/1.1 OK two hundred\r\n")
    assert (await raw.chat()).wire == b"220 mail.example ESMTP ready\r\n"


async def test_a_header_line_without_a_colon(raw: Raw) -> None:
    raw.provider.script(Broken("bad_header"))
    assert b"\r\nthis line is no header\r\n\r\n" in (await raw.chat()).wire


@pytest.mark.parametrize("stream", [True, False])
async def test_a_content_length_that_is_too_short_or_too_long(raw: Raw, stream: bool) -> None:
    raw.provider.script(Broken("length_short"), Broken("length_long"))
    short = await raw.chat(stream=stream)
    assert int(short.headers["content-length"]) == len(short.payload) - 10
    long = await raw.chat(stream=stream)
    assert int(long.headers["content-length"]) == len(long.payload) + 100
    assert long.ending == "fin"


async def test_chunks_can_be_ill_sized_or_lack_the_last(raw: Raw) -> None:
    raw.provider.script(Broken("bad_chunk"), Broken("no_last_chunk"))
    assert (await raw.chat()).payload.startswith(b"zz\r\ndata: ")
    lacking = await raw.chat()
    assert lacking.events[-1][1] == "[DONE]" and not lacking.is_whole and lacking.ending == "fin"


async def test_contradicting_lengths(raw: Raw) -> None:
    raw.provider.script(Broken("length_and_chunked"), Broken("two_lengths"))
    both = await raw.chat()
    assert both.headers["transfer-encoding"] == "chunked" and both.headers["content-length"] == "5"
    assert (await raw.chat()).head.lower().count(b"content-length:") == 2


async def test_heads_that_are_too_large(raw: Raw) -> None:
    raw.provider.script(Broken("huge_header"), Broken("many_headers"))
    assert len((await raw.chat()).head) > 100_000
    assert len((await raw.chat()).headers) > 500


async def test_a_body_may_end_with_the_connection(raw: Raw) -> None:
    raw.provider.script(Broken("close_delimited"))
    seen = await raw.chat()
    assert not {"content-length", "transfer-encoding"} & set(seen.headers)
    assert seen.payload.endswith(b"data: [DONE]\n\n") and seen.ending == "fin"


async def test_an_informational_head_may_come_first(raw: Raw) -> None:
    raw.provider.script(Broken("informational"))
    seen = await raw.chat()
    assert seen.status == 103 and b"\r\n\r\nHTTP/1.1 200 OK\r\n" in seen.wire


@pytest.mark.parametrize(("kind", "announced"), [("close_after", False), ("announced_close", True)])
async def test_a_kept_connection_is_closed_with_or_without_a_word(
    raw: Raw, kind: Any, announced: bool
) -> None:
    raw.provider.script(Broken(kind))
    reader, writer = await raw.open()
    writer.write(raw.request({"model": "m", "messages": [{"role": "user"}]}, close=False))
    seen = await raw.read(reader)
    writer.close()
    assert seen.is_whole and seen.ending == "fin"
    assert (seen.headers.get("connection") == "close") is announced


async def test_garbage_may_follow_on_a_kept_connection(raw: Raw) -> None:
    raw.provider.script(Broken("garbage_after"))
    reader, writer = await raw.open()
    writer.write(raw.request({"model": "m", "messages": [{"role": "user"}]}, close=False))
    seen = await raw.read(reader, kept=True)
    writer.close()
    assert seen.wire.endswith(b"HTTP/1.1 200 OK\r\nx: unasked\r\n\r\n") and seen.ending == "open"


async def test_one_connection_serves_many_requests_also_pipelined(raw: Raw) -> None:
    reader, writer = await raw.open()
    one = raw.request({"model": "m", "messages": [{"role": "user"}]}, close=False)
    writer.write(one + one + one)
    seen = await raw.read(reader, kept=True)
    writer.close()
    assert seen.wire.count(b"HTTP/1.1 200 OK") == 3
    assert {entry.connection for entry in raw.provider.journal.entries} == {1}


async def test_chunked_requests_are_read_however_they_are_cut(raw: Raw) -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hey"}]}).encode()
    wire = b"POST /v1/chat/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n"
    wire += b"connection: close\r\n\r\n"
    for start in range(0, len(body), 9):
        part = body[start : start + 9]
        wire += b"%x\r\n%b\r\n" % (len(part), part)
    wire += b"0\r\n\r\n"
    reader, writer = await raw.open()
    for byte in wire:
        writer.write(bytes([byte]))
        await writer.drain()
    seen = await raw.read(reader)
    writer.close()
    assert seen.json["choices"][0]["message"]["content"] == "You said: hey"


async def test_what_is_not_http_is_refused(raw: Raw) -> None:
    reader, writer = await raw.open()
    writer.write(b"HELO provider\r\n\r\n")
    seen = await raw.read(reader)
    writer.close()
    assert seen.status == 400 and b"not a request line" in seen.body


# Being there or not.


async def test_a_refusing_provider_refuses_and_accepts_again_on_the_same_port(raw: Raw) -> None:
    port = raw.provider.port
    await raw.provider.refuse()
    with pytest.raises(ConnectionRefusedError):
        await raw.open()
    await raw.provider.accept()
    assert raw.provider.port == port and (await raw.chat()).status == 200


async def test_refusing_resets_what_was_open(raw: Raw) -> None:
    raw.provider.script(Hang(after_head=True))
    reader, writer = await raw.open()
    writer.write(raw.request({"model": "m", "stream": True, "messages": [{"role": "user"}]}))
    await reader.readuntil(b"\r\n\r\n")
    await raw.provider.refuse()
    assert (await raw.read(reader)).ending == "rst"
    writer.close()
    (entry,) = raw.provider.journal.entries
    assert entry.ended == "shutdown"


async def test_a_resetting_provider_resets_before_a_request(raw: Raw) -> None:
    raw.provider.is_resetting = True
    reader, writer = await raw.open()
    assert (await raw.read(reader, kept=True)).ending == "rst"
    writer.close()
    assert raw.provider.journal.arrived == 0


async def test_a_deaf_provider_accepts_and_reads_nothing(raw: Raw) -> None:
    raw.provider.is_deaf = True
    seen = await raw.chat()
    assert (seen.wire, seen.ending) == (b"", "open")
    assert raw.provider.journal.arrived == 0
    raw.provider.heal()
    assert (await raw.chat()).status == 200


# Time, which only passes when the test says so.


@pytest.mark.slow
async def test_a_slow_provider_keeps_to_its_pace(raw_of: type[Raw]) -> None:
    clock = FakeClock()
    async with FaultProvider(clock=clock) as provider:
        raw = raw_of(provider)
        slow = Slow(first_byte_s=1.0, first_token_s=2.0, tokens_per_second=0.5)
        provider.script((ABC, slow))
        reader, writer = await raw.open()
        writer.write(raw.request({"model": "m", "stream": True, "messages": [{"role": "user"}]}))
        shown: list[int] = []
        wire = b""
        for _ in range(6):
            seen = await raw.read(reader)
            wire += seen.wire
            shown.append(wire.count(b'"content":"') - 1)
            await clock.run_for(2.0)
        writer.close()
        # At 1 s the head, at 3 s the first token, then one every two seconds.
        assert shown[:2] == [-1, 0] and shown[2:] == [1, 2, 3, 4]


async def test_a_dripping_provider_sends_byte_after_byte(raw_of: type[Raw]) -> None:
    clock = FakeClock()
    async with FaultProvider(clock=clock) as provider:
        raw = raw_of(provider)
        provider.script(Drip(every_s=1.0, size=1))
        reader, writer = await raw.open()
        writer.write(raw.request({"model": "m", "messages": [{"role": "user"}]}))
        assert (await raw.read(reader)).wire == b"H"
        await clock.run_for(7.0)
        assert (await raw.read(reader)).wire == b"TTP/1.1"
        writer.close()


@pytest.mark.parametrize(
    ("path", "ping"),
    [("/v1/chat/completions", b": ping\n\n"), ("/v1/messages", b"event: ping\ndata: {")],
)
async def test_a_stalled_stream_can_go_on_pinging(
    raw_of: type[Raw], path: str, ping: bytes
) -> None:
    clock = FakeClock()
    async with FaultProvider(clock=clock) as provider:
        raw = raw_of(provider)
        provider.script((ABC, Hang(after_tokens=2, ping_every_s=5.0)))
        reader, writer = await raw.open()
        fields = {"model": "m", "stream": True, "max_tokens": 9, "messages": [{"role": "user"}]}
        writer.write(raw.request(fields, path, anthropic_version="x"))
        assert (await raw.read(reader)).text == "a b"
        await clock.run_for(16.0)
        seen = await raw.read(reader)
        writer.close()
        assert seen.wire.count(ping) == 3 and b'"c"' not in seen.wire


async def test_a_stall_can_end(raw_of: type[Raw]) -> None:
    clock = FakeClock()
    async with FaultProvider(clock=clock) as provider:
        raw = raw_of(provider)
        provider.script((ABC, Hang(seconds=30.0, after_tokens=1)))
        reader, writer = await raw.open()
        fields = {"model": "m", "stream": True, "messages": [{"role": "user"}]}
        writer.write(raw.request(fields))
        assert (await raw.read(reader)).text == "a"
        await clock.run_for(30.0)
        assert (await raw.read(reader)).ending == "fin"
        writer.close()
