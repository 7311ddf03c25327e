"""Run cells against a gateway: real sockets, several cells at once, one batch a gateway."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any, cast

import aiohttp

from matrix.check import differences
from matrix.clients_do import CLIENTS_DO
from matrix.fault import SIDES, WIRES, Cell, ClientFault, Expect, Fault
from matrix.providers_say import PROVIDERS_SAY
from matrix.reading import Got
from matrix.sites import Sites
from matrix.under_test import Inside, UnderTest, may_retry
from matrix.wires_do import WIRES_DO

FAULTS: tuple[Fault | ClientFault, ...] = (*PROVIDERS_SAY, *WIRES_DO, *CLIENTS_DO)
BATCH = 256
AT_ONCE = 24
LAG_EVERY_S = 0.02
LATE_S = 0.2
"""A loop that was late by this much may have passed a timeout of the matrix by itself."""
AGAIN = 1_000_000
"""Added to the number of a cell that is repeated: it needs models and routes of its own."""
QUESTION = "What do you say?"


@dataclass(frozen=True, slots=True)
class Result:
    """A cell, what its client got, and what differs from what is right. `repeated`: it was run
    once more, because the machine stood still under the first run."""

    cell: Cell
    got: Sequence[Got]
    wrong: tuple[str, ...]
    repeated: bool = False


def cells(faults: Iterable[Fault | ClientFault] = FAULTS) -> list[Cell]:
    """Every fault in every mode in which it can be met."""
    found: list[Cell] = []
    for fault in faults:
        upstreams = fault.upstreams if isinstance(fault, Fault) else WIRES[:1]
        for client in fault.clients:
            for upstream in upstreams:
                for streamed in (False, True):
                    if isinstance(fault, Fault) and not (fault.stream if streamed else fault.whole):
                        continue
                    for fallback in (False, True):
                        found.append(Cell(len(found), fault, client, upstream, streamed, fallback))
    return found


@dataclass
class Lag:
    """How late the event loop has been at worst: what a bound in time must allow for."""

    worst_s: float = 0.0
    _task: asyncio.Task[None] | None = field(default=None, repr=False)

    async def _watch(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(LAG_EVERY_S)
            self.worst_s = max(self.worst_s, time.monotonic() - before - LAG_EVERY_S)

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch())

    def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()


async def run(
    under_test: UnderTest, chosen: Sequence[Cell], sites: Sites, seed: int
) -> list[Result]:
    """Run cells in batches, in an order drawn from the seed."""
    order = list(chosen)
    random.Random(seed).shuffle(order)
    results: list[Result] = []
    for retries in (True, False):
        alike = [cell for cell in order if may_retry(cell) is retries]
        for start in range(0, len(alike), BATCH):
            found, lag_s = await _batch(under_test, alike[start : start + BATCH], sites)
            if lag_s > LATE_S and any(result.wrong for result in found):
                found = await _again(under_test, found, sites)
            results += found
    return sorted(results, key=lambda result: result.cell.number)


async def _again(under_test: UnderTest, results: Sequence[Result], sites: Sites) -> list[Result]:
    """Repeat, once, the cells that were wrong while the machine itself stood still."""
    wrong = [result.cell for result in results if result.wrong]
    fresh = [replace(cell, number=cell.number + AGAIN) for cell in wrong]
    found, _ = await _batch(under_test, fresh, sites)
    good = [result for result in results if not result.wrong]
    return good + [
        replace(result, cell=cell, repeated=True) for cell, result in zip(wrong, found, strict=True)
    ]


async def _batch(
    under_test: UnderTest, batch: Sequence[Cell], sites: Sites
) -> tuple[list[Result], float]:
    url = await under_test.start(batch, sites)
    gate = asyncio.Semaphore(AT_ONCE)
    lag = Lag()
    lag.start()
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=40),
        auto_decompress=False,
    ) as session:

        async def one(cell: Cell) -> tuple[Cell, list[Got], Inside | None]:
            async with gate:
                sites.script(cell)
                got = [await ask(session, url, under_test.key, cell)]
                if _then(cell) is not None:
                    got.append(await ask(session, url, under_test.key, cell))
                await _settled(under_test, cell, sites, got)
                return cell, got, under_test.inside(cell)

        try:
            ended = await asyncio.gather(*map(one, batch))
        finally:
            lag.stop()
    found = [
        Result(cell, got, tuple(differences(cell, _expects(cell), got, inside, sites, lag.worst_s)))
        for cell, got, inside in ended
    ]
    await under_test.stop()
    return _with_complaints(found, under_test.complaints()), lag.worst_s


def _then(cell: Cell) -> Expect | None:
    fault = cell.fault
    if not isinstance(fault, Fault) or fault.then is None:
        return None
    return fault.then.on if cell.fallback else fault.then.off


def _expects(cell: Cell) -> list[Expect]:
    then = _then(cell)
    return [cell.expect] if then is None else [cell.expect, then]


async def _settled(under_test: UnderTest, cell: Cell, sites: Sites, got: Sequence[Got]) -> None:
    """Wait, bounded, until the books of the cell are complete on both sides."""
    expected = _expects(cell)
    entries = sum(1 for each in expected if each.tried)
    async with asyncio.timeout(5):
        for _ in range(1000):
            inside = under_test.inside(cell)
            provider = [sites.provider(cell, side) for side in SIDES]
            models = {cell.model("a"), cell.model("b")}
            is_open = any(
                entry.model in models for each in provider for entry in each.journal.open.values()
            )
            if not is_open and (inside is None or len(inside.entries) >= entries):
                return
            await asyncio.sleep(0.004)


async def ask(session: aiohttp.ClientSession, url: str, key: str, cell: Cell) -> Got:
    """Send the request of a cell as its client would, and leave as it would."""
    fault = cell.fault
    path = "/v1/chat/completions" if cell.client == "openai" else "/v1/messages"
    headers = {
        "authorization": f"Bearer {key}",
        "content-type": "application/json",
        "accept-encoding": "identity",
    }
    method = "POST"
    body = json.dumps(_fields(cell)).encode()
    if isinstance(fault, ClientFault):
        headers.update(fault.headers)
        method, path = fault.method, fault.path or path
        stream = b'"stream":true,' if cell.streamed else b""
        body = fault.body.replace(b"@", stream, 1).replace(b"$", cell.route.encode(), 1)
    if cell.client == "anthropic":
        headers["anthropic-version"] = "2023-06-01"
    leaves = fault.leaves if isinstance(fault, Fault) else None
    started = time.monotonic()
    if leaves == "before content":
        return await _leave_early(session, method, url + path, body, headers)
    data = BytesIO(body) if method == "POST" else None
    status, given, said, left_at = 0, cast(Mapping[str, str], {}), b"", None
    try:
        async with session.request(method, url + path, data=data, headers=headers) as response:
            status, given = response.status, response.headers
            async for piece in response.content.iter_any():
                said += piece
                if leaves == "in the middle" and said.count(b"data:") >= 8:
                    left_at = time.time()
                    response.close()
                    break
        broken = False
    except (aiohttp.ClientError, TimeoutError):
        broken = True
    return Got(status, given, said, time.monotonic() - started, left_at, broken)


async def _leave_early(
    session: aiohttp.ClientSession, method: str, url: str, body: bytes, headers: dict[str, str]
) -> Got:
    started = time.monotonic()
    left_at = 0.0
    try:
        async with asyncio.timeout(0.25):
            await session.request(method, url, data=BytesIO(body), headers=headers)
    except TimeoutError:
        left_at = time.time()
    return Got(0, {}, b"", time.monotonic() - started, left_at)


def _fields(cell: Cell) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "model": cell.route,
        "messages": [{"role": "user", "content": QUESTION}],
    }
    if cell.client == "anthropic":
        fields["max_tokens"] = 400
    if cell.streamed:
        fields["stream"] = True
        if cell.client == "openai":
            fields["stream_options"] = {"include_usage": True}
    fault = cell.fault
    if isinstance(fault, Fault) and fault.timeout_s is not None:
        fields["timeout"] = fault.timeout_s
    return fields


def _with_complaints(results: list[Result], complaints: list[tuple[str, str]]) -> list[Result]:
    """Lay each crash in the log at the door of its cell; those of nobody's at the first's."""
    by_id = {
        got.headers.get("x-pointsman-request-id", ""): place
        for place, result in enumerate(results)
        for got in result.got
    }
    for request_id, message in complaints:
        place = by_id.get(request_id, 0)
        result = results[place]
        results[place] = replace(result, wrong=(*result.wrong, f"log: {message[:300]}"))
    return results
