"""The one request and the two answers that every target is measured with."""

from __future__ import annotations

import json

EVENTS_PER_STREAM = 50
"""Data events with JSON; `[DONE]` comes after them."""

USAGE = {"prompt_tokens": 120, "completion_tokens": 48, "total_tokens": 168}
_COMMON = {"id": "chatcmpl-bench", "created": 1_760_000_000, "model": "m0"}
_TEXT = "All trains run on time today, and the points are set for the main line. " * 8


def request_body(model: str, *, stream: bool) -> bytes:
    """Return a chat request of about 700 bytes."""
    body: dict[str, object] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are the signal box of a small station."},
            {"role": "user", "content": _TEXT[:480]},
        ],
        "temperature": 0.2,
        "max_tokens": 64,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body, separators=(",", ":")).encode()


def completion() -> bytes:
    """Return a whole answer with its head, about 900 bytes."""
    body = json.dumps(
        {
            **_COMMON,
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": _TEXT},
                    "finish_reason": "stop",
                }
            ],
            "usage": USAGE,
        },
        separators=(",", ":"),
    ).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def stream_pieces() -> list[bytes]:
    """Return a streamed answer as it is written: head, then one chunk an event, then the end."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
    words = [{"role": "assistant", "content": ""}]
    words += [{"content": f" word{n}"} for n in range(EVENTS_PER_STREAM - 3)]
    events: list[dict[str, object]] = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in words
    ]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    events.append({"choices": [], "usage": USAGE})
    data = [
        json.dumps({**_COMMON, "object": "chat.completion.chunk", **event}, separators=(",", ":"))
        for event in events
    ]
    return [
        head + b"\r\n",
        *(_chunk(f"data: {text}\n\n") for text in data),
        _chunk("data: [DONE]\n\n") + b"0\r\n\r\n",
    ]


def _chunk(text: str) -> bytes:
    return b"%x\r\n%b\r\n" % (len(text.encode()), text.encode())
