"""What an error's headers tell a client's SDK."""

from __future__ import annotations

import pytest

from pointsman.errors import DeadlineExceeded, Overloaded, PointsmanError
from pointsman.server.endpoints import error_headers


@pytest.mark.parametrize(
    ("wait_s", "seconds", "exact_ms"),
    [(0.2, b"1", b"1000"), (1.0, b"1", b"1000"), (1.25, b"2", b"1250"), (300.0, b"300", b"300000")],
)
def test_a_wait_is_told_in_whole_seconds_and_exactly(
    wait_s: float, seconds: bytes, exact_ms: bytes
) -> None:
    headers = dict(error_headers(Overloaded("m", retry_after_s=wait_s)))
    assert headers == {
        b"x-should-retry": b"true",
        b"retry-after": seconds,
        b"retry-after-ms": exact_ms,
    }


@pytest.mark.parametrize("error", [PointsmanError("m"), DeadlineExceeded("m", retry_after_s=3.0)])
def test_an_error_without_a_wait_tells_none(error: PointsmanError) -> None:
    assert dict(error_headers(error)) == {b"x-should-retry": b"false"}
