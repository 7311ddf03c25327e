"""When a provider asks to be asked again, in all the forms that providers use.

`retry-after-ms` (OpenAI, Azure), `x-ms-retry-after-ms` (Azure), `retry-after` in seconds or as a
date (RFC 9110, 10.2.3), `x-ratelimit-reset-requests` and `-tokens` as "1s", "6m0s", "20ms"
(OpenAI, Groq), `anthropic-ratelimit-*-reset` as RFC 3339 dates (Anthropic).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_S = 31 * 86400.0
"""Seconds; a wait beyond a month is a mistake of the provider, and is cut to this."""

_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_RESETS = (
    *(
        (f"x-ratelimit-reset-{scope}", f"x-ratelimit-remaining-{scope}")
        for scope in ("requests", "tokens")
    ),
    *(
        (f"anthropic-ratelimit-{scope}-reset", f"anthropic-ratelimit-{scope}-remaining")
        for scope in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
)
"""When each limit is full again, and how much of it is left."""


def retry_after_s(headers: Mapping[str, str], wall_now: float | None) -> float | None:
    """Return seconds to wait, or None where nothing (readable) is said.

    `headers` have lower-case names. `wall_now` is seconds since the epoch; with None the forms
    that are dates are passed over. An explicit wish goes before the reset of a limit; of several
    limits those that are used up count, or all where it is not said which are.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        wait = _number(headers.get(name))
        if wait is not None:
            return _bounded(wait / 1000)
    asked = headers.get("retry-after")
    if asked is not None:
        wait = _number(asked)
        if wait is None and wall_now is not None:
            wait = _until_http_date(asked, wall_now)
        if wait is not None:
            return _bounded(wait)
    return _longest_reset(headers, wall_now)


def duration_s(text: str) -> float | None:
    """Read "1s", "6m0s", "20ms", "1h2m3.5s", or a plain number of seconds."""
    text = text.strip().lower()
    plain = _number(text)
    if plain is not None:
        return plain
    pieces = _DURATION.findall(text)
    if not pieces or "".join(number + unit for number, unit in pieces) != text:
        return None
    return math.fsum(float(number) * _UNIT_S[unit] for number, unit in pieces)


def _longest_reset(headers: Mapping[str, str], wall_now: float | None) -> float | None:
    exhausted: list[float] = []
    unsaid: list[float] = []
    for reset, left in _RESETS:
        text = headers.get(reset)
        if text is None:
            continue
        is_date = reset.startswith("anthropic")
        wait = until_iso_date(text, wall_now) if is_date else duration_s(text)
        if wait is None:
            continue
        if left not in headers:
            unsaid.append(wait)
        elif _number(headers[left]) == 0:
            exhausted.append(wait)
    waits = exhausted or unsaid
    return _bounded(max(waits)) if waits else None


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _until_http_date(text: str, wall_now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return _timestamp(moment, wall_now)


def until_iso_date(text: str, wall_now: float | None) -> float | None:
    if wall_now is None:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return _timestamp(moment, wall_now)


def _timestamp(moment: datetime, wall_now: float) -> float | None:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return moment.timestamp() - wall_now
    except (OverflowError, ValueError):
        return None


def _bounded(wait: float) -> float:
    return min(max(wait, 0.0), LONGEST_S)
