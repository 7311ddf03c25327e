"""`pointsman check`: what a configuration will do, without starting anything."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

DEFAULT_FILE = "pointsman.yaml"
WHOLE = frozenset({"tier", "key", "dialect", "context", "output"})
"""Columns whose cells stay on one line; names and prices may go on in a second."""

BESIDE_NAME = 55
"""Characters that the other columns of the deployments need at least."""


@click.command(
    epilog="Example: pointsman check pointsman.yaml   (for programs: pointsman check --json)"
)
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--strict", is_flag=True, help="Exit with 1 on warnings, too.")
@click.pass_context
def check(ctx: click.Context, file: Path | None, as_json: bool, strict: bool) -> None:
    """Read FILE (default pointsman.yaml; without one, what the environment offers) and explain
    providers, prices, routes, fallbacks and timeouts. Calls no provider.

    Exit status: 0 good, 1 not.
    """
    from pointsman.config.problems import BadConfig

    try:
        description = _describe(file)
    except BadConfig as error:
        if not as_json:
            raise
        problems = [
            {"line": p.line, "path": p.path, "what": p.what, "remedy": p.remedy}
            for p in error.problems
        ]
        click.echo(json.dumps({"origin": error.origin, "errors": problems}, indent=2))
        ctx.exit(1)
    if as_json:
        click.echo(json.dumps(description, indent=2, ensure_ascii=False))
    else:
        from rich.console import Console

        console = Console(highlight=False)
        print_description(description, console if console.is_terminal else _plain_console())
    if strict and description["warnings"]:
        ctx.exit(1)


def _plain_console() -> Console:
    """For files and pipes: no colours, and wide enough that rows stay on one line."""
    from rich.console import Console

    return Console(highlight=False, no_color=True, width=200)


def _describe(file: Path | None) -> dict[str, Any]:
    from pointsman.books import check_shared
    from pointsman.config.describe import describe
    from pointsman.config.known import shipped
    from pointsman.config.lints import Examined
    from pointsman.config.load import Loaded, read

    if file is None and Path(DEFAULT_FILE).exists():
        file = Path(DEFAULT_FILE)
    loaded: Loaded = read(file, os.environ) if file is not None else _discovered()
    if loaded.settings.server.workers > 1:
        check_shared(loaded.settings)
    examined = Examined(loaded.settings, loaded.root, os.environ, shipped())
    return describe(examined, loaded.key_sources)


def _discovered() -> Any:
    import asyncio

    from pointsman.config.discover import discover_all, probe_http

    loaded, lines = asyncio.run(discover_all(os.environ, probe_http))
    for line in lines:
        click.echo(line, err=True)
    return loaded


def print_description(description: dict[str, Any], console: Console) -> None:
    """Show it to a person: tables on a terminal and in a file alike."""
    console.print(f"[bold]{description['origin']}[/] is good.")
    _print_server(description, console)
    _print_providers(description, console)
    _print_deployments(description, console)
    _print_limits(description, console)
    for route in description["routes"]:
        _print_route(route, console)
    warnings = description["warnings"]
    if warnings:
        console.print(f"\n[bold]{len(warnings)} warning(s)[/]")
    for warning in warnings:
        remedy = f"; {warning['remedy']}" if warning["remedy"] else ""
        where = f"{description['origin']}:{warning['line']}: {warning['path']}"
        _say(console, f"  {where}: {warning['what']}{remedy}")


def _say(console: Console, text: str) -> None:
    """Print a line; where a terminal is too narrow, go on below it, further in."""
    if console.is_terminal:
        indent = " " * (len(text) - len(text.lstrip()) + 4)
        text = textwrap.fill(
            text,
            console.width,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    console.print(text, markup=False, soft_wrap=True)


def _table(title: str, *heads: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold", no_wrap=head in WHOLE)
    return table


def _print_server(description: dict[str, Any], console: Console) -> None:
    server = description["server"]
    keys = ", ".join(key["name"] for key in server["keys"]) or "none: anybody may call"
    _say(console, f"listens on {server['address']}, {server['workers']} worker(s)")
    _say(console, f"callers' keys: {keys}")
    _say(console, f"ledger: {description['ledger'] or 'in memory'}")
    admin, cache, sinks = (description[part] for part in ("admin", "cache", "alerts"))
    if admin["tokens"]:
        who = ", ".join(f"{token['name']} ({token['role']})" for token in admin["tokens"])
        _say(console, f"administered on {admin['address']} by {who}")
    if cache["mode"] != "off":
        _say(console, f"cache: {cache['mode']}, in {cache['store']}, for {cache['ttl_s']:g} s")
    if (redis := description["redis"]) is not None:
        does = "counts rates" if redis["rates"] else "counts no rates"
        _say(console, f"redis: {does}, waited for {redis['timeout_s']:g} s at most")
    if sinks:
        _say(console, f"alerts go to {', '.join(sink['name'] for sink in sinks)}")


def _print_providers(description: dict[str, Any], console: Console) -> None:
    table = _table("\nProviders", "name", "url", "dialect", "key")
    for provider in description["providers"]:
        table.add_row(provider["name"], provider["url"], provider["dialect"], provider["key"])
    console.print(table)


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _print_deployments(description: dict[str, Any], console: Console) -> None:
    table = _table(
        "Deployments, price in USD per million input / output tokens",
        "tier",
        "name",
        "price",
        "context",
        "output",
    )
    order = {"frontier": 0, "workhorse": 1, "local": 2}
    longest = max((len(each["name"]) for each in description["deployments"]), default=0)
    table.columns[1].min_width = min(longest, max(20, console.width - BESIDE_NAME))
    able: dict[str, list[str]] = {}
    for each in sorted(description["deployments"], key=lambda one: order[one["tier"]]):
        table.add_row(
            each["tier"],
            each["name"],
            each["price"],
            _number(each["context_tokens"]),
            _number(each["output_tokens"]),
        )
        able.setdefault(", ".join(each["capabilities"]) or "nothing", []).append(each["name"])
    console.print(table)
    for abilities, names in able.items():
        _say(console, f"  {', '.join(names)} can: {abilities}")
    for each in description["deployments"]:
        if each["preload"] is not None:
            _say(console, f"  {each['name']} is made ready: {each['preload']}")


def _print_limits(description: dict[str, Any], console: Console) -> None:
    if not description["limits"]:
        return
    table = _table("\nLimits", "name", "scope", "limit", "window", "mode", "at the limit")
    for each in description["limits"]:
        only = "" if each["match"] is None else f": {', '.join(each['match'])}"
        whose = "" if each["tenant"] is None else f", of {each['tenant']}"
        table.add_row(
            *(each["name"], f"{each['scope']}{only}{whose}", each["limit"]),
            *(each["window"] or "–", each["mode"], each["at_cap"]),
        )
    console.print(table)


def _print_route(route: dict[str, Any], console: Console) -> None:
    aliases = f" (also {', '.join(route['aliases'])})" if route["aliases"] else ""
    console.print(f"\n[bold]Route {route['name']}[/]{aliases}: strategy {route['strategy']}")
    ranked = ", ".join(_candidate(each) for each in route["candidates"]) or "nobody"
    how = f"drawn by {route['picker']} from" if route["by_lot"] else "in this order"
    _say(console, f"  a typical request: {how}: {ranked}")
    for each in route["rejected"]:
        _say(console, f"  not {each['deployment']}: {each['reason']}")
    for rule in route["rules"]:
        _say(console, f"  rule {rule['name']}: when {rule['when']}: {_use(rule)}")
    _print_fallback(route["fallback"], console)
    times = route["timeouts"]
    _say(console, "  timeouts: " + ", ".join(f"{k[:-2]} {v:g} s" for k, v in times.items()))
    limits = {key: value for key, value in route["limits"].items() if value}
    limits.pop("sensitive_tiers", None)
    if limits:
        _say(console, f"  hard limits: {', '.join(f'{k} {v}' for k, v in limits.items())}")


def _candidate(candidate: dict[str, Any]) -> str:
    cost = candidate["cost_usd"]
    shown = "cost unknown" if cost is None else f"${cost:.6f}".rstrip("0").rstrip(".")
    return f"{candidate['deployment']} ({shown})"


def _use(rule: dict[str, Any]) -> str:
    parts = []
    if rule["tiers"] is not None:
        parts.append(f"tiers {', '.join(rule['tiers'])}")
    if rule["deployments"] is not None:
        parts.append(f"deployments {', '.join(rule['deployments'])}")
    if rule["strategy"] is not None:
        parts.append(f"strategy {rule['strategy']}")
    if rule["weights"] is not None:
        parts.append("weights " + ", ".join(f"{k} {v:g}" for k, v in rule["weights"].items()))
    return "; ".join(parts)


def _print_fallback(fallback: dict[str, Any], console: Console) -> None:
    """One line for each different way to go on, naming the kinds that take it."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for kind, names in fallback["after"].items():
        kinds.setdefault(tuple(names), []).append(kind)
    for names, same in kinds.items():
        then = " → ".join(names) or "give up"
        _say(console, f"  after {', '.join(same)}: {then}")
    for name, reason in fallback["skipped"].items():
        _say(console, f"  passed over: {name}: {reason}")
