"""What a provider's error means, in every shape that providers use."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.dialects.failures import MAX_MESSAGE_BYTES, in_stream, read_answer
from pointsman.dialects.registry import DIALECTS
from pointsman.errors import InvalidRequest, ProviderFailure


def openai(message: str = "no", kind: str = "invalid_request_error", code: object = None) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def anthropic(kind: str, message: str = "no") -> bytes:
    return orjson.dumps({"type": "error", "error": {"type": kind, "message": message}})


GEMINI_KEY = orjson.dumps(
    [
        {
            "error": {
                "code": 400,
                "message": "API key not valid. Please pass a valid API key.",
                "status": "INVALID_ARGUMENT",
            }
        }
    ]
)
GEMINI_CONTEXT = orjson.dumps(
    [
        {
            "error": {
                "code": 400,
                "message": "The input token count (1200001) exceeds the maximum number of tokens "
                "allowed (1048576).",
                "status": "INVALID_ARGUMENT",
            }
        }
    ]
)
AZURE_FILTER = orjson.dumps(
    {
        "error": {
            "message": "The response was filtered due to the prompt triggering Azure OpenAI's "
            "content management policy.",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation"},
        }
    }
)
LLAMA_CPP = orjson.dumps(
    {
        "error": {
            "code": 400,
            "message": "the request exceeds the available context size, try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 4476,
            "n_ctx": 4096,
        }
    }
)
VLLM = orjson.dumps(
    {
        "object": "error",
        "message": "This model's maximum context length is 4096 tokens. However, you requested "
        "5000 tokens (4000 in the messages, 1000 in the completion).",
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }
)
MISTRAL_CONTEXT = orjson.dumps(
    {
        "object": "error",
        "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with "
        "32768 maximum context length",
        "type": "invalid_request_prompt",
        "code": 3051,
    }
)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, openai("slow down", "tokens", "rate_limit_exceeded"), "throttled"),
        (429, openai("quota", "insufficient_quota", "insufficient_quota"), "refused"),
        (429, openai("cap", "billing", "enforced_spend_limit_reached"), "refused"),
        (429, anthropic("rate_limit_error"), "throttled"),
        (429, openai("busy", "engine_overloaded_error"), "overloaded"),
        (429, b"", "throttled"),
        (401, openai("Incorrect API key provided", code="invalid_api_key"), "refused"),
        (401, b"<html>", "refused"),
        (402, b'{"error":{"message":"Insufficient Balance"}}', "refused"),
        (403, anthropic("permission_error"), "refused"),
        (403, openai("flagged by our usage policies"), "content_filter"),
        (404, openai("The model `x` does not exist", code="model_not_found"), "refused"),
        (404, anthropic("not_found_error"), "refused"),
        (408, b"", "unavailable"),
        (409, b"", "unavailable"),
        (413, anthropic("request_too_large"), "context_length"),
        (413, b"<html>too big</html>", "context_length"),
        (400, openai("long", code="context_length_exceeded"), "context_length"),
        (400, openai("This model's maximum context length is 8192 tokens."), "context_length"),
        (400, anthropic("invalid_request_error", "prompt is too long: 2 > 1"), "context_length"),
        (400, LLAMA_CPP, "context_length"),
        (400, VLLM, "context_length"),
        (400, MISTRAL_CONTEXT, "context_length"),
        (400, GEMINI_CONTEXT, "context_length"),
        (400, openai("your input exceeds the context window of this model"), "context_length"),
        (422, openai("Please reduce the length of the messages"), "context_length"),
        (400, AZURE_FILTER, "content_filter"),
        (400, openai("rejected", code="content_policy_violation"), "content_filter"),
        (400, openai("rejected by our safety system"), "content_filter"),
        (400, GEMINI_KEY, "refused"),
        (400, anthropic("invalid_request_error", "Your credit balance is too low"), "refused"),
        (400, openai("Invalid model: mistral-huge"), "refused"),
        (498, b"", "overloaded"),
        (500, openai("oops", "server_error"), "unavailable"),
        (500, anthropic("overloaded_error"), "overloaded"),
        (502, b"<html>bad gateway</html>", "unavailable"),
        (503, b"", "overloaded"),
        (504, b"", "unavailable"),
        (520, b"", "unavailable"),
        (529, anthropic("overloaded_error"), "overloaded"),
        (405, b"", "refused"),
        (418, b"", "refused"),
    ],
)
def test_an_error_answer_has_its_kind(status: int, body: bytes, kind: str) -> None:
    for dialect in DIALECTS.values():
        failure = dialect.parse_failure(status, {}, body)
        assert isinstance(failure, ProviderFailure)
        assert (failure.kind, failure.http_status) == (kind, status)


@pytest.mark.parametrize(
    ("status", "body", "message", "param"),
    [
        (400, openai("bad value", code="invalid_value"), "bad value", None),
        (422, b'{"error":{"message":"m","param":"tools[0]"}}', "m", "tools[0]"),
        (400, anthropic("invalid_request_error", "messages: roles"), "messages: roles", None),
        (422, b'{"detail":[{"loc":["body","n"],"msg":"bad"}]}', '"msg":"bad"', None),
        (400, b'{"error":"just text"}', "just text", None),
        (400, b"plain text", "plain text", None),
        (400, b"<html>x</html>", "the provider answered 400", None),
        (400, b"", "the provider answered 400", None),
        (400, b"[]", "the provider answered 400", None),
        (400, b"7", "the provider answered 400", None),
    ],
)
def test_the_callers_mistake_keeps_status_and_words(
    status: int, body: bytes, message: str, param: str | None
) -> None:
    error = read_answer(status, {}, body)
    assert isinstance(error, InvalidRequest)
    assert (error.status, error.param) == (status, param)
    assert message in error.message


def test_the_providers_words_are_bounded_and_hold_no_key() -> None:
    error = read_answer(400, {}, openai("é" * 9000))
    assert isinstance(error, InvalidRequest)
    assert len(error.message.encode()) <= MAX_MESSAGE_BYTES
    failure = read_answer(401, {}, openai("Incorrect API key provided: sk-proj-abcdefgh12345678."))
    assert "abcdefgh" not in str(failure)
    assert isinstance(failure, ProviderFailure)


def test_waiting_is_read_from_headers_and_from_geminis_details() -> None:
    failure = read_answer(429, {"retry-after": "12"}, b"")
    assert failure.retry_after_s == 12
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]
    body = orjson.dumps([{"error": {"code": 429, "message": "quota", "details": details}}])
    assert read_answer(429, {}, body).retry_after_s == 34


def test_only_an_answer_without_work_is_surely_not_billed() -> None:
    assert [
        failure.maybe_billed
        for status in (401, 429, 500, 503)
        if isinstance(failure := read_answer(status, {}, b""), ProviderFailure)
    ] == [False, False, True, True]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, "overloaded"),
        ({"type": "insufficient_quota", "code": "insufficient_quota"}, "refused"),
        ({"code": 429, "message": "Rate limited"}, "throttled"),
        ({"code": "429", "message": "Rate limited"}, "throttled"),
        ({"code": 502, "message": "Provider returned error"}, "unavailable"),
        ({"message": "maximum context length is 5"}, "context_length"),
        ({"type": "api_error", "message": "Internal"}, "unavailable"),
        ({"code": "content_filter", "message": "no"}, "content_filter"),
        ("text", "unavailable"),
        (True, "unavailable"),
        ({}, "unavailable"),
    ],
)
def test_an_error_inside_a_200_has_its_kind(error: object, kind: str) -> None:
    assert in_stream(error).kind == kind


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (429, openai("quota", "insufficient_quota", "insufficient_quota"), "quota"),
        (400, openai("no", code="billing_hard_limit_reached"), "quota"),
        (429, openai("no", code="enforced_spend_limit_reached"), "quota"),
        (403, openai("no", code="billing_not_active"), "quota"),
        (402, b"Payment required", "quota"),
        (400, anthropic("invalid_request_error", "Your credit balance is too low"), "quota"),
        (401, openai("no", code="invalid_api_key"), ""),
        (404, openai("no", code="model_not_found"), ""),
        (429, openai("no", "rate_limit_error"), ""),
        (503, b"insufficient credits", ""),
    ],
)
def test_a_used_up_quota_is_told_from_a_refused_key(status: int, body: bytes, cause: str) -> None:
    failure = read_answer(status, {}, body)
    assert isinstance(failure, ProviderFailure)
    assert failure.cause == cause


def test_a_used_up_quota_inside_a_200_is_told_too() -> None:
    assert in_stream({"type": "insufficient_quota", "message": "no"}).cause == "quota"


@given(st.integers(400, 599), st.binary())
def test_no_body_breaks_it(status: int, body: bytes) -> None:
    assert isinstance(read_answer(status, {}, body), ProviderFailure | InvalidRequest)


def test_a_body_nested_beyond_what_can_be_written_breaks_nothing() -> None:
    body = b'{"error":{"message":' + b"[" * 900 + b"]" * 900 + b"}}"
    assert isinstance(read_answer(400, {}, body), InvalidRequest)
