"""Idempotency keys: a request that is repeated is made once, and answered as often as it is asked.

A client that lost an answer does not know whether its request was made, and asking again may be
paid for twice. With an `Idempotency-Key` header the first request is made; while it runs, others
with the same key and body wait for it; after it they are given the same answer, for a day, a
stream with the same events. The same key with another body is a mistake, and told so.

A key means something only together with who shows it and where: two callers never meet.

Not kept, so that it is made again: what ended before any provider was asked, what the client was
told to try again, and what nobody was there to read. Where a worker dies in the middle, the next
repetition after `LEASE_S` makes the request anew: its answer is lost, and both are accounted for.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from pointsman.clock import Clock, Timer
from pointsman.domain.call import Caller
from pointsman.errors import InvalidRequest, Rejected
from pointsman.server.exchange import ClientGone, Exchange
from pointsman.server.idempotency_rows import (
    LEASE_S,
    Claimed,
    Conflict,
    Found,
    TooLong,
    claim,
    give_up,
    keep,
    renew,
)
from pointsman.server.tape import Answer, Tape
from pointsman.store.database import Database
from pointsman.store.errors import StorageError
from pointsman.store.open import Store

HEADER: Final = b"idempotency-key"
MOST_CHARS: Final = 255
WAIT_S: Final = 120.0
"""The longest that a repetition waits for the first to end."""
LOOK_S: Final = (0.02, 0.25)
"""Between looks at one that runs: at first, and at most."""

_log = logging.getLogger("pointsman")


class Conflicting(InvalidRequest):
    status = 422
    code = "idempotency_conflict"


class StillRunning(Rejected):
    status = 409
    code = "idempotency_in_flight"
    should_retry = True


class NotKept(InvalidRequest):
    status = 409
    code = "idempotency_not_kept"


class Idempotency:
    """One worker's part: it claims, keeps and gives again. `close` it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._clock = clock
        self._database: Database = store.open()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="idempotency")
        self._owner = secrets.token_hex(8)
        self._claims: set[bytes] = set()
        self._left: list[Callable[[], None]] = []
        """What the store did not take; tried again with the next renewal."""
        self._timer: Timer | None = None

    async def answer(
        self, exchange: Exchange, caller: Caller, most: int, make: Callable[[], Awaitable[None]]
    ) -> None:
        """Answer an exchange that has the header: by `make`, or as it was answered before.

        Raises InvalidRequest for a bad key or another body, StillRunning, and StorageUnavailable
        where the store does not say: then nobody is asked.
        """
        key = _checked(exchange.header(HEADER) or "")
        body = await exchange.body(most)
        scope = _scope(caller, exchange.path, key)
        found = await self._found(exchange, scope, body)
        if isinstance(found, Answer):
            _replay(exchange, found)
            return
        tape = exchange.tape = Tape()
        self._claims.add(scope)
        self._renew_later()
        try:
            await make()
        except BaseException:
            tape.is_ended = False  # Told from further out, or nobody was there to read it.
            raise
        finally:
            exchange.tape = None
            self._claims.discard(scope)
            self._settle(scope, tape)

    async def _found(self, exchange: Exchange, scope: bytes, body: bytes) -> Claimed | Answer:
        """Wait until the request is ours to make, or was made."""
        until = self._clock.now() + WAIT_S
        pause, longest = LOOK_S
        while True:
            found = await self._claim(scope, body)
            if isinstance(found, Claimed | Answer):
                if isinstance(found, Claimed) and exchange.gone:
                    self._later(lambda: give_up(self._database, scope, self._owner))
                    raise ClientGone
                return found
            if isinstance(found, Conflict):
                raise Conflicting(
                    "the Idempotency-Key was used with another body; take a new one",
                    param="idempotency-key",
                )
            if isinstance(found, TooLong):
                raise NotKept("the request was made; its answer was too long to be kept")
            if exchange.gone:
                raise ClientGone
            if self._clock.now() >= until:
                raise StillRunning(
                    "the first request with this Idempotency-Key still runs", retry_after_s=1.0
                )
            await self._clock.sleep(pause)
            pause = min(longest, pause * 1.5)

    async def _claim(self, scope: bytes, body: bytes) -> Found:
        def work() -> Found:
            return claim(self._database, scope, hashlib.sha256(body).digest(), self._owner)

        asked = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            # It may be ours by the time the thread is done: nobody would ever make it.
            self._later(lambda: give_up(self._database, scope, self._owner))
            asked.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise

    def _settle(self, scope: bytes, tape: Tape) -> None:
        database, owner = self._database, self._owner
        if not tape.is_ended or not _is_final(tape.answer):
            self._later(lambda: give_up(database, scope, owner))
        elif tape.is_too_long:
            self._later(lambda: keep(database, scope, owner, None))
        else:
            answer = tape.answer
            self._later(lambda: keep(database, scope, owner, answer))

    # On the thread; what is asked in order is done in order.

    def _later(self, work: Callable[[], None]) -> None:
        self._thread.submit(self._tried, work)

    def _tried(self, work: Callable[[], None]) -> None:
        try:
            work()
        except StorageError as error:
            _log.warning("idempotency.store_down error=%r", error.message)
            self._left.append(work)

    def _renewed(self) -> None:
        left, self._left = self._left, []
        for work in (*left, lambda: renew(self._database, self._owner)):
            self._tried(work)
        self._left = [work for work in self._left if work in left]

    def _end(self) -> None:
        self._renewed()
        self._database.close()

    # On the loop.

    def _renew_later(self) -> None:
        if self._timer is None:
            self._timer = self._clock.call_later(LEASE_S / 3, self._renew)

    def _renew(self) -> None:
        self._timer = None
        self._thread.submit(self._renewed)
        if self._claims or self._left:
            self._renew_later()

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._end)
        self._thread.shutdown()

    def __repr__(self) -> str:
        return f"Idempotency({len(self._claims)} under way, {len(self._left)} not kept yet)"


def _checked(key: str) -> str:
    if not 1 <= len(key) <= MOST_CHARS or not all(" " < char < "\x7f" for char in key):
        raise InvalidRequest(
            f"Idempotency-Key: 1 to {MOST_CHARS} visible ASCII characters; a UUID will do",
            param="idempotency-key",
        )
    return key


def _scope(caller: Caller, path: str, key: str) -> bytes:
    """Whose key it is, by digests of a fixed length each: no text can be read as another."""
    parts = ("" if caller.tenant is None else f"={caller.tenant}", caller.key, path, key)
    return hashlib.sha256(b"".join(hashlib.sha256(p.encode()).digest() for p in parts)).digest()


def _is_final(answer: Answer) -> bool:
    """Whether asking again could only cost more: 1. it is an answer; 2. providers were asked, and
    the client is not told to try again."""
    if answer.status < 400:
        return True
    was_asked = answer.header(b"x-pointsman-attempts") not in (b"", b"0")
    return was_asked and answer.header(b"x-should-retry") != b"true"


def _replay(exchange: Exchange, answer: Answer) -> None:
    headers = (*answer.headers, (b"idempotency-replayed", b"true"))
    if not answer.is_stream:
        exchange.respond(answer.status, answer.body, headers, answer.kind)
        return
    exchange.start(answer.status, headers, answer.kind)
    exchange.write(answer.body)
    exchange.end()
