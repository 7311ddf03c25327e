"""`pointsman migrate`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click


@click.command(epilog="Example: pointsman migrate litellm/config.yaml -o pointsman.yaml")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Default: print it."
)
@click.option(
    "--url",
    "urls",
    multiple=True,
    metavar="PROVIDER=URL",
    help="Address of a provider that llm-router's file does not state. May be repeated.",
)
@click.option("--force", is_flag=True, help="Overwrite the output file.")
@click.option("--json", "as_json", is_flag=True, help="Print file and notes as one JSON object.")
@click.pass_context
def migrate(
    ctx: click.Context,
    file: Path,
    output: Path | None,
    urls: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Turn FILE, a LiteLLM config.yaml or a file of the TypeScript llm-router, into ours.

    Prints every key that could not be carried over, and why. Keys written out in the old file
    are never copied. Exit status: 0 when the new file passes `pointsman check` once its
    variables are set, else 1.
    """
    from pointsman.config.migrate import migrate as carry

    given = dict(_url(ctx, text) for text in urls)
    if output is not None and output.exists() and not force:
        raise click.UsageError(f"{output} exists; add --force to overwrite it")
    result = carry(file.read_text(encoding="utf-8-sig"), str(file), given)
    if as_json:
        shown = {
            "format": result.format,
            "file": result.text,
            "notes": [asdict(note) for note in result.notes],
            "variables": list(result.variables),
            "problems": list(result.problems),
        }
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    elif output is None:
        click.echo(result.text, nl=False)
    if output is not None:
        output.write_text(result.text, encoding="utf-8")
    if not as_json:
        for note in result.notes:
            click.echo(f"{file}:{note.line}: {note.path}: {note.kind}: {note.text}", err=True)
        if result.variables:
            click.echo(f"set these variables: {', '.join(result.variables)}", err=True)
        for problem in result.problems:
            click.echo(f"to be mended by hand: {problem}", err=True)
    if result.problems:
        ctx.exit(1)


def _url(ctx: click.Context, text: str) -> tuple[str, str]:
    name, equals, url = text.partition("=")
    if not equals or not name or not url:
        ctx.fail(f"--url {text}: write PROVIDER=URL")
    return name, url
