"""Ask a server something beside the traffic: bounded in time and in bytes, and never an attempt.

Such questions (its load, its warm-up) touch no breaker, no limit and no ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import TypeVar
from urllib.parse import urlsplit

from pointsman.clock import Clock
from pointsman.providers.transport import Endpoint, HttpRequest, Transport, TransportError

T = TypeVar("T")


class NoAnswer(Exception):
    """The server did not answer, not in time, or too much."""


async def ask(
    transport: Transport,
    request: HttpRequest,
    clock: Clock,
    *,
    timeout_s: float,
    body_bytes: int,
) -> tuple[int, bytes]:
    """Return status and body. Raises NoAnswer, also where the body is above `body_bytes`."""
    return await within(timeout_s, clock, _ask(transport, request, body_bytes))


async def _ask(transport: Transport, request: HttpRequest, body_bytes: int) -> tuple[int, bytes]:
    try:
        response = await transport.send(request)
        try:
            body = b""
            while piece := await response.read_some():
                body += piece
                if len(body) > body_bytes:
                    raise NoAnswer(f"an answer above {body_bytes} bytes")
        except BaseException:
            response.abort()
            raise
        return response.status, body
    except TransportError as error:
        raise NoAnswer(f"{error.fault}: {error}") from error


async def within(seconds: float, clock: Clock, work: Awaitable[T]) -> T:
    """Await `work` for at most `seconds` of the clock. Raises NoAnswer where it takes longer."""
    task = asyncio.current_task()
    assert task is not None
    fired = False

    def fire() -> None:
        nonlocal fired
        fired = True
        task.cancel()

    timer = clock.call_later(seconds, fire)
    try:
        return await work
    except asyncio.CancelledError as cancelled:
        # As asyncio.timeout does: only our own cancellation is turned into an error.
        if fired and task.uncancel() <= 0:
            raise NoAnswer(f"no answer within {seconds:g} s") from cancelled
        raise
    finally:
        timer.cancel()


def root_of(endpoint: Endpoint) -> Endpoint:
    """The server itself: its base URL without the `/v1` of the dialect."""
    path = urlsplit(endpoint.base_url).path
    if not path.endswith("/v1"):
        return endpoint
    return replace(endpoint, base_url=endpoint.base_url[: -len("/v1")])
