"""`pointsman schema`."""

from __future__ import annotations

import json

import click


@click.command(
    epilog="Example: pointsman schema > pointsman.schema.json, then begin the file with the line "
    "`# yaml-language-server: $schema=pointsman.schema.json`"
)
def schema() -> None:
    """Print the JSON Schema (2020-12) of the configuration file, for editors."""
    from pointsman.config.publish import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
