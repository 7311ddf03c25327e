"""The provider's front desk: which request is for what, who may ask, and what goes in the books."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypedDict

import orjson

from pointsman.clock import Clock
from pointsman.domain.content import Json, JsonObject
from pointsman.domain.usage import NO_USAGE, Usage
from pointsman.errors import ConfigError
from pointsman.testing import wire_anthropic, wire_openai
from pointsman.testing.asked import (
    Asked,
    BadRequest,
    DialectName,
    Operation,
    read_anthropic,
    read_body,
    read_openai,
)
from pointsman.testing.canned import bad_request, usual
from pointsman.testing.compose import ID_HEADER, Performance, compose, plain, seal_of
from pointsman.testing.connection import Connection, Tally
from pointsman.testing.director import ANY_MODEL, Direction, Director
from pointsman.testing.journal import (
    Ended,
    Journal,
    JournalEntry,
    as_json,
    safe_headers,
)
from pointsman.testing.local_face import LocalFace
from pointsman.testing.persona import Persona
from pointsman.testing.plays import describe, read_plays
from pointsman.testing.receive import RequestHead, WireRequest
from pointsman.testing.scenario import read_rules

ATTEMPT_HEADER = "x-pointsman-attempt-id"
CONTROL_PATH = "/_provider/"


@dataclass(frozen=True, slots=True)
class Visit:
    """One request being answered; `entry` is None for what is not in the books."""

    performance: Performance
    tally: Tally
    entry: JournalEntry | None = None


class _Seen(TypedDict):
    """The fields of an entry that the head alone tells."""

    number: int
    attempt_id: str
    request_id: str
    arrived_at: float
    dialect: str
    operation: Operation
    path: str
    connection: int
    headers: dict[str, str]


NO_DIRECTION = Direction((), "", {})


@dataclass(slots=True)
class Reception:
    """Turn requests into visits, and their ends into journal entries."""

    clock: Clock
    journal: Journal
    director: Director
    persona: Persona
    seed: int
    models: tuple[str, ...] | None
    keys: set[str] | None
    bills_all: bool
    local: LocalFace | None = None

    def receive(self, request: WireRequest, connection: int) -> Visit:
        """Write the request down and plan its answer."""
        if request.head.path.startswith(CONTROL_PATH):
            return Visit(control(self, request), Tally())
        if self.local is not None and (answer := self.local.answer(request)) is not None:
            return Visit(answer, Tally())
        found = _operation(request.head)
        if found is None:
            return Visit(self._aside(request.head), Tally())
        dialect, operation, model = found
        request_id = self._request_id(request.head)
        headers = {ID_HEADER[dialect]: request_id}
        seal = seal_of(self.seed, request.body)
        asked: Asked | None = None
        try:
            asked = _read(request, dialect, operation, model)
            directed, performance = self._plan(request, asked, seal, headers)
        except BadRequest as error:
            directed = NO_DIRECTION
            said = bad_request(dialect, error.message, error.param)
            performance = plain(400, said, headers)
        entry = JournalEntry(
            **self._seen(request.head, request_id, dialect, operation, connection),
            model="" if asked is None else asked.model,
            stream=asked is not None and asked.stream,
            body_bytes=len(request.body),
            seal=seal,
            plays=tuple(describe(play) for play in directed.plays),
            rule=directed.origin,
            reported=performance.reported,
            body=request.body,
        )
        self.journal.arrive(entry)
        return Visit(performance, Tally(), entry)

    def conclude(self, visit: Visit, connection: Connection) -> None:
        """Write down how a visit ended."""
        if visit.entry is None:
            return
        tally = visit.tally
        ended: Ended = "shutdown"
        if tally.done:
            ended = "done"
        elif connection.client_left:
            ended = "client_left"
        self.journal.end(
            replace(
                visit.entry,
                ended_at=self.clock.wall(),
                ended=ended,
                status=visit.performance.status if tally.spoke else 0,
                bytes_sent=tally.bytes_sent,
                generated=tally.generated,
                billed=self._bill(visit.performance, tally, ended),
                cancelled_at=connection.left_at if ended == "client_left" else None,
            )
        )

    def _aside(self, head: RequestHead) -> Performance:
        """Answer what is no model's work: the list of models, health, and nothing else."""
        dialect: DialectName = "anthropic" if "anthropic-version" in head.headers else "openai"
        if head.path.endswith("/health"):
            return plain(200, {"status": "ok"}, {})
        if head.method == "GET" and head.path.endswith("/models"):
            names = self._listed()
            body = (
                wire_anthropic.models(names)
                if dialect == "anthropic"
                else wire_openai.models(names, created=int(self.clock.wall()))
            )
            return plain(200, body, {})
        message = f"Invalid URL ({head.method} {head.path})"
        return plain(404, bad_request(dialect, message, None, 404), {})

    def note_cut(self, head: RequestHead, body_bytes: int, connection: Connection) -> None:
        """Write down a request that never came whole."""
        found = _operation(head)
        if found is None:
            return
        dialect, operation, _ = found
        entry = JournalEntry(
            **self._seen(head, self._request_id(head), dialect, operation, connection.number),
            model="",
            stream=False,
            body_bytes=body_bytes,
            seal="",
        )
        self.journal.arrive(entry)
        self.journal.end(
            replace(
                entry,
                ended="request_cut",
                ended_at=self.clock.wall(),
                cancelled_at=connection.left_at,
            )
        )

    def _plan(
        self, request: WireRequest, asked: Asked, seal: str, headers: dict[str, str]
    ) -> tuple[Direction, Performance]:
        """1. A wrong key, an unknown model, no version. 2. A bad header. 3. Play."""
        refusal = self._refusal(request.head, asked)
        if refusal is not None:
            status, said = refusal
            return NO_DIRECTION, plain(status, said, headers)
        try:
            directed = self.director.direct(asked, request.head.headers.get("x-fault"))
        except ConfigError as error:
            raise BadRequest(error.message, "x-fault") from error
        headers = {**headers, **directed.headers}
        if asked.operation == "count_tokens" and not directed.plays:
            return directed, plain(200, wire_anthropic.token_count(asked), headers)
        created = int(self.clock.wall())
        performance = compose(
            asked, directed.plays, self.persona, seal=seal, created=created, headers=headers
        )
        return directed, performance

    def _refusal(self, head: RequestHead, asked: Asked) -> tuple[int, Json] | None:
        if self.keys is not None and _key(head) not in self.keys:
            return 401, usual(asked.dialect, 401)
        if self.models is not None and asked.model not in self.models:
            message = f"The model `{asked.model}` does not exist"
            return 404, bad_request(asked.dialect, message, "model", 404)
        if asked.dialect == "anthropic" and "anthropic-version" not in head.headers:
            return 400, bad_request("anthropic", "anthropic-version: header is required", None)
        return None

    def _bill(self, performance: Performance, tally: Tally, ended: Ended) -> Usage:
        whole = performance.usage
        if performance.free:
            return NO_USAGE
        if tally.generated >= whole.output or (self.bills_all and ended == "client_left"):
            return whole
        return Usage(
            input=whole.input,
            output=tally.generated,
            cached=whole.cached,
            cache_write=whole.cache_write,
            reasoning=min(tally.reasoned, whole.reasoning),
        )

    def _request_id(self, head: RequestHead) -> str:
        own = f"req_{self.seed:x}_{self.journal.arrived + 1:06d}"
        return head.headers.get("x-request-id", own)

    def _seen(
        self,
        head: RequestHead,
        request_id: str,
        dialect: DialectName,
        operation: Operation,
        connection: int,
    ) -> _Seen:
        return {
            "number": self.journal.arrived + 1,
            "attempt_id": head.headers.get(ATTEMPT_HEADER, ""),
            "request_id": request_id,
            "arrived_at": self.clock.wall(),
            "dialect": dialect,
            "operation": operation,
            "path": head.target,
            "connection": connection,
            "headers": safe_headers(head.headers),
        }

    def _listed(self) -> tuple[str, ...]:
        return self.models if self.models is not None else (f"{self.persona.name}-1",)


