"""The command as a whole: lazy, and without tracebacks."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping

import click
import jsonschema
import pytest
from click.testing import CliRunner

from pointsman.cli.main import COMMANDS, Entry, LazyGroup, main
from pointsman.errors import ConfigError

LOADED = (
    "import sys; from pointsman.cli.main import main; main(['--help'], standalone_mode=False); "
    "print(sorted(m for m in sys.modules if m.startswith('pointsman.')), file=sys.stderr)"
)


def test_the_overview_imports_no_subcommand() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == str(["pointsman.cli", "pointsman.cli.main", "pointsman.errors"])
    assert all(name in done.stdout for name in COMMANDS)


def test_the_package_runs_as_a_module() -> None:
    words = [sys.executable, "-m", "pointsman", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("pointsman, version ")


@pytest.mark.parametrize("name", ["check", "schema", "migrate"])
def test_every_help_shows_an_example(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert f"Example: pointsman {name}" in result.output


def test_every_subcommand_that_is_there_resolves_and_shows_an_example() -> None:
    context = click.Context(main)
    for name, entry in COMMANDS.items():
        if importlib.util.find_spec(entry.module) is not None:
            command = main.get_command(context, name)
            assert command is not None
            assert command.epilog is not None
            assert "Example" in command.epilog


@click.command()
def failing() -> None:
    raise ConfigError("f.yaml:1: a: wrong; mend it")


TABLE: Mapping[str, Entry] = {
    "failing": Entry(__name__, "failing", "Fail."),
    "missing": Entry("pointsman_is_not_here", "x", "Be missing."),
}


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> LazyGroup:
    """A group with a subcommand that fails and one that is not installed."""
    module = sys.modules["pointsman.cli.main"]
    monkeypatch.setattr(module, "COMMANDS", {**COMMANDS, **TABLE})
    return LazyGroup("pointsman")


def test_our_own_errors_are_one_line_on_stderr(group: LazyGroup) -> None:
    result = CliRunner().invoke(group, ["failing"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: f.yaml:1: a: wrong; mend it\n"


def test_a_missing_subcommand_does_not_break_the_others(group: LazyGroup) -> None:
    result = CliRunner().invoke(group, ["missing"])
    assert result.exit_code == 1
    assert "`pointsman missing` needs pointsman_is_not_here" in result.stderr
    assert CliRunner().invoke(group, ["schema"]).exit_code == 0
    assert CliRunner().invoke(group, ["--help"]).exit_code == 0


def test_a_misspelt_subcommand_is_refused_with_the_nearest() -> None:
    result = CliRunner().invoke(main, ["chekc"])
    assert result.exit_code == 2
    assert "No such command 'chekc'" in result.stderr
    assert "check" in result.stderr


def test_the_schema_is_printed_as_json() -> None:
    schema = json.loads(CliRunner().invoke(main, ["schema"]).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"deployments": [], "colour": "red"}, schema)
