"""How fast a budget is spent: its burn rate, and whether it will last.

Theory. *Burn rate* 1 is the speed that uses a budget up exactly at its window's end. It is told
where both the last hour and the last five minutes are above the factor: the hour so that a short
burst says nothing, the five minutes so that what is over is not told any more (the multi-window
rule of Google's SRE Workbook, chapter 5). What happened before anybody looked counts as nothing
spent, so a restart makes it late, never wrong.

The *forecast* takes the lower of two speeds: of the window so far without the eighth of it in
which the most was spent, and of its last third. The one is not fooled by a burst, the other not by
what was long ago. Nothing is forecast in the first
tenth of a window or while less than a tenth of the limit is spent, nor by speed where there were
fewer than `LEAST_STEPS` minutes in which something was spent: not at the first request.

Both are for money in windows of a day or longer; in shorter ones the thresholds are as quick.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Final

from pointsman.alerts.alert import Alert
from pointsman.alerts.thresholds import Settled, amount_text, facts_of, tenant_of, whose
from pointsman.domain.budgets import Budget
from pointsman.domain.windows import LENGTHS

HOUR_S: Final = 3_600.0
SHORT_S: Final = 300.0
STANDS_S: Final = 600.0
"""How long burning too fast stands after it was last seen, in seconds."""
FORECAST_STANDS_S: Final = 3_600.0
LEAST_PART: Final = 0.1
"""Of the window and of the limit, before anything is forecast."""
LEAST_STEPS: Final = 5
PARTS: Final = 8
POINTS: Final = 96
"""Points that a window's course is remembered by."""
LONG: Final = frozenset({"day", "week", "month"})


class Pace:
    """The course of one account, as far as it was seen. Times are seconds since the epoch."""

    __slots__ = ("_course", "_last", "_minutes", "_start", "_stepped", "_steps", "_total")

    def __init__(self) -> None:
        self._minutes: deque[tuple[float, int]] = deque(maxlen=75)
        """The minute's start, and all that was seen spent until it began."""
        self._course: deque[tuple[float, int]] = deque(maxlen=POINTS + 1)
        """The same within the window, with `spent` in its place."""
        self._start = -1.0
        self._last = 0
        self._stepped = -1.0
        self._steps = 0
        """Minutes of the window in which something was spent."""
        self._total = 0
        """All that was seen spent, over the turn of windows."""

    def see(self, stands: Settled, now: float) -> None:
        """Note how the account stands; what is spent of it already when it is first seen counts
        as spent long ago, unless its window has just begun."""
        spent, start, window = stands.spent, stands.start, stands.budget.window
        minute = now // 60 * 60
        is_turned = not window.rolling and start != self._start
        if self._minutes:
            step = max(0, spent if is_turned else spent - self._last)
        else:
            is_young = not window.rolling and now - start <= HOUR_S
            step = spent if is_young else 0
            self._minutes.append((start if is_young else minute, 0))
        self._last = spent
        if is_turned:
            self._start, self._steps = start, 0
            self._course.clear()
            self._course.append((start, 0))
        if step and minute != self._stepped:
            self._stepped = minute
            self._steps += 1
        if minute > self._minutes[-1][0]:
            self._minutes.append((minute, self._total))
        self._total += step
        if self._course and now - self._course[-1][0] >= (stands.until - start) / POINTS:
            self._course.append((now, spent))

    def _since(self, moment: float) -> int:
        """What was seen spent since `moment`, up to a minute less: never too much."""
        for at, total in self._minutes:
            if at >= moment:
                return self._total - total
        return 0

    def burning(self, stands: Settled, factor: float, now: float) -> Alert | None:
        budget = stands.budget
        if not _is_judged(budget) or stands.limit <= 0:
            return None
        window = budget.window
        length = LENGTHS[window.period] if window.rolling else stands.until - stands.start
        rates = [
            self._since(now - span) / stands.limit * length / span for span in (HOUR_S, SHORT_S)
        ]
        if min(rates) <= factor:
            return None
        name, subject = stands.account
        hour = amount_text(budget, self._since(now - HOUR_S))
        return Alert(
            kind="burn_rate",
            severity="critical" if min(rates) > 2 * factor else "warning",
            key=f"burn_rate|{name}|{subject}",
            text=f"{whose(budget, subject)} ({budget.window}) burns {rates[0]:.1f} times too "
            f"fast: {hour} in the last hour",
            stands_s=STANDS_S,
            tenant=tenant_of(budget, subject),
            facts=facts_of(stands) | {"burn_rate_hour": rates[0], "burn_rate_5_min": rates[1]},
        )

    def forecast(self, stands: Settled, now: float) -> Alert | None:
        """An alert where the budget will be used up before its calendar window ends."""
        budget, spent, limit = stands.budget, stands.spent, stands.limit
        gone, left = now - stands.start, stands.until - now
        if (
            not _is_judged(budget)
            or budget.window.rolling
            or gone < LEAST_PART * (gone + left)
            or not LEAST_PART * limit <= spent < limit
            or self._steps < LEAST_STEPS
        ):
            return None
        speed = min(self._usual(stands, now), self._lately(stands, now))
        if speed <= 0:
            return None
        if spent + speed * left <= limit:
            return None
        name, subject = stands.account
        ends_in = (limit - spent) / speed
        expected = round(spent + speed * left)
        return Alert(
            kind="forecast",
            severity="warning",
            key=f"forecast|{name}|{subject}|{stands.start:.0f}",
            text=f"{whose(budget, subject)} ({budget.window}) will be used up in "
            f"{_span(ends_in)}, {_span(left - ends_in)} before its window ends: "
            f"{amount_text(budget, spent)} of {amount_text(budget, limit)} are used",
            stands_s=min(FORECAST_STANDS_S, left),
            tenant=tenant_of(budget, subject),
            facts=facts_of(stands) | {"used_up_at": now + ends_in, "expected_nano_usd": expected},
        )

    def _usual(self, stands: Settled, now: float) -> float:
        """nano-USD a second over the window so far, less the part with the most."""
        length = (now - stands.start) / PARTS
        until = [self._at(stands.start + part * length) for part in range(PARTS)] + [stands.spent]
        steps = [after - before for before, after in pairwise(until)]
        return (stands.spent - max(steps)) / (length * (PARTS - 1))

    def _lately(self, stands: Settled, now: float) -> float:
        before = now - (now - stands.start) / 3
        return (stands.spent - self._at(before)) / (now - before)

    def _at(self, moment: float) -> int:
        """What was spent in the window until `moment`, as far as that was seen."""
        return max((spent for at, spent in self._course if at <= moment), default=0)

    def __repr__(self) -> str:
        return f"Pace({self._total} seen, {len(self._minutes)} minutes)"


def _is_judged(budget: Budget) -> bool:
    return budget.unit == "nano_usd" and budget.window.period in LONG


def _span(seconds: float) -> str:
    for name, length in (("days", 86_400.0), ("hours", 3_600.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {name}"
    return f"{max(1, round(seconds / 60))} minutes"
