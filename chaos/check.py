"""What a check is: a name, a pass line in words, and a run that tells figures and failures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from chaos.world import World

Figures = dict[str, float | int | str]


@dataclass(slots=True)
class Findings:
    """What a run found. A check passes where nothing is in `failures`."""

    figures: Figures = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def note(self, name: str, value: float | int | str) -> None:
        self.figures[name] = round(value, 4) if isinstance(value, float) else value

    def expect(self, holds: bool, otherwise: str) -> None:
        """Keep `otherwise` as a failure unless it holds."""
        if not holds:
            self.failures.append(otherwise)


@dataclass(frozen=True, slots=True)
class Check:
    """`run` gets a World of its own, which it starts gateways and providers in."""

    id: str
    title: str
    pass_line: str
    run: Callable[[World, Findings], Awaitable[None]]
    seconds: float
    """About how long it takes."""
