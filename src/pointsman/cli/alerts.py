"""`pointsman alerts`: which stand, that somebody sees to one, and whether a sink is reached."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from pointsman.access.principal import EVERYTHING, Sight
from pointsman.cli.store import opened, print_table, with_store
from pointsman.clock import SystemClock
from pointsman.errors import NotFound

if TYPE_CHECKING:
    from pointsman.config.settings_money import SinkSettings


@click.group(epilog="Example: pointsman alerts list --all")
def alerts() -> None:
    """Show alerts about money, see to them, and try the sinks.

    Works on the ledger's store, beside running servers.

    Exit status: 0, 1 where something is not there or was not taken, 2 for wrong usage.
    """


@alerts.command(name="list", epilog="Example: pointsman alerts list --tenant north --json")
@click.option("--all", "is_all", is_flag=True, help="Show the resolved ones as well.")
@click.option("--tenant", help="Only what this tenant's administrators see.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_store
def list_(
    config: Path, ledger: Path | None, is_all: bool, tenant: str | None, limit: int, as_json: bool
) -> None:
    """List the alerts that stand, the newest first."""
    from pointsman.alerts.book import list_alerts

    sight = EVERYTHING if tenant is None else Sight(tenant)
    with opened(config, ledger) as desk:
        lines = list_alerts(desk.database, sight, is_all=is_all, most=limit)
    if as_json:
        click.echo(json.dumps([msgspec.to_builtins(line) for line in lines], indent=2))
        return
    rows = [
        (
            *(line.id, _moment(line.raised_at), line.severity, line.kind, line.state),
            *(line.acked_by, line.text),
        )
        for line in lines
    ]
    heads = ("id", "since", "severity", "kind", "state", "by", "what")
    print_table(heads, rows, "No alerts." if is_all else "Nothing stands.")


@alerts.command(epilog="Example: pointsman alerts ack 12 --by ada")
@click.argument("id", type=int)
@click.option("--by", help="Who sees to it. Default: the system's user.")
@with_store
def ack(config: Path, ledger: Path | None, id: int, by: str | None) -> None:
    """Say that somebody sees to alert ID: it is not told again while it stands."""
    from pointsman.alerts.book import acknowledge

    with opened(config, ledger) as desk:
        if not acknowledge(desk.database, id, EVERYTHING, by or _user()):
            raise NotFound(f"there is no alert {id}; `pointsman alerts list --all` shows them")


@alerts.command(epilog="Example: pointsman alerts test --sink oncall")
@click.option("--sink", help="Only this one. Default: all that are configured.")
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="POINTSMAN_CONFIG",
    default=Path("pointsman.yaml"),
    show_default=True,
    help="The configuration file, whose `alerts` has the sinks.",
)
def test(config: Path, sink: str | None) -> None:
    """Send a message to the sinks, once, and say which have taken it."""
    from pointsman.config.load import load

    settings = load(config, os.environ).alerts
    chosen = [each for each in settings.sinks if sink in (None, each.name)]
    if not chosen:
        what = "no sinks are configured" if sink is None else f"no sink is called {sink!r}"
        raise NotFound(f"{config}: {what}; add it below `alerts.sinks`")
    problems = asyncio.run(_tried(chosen))
    for name, problem in problems.items():
        click.echo(f"{name}: {problem or 'taken'}")
    if any(problems.values()):
        raise SystemExit(1)


async def _tried(settings: list[SinkSettings]) -> dict[str, str]:
    """Why each sink has not taken a message; "" where it has."""
    from pointsman.alerts.alert import Told
    from pointsman.alerts.sinks import NotTaken, sink_of
    from pointsman.providers.lean import LeanTransport

    transport = LeanTransport()
    problems = {}
    try:
        for each in settings:
            told = Told(
                delivery=f"test-{os.urandom(6).hex()}",
                event="raised",
                id=0,
                kind="test",
                severity="info",
                text="this is a test of the sink; nothing is wrong",
                tenant=None,
                raised_at=SystemClock.wall(),
                facts={"sink": each.name},
            )
            try:
                await sink_of(each, transport, SystemClock.wall)(told)
            except NotTaken as problem:
                problems[each.name] = f"not taken: {problem}"
            else:
                problems[each.name] = ""
    finally:
        await transport.close()
    return problems


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
