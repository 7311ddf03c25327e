"""The demo from beginning to end."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from rich.console import Console

from pointsman.demo.books import audit, read_ledger
from pointsman.demo.burst import (
    AT_ONCE,
    audit_burst,
    burst_line,
    play_burst,
    read_account,
    read_burst,
)
from pointsman.demo.prompts import ALL, FAKE_KEY
from pointsman.demo.report import last_line, report
from pointsman.demo.show import Scene, make_show
from pointsman.demo.story import play
from pointsman.demo.world import FRONTIER, SIMULATED, world
from pointsman.domain.usage import Price
from pointsman.providers.prices import facts_of, table_version
from pointsman.testing.child import ChildFailed
from pointsman.testing.local_model import LocalModelMissing

PLAIN_WIDTH = 180
"""Columns where the output is no terminal: enough for the table's reasons."""


async def run_demo(folder: Path, console: Console) -> int:
    """Run it in `folder`; return the exit status: 0 when all that is shown was verified."""
    began = time.monotonic()
    scene = Scene(total=len(ALL))
    console.print("Pointsman demo: real work, no API key, nothing leaves this machine.\n")
    try:
        async with world(folder, lambda text: console.print(text, highlight=False)) as here:
            console.print()
            with make_show(console, scene) as show:
                answers = await play(here, scene, show)
            ledger_path = here.ledger
            journals = {}
            for name, provider in here.providers.items():
                await provider.journal.settled()
                journals[name] = provider.journal.calls
            console.print(f"--- burst: {AT_ONCE} requests at once, and a cent for all of them")
            burst = await play_burst(here)
    except (ChildFailed, LocalModelMissing) as error:
        console.print(f"demo: failed, {error}", highlight=False, markup=False, soft_wrap=True)
        return 1
    # The gateway has ended: its ledger is complete.
    ledger = read_ledger(ledger_path)
    prices = list_prices()
    checks = audit(answers, ledger, journals, prices, FAKE_KEY)
    account = read_account(ledger_path)
    checks += audit_burst(burst, account, read_burst(ledger_path), prices[FRONTIER])
    report(console, answers, ledger, checks, ledger_path, burst_line(burst, account))
    console.print()
    verdict = last_line(answers, ledger, checks, time.monotonic() - began)
    console.print(verdict, highlight=False, markup=False, soft_wrap=True)
    return 0 if all(check.holds for check in checks) else 1


async def keep_open(folder: Path, console: Console, port: int) -> int:
    """Start the same world on `port` and leave it to the user until interrupted."""
    try:
        async with world(folder, lambda text: console.print(text, highlight=False), port) as here:
            console.print(
                f"\nkey        {here.key}\nledger     {here.ledger}\n\n"
                f"curl {here.gateway_url}/v1/chat/completions -H 'authorization: Bearer {here.key}'"
                """ -d '{"model": "auto", "messages": [{"role": "user", "content": "Hello!"}]}'"""
                "\n\nCtrl-C ends it.",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
            await asyncio.Event().wait()
    except (ChildFailed, LocalModelMissing) as error:
        console.print(f"demo: failed, {error}", highlight=False, markup=False, soft_wrap=True)
    return 1


def list_prices() -> dict[str, Price]:
    """The simulated deployments' prices, read from the shipped table once more."""
    prices = {}
    for name, (provider, model) in SIMULATED.items():
        facts = facts_of(provider, model)
        if facts is None or facts.price is None:
            raise LookupError(f"{provider}/{model} has no list price in {table_version()}")
        prices[name] = facts.price
    return prices


def main(folder: Path, serve_on: int | None = None) -> int:
    """Run the demo on standard output, or leave its world open on the port `serve_on`.

    Returns the exit status: Ctrl-C leaves a demo unfinished (130), but is how a world ends (0).
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    try:
        if serve_on is not None:
            return asyncio.run(keep_open(folder, console, serve_on))
        return asyncio.run(run_demo(folder, console))
    except KeyboardInterrupt:
        console.print("demo: interrupted; everything it started has been ended")
        return 130 if serve_on is None else 0
