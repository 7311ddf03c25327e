"""All checks, in the order they are run."""

from __future__ import annotations

from collections.abc import Mapping

from chaos import (
    checks_fairness,
    checks_hedge,
    checks_hostile,
    checks_leaving,
    checks_life,
    checks_outage,
    checks_slow,
    checks_soak,
    checks_steady,
)
from chaos.check import Check

_ALL = (
    *checks_steady.CHECKS,
    *checks_outage.CHECKS,
    *checks_life.CHECKS,
    *checks_slow.CHECKS,
    *checks_leaving.CHECKS,
    *checks_hostile.CHECKS,
    *checks_fairness.CHECKS,
    *checks_hedge.CHECKS,
    *checks_soak.CHECKS,
)

CHECKS: Mapping[str, Check] = {check.id: check for check in _ALL}
