"""Whatever bytes come over a socket: it ends in bounded time, each request is answered once, and
nothing is taken for a request that a second, strict parser (h11) does not take for the same one.

Time is the server's clock, moved by the test once all bytes are read. Runs on both event loops.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import uvloop
from fuzz_http import Seen, as_h11_has_it, wild
from fuzz_knobs import SEED, listening, numbers, watch_loop

from pointsman.config.settings import ServerSettings
from pointsman.errors import PointsmanError
from pointsman.server.exchange import ClientGone, Exchange
from pointsman.server.head import HttpFault, path_of
from pointsman.server.http import HttpServer
from pointsman.testing import FakeClock
from pointsman.testing.clock import settle

BATCH = 100
LONGEST_S = 200
"""Of the server's time: a head, an idle connection, a slow body and a lingering close add up to
less."""
PATIENCE_S = 60.0
GOOD = b"POST /good HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok"
_ANSWER = re.compile(
    rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[\x21-\x7e]+: [^\r\n]*\r\n)*)\r\n", re.DOTALL
)

_REQUEST = rb"(?=[A-Z]{3,} +[^ \r\n]+ +HTTP/1)"
JUDGED: tuple[tuple[str, re.Pattern[bytes], bytes], ...] = (
    # RFC 9112 section 3 lets a recipient take several spaces for one.
    ("spaces", re.compile(rb"([A-Z]) +([^ \r\n]+) +(HTTP/1)"), rb"\1 \2 \3"),
    # llhttp takes these two for a few methods of theirs, all of which we answer with 405.
    ("another protocol's name", re.compile(rb" (?:RTSP|ICE)/1"), b" HTTP/1"),
    # RFC 9112 section 2.2: a server should ignore at least one empty line before a request.
    ("empty lines", re.compile(rb"(^|\r\n\r\n|b\d)[\r\n]+" + _REQUEST), rb"\1"),
)
"""What we take and h11 does not: why, and what h11 would have it written as. It stays only where
h11 then finds the very same requests, so that no framing depends on it."""


@dataclass
class Desk:
    """Answers each request with what it has seen; of every second path it reads no body."""

    seen: dict[str, Seen] = field(default_factory=dict)
    """By request id: those that were read to their end, as far as they are read at all."""
    stamp: bytes = b""
    _count: int = 0

    def new_id(self) -> str:
        self._count += 1
        return f"r{self._count}"

    async def handle(self, exchange: Exchange) -> None:
        try:
            body = b""
            if reads_body(exchange.path) and exchange.method != "HEAD":
                body = await exchange.body(1 << 20)
            self.seen[exchange.id] = Seen(exchange.method, exchange.path.encode("latin-1"), body)
            exchange.respond(200, b"" if exchange.method == "HEAD" else b"seen")
        except ClientGone:
            pass
        except PointsmanError as error:
            self.refuse(exchange, error)

    def refuse(self, exchange: Exchange, error: PointsmanError) -> None:
        exchange.respond(error.status, error.code.encode())


def reads_body(path: str) -> bool:
    return not path.startswith("/r1")


@dataclass
class Line:
    """One connection: what went out on it and what came back."""

    number: int
    sent: bytes
    pieces: list[bytes]
    got: bytes = b""
    is_sent: bool = False
    is_reset: bool = False


async def play(line: Line, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in line.pieces:
            if writer.is_closing():
                break
            writer.write(piece)
            await settle(3)
        line.is_sent = True
        while data := await reader.read(65536):
            line.got += data
    except ConnectionError:
        line.is_reset = True
    finally:
        line.is_sent = True
        writer.transport.abort()


@pytest.mark.slow
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_wild_bytes_end_well_and_desynchronise_nothing(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_play_all(numbers(2000)))


async def _play_all(cases: list[int]) -> None:
    clock, desk, tally = FakeClock(), Desk(), Counter[str]()
    server = HttpServer(desk, ServerSettings(), clock=clock)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    port = listener.getsockname()[1]
    wrong: list[str] = []
    with listener, listening() as crashes:
        watch_loop(asyncio.get_running_loop(), crashes)
        await server.start([listener])
        for start in range(0, len(cases), BATCH):
            made = [(n, *wild(n, SEED)) for n in cases[start : start + BATCH]]
            lines = [Line(*each) for each in made] + [Line(-1, GOOD, [GOOD])]
            desk.seen.clear()
            stuck = await _play_batch(lines, port, clock)
            wrong += [f"case {number}: still open after {LONGEST_S} s" for number in stuck]
            for line in lines:
                said = judged(line, desk, tally)
                wrong += [f"case {line.number}: {each}\n    {line.sent!r:.600}" for each in said]
        await server.close()
        await settle()
        assert server.connections == server.under_way == server.bodies_bytes == 0
    print(f"seed {SEED}:", ", ".join(f"{n} {what}" for what, n in tally.most_common()))
    wrong += crashes.heard
    assert not wrong, f"seed {SEED}: {len(wrong)} differences\n" + "\n".join(wrong[:20])


async def _play_batch(lines: list[Line], port: int, clock: FakeClock) -> list[int]:
    """Play connections side by side; return the numbers of those that did not end."""
    tasks = [asyncio.create_task(play(line, port)) for line in lines]
    async with asyncio.timeout(PATIENCE_S):
        while not all(line.is_sent for line in lines):
            await asyncio.sleep(0)
        await settle()
        for _ in range(LONGEST_S):
            if all(task.done() for task in tasks):
                break
            clock.advance(1.0)
            await settle(4)
    stuck = [line.number for line, task in zip(lines, tasks, strict=True) if not task.done()]
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    raised = [error for error in ended if isinstance(error, Exception)]
    assert not raised, raised
    return stuck


def judged(line: Line, desk: Desk, tally: Counter[str]) -> list[str]:
    """Say what is wrong with what came back on a connection."""
    answers, rest = answers_in(line.got)
    wrong = [f"no answer: {rest!r:.200}"] if rest else []
    final = [(status, name) for status, name in answers if status != 100]
    ids = [name for _, name in final]
    if len(set(ids)) != len(ids):
        wrong.append("one request was answered twice")
    statuses = [status for status, _ in final]
    if any(status != 200 for status in statuses[:-1]):
        wrong.append(f"something was answered after a refusal: {statuses}")
    if any(status >= 500 and status not in (501, 505) for status in statuses):
        wrong.append(f"our fault: {statuses}")
    taken = [desk.seen[name] for status, name in final if status == 200]
    theirs, is_faulty = as_h11_has_it(line.sent)
    tally["answers"] += len(final)
    if not line.number + 1 and statuses != [200]:
        wrong.append(f"a good request got {statuses}")
    for ours, other in zip(taken, theirs, strict=False):
        if not is_same(ours, other):
            wrong.append(f"we saw {ours}, h11 {other}")
            return wrong
    if more := beyond(taken, theirs):
        reason = why(line.sent, taken)
        if reason is None:
            wrong.append(f"we took {more}, h11 did not")
        tally[f"judged: {reason}"] += 1
    elif len(taken) > len(theirs):
        tally["answered before the end"] += 1
    elif len(taken) < len(theirs):
        tally["refused by us alone" if not is_faulty else "refused by us earlier"] += 1
    else:
        tally["as h11 has it"] += 1
    return wrong


def beyond(taken: list[Seen], theirs: list[Seen]) -> list[Seen]:
    """What we took after what h11 did. A request whose body nobody reads is answered before its
    end has come, so one of those is none."""
    more = taken[len(theirs) :]
    if len(more) == 1 and not has_body_read(more[0]):
        return []
    return more


def why(sent: bytes, taken: list[Seen]) -> str | None:
    """Name what h11 minds, where without it h11 takes the same requests; else None."""
    reasons = []
    for name, found, put in JUDGED:
        changed = found.sub(put, sent)
        if changed != sent:
            reasons.append(name)
            sent = changed
    theirs, _ = as_h11_has_it(sent)
    if beyond(taken, theirs) or not all(map(is_same, taken, theirs)):
        return None
    return ", ".join(reasons) or None


def has_body_read(seen: Seen) -> bool:
    return reads_body(seen.target.decode("latin-1")) and seen.method != "HEAD"


def is_same(ours: Seen, other: Seen) -> bool:
    try:
        path = path_of(other.target).encode("latin-1")
    except HttpFault:
        return False
    if (ours.method, ours.target) != (other.method, path):
        return False
    return not has_body_read(ours) or ours.body == other.body


def answers_in(got: bytes) -> tuple[list[tuple[int, str]], bytes]:
    """Cut what came back into answers: (status, request id); and what is no whole answer."""
    found = []
    while (match := _ANSWER.match(got)) is not None:
        pairs = (line.partition(b": ") for line in match[2].split(b"\r\n"))
        headers = {name: value for name, _, value in pairs}
        end = match.end() + int(headers.get(b"content-length", b"0"))
        if end > len(got):
            break
        found.append((int(match[1]), headers.get(b"x-pointsman-request-id", b"").decode()))
        got = got[end:]
    return found, got


def test_the_judge_can_say_no() -> None:
    one = b"HTTP/1.1 200 OK\r\nx-pointsman-request-id: r1\r\ncontent-length: 0\r\n\r\n"
    bad = one.replace(b"200 OK", b"500 No")
    desk = Desk({"r1": Seen("POST", b"/r0", b"other")})
    line = Line(0, GOOD, [])
    for got in (one + one, bad, bad + one, one + b"HTTP/1.1 2"):
        line.got = got
        assert judged(line, desk, Counter())
