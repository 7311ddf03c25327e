"""Faults that a provider tells us of: statuses, error bodies, judgements of the request."""

from __future__ import annotations

from matrix.fault import (
    FILTERED,
    GOOD_A,
    GOOD_B,
    INVALID,
    RATE_LIMITED,
    TOO_LONG,
    UPSTREAM_ERROR,
    Effect,
    Expect,
    Fault,
    Pair,
    Times,
    Told,
    Tried,
    both_fail,
    breaks,
    fails,
    unseen,
)
from pointsman.testing.plays import Answer, ErrorEvent, Fail, Instead, Slow

HURRIED = Times(total_s=2.5)
"""A deadline before the waits that are asked for here, so that nobody waits for them."""

SPACED = Slow(tokens_per_second=50)
"""So that what is said before a fault has surely been passed on."""


def throttled(name: str, hint: tuple[int, int] | None, play: Fail, **more: object) -> Fault:
    told = RATE_LIMITED if hint is None else RATE_LIMITED.after(*hint)
    ends = fails("throttled", told, "nothing", "cool")
    then = _after("cool")
    return Fault(name, "1", play, ends, ends, times=HURRIED, then=then, **more)  # type: ignore[arg-type]


def _after(effect: Effect) -> Pair:
    """The next request goes elsewhere at once, and needs no fallback for that."""
    end = Expect((GOOD_B,), a=effect)
    return Pair(end, end)


SPENT = _after("credential")
"""Waiting does not fill a purse: a quota that is used up is not asked again at once."""


def same(name: str, row: str, play: object, ends: Pair, **more: object) -> Fault:
    """A fault whose end is the same for whole and streamed answers."""
    return Fault(name, row, play, ends, ends, **more)  # type: ignore[arg-type]


def judged(outcome: str, told: Told) -> Pair:
    """The provider judged the request itself: nobody else is asked, no breaker minds."""
    end = Expect((Tried("a", outcome),), told)
    return Pair(end, end)


THROTTLING = (
    throttled("429, Retry-After in seconds", (6, 7), Fail(429, {"retry-after": "7"})),
    throttled("429, Retry-After as a date", (8, 10), Fail(429, retry_at_s=10)),
    throttled("429, retry-after-ms", (6, 7), Fail(429, {"retry-after-ms": "6500"})),
    throttled(
        "429, x-ratelimit-reset-requests",
        (5, 6),
        Fail(
            429,
            {"x-ratelimit-reset-requests": "6s", "x-ratelimit-remaining-requests": "0"},
        ),
    ),
    throttled(
        "429, x-ratelimit-reset-tokens of minutes",
        (61, 66),
        Fail(429, {"x-ratelimit-reset-tokens": "1m5.5s", "x-ratelimit-remaining-tokens": "0"}),
    ),
    throttled("429 without a hint", None, Fail(429)),
    throttled("429, Retry-After not a number", None, Fail(429, {"retry-after": "soon"})),
    throttled("429, Retry-After negative", (1, 1), Fail(429, {"retry-after": "-5"})),
    throttled("429, Retry-After of eleven days", (299, 300), Fail(429, {"retry-after": "999999"})),
    same(
        "429 from both, the smaller hint is told",
        "1",
        Fail(429, {"retry-after": "9"}),
        both_fail(
            ("throttled", "throttled"),
            (RATE_LIMITED.after(8, 9), RATE_LIMITED.after(4, 5)),
            effects=("cool", "cool"),
        ),
        second=Fail(429, {"retry-after": "5"}),
        times=HURRIED,
        always=True,
        then=Pair(
            Expect((Tried("b", "throttled"),), RATE_LIMITED.after(4, 5), a="cool", b="cool"),
            Expect((), RATE_LIMITED.after(4, 5), a="cool", b="cool"),
        ),
    ),
    same(
        "429 from both, a wait that fits is waited for",
        "1",
        Fail(429, {"retry-after": "5"}),
        Pair(
            Expect((Tried("a", "throttled"),), RATE_LIMITED.after(4, 5), a="cool"),
            Expect((Tried("a", "throttled"), Tried("b", "throttled"), GOOD_B), a="cool"),
        ),
        second=Fail(429, {"retry-after": "1"}),
        times=Times(total_s=4),
    ),
    same(
        "429 that is a quota",
        "2",
        Fail(canned="insufficient_quota"),
        fails("refused", UPSTREAM_ERROR, "nothing", "credential"),
        then=SPENT,
        upstreams=("openai",),
    ),
    same(
        "429 that is a spend cap",
        "2",
        Fail(canned="spend_limit"),
        fails("refused", UPSTREAM_ERROR, "nothing", "credential"),
        then=SPENT,
        upstreams=("openai",),
    ),
    same(
        "400 that is a credit balance",
        "2",
        Fail(canned="anthropic_credit"),
        fails("refused", UPSTREAM_ERROR, "nothing", "credential"),
        then=SPENT,
        upstreams=("anthropic",),
    ),
)

