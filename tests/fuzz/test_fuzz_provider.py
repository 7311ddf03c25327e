"""A provider's whole answer spoilt as bytes, from the status line on, through the real transport:
a valid answer or a failure of the provider, in bounded time, and nothing else.

And its events, cut anywhere: a reader says the same however they come.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from fuzz_house import STREAMS, WHOLE
from fuzz_knobs import SEED, listening, many, numbers, watch_loop
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from pointsman.dialects.registry import DIALECTS
from pointsman.dialects.sse import Splitter
from pointsman.domain.call import ANONYMOUS
from pointsman.domain.content import Message, Text
from pointsman.domain.reply import Event, TextDelta
from pointsman.domain.request import ChatRequest, RouteOptions
from pointsman.errors import AllFailed, DeadlineExceeded, InvalidRequest, ProviderFailure
from pointsman.gateway import Gateway
from pointsman.ledger.entries import LedgerEntry
from pointsman.ledger.memory import MemoryLedger

AT_ONCE = 64
BATCH = 250
PATIENCE_S = 20.0
FIRST_S = 0.5
"""What a provider that says nothing more is waited for."""
SAID = "fine"
"""The one text of the good answers; no bit of a mutated one may be told as something else, except
where the change is in the text itself."""

STARTS = (
    b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.0 200 OK", b"HTTP/2 200 OK",
    b"HTTP/1.1 000 X", b"HTTP/1.1 99 X", b"HTTP/1.1 999 X", b"HTTP/1.1 2000 X", b"HTTP/1.1 -200 X",
    b"HTTP/1.1 100 Continue", b"HTTP/1.1 101 Switching Protocols", b"HTTP/1.1 103 Early Hints",
    b"HTTP/1.1 204 No Content", b"HTTP/1.1 205 X", b"HTTP/1.1 206 X", b"HTTP/1.1 301 Moved",
    b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 400 Bad", b"HTTP/1.1 401 X", b"HTTP/1.1 404 X",
    b"HTTP/1.1 408 X", b"HTTP/1.1 413 X", b"HTTP/1.1 418 X", b"HTTP/1.1 429 X", b"HTTP/1.1 500 X",
    b"HTTP/1.1 503 X", b"HTTP/1.1 529 X", b"HTTP/1.1 599 X", b"HTTP/1.1  200 OK", b"http/1.1 200",
    b"ICY 200 OK", b"200 OK", b"", b"SSH-2.0-OpenSSH_9", b"HTTP/1.1 200 \xff\x00", b"HTTP/1.1 2e2",
    b"\x16\x03\x01\x02\x00", b"HTTP/1.1 \xd9\xa2\xd9\xa0\xd9\xa0 OK", b"HTTP/1.12 200 OK",
)  # fmt: skip
LINES = (
    b"content-length: 0", b"content-length: 5", b"content-length: 999999", b"content-length: -1",
    b"content-length: 99999999999999999999999", b"content-length: 1, 1", b"content-length: x",
    b"content-length:", b"transfer-encoding: gzip", b"transfer-encoding: gzip, chunked",
    b"transfer-encoding: identity", b"transfer-encoding: chunked", b"content-encoding: gzip",
    b"connection: close", b"connection: upgrade", b"upgrade: websocket", b"keep-alive: timeout=0",
    b"content-type: text/html", b"content-type: application/json; charset=\xff", b"content-type:",
    b"retry-after: 1", b"retry-after: -1", b"retry-after: 1e400", b"retry-after: nan",
    b"retry-after: Wed, 21 Oct 2015 07:28:00 GMT", b"retry-after: \xb2", b"retry-after-ms: x",
    b"x-ratelimit-remaining-requests: 0", b"x-ratelimit-remaining-tokens: -5",
    b"x-ratelimit-reset-requests: 6m0s", b"x-ratelimit-reset-tokens: 99999999999999h",
    b"x-ratelimit-limit-requests: 1e999", b"anthropic-ratelimit-requests-remaining: \xb9",
    b"anthropic-ratelimit-tokens-reset: 9999-99-99T99:99:99Z", b"x-ratelimit-remaining: nan",
    b"anthropic-ratelimit-requests-reset: 0001-01-01T00:00:00+23:59", b"x-should-retry: maybe",
    b"request-id: a\tb\xff\xa0", b"x-request-id: " + b"i" * 5000, b"x-request-id: \x01",
    b"openai-processing-ms: \xe2\x80\xae", b"x: " + b"y" * 40_000, b" folded", b"\tfolded", b"x",
    b": x", b"x\x00: y", b"location: http://127.0.0.1:1/", b"trailer: x", b"set-cookie: a=b",
)  # fmt: skip
INSERTED = (b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\x00", b"\xff", b" ", b":", b"0\r\n\r\n", b";",
            b"ffffffff\r\n", b"-1\r\n", b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")  # fmt: skip

Wire = str


def answer(wire: Wire, streamed: bool, rng: random.Random) -> tuple[bytes, bool]:
    """Spoil a good answer; return it and whether its text could have been changed."""
    body = STREAMS[wire] if streamed else json.dumps(WHOLE[wire]).encode()
    kind = b"text/event-stream" if streamed else b"application/json"
    lines = [b"HTTP/1.1 200 OK", b"content-type: " + kind]
    framing = rng.choice(("length", "chunks", "chunks", "close"))
    if framing == "length":
        lines.append(b"content-length: %d" % len(body))
    elif framing == "chunks":
        lines.append(b"transfer-encoding: chunked")
        cuts = sorted(rng.randrange(1, len(body)) for _ in range(rng.choice((0, 1, 5))))
        parts = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in parts if each)
        body += b"0\r\n\r\n"
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        _SPOILING[rng.randrange(len(_SPOILING))](lines, rng)
    data = b"\r\n".join(lines) + b"\r\n\r\n" + body
    changes = rng.choice((0, 0, 0, 1, 1, 3))
    for _ in range(changes):
        data = _bytes_changed(data, rng)
    return data, changes > 0


def _start(lines: list[bytes], rng: random.Random) -> None:
    lines[0] = rng.choice(STARTS)


def _line(lines: list[bytes], rng: random.Random) -> None:
    lines.insert(rng.randrange(1, len(lines) + 1), rng.choice(LINES))


def _less(lines: list[bytes], rng: random.Random) -> None:
    del lines[rng.randrange(len(lines))]


def _crowd(lines: list[bytes], rng: random.Random) -> None:
    lines += [b"x-%d: y" % each for each in range(rng.choice((50, 99, 101, 1000)))]


_SPOILING: tuple[Callable[[list[bytes], random.Random], None], ...] = (
    _start, _start, _line, _line, _line, _less, _crowd,
)  # fmt: skip


def _bytes_changed(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1) if rng.random() < 0.5 else rng.randrange(len(data[:120]) + 1)
    match rng.randrange(5):
        case 0:
            return data[:at] + rng.choice(INSERTED) + data[at:]
        case 1:
            return data[:at] + data[at + rng.choice((1, 1, 2, 20)) :]
        case 2:
            return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        case 3:
            return data[:at]
        case _:
            return data[:at] + data[at : at + 30] + data[at:]


@dataclass
class Crier:
    """A provider that says what was laid down for the case that a request names."""

    said: dict[int, list[bytes]] = field(default_factory=dict)
    url: str = ""

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                found = re.search(rb"content-length: (\d+)", head)
                body = await reader.readexactly(int(found[1]) if found else 0)
                case = re.search(rb"case (\d+)", body)
                assert case is not None
                *pieces, last = self.said[int(case[1])]
                for piece in pieces:
                    writer.write(piece)
                    await asyncio.sleep(0)
                writer.write(last)
                # Every second one stays open: a good answer's connection is used again.
                if int(case[1]) % 2 or not last.endswith(b"0\r\n\r\n"):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def configuration(url: str, cases: Sequence[int]) -> dict[str, Any]:
    """A provider, a deployment and a route for each case: none sees what another left behind."""
    times = dict.fromkeys(("first_content_s", "idle_s", "whole_s"), FIRST_S)
    return {
        "providers": {
            f"p{n}": {
                "url": f"{url}/v1" if wire_of(n) == "openai" else url,
                "dialect": wire_of(n),
                "kind": "hosted",
                "key": "none",
            }
            for n in cases
        },
        "deployments": [
            {
                "name": f"d{n}",
                "provider": f"p{n}",
                "model": "m",
                "price": {"input_usd": 1, "output_usd": 2},
                "capabilities": ["chat"],
            }
            for n in cases
        ],
        "routes": [
            {
                "name": f"r{n}",
                "deployments": [f"d{n}"],
                "fallback": {"enabled": False},
                "timeouts": {**times, "total_s": 2 * FIRST_S},
            }
            for n in cases
        ],
    }


def wire_of(number: int) -> Wire:
    return sorted(DIALECTS)[number // 2 % 2]


@dataclass
class Trial:
    """Plays cases against one gateway, and keeps what was wrong."""

    crier: Crier
    tally: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    async def play(self, cases: Sequence[int]) -> None:
        entries: dict[str, list[LedgerEntry]] = {}
        gateway = Gateway.from_config(
            configuration(self.crier.url, cases),
            env={},
            ledger=MemoryLedger(1),
            observers=(lambda entry: entries.setdefault(entry.route, []).append(entry),),
        )
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with gate:
                await self._one(gateway, number)
            of_case = entries.pop(f"r{number}", [])
            if [len(entry.attempts) for entry in of_case] != [1]:
                self.wrong.append(f"case {number}: the ledger has {of_case}")

        async with gateway:
            ended = await asyncio.gather(*map(one, cases), return_exceptions=True)
        self.wrong += [f"case {n}: {e!r}" for n, e in zip(cases, ended, strict=True) if e]
        assert not any(stack.meter.in_flight for stack in gateway.stacks.values())

    async def _one(self, gateway: Gateway, number: int) -> None:
        rng = random.Random(f"{SEED}:{number}")
        streamed = rng.random() < 0.6
        data, may_differ = answer(wire_of(number), streamed, rng)
        self.crier.said[number] = _pieces(data, rng)
        message = Message("user", (Text(f"case {number}"),))
        request = ChatRequest(f"r{number}", (message,), max_tokens=50, stream=streamed)
        call = gateway.new_call(request, ANONYMOUS, RouteOptions(), wire=None, id=f"req_{number}")
        text, is_whole = "", True
        try:
            async with asyncio.timeout(PATIENCE_S), await gateway.handle(call) as reply:
                if reply.is_stream:
                    async for events in reply:
                        text += _text_of(events)
                elif reply.chat is not None:
                    text = "".join(p.text for p in reply.chat.parts if isinstance(p, Text))
            self.tally["answered"] += 1
        except (AllFailed, DeadlineExceeded, InvalidRequest, ProviderFailure) as error:
            is_whole = False
            failure = error.failures[-1] if isinstance(error, AllFailed) else error
            self.tally[getattr(failure, "kind", failure.code)] += 1
        if not may_differ and (text != SAID if is_whole else not SAID.startswith(text)):
            self.wrong.append(f"case {number}: {text!r} was never said in {data!r:.300}")


@pytest.mark.slow
async def test_a_spoilt_answer_is_an_answer_or_a_providers_failure() -> None:
    cases, crier = numbers(3000), Crier()
    trial = Trial(crier)
    server = await crier.start()
    with listening() as crashes:
        watch_loop(asyncio.get_running_loop(), crashes)
        for start in range(0, len(cases), BATCH):
            await trial.play(cases[start : start + BATCH])
        server.close()
    print(f"seed {SEED}:", ", ".join(f"{n} {what}" for what, n in trial.tally.most_common()))
    wrong = trial.wrong + crashes.heard
    assert not wrong, f"seed {SEED}: {len(wrong)} differences\n" + "\n".join(wrong[:20])


def _pieces(data: bytes, rng: random.Random) -> list[bytes]:
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 1, 4))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def _text_of(events: Any) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


# Events, cut anywhere.

FRAGMENTS = st.sampled_from(
    [b"data: a", b"data:b", b"data", b"data:", b"event: ping", b"event:", b"id: 1", b"retry: 5",
     b": c", b"", b" ", b"data:  x", b"\xef\xbb\xbf", b"datax: y", b"\xc3\xa9: z",
     b"data: \xe2\x82\xac"]
)  # fmt: skip
ENDS = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])


def reference(data: bytes) -> list[tuple[bytes, bytes]]:
    """The events of a stream as the WHATWG's text has it, line by line; the end ends one too."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    found, name, said = [], b"", list[bytes]()
    for line in [*data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"), b""]:
        if not line:
            if said:
                found.append((name, b"\n".join(said)))
            name, said = b"", []
            continue
        key, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if key == b"data":
            said.append(value)
        elif key == b"event":
            name = value
    return found


@pytest.mark.slow
@seed(SEED)
@settings(max_examples=many(1000), deadline=None, database=None)
@given(lines=st.lists(st.tuples(FRAGMENTS, ENDS), max_size=12), cuts=st.lists(st.integers(0, 200)))
def test_events_are_split_as_the_standard_has_it(
    lines: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    data = b"".join(line + end for line, end in lines)
    splitter = Splitter()
    events = [event for piece in cut(data, cuts) for event in splitter.feed(piece)]
    rest = splitter.finish()
    events += [rest] if rest is not None else []
    assert b"".join(raw for raw, _, _ in events) == data
    assert [(name, said) for _, name, said in events if said is not None] == reference(data)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({min(each, len(data)) for each in cuts})
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("wire", sorted(DIALECTS))
@seed(SEED)
@settings(
    max_examples=many(1000), deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
@given(
    changes=st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=6)), max_size=2),
    cuts=st.lists(st.integers(0, 2000), max_size=40),
)
def test_a_decoder_tells_the_same_events_however_they_are_cut(
    wire: str, changes: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    data = STREAMS[wire]
    for place, put in changes:
        place %= len(data)
        data = data[:place] + put + data[place + len(put) :]
    whole, failure = _decoded(wire, [data])
    again, other = _decoded(wire, cut(data, cuts))
    assert (failure is None) == (other is None)
    if failure is None:
        assert again == whole
    else:
        # In one piece nothing may be told before the failure: a prefix either way.
        assert again[: len(whole)] == whole or whole[: len(again)] == again


def _decoded(wire: str, pieces: list[bytes]) -> tuple[list[Event], ProviderFailure | None]:
    """Feed a decoder as a CommittedStream does; anything but ProviderFailure is a crash."""
    decoder = DIALECTS[wire].decoder()
    events: list[Event] = []
    try:
        for piece in pieces:
            events += decoder.feed(piece)
            if decoder.failure is not None:
                return events, decoder.failure
        events += decoder.eof()
    except ProviderFailure as failure:
        return events, failure
    return events, None
