"""docs/configuration.md is true: its examples load, its tables are the schema's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pointsman.config.discover import ORIGIN
from pointsman.config.known import shipped
from pointsman.config.lints import Examined, lint
from pointsman.config.load import reads
from pointsman.config.publish import json_schema

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
URLS = {"AZURE_US_URL": "https://us.openai.azure.com"}
USUAL = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MISTRAL_API_KEY", "GROQ_API_KEY")


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 7


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_loads(example: str, tmp_path: Path) -> None:
    for name in re.findall(r"file:([\w/.]+)", example):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"secret of {name}")
    names = {*re.findall(r"env:(\w+)", example), *USUAL}
    env = {name: URLS.get(name, f"value of {name}") for name in names}
    loaded = reads(example, ORIGIN, env, tmp_path)
    assert loaded.settings.routes
    warnings = lint(Examined(loaded.settings, loaded.root, {}, shipped()))
    assert not [warning for warning in warnings if "never" in warning.what]


BLOCKS = {
    name: block["properties"]
    for name, block in json_schema()["$defs"].items()
    if name not in ("RatesBlock", "StepBlock", "RuleBlock")
}
"""Those three are told in a sentence: they add little to the blocks they are parts of."""


@pytest.mark.parametrize("block", BLOCKS)
def test_every_key_has_its_row(block: str) -> None:
    for key, shape in BLOCKS[block].items():
        row = rf"^\| `{key}` \| .* \| .* \| {re.escape(shape['description'])} \|$"
        assert re.search(row, TEXT, re.MULTILINE), f"{block}.{key}: make its row anew"


def test_every_capability_and_strategy_is_named() -> None:
    from pointsman.domain.deployment import CAPABILITIES

    for word in (*CAPABILITIES, *shipped().strategies, *shipped().providers):
        assert f"`{word}`" in TEXT, word
