"""What providers say that they grant is read, and nonsense is not."""

from __future__ import annotations

import random

import pytest

from pointsman.dialects.rate_limits import granted
from pointsman.domain.granted import Allowance, Granted

WALL = 1_700_000_000.0
"""2023-11-14T22:13:20Z."""

OPENAI = {
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-limit-tokens": "200000",
    "x-ratelimit-remaining-requests": "499",
    "x-ratelimit-remaining-tokens": "199000",
    "x-ratelimit-reset-requests": "120ms",
    "x-ratelimit-reset-tokens": "6m0s",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2023-11-14T22:13:22Z",
    "anthropic-ratelimit-tokens-limit": "40000",
    "anthropic-ratelimit-tokens-remaining": "39000",
    "anthropic-ratelimit-tokens-reset": "2023-11-14T22:14:20+00:00",
}

SAID: list[tuple[str, dict[str, str], Granted | None]] = [
    ("nothing", {"content-type": "application/json"}, None),
    (
        "OpenAI",
        OPENAI,
        Granted(
            Allowance(500, 499, 0.12, evenly=True), Allowance(200_000, 199_000, 360.0, evenly=True)
        ),
    ),
    (
        "Groq says whole and broken seconds",
        {**OPENAI, "x-ratelimit-reset-requests": "2m59.56s", "x-ratelimit-reset-tokens": "7.66s"},
        Granted(
            Allowance(500, 499, pytest.approx(179.56), evenly=True),  # type: ignore[arg-type]
            Allowance(200_000, 199_000, 7.66, evenly=True),
        ),
    ),
    (
        "Azure says only what remains",
        {"x-ratelimit-remaining-requests": "9", "x-ratelimit-remaining-tokens": "8000"},
        Granted(Allowance(None, 9, None, evenly=True), Allowance(None, 8000, None, evenly=True)),
    ),
    (
        "only tokens",
        {"x-ratelimit-remaining-tokens": "0"},
        Granted(None, Allowance(None, 0, None, evenly=True)),
    ),
    (
        "Anthropic",
        ANTHROPIC,
        Granted(Allowance(50, 49, 2.0, evenly=True), Allowance(40_000, 39_000, 60.0, evenly=True)),
    ),
    (
        "Anthropic's tighter one of input and output",
        {
            "anthropic-ratelimit-input-tokens-limit": "1000",
            "anthropic-ratelimit-input-tokens-remaining": "900",
            "anthropic-ratelimit-output-tokens-limit": "100",
            "anthropic-ratelimit-output-tokens-remaining": "1",
        },
        Granted(None, Allowance(100, 1, None, evenly=True)),
    ),
    (
        "Mistral",
        {
            "x-ratelimit-limit-tokens-minute": "5000000",
            "x-ratelimit-remaining-tokens-minute": "4999911",
            "x-ratelimit-limit-req-minute": "720",
            "x-ratelimit-remaining-req-minute": "717",
        },
        Granted(Allowance(720, 717), Allowance(5_000_000, 4_999_911)),
    ),
    (
        "Mistral by size",
        {
            "ratelimitbysize-limit": "500000",
            "ratelimitbysize-remaining": "499000",
            "ratelimitbysize-reset": "11",
        },
        Granted(None, Allowance(500_000, 499_000, 11.0)),
    ),
    (
        "Mistral by size, a minute",
        {"x-ratelimitbysize-remaining-minute": "7", "x-ratelimitbysize-limit-minute": "9"},
        Granted(None, Allowance(9, 7)),
    ),
    (
        "the draft's three headers",
        {"ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "50", "ratelimit-reset": "30"},
        Granted(Allowance(100, 50, 30.0)),
    ),
    (
        "the draft's one",
        {"ratelimit": '"default";r=50;t=30', "ratelimit-policy": '"default";q=100;w=60'},
        Granted(Allowance(100, 50, 30.0)),
    ),
    (
        "an older draft's one",
        {"ratelimit": "limit=10, remaining=2, reset=5"},
        Granted(Allowance(10, 2, 5.0)),
    ),
    ("no limit at all", {"x-ratelimit-remaining-requests": "-1"}, None),
    ("a fraction", {"x-ratelimit-remaining-requests": "1.5"}, None),
    ("a long number", {"x-ratelimit-remaining-requests": "9" * 5000}, None),
    ("other digits", {"x-ratelimit-remaining-requests": "٣"}, None),
    (
        "a reset that is over",
        {**ANTHROPIC, "anthropic-ratelimit-requests-reset": "2023-11-14T22:00:00Z"},
        Granted(Allowance(50, 49, 0.0, evenly=True), Allowance(40_000, 39_000, 60.0, evenly=True)),
    ),
    (
        "a reset in a year",
        {"ratelimit-remaining": "0", "ratelimit-reset": "31536000"},
        Granted(Allowance(None, 0, None)),
    ),
]


@pytest.mark.parametrize(("headers", "said"), [case[1:] for case in SAID], ids=[c[0] for c in SAID])
def test_what_is_granted(headers: dict[str, str], said: Granted | None) -> None:
    assert granted(headers, WALL) == said


def test_hostile_values_never_raise_and_never_mean_much() -> None:
    rng = random.Random(7)
    names = [*OPENAI, *ANTHROPIC, "ratelimit", "ratelimit-policy", "ratelimit-remaining"]
    names += ["ratelimit-limit", "ratelimit-reset", "x-ratelimit-remaining-req-minute"]
    values = ["", " ", "NaN", "inf", "-inf", "1e400", "0x10", "9" * 400, "-0", "1s1s1s", "s", "\0"]
    values += ["9999-99-99T99:99:99Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]
    values += ["r=" + "9" * 400, '"a";r=-1;t=x', "1" * 15 + "h", "é" * 9, "0", "1", "1_000", "+5"]
    for _ in range(3000):
        headers = {name: rng.choice(values) for name in rng.sample(names, 6)}
        said = granted(headers, WALL)
        for allowance in () if said is None else (said.requests, said.tokens):
            if allowance is not None:
                assert allowance.remaining is not None and 0 <= allowance.remaining <= 10**15
                assert allowance.reset_s is None or 0 <= allowance.reset_s <= 86_400
