"""The reference: what an account may and must come to, by nobody's cleverness."""

from __future__ import annotations

from dataclasses import dataclass, field

Slot = tuple[str, float]
"""An account's subject and the start of its slice."""


@dataclass
class Reference:
    """Counts what workers have in hand and what was charged, by slice; grants nothing itself."""

    limit: int
    charged: dict[Slot, int] = field(default_factory=dict)
    open: dict[str, tuple[int, tuple[Slot, ...]]] = field(default_factory=dict)
    excess: int = 0
    lowered: int = 0

    def hold(self, attempt: str, amount: int, slots: tuple[Slot, ...]) -> None:
        self.open[attempt] = (amount, slots)

    def settle(self, attempt: str, charged: int) -> None:
        amount, slots = self.open.pop(attempt)
        self.excess += max(0, charged - amount)
        for slot in slots:
            self.charged[slot] = self.charged.get(slot, 0) + charged

    def void(self, attempt: str) -> None:
        del self.open[attempt]

    def held(self, slot: Slot) -> int:
        return sum(amount for amount, slots in self.open.values() if slot in slots)

    def spent(self, slot: Slot) -> int:
        return self.charged.get(slot, 0)
