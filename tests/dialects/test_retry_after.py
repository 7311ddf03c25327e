"""When a provider asks to be asked again."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.dialects.retry_after import LONGEST_S, duration_s, retry_after_s

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e300"}, LONGEST_S),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:12:00 GMT"}, 0.0),
        ({"retry-after": "Tue, 99 Nov 2023 22:12:00 GMT"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"x-ratelimit-reset-requests": "1s"}, 1.0),
        ({"x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        ({"x-ratelimit-reset-tokens": "20ms"}, 0.02),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        (
            {
                "x-ratelimit-reset-requests": "2s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "900",
            },
            2.0,
        ),
        (
            {"x-ratelimit-reset-requests": "2s", "x-ratelimit-remaining-requests": "5"},
            None,
        ),
        ({"retry-after": "3", "x-ratelimit-reset-tokens": "6m0s"}, 3.0),
        ({"anthropic-ratelimit-tokens-reset": "2023-11-14T22:13:35Z"}, 15.0),
        (
            {
                "anthropic-ratelimit-requests-reset": "2023-11-14T22:13:25Z",
                "anthropic-ratelimit-input-tokens-reset": "2023-11-14T22:14:20+00:00",
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-input-tokens-remaining": "0",
            },
            60.0,
        ),
        ({"anthropic-ratelimit-tokens-reset": "tomorrow"}, None),
    ],
)
def test_every_form_is_read(headers: Mapping[str, str], expected: float | None) -> None:
    found = retry_after_s(headers, NOW)
    assert found == (expected if expected is None else pytest.approx(expected))


def test_without_a_clock_dates_are_passed_over() -> None:
    assert retry_after_s({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, None) is None
    assert retry_after_s({"anthropic-ratelimit-tokens-reset": "2023-11-14T22:13:35Z"}, None) is None
    assert retry_after_s({"retry-after": "4"}, None) == 4.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1h2m3.5s", 3723.5),
        ("1d", 86400.0),
        ("120ms", 0.12),
        ("1m30s", 90.0),
        ("12.5", 12.5),
        ("", None),
        ("s", None),
        ("1s later", None),
        ("1x", None),
    ],
)
def test_durations_are_read_whole_or_not_at_all(text: str, expected: float | None) -> None:
    assert duration_s(text) == (expected if expected is None else pytest.approx(expected))


@given(st.text(), st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset-tokens"]))
def test_no_text_breaks_it(text: str, name: str) -> None:
    wait = retry_after_s({name: text}, NOW)
    assert wait is None or 0 <= wait <= LONGEST_S
