"""The audit of the demo finds what is wrong, each kind of wrong by its own check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pointsman.demo.books import Booked, Check, Tried, audit, why_of
from pointsman.demo.burst import BUDGET, Account, Burst, audit_burst, burst_line
from pointsman.demo.client import Answered
from pointsman.demo.prompts import FAKE_KEY, LOCAL_ONLY, Prompt
from pointsman.domain.usage import Price, Rates, Usage
from pointsman.testing.journal import JournalEntry

PRICE = Price(Rates.of(1_000_000_000, 2_000_000_000), version="test")


def answered(number: int, prompt: Prompt, fault: str = "") -> Answered:
    return Answered(
        number=number,
        prompt=prompt,
        request_id=f"req_{number}",
        status=200,
        deployment="simulated",
        attempts=1,
        seconds=0.1,
        first_s=None,
        text="fine",
        fault=fault,
    )


def booked(number: int, *tried: Tried, avoided: tuple[str, ...] = ()) -> Booked:
    return Booked(
        request_id=f"req_{number}",
        asked_for="auto",
        route="auto",
        model="m",
        tier=tried[-1].tier,
        status=200,
        seconds=0.1,
        input=10,
        output=5,
        cost_nano=sum(each.cost_nano for each in tried),
        baseline_nano=100_000,
        tried=tried,
        why="",
        avoided=avoided,
    )


def journalled(number: int, body: bytes = b'{"messages": []}') -> JournalEntry:
    return JournalEntry(
        number=number,
        attempt_id="",
        request_id="",
        arrived_at=0.0,
        dialect="openai",
        operation="chat",
        path="/v1/chat/completions",
        model="m",
        stream=False,
        connection=1,
        headers={},
        body_bytes=len(body),
        seal="",
        billed=Usage(10, 5),
        body=body,
    )


OK = Tried("simulated", "workhorse", "ok", 10, 5, 20_000)
FAILED = Tried("other", "frontier", "overloaded", 0, 0, 0)
AT_HOME = Tried("local", "local", "ok", 10, 5, 0)


class Books:
    """Books that agree; a test spoils one of them."""

    def __init__(self) -> None:
        self.answers = [
            answered(1, Prompt("support", "Hi")),
            answered(2, Prompt("support", "Hi")),
            answered(3, Prompt("secret", FAKE_KEY, only=LOCAL_ONLY)),
        ]
        self.ledger = [
            booked(1, OK, avoided=("other",)),
            booked(2, FAILED, OK),
            booked(3, AT_HOME),
        ]
        self.journals = {"simulated": [journalled(1), journalled(2)]}

    def broken(self) -> list[str]:
        return [check.claim for check in self.checks() if not check.holds]

    def checks(self) -> list[Check]:
        prices = {"simulated": PRICE}
        return audit(self.answers, self.ledger, self.journals, prices, FAKE_KEY)


def test_books_that_agree_pass() -> None:
    assert Books().broken() == []


def test_a_broken_answer_is_found() -> None:
    books = Books()
    books.answers[0] = answered(1, Prompt("support", "Hi"), fault="an empty answer")
    assert books.broken() == ["every request was answered properly"]


@pytest.mark.parametrize("spoil", ["lost", "twice"])
def test_a_missing_or_doubled_entry_is_found(spoil: str) -> None:
    books = Books()
    if spoil == "lost":
        books.answers.append(answered(4, Prompt("support", "Hi")))
    else:
        books.ledger.append(books.ledger[-1])
    assert books.broken() == ["one ledger entry a request"]


def test_a_cost_that_is_not_the_sum_is_found() -> None:
    books = Books()
    books.ledger[2] = replace(books.ledger[2], cost_nano=1)
    assert books.broken() == ["a request's cost is the sum of its attempts"]


def test_an_attempt_the_provider_billed_otherwise_is_found() -> None:
    books = Books()
    books.journals["simulated"].append(journalled(3))
    assert books.broken() == ["ledger and journal of simulated agree"]


def test_a_secret_in_a_providers_journal_is_found() -> None:
    books = Books()
    books.journals["simulated"][0] = journalled(1, FAKE_KEY.encode())
    assert books.broken() == ["secrets and personal data stayed on this machine"]


def test_a_secret_that_was_tried_elsewhere_is_found() -> None:
    books = Books()
    books.ledger[2] = booked(3, replace(FAILED, tier="workhorse"), AT_HOME)
    assert books.broken() == ["secrets and personal data stayed on this machine"]


def test_journals_without_bodies_prove_nothing() -> None:
    books = Books()
    books.journals["simulated"][0] = journalled(1, b"")
    assert books.broken() == ["secrets and personal data stayed on this machine"]


def test_no_fallback_and_no_open_breaker_are_found() -> None:
    books = Books()
    books.ledger[0] = booked(1, OK)
    books.ledger[1] = booked(2, OK)
    assert books.broken() == ["failed attempts fell back", "the breaker took the failing track out"]


def decision(**changes: Any) -> dict[str, Any]:
    candidates = [{"deployment": "a", "score": 0.9}, {"deployment": "b", "score": 0.4}]
    base = {"route": "auto", "strategy": "tiers", "rule": "", "rejected": []}
    return {**base, "candidates": candidates, **changes}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "tiers: best of 2"),
        ({"route": "direct"}, "asked for by name"),
        ({"rule": "small talk"}, "rule 'small talk'"),
        (
            {"candidates": [{"deployment": "b", "score": 0.4}, {"deployment": "a", "score": 0.9}]},
            "a is coming back, gets a share",
        ),
        (
            {"rejected": [{"deployment": "p/c", "filter": "capable", "reason": "lacks a (b)"}]},
            "c: lacks a",
        ),
        (
            {"rejected": [{"deployment": "p/c", "filter": "healthy", "reason": "its breaker …"}]},
            "c: breaker open",
        ),
        (
            {
                "rule": "r",
                "rejected": [
                    {"deployment": "c", "filter": "sensitive", "reason": "only local"},
                    {"deployment": "d", "filter": "sensitive", "reason": "only local"},
                    {"deployment": "e", "filter": "rule", "reason": "rule r keeps it"},
                ],
            },
            "only local; rule 'r'",
        ),
    ],
)
def test_a_decision_is_told_in_a_few_words(changes: dict[str, Any], words: str) -> None:
    assert why_of(decision(**changes)) == words


SPENT = 2 * PRICE.cost(Usage(10, 5))


def burst_checks(**spoilt: Any) -> list[str]:
    """What does not hold of a burst of three, of which one was refused."""
    prompt = Prompt("burst", "Hi")
    answers = [
        replace(answered(at, prompt), status=status) for at, status in enumerate((200, 200, 402))
    ]
    found: dict[str, Any] = {
        "burst": Burst(answers, [journalled(1), journalled(2)]),
        "account": Account(SPENT, 0),
        "ledger": [booked(1, OK), booked(2, OK), replace(booked(3, OK), cost_nano=0, tried=())],
        "price": PRICE,
    }
    return [check.claim for check in audit_burst(**{**found, **spoilt}) if not check.holds]


def test_a_burst_that_a_budget_held_under_passes() -> None:
    assert burst_checks() == []
    line = burst_line(Burst([], []), Account(SPENT, 0))
    assert line.endswith("$0.00004 spent, $0.00996 left")


@pytest.mark.parametrize(
    ("spoilt", "claims"),
    [
        ({"account": Account(BUDGET.limit + 1, 0)}, ("held under", "agree")),
        ({"account": Account(SPENT, 1)}, ("held under",)),
        ({"account": Account(SPENT - 1, 0)}, ("agree",)),
        ({"burst": Burst([answered(1, Prompt("burst", "Hi"))] * 3, [])}, ("held", "told", "agree")),
        ({"ledger": [booked(1, OK)]}, ("told", "agree")),
    ],
    ids=["overspent", "still held", "uncounted", "nobody refused", "not booked"],
)
def test_what_is_wrong_with_a_burst_is_found(
    spoilt: dict[str, Any], claims: tuple[str, ...]
) -> None:
    found = burst_checks(**spoilt)
    assert len(found) == len(claims)
    assert all(word in claim for word, claim in zip(claims, found, strict=True))
