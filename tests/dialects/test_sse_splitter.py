"""Cutting a byte stream into server-sent events."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.dialects.sse import MAX_EVENT_BYTES, Splitter, SseEvent, parse_event
from pointsman.errors import ProviderFailure


def read(*pieces: bytes) -> list[SseEvent]:
    splitter = Splitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    rest = splitter.finish()
    return [*events, rest] if rest is not None else events


def said(events: list[SseEvent]) -> list[tuple[bytes, bytes]]:
    return [(name, data) for _, name, data in events if data is not None]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [(b"", b"a")]),
        (b"data:a\n\n", [(b"", b"a")]),
        (b"data:  a\n\n", [(b"", b" a")]),
        (b"data: a\r\n\r\n", [(b"", b"a")]),
        (b"data: a\r\rdata: b\r\r", [(b"", b"a"), (b"", b"b")]),
        (b"data: a\r\n\ndata: b\n\r\n", [(b"", b"a"), (b"", b"b")]),
        (b"data: a\ndata: b\n\n", [(b"", b"a\nb")]),
        (b"event: ping\ndata: {}\n\n", [(b"ping", b"{}")]),
        (b"data: {}\nevent: ping\n\n", [(b"ping", b"{}")]),
        (b"event:ping\r\ndata:{}\r\n\r\n", [(b"ping", b"{}")]),
        (b": comment\n\ndata: a\n\n", [(b"", b"a")]),
        (b": comment\ndata: a\n\n", [(b"", b"a")]),
        (b"id: 7\nretry: 10\ndata: a\n\n", [(b"", b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
        (b"\xef\xbb\xbfdata: a\r\n\r\n", [(b"", b"a")]),
        (b"\n\n\ndata: a\n\n\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
        (b"data\n\n", [(b"", b"")]),
        (b"data: a", [(b"", b"a")]),
        (b"data: \xc3\xa9\n\n", [(b"", b"\xc3\xa9")]),
        (b"event: x\n\n", []),
        (b"", []),
    ],
)
def test_legal_streams_are_read_however_they_are_cut(
    stream: bytes, expected: list[tuple[bytes, bytes]]
) -> None:
    for cut in range(len(stream) + 1):
        events = read(stream[:cut], stream[cut:])
        assert said(events) == expected
        assert b"".join(raw for raw, _, _ in events) == stream
    single = [bytes([byte]) for byte in stream]
    assert said(read(*single)) == expected


@given(
    st.lists(
        st.sampled_from(
            [
                b"data: x",
                b"data:",
                b"event: e",
                b":c",
                b"\n",
                b"\r\n",
                b"\r",
                b"\n\n",
                b"\xc3",
                b"y",
            ]
        )
    ),
    st.lists(st.integers(0, 60)),
)
def test_any_cutting_keeps_every_byte_and_every_event(pieces: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(pieces)
    whole = Splitter()
    whole_events = whole.feed(stream)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    parts = Splitter()
    part_events: list[SseEvent] = []
    for start, end in pairwise(edges):
        part_events += parts.feed(stream[start:end])
    rests = [rest for rest in (whole.finish(), parts.finish()) if rest is not None]
    assert said(whole_events + rests[:1]) == said(part_events + rests[1:])
    assert b"".join(raw for raw, _, _ in part_events + rests[1:]) == stream


def test_an_event_above_the_limit_is_malformed() -> None:
    too_long = b"data: " + b"x" * MAX_EVENT_BYTES
    for pieces in ([too_long + b"\n\n"], [too_long, b"\n\n"], [b"data: a\n\n" + too_long]):
        splitter = Splitter()
        with pytest.raises(ProviderFailure) as failure:
            for piece in pieces:
                splitter.feed(piece)
        assert failure.value.kind == "malformed"


def test_many_short_events_above_the_limit_together_are_fine() -> None:
    event = b"data: " + b"x" * 1000 + b"\n\n"
    assert len(read(event * 2000)) == 2000


@pytest.mark.slow
def test_a_hundred_thousand_reads_of_one_byte_take_linear_time() -> None:
    splitter = Splitter()
    stream = b"data: " + b"x" * 100_000 + b"\n\n"
    pieces = [bytes([byte]) for byte in stream]
    start = time.process_time()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    assert len(events) == 1
    assert time.process_time() - start < 2.0


def test_the_two_ways_to_read_an_event_agree() -> None:
    fast = parse_event(b"event: e\ndata: d\n\n")
    assert fast[1:] == parse_event(b"event: e\ndata: d\n: c\n\n")[1:] == (b"e", b"d")
