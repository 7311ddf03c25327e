"""What a request or an attempt has in hand: put back exactly once, whatever becomes of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pointsman.budgets.till import EXPECTED, Amounts, Drawer, Plan, Till

if TYPE_CHECKING:
    from pointsman.budgets.treasury import Treasury


class _Held:
    __slots__ = ("_amounts", "_drawers", "_plan", "_treasury", "is_open")

    def __init__(
        self, treasury: Treasury, plan: Plan, amounts: Amounts, drawers: Sequence[Drawer]
    ) -> None:
        self._treasury = treasury
        self._plan = plan
        self._amounts = amounts
        self._drawers = drawers
        self.is_open = True

    def _pairs(self) -> Iterable[tuple[tuple[Till, int], Drawer]]:
        return zip(self._plan, self._drawers, strict=True)

    def _put(self, charged_nano: int, requests: int, tokens: int) -> None:
        """The first word counts: whoever settles also settles for those who come after."""
        self.is_open = False
        charges = (charged_nano, charged_nano, requests, tokens)
        for (till, kind), drawer in self._pairs():
            held = self._amounts[kind]
            charged = 0 if till.budget.unit == "at_once" else charges[kind]
            drawer.put(held, charged)
            if charged > held:
                self._treasury.exceeded(drawer, charged - held)
        self._treasury.came_back()


class Hold(_Held):
    """What an attempt may cost, held in every account that it counts in."""

    __slots__ = ("attempt_id",)

    def __init__(
        self,
        treasury: Treasury,
        plan: Plan,
        amounts: Amounts,
        drawers: Sequence[Drawer],
        attempt_id: str,
    ) -> None:
        super().__init__(treasury, plan, amounts, drawers)
        self.attempt_id = attempt_id

    @property
    def parts(self) -> list[tuple[int, int]]:
        """(lease, nano-USD) of what the log has to know."""
        return [
            (drawer.lease, self._amounts[kind])
            for (_, kind), drawer in self._pairs()
            if kind <= EXPECTED and not drawer.is_told_used and drawer.lease
        ]

    def settle(self, charged_nano: int, *, exact: bool, tokens: int) -> None:
        """Say what it came to. exact: the provider said so. Nothing happens the second time."""
        if not self.is_open:
            return
        charges = [(lease, held, charged_nano) for lease, held in self.parts]
        self._treasury.log.settle(self.attempt_id, charges, exact, charged_nano)
        self._put(charged_nano, 1, tokens)
        if self._treasury.listeners:
            for (till, kind), drawer in self._pairs():
                if kind <= EXPECTED:
                    self._treasury.tell(till, drawer, charged_nano)

    def void(self) -> None:
        """Say that nothing was sent."""
        if self.is_open:
            self._treasury.log.void(self.attempt_id)
            self._put(0, 0, 0)

    def never_dispatched(self) -> None:
        """Put it back before the log has heard of it."""
        if self.is_open:
            self._put(0, 0, 0)


class Admission(_Held):
    """A request's place in the rates it counts in."""

    __slots__ = ()

    def close(self, tokens: int) -> None:
        """Say how many tokens it came to, over all attempts. Nothing happens the second time."""
        if self.is_open:
            self._put(0, 1, tokens)
