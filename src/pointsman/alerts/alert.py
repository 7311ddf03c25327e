"""What an alert is: a condition that somebody should know of, and stands for a while.

`key` names the condition: while an alert with this key stands, over all workers, there is no
second one. An alert stands until `stands_s` after it was last seen; whoever still sees the
condition says so again. So nobody has to notice that a condition is over, and a worker that died
leaves no alert behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from pointsman.config.settings_money import Severity

Kind = Literal["threshold", "burn_rate", "forecast", "anomaly", "loop", "test"]
Event = Literal["raised", "again", "resolved"]
"""again: it still stands after `repeat_s`, and nobody has acknowledged it."""
Fact: TypeAlias = "str | int | float | None"

RANK: Final[dict[Severity, int]] = {"info": 0, "warning": 1, "critical": 2}


class Alert(msgspec.Struct, frozen=True):
    """A condition as it is seen now. Amounts in `facts` are in the unit that their name ends with.

    is_quiet: kept as known but told to nobody, because an alert that is told covers it.
    repeats: told again while it stands, and told when it no longer does.
    """

    kind: Kind
    severity: Severity
    key: str
    text: str
    stands_s: float
    tenant: str | None = None
    facts: Mapping[str, Fact] = msgspec.field(default_factory=dict)
    is_quiet: bool = False
    repeats: bool = True


class Told(msgspec.Struct, frozen=True):
    """An alert as a sink is told it; the JSON of a webhook. Times are seconds since the epoch.

    `delivery` is the same for every try to deliver the same thing to the same sink.
    """

    delivery: str
    event: Event
    id: int
    kind: Kind
    severity: Severity
    text: str
    tenant: str | None
    raised_at: float
    facts: Mapping[str, Fact]
