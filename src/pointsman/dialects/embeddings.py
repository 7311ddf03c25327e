"""Embeddings, which all providers that have them offer in OpenAI's shape."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from pointsman.dialects.counts import openai_usage
from pointsman.dialects.dialect import Target
from pointsman.dialects.failures import in_stream, malformed
from pointsman.dialects.fields import missing, opt_str, req_str, wrong
from pointsman.dialects.strict_json import splice
from pointsman.domain.content import Json, JsonObject
from pointsman.domain.request import EmbeddingsRequest, Source
from pointsman.domain.usage import Usage
from pointsman.errors import InvalidRequest


def parse_request(fields: JsonObject, source: Source) -> EmbeddingsRequest:
    """Read a client's request; raise InvalidRequest naming the field in `param`."""
    return EmbeddingsRequest(
        req_str(fields, "model"),
        _inputs(fields.get("input")),
        source,
        user=opt_str(fields, "user"),
    )


def _inputs(given: Json) -> tuple[str | tuple[int, ...], ...]:
    """1 a text, 2 texts, 3 tokens, 4 several lists of tokens."""
    if type(given) is str:
        return (given,)
    if given is None:
        missing("input")
    if type(given) is not list:
        wrong("input", "a string or an array", given)
    if not given:
        raise InvalidRequest("input must not be empty", param="input")
    if all(type(item) is int for item in given):
        return (_tokens(given, "input"),)
    inputs: list[str | tuple[int, ...]] = []
    for i, item in enumerate(given):
        if type(item) is str:
            inputs.append(item)
        elif type(item) is list:
            inputs.append(_tokens(item, f"input[{i}]"))
        else:
            wrong(f"input[{i}]", "a string or an array of tokens", item)
    return tuple(inputs)


def _tokens(given: list[Json], param: str) -> tuple[int, ...]:
    tokens = []
    for i, item in enumerate(given):
        if type(item) is not int:
            wrong(f"{param}[{i}]", "an integer", item)
        tokens.append(item)
    return tuple(tokens)


def render_request(request: EmbeddingsRequest, target: Target) -> bytes:
    """Return the client's own bytes with the model renamed."""
    if request.model == target.model:
        return request.source.body
    return splice(request.source.body, {"model": orjson.dumps(target.model)})


class _Answer(msgspec.Struct, gc=False):
    data: list[msgspec.Raw] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


_ANSWER = msgspec.json.Decoder(_Answer)


def check_reply(body: bytes) -> Usage | None:
    """Verify an answer that passes through; raise ProviderFailure if it is none."""
    try:
        answer = _ANSWER.decode(body)
    except (ValueError, RecursionError):
        raise malformed("the provider's answer is not an embeddings answer") from None
    if answer.error is not None:
        raise in_stream(answer.error)
    if not answer.data:
        raise malformed("the provider's answer has no embeddings")
    if answer.usage is None:
        return None
    return openai_usage({"completion_tokens": 0, **answer.usage})