STATUSES = (
    *(
        same(f"{status}", "3", Fail(status), fails("unavailable", UPSTREAM_ERROR))
        for status in (500, 502, 504, 408, 409)
    ),
    *(
        same(f"{status}", "3", Fail(status), fails("overloaded", UPSTREAM_ERROR))
        for status in (503, 529, 498)
    ),
    same(
        "503 with Retry-After",
        "3",
        Fail(503, {"retry-after": "7"}),
        fails("overloaded", UPSTREAM_ERROR),
    ),
    same(
        "500 in HTML",
        "3",
        Fail(500, {"content-type": "text/html"}, body="<html><h1>500</h1></html>"),
        fails("unavailable", UPSTREAM_ERROR),
    ),
    same("500 with nothing", "3", Fail(500, body=""), fails("unavailable", UPSTREAM_ERROR)),
    same(
        "500 from both",
        "3",
        Fail(500),
        both_fail(("unavailable", "unavailable"), (UPSTREAM_ERROR, UPSTREAM_ERROR), again=True),
        second=Fail(500),
        always=True,
    ),
    same(
        "503 from both",
        "3",
        Fail(503),
        both_fail(("overloaded", "overloaded"), (UPSTREAM_ERROR, UPSTREAM_ERROR), again=True),
        second=Fail(503),
        always=True,
    ),
    same(
        "500 from both, once: the first is asked again",
        "3",
        Fail(500),
        Pair(
            Expect((Tried("a", "unavailable"),), UPSTREAM_ERROR, a="hard"),
            Expect((Tried("a", "unavailable"), Tried("b", "unavailable"), GOOD_A), b="hard"),
        ),
        second=Fail(500),
    ),
    same(
        "429, then 500 elsewhere",
        "3",
        Fail(429, {"retry-after": "7"}),
        Pair(
            Expect((Tried("a", "throttled"),), RATE_LIMITED.after(6, 7), a="cool"),
            Expect(
                (Tried("a", "throttled"), Tried("b", "unavailable"), Tried("b", "unavailable")),
                UPSTREAM_ERROR,
                a="cool",
                b="hard",
            ),
        ),
        second=Fail(500),
        times=HURRIED,
        always=True,
    ),
    same(
        "401, then 500 elsewhere",
        "17",
        Fail(401),
        Pair(
            Expect((Tried("a", "refused"),), UPSTREAM_ERROR, a="credential"),
            Expect(
                (Tried("a", "refused"), Tried("b", "unavailable"), Tried("b", "unavailable")),
                UPSTREAM_ERROR,
                a="credential",
                b="hard",
            ),
        ),
        second=Fail(500),
        always=True,
    ),
    *(
        same(
            f"{status} of the provider",
            "17",
            Fail(status),
            fails("refused", UPSTREAM_ERROR, "nothing", "credential"),
        )
        for status in (401, 402, 403, 404)
    ),
    same(
        "401 from both is never the client's",
        "17",
        Fail(401),
        both_fail(
            ("refused", "refused"),
            (UPSTREAM_ERROR, UPSTREAM_ERROR),
            effects=("credential", "credential"),
        ),
        second=Fail(401),
        always=True,
    ),
    same(
        "400: the request's own fault",
        "15",
        Fail(400),
        judged("rejected", Told(400, "invalid_request", INVALID)),
    ),
    *(
        same(
            f"{status} to another address",
            "14",
            Fail(status, {"location": "http://127.0.0.1:9/elsewhere"}),
            fails("unavailable", UPSTREAM_ERROR),
        )
        for status in (301, 307)
    ),
    same(
        "302 with an answer in it",
        "14",
        Fail(
            302,
            {"location": "/v2"},
            body='{"choices":[{"index":0,"message":{"role":"assistant","content":"no"},'
            '"finish_reason":"stop"}],"content":[{"type":"text","text":"no"}]}',
        ),
        fails("unavailable", UPSTREAM_ERROR),
    ),
)

