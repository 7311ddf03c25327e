"""Compare the ledger with an invoice, and book what differs beside it, never over it.

Two ways, by what the invoice has. *By attempt*: each line names the attempt that it is for, as the
provider was told it; both have to agree to the nano-USD. *By day and model*: sums of a UTC day, in
tokens and money, which agree within a tolerance, since providers round by the line or the day.

What the ledger holds is its cost and what was booked before, so that an invoice that was booked
agrees from then on, and booking it again finds nothing to book.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from pointsman.budgets.escrow_sql import adjust
from pointsman.domain.windows import FOREVER
from pointsman.reports.attempts import attempts
from pointsman.reports.invoice import Item
from pointsman.reports.question import Question, Whose
from pointsman.reports.report import report
from pointsman.store.database import Database, Value

Verdict = Literal["agrees", "uncertain", "differs", "only ledger", "only invoice"]
"""uncertain: the cost agrees, but nobody had said so until now, and budgets count another."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Two amounts agree that differ by no more than `share` of the larger, or by `nano`."""

    share: float = 0.01
    nano: int = 0
    tokens: int = 0

    def holds(self, ours: int, theirs: int, least: int) -> bool:
        # Compared as integers: a share of a large amount is no exact float.
        millionths = round(self.share * 1_000_000)
        apart = abs(ours - theirs)
        return apart <= least or apart * 1_000_000 <= max(abs(ours), abs(theirs)) * millionths


@dataclass(frozen=True, slots=True)
class Sums:
    """What one side says; None where it does not."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    cost_nano: int | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One day and model, or one attempt. `entry` and `n` are the attempt's place in the ledger."""

    verdict: Verdict
    ours: Sums
    theirs: Sums
    day: str | None = None
    model: str | None = None
    attempt_id: str | None = None
    entry: int | None = None
    n: int | None = None
    at: float | None = None
    charged_nano: int | None = None
    """What budgets have counted for the attempt; None where it was corrected before."""

    @property
    def nano(self) -> int:
        """What has to be added to the ledger so that both agree; 0 where there is no cost."""
        if self.theirs.cost_nano is None:
            return 0
        return self.theirs.cost_nano - (self.ours.cost_nano or 0)

    @property
    def reference(self) -> str:
        return self.attempt_id or f"{self.day}/{self.model}"


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """All that was compared, in order; `provider` where only its attempts were."""

    differences: tuple[Difference, ...]
    provider: str | None = None
    twice: tuple[str, ...] = field(default=())
    """Attempts that the invoice has more than once; their costs were added up."""

    @property
    def is_agreed(self) -> bool:
        return not self.twice and all(each.verdict == "agrees" for each in self.differences)

    @property
    def nano(self) -> int:
        return sum(each.nano for each in self.differences)


_EXACT: Final = Tolerance(share=0.0)


def reconcile(
    database: Database,
    whose: Whose,
    found: Iterable[Item],
    *,
    provider: str | None = None,
    tolerance: Tolerance | None = None,
    renamed: Mapping[str, str] | None = None,
    since: float | None = None,
    until: float | None = None,
) -> Reconciliation:
    """Compare. `renamed`: an invoice's name of a model -> ours. `tolerance`: by day and model 1 %,
    by attempt none, unless said otherwise. `since`, `until`: the invoice's period, in which all
    that it leaves out was not billed; by attempt the default is from the first that it names to
    the last, by day the days that it names."""
    lines = list(found)
    if any(item.attempt_id is not None for item in lines):
        return _by_attempt(database, whose, lines, provider, tolerance or _EXACT, (since, until))
    return _by_day(database, whose, lines, provider, tolerance or Tolerance(), renamed or {})


# By attempt.


def _by_attempt(
    database: Database,
    whose: Whose,
    lines: Sequence[Item],
    provider: str | None,
    tolerance: Tolerance,
    period: tuple[float | None, float | None],
) -> Reconciliation:
    theirs: dict[str, Sums] = {}
    twice = []
    for item in lines:
        name = item.attempt_id or ""
        said = Sums(item.input, item.output, item.cached, item.cost_nano)
        if name in theirs:
            twice.append(name)
            said = _added(theirs[name], said)
        theirs[name] = said
    booked = {
        (entry, n): amount
        for entry, n, amount in database.rows(
            "SELECT entry, n, CAST(sum(amount_nano) AS BIGINT) FROM adjustment "
            "WHERE n IS NOT NULL GROUP BY entry, n"
        )
    }
    differences = []
    since, until = period
    for each in attempts(database, whose, since or 0.0, until or FOREVER):
        charged = (each.cost_nano or 0) if each.charged_nano is None else each.charged_nano
        if provider is not None and each.provider != provider:
            continue
        said_ = theirs.pop(each.attempt_id, None)
        before = booked.get((each.entry, each.n))
        cost = (each.cost_nano or 0) + (before or 0)
        ours = Sums(each.input, each.output, each.cached, cost)
        is_open = before is None and charged != (each.cost_nano or 0)
        if said_ is None and not cost and not is_open:
            continue  # Not billed, as we thought.
        differences.append(
            Difference(
                "only ledger" if said_ is None else _verdict(ours, said_, tolerance, is_open),
                ours,
                # What an invoice by attempt leaves out was not billed.
                Sums(cost_nano=0) if said_ is None else said_,
                _iso(each.at),
                each.model,
                each.attempt_id,
                each.entry,
                each.n,
                each.at,
                charged if before is None else None,
            )
        )
    named = [each.at or 0.0 for each in differences if each.verdict != "only ledger"]
    first = min(named, default=FOREVER) if since is None else since
    last = max(named, default=0.0) if until is None else until
    differences = [
        each
        for each in differences
        if each.verdict != "only ledger" or first <= (each.at or 0.0) <= last
    ]
    differences += [
        Difference("only invoice", Sums(), said, attempt_id=name) for name, said in theirs.items()
    ]
    return Reconciliation(tuple(differences), provider, tuple(dict.fromkeys(twice)))


