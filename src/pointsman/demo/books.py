"""Three sets of books on the same requests: what the client saw, what the ledger says, what the
providers' own journals say. `audit` holds them against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointsman.clock import SystemClock
from pointsman.demo.client import Answered
from pointsman.domain.deployment import Tier
from pointsman.domain.money import format_usd
from pointsman.domain.usage import Price
from pointsman.ledger.lookup import every_entry
from pointsman.ledger.reading import reading
from pointsman.ledger.rows import Recorded
from pointsman.testing.journal import JournalEntry


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt, as the ledger has it."""

    deployment: str
    tier: Tier
    outcome: str
    input: int
    output: int
    cost_nano: int


@dataclass(frozen=True, slots=True)
class Booked:
    """One request, as the ledger has it. `avoided` are deployments whose breaker was open."""

    request_id: str
    asked_for: str
    route: str
    model: str
    tier: str
    status: int
    seconds: float
    input: int
    output: int
    cost_nano: int
    baseline_nano: int
    tried: tuple[Tried, ...]
    why: str
    avoided: tuple[str, ...]

    @property
    def fell_back(self) -> bool:
        return len({attempt.deployment for attempt in self.tried}) > 1


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be true of the demo, and what was found."""

    claim: str
    holds: bool
    found: str


def read_ledger(path: Path, key: str = "demo") -> list[Booked]:
    """Read a key's entries of the ledger's file, oldest first."""
    with reading(path, SystemClock()) as ledger:
        found = every_entry(ledger.database)
        return [_booked(each) for each in found if each.entry.caller.key == key]


def _booked(recorded: Recorded) -> Booked:
    entry = recorded.entry
    decision: Mapping[str, Any] = recorded.decision or {}
    final = entry.attempts[-1] if entry.attempts else None
    return Booked(
        request_id=entry.request_id,
        asked_for=entry.requested_model,
        route=entry.route,
        model=final.model if final else "",
        tier=final.tier if final else "",
        status=entry.status,
        seconds=entry.seconds,
        input=entry.usage.input,
        output=entry.usage.output,
        cost_nano=entry.cost_nano or 0,
        baseline_nano=entry.baseline_nano or 0,
        tried=tuple(
            Tried(
                each.deployment,
                each.tier,
                each.outcome,
                each.usage.input,
                each.usage.output,
                each.cost_nano or 0,
            )
            for each in entry.attempts
        ),
        why=why_of(decision),
        avoided=tuple(
            each["deployment"]
            for each in decision.get("rejected", [])
            if each["filter"] == "healthy"
        ),
    )


def short(deployment: str) -> str:
    """The model's part of a deployment's name."""
    return deployment.rpartition("/")[2]


def why_of(decision: Mapping[str, Any]) -> str:
    """Say in a few words what decided: who was kept out and by what, the rule, the strategy."""
    said: dict[str, None] = {}  # In order, once each.
    for each in decision.get("rejected", []):
        name, reason = short(each["deployment"]), str(each["reason"]).partition(" (")[0]
        match each["filter"]:
            case "rule":
                continue  # The rule itself is told below.
            case "sensitive":
                said[reason] = None
            case "healthy":
                said[f"{name}: breaker open"] = None
            case _:
                said[f"{name}: {reason}"] = None
    if rule := decision.get("rule"):
        said[f"rule '{rule}'"] = None
    if said or not decision:
        return "; ".join(said)
    # Nobody was kept out. 1. asked for by name; 2. the best is coming back from an outage and
    # gets a share only; 3. the strategy's choice.
    candidates = decision["candidates"]
    best = max(candidates, key=lambda each: each["score"], default=None)
    if decision["route"] == "direct":
        return "asked for by name"
    if best is not None and best["score"] > candidates[0]["score"]:
        return f"{short(best['deployment'])} is coming back, gets a share"
    return f"{decision['strategy']}: best of {len(candidates)}"


def audit(
    answers: Sequence[Answered],
    ledger: Sequence[Booked],
    journals: Mapping[str, Sequence[JournalEntry]],
    prices: Mapping[str, Price],
    secret: str,
) -> list[Check]:
    """Hold the books against each other. `journals` and `prices` are by deployment; `secret` must
    be in no journal."""
    by_id = {booked.request_id: booked for booked in ledger}
    broken = [f"#{each.number} {each.fault}" for each in answers if each.fault]
    strayed = [
        f"#{each.number} {each.prompt.kind}"
        for each in answers
        if (booked := by_id.get(each.request_id)) is not None
        and any(tried.tier not in each.prompt.only for tried in booked.tried)
    ]
    guarded = [each for each in answers if each.prompt.only == {"local"}]
    leaks = [
        f"{name} request {entry.number}"
        for name, entries in journals.items()
        for entry in entries
        if secret.encode() in entry.body
    ]
    unread = sum(not entry.body for entries in journals.values() for entry in entries)
    fallbacks = sum(booked.fell_back for booked in ledger)
    avoided = sum(bool(booked.avoided) for booked in ledger)
    total = sum(booked.cost_nano for booked in ledger)
    parts = sum(tried.cost_nano for booked in ledger for tried in booked.tried)
    return [
        Check("every request was answered properly", not broken, "; ".join(broken)),
        Check(
            "one ledger entry a request",
            Counter(each.request_id for each in ledger)
            == Counter(each.request_id for each in answers),
            f"{len(ledger)} entries, {len(answers)} requests",
        ),
        Check("a request's cost is the sum of its attempts", total == parts, format_usd(total)),
        *(_same_bill(name, entries, prices[name], ledger) for name, entries in journals.items()),
        Check(
            "secrets and personal data stayed on this machine",
            not leaks and not strayed and not unread and bool(guarded),
            "; ".join(leaks + strayed) or f"{len(guarded)} such requests",
        ),
        Check("failed attempts fell back", fallbacks > 0, f"{fallbacks} requests"),
        Check("the breaker took the failing track out", avoided > 0, f"{avoided} decisions"),
    ]


def _same_bill(
    name: str, entries: Sequence[JournalEntry], price: Price, ledger: Sequence[Booked]
) -> Check:
    """What the provider says it billed, at its list price, is what the ledger has for it."""
    tried = [each for booked in ledger for each in booked.tried if each.deployment == name]
    billed = (
        sum(entry.billed.input for entry in entries),
        sum(entry.billed.output for entry in entries),
        sum(price.cost(entry.billed) for entry in entries),
    )
    booked = (
        sum(each.input for each in tried),
        sum(each.output for each in tried),
        sum(each.cost_nano for each in tried),
    )
    return Check(
        f"ledger and journal of {name} agree",
        billed == booked,
        _bill(*billed) if billed == booked else f"{_bill(*billed)} billed, {_bill(*booked)} booked",
    )


def _bill(input: int, output: int, cost_nano: int) -> str:
    return f"{input} + {output} tokens, {format_usd(cost_nano)}"
