"""What `pointsman usage` and `pointsman report` share: the ledger, whose figures, and options."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pointsman.cli.periods import FORMS, moment
from pointsman.clock import SystemClock
from pointsman.errors import ConfigError, InvalidRequest

if TYPE_CHECKING:
    from pointsman.reports.api import Context
    from pointsman.reports.question import Whose
    from pointsman.store.database import Database

DEFAULT_LEDGER = "pointsman.db"


@dataclass(frozen=True, slots=True)
class Asked:
    """What every subcommand has: an open ledger, and whose figures. is_copy: the ledger itself is
    left as it is, and what is written is lost. config: the file that was named, if any."""

    database: Database
    whose: Whose
    now: float
    is_copy: bool
    config: Path | None


Command = Callable[..., None]
Answer = Callable[..., Mapping[str, Any]]


def ledger_options(command: Command) -> Command:
    """Add the options that say where the ledger is."""
    for option in (
        click.option(
            "--ledger",
            envvar="POINTSMAN_LEDGER",
            help="The ledger's file, or postgresql://… Default: the configuration's, else "
            f"./{DEFAULT_LEDGER}.",
        ),
        click.option(
            "-c", "--config", type=click.Path(path_type=Path), help="A file with a `ledger`."
        ),
    ):
        command = option(command)
    return command


def over_ledger(command: Command) -> Command:
    """Hand a command the open ledger, as `Asked`, in place of the options that say which it is
    and whose figures are meant."""

    @functools.wraps(command)
    def run(config: Path | None, ledger: str | None, tenant: str | None, **asks: Any) -> None:
        with opened(config, ledger, tenant) as asked:
            command(asked, **asks)

    tenant = click.option("--tenant", help="One tenant's figures only. Default: everybody's.")
    return ledger_options(tenant(run))


def told(show: Callable[[Any], None]) -> Callable[[Answer], Command]:
    """Make a command of a function from `Asked` to what JSON can say, and one that shows it."""

    def decorated(answer: Answer) -> Command:
        @functools.wraps(answer)
        def run(asked: Asked, as_json: bool, **asks: Any) -> None:
            found = answer(asked, **asks)
            if as_json:
                click.echo(json.dumps(found, indent=2))
            else:
                show(found)

        return over_ledger(as_json_option(run))

    return decorated


def with_selection(command: Command) -> Command:
    """Add the options that say what is added up."""
    for option in (
        click.option("--timezone", default="UTC", show_default=True, help="Where days begin."),
        click.option(
            "--bucket",
            type=click.Choice(["hour", "day", "week", "month"]),
            help="A line for each period.",
        ),
        where_option,
        click.option("--until", help="Until when, itself left out. Default: now."),
        click.option("--since", help=f"From when: {FORMS}. Default: the beginning."),
        click.option(
            "--by",
            default="model",
            show_default=True,
            help="What to group by, with commas: tenant, team, app, user, key, route, operation, "
            "outcome, model, provider, deployment, tier, tag:NAME.",
        ),
    ):
        command = option(command)
    return command


where_option = click.option(
    "--where",
    multiple=True,
    metavar="DIMENSION=VALUE",
    help="Only these; repeat for more. Two values of one dimension: either. Empty: has none.",
)
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@contextmanager
def opened(config: Path | None, ledger: str | None, tenant: str | None) -> Iterator[Asked]:
    """Open the ledger that the options name; what is wrong with the question names its option."""
    from pointsman.ledger.reading import reading
    from pointsman.reports import EVERYONE

    clock = SystemClock()
    with reading(_place(config, ledger), clock) as read:
        whose = EVERYONE if tenant is None else tenant
        try:
            yield Asked(read.database, whose, clock.wall(), read.is_copy, config)
        except InvalidRequest as error:
            raise click.BadParameter(error.message, param_hint=_hint(error.param)) from None


def _hint(param: str | None) -> str | None:
    return None if param is None else f"--{param.replace('_', '-')}"


def _place(config: Path | None, ledger: str | None) -> str:
    """Where the ledger is: named, or of the configuration, or in this directory. The configuration
    is read for this alone: no other key it refers to need be there."""
    if ledger is not None:
        return ledger
    if config is None:
        return DEFAULT_LEDGER
    from pointsman.config.references import follow
    from pointsman.config.yaml_marks import YamlProblem, read_yaml

    try:
        root, _ = read_yaml(config.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, YamlProblem) as error:
        raise ConfigError(f"--config {config}: cannot be read: {error}") from error
    block = root.value.get("ledger") if isinstance(root.value, dict) else None
    said = block.value if block and isinstance(block.value, dict) else {}
    stated = {name: each.value for name, each in said.items() if isinstance(each.value, str)}
    if "url" in stated:
        try:
            return follow(stated["url"], os.environ, config.parent).reveal()
        except ValueError as error:
            raise ConfigError(f"--config {config}: ledger.url: {error}") from error
    if "path" in stated:
        return str(config.parent / Path(stated["path"]).expanduser())
    raise ConfigError(
        f"--config {config}: it has no ledger.path or ledger.url, so nothing is kept; "
        "add `ledger: {path: pointsman.db}`, or name one with --ledger"
    )


def context_of(asked: Asked, deployments: Sequence[Any] = ()) -> Context:
    from pointsman.reports.api import Context

    return Context(asked.database, asked.whose, asked.now, deployments)


def selection_of(options: Mapping[str, Any]) -> dict[str, Any]:
    return {**options, "where": joined(options["where"])}


def joined(where: Sequence[str]) -> str:
    if odd := [each for each in where if "=" not in each or "," in each]:
        raise click.BadParameter(f"{odd[0]!r} is no DIMENSION=VALUE", param_hint="--where")
    return ",".join(where)


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    found = dict(text.partition("=")[::2] for text in texts)
    if "" in found.values():
        raise click.BadParameter("write NAME=VALUE", param_hint=option)
    return found


def moment_of(option: str, text: str | None, now: float) -> float | None:
    try:
        return None if text is None else moment(text, now)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None
