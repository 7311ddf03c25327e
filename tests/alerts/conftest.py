"""Accounts, alerts and ledger entries to order, and real servers to send alerts to."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from pointsman.alerts.accounts import Stands
from pointsman.alerts.alert import Alert, Told
from pointsman.domain.budgets import Budget
from pointsman.domain.call import Caller
from pointsman.ledger.entries import Attempt, LedgerEntry
from pointsman.store.database import Database
from pointsman.store.open import Store
from pointsman.testing import FakeClock

USD = 1_000_000_000
NOW = FakeClock().wall()
"""Tuesday, 14 November 2023, 22:13:20 UTC."""

BUDGET = Budget("month", "team", 100 * USD, alert_at=(0.5, 0.8, 1.0))


def stands(
    usd: float, budget: Budget = BUDGET, subject: str = "north/web", now: float = NOW
) -> Stands:
    """How an account stands in the window that `now` is in."""
    start, until = budget.window.slice_at(now)
    spent = round(usd * USD)
    return Stands(budget, (budget.name, subject), spent, budget.limit, start, until)


def alert(key: str = "k", **fields: object) -> Alert:
    stated: dict[str, object] = {
        "kind": "burn_rate",
        "severity": "warning",
        "key": key,
        "text": "too fast",
        "stands_s": 600.0,
        "tenant": "north",
        "facts": {"spent_nano_usd": 5},
    }
    return Alert(**{**stated, **fields})  # type: ignore[arg-type]


def told(**fields: object) -> Told:
    stated: dict[str, object] = {
        "delivery": "7-1-hook",
        "event": "raised",
        "id": 7,
        "kind": "threshold",
        "severity": "warning",
        "text": "budget month of team north/web: $80.00 of $100.00 are used",
        "tenant": "north",
        "raised_at": NOW,
        "facts": {"budget": "month", "threshold": 0.8},
    }
    return Told(**{**stated, **fields})  # type: ignore[arg-type]


_numbers = itertools.count(1)


def entry(at: float, nano: int, key: str = "k", status: int = 200) -> LedgerEntry:
    attempt = Attempt("acme/small", "acme", "small", "workhorse", "ok", cost_nano=nano)
    number = next(_numbers)
    return LedgerEntry(
        request_id=f"req-{number}",
        decision_id=f"req-{number}",
        at=at,
        operation="chat",
        route="auto",
        requested_model="auto",
        caller=Caller(key, tenant="north"),
        stream=False,
        status=status,
        outcome="ok",
        attempts=(attempt,),
        cost_nano=nano,
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def db(clock: FakeClock) -> Iterator[Database]:
    """A book in memory."""
    database = Store.of(":memory:", clock).open()
    yield database
    database.close()


class Lines(logging.Handler):
    """What was logged, whatever else was done to the logger before."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage() + "\n"


@pytest.fixture
def logged() -> Iterator[Lines]:
    logger, lines = logging.getLogger("pointsman"), Lines()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(lines)
    yield lines
    logger.removeHandler(lines)
    logger.setLevel(level)


# A web server that takes alerts, as small as it can be.


@dataclass
class Hook:
    """What has come, as (path, headers, body); `statuses` are answered in turn, then the last."""

    port: int = 0
    statuses: list[int] = field(default_factory=lambda: [200])
    headers: str = ""
    hangs: bool = False
    taken: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    serving: set[asyncio.Task[None] | None] = field(default_factory=set)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/T0/secret-path?x=1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.current_task())
        self.writers.add(writer)
        try:
            while line := await reader.readline():
                path = line.split()[1].decode()
                headers: dict[str, str] = {}
                while (head := (await reader.readline()).strip()) != b"":
                    name, _, value = head.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers["content-length"]))
                self.taken.append((path, headers, body))
                if self.hangs:
                    await reader.read()
                    return
                status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
                writer.write(
                    f"HTTP/1.1 {status} X\r\n{self.headers}content-length: 2\r\n\r\nok".encode()
                )
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def hooked(**fields: object) -> AsyncIterator[Hook]:
    hook = Hook(**fields)  # type: ignore[arg-type]
    server = await asyncio.start_server(hook.serve, "127.0.0.1", 0)
    hook.port = server.sockets[0].getsockname()[1]
    try:
        yield hook
    finally:
        server.close()
        for writer in hook.writers:
            writer.close()
        await asyncio.gather(*(each for each in hook.serving if each), return_exceptions=True)
