"""Where a stream breaks off: what came before is kept, what comes after the end is ignored."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pointsman.dialects.anthropic.reply import check_reply as check_anthropic
from pointsman.dialects.anthropic.reply import parse_reply as parse_anthropic
from pointsman.dialects.anthropic.stream import AnthropicDecoder, AnthropicTap
from pointsman.dialects.failures import in_stream
from pointsman.dialects.openai_chat.reply import check_reply as check_openai
from pointsman.dialects.openai_chat.stream import OpenAIDecoder, OpenAITap
from pointsman.domain.reply import TextDelta
from pointsman.errors import ProviderFailure


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    fields = {"id": "c", "model": "m", "created": 1, "choices": [choice]}
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def text(said: str) -> bytes:
    delta = {"type": "text_delta", "text": said}
    return frame("content_block_delta", index=0, delta=delta)


def frame(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


ERROR = b'data: {"error":{"message":"no","type":"server_error"}}\n\n'
ERROR_FRAME = frame("error", error={"type": "api_error", "message": "no"})
READERS: dict[str, tuple[Callable[[], object], Callable[[str], bytes], bytes]] = {
    "openai tap": (lambda: OpenAITap(1, True), lambda t: chunk({"content": t}), ERROR),
    "openai decoder": (OpenAIDecoder, lambda t: chunk({"content": t}), ERROR),
    "anthropic tap": (AnthropicTap, text, ERROR_FRAME),
    "anthropic decoder": (AnthropicDecoder, text, ERROR_FRAME),
}


@pytest.mark.parametrize("name", READERS)
def test_what_came_before_an_error_in_the_same_piece_is_passed_on(name: str) -> None:
    make, said, error = READERS[name]
    reader: Any = make()
    reader.feed(said("one "))
    piece = reader.feed(said("two ") + said("three") + error)
    shown = piece.decode() if isinstance(piece, bytes) else repr(piece)
    assert "two " in shown and "three" in shown and '"no"' not in shown
    assert isinstance(reader.failure, ProviderFailure)
    assert reader.failure.kind == "unavailable"
    assert reader.content_bytes == len("one two three")


@pytest.mark.parametrize("name", READERS)
def test_an_error_in_the_first_piece_of_content_is_raised_at_once_and_paid_for(name: str) -> None:
    make, said, error = READERS[name]
    reader: Any = make()
    with pytest.raises(ProviderFailure) as caught:
        reader.feed(said("one ") + error)
    assert not reader.has_content
    assert reader.failure is None
    assert caught.value.maybe_billed


@pytest.mark.parametrize("rubbish", [b"data: {no\n\n", ERROR, b'data: "\xff"\n\n'])
def test_what_breaks_after_the_finish_reason_is_no_failure(rubbish: bytes) -> None:
    tap = OpenAITap(1, True)
    passed = tap.feed(chunk({"content": "all"})) + tap.feed(chunk({}, "stop"))
    passed += tap.feed(rubbish) + tap.eof()
    assert passed.endswith(b"data: [DONE]\n\n") and passed.count(b"[DONE]") == 1
    assert rubbish not in passed
    decoder = OpenAIDecoder()
    events = decoder.feed(chunk({"content": "all"})) + decoder.feed(chunk({}, "stop"))
    events += decoder.feed(rubbish) + decoder.eof()
    assert TextDelta("all") in events and decoder.ended


def test_a_finish_reason_without_content_does_not_hide_an_error() -> None:
    with pytest.raises(ProviderFailure):
        OpenAITap(1, True).feed(chunk({}, "stop") + ERROR)


@pytest.mark.parametrize("name", ["openai tap", "anthropic tap"])
def test_bytes_that_no_client_can_read_do_not_pass(name: str) -> None:
    make, said, _ = READERS[name]
    reader: Any = make()
    reader.feed(said("one"))
    start = b'data: {"type":"ping","choices":[],"note":"'
    with pytest.raises(ProviderFailure) as caught:
        reader.feed(start + b'\xff"}\n\n')
    assert caught.value.kind == "malformed"
    with pytest.raises(ProviderFailure):
        reader.feed(b": \xff\n" + start + b'"}\n\n')


def test_a_whole_answer_that_is_not_utf8_is_malformed() -> None:
    message = b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"x":"\xff"}'
    with pytest.raises(ProviderFailure):
        check_openai(message)
    with pytest.raises(ProviderFailure):
        check_anthropic(b'{"content":[{"type":"text","text":"hi"}],"x":"\xff"}')
    assert check_openai(message.replace(b"\xff", "ü".encode())) == (None, "stop")


def test_an_answer_without_content_or_a_reason_to_stop_is_none() -> None:
    for read in (check_anthropic, parse_anthropic):
        with pytest.raises(ProviderFailure):
            read(b'{"type":"message","content":[],"stop_reason":null}')
        read(b'{"type":"message","content":[],"stop_reason":"end_turn"}')


@pytest.mark.parametrize(
    ("kind", "error", "code", "status", "billed"),
    [
        ("content_filter", {"type": "invalid_request_error",
                            "message": "Output blocked by content filtering policy"},
         "content_filter", 400, False),
        ("context_length", {"code": "context_length_exceeded", "message": "too long"},
         "context_length_exceeded", 400, False),
        ("overloaded", {"type": "overloaded_error", "message": "Overloaded"},
         "upstream_error", 502, False),
        ("unavailable", {"type": "api_error", "message": "no"}, "upstream_error", 502, True),
    ],
)  # fmt: skip
def test_an_error_inside_a_200_is_judged_as_its_status_would_be(
    kind: str, error: dict[str, str], code: str, status: int, billed: bool
) -> None:
    failure = in_stream(error)
    assert (failure.kind, failure.code, failure.status) == (kind, code, status)
    assert failure.maybe_billed is billed


@pytest.mark.parametrize("name", ["openai tap", "anthropic tap"])
def test_an_event_without_data_does_not_pass_but_a_comment_does(name: str) -> None:
    make, said, _ = READERS[name]
    reader: Any = make()
    reader.feed(said("one"))
    for nothing in (b"data:\n\n", b"event: ping\n\n", b"id: 7\n\n", b"retry: 5\ndata:\n\n"):
        assert reader.feed(nothing) == b""
    assert reader.feed(b": still here\n\n") == b": still here\n\n"
    assert reader.feed(said("two"))