# By day and model.


def _by_day(
    database: Database,
    whose: Whose,
    lines: Sequence[Item],
    provider: str | None,
    tolerance: Tolerance,
    renamed: Mapping[str, str],
) -> Reconciliation:
    days = sorted(item.day for item in lines if item.day is not None)
    if not days:
        return Reconciliation((), provider)
    question = Question.of(
        whose,
        ["model"],
        since=_begin(days[0]),
        until=_begin(days[-1]) + 86_400,
        where=[("provider", provider)] if provider else (),
        bucket="day",
        latencies=False,
    )
    ours = {
        (line.period or "", line.group[0] or ""): Sums(
            line.input, line.output, line.cached, line.billed_nano
        )
        for line in report(database, question)
        if line.attempts or line.adjusted_nano
    }
    models = {model for _, model in ours}
    theirs: dict[tuple[str, str], Sums] = {}
    for item in lines:
        key = item.day or "", _ours(item.model or "", models, renamed)
        said = Sums(item.input, item.output, item.cached, item.cost_nano)
        theirs[key] = _added(theirs[key], said) if key in theirs else said
    differences = []
    for key in sorted({*ours, *theirs}):
        mine, said_ = ours.get(key), theirs.get(key)
        verdict: Verdict
        if mine is None or said_ is None:
            is_nothing = not any(_numbers(mine or said_ or Sums()))
            verdict = "agrees" if is_nothing else "only ledger" if mine else "only invoice"
        else:
            verdict = _verdict(mine, said_, tolerance)
        differences.append(
            Difference(verdict, mine or Sums(), said_ or Sums(), key[0], key[1], at=_begin(key[0]))
        )
    return Reconciliation(tuple(differences), provider)


_DATED = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2})$")


def _ours(name: str, models: set[str], renamed: Mapping[str, str]) -> str:
    """Our name of an invoice's model: as told, the same, or the same without its date."""
    if name in renamed:
        return renamed[name]
    undated = _DATED.sub("", name)
    return undated if name not in models and undated in models else name


def _verdict(ours: Sums, theirs: Sums, tolerance: Tolerance, is_open: bool = False) -> Verdict:
    pairs = zip(_numbers(ours), _numbers(theirs), strict=True)
    least = (tolerance.tokens,) * 3 + (tolerance.nano,)
    agrees = all(
        mine is None or said is None or tolerance.holds(mine, said, by)
        for (mine, said), by in zip(pairs, least, strict=True)
    )
    if not agrees:
        return "differs"
    return "uncertain" if is_open and theirs.cost_nano is not None else "agrees"


def _numbers(sums: Sums) -> tuple[int | None, ...]:
    return sums.input, sums.output, sums.cached, sums.cost_nano


def _added(one: Sums, two: Sums) -> Sums:
    def plus(a: int | None, b: int | None) -> int | None:
        return b if a is None else a if b is None else a + b

    return Sums(*(plus(*pair) for pair in zip(_numbers(one), _numbers(two), strict=True)))


def _begin(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


def _iso(at: float) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at)).date().isoformat()


# Booking.


def book(database: Database, found: Reconciliation, source: str) -> list[Difference]:
    """Write an adjustment for every cost that differs; return those that were new.

    `source` names the invoice: a difference is booked once for each source, so that trying again
    after a crash is safe. Budgets that an attempt was charged in are corrected with it, once an
    attempt, by what they had counted too much or too little. All or nothing.
    """
    booked: list[Difference] = []
    with database.transaction():
        now = database.now()
        for each in found.differences:
            over = (
                0 if each.charged_nano is None else each.charged_nano - (each.ours.cost_nano or 0)
            )
            if each.verdict == "agrees" or not (each.nano or over):
                continue
            row: tuple[Value, ...] = (
                *(source, each.reference, now if each.at is None else each.at, each.entry, each.n),
                *(found.provider, each.model, each.nano, over, each.verdict, now),
            )
            if not database.run(_BOOK, row):
                continue
            booked.append(each)
            if each.attempt_id and each.charged_nano is not None and each.nano != over:
                adjust(database, each.attempt_id, each.nano - over, now)
    return booked


_BOOK: Final = (
    "INSERT INTO adjustment (source, reference, at, entry, n, provider, model, amount_nano, "
    "uncertain_nano, reason, booked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (source, reference) DO NOTHING"
)
