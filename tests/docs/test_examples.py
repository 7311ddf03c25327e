"""What the documents show is true: their examples run, their commands parse, their links lead
somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from pointsman.cli.main import main
from pointsman.config.load import loads

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
ENV = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `output` is the text block that follows it at once, or None."""

    document: str
    line: int
    language: str
    text: str
    output: str | None

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks() -> Iterator[Block]:
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        found = list(FENCE.finditer(text))
        for index, match in enumerate(found):
            after = found[index + 1] if index + 1 < len(found) else None
            output = None
            if after is not None and after[1] == "text":
                between = text[match.end() : after.start()]
                output = after[2] if not between.strip() else None
            line = text.count("\n", 0, match.start()) + 1
            name = str(path.relative_to(ROOT))
            yield Block(name, line, match[1], match[2], output)


BLOCKS = tuple(blocks())


def of(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


@pytest.mark.slow
@pytest.mark.parametrize("block", of("python"), ids=str)
def test_a_python_example_runs_and_prints_what_is_shown(block: Block, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(block.text, encoding="utf-8")
    finished = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert finished.returncode == 0, finished.stderr
    if block.output is not None:
        assert finished.stdout == block.output


CONFIGURATIONS = [block for block in of("yaml") if block.text.startswith("# pointsman.yaml")]


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=str)
def test_a_configuration_loads(block: Block, tmp_path: Path) -> None:
    env = {name: f"sk-{name.lower()}" for name in ENV.findall(block.text)}
    env |= {"OPENAI_API_KEY": "sk-openai", "ANTHROPIC_API_KEY": "sk-anthropic"}
    settings = loads(block.text, str(block), env, tmp_path)
    assert settings.routes


COMMANDS = [
    (str(block), line.removeprefix("$ "))
    for block in of("console")
    for line in block.text.splitlines()
    if line.startswith(("$ pointsman ", "$ make "))
]


@pytest.mark.parametrize(("where", "line"), COMMANDS)
def test_a_command_exists_with_its_options(where: str, line: str) -> None:
    program, *arguments = shlex.split(line, comments=True)
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = [word for word in arguments if "=" not in word]
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
        return
    context = click.Context(main)
    name, command, rest = main.resolve_command(context, arguments)
    assert command is not None
    command.make_context(name, list(rest), parent=context)  # Raises for an unknown option.


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        if not target.startswith(("http://", "https://", "#")):
            assert (path.parent / target.partition("#")[0]).exists(), target


def test_there_are_examples_of_every_sort() -> None:
    assert of("python") and CONFIGURATIONS and COMMANDS
