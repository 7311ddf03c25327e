"""From a request and its plays to a performance: the whole answer, faults and all, as moves."""

from __future__ import annotations

import gzip
import hashlib
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TypeVar

import orjson

from pointsman.domain.content import Json
from pointsman.domain.usage import NO_USAGE, Usage
from pointsman.testing import wire_anthropic, wire_openai
from pointsman.testing.asked import Asked, DialectName
from pointsman.testing.canned import CANNED, STREAM_ERRORS, usual
from pointsman.testing.content import MULTIBYTE, Content, plan_content, usage_of
from pointsman.testing.events import (
    PING,
    end_in_error,
    insert_broken,
    malformed_whole,
    stream_moves,
    truncate,
)
from pointsman.testing.framing import frame
from pointsman.testing.moves import Body, Generate, Head, Move, Moves, Wait, drip, interrupt
from pointsman.testing.persona import Persona
from pointsman.testing.plays import (
    Answer,
    Broken,
    Cut,
    Drip,
    ErrorEvent,
    Fail,
    Hang,
    Instead,
    Malformed,
    OddUsage,
    Play,
    Slow,
    Truncate,
)
from pointsman.testing.wire import Frame, Reports, dump, plan_reports, split_for

JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"
ID_HEADER: dict[DialectName, str] = {"openai": "x-request-id", "anthropic": "request-id"}

P = TypeVar("P", bound=Play)


@dataclass(frozen=True, slots=True)
class Performance:
    """A planned answer.

    usage: what is billed when all of it is performed. free: nothing is billed whatever happens.
    reported: the usage as the client will be told it last, None for not at all.
    """

    moves: Moves
    status: int
    usage: Usage = NO_USAGE
    free: bool = False
    reported: Json = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """The answer before faults of the wire."""

    status: int
    content_type: str
    moves: Moves = ()
    body: bytes | None = None
    work: Moves = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    usage: Usage = NO_USAGE
    free: bool = False
    reported: Json = None


def compose(
    asked: Asked,
    plays: Iterable[Play],
    persona: Persona,
    *,
    seal: str,
    created: int,
    headers: Mapping[str, str],
) -> Performance:
    """Write down the whole answer. `headers` go into every head; `created` is Unix seconds."""
    played = tuple(plays)
    slow = _pace(persona, _all(played, Slow), seal)
    plan = _plan(asked, played, persona, slow, seal, created)
    head = Head(
        plan.status,
        {"content-type": plan.content_type, **headers, **plan.headers},
        None if plan.body is None else len(plan.body),
    )
    start: list[Move] = [Wait(slow.first_byte_s)] if slow.first_byte_s else []
    if plan.body is None:
        start.append(head)
        moves: Moves = (*start, *plan.moves)
    else:
        moves = (*start, *plan.work, head, Body(plan.body))
    moves = _frame(moves, played, PING[asked.dialect] if asked.stream else b"")
    return Performance(moves, plan.status, plan.usage, plan.free, plan.reported)


def plain(asked_status: int, body: Json, headers: Mapping[str, str]) -> Performance:
    """A JSON answer that bills nothing: refusals, lists of models, token counts."""
    data = dump(body)
    head = Head(asked_status, {"content-type": JSON, **headers}, len(data))
    return Performance(frame((head, Body(data))), asked_status, free=True)


def seal_of(seed: int, body: bytes) -> str:
    """Name a request by its bytes: equal requests get equal answers, ids included."""
    return hashlib.sha256(b"%d:" % seed + body).hexdigest()[:24]


def _frame(moves: Moves, played: tuple[Play, ...], ping: bytes) -> Moves:
    stops: tuple[Hang | Cut, ...] = (*_all(played, Hang), *_all(played, Cut))
    for stop in stops:
        moves = interrupt(moves, stop, framed=False, ping=ping)
    moves = frame(moves, _last(played, Broken))
    for stop in stops:
        moves = interrupt(moves, stop, framed=True)
    dripping = _last(played, Drip)
    return drip(moves, dripping.size, dripping.every_s) if dripping else moves


def _plan(
    asked: Asked, played: tuple[Play, ...], persona: Persona, slow: _Pace, seal: str, created: int
) -> _Plan:
    """1. Fail. 2. Instead, also for an error event where nothing streams. 3. A real answer."""
    fail = _last(played, Fail)
    if fail is not None:
        return _failure(asked.dialect, fail, created)
    instead = _last(played, Instead)
    if instead is not None:
        return _instead(asked, instead)
    error = _last(played, ErrorEvent)
    if error is not None and not asked.stream:
        body = dump(STREAM_ERRORS[asked.dialect][error.kind])
        return _Plan(200, JSON, body=body, free=True)
    if asked.operation == "embeddings":
        return _embeddings(asked, played, slow)
    return _chat(asked, played, persona, slow, seal, created)


