"""Claims and answers of idempotent requests, in the store: the statements, on one thread."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final, TypeAlias

import orjson

from pointsman.server.tape import Answer
from pointsman.store.database import Database

KEPT_S: Final = 24 * 3600.0
LEASE_S: Final = 30.0
"""How long a worker that says nothing more is taken to be at it."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The request is the first of its kind: make it."""


@dataclass(frozen=True, slots=True)
class Running:
    """Somebody is at it."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """The same Idempotency-Key came with another body."""


@dataclass(frozen=True, slots=True)
class TooLong:
    """It was made, and its answer was too long to be kept."""


Found: TypeAlias = Claimed | Running | Conflict | TooLong | Answer


def claim(database: Database, scope: bytes, body: bytes, owner: str) -> Found:
    """Claim a request, or say what became of the one before."""
    now = database.now()
    if database.run(
        "INSERT INTO idempotency (scope, body, state, owner, until) "
        "VALUES (?, ?, 'running', ?, ?) ON CONFLICT (scope) DO NOTHING",
        (scope, body, owner, now + LEASE_S),
    ):
        return Claimed()
    rows = database.rows(
        "SELECT body, state, owner, until, status, kind, head, answer, stream "
        "FROM idempotency WHERE scope = ?",
        (scope,),
    )
    if not rows:
        return Running()  # Given up just now: the next look claims it.
    said, state, holder, until, status, kind, head, answer, is_stream = rows[0]
    if until <= now:
        # Forgotten, or its worker is dead. Of several who see that one takes it.
        is_ours = database.run(
            "UPDATE idempotency SET body = ?, state = 'running', owner = ?, until = ?, "
            "answer = NULL WHERE scope = ? AND owner = ? AND until = ?",
            (body, owner, now + LEASE_S, scope, holder, until),
        )
        return Claimed() if is_ours else Running()
    if bytes(said) != body:
        return Conflict()
    if state == "running":
        return Running()
    if answer is None:
        return TooLong()
    return Answer(status, bytes(kind), _headers(head), bytes(answer), bool(is_stream))


def keep(database: Database, scope: bytes, owner: str, answer: Answer | None) -> None:
    """The request was made; None: its answer was too long."""
    done = answer or Answer(0, b"", (), b"", False)
    database.run(
        "UPDATE idempotency SET state = 'done', until = ?, status = ?, kind = ?, head = ?, "
        "answer = ?, stream = ? WHERE scope = ? AND owner = ? AND state = 'running'",
        (
            database.now() + KEPT_S,
            done.status,
            done.kind,
            _text(done.headers),
            None if answer is None else done.body,
            int(done.is_stream),
            scope,
            owner,
        ),
    )


def give_up(database: Database, scope: bytes, owner: str) -> None:
    """The request came to nothing: the next one makes it."""
    database.run(
        "DELETE FROM idempotency WHERE scope = ? AND owner = ? AND state = 'running'",
        (scope, owner),
    )


def renew(database: Database, owner: str) -> None:
    """Say that a worker is still at what it has claimed; forget what is old."""
    now = database.now()
    database.run(
        "UPDATE idempotency SET until = ? WHERE owner = ? AND state = 'running'",
        (now + LEASE_S, owner),
    )
    database.run("DELETE FROM idempotency WHERE until < ?", (now - KEPT_S,))
    database.run("DELETE FROM idempotency WHERE until < ? AND state = 'done'", (now,))


def _text(headers: tuple[tuple[bytes, bytes], ...]) -> str:
    return orjson.dumps(
        [[base64.b64encode(each).decode() for each in pair] for pair in headers]
    ).decode()


def _headers(text: str) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(
        (base64.b64decode(name), base64.b64decode(value)) for name, value in orjson.loads(text)
    )
