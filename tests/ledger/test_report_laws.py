"""Laws of reports, against the plainest possible reading of the same entries."""

from __future__ import annotations

import itertools
import tempfile
from collections import defaultdict
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.clock import SystemClock
from pointsman.domain.call import Caller
from pointsman.domain.usage import Usage
from pointsman.ledger.entries import Attempt, LedgerEntry
from pointsman.ledger.reports import UsageRow, usage_report
from pointsman.ledger.sqlite import SqliteLedger

pytestmark = pytest.mark.slow

MODELS = ("small", "large", "local")
ADDITIVE = tuple(
    field.name for field in fields(UsageRow) if field.type == "int" and field.name != "group"
)

usages = st.builds(
    lambda plain, cached, output, reasoning: Usage(
        input=plain + cached, output=output + reasoning, cached=cached, reasoning=reasoning
    ),
    *(st.integers(0, 10_000) for _ in range(4)),
)
attempts = st.builds(
    lambda model, outcome, usage, cost: Attempt(
        f"p/{model}", "p", model, "workhorse", outcome, usage, cost
    ),
    st.sampled_from(MODELS),
    st.sampled_from(["ok", "timeout", "throttled"]),
    usages,
    st.none() | st.integers(0, 10**12),
)


@st.composite
def ledgers(draw: st.DrawFn) -> list[LedgerEntry]:
    made = []
    for number in range(draw(st.integers(0, 12))):
        tried = tuple(draw(st.lists(attempts, max_size=3)))
        costs = [each.cost_nano for each in tried]
        known = {"feature": st.sampled_from("ab"), "env": st.sampled_from("xy")}
        tags = draw(st.fixed_dictionaries({}, optional=known))
        made.append(
            LedgerEntry(
                request_id=f"r{number}",
                decision_id="d",
                at=draw(st.floats(1.69e9, 1.71e9)),
                operation="chat",
                route=draw(st.sampled_from(["auto", "cheap"])),
                requested_model="auto",
                caller=Caller("k", app=draw(st.sampled_from([None, "web", "bot"]))),
                stream=draw(st.booleans()),
                status=200,
                outcome=tried[-1].outcome if tried else "rejected",
                attempts=tried,
                usage=tried[-1].usage if tried else Usage(),
                cost_nano=None if None in costs else sum(cost or 0 for cost in costs),
                baseline_nano=draw(st.none() | st.integers(0, 10**12)),
                seconds=1.0,
                tags=tuple(tags.items()),
            )
        )
    return made


def report(entries: list[LedgerEntry], *asked: object, **more: object) -> list[UsageRow]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        ledger = SqliteLedger(path, SystemClock(), flush_s=0.0)
        for entry in entries:
            ledger.append(entry)
        ledger.close()
        assert ledger.lost == 0
        return usage_report(path, *asked, **more)  # type: ignore[arg-type]


def label(entry: LedgerEntry, attempt: Attempt | None, name: str) -> str | None:
    if name == "model":
        return attempt.model if attempt else None
    if name.startswith("tag:"):
        return dict(entry.tags).get(name[4:])
    return entry.caller.app if name == "app" else entry.route


def plainly(
    entries: list[LedgerEntry], names: list[str], filters: list[tuple[str, str]]
) -> dict[tuple[str | None, ...], dict[str, int]]:
    """Count each request in its last attempt's group and each attempt in its own."""
    groups: dict[tuple[str | None, ...], dict[str, int]] = defaultdict(
        lambda: dict.fromkeys(ADDITIVE, 0)
    )

    def group(entry: LedgerEntry, attempt: Attempt | None) -> dict[str, int] | None:
        for name in {name for name, _ in filters}:
            wanted = [value for other, value in filters if other == name]
            if (label(entry, attempt, name) or "") not in wanted:
                return None
        return groups[tuple(label(entry, attempt, name) for name in names)]

    for entry in entries:
        tried = entry.attempts
        if (sums := group(entry, tried[-1] if tried else None)) is not None:
            sums["requests"] += 1
            sums["errors"] += entry.outcome not in ("ok", "abandoned")
            sums["fallbacks"] += sum(
                a.deployment != b.deployment for a, b in itertools.pairwise(tried)
            )
            if entry.baseline_nano is not None:
                sums["baseline_nano"] += entry.baseline_nano
                if entry.cost_nano is not None:
                    sums["saved_nano"] += entry.baseline_nano - entry.cost_nano
        for each in tried:
            if (sums := group(entry, each)) is not None:
                sums["attempts"] += 1
                sums["input_tokens"] += each.usage.input
                sums["output_tokens"] += each.usage.output
                sums["cached_tokens"] += each.usage.cached
                sums["reasoning_tokens"] += each.usage.reasoning
                sums["cost_nano"] += each.cost_nano or 0
                sums["unpriced"] += each.cost_nano is None
    return groups


names = st.lists(st.sampled_from(["model", "app", "route", "tag:feature", "tag:env"]), unique=True)
conditions = st.lists(
    st.sampled_from(
        [("model", "small"), ("model", "large"), ("app", "web"), ("app", ""), ("tag:env", "x")]
    ),
    max_size=2,
)


@settings(max_examples=60, deadline=None)
@given(ledgers(), names, conditions)
def test_a_report_is_what_plain_counting_gives(
    entries: list[LedgerEntry], by: list[str], filters: list[tuple[str, str]]
) -> None:
    rows = report(entries, by, filters=filters)
    expected = plainly(entries, by, filters)
    assert {row.group: {name: getattr(row, name) for name in ADDITIVE} for row in rows} == {
        group: sums for group, sums in expected.items() if sums["requests"] or sums["attempts"]
    }


@settings(max_examples=40, deadline=None)
@given(ledgers(), names, st.sampled_from([None, "hour", "day", "week", "month"]))
def test_every_grouping_adds_up_to_the_entries(
    entries: list[LedgerEntry], by: list[str], bucket: str | None
) -> None:
    """Streamed or whole, answered or refused: no nano-USD is lost or counted twice."""
    rows = report(entries, by, bucket=bucket)
    spent = sum(each.cost_nano or 0 for entry in entries for each in entry.attempts)
    assert sum(row.cost_nano for row in rows) == spent
    assert sum(row.requests for row in rows) == len(entries)
    assert sum(row.attempts for row in rows) == sum(len(entry.attempts) for entry in entries)
    priced = [e for e in entries if e.cost_nano is not None and e.baseline_nano is not None]
    assert sum(row.saved_nano for row in rows) == sum(
        (e.baseline_nano or 0) - (e.cost_nano or 0) for e in priced
    )


@settings(max_examples=40, deadline=None)
@given(ledgers(), st.floats(1.69e9, 1.71e9))
def test_a_moment_divides_the_ledger_without_remainder(
    entries: list[LedgerEntry], moment: float
) -> None:
    whole, before, after = (
        sum(row.cost_nano for row in report(entries, [], *period))
        for period in ((None, None), (None, moment), (moment, None))
    )
    assert before + after == whole