def _chat(
    asked: Asked, played: tuple[Play, ...], persona: Persona, slow: _Pace, seal: str, created: int
) -> _Plan:
    answer = _last(played, Answer) or Answer()
    odd = _last(played, OddUsage)
    malformed = _last(played, Malformed)
    if malformed is not None and malformed.kind == "split_utf8":
        answer = _with_multibyte(answer, asked, persona)
    content = plan_content(asked, persona, answer, seal)
    usage = split_for(odd, usage_of(asked, content, answer))
    model = answer.model or asked.model
    if asked.dialect == "openai":
        fields = wire_openai.usage_fields(usage)
        told = not asked.stream or asked.include_usage
        reports = plan_reports(odd, fields, asked_for=told)
    else:
        reports = plan_reports(odd, wire_anthropic.usage_fields(usage), asked_for=True)
    if not asked.stream:
        return _whole(asked, played, content, reports, usage, slow, (model, seal, created))
    moves = stream_moves(
        _frames(asked, content, reports, usage, (model, seal, created)),
        malformed,
        first_token_s=slow.first_token_s,
        per_token_s=slow.per_token_s,
    )
    if malformed is not None:
        moves = insert_broken(moves, malformed, asked.dialect)
    cut_short = _last(played, Truncate)
    if cut_short is not None:
        moves = truncate(moves, cut_short)
    error = _last(played, ErrorEvent)
    free = False
    if error is not None:
        moves = end_in_error(moves, error, asked.dialect)
        free = not any(isinstance(move, Generate) for move in moves)
    return _Plan(200, EVENTS, moves, usage=usage, free=free, reported=reports.last)


