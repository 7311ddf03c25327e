"""Embeddings, in OpenAI's shape."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pointsman.dialects import embeddings
from pointsman.dialects.strict_json import parse_object
from pointsman.domain.deployment import Deployment
from pointsman.domain.request import EmbeddingsRequest, Source
from pointsman.domain.usage import INSANE, Usage
from pointsman.errors import InvalidRequest, ProviderFailure

TARGET = Deployment("d", "p", "there", "workhorse", "openai", None)


def parse(given: Any, model: Any = "auto") -> EmbeddingsRequest:
    body = orjson.dumps({"model": model, "input": given, "dimensions": 3})
    return embeddings.parse_request(parse_object(body), Source("openai", body))


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
    ],
)
def test_texts_and_tokens_are_read(given: Any, inputs: Any) -> None:
    assert parse(given).inputs == inputs


def test_who_uses_it_is_read() -> None:
    body = orjson.dumps({"model": "auto", "input": "a", "user": "ann"})
    assert embeddings.parse_request(parse_object(body), Source("openai", body)).user == "ann"
    assert parse("a").user is None


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (None, "input"),
        ([], "input"),
        (5, "input"),
        (["a", 5.5], "input[1]"),
        ([[1, "a"]], "input[0][1]"),
    ],
)
def test_what_is_neither_is_named(given: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        parse(given)
    assert error.value.param == param


def test_the_clients_bytes_go_out_with_the_model_renamed() -> None:
    sent = embeddings.render_request(parse("a"), TARGET)
    assert sent == b'{"model":"there","input":"a","dimensions":3}'
    request = parse("a", "there")
    assert embeddings.render_request(request, TARGET) == request.source.body


def answer(**more: Any) -> bytes:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}]
    return orjson.dumps({"object": "list", "data": data, "model": "m", **more})


def test_an_answer_is_verified_and_its_usage_read() -> None:
    used = {"prompt_tokens": 8, "total_tokens": 8}
    assert embeddings.check_reply(answer(usage=used)) == Usage(8, 0)
    assert embeddings.check_reply(answer()) is None
    assert embeddings.check_reply(answer(usage={"prompt_tokens": -8})) is INSANE


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "malformed"),
        (b"<html>", "malformed"),
        (b"{}", "malformed"),
        (b'{"data":[]}', "malformed"),
        (b"[]", "malformed"),
        (b'{"error":{"message":"m","code":429}}', "throttled"),
    ],
)
def test_what_is_no_answer_is_a_failure(body: bytes, kind: str) -> None:
    with pytest.raises(ProviderFailure) as failure:
        embeddings.check_reply(body)
    assert failure.value.kind == kind
