"""`pointsman provider`: run the fault provider as a server."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from pathlib import Path

import click
import uvloop

from pointsman.errors import ConfigError
from pointsman.testing import PERSONAS, SCENARIOS, FaultProvider, Journal, Scenario, load_scenario

_EPILOG = """\b
Example:
  pointsman provider --port 9001 --scenario dies_after_20 --journal provider.jsonl
  curl -s http://127.0.0.1:9001/v1/chat/completions -H 'x-fault: {"cut": {"after_tokens": 3}}' \\
    -d '{"model": "any", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}'
"""


@click.command(epilog=_EPILOG)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, help="Port; 0 lets the kernel choose.")
@click.option(
    "--journal",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append what was asked and billed to this file, as JSON lines.",
)
@click.option("--scenario", help="A scenario's name, or a YAML file.")
@click.option("--persona", type=click.Choice(tuple(PERSONAS)), help="Manner and speed of answers.")
@click.option("--seed", type=int, help="Seed of everything that is drawn.")
@click.option("--list-scenarios", is_flag=True, help="Show the known scenarios and leave.")
def provider(
    host: str,
    port: int,
    journal: Path | None,
    scenario: str | None,
    persona: str | None,
    seed: int | None,
    list_scenarios: bool,
) -> None:
    """Run a simulated provider that speaks OpenAI's and Anthropic's API and can fail on purpose.

    It needs no key, prints its URL, and ends on SIGTERM or Ctrl-C. It is directed by its
    scenario, by the header x-fault, or by POST /_provider/script.
    """
    if list_scenarios:
        width = max(map(len, SCENARIOS))
        for name, known in SCENARIOS.items():
            click.echo(f"{name:<{width}}  {known.about}")
        return
    try:
        chosen = load_scenario(scenario or "healthy")
    except ConfigError as error:
        raise click.ClickException(error.message) from error
    if persona is not None:
        chosen = replace(chosen, persona=PERSONAS[persona])
    if seed is not None:
        chosen = replace(chosen, seed=seed)
    try:
        uvloop.run(_serve(chosen, host, port, journal))
    except OSError as error:
        raise click.ClickException(f"cannot serve on {host}:{port}: {error.strerror}") from error


_KEPT = 1000
"""Entries a long-running server keeps in memory, for `GET /_provider/journal`."""


async def _serve(scenario: Scenario, host: str, port: int, journal: Path | None) -> None:
    books = Journal(journal, keep=_KEPT, bodies=False)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with FaultProvider.of(scenario, host=host, port=port, journal=books) as running:
        click.echo(running.url)
        await ended.wait()
