"""All checks, in the order they are run."""

from __future__ import annotations

from collections.abc import Mapping

from chaos import checks_leaving, checks_outage
from chaos.check import Check

CHECKS: Mapping[str, Check] = {check.id: check for check in (*checks_outage.CHECKS, *checks_leaving.CHECKS)}
