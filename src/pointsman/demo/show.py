"""What a person sees while the demo runs: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from pointsman.demo.client import Answered
from pointsman.domain.money import format_usd

RECENT = 10
"""How many answers stay in the live picture."""


@dataclass(slots=True)
class Scene:
    """What is known while it runs, read from the gateway's metrics and health."""

    total: int
    breakers: Mapping[str, str] = field(default_factory=dict)
    cost_nano: int = 0
    baseline_nano: int = 0
    fallbacks: int = 0

    def money(self) -> str:
        saved = max(0, self.baseline_nano - self.cost_nano)
        return f"spent {format_usd(self.cost_nano)}, saved {format_usd(saved)}"


class Show(Protocol):
    """A context manager that is told what happens."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def say(self, text: str) -> None:
        """A step of the story."""
        ...

    def answered(self, answer: Answered) -> None: ...

    def moved(self) -> None:
        """The scene has changed."""
        ...


BREAKERS: Mapping[str, tuple[str, str]] = {
    "closed": ("closed", "green"),
    "open": ("OPEN", "bold red"),
    "half_open": ("half open: one probe at a time", "yellow"),
    "ramping": ("ramping up", "yellow"),
}
"""A breaker's state -> how it is told, and its colour."""


def line_of(answer: Answered) -> str:
    where = answer.deployment or "nowhere"
    fell = f"  after {answer.attempts - 1} failed" if answer.attempts > 1 else ""
    first = f", first words {answer.first_s:.2f} s" if answer.first_s is not None else ""
    said = answer.fault or " ".join(answer.text.split())[:60]
    return (
        f"{answer.number:>3}  {answer.prompt.kind:<15} {where:<26} "
        f"{answer.seconds:5.2f} s{first}{fell}  {said}"
    )


class Lines:
    """For pipes and logs: a line an answer."""

    def __init__(self, console: Console, scene: Scene) -> None:
        self._console = console
        self._scene = scene
        self._told: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def say(self, text: str) -> None:
        self._console.print(f"--- {text}", highlight=False, markup=False)

    def answered(self, answer: Answered) -> None:
        self._console.print(line_of(answer), highlight=False, markup=False, soft_wrap=True)

    def moved(self) -> None:
        for name, state in self._scene.breakers.items():
            if self._told.get(name, "closed") != state:
                self.say(f"breaker of {name}: {BREAKERS[state][0]}")
            self._told[name] = state


class Screen:
    """For terminals: progress, the latest answers, the three breakers and the money so far."""

    def __init__(self, console: Console, scene: Scene) -> None:
        self._console = console
        self._scene = scene
        self._recent: deque[Answered] = deque(maxlen=RECENT)
        self._step = ""
        self._progress = Progress(
            TextColumn("[bold]requests"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._progress.add_task("requests", total=scene.total)
        self._live = Live(console=console, refresh_per_second=8, get_renderable=self._picture)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._step = text
        self._live.console.print(Text(text, style="bold"))

    def answered(self, answer: Answered) -> None:
        self._recent.append(answer)
        self._progress.advance(self._task)

    def moved(self) -> None:
        return None  # The picture is drawn from the scene eight times a second.

    def _picture(self) -> Group:
        scene = self._scene
        answers = Table.grid(padding=(0, 2))
        for answer in self._recent:
            style = "red" if answer.fault else "yellow" if answer.attempts > 1 else ""
            answers.add_row(
                str(answer.number),
                answer.prompt.kind,
                answer.deployment or "nowhere",
                f"{answer.seconds:.2f} s",
                Text(
                    answer.fault or " ".join(answer.text.split()), no_wrap=True, overflow="ellipsis"
                ),
                style=style,
            )
        tracks = Text("breakers  ")
        for name, state in scene.breakers.items():
            word, style = BREAKERS[state]
            tracks.append(f"{name} ")
            tracks.append(f"{word}   ", style=style)
        money = Text(f"money     {scene.money()}, {scene.fallbacks} fallbacks")
        return Group(self._progress, answers, tracks, money)


def make_show(console: Console, scene: Scene) -> Show:
    """Choose by what the output is."""
    return Screen(console, scene) if console.is_terminal else Lines(console, scene)