def _whole(
    asked: Asked,
    played: tuple[Play, ...],
    content: Content,
    reports: Reports,
    usage: Usage,
    slow: _Pace,
    named: tuple[str, str, int],
) -> _Plan:
    model, seal, created = named
    if asked.dialect == "openai":
        reply = wire_openai.whole(asked, content, reports, model=model, seal=seal, created=created)
    else:
        reply = wire_anthropic.whole(asked, content, reports, model=model, seal=seal)
    body = dump(reply)
    malformed = _last(played, Malformed)
    if malformed is not None:
        body = malformed_whole(body, malformed.kind)
    if _last(played, Truncate) is not None:
        body = body[: len(body) // 2]
    return _Plan(
        200,
        JSON,
        body=body,
        work=_work(usage, slow),
        usage=usage,
        reported=reports.last,
    )


def _work(usage: Usage, slow: _Pace) -> Moves:
    """The making of a whole answer: first thoughts, then text, at the persona's pace."""
    wait: Moves = (Wait(slow.first_token_s),) if slow.first_token_s else ()
    spoken = usage.output - usage.reasoning
    thought: Moves = ()
    if usage.reasoning:
        thought = (Generate(usage.reasoning, slow.per_token_s * usage.reasoning, reasoning=True),)
    said: Moves = (Generate(spoken, slow.per_token_s * spoken),) if spoken else ()
    return (*wait, *thought, *said)


def _frames(
    asked: Asked,
    content: Content,
    reports: Reports,
    usage: Usage,
    named: tuple[str, str, int],
) -> Iterable[Frame]:
    model, seal, created = named
    if asked.dialect == "openai":
        return wire_openai.frames(
            asked, content, reports, usage, model=model, seal=seal, created=created
        )
    return wire_anthropic.frames(content, reports, usage, model=model, seal=seal)


def _embeddings(asked: Asked, played: tuple[Play, ...], slow: _Pace) -> _Plan:
    answer = _last(played, Answer) or Answer()
    usage = Usage(input=asked.input_tokens)
    fields = wire_openai.embedding_usage_fields(usage)
    reports = plan_reports(_last(played, OddUsage), fields, asked_for=True)
    body = dump(wire_openai.embeddings(asked, reports, model=answer.model or asked.model))
    malformed = _last(played, Malformed)
    if malformed is not None:
        body = malformed_whole(body, malformed.kind)
    if _last(played, Truncate) is not None:
        body = body[: len(body) // 2]
    wait: Moves = (Wait(slow.first_token_s),) if slow.first_token_s else ()
    return _Plan(200, JSON, body=body, work=wait, usage=usage, reported=reports.last)


def _failure(dialect: DialectName, fail: Fail, now: int) -> _Plan:
    headers: dict[str, str] = {}
    status = fail.status
    said = usual(dialect, status)
    if fail.canned is not None:
        canned = CANNED[fail.canned]
        status, said = canned.status, canned.body
        headers.update(canned.headers)
    if fail.retry_at_s is not None:
        headers["retry-after"] = formatdate(now + fail.retry_at_s, usegmt=True)
    headers.update({name.lower(): value for name, value in fail.headers.items()})
    body = dump(said) if fail.body is None else fail.body.encode()
    return _Plan(status, headers.pop("content-type", JSON), body=body, headers=headers, free=True)


_HTML = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


def _instead(asked: Asked, instead: Instead) -> _Plan:
    bodies: dict[str, tuple[str, bytes]] = {
        "error": (JSON, dump(usual(asked.dialect, 500))),
        "html": ("text/html", _HTML.encode()),
        "empty": (JSON, b""),
        "empty_choices": (JSON, _empty_answer(asked)),
        "null": (JSON, b"null"),
        "text": ("text/plain", b"OK"),
        "array": (JSON, b"[]"),
        "wrong_type": ("text/html", _empty_answer(asked)),
        "no_content": (JSON, b"{}"),
        "other_dialect": (JSON, _other_dialect(asked)),
        "gzip": (JSON, gzip.compress(_small_answer(asked), mtime=0)),
        "answer": (JSON, _small_answer(asked)),
    }
    content_type, body = bodies[instead.what]
    if instead.body is not None:
        body = instead.body.encode()
    headers = {"content-encoding": "gzip"} if instead.what == "gzip" else {}
    return _Plan(200, instead.content_type or content_type, body=body, headers=headers, free=True)


def _small_answer(asked: Asked) -> bytes:
    reply: dict[str, Json] = orjson.loads(_empty_answer(asked))
    if asked.dialect == "anthropic":
        reply["content"] = [{"type": "text", "text": "hi"}]
        reply["stop_reason"] = "end_turn"
    else:
        message: Json = {"role": "assistant", "content": "hi"}
        reply["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return dump(reply)


def _empty_answer(asked: Asked) -> bytes:
    if asked.dialect == "anthropic":
        reply: Json = {
            "id": "msg_empty",
            "type": "message",
            "role": "assistant",
            "model": asked.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }
    else:
        reply = {
            "id": "chatcmpl-empty",
            "object": "chat.completion",
            "created": 0,
            "model": asked.model,
            "choices": [],
        }
    return dump(reply)


def _other_dialect(asked: Asked) -> bytes:
    if asked.dialect == "anthropic":
        return b'{"id":"chatcmpl-x","object":"chat.completion","choices":[{"index":0}]}'
    return b'{"id":"msg_x","type":"message","content":[{"type":"text","text":"hi"}]}'


@dataclass(frozen=True, slots=True)
class _Pace:
    """Seconds, with the persona's jitter applied and the plays' own words above it."""

    first_byte_s: float
    first_token_s: float
    per_token_s: float


def _pace(persona: Persona, stated: tuple[Slow, ...], seal: str) -> _Pace:
    factor = 1.0
    if persona.jitter:
        factor += persona.jitter * (2 * random.Random(seal).random() - 1)
    first_byte, first_token = 0.0, persona.first_token_s * factor
    speed = persona.tokens_per_second / factor
    for slow in stated:
        first_byte = first_byte if slow.first_byte_s is None else slow.first_byte_s
        first_token = first_token if slow.first_token_s is None else slow.first_token_s
        speed = speed if slow.tokens_per_second is None else slow.tokens_per_second
    return _Pace(first_byte, first_token, 1 / speed if speed > 0 else 0.0)


def _with_multibyte(answer: Answer, asked: Asked, persona: Persona) -> Answer:
    text = answer.text
    if text is None and not asked.tools:
        text = persona.answer(asked.last)
    if text is None or not text.isascii():
        return answer
    return Answer(
        text + MULTIBYTE,
        answer.thinking,
        answer.calls,
        answer.finish,
        answer.cached,
        answer.cache_write,
        answer.model,
    )


def _all(played: tuple[Play, ...], kind: type[P]) -> tuple[P, ...]:
    return tuple(play for play in played if isinstance(play, kind))


def _last(played: tuple[Play, ...], kind: type[P]) -> P | None:
    found = _all(played, kind)
    return found[-1] if found else None
