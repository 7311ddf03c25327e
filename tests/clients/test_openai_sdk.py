"""The real openai SDK against a running gateway, over upstreams of both dialects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.real]

Seen = dict[str, Any]


@pytest.fixture(params=["openai", "anthropic"])
def upstream(request: pytest.FixtureRequest) -> str:
    side: str = request.param
    return side


@pytest.fixture
def seen(gateway: str, run_sdk: Callable[[str, str, str], Seen], upstream: str) -> Seen:
    return run_sdk("openai", f"{gateway}/v1", f"to-{upstream}")


def test_a_chat_is_answered_with_usage_and_our_headers(seen: Seen, upstream: str) -> None:
    chat = seen["chat"]
    assert chat["text"] == "You said: Hello, wörld"
    assert (chat["finish"], chat["model"], chat["object"]) == ("stop", "chat", "chat.completion")
    prompt, completion, total = chat["tokens"]
    assert prompt > 0 and completion > 0 and total == prompt + completion
    headers = chat["headers"]
    assert headers["x-pointsman-route"] == f"to-{upstream}"
    assert headers["x-pointsman-deployment"] == f"{upstream}-chat"
    assert headers["x-pointsman-attempts"] == "1"
    assert headers["x-pointsman-request-id"] and headers["x-pointsman-decision-id"]
    # One dollar a million tokens in, two out: the configuration's price.
    expected = (prompt + 2 * completion) / 1e6
    assert float(headers["x-pointsman-cost-usd"]) == pytest.approx(expected, rel=1e-9)


def test_a_stream_comes_piece_by_piece_to_its_end(seen: Seen) -> None:
    stream = seen["stream"]
    assert stream["text"] == "You said: One two three four five"
    assert stream["finish"] == "stop"
    assert stream["chunks"] >= 7
    assert all(count > 0 for count in stream["usage"])


def test_usage_is_in_a_stream_only_where_it_was_asked_for(seen: Seen) -> None:
    assert seen["stream_without_usage"] == {"usages": []}


BOTH_CALLS = [["weather", {"city": "Köln"}], ["clock", {"city": "Lima"}]]


def test_parallel_tool_calls_keep_their_arguments(seen: Seen) -> None:
    tools = seen["tools"]
    assert tools["calls"] == BOTH_CALLS
    assert tools["finish"] == "tool_calls"
    assert len(set(tools["ids"])) == 2


def test_streamed_tool_calls_come_argument_by_argument(seen: Seen) -> None:
    streamed = seen["tools_streamed"]
    assert streamed["calls"] == BOTH_CALLS
    assert streamed["pieces"] > 2
    assert streamed["finish"] == "tool_calls"


def test_tool_results_reach_the_model(seen: Seen) -> None:
    assert seen["tool_result"] == {"text": "The tool said: rain; noon"}


def test_an_answer_fits_the_json_schema(seen: Seen) -> None:
    assert seen["json_schema"]["answer"] == {"name": "text", "age": 3}


def test_an_image_reaches_the_model(seen: Seen) -> None:
    # The fault provider counts 85 tokens an image.
    assert seen["vision"]["input"] > 85
    assert seen["vision"]["text"] == "You said: What is this?"


def test_a_failing_provider_is_followed_by_the_other(seen: Seen) -> None:
    assert seen["fallback"] == {"text": "You said: Still there?", "attempts": "2"}


def test_our_own_fields_go_by_extra_body(seen: Seen) -> None:
    assert seen["extra_body"] == {"status": 200}


def test_texts_are_embedded(seen: Seen) -> None:
    assert seen["embeddings"]["vectors"] == 2
    assert seen["embeddings"]["size"] > 0


def test_routes_and_deployments_are_listed(seen: Seen, upstream: str) -> None:
    assert {f"to-{upstream}", f"{upstream}-chat"} <= set(seen["models"]["ids"])


@pytest.mark.parametrize(
    ("scenario", "raised", "status", "code"),
    [
        ("wrong_key", "AuthenticationError", 401, "invalid_api_key"),
        ("unknown_model", "NotFoundError", 404, "model_not_found"),
        ("bad_request", "BadRequestError", 400, "invalid_request"),
        ("throttled", "RateLimitError", 429, "upstream_rate_limited"),
    ],
)
def test_errors_are_the_sdks_own(
    seen: Seen, scenario: str, raised: str, status: int, code: str
) -> None:
    error = seen[scenario]
    assert (error["raised"], error["status"], error["code"]) == (raised, status, code)
    assert error["message"]
    assert error["request_id"]


def test_a_throttled_client_is_told_when_to_come_back(seen: Seen) -> None:
    assert 1 <= int(seen["throttled"]["retry_after"]) <= 7


def test_a_stream_that_fails_after_content_raises(seen: Seen) -> None:
    assert seen["cut_in_stream"]["raised"] == "APIError"
    assert "chunks" not in seen["cut_in_stream"]
