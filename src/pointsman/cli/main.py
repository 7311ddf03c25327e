"""The `pointsman` command: a table of subcommands, each imported only when it is called.

So `pointsman --help` costs what click costs, and a subcommand whose parts are not installed
does not break the others.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass

import click

from pointsman.errors import PointsmanError


@dataclass(frozen=True, slots=True)
class Entry:
    """`pointsman.cli.<module>:<attribute>` and the line that the overview shows."""

    module: str
    attribute: str
    line: str


def _own(name: str, line: str) -> Entry:
    return Entry(f"pointsman.cli.{name}", name, line)


COMMANDS: Mapping[str, Entry] = {
    "serve": _own("serve", "Run the gateway."),
    "check": _own("check", "Explain a configuration without starting."),
    "explain": _own("explain", "Show which deployment a request would go to, and why."),
    "chat": _own("chat", "Send one message and show the answer with its cost."),
    "usage": _own("usage", "Report what was spent, by model, route, user, app or tag."),
    "report": _own("report", "Trends, forecasts, drivers, exports, and invoices that agree."),
    "keys": _own("keys", "Make, list, rotate and revoke API keys."),
    "budgets": _own("budgets", "Show and set limits, and how far they are used."),
    "alerts": _own("alerts", "Show alerts about money, see to them, try where they go."),
    "provider": _own("provider", "Run a provider that fails as scripted, for tests."),
    "migrate": _own("migrate", "Turn another router's file into ours."),
    "schema": _own("schema", "Print the JSON Schema of the configuration file."),
    "conformance": _own("conformance", "Check how a gateway reads and charges usage."),
    "demo": _own("demo", "Route real work between models with no API key."),
}
"""Every subcommand, in the order that the overview shows."""


class LazyGroup(click.Group):
    """Resolves a subcommand when it is called, and shows our own errors without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            near = difflib.get_close_matches(cmd_name, COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {cmd_name!r}.{hint}")
        try:
            command = getattr(importlib.import_module(entry.module), entry.attribute)
        except ImportError as error:
            missing = error.name or entry.module
            raise click.ClickException(
                f"`pointsman {cmd_name}` needs {missing}, which is not installed; "
                "install Pointsman anew"
            ) from error
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.line) for name, entry in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except PointsmanError as error:
            click.echo(f"Error: {error.message}", err=True)
            ctx.exit(1)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: pointsman check pointsman.yaml && pointsman serve --config pointsman.yaml",
)
@click.version_option(package_name="pointsman", prog_name="pointsman")
def main() -> None:
    """Pointsman routes requests between language models: it decides, falls back, accounts
    and explains."""
