"""Laws of reports, against the plainest possible reading of the same entries."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reports.conftest import write
from tests.reports.plain import counted

from pointsman.clock import SystemClock
from pointsman.domain.call import Caller
from pointsman.domain.usage import Usage
from pointsman.ledger.entries import Attempt, LedgerEntry
from pointsman.reports import EVERYONE, Line, Question
from pointsman.reports import report as answered
from pointsman.reports.cells import MEASURES
from pointsman.store.open import Store

pytestmark = pytest.mark.slow

MODELS = ("small", "large", "local")
usages = st.builds(
    lambda plain, cached, output, reasoning: Usage(
        input=plain + cached, output=output + reasoning, cached=cached, reasoning=reasoning
    ),
    *(st.integers(0, 10_000) for _ in range(4)),
)
attempts = st.builds(
    lambda model, outcome, usage, cost, charged: Attempt(
        f"p/{model}", "p", model, "workhorse", outcome, usage, cost, charged_nano=charged
    ),
    st.sampled_from(MODELS),
    st.sampled_from(["ok", "timeout", "throttled"]),
    usages,
    st.none() | st.integers(0, 10**12),
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
                cache=draw(st.sampled_from(["", "hit", "similar", "miss"])),
                saved_nano=draw(st.integers(0, 10**12)),
                tags=tuple(tags.items()),
            )
        )
    return made


def report(entries: list[LedgerEntry], by: list[str], **more: Any) -> list[Line]:
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Store.of(Path(folder) / "ledger.db", SystemClock()).open()) as database,
    ):
        write(database, entries)
        return answered(database, Question.of(EVERYONE, by, **more))


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
    entries: list[LedgerEntry], by: list[str], where: list[tuple[str, str]]
) -> None:
    expected = counted(entries, by, where=where)
    assert {
        line.group: {name: getattr(line, name) for name in MEASURES}
        for line in report(entries, by, where=where)
    } == {
        group: {**dict.fromkeys(MEASURES, 0), **plain.sums}
        for (_, group), plain in expected.items()
    }


@settings(max_examples=40, deadline=None)
@given(ledgers(), names, st.sampled_from([None, "hour", "day", "week", "month"]))
def test_every_grouping_adds_up_to_the_entries(
    entries: list[LedgerEntry], by: list[str], bucket: str | None
) -> None:
    """Streamed or whole, answered or refused: no nano-USD is lost or counted twice."""
    lines = report(entries, by, bucket=bucket)
    spent = sum(each.cost_nano or 0 for entry in entries for each in entry.attempts)
    assert sum(line.cost_nano for line in lines) == spent
    assert sum(line.requests for line in lines) == len(entries)
    assert sum(line.attempts for line in lines) == sum(len(entry.attempts) for entry in entries)
    priced = [e for e in entries if e.cost_nano is not None and e.baseline_nano is not None]
    assert sum(line.saved_nano for line in lines) == sum(
        (e.baseline_nano or 0) - (e.cost_nano or 0) for e in priced
    )


@settings(max_examples=40, deadline=None)
@given(ledgers(), st.floats(1.69e9, 1.71e9))
def test_a_moment_divides_the_ledger_without_remainder(
    entries: list[LedgerEntry], moment: float
) -> None:
    whole, before, after = (
        sum(line.cost_nano for line in report(entries, [], since=since, until=until))
        for since, until in ((None, None), (None, moment), (moment, None))
    )
    assert before + after == whole
