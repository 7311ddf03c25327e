"""`pointsman keys`: make, list, rotate and revoke API keys, on the store itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, get_args

import click

from pointsman.access.keys import (
    found_key,
    listed_keys,
    make_key,
    revoke_key,
    rotate_key,
)
from pointsman.access.principal import EVERYTHING, Sight
from pointsman.access.records import NewKey, told
from pointsman.access.shaping import shaped
from pointsman.cli.store import opened, print_fields, print_table, seconds_of, with_store
from pointsman.domain.call import CRITICALITIES
from pointsman.domain.content import JsonObject
from pointsman.domain.windows import Period

_LIMITS: Final = (
    "budget_usd",
    "budget_window",
    "max_cost_usd",
    "requests_per_minute",
    "tokens_per_minute",
    "usd_per_minute",
    "budgets",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(epilog="Example: pointsman keys create web --team search --budget-usd 50")
def keys() -> None:
    """Make, list, rotate and revoke API keys.

    Works on the ledger's store of a configuration, beside running servers, which go by a change
    within two seconds. Keys of the file's `server.keys` are not touched, nor listed. A key's text
    is shown once, when it is made: only a digest of it is kept.

    Exit status: 0, 1 where something is refused or the store is not there, 2 for wrong usage.
    """


@keys.command(
    epilog="Example: pointsman keys create web --tenant acme --route auto --expires 2027-01-31"
)
@click.argument("name")
@click.option("--tenant", help="The customer it belongs to; the key is then called TENANT/NAME.")
@click.option("--team", help="The team its cost belongs to.")
@click.option("--app", help="The application that uses it.")
@click.option("--user", help="The person who uses it.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Repeat for more.")
@click.option("--route", "routes", multiple=True, help="May ask for this only; repeat for more.")
@click.option("--budget-usd", type=float, help="The most it may spend within a window.")
@click.option("--budget-window", type=click.Choice(get_args(Period)), help="Default month.")
@click.option("--max-cost-usd", type=float, help="The most one request may cost.")
@click.option("--requests-per-minute", type=int)
@click.option("--tokens-per-minute", type=int)
@click.option("--usd-per-minute", type=float)
@click.option("--max-in-flight", type=int, help="Requests at once, in one worker.")
@click.option("--budget", "budgets", multiple=True, help="A named budget it draws on; repeat.")
@click.option("--criticality", type=click.Choice(CRITICALITIES), help="Default `default`.")
@click.option("--weight", type=float, help="Its tenant's share where there is not room for all.")
@click.option("--expires", help="Last moment it is good for: 2027-01-31 or 2027-01-31T12:00Z.")
@with_store
@_as_json
def create(config: Path, ledger: Path | None, as_json: bool, **options: Any) -> None:
    """Make a key and show it, this once."""
    new = shaped(NewKey, _fields(options))
    with opened(config, ledger) as desk:
        key, text = make_key(desk.database, desk.who, new, desk.house, desk.pepper())
        _print_made({**told(key, desk.now), "key": text}, as_json)


@keys.command(name="list", epilog="Example: pointsman keys list --tenant acme --json")
@click.option("--tenant", help="Only this tenant's.")
@click.option("--all", "with_ended", is_flag=True, help="Also those expired and revoked.")
@with_store
@_as_json
def list_(
    config: Path, ledger: Path | None, as_json: bool, tenant: str | None, with_ended: bool
) -> None:
    """List the keys there are."""
    sight = EVERYTHING if tenant is None else Sight(tenant)
    found: list[JsonObject] = []
    with opened(config, ledger) as desk:
        after = ""
        while page := listed_keys(desk.database, sight, after=after):
            after = page[-1].name
            found += [
                told(key, desk.now) for key in page if with_ended or key.state(desk.now) == "active"
            ]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    heads = ("name", "id", "state", "team", "app", "expires", "last_used")
    rows = [[key.get(head) for head in heads] for key in found]
    print_table(heads, rows, "No keys. Make one with `pointsman keys create NAME`.")


@keys.command(epilog="Example: pointsman keys show acme/web")
@click.argument("key")
@with_store
@_as_json
def show(config: Path, ledger: Path | None, as_json: bool, key: str) -> None:
    """Show a key, by its id or name; not its text, which nobody has."""
    with opened(config, ledger) as desk:
        _print(told(found_key(desk.database, EVERYTHING, key), desk.now), as_json)


@keys.command(epilog="Example: pointsman keys rotate acme/web --overlap 7d")
@click.argument("key")
@click.option(
    "--overlap",
    default="24h",
    show_default=True,
    help="How long the old secret stays good: 15m, 24h, 7d, or 0 to end it now.",
)
@with_store
@_as_json
def rotate(config: Path, ledger: Path | None, as_json: bool, key: str, overlap: str) -> None:
    """Give a key a new secret, and show it, this once."""
    overlap_s = seconds_of(overlap)
    with opened(config, ledger) as desk:
        found, text = rotate_key(desk.database, desk.who, key, overlap_s, desk.pepper())
        _print_made({**told(found, desk.now), "key": text}, as_json)


@keys.command(epilog="Example: pointsman keys revoke acme/web")
@click.argument("key")
@with_store
@_as_json
def revoke(config: Path, ledger: Path | None, as_json: bool, key: str) -> None:
    """End a key for good. Requests under way end as they began; its name stays taken."""
    with opened(config, ledger) as desk:
        _print(told(revoke_key(desk.database, desk.who, key), desk.now), as_json)


def _fields(options: dict[str, Any]) -> dict[str, Any]:
    """What the options say, in the shape of a new key."""
    said = {name: value for name, value in options.items() if value not in (None, ())}
    if "tags" in said:
        pairs = [tag.partition("=") for tag in said["tags"]]
        for name, sign, value in pairs:
            if not (name and sign and value):
                raise click.BadParameter(f"{name!r}: write --tag NAME=VALUE")
        said["tags"] = {name: value for name, _, value in pairs}
    limits = {name: said.pop(name) for name in _LIMITS if name in said}
    return {**said, "limits": limits}


def _print_made(found: JsonObject, as_json: bool) -> None:
    _print(found, as_json)
    if not as_json:
        click.echo("The key is shown this once: put it where it is needed now.", err=True)


def _print(found: JsonObject, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        print_fields(found)