IN_A_200 = (
    *(
        Fault(
            f"{what} told in a 200, {when}",
            "12",
            ErrorEvent(at, kind, done=done),  # type: ignore[arg-type]
            None,
            fails(outcome, told, books, effect),  # type: ignore[arg-type]
        )
        for what, kind, outcome, told, books, effect in (
            ("overload", "overloaded", "overloaded", UPSTREAM_ERROR, "nothing", "hard"),
            ("a fault", "server_error", "unavailable", UPSTREAM_ERROR, "estimate", "hard"),
            ("throttling", "throttled", "throttled", RATE_LIMITED, "nothing", "cool"),
        )
        for when, at, done in (
            ("before anything", None, False),
            ("after role and ping", 0, False),
            ("before a false end", 0, True),
        )
    ),
    *(
        Fault(
            f"{what} told after four tokens",
            "13",
            (SPACED, ErrorEvent(4, kind)),  # type: ignore[arg-type]
            None,
            breaks(outcome, UPSTREAM_ERROR, 4, effect=effect),  # type: ignore[arg-type]
        )
        for what, kind, outcome, effect in (
            ("overload", "overloaded", "overloaded", "hard"),
            ("a fault", "server_error", "unavailable", "hard"),
            ("throttling", "throttled", "throttled", "cool"),
        )
    ),
    Fault(
        "a fault told after four tokens, before a false end",
        "13",
        (SPACED, ErrorEvent(4, "server_error", done=True)),
        None,
        breaks("unavailable", UPSTREAM_ERROR, 4),
    ),
    Fault(
        "overload told in a whole 200",
        "14",
        ErrorEvent(0, "overloaded"),
        fails("overloaded", UPSTREAM_ERROR),
    ),
    same(
        "200 with an error body",
        "14",
        Instead("error"),
        fails("unavailable", UPSTREAM_ERROR, "estimate"),
    ),
)

JUDGEMENTS = (
    *(
        same(
            f"content filter, 400 ({canned})",
            "15",
            Fail(canned=canned),
            judged("content_filter", FILTERED),
            upstreams=(wire,),
        )
        for canned, wire in (
            ("azure_content_filter", "openai"),
            ("openai_content_policy", "openai"),
            ("anthropic_content_filter", "anthropic"),
        )
    ),
    same(
        "content filter as the finish",
        "15",
        Answer(finish="content_filter"),
        Pair(Expect(finish="content_filter"), Expect(finish="content_filter")),
    ),
    Fault(
        "content filter told in a 200, after role",
        "15",
        ErrorEvent(0, "content_filter"),
        judged("content_filter", FILTERED),
        judged("content_filter", FILTERED),
    ),
    Fault(
        "content filter told after four tokens",
        "15",
        (SPACED, ErrorEvent(4, "content_filter")),
        None,
        breaks("content_filter", FILTERED, 4, effect="neutral"),
    ),
    *(
        same(
            f"input too long ({canned})",
            "16",
            Fail(canned=canned),
            fails("context_length", TOO_LONG, "nothing", "neutral"),
            upstreams=("anthropic",) if canned == "context_anthropic" else ("openai",),
        )
        for canned in (
            "context_openai", "context_anthropic", "context_gemini", "context_vllm",
            "context_llamacpp", "context_mistral", "context_groq",
        )
    ),
    same(
        "input too long, no larger window",
        "16",
        Fail(413),
        judged("context_length", TOO_LONG),
        larger=False,
    ),
    same(
        "input too long for both",
        "16",
        Fail(413),
        both_fail(
            ("context_length", "context_length"),
            (TOO_LONG, TOO_LONG),
            effects=("neutral", "neutral"),
        ),
        second=Fail(413),
    ),
    same("length as the finish", "15", Answer(finish="length"),
         Pair(Expect(finish="length"), Expect(finish="length"))),
    same("a good answer", "-", (), unseen()),
)  # fmt: skip

ALONE_500 = Expect((Tried("a", "unavailable"),), UPSTREAM_ERROR, a="hard")
NOT_AGAIN = Told(429, "upstream_rate_limited", ("rate_limit_error", "rate_limit_error"), False)
ALONE_429 = Expect((Tried("a", "throttled"),), NOT_AGAIN.after(6, 7), a="cool")

NO_BUDGET = (
    same("no retry budget: 500", "39", Fail(500), Pair(ALONE_500, ALONE_500), retries=False),
    same(
        "no retry budget: 429 is not to be repeated either",
        "39",
        Fail(429, {"retry-after": "7"}),
        Pair(ALONE_429, ALONE_429),
        times=HURRIED,
        retries=False,
    ),
    same(
        "no retry budget: a larger window costs none",
        "39",
        Fail(413),
        fails("context_length", TOO_LONG, "nothing", "neutral"),
        retries=False,
    ),
)

PROVIDERS_SAY = (*THROTTLING, *STATUSES, *IN_A_200, *JUDGEMENTS, *NO_BUDGET)
