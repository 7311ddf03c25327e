"""What a request can say of cached answers, and how an answer becomes a stream and back."""

from __future__ import annotations

import pytest

from pointsman.cache.kept import Kept, decode, encode
from pointsman.cache.mark import MISS, NO_CACHE, Mark
from pointsman.cache.replay import Gathered, events_of, reply_of
from pointsman.dialects.registry import DIALECTS
from pointsman.domain.content import Json, Text, Thinking, ToolCall
from pointsman.domain.reply import ChatReply
from pointsman.domain.request import CacheControl, ChatRequest
from pointsman.domain.usage import Usage
from pointsman.errors import InvalidRequest
from pointsman.server.cache_control import cache_headers, cache_of_header, read_cache
from pointsman.server.options import take_options

REPLY = ChatReply(
    "chatcmpl-1",
    "m",
    (Thinking("hm", "sealed"), Text("It is "), ToolCall("call_1", "look", '{"a": 1}')),
    finish="tool_calls",
    usage=Usage(12, 7, cached=3),
    created=1_700_000_000,
)


@pytest.mark.parametrize(
    ("body", "control"),
    [
        ({}, CacheControl()),
        ({"no-cache": True}, CacheControl(no_cache=True)),
        ({"no-store": True, "ttl": None}, CacheControl(no_store=True)),
        ({"ttl": 60, "s-maxage": 0}, CacheControl(ttl_s=60.0, max_age_s=0.0)),
    ],
)
def test_the_body_is_read(body: Json, control: CacheControl) -> None:
    assert read_cache(body, "cache") == control


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (True, "cache"),
        ({"nocache": True}, "cache.nocache"),
        ({"no-cache": 1}, "cache.no-cache"),
        ({"ttl": -1}, "cache.ttl"),
        ({"ttl": "60"}, "cache.ttl"),
        ({"ttl": True}, "cache.ttl"),
        ({"s-maxage": 1e12}, "cache.s-maxage"),
    ],
)
def test_a_misspelt_body_is_refused(body: Json, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_cache(body, "cache")
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("value", "control"),
    [
        (b"no-cache", CacheControl(no_cache=True)),
        (b"No-Store , max-age=5", CacheControl(no_store=True, max_age_s=5.0)),
        (b'max-age="60"', CacheControl(max_age_s=60.0)),
        (b"max-age=-1", None),
        (b"max-age=\xb2", None),
        (b"max-stale, only-if-cached", None),
        (b"", None),
    ],
)
def test_the_header_is_read_leniently(value: bytes, control: CacheControl | None) -> None:
    assert cache_of_header(value) == control


def test_it_is_taken_out_of_the_body_and_the_body_goes_before_the_header() -> None:
    body = b'{"model":"m","cache":{"ttl":5},"messages":[]}'
    fields: dict[str, Json] = {"model": "m", "cache": {"ttl": 5}, "messages": []}
    asked = take_options(fields, body, {b"cache-control": b"no-cache"})
    assert asked.options.cache == CacheControl(ttl_s=5.0)
    assert "cache" not in asked.fields and b"cache" not in asked.body


def test_headers_tell_what_it_did() -> None:
    assert cache_headers(NO_CACHE) == []
    assert cache_headers(MISS) == [(b"x-pointsman-cache", b"miss")]
    told = dict(cache_headers(Mark("similar", 20_000, 12.9, 0.9712)))
    assert told == {
        b"x-pointsman-cache": b"hit",
        b"age": b"12",
        b"x-pointsman-saved-usd": b"0.00002",
        b"x-pointsman-cache-similarity": b"0.971",
    }


def test_an_answer_is_the_same_after_it_was_kept() -> None:
    kept = Kept(REPLY, "d0", None, 1.0, 2.0)
    assert decode(encode(kept)) == kept
    assert decode(b"") is None
    assert decode(encode(kept)[:-1]) is None


def test_an_answer_is_the_same_after_it_was_streamed() -> None:
    assert reply_of(events_of(REPLY), REPLY.usage) == REPLY


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_a_dialects_bytes_are_gathered_in_any_pieces(name: str) -> None:
    dialect = DIALECTS[name]
    encoder = dialect.encoder(ChatRequest("m", ()))
    whole = b"".join(map(encoder.encode, events_of(REPLY))) + encoder.end()
    gathered = Gathered()
    for at in range(0, len(whole), 7):
        gathered.add(whole[at : at + 7])
    found = gathered.reply(dialect, REPLY.usage)
    assert found is not None
    assert (found.text, found.finish, found.usage) == (REPLY.text, REPLY.finish, REPLY.usage)
    assert [call.arguments for call in found.tool_calls] == ['{"a": 1}']
    cut = Gathered()
    cut.add(whole[: len(whole) // 2])
    assert cut.reply(dialect, REPLY.usage) is None
