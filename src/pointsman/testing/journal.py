"""What the provider saw and what it bills: the other side's books, append-only.

The billing rule, in full. A request that is answered with an error status, with something that
is no answer, or with an error event before any token, is free. Every other request is billed
its input on arrival, even if the answer never comes, and its output token by token as they are
made: a client that leaves pays for what was made until the provider saw it leave (with
`cancel_billing="all"`, for the whole answer, as some providers do). What is reported as usage
equals what is billed, unless an odd usage was scripted; then both are written down.

On disk the journal is JSON lines, each written at once by a single `write` on a descriptor
opened for appending: a line `arrived` before anything else happens to a request, and a line
`ended` at its end. A provider that is killed in between leaves the first without the second.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import orjson

from pointsman.domain.content import Json, JsonObject
from pointsman.domain.usage import NO_USAGE, Usage
from pointsman.testing.asked import Operation

Ended = Literal["done", "client_left", "shutdown", "request_cut", "lost"]
"""done: everything planned was performed, faults included. client_left: it went before that.
shutdown: the provider ended first. request_cut: the request itself never came whole.
lost: read back from a file whose writer was killed."""

_SECRET_HEADERS = frozenset(
    {"authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "proxy-authorization"}
)


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One request to the provider. Times are seconds since the epoch.

    attempt_id: the header `x-pointsman-attempt-id`, "" without. seal: the hash of the request's
    body that ids are made of. connection: numbers the connections, so that reuse can be seen.
    bytes_sent: known to be with the kernel. generated: output tokens made. reported: the usage
    as the client was last told it, or would have been. body: only in memory, never in the file.
    """

    number: int
    attempt_id: str
    request_id: str
    arrived_at: float
    dialect: str
    operation: Operation
    path: str
    model: str
    stream: bool
    connection: int
    headers: Mapping[str, str]
    body_bytes: int
    seal: str
    ended_at: float = 0.0
    ended: Ended = "lost"
    status: int = 0
    """As sent; 0 where no byte of an answer left."""
    plays: tuple[JsonObject, ...] = ()
    rule: str = ""
    """Where the plays came from: header, script, rate limit, or the rule's name."""
    bytes_sent: int = 0
    generated: int = 0
    billed: Usage = NO_USAGE
    reported: Json = None
    cancelled_at: float | None = None
    body: bytes = field(default=b"", repr=False, compare=False)

    def json(self) -> JsonObject:
        """The request's body, parsed."""
        parsed = json.loads(self.body)
        return parsed if isinstance(parsed, dict) else {}


class Journal:
    """Keep entries in memory and, where `path` is given, in a file.

    keep: how many entries stay in memory, None for all. bodies: keep requests' bodies there.
    """

    def __init__(
        self, path: Path | None = None, *, keep: int | None = None, bodies: bool = True
    ) -> None:
        self.path = path
        self.arrived = 0
        self.open: dict[int, JournalEntry] = {}
        self._entries: deque[JournalEntry] = deque(maxlen=keep)
        self._bodies = bodies
        self._waiting: set[asyncio.Future[None]] = set()
        self._run = f"{os.getpid():x}-{time.time_ns():x}"
        self._file: int | None = None
        if path is not None:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    @property
    def entries(self) -> tuple[JournalEntry, ...]:
        """What has ended, in order of ending."""
        return tuple(self._entries)

    @property
    def calls(self) -> tuple[JournalEntry, ...]:
        """The ended requests for chat and embeddings: those that can cost money."""
        return tuple(e for e in self._entries if e.operation in ("chat", "embeddings"))

    def of_model(self, model: str) -> tuple[JournalEntry, ...]:
        return tuple(entry for entry in self.calls if entry.model == model)

    def of_attempt(self, attempt_id: str) -> tuple[JournalEntry, ...]:
        return tuple(entry for entry in self._entries if entry.attempt_id == attempt_id)

    def billed(self) -> Usage:
        """Sum of what was billed."""
        return total_usage(entry.billed for entry in self._entries)

    def arrive(self, entry: JournalEntry) -> None:
        self.arrived += 1
        self.open[entry.number] = entry
        self._write("arrived", entry)

    def end(self, entry: JournalEntry) -> None:
        self.open.pop(entry.number, None)
        if not self._bodies:
            entry = replace(entry, body=b"")
        self._entries.append(entry)
        self._write("ended", entry)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def settled(self, at_least: int = 0, *, within_s: float = 5.0) -> None:
        """Wait until no request is open and `at_least` have arrived. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while self.open or self.arrived < at_least:
                turned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.add(turned)
                try:
                    await turned
                finally:
                    self._waiting.discard(turned)

    def clear(self) -> None:
        """Forget the ended entries in memory; the file keeps them."""
        self._entries.clear()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, event: str, entry: JournalEntry) -> None:
        if self._file is not None:
            line = {"event": event, "run": self._run, "entry": as_json(entry)}
            os.write(self._file, orjson.dumps(line) + b"\n")

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Journal({len(self._entries)} ended, {len(self.open)} open)"


def read_journal(path: Path) -> list[JournalEntry]:
    """Read a journal's file back: ended entries in order, then those whose end is missing.

    Several runs may have written one after another. A line that was cut while being written is
    left out.
    """
    arrived: dict[tuple[str, int], JournalEntry] = {}
    ended: list[JournalEntry] = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        record = orjson.loads(line)
        entry = _from_json(record["entry"])
        if record["event"] == "arrived":
            arrived[record["run"], entry.number] = entry
        else:
            arrived.pop((record["run"], entry.number), None)
            ended.append(entry)
    return [*ended, *arrived.values()]


def total_usage(usages: Iterable[Usage]) -> Usage:
    total = NO_USAGE
    for usage in usages:
        total = Usage(
            input=total.input + usage.input,
            output=total.output + usage.output,
            cached=total.cached + usage.cached,
            cache_write=total.cache_write + usage.cache_write,
            cache_write_1h=total.cache_write_1h + usage.cache_write_1h,
            reasoning=total.reasoning + usage.reasoning,
        )
    return total


def safe_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Replace every credential by the start of its hash; the scheme word stays."""
    return {
        name: _hashed(value) if name in _SECRET_HEADERS else value
        for name, value in headers.items()
    }


def key_hash(secret: str) -> str:
    """How a key appears in the journal."""
    return "sha256:" + hashlib.sha256(secret.encode()).hexdigest()[:12]


def _hashed(value: str) -> str:
    scheme, space, secret = value.partition(" ")
    return f"{scheme} {key_hash(secret)}" if space else key_hash(value)


def as_json(entry: JournalEntry) -> JsonObject:
    """Everything but the request's body."""
    shown: JsonObject = {name: getattr(entry, name) for name in _SHOWN}
    shown["billed"] = {name: getattr(entry.billed, name) for name in _USED}
    shown["plays"] = list(entry.plays)
    return shown


_USED = ("input", "output", "cached", "cache_write", "cache_write_1h", "reasoning", "estimated")
_SHOWN = tuple(item.name for item in fields(JournalEntry) if item.name != "body")


def _from_json(shown: dict[str, Any]) -> JournalEntry:
    return JournalEntry(
        **{**shown, "billed": Usage(**shown["billed"]), "plays": tuple(shown["plays"])}
    )
