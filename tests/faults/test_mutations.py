"""A provider's bytes, spoilt by chance: a client gets a valid answer, a valid prefix and one error
event, or an error status; nothing crashes and nothing hangs.

POINTSMAN_MUTATIONS sets how many cases go over sockets (`make faults`: 3,000), and
POINTSMAN_SEED which.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matrix.fault import WIRES, Wire
from matrix.mutate import mutated, pieces
from matrix.reading import Read, read_stream, read_whole
from matrix.recorded import PATHS, Parrot, record, request_fields
from matrix.under_test import ABLE, Complaints, Serving

from pointsman.dialects.registry import DIALECTS
from pointsman.dialects.strict_json import parse_object
from pointsman.domain.reply import TextDelta
from pointsman.domain.request import ChatRequest, Source
from pointsman.errors import PointsmanError, ProviderFailure
from pointsman.gateway import Gateway
from pointsman.ledger.memory import MemoryLedger

CASES = int(os.environ.get("POINTSMAN_MUTATIONS", "300"))
SEED = int(os.environ.get("POINTSMAN_SEED", "1"))
AT_ONCE = 16
STATUSES = frozenset({400, 429, 502, 504})
"""What a failed attempt may be told as; 400 for what an odd byte makes a filter's verdict."""


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    """Keep the line of each of the thousands of failed requests out; errors stay."""
    logger = logging.getLogger("pointsman")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


def configuration(url: str) -> dict[str, Any]:
    """A route a dialect, without fallback, and breakers that bear anything."""
    return {
        "breaker": {"streak": 1000, "ratio": 0, "base_s": 0.001, "max_s": 0.001},
        "providers": {
            wire: {
                "url": f"{url}/v1" if wire == "openai" else url,
                "dialect": wire,
                "kind": "hosted",
                "key": "env:PROVIDER_KEY",
            }
            for wire in WIRES
        },
        "deployments": [
            {
                "name": f"d-{wire}",
                "provider": wire,
                "model": "m",
                "tier": "workhorse",
                "price": {"input_usd": 1, "output_usd": 2},
                "context_tokens": 20000,
                "capabilities": ABLE,
            }
            for wire in WIRES
        ],
        "routes": [
            {
                "name": wire,
                "deployments": [f"d-{wire}"],
                "fallback": {"enabled": False},
                "timeouts": {"first_content_s": 4, "idle_s": 4, "whole_s": 4, "total_s": 8},
            }
            for wire in WIRES
        ],
    }


