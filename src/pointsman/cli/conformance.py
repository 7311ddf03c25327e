"""`pointsman conformance`: suites that anyone can run, against us or against another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pointsman.conformance.run import Result


@click.group(epilog="Example: pointsman conformance usage --only openai/")
def conformance() -> None:
    """Run a suite by which gateways can be checked."""


@conformance.command(
    epilog="Example: pointsman conformance usage; and of another program that reads a case a line "
    "and answers one: pointsman conformance usage --only openai/ python their_reader.py",
    context_settings={"ignore_unknown_options": True},
)
@click.option("--only", default="", help="Only cases whose id begins so.")
@click.option("--quick", is_flag=True, help="Leave out cutting each stream at every byte.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def usage(only: str, quick: bool, as_json: bool, command: tuple[str, ...]) -> None:
    """Check what is read of providers' usage, and what it costs.

    Exits with 1 where anything differs. COMMAND is another program to be asked instead of us; see
    docs/usage.md for what it is sent."""
    from pointsman.conformance.peer import Peer
    from pointsman.conformance.run import Ours, run

    with Peer(command) if command else nullcontext(Ours(borders=not quick)) as reader:
        results = list(run(reader, lambda case: case.id.startswith(only)))
    if not results:
        raise click.UsageError(f"no case begins with {only!r}")
    wrong = [each for each in results if not each.holds]
    if as_json:
        import orjson

        click.echo(orjson.dumps(_report(results), option=orjson.OPT_INDENT_2))
    else:
        for line in _lines(results):
            click.echo(line)
    if wrong:
        raise click.exceptions.Exit(1)


def _report(results: list[Result]) -> dict[str, object]:
    return {
        "cases": len(results),
        "asked": sum(len(each.forms) for each in results),
        "differ": sum(not each.holds for each in results),
        "results": [
            {
                "id": each.id,
                "holds": each.holds,
                "untold": sorted(each.untold),
                "differences": [
                    {"form": one.form, "field": one.field, "right": one.right, "got": one.got}
                    for one in each.differences[:20]
                ],
            }
            for each in results
        ],
    }


def _lines(results: list[Result]) -> Iterator[str]:
    """A line a case, and below it what differs; a form or a field once."""
    for each in results:
        mark = "ok    " if each.holds else "DIFFER"
        yield f"{mark} {each.id:<34} {each.says}"[:118]
        seen: set[str] = set()
        for one in each.differences:
            if one.field not in seen:
                seen.add(one.field)
                yield f"         {one.form}: {one.field} is {one.got!r}, right is {one.right!r}"
    asked = sum(len(each.forms) for each in results)
    differ = sum(not each.holds for each in results)
    untold = sorted(set[str]().union(*(each.untold for each in results)))
    if untold:
        yield f"not told: {', '.join(untold)}"
    yield f"{len(results)} cases, asked {asked:,} times, {differ} differ"
