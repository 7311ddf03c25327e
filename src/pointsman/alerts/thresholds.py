"""Which of a budget's thresholds are reached: each told once in a window.

Where spending jumps over several at once, the highest is told and the others are noted as known:
three messages about one request help nobody. The last one has two ways to be reached, since a
strict budget may never be spent to the last cent: it is full, or it is nearly so and has refused a
request.

A refusal by a budget that is far from full says something else: the request was too large, or
many are under way. It is told once in a window too, under a name of its own, since whoever may
send one absurd request could else have every threshold of the month count as told.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final, Protocol
from urllib.parse import unquote

from pointsman.alerts.alert import Alert, Fact
from pointsman.config.settings_money import Severity
from pointsman.domain.budgets import Account, Budget, Scope
from pointsman.domain.money import format_usd
from pointsman.domain.windows import FOREVER, LENGTHS

NEARLY_FULL: Final = 0.9
"""Share of the limit from which a refusal says that a budget is used up."""


class Settled(Protocol):
    """What a treasury tells whenever something was settled: how an account stands in the window
    from `start` until `until`, as far as its worker knows."""

    @property
    def budget(self) -> Budget: ...
    @property
    def account(self) -> Account: ...
    @property
    def spent(self) -> int: ...
    @property
    def limit(self) -> int: ...
    @property
    def start(self) -> float: ...
    @property
    def until(self) -> float: ...


def reached(stands: Settled, now: float, *, is_refused: bool = False) -> list[Alert]:
    """The thresholds that are reached, the highest last; the others are quiet. `now` is in the
    window, in seconds since the epoch: a window that is over tells nothing more."""
    budget = stands.budget
    if stands.until <= now and not budget.window.rolling:
        return []
    is_used_up = is_refused and stands.spent >= amount_at(NEARLY_FULL, stands.limit)
    crossed = [
        at
        for at in sorted(budget.alert_at)
        if stands.spent >= amount_at(at, stands.limit) or (is_used_up and at <= 1)
    ]
    if is_used_up and 1.0 not in crossed and budget.alert_at:  # There may be no threshold of 1.
        crossed = sorted([*crossed, 1.0])
    told = [_alert(stands, now, at, is_used_up, is_quiet=at != crossed[-1]) for at in crossed]
    if is_refused and not is_used_up and budget.alert_at:
        told.insert(0, _alert(stands, now, None, is_refused))
    return told


def _alert(
    stands: Settled, now: float, at: float | None, is_refused: bool, *, is_quiet: bool = False
) -> Alert:
    """`at` None: a refusal that no threshold explains."""
    return Alert(
        kind="threshold",
        severity="warning" if at is None else severity_at(at),
        key=threshold_key(stands, "refused" if at is None else f"{at:g}"),
        text=_text(stands, at, is_refused),
        stands_s=stands_for(stands, now),
        tenant=tenant_of(stands.budget, stands.account[1]),
        facts=facts_of(stands) | {"threshold": at},
        is_quiet=is_quiet,
        repeats=False,
    )


def amount_at(threshold: float, limit: int) -> int:
    """The least whole amount that is `threshold` of the limit, exactly: 0.8 is eight tenths."""
    share = Fraction(str(threshold)) * limit
    return max(1, -(-share.numerator // share.denominator))


def severity_at(threshold: float) -> Severity:
    return "critical" if threshold >= 1 else "warning" if threshold >= 0.8 else "info"


def threshold_key(stands: Settled, what: str) -> str:
    """Of a calendar window its start is part of the name, so that the next one is told anew. A
    rolling one has no start; its alert stands for a whole window after it was last true."""
    name, subject = stands.account
    window = "" if stands.budget.window.rolling else f"|{stands.start:.0f}"
    return f"threshold|{name}|{subject}|{what}{window}"


def stands_for(stands: Settled, now: float) -> float:
    """How long a threshold's alert stands, in seconds."""
    window = stands.budget.window
    if window.rolling and window.period != "total":
        return float(LENGTHS[window.period])
    return stands.until - now


def facts_of(stands: Settled) -> dict[str, Fact]:
    unit = stands.budget.unit
    is_open = stands.budget.window.rolling or stands.until >= FOREVER
    return {
        "budget": stands.budget.name,
        "scope": stands.budget.scope,
        "subject": subject_of(stands.budget, stands.account[1]),
        "window": str(stands.budget.window),
        f"spent_{unit}": stands.spent,
        f"limit_{unit}": stands.limit,
        "window_start": None if is_open else stands.start,
        "window_end": None if is_open else stands.until,
    }


def whose(budget: Budget, subject: str) -> str:
    """Whose use a budget's account is, for people: `budget team-month of team north/web`."""
    if budget.scope in ("everyone", "named"):
        return f"budget {budget.name}"
    scope = budget.tag if budget.scope == "tag" else budget.scope
    return f"budget {budget.name} of {scope} {subject_of(budget, subject)}"


def subject_of(budget: Budget, subject: str) -> str:
    """A subject as people write it."""
    return unquote(subject) if budget.scope in WITHIN_TENANT else subject


def tenant_of(budget: Budget, subject: str) -> str | None:
    """Whose admins may see an alert about this account."""
    if budget.tenant is not None:
        return budget.tenant
    if budget.scope == "tenant":
        return subject
    tenant, slash, _ = subject.partition("/")
    return unquote(tenant) if slash and budget.scope in WITHIN_TENANT else None


def amount_text(budget: Budget, amount: int) -> str:
    return format_usd(amount) if budget.unit == "nano_usd" else f"{amount:,} {budget.unit}"


def _text(stands: Settled, at: float | None, is_refused: bool) -> str:
    budget = stands.budget
    spent, limit = amount_text(budget, stands.spent), amount_text(budget, stands.limit)
    share = 100 * stands.spent / stands.limit if stands.limit else 100.0
    what = f"{whose(budget, stands.account[1])} ({budget.window}): {spent} of {limit} are used"
    if at in (1, None) and is_refused and stands.spent < stands.limit:
        return f"{what} ({share:.1f} %), and what was asked for does not fit: refused"
    return f"{what} ({share:.1f} %)"


WITHIN_TENANT: Final[frozenset[Scope]] = frozenset({"team", "app", "user", "key", "tag", "run"})
"""Scopes whose subjects are a tenant's own: `tenant/subject`, percent-encoded."""
