"""What `pointsman keys` and `pointsman budgets` share: the file, its store, tables, durations."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pointsman.access.house import House
from pointsman.access.pepper import pepper_given, settled_pepper
from pointsman.access.principal import Principal
from pointsman.clock import SystemClock
from pointsman.config.load import load
from pointsman.config.settings import Settings
from pointsman.errors import ConfigError
from pointsman.store.database import Database
from pointsman.store.open import Store

if TYPE_CHECKING:
    from collections.abc import Callable

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d|w)")
_SECONDS: Final[Mapping[str, float]] = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class Desk:
    """A configuration and its store, open."""

    settings: Settings
    house: House
    database: Database
    who: Principal

    def pepper(self) -> bytes:
        return settled_pepper(self.database, pepper_given(os.environ))

    @property
    def now(self) -> float:
        return SystemClock.wall()


@contextmanager
def opened(config: Path, ledger: Path | None) -> Iterator[Desk]:
    """Open the store of a configuration. Raises ConfigError where it keeps none."""
    settings = load(config, os.environ)
    if ledger is not None:
        settings = replace(settings, ledger=replace(settings.ledger, path=ledger, url=None))
    kept = settings.ledger
    place = ledger or (kept.url.reveal() if kept.url is not None else kept.path)
    if place is None:
        raise ConfigError(
            f"{config}: keeps no ledger, which is where keys and limits are; set ledger.path or "
            "ledger.url"
        )
    database = Store.of(place, SystemClock()).open()
    try:
        # Who has the file and the store in hand is an owner; the audit names the system's user.
        who = Principal(f"command line, user {os.getuid()}", "owner")
        yield Desk(settings, House.of(settings), database, who)
    finally:
        database.close()


def with_store(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say where the store is."""
    command = click.option(
        "--ledger",
        type=click.Path(path_type=Path, dir_okay=False),
        help="A ledger's file instead of the configuration's.",
    )(command)
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="POINTSMAN_CONFIG",
        default=Path("pointsman.yaml"),
        show_default=True,
        help="The configuration file, whose `ledger` has the store.",
    )(command)


def seconds_of(text: str) -> float:
    """Read `90s`, `15m`, `24h`, `7d`, `2w` or `0`."""
    if text == "0":
        return 0.0
    if (match := _DURATION.fullmatch(text)) is None:
        raise click.BadParameter(f"{text!r}: write 15m, 24h, 7d or 0")
    return float(match[1]) * _SECONDS[match[2]]


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]], nothing: str) -> None:
    """Print columns; `nothing` is said where there are no rows."""
    if not rows:
        click.echo(nothing)
        return
    lines = [heads, *(["-" if cell is None else str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def print_fields(found: Mapping[str, object]) -> None:
    """Print one thing, a line for each of its fields that says something."""
    for name, value in found.items():
        if value not in (None, [], {}, ()):
            click.echo(f"{name + ':':<22}{shown(value)}")


def shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={shown(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        mark = "; " if any(isinstance(each, Mapping) for each in value) else ", "
        return mark.join(shown(each) for each in value)
    return str(value)
