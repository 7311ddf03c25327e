"""Anthropic's messages, token counts and models, as a provider writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pointsman.domain.content import Json, JsonObject
from pointsman.domain.usage import Usage
from pointsman.testing.asked import Asked
from pointsman.testing.content import Content
from pointsman.testing.wire import Frame, Part, Reports, dump

FINISH = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
}


def usage_fields(usage: Usage) -> JsonObject:
    """Anthropic's own split: `input_tokens` leaves out what the cache read and wrote."""
    return {
        "input_tokens": usage.input - usage.cached - usage.cache_write,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
    }


def whole(asked: Asked, content: Content, reports: Reports, *, model: str, seal: str) -> JsonObject:
    """The body of an answer that does not stream."""
    blocks: list[Json] = []
    if content.thinking:
        thinking = "".join(content.thinking)
        blocks.append({"type": "thinking", "thinking": thinking, "signature": _signature(seal)})
    if content.text or not content.calls:
        blocks.append({"type": "text", "text": "".join(content.text)})
    blocks.extend(
        {
            "type": "tool_use",
            "id": _tool_id(call.id),
            "name": call.name,
            "input": _parsed(call.arguments),
        }
        for call in content.calls
    )
    reply: JsonObject = {
        "id": f"msg_{seal}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": blocks,
        "stop_reason": FINISH[content.finish],
        "stop_sequence": content.stop_sequence,
    }
    if reports.final or reports.early is not None:
        reply["usage"] = reports.last
    return reply


def frames(
    content: Content, reports: Reports, usage: Usage, *, model: str, seal: str
) -> Iterator[Frame]:
    """The events of a stream, with the tokens that each one carries."""
    message: JsonObject = {
        "id": f"msg_{seal}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    opening = _opening(reports, usage)
    if opening is not None:
        message["usage"] = opening
    yield _frame("message_start", {"message": message}, "start")
    yield _frame("ping", {}, "start")
    made = 0
    for index, (opened, deltas) in enumerate(_blocks(content, seal)):
        is_call = opened.get("type") == "tool_use"
        # A call's name is its first token, and comes with the block's start.
        tokens = 1 if is_call else 0
        made += tokens
        part: Part = "content" if is_call else "start"
        yield _frame(
            "content_block_start", {"index": index, "content_block": opened}, part, tokens=tokens
        )
        for delta, counts in deltas:
            made += counts
            yield _frame(
                "content_block_delta",
                {"index": index, "delta": delta},
                "content",
                tokens=counts,
                reasoning=delta.get("type") == "thinking_delta",
            )
            if reports.every:
                yield _delta(None, None, usage_fields(Usage(output=made, input=usage.input)))
        yield _frame("content_block_stop", {"index": index}, "finish")
    finals = reports.final or (_ABSENT,)
    for position, report in enumerate(finals):
        is_last = position == len(finals) - 1
        reason = FINISH[content.finish] if is_last else None
        yield _delta(reason, content.stop_sequence if is_last else None, _final(report))
    yield _frame("message_stop", {}, "end")


class _Absent:
    """No usage field at all, as opposed to null."""


_ABSENT = _Absent()


def _opening(reports: Reports, usage: Usage) -> Json:
    """The usage of message_start: the whole input, one token out; odd where the final is odd."""
    if not reports.final:
        return reports.early
    told = reports.final[0]
    if not isinstance(told, dict):
        return told
    plain = usage_fields(usage)
    if told == plain or reports.every:
        return {**plain, "output_tokens": min(1, usage.output)}
    return told


def _final(report: Json | _Absent) -> Json | _Absent:
    """Only the output is told at the end, as the API does; an odd report stands as it is."""
    if isinstance(report, dict) and "output_tokens" in report:
        return {"output_tokens": report["output_tokens"]}
    return report


def _delta(reason: str | None, stop: str | None, report: Json | _Absent) -> Frame:
    fields: JsonObject = {"delta": {"stop_reason": reason, "stop_sequence": stop}}
    if not isinstance(report, _Absent):
        fields["usage"] = report
    return _frame("message_delta", fields, "finish")


def _blocks(
    content: Content, seal: str
) -> Iterator[tuple[JsonObject, list[tuple[JsonObject, int]]]]:
    if content.thinking:
        deltas: list[tuple[JsonObject, int]] = [
            ({"type": "thinking_delta", "thinking": token}, 1) for token in content.thinking
        ]
        deltas.append(({"type": "signature_delta", "signature": _signature(seal)}, 0))
        yield {"type": "thinking", "thinking": "", "signature": ""}, deltas
    if content.text or not content.calls:
        texts: list[tuple[JsonObject, int]] = [
            ({"type": "text_delta", "text": token}, 1) for token in content.text
        ]
        yield {"type": "text", "text": ""}, texts
    for call in content.calls:
        pieces: list[tuple[JsonObject, int]] = [
            ({"type": "input_json_delta", "partial_json": piece}, 1) for piece in call.pieces
        ]
        opened: JsonObject = {
            "type": "tool_use",
            "id": _tool_id(call.id),
            "name": call.name,
            "input": {},
        }
        yield opened, pieces


def _frame(
    kind: str, fields: JsonObject, part: Part, *, tokens: int = 0, reasoning: bool = False
) -> Frame:
    return Frame(dump({"type": kind, **fields}), part, kind, tokens, reasoning)


def token_count(asked: Asked) -> JsonObject:
    return {"input_tokens": asked.input_tokens}


def models(names: tuple[str, ...]) -> JsonObject:
    rows: list[Json] = [
        {
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": "2026-01-01T00:00:00Z",
        }
        for name in names
    ]
    return {
        "data": rows,
        "has_more": False,
        "first_id": names[0] if names else None,
        "last_id": names[-1] if names else None,
    }


def _tool_id(call_id: str) -> str:
    return call_id.replace("call_", "toolu_")


def _signature(seal: str) -> str:
    return f"sig-{seal}"


def _parsed(arguments: str) -> Json:
    try:
        parsed: Json = json.loads(arguments or "{}")
    except ValueError:
        return {}
    return parsed
