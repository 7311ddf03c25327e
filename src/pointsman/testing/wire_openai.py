"""OpenAI's chat completions, embeddings and models, as a provider writes them."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterator

from pointsman.domain.content import Json, JsonObject
from pointsman.domain.usage import Usage
from pointsman.testing.asked import Asked, embedding_inputs
from pointsman.testing.content import Content
from pointsman.testing.wire import Frame, Part, Reports, dump

FINISH = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "stop",
}
DIMENSIONS = 64
"""Length of a vector where the request does not say; small, so that tests stay light."""


def usage_fields(usage: Usage) -> JsonObject:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def whole(
    asked: Asked, content: Content, reports: Reports, *, model: str, seal: str, created: int
) -> JsonObject:
    """The body of an answer that does not stream."""
    message: JsonObject = {
        "role": "assistant",
        "content": "".join(content.text) if content.text or not content.calls else None,
        "refusal": None,
        "annotations": [],
    }
    if content.finish == "refusal":
        message["content"], message["refusal"] = None, "".join(content.text)
    if content.thinking:
        message["reasoning_content"] = "".join(content.thinking)
    if content.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in content.calls
        ]
    reply: JsonObject = {
        "id": f"chatcmpl-{seal}",
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [
            {
                "index": index,
                "message": message,
                "logprobs": None,
                "finish_reason": FINISH[content.finish],
            }
            for index in range(asked.choices)
        ],
        "service_tier": "default",
        "system_fingerprint": f"fp_{seal[:10]}",
    }
    if reports.final or reports.early is not None:
        reply["usage"] = reports.last
    return reply


def frames(
    asked: Asked,
    content: Content,
    reports: Reports,
    usage: Usage,
    *,
    model: str,
    seal: str,
    created: int,
) -> Iterator[Frame]:
    """The events of a stream, with the tokens that each one carries."""
    chunk: JsonObject = {
        "id": f"chatcmpl-{seal}",
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": f"fp_{seal[:10]}",
    }
    made = 0

    def delta(
        index: int,
        fields: JsonObject,
        part: Part,
        *,
        finish: str | None = None,
        tokens: int = 0,
        reasoning: bool = False,
    ) -> Frame:
        nonlocal made
        made += tokens
        choice: JsonObject = {
            "index": index,
            "delta": fields,
            "logprobs": None,
            "finish_reason": finish,
        }
        event: JsonObject = {**chunk, "choices": [choice]}
        if reports.every:
            event["usage"] = usage_fields(Usage(input=usage.input, output=made))
        elif asked.include_usage:
            event["usage"] = None
        return Frame(dump(event), part, None, tokens, reasoning)

    for index in range(asked.choices):
        opening: JsonObject = {"role": "assistant", "content": "", "refusal": None}
        yield delta(index, opening, "start")
    if reports.early is not None:
        yield Frame(dump({**chunk, "choices": [], "usage": reports.early}), "usage")
    for index in range(asked.choices):
        for fields, reasoning in _deltas(content):
            yield delta(index, fields, "content", tokens=1, reasoning=reasoning)
        yield delta(index, {}, "finish", finish=FINISH[content.finish])
    for report in reports.final:
        yield Frame(dump({**chunk, "choices": [], "usage": report}), "usage")
    yield Frame(b"[DONE]", "end")


def _deltas(content: Content) -> Iterator[tuple[JsonObject, bool]]:
    for token in content.thinking:
        yield {"reasoning_content": token}, True
    text_field = "refusal" if content.finish == "refusal" else "content"
    for token in content.text:
        yield {text_field: token}, False
    for index, call in enumerate(content.calls):
        function: JsonObject = {"name": call.name, "arguments": ""}
        opened: JsonObject = {
            "index": index,
            "id": call.id,
            "type": "function",
            "function": function,
        }
        yield {"tool_calls": [opened]}, False
        for piece in call.pieces:
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, False


def embeddings(asked: Asked, reports: Reports, *, model: str) -> JsonObject:
    """Vectors of unit length, the same for the same text."""
    wanted = asked.fields.get("dimensions")
    length = wanted if isinstance(wanted, int) and wanted > 0 else DIMENSIONS
    as_base64 = asked.fields.get("encoding_format") == "base64"
    rows: list[Json] = []
    for index, item in enumerate(embedding_inputs(asked.fields)):
        vector = _vector(str(item), length)
        shown: Json = list(vector)
        if as_base64:
            shown = base64.b64encode(struct.pack(f"<{length}f", *vector)).decode()
        rows.append({"object": "embedding", "index": index, "embedding": shown})
    reply: JsonObject = {"object": "list", "data": rows, "model": model}
    if reports.final:
        reply["usage"] = reports.last
    return reply


def embedding_usage_fields(usage: Usage) -> JsonObject:
    return {"prompt_tokens": usage.input, "total_tokens": usage.input}


def _vector(text: str, length: int) -> tuple[float, ...]:
    raw = hashlib.shake_256(text.encode()).digest(length * 2)
    values = [number - 32767.5 for number in struct.unpack(f"<{length}H", raw)]
    norm = sum(value * value for value in values) ** 0.5
    return tuple(value / norm for value in values)


def models(names: tuple[str, ...], *, created: int) -> JsonObject:
    rows: list[Json] = [
        {"id": name, "object": "model", "created": created, "owned_by": "pointsman-provider"}
        for name in names
    ]
    return {"object": "list", "data": rows}
