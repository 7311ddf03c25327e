"""The real anthropic SDK against a running gateway, over upstreams of both dialects."""

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
    return run_sdk("anthropic", gateway, f"to-{upstream}")


def test_a_message_is_answered_with_usage_and_our_headers(seen: Seen, upstream: str) -> None:
    chat = seen["chat"]
    assert chat["text"] == "You said: Hello, wörld"
    assert (chat["stop"], chat["model"], chat["role"]) == ("end_turn", "chat", "assistant")
    assert all(count > 0 for count in chat["tokens"])
    headers = chat["headers"]
    assert headers["x-pointsman-route"] == f"to-{upstream}"
    assert headers["x-pointsman-deployment"] == f"{upstream}-chat"
    # One dollar a million tokens in, two out: the configuration's price.
    expected = (chat["tokens"][0] + 2 * chat["tokens"][1]) / 1e6
    assert float(headers["x-pointsman-cost-usd"]) == pytest.approx(expected, rel=1e-9)


def test_a_stream_comes_piece_by_piece_to_its_end(seen: Seen) -> None:
    stream = seen["stream"]
    assert stream["text"] == "You said: One two three four five"
    assert stream["pieces"] > 3
    assert stream["stop"] == "end_turn"
    assert all(count > 0 for count in stream["tokens"])


def test_a_stream_has_every_event_of_the_protocol(seen: Seen) -> None:
    events = seen["stream_events"]
    assert (events["first"], events["last"]) == ("message_start", "message_stop")
    assert {"content_block_start", "content_block_stop", "message_delta"} <= set(events["kinds"])


BOTH_CALLS = [["weather", {"city": "Köln"}], ["clock", {"city": "Lima"}]]


def test_parallel_tool_calls_keep_their_arguments(seen: Seen) -> None:
    tools = seen["tools"]
    assert tools["calls"] == BOTH_CALLS
    assert tools["stop"] == "tool_use"
    assert len(set(tools["ids"])) == 2


def test_streamed_tool_calls_come_argument_by_argument(seen: Seen) -> None:
    streamed = seen["tools_streamed"]
    assert streamed["calls"] == BOTH_CALLS
    assert streamed["pieces"] > 2
    assert streamed["stop"] == "tool_use"


def test_tool_results_reach_the_model(seen: Seen) -> None:
    assert seen["tool_result"] == {"text": "The tool said: rain; noon"}


def test_an_image_reaches_the_model(seen: Seen) -> None:
    # The fault provider counts 85 tokens an image.
    assert seen["vision"]["input"] > 85
    assert seen["vision"]["text"] == "You said: What is this?"


def test_thinking_comes_before_the_answer(seen: Seen) -> None:
    assert seen["thinking"] == {"kinds": ["thinking", "text"]}


def test_a_failing_provider_is_followed_by_the_other(seen: Seen) -> None:
    assert seen["fallback"] == {"text": "You said: Still there?", "attempts": "2"}


def test_tokens_are_counted_without_a_call(seen: Seen) -> None:
    assert seen["count_tokens"]["input"] > 0


def test_routes_and_deployments_are_listed(seen: Seen, upstream: str) -> None:
    assert {f"to-{upstream}", f"{upstream}-chat"} <= set(seen["models"]["ids"])


@pytest.mark.parametrize(
    ("scenario", "raised", "status", "type"),
    [
        ("wrong_key", "AuthenticationError", 401, "authentication_error"),
        ("unknown_model", "NotFoundError", 404, "not_found_error"),
        ("bad_request", "BadRequestError", 400, "invalid_request_error"),
        ("throttled", "RateLimitError", 429, "rate_limit_error"),
    ],
)
def test_errors_are_the_sdks_own(
    seen: Seen, scenario: str, raised: str, status: int, type: str
) -> None:
    error = seen[scenario]
    assert (error["raised"], error["status"], error["type"]) == (raised, status, type)
    assert error["message"]
    assert error["request_id"]


def test_a_throttled_client_is_told_when_to_come_back(seen: Seen) -> None:
    assert 1 <= int(seen["throttled"]["retry_after"]) <= 7


def test_a_stream_that_fails_after_content_raises(seen: Seen) -> None:
    # A failure inside a stream reaches the SDK as an error event of a 200 answer.
    assert seen["cut_in_stream"]["raised"] in ("APIStatusError", "OverloadedError", "APIError")
    assert seen["cut_in_stream"].get("status", 200) == 200
