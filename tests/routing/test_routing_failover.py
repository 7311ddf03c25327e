"""Failover as playbooks: who is tried, how it ends, what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from pointsman.domain.deployment import Deployment, Limits
from pointsman.domain.request import RouteOptions
from pointsman.domain.usage import FREE
from pointsman.errors import (
    AllFailed,
    ContextTooLong,
    FailureKind,
    Overloaded,
    PointsmanError,
    ProviderFailure,
    Rejected,
)
from pointsman.routing.decision import Candidate, Decision, Rejection
from pointsman.routing.failover import (
    Failed,
    GiveUp,
    Means,
    Plan,
    Step,
    Try,
    Wait,
    next_step,
    plan_of,
    retry_cost,
)
from pointsman.routing.spec import FallbackSpec
from pointsman.routing.verdict import verdict


def deployment(name: str, window: int | None = 8_000, provider: str = "acme") -> Deployment:
    return Deployment(
        name, provider, name, "workhorse", "openai", FREE, Limits(context_tokens=window)
    )


A, B, C = deployment("a"), deployment("b"), deployment("c")
WIDE, OPEN = deployment("wide", 100_000), deployment("open", None)


def decision(*deployments: Deployment, rejected: Sequence[Rejection] = ()) -> Decision:
    candidates = tuple(Candidate(each, 1.0) for each in deployments)
    return Decision("auto", "tiers", candidates, tuple(rejected), 1.0, "best")


def plan(*deployments: Deployment, options: RouteOptions = RouteOptions(), **spec: object) -> Plan:  # noqa: B008
    return plan_of(decision(*deployments), FallbackSpec(**spec), options)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Then:
    """The attempt under way fails after `after` seconds; `steps` follow."""

    kind: FailureKind | Rejected
    expect: str
    after: float = 0.1
    hint: float | None = None
    allowed: bool = True


@dataclass(frozen=True)
class Play:
    """`first` is what the first step says; each line tells a failure and what follows it.

    Steps are written `try b`, `try b cost 1`, `try a backoff 0.1 cost 1`, `wait 2.0 for a`,
    `give up 429 upstream_rate_limited`.
    """

    plan: Plan
    lines: Sequence[Then]
    deadline: float = 60.0
    first: str = "try a"


def written(step: Step) -> str:
    match step:
        case Try(deployment=each, backoff_s=backoff, cost=cost):
            pause = f" backoff {backoff:.2g}" if backoff else ""
            return f"try {each.name}{pause}{f' cost {cost:g}' if cost else ''}"
        case Wait(seconds=seconds, deployment=each):
            return f"wait {seconds:.1f} for {each.name}"
        case GiveUp(error=error):
            return f"give up {error.status} {error.code}"


def run(play: Play) -> Step:
    """Play it with a clock that starts at 0, and return the last step."""
    now = 0.0
    failures: list[Failed] = []
    step = next_step(play.plan, failures, now=now, deadline=play.deadline, retry_allowed=True)
    assert written(step) == play.first
    for line in play.lines:
        if isinstance(step, Wait):
            now += step.seconds
            step = next_step(
                play.plan, failures, now=now, deadline=play.deadline, retry_allowed=True
            )
        assert isinstance(step, Try)
        now += line.after
        error = (
            line.kind
            if isinstance(line.kind, Rejected)
            else ProviderFailure(line.kind, "it failed", retry_after_s=line.hint)
        )
        failures.append(Failed(step.deployment.name, error, now))
        step = next_step(
            play.plan, failures, now=now, deadline=play.deadline, retry_allowed=line.allowed
        )
        assert written(step) == line.expect, failures
    return step


BUSY = Overloaded("no slot is free")
COLD_TRACK = Rejected("breaker open", code="breaker_open", retry_after_s=7.0)

PLAYBOOKS: Mapping[str, Play] = {
    "a throttled deployment is followed by the next at once": Play(
        plan(A, B), [Then("throttled", "try b cost 1", hint=30.0)]
    ),
    "every failure of a provider is followed by the next": Play(
        plan(A, B, C, max_attempts=9),
        [Then("overloaded", "try b cost 1"), Then("malformed", "try c cost 1")],
    ),
    "a refused credential is followed by the next": Play(
        plan(A, B), [Then("refused", "try b cost 1")]
    ),
    "a retry after a timeout costs two": Play(plan(A, B), [Then("timeout", "try b cost 2")]),
    "three attempts are all there are": Play(
        plan(A, B, C, WIDE),
        [
            Then("unavailable", "try b cost 1"),
            Then("unavailable", "try c cost 1"),
            Then("unavailable", "give up 502 upstream_error"),
        ],
    ),
    "one attempt turns falling back off": Play(
        plan(A, B, options=RouteOptions(max_attempts=1)),
        [Then("overloaded", "give up 502 upstream_error")],
    ),
    "a caller cannot have more attempts than the route": Play(
        plan(A, B, C, max_attempts=2, options=RouteOptions(max_attempts=50)),
        [Then("overloaded", "try b cost 1"), Then("overloaded", "give up 502 upstream_error")],
    ),
    "a route without fallback tries once": Play(
        plan(A, B, enabled=False), [Then("unavailable", "give up 502 upstream_error")]
    ),
    "without budget there is no retry": Play(
        plan(A, B), [Then("unavailable", "give up 502 upstream_error", allowed=False)]
    ),
    "the same one is tried again with backoff when nobody else is left": Play(
        plan(A),
        [
            Then("unavailable", "try a backoff 0.1 cost 1"),
            Then("unavailable", "give up 502 upstream_error"),
        ],
    ),
    "backoff doubles": Play(
        plan(A, max_attempts=4, retry_same=3),
        [
            Then("overloaded", "try a backoff 0.1 cost 1"),
            Then("overloaded", "try a backoff 0.2 cost 1"),
            Then("overloaded", "try a backoff 0.4 cost 1"),
            Then("overloaded", "give up 502 upstream_error"),
        ],
    ),
    "the same one is not tried again after what will not change": Play(
        plan(A), [Then("refused", "give up 502 upstream_error")]
    ),
    "nor after a timeout": Play(plan(A), [Then("timeout", "give up 504 upstream_timeout")]),
    "nor where the operator does not want it": Play(
        plan(A, retry_same=0), [Then("unavailable", "give up 502 upstream_error")]
    ),
    "a throttled one is waited for as long as it asked": Play(
        plan(A),
        [
            Then("throttled", "wait 2.0 for a", hint=2.0),
            Then("throttled", "give up 429 upstream_rate_limited", hint=2.0),
        ],
    ),
    "a very short wait is still a second": Play(
        plan(A), [Then("throttled", "wait 1.0 for a", hint=0.05)]
    ),
    "a throttled one that names no time is not tried again": Play(
        plan(A), [Then("throttled", "give up 429 upstream_rate_limited")]
    ),
    "a wait beyond the deadline is not begun": Play(
        plan(A), [Then("throttled", "give up 429 upstream_rate_limited", hint=50.0)], deadline=30.0
    ),
    "a wait beyond two seconds is not begun": Play(
        plan(A), [Then("throttled", "give up 429 upstream_rate_limited", hint=2.1)], deadline=600.0
    ),
    "nor one beyond half of the time that is left": Play(
        plan(A), [Then("throttled", "give up 429 upstream_rate_limited", hint=1.5)], deadline=3.0
    ),
    "the soonest of two waits is taken": Play(
        plan(A, B),
        [
            Then("throttled", "try b cost 1", hint=2.0),
            Then("throttled", "wait 1.5 for b", hint=1.5),
        ],
    ),
    "one that may be tried now goes before one that asked to wait": Play(
        plan(A, B),
        [
            Then("unavailable", "try b cost 1"),
            Then("throttled", "try a backoff 0.1 cost 1", hint=9.0),
        ],
    ),
    "an overloaded one that asked for time gets it": Play(
        plan(A), [Then("overloaded", "wait 1.8 for a", hint=1.8)]
    ),
    "a full context goes to a larger window and costs no retry": Play(
        plan(A, B, WIDE), [Then("context_length", "try wide")]
    ),
    "a full context may go to an unstated window": Play(
        plan(A, OPEN), [Then("context_length", "try open")]
    ),
    "an unstated window that was full is followed by a stated one": Play(
        plan(OPEN, A), [Then("context_length", "try a")], first="try open"
    ),
    "with no larger window left the caller has to shorten": Play(
        plan(A, B), [Then("context_length", "give up 400 context_length_exceeded")]
    ),
    "the largest of several full windows counts": Play(
        plan(A, WIDE, B, max_attempts=9),
        [
            Then("context_length", "try wide"),
            Then("context_length", "give up 400 context_length_exceeded"),
        ],
    ),
    "a full context after a throttled giant is not the caller's fault": Play(
        plan(WIDE, A),
        [
            Then("throttled", "try a cost 1"),
            Then("context_length", "give up 429 upstream_rate_limited"),
        ],
        first="try wide",
    ),
    "a content filter's verdict stands": Play(
        plan(A, B), [Then("content_filter", "give up 400 content_filter")]
    ),
    "unless the route says otherwise": Play(
        plan(A, B, on_content_filter=True),
        [
            Then("content_filter", "try b"),
            Then("content_filter", "give up 400 content_filter"),
        ],
    ),
    "a chain for one kind replaces the rest for that kind": Play(
        plan(A, B, C, by_kind={"throttled": ("c",)}),
        [Then("throttled", "try c cost 1"), Then("unavailable", "try b cost 1")],
    ),
    "a chain for the content filter is a policy": Play(
        plan(A, B, C, by_kind={"content_filter": ("c",)}), [Then("content_filter", "try c")]
    ),
    "an empty chain means that this kind does not fall back": Play(
        plan(A, B, by_kind={"timeout": ()}), [Then("timeout", "give up 504 upstream_timeout")]
    ),
    "an own chain keeps its order": Play(
        plan(A, B, C, chain=("c", "b")),
        [Then("overloaded", "try c cost 1"), Then("overloaded", "try b cost 1")],
    ),
    "the caller's list replaces the route's": Play(
        plan(A, B, C, chain=("b",), retry_same=0, options=RouteOptions(fallbacks=("c",))),
        [Then("overloaded", "try c cost 1"), Then("malformed", "give up 502 upstream_error")],
    ),
    "the caller's list also replaces chains by kind": Play(
        plan(A, B, C, by_kind={"timeout": ("b",)}, options=RouteOptions(fallbacks=("c",))),
        [Then("timeout", "try c cost 2")],
    ),
    "but not an operator's no": Play(
        plan(A, B, by_kind={"timeout": ()}, options=RouteOptions(fallbacks=("b",))),
        [Then("timeout", "give up 504 upstream_timeout")],
    ),
    "our own refusal is no attempt and costs nothing": Play(
        plan(A, B, C, max_attempts=1),
        [
            Then(BUSY, "try b"),
            Then(BUSY, "try c"),
            Then("overloaded", "give up 502 upstream_error"),
        ],
    ),
    "all tracks closed is ours to say": Play(
        plan(A, B),
        [Then(COLD_TRACK, "try b"), Then(COLD_TRACK, "give up 503 upstream_unavailable")],
    ),
    "a refusal of ours does not blur what the providers said": Play(
        plan(A, B),
        [
            Then(COLD_TRACK, "try b"),
            Then("throttled", "give up 429 upstream_rate_limited"),
        ],
    ),
    "mixed failures are the upstream's": Play(
        plan(A, B),
        [Then("timeout", "try b cost 2"), Then("throttled", "give up 502 upstream_error")],
    ),
    "garbage from all is a protocol error": Play(
        plan(A, B),
        [Then("malformed", "try b cost 1"), Then("malformed", "give up 502 upstream_protocol")],
    ),
    "nothing is begun after the deadline": Play(
        plan(A, B), [Then("timeout", "give up 504 deadline_exceeded", after=30.0)], deadline=30.0
    ),
    "nor just before it": Play(
        plan(A, B), [Then("timeout", "give up 504 deadline_exceeded", after=29.96)], deadline=30.0
    ),
    "a deadline that has passed already starts nothing": Play(
        plan(A), [], deadline=0.0, first="give up 504 deadline_exceeded"
    ),
    "nobody to ask": Play(plan(), [], first="give up 503 upstream_unavailable"),
}


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_playbook(name: str) -> None:
    run(PLAYBOOKS[name])


def outcome_of(play: Play) -> PointsmanError:
    step = run(play)
    assert isinstance(step, GiveUp)
    return step.error


def test_the_client_is_told_the_smallest_wait_that_is_left() -> None:
    error = outcome_of(
        Play(
            plan(A, B, retry_same=0),
            [
                Then("throttled", "try b cost 1", hint=8.0, after=1.0),
                Then("throttled", "give up 429 upstream_rate_limited", hint=20.0, after=3.0),
            ],
        )
    )
    assert error.retry_after_s == pytest.approx(5.0)
    assert error.should_retry


def test_a_client_is_not_told_to_retry_what_we_have_retried() -> None:
    play = PLAYBOOKS["three attempts are all there are"]
    assert not outcome_of(play).should_retry
    spent = Play(
        plan(A, retry_same=0),
        [Then("throttled", "give up 429 upstream_rate_limited", allowed=False, hint=5.0)],
    )
    assert not outcome_of(spent).should_retry


def test_the_last_error_carries_all_failures_and_names_no_words_of_providers() -> None:
    error = outcome_of(PLAYBOOKS["three attempts are all there are"])
    assert isinstance(error, AllFailed)
    assert [failure.kind for failure in error.failures] == ["unavailable"] * 3
    assert error.message == (
        "route auto: 3 tried: a (unavailable), b (unavailable), c (unavailable); "
        "3 attempts are all it may have"
    )
    assert "it failed" not in error.message


def test_a_context_too_long_says_what_to_do() -> None:
    error = outcome_of(PLAYBOOKS["with no larger window left the caller has to shorten"])
    assert isinstance(error, ContextTooLong)
    assert "Shorten the conversation" in error.message


def test_names_that_did_not_pass_the_filters_are_skipped_with_their_reason() -> None:
    """The trap of a known router: a chain led to a disabled model at fifty times the price."""
    made = plan_of(
        decision(A, B, rejected=[Rejection(C, "max_cost", "may cost $9.00")]),
        FallbackSpec(chain=("c", "gone", "b")),
        RouteOptions(),
    )
    assert [each.name for each in made.chain] == ["a", "b"]
    assert made.skipped == (("c", "may cost $9.00"), ("gone", "not a deployment of this route"))


def test_targets_from_outside_the_route_are_used_where_they_passed() -> None:
    refused = Rejection(deployment("far", provider="moon"), "residency", "data must stay in eu")
    made = plan_of(
        decision(A),
        FallbackSpec(chain=("other/*", "moon/far")),
        RouteOptions(),
        [deployment("x", provider="other")],
        [refused],
    )
    assert [each.name for each in made.chain] == ["a", "x"]
    assert made.skipped == (("moon/far", "data must stay in eu"),)


def test_a_caller_may_ask_for_fallback_where_the_route_has_none() -> None:
    made = plan(A, B, enabled=False, options=RouteOptions(fallbacks=("b",)))
    assert [each.name for each in made.chain] == ["a", "b"]


def test_the_cost_of_a_retry_is_that_of_the_last_failure() -> None:
    late = Failed("a", ProviderFailure("timeout", ""), 0.0)
    full = Failed("b", ProviderFailure("context_length", ""), 0.0)
    ours = Failed("c", BUSY, 0.0)
    assert [
        retry_cost(each) for each in ([], [late], [late, full], [full, late], [late, ours])
    ] == [
        0.0,
        2.0,
        0.0,
        2.0,
        0.0,
    ]


def test_backoff_never_reaches_past_the_deadline() -> None:
    step = next_step(
        plan(A),
        [Failed("a", ProviderFailure("unavailable", ""), 9.9)],
        now=9.9,
        deadline=10.0,
        retry_allowed=True,
    )
    assert isinstance(step, Try)
    assert step.backoff_s == pytest.approx(0.05)


def test_waiting_ends_when_the_time_has_come() -> None:
    throttled = Failed("a", ProviderFailure("throttled", "", retry_after_s=2.0), 10.0)
    asked = {
        now: written(next_step(plan(A), [throttled], now=now, deadline=60.0, retry_allowed=True))
        for now in (10.0, 11.5, 12.0)
    }
    assert asked == {10.0: "wait 2.0 for a", 11.5: "wait 0.5 for a", 12.0: "try a cost 1"}


def test_a_client_is_told_of_no_longer_wait_than_we_believe() -> None:
    error = verdict(
        "r",
        [Failed("a", ProviderFailure("throttled", "", retry_after_s=999_999.0), 10.0)],
        now=11.0,
        why="",
        retry_allowed=True,
    )
    assert error.retry_after_s == 299.0


SLOW_B = Means(first_content_s={"b": 9.0})


def after_a(
    means: Means, *, deadline: float = 60.0, chain: Sequence[Deployment] = (A, B, C)
) -> Step:
    failed = Failed("a", ProviderFailure("malformed", ""), 55.0)
    return next_step(
        plan(*chain), [failed], now=55.0, deadline=deadline, retry_allowed=True, means=means
    )


def test_who_begins_after_the_deadline_is_passed_over() -> None:
    assert written(after_a(SLOW_B)) == "try c cost 1"
    assert written(after_a(SLOW_B, deadline=70.0)) == "try b cost 1"


def test_where_nobody_begins_in_time_that_is_said() -> None:
    step = after_a(SLOW_B, chain=(A, B))
    assert written(step) == "give up 504 deadline_exceeded"
    assert isinstance(step, GiveUp)
    assert "b begins after 9.0 s, 5.0 s are left" in step.error.message


def test_who_may_cost_more_than_is_left_is_passed_over() -> None:
    worst: dict[str, int | None] = {"b": 101, "c": 100}
    assert written(after_a(Means(worst_nano=worst, left_nano=100))) == "try c cost 1"
    step = after_a(Means(worst_nano=worst, left_nano=99))
    assert written(step) == "give up 502 upstream_protocol", "what failed is what is told"
    assert isinstance(step, GiveUp) and "may cost" in step.why
    unknown = Means(worst_nano={"b": None, "c": 1}, left_nano=10)
    assert written(after_a(unknown)) == "try c cost 1"


@pytest.mark.parametrize(
    ("means", "expect"),
    [
        (Means(first_content_s={"a": 99.0}), "give up 504 deadline_exceeded"),
        (Means(worst_nano={"a": 9}, left_nano=8), "give up 400 no_candidate"),
        (Means(first_content_s={"a": 99.0}, worst_nano={"a": 9}, left_nano=9), "give up 504"),
    ],
)
def test_a_first_attempt_has_to_fit_as_well(means: Means, expect: str) -> None:
    step = next_step(plan(A), [], now=0.0, deadline=60.0, retry_allowed=True, means=means)
    assert written(step).startswith(expect)


def test_the_same_one_is_not_repeated_where_it_does_not_fit() -> None:
    failed = Failed("a", ProviderFailure("unavailable", ""), 55.0)
    for means in (Means(first_content_s={"a": 9.0}), Means(worst_nano={"a": 9}, left_nano=8)):
        step = next_step(
            plan(A), [failed], now=55.0, deadline=60.0, retry_allowed=True, means=means
        )
        assert isinstance(step, GiveUp)


def test_a_used_up_limit_is_waited_for_once_and_then_told_as_429() -> None:
    busy = Rejected("no requests left", code="deployment_busy", retry_after_s=0.4)

    def step(*at: float, now: float, may_wait: bool = True) -> str:
        return written(
            next_step(
                plan(A, retry_same=0),
                [Failed("a", busy, each) for each in at],
                now=now,
                deadline=60.0,
                retry_allowed=True,
                may_wait=may_wait,
            )
        )

    assert step(1.0, now=1.0) == "wait 0.4 for a"
    assert step(1.0, now=1.4) == "try a"
    assert step(1.0, 1.4, now=1.4) == "give up 429 upstream_rate_limited"
    assert step(1.0, now=1.0, may_wait=False) == "give up 429 upstream_rate_limited"
