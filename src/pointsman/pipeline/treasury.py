"""What the pipeline needs of those who keep the budgets (`pointsman.budgets.treasury`)."""

from __future__ import annotations

from typing import Protocol

from pointsman.budgets.subjects import Ask
from pointsman.domain.budgets import Unit


class Standing(Protocol):
    """How one account stands, as far as this worker knows. `reset_s`: seconds until the limit is
    whole again if nobody uses any more, at the latest."""

    @property
    def unit(self) -> Unit: ...
    @property
    def limit(self) -> int: ...
    @property
    def remaining(self) -> int: ...
    @property
    def reset_s(self) -> float: ...


class Hold(Protocol):
    """What is set aside for one attempt; ends by exactly one of the two."""

    def settle(self, charged_nano: int, *, exact: bool, tokens: int) -> None: ...

    def void(self) -> None: ...


class Admission(Protocol):
    """A request that counts in its rates, and is under way until it is closed."""

    def close(self, tokens: int) -> None: ...


class Treasury(Protocol):
    async def admit(self, ask: Ask, tokens: int, deadline: float) -> Admission:
        """Count a request. Raises Rejected, PermissionDenied."""
        ...

    async def hold(
        self,
        ask: Ask,
        attempt_id: str,
        worst_nano: int | None,
        expected_nano: int | None,
        tokens: int,
        note: bytes,
        deadline: float,
    ) -> Hold:
        """Set aside what an attempt may use. Raises Rejected, PermissionDenied."""
        ...

    def counts_request(self, ask: Ask) -> bool:
        """Whether a request counts in any rate. Raises PermissionDenied."""
        ...

    def counts_tokens(self, ask: Ask) -> bool:
        """Whether a request counts by its tokens."""
        ...

    def is_strict(self, ask: Ask) -> bool:
        """Whether a budget counts the ask that must never be overspent."""
        ...

    def affordable_nano(self, ask: Ask) -> int | None:
        """What is left in budgets by which cheaper deployments are tried; None without one."""
        ...

    def view(self, ask: Ask) -> tuple[Standing, ...]:
        """The accounts that the ask counts in, the tightest first."""
        ...