async def test_mutated_answers_end_in_one_valid_way() -> None:
    good = await record()
    keys = sorted(good)
    complaints = Complaints()
    for name in ("pointsman", "asyncio"):
        logging.getLogger(name).addHandler(complaints)
    wrong: list[str] = []
    async with (
        Parrot() as parrot,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        ledger = MemoryLedger()
        gateway = Gateway.from_config(
            configuration(parrot.url),
            env={"PROVIDER_KEY": "sk-provider-0123456789"},
            ledger=ledger,
        )
        serving = Serving(gateway)
        await serving.start()
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            rng = random.Random(f"{SEED}:{number}")
            upstream, streamed, kind = rng.choice(keys)
            data = mutated(good[upstream, streamed, kind], good[rng.choice(keys)], rng)
            content_type = "text/event-stream" if streamed else "application/json"
            parrot.said[number] = (content_type, pieces(data, rng))
            client = rng.choice(WIRES)
            tools = kind == "call"
            fields = request_fields(client, streamed, f"case {number}", upstream, tools)
            sent = BytesIO(json.dumps(fields).encode())
            async with (
                gate,
                asyncio.timeout(10),
                session.post(serving.url + PATHS[client], data=sent) as response,
            ):
                body = await response.read()
                status = response.status
            said = judged(upstream, client, streamed, status, body, data)
            wrong.extend(f"case {number} ({upstream} to {client}, {kind}): {each}" for each in said)

        ended = await asyncio.gather(*map(one, range(CASES)), return_exceptions=True)
        wrong += [f"case {n}: {error!r}" for n, error in enumerate(ended) if error is not None]
        await serving.stop()
    for name in ("pointsman", "asyncio"):
        logging.getLogger(name).removeHandler(complaints)
    wrong += [message for _, message in complaints.heard()]
    assert not wrong, f"seed {SEED}: {len(wrong)} differences\n" + "\n".join(wrong[:20])
    assert len(ledger.entries) == CASES
    assert [stack.meter.in_flight for stack in gateway.stacks.values()] == [0, 0]


def judged(
    upstream: Wire, client: Wire, streamed: bool, status: int, body: bytes, data: bytes
) -> list[str]:
    """Say what no client should meet; `data` is what the provider said."""
    if status != 200:
        read = read_whole(client, body)
        wrong = list(read.faults)
        if status not in STATUSES or read.error is None:
            wrong.append(f"status {status}: {body[:200]!r}")
        return wrong
    read = read_stream(client, body) if streamed else read_whole(client, body)
    wrong = [fault for fault in read.faults if not _is_the_providers_own(upstream, client, fault)]
    if not streamed:
        return wrong
    if read.ends not in (["proper"], ["error"]):
        wrong.append(f"ends in {read.ends}: {body[-200:]!r}")
    told = said_by(upstream, client, data)
    if not told.startswith(read.text):
        wrong.append(f"content {read.text!r} is not what was said: {told!r} of {data!r}")
    return wrong


def _is_the_providers_own(upstream: Wire, client: Wire, fault: str) -> bool:
    """What passes through unread: an event of another shape, which a client of that dialect skips
    or reads as it likes. Never half an event, nor bytes or JSON that cannot be read."""
    return upstream == client and fault.startswith(("an event that is no object", "an answer"))


def said_by(upstream: Wire, client: Wire, data: bytes) -> str:
    """All the text in a provider's bytes, errors and ends passed over."""
    read = Read()
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    for block in text.replace("\r\n", "\n").replace("\r", "\n").split("\n\n"):
        lines = [line.partition(":") for line in block.split("\n")]
        payload = "\n".join(v.removeprefix(" ") for key, _, v in lines if key == "data")
        part = read_stream(upstream, f"data: {payload}\n\n".encode()) if payload else Read()
        read.text += part.text
    return read.text


# The readers themselves, without sockets: many more cases, each in random pieces.

GOOD: dict[tuple[Wire, bool, str], bytes] = {}


def recordings() -> dict[tuple[Wire, bool, str], bytes]:
    if not GOOD:
        GOOD.update(asyncio.run(record()))
    return GOOD


def request_of(wire: Wire) -> ChatRequest:
    body = json.dumps(request_fields(wire, True, "hi", "m", False)).encode()
    return DIALECTS[wire].parse_request(parse_object(body), Source(wire, body))


def fed(reader: Any, data: list[bytes]) -> tuple[list[Any], ProviderFailure | None]:
    """Feed a reader as a CommittedStream does; anything but ProviderFailure is a crash."""
    out: list[Any] = []
    try:
        for piece in data:
            out.append(reader.feed(piece))
            if reader.failure is not None:
                return out, reader.failure
        out.append(reader.eof())
    except ProviderFailure as failure:
        return out, failure
    return out, None


def blocks_of(data: bytes) -> list[bytes]:
    """Cut at blank lines, whatever they end with."""
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return [block for block in lines.strip(b"\n").split(b"\n\n") if block]


@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_a_tap_passes_only_what_came_and_raises_only_failures(wire: Wire, seed: int) -> None:
    rng = random.Random(seed)
    good = recordings()
    keys = [key for key in sorted(good) if key[0] == wire and key[1]]
    data = mutated(good[rng.choice(keys)], good[rng.choice(sorted(good))], rng)
    tap = DIALECTS[wire].tap(request_of(wire))
    out, failure = fed(tap, pieces(data, rng))
    passed = b"".join(out)
    if failure is None:
        assert tap.ended
        passed = passed.removesuffix(b"data: [DONE]\n\n")
    came = iter(blocks_of(data))
    assert all(block in came for block in blocks_of(passed))  # In this order, none made up.
    passed.decode()


@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_a_decoder_says_the_same_however_the_bytes_are_cut(wire: Wire, seed: int) -> None:
    rng = random.Random(seed)
    good = recordings()
    keys = [key for key in sorted(good) if key[0] == wire and key[1]]
    data = mutated(good[rng.choice(keys)], good[rng.choice(sorted(good))], rng)
    byte_wise, failure = fed(DIALECTS[wire].decoder(), [data[n : n + 1] for n in range(len(data))])
    cut, other = fed(DIALECTS[wire].decoder(), pieces(data, rng))
    all_said, said = text_of(byte_wise), text_of(cut)
    assert (failure is None) == (other is None)
    if other is None:
        assert said == all_said
    else:
        assert all_said.startswith(said)


@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_a_whole_answer_is_read_or_refused(wire: Wire, seed: int) -> None:
    rng = random.Random(seed)
    good = recordings()
    keys = [key for key in sorted(good) if key[0] == wire and not key[1]]
    data = mutated(good[rng.choice(keys)], good[rng.choice(sorted(good))], rng)
    dialect = DIALECTS[wire]
    for read in (dialect.check_reply, dialect.parse_reply):
        try:
            read(data)
        except ProviderFailure:
            pass
    try:
        dialect.parse_failure(500, {}, data)
        dialect.parse_failure(400, {}, data)
    except PointsmanError:
        pytest.fail("an error's body is read, whatever it is")


def text_of(pieces_out: list[Any]) -> str:
    return "".join(e.text for events in pieces_out for e in events if isinstance(e, TextDelta))


def test_the_judge_can_say_no() -> None:
    bad = b'data: {"choices":[{"index":0,"delta":{"content":"made up"}}]}\n\n'
    assert judged("openai", "openai", True, 200, bad, b"")
    assert judged("openai", "openai", True, 500, b"{}", b"")
    assert judged("openai", "openai", True, 200, b"data: [DONE]\n\ndata: [DO", b"")
