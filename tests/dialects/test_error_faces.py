"""How our errors look to clients of each dialect."""

from __future__ import annotations

import orjson
import pytest

from pointsman.dialects.registry import DIALECTS
from pointsman.dialects.sse import Splitter
from pointsman.errors import (
    AllFailed,
    AuthenticationFailed,
    BodyTooLarge,
    BudgetExhausted,
    ContextTooLong,
    DeadlineExceeded,
    InvalidRequest,
    NoCandidate,
    Overloaded,
    PermissionDenied,
    PointsmanError,
    ProviderFailure,
    UnknownModel,
)
from pointsman.store.errors import RowRefused, StorageError, StorageUnavailable

FACES: list[tuple[PointsmanError, str, str]] = [
    (InvalidRequest("m"), "invalid_request_error", "invalid_request_error"),
    (ContextTooLong("m"), "invalid_request_error", "invalid_request_error"),
    (NoCandidate("m"), "invalid_request_error", "invalid_request_error"),
    (InvalidRequest("m", status=422), "invalid_request_error", "invalid_request_error"),
    (AuthenticationFailed("m"), "authentication_error", "authentication_error"),
    (BudgetExhausted("m"), "budget_exceeded", "billing_error"),
    (PermissionDenied("m"), "permission_error", "permission_error"),
    (UnknownModel("m"), "not_found_error", "not_found_error"),
    (BodyTooLarge("m"), "invalid_request_error", "request_too_large"),
    (AllFailed("m", status=429), "rate_limit_error", "rate_limit_error"),
    (Overloaded("m"), "overloaded_error", "overloaded_error"),
    (AllFailed("m"), "server_error", "api_error"),
    (ProviderFailure("malformed", "m"), "server_error", "api_error"),
    (DeadlineExceeded("m"), "timeout_error", "timeout_error"),
    (PointsmanError("m"), "server_error", "api_error"),
]


@pytest.mark.parametrize(("error", "openai", "anthropic"), FACES)
def test_each_error_has_the_type_of_its_status(
    error: PointsmanError, openai: str, anthropic: str
) -> None:
    error.param, error.attempts = "messages[0]", 2
    assert orjson.loads(DIALECTS["openai"].render_error(error, "req-1")) == {
        "error": {"message": "m", "type": openai, "param": "messages[0]", "code": error.code},
        "request_id": "req-1",
        "attempts": 2,
    }
    assert orjson.loads(DIALECTS["anthropic"].render_error(error, "req-1")) == {
        "type": "error",
        "error": {"type": anthropic, "message": "m", "code": error.code},
        "request_id": "req-1",
        "attempts": 2,
    }


@pytest.mark.parametrize("name", DIALECTS)
def test_an_error_in_a_stream_is_one_event_that_readers_of_the_dialect_notice(name: str) -> None:
    dialect = DIALECTS[name]
    event = dialect.render_stream_error(AllFailed('m "\n'), "req-1")
    assert len(Splitter().feed(event)) == 1
    assert b"[DONE]" not in event
    assert event.startswith(b"event: error\n") is (name == "anthropic")
    with pytest.raises(ProviderFailure):
        dialect.decoder().feed(event)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("failure", [StorageUnavailable, RowRefused])
def test_where_the_store_is_is_not_told(dialect: str, failure: type[StorageError]) -> None:
    """The message names a file or a server, and is the operator's."""
    said = DIALECTS[dialect].render_error(failure("postgresql://ann@10.0.0.7/books: gone"), "r")
    assert b"10.0.0.7" not in said and b"store" in said
