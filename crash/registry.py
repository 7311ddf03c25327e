"""All checks of `make crash`, in the order in which they are run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from chaos.check import Check
from chaos.world import World

from crash import check_access, check_budgets, check_deaths, check_stores


class Unpinned(World):
    """A world whose processes may run on every core: there are as many replicas as cores."""

    async def __aenter__(self) -> Self:
        return self


_ALL = (
    *check_deaths.CHECKS,
    *check_budgets.CHECKS,
    *check_stores.CHECKS,
    *check_access.CHECKS,
)
CHECKS: Mapping[str, Check] = {check.id: check for check in _ALL}