def _read(
    request: WireRequest, dialect: DialectName, operation: Operation, model: str | None
) -> Asked:
    fields = read_body(request.body)
    if dialect == "anthropic":
        return read_anthropic(fields, operation)
    return read_openai(fields, operation, model)


def _operation(head: RequestHead) -> tuple[DialectName, Operation, str | None] | None:
    """Dialect, operation and, for Azure's paths, the model; whatever comes before in the path."""
    if head.method != "POST":
        return None
    for suffix, dialect, operation in _PATHS:
        if head.path.endswith(suffix):
            before, _, deployment = head.path.removesuffix(suffix).rpartition("/deployments/")
            return dialect, operation, deployment if before else None
    return None


_PATHS: tuple[tuple[str, DialectName, Operation], ...] = (
    ("/chat/completions", "openai", "chat"),
    ("/embeddings", "openai", "embeddings"),
    ("/messages/count_tokens", "anthropic", "count_tokens"),
    ("/messages", "anthropic", "chat"),
)


def _key(head: RequestHead) -> str:
    bearer = head.headers.get("authorization", "").removeprefix("Bearer ")
    return bearer or head.headers.get("x-api-key", "") or head.headers.get("api-key", "")


# Directing a running provider.


def control(reception: Reception, request: WireRequest) -> Performance:
    """Answer a request to `/_provider/…`; such requests are not in the journal."""
    name = request.head.path.removeprefix(CONTROL_PATH)
    act = _CONTROLS.get((request.head.method, name))
    if act is None:
        known = ", ".join(f"{method} {path}" for method, path in _CONTROLS)
        return plain(404, {"error": f"no such control; there are {known}"}, {})
    try:
        return plain(200, act(reception, request.body), {})
    except (ConfigError, orjson.JSONDecodeError) as error:
        return plain(400, {"error": str(error)}, {})


def _script(reception: Reception, body: bytes) -> JsonObject:
    """`[step, …]`, or `{"model": name, "steps": [step, …]}`."""
    given = orjson.loads(body)
    model = ANY_MODEL
    if isinstance(given, dict):
        model, given = str(given.get("model", ANY_MODEL)), given.get("steps")
    if not isinstance(given, list):
        raise ConfigError("script: a list of steps is needed")
    reception.director.script([read_plays(step, "script") for step in given], model)
    return {"scripted": reception.director.scripted}


def _rules(reception: Reception, body: bytes) -> JsonObject:
    given = orjson.loads(body)
    if not isinstance(given, list):
        raise ConfigError("rules: a list is needed")
    reception.director.set_rules(read_rules(given, "rules"))
    return {"rules": len(given)}


def _reset(reception: Reception, body: bytes) -> JsonObject:
    reception.director.reset()
    return {"scripted": 0, "rules": 0}


def _journal(reception: Reception, body: bytes) -> JsonObject:
    entries: list[Json] = [as_json(entry) for entry in reception.journal.entries]
    return {"entries": entries, "open": len(reception.journal.open)}


_CONTROLS: dict[tuple[str, str], Callable[[Reception, bytes], JsonObject]] = {
    ("POST", "script"): _script,
    ("POST", "rules"): _rules,
    ("POST", "reset"): _reset,
    ("GET", "journal"): _journal,
}
