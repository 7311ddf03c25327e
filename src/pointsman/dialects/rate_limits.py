"""What a provider grants, read out of the headers of its answers.

Six families, each known by the one header that it cannot do without:

    x-ratelimit-remaining-requests, -tokens       OpenAI, Azure, Groq and many more
    anthropic-ratelimit-requests-remaining        Anthropic, with RFC 3339 dates
    x-ratelimit-remaining-req-minute              Mistral
    (x-)ratelimitbysize-remaining(-minute)        Mistral's older ones: tokens
    ratelimit-remaining                           IETF draft-ietf-httpapi-ratelimit-headers-06
    ratelimit: "default";r=50;t=30                the same draft since -08

OpenAI and Anthropic refill evenly and say when the limit is full again ("time until the rate limit
resets to its initial state"; "fully replenished"), so there is something to be had long before.
The others count by windows. Nothing that is read here raises, and a number that no provider means
is none.

Most answers of local servers have no such header, which costs a look-up for each family.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from pointsman.dialects.retry_after import duration_s, until_iso_date
from pointsman.domain.granted import Allowance, Granted

Headers = Mapping[str, str]

MOST: Final = 10**15
"""No provider grants more in a minute; a longer number is a mistake and is passed over."""

DIGITS: Final = len(str(MOST))
TEXT: Final = 40
"""Characters of the longest duration or date that is read."""

DAY_S: Final = 86_400.0
"""A reset that is further away says nothing about now."""


def granted(headers: Headers, wall_now: float) -> Granted | None:
    """Read what is granted; None where nothing readable is said.

    `headers` have lower-case names. `wall_now` is seconds since the epoch."""
    for mark, read in FAMILIES:
        if mark in headers:
            said = read(headers, wall_now)
            return None if said.requests is None and said.tokens is None else said
    return None


def _openai(headers: Headers, wall_now: float) -> Granted:
    return Granted(_openai_scope(headers, "requests"), _openai_scope(headers, "tokens"))


def _openai_scope(headers: Headers, scope: str) -> Allowance | None:
    return _allowance(
        headers.get(f"x-ratelimit-limit-{scope}"),
        headers.get(f"x-ratelimit-remaining-{scope}"),
        _duration(headers.get(f"x-ratelimit-reset-{scope}")),
        evenly=True,
    )


def _anthropic(headers: Headers, wall_now: float) -> Granted:
    # `tokens` is the tightest of those that apply; where it is left out, we find it ourselves.
    tokens = _anthropic_scope(headers, "tokens", wall_now)
    if tokens is None:
        tokens = _tighter(
            _anthropic_scope(headers, "input-tokens", wall_now),
            _anthropic_scope(headers, "output-tokens", wall_now),
        )
    return Granted(_anthropic_scope(headers, "requests", wall_now), tokens)


def _anthropic_scope(headers: Headers, scope: str, wall_now: float) -> Allowance | None:
    remaining = headers.get(f"anthropic-ratelimit-{scope}-remaining")
    if remaining is None:
        return None
    reset = headers.get(f"anthropic-ratelimit-{scope}-reset", "")
    return _allowance(
        headers.get(f"anthropic-ratelimit-{scope}-limit"),
        remaining,
        until_iso_date(reset, wall_now) if len(reset) <= TEXT else None,
        evenly=True,
    )


def _mistral(headers: Headers, wall_now: float) -> Granted:
    return Granted(_mistral_scope(headers, "req"), _mistral_scope(headers, "tokens"))


def _mistral_scope(headers: Headers, scope: str) -> Allowance | None:
    return _allowance(
        headers.get(f"x-ratelimit-limit-{scope}-minute"),
        headers.get(f"x-ratelimit-remaining-{scope}-minute"),
        _duration(headers.get(f"x-ratelimit-reset-{scope}-minute")),
    )


def _by_size(headers: Headers, wall_now: float) -> Granted:
    for start, end in (("x-ratelimitbysize", "-minute"), ("ratelimitbysize", "")):
        remaining = headers.get(f"{start}-remaining{end}")
        if remaining is not None:
            limit = headers.get(f"{start}-limit{end}")
            reset_s = _duration(headers.get("ratelimitbysize-reset"))
            return Granted(tokens=_allowance(limit, remaining, reset_s))
    return Granted()


def _draft_06(headers: Headers, wall_now: float) -> Granted:
    return Granted(
        _allowance(
            # "100, 100;w=60": the limit, then its policies.
            headers.get("ratelimit-limit", "").partition(",")[0].partition(";")[0] or None,
            headers.get("ratelimit-remaining"),
            _duration(headers.get("ratelimit-reset")),
        )
    )


_REMAINING: Final = re.compile(r"\b(?:r|remaining)=(\d{1,15})\b")
_RESET: Final = re.compile(r"\b(?:t|reset)=(\d{1,15})\b")
_LIMIT: Final = re.compile(r"\b(?:q|limit)=(\d{1,15})\b")


def _draft_08(headers: Headers, wall_now: float) -> Granted:
    # Of several policies the first is read: which one is tightest is not said.
    said = headers["ratelimit"][:200]
    policy = headers.get("ratelimit-policy", "")[:200]
    remaining, reset = _REMAINING.search(said), _RESET.search(said)
    limit = _LIMIT.search(said) or _LIMIT.search(policy)
    return Granted(
        _allowance(
            None if limit is None else limit[1],
            None if remaining is None else remaining[1],
            None if reset is None else float(reset[1]),
        )
    )


def _tighter(one: Allowance | None, other: Allowance | None) -> Allowance | None:
    if one is None or other is None:
        return one or other
    return one if _share(one) <= _share(other) else other


def _share(allowance: Allowance) -> float:
    remaining = 0 if allowance.remaining is None else allowance.remaining
    return remaining / allowance.limit if allowance.limit else 1.0


def _allowance(
    limit: str | None, remaining: str | None, reset_s: float | None, *, evenly: bool = False
) -> Allowance | None:
    left = _count(remaining)
    if left is None:
        return None
    if reset_s is not None and not 0 <= reset_s <= DAY_S:
        reset_s = None if reset_s > DAY_S else 0.0
    return Allowance(_count(limit), left, reset_s, evenly)


def _count(text: str | None) -> int | None:
    # A negative number is what some say where there is no limit.
    if text is None or len(text) > DIGITS or not (text.isascii() and text.isdigit()):
        return None
    number = int(text)
    return number if number <= MOST else None


def _duration(text: str | None) -> float | None:
    return None if text is None or len(text) > TEXT else duration_s(text)


Read = Callable[[Headers, float], Granted]

FAMILIES: Final[tuple[tuple[str, Read], ...]] = (
    ("x-ratelimit-remaining-requests", _openai),
    ("x-ratelimit-remaining-tokens", _openai),
    ("anthropic-ratelimit-requests-remaining", _anthropic),
    ("anthropic-ratelimit-tokens-remaining", _anthropic),
    ("anthropic-ratelimit-input-tokens-remaining", _anthropic),
    ("x-ratelimit-remaining-req-minute", _mistral),
    ("x-ratelimit-remaining-tokens-minute", _mistral),
    ("x-ratelimitbysize-remaining-minute", _by_size),
    ("ratelimitbysize-remaining", _by_size),
    ("ratelimit-remaining", _draft_06),
    ("ratelimit", _draft_08),
)
"""By the header that shows a family, the common ones first."""
