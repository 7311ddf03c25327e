"""What is printed on a narrow terminal is folded, and never cut."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from pointsman.cli.check import print_description
from pointsman.cli.explanation import print_explanation
from pointsman.config.describe import describe
from pointsman.config.known import shipped
from pointsman.config.lints import Examined
from pointsman.config.load import Loaded, reads
from pointsman.gateway import Gateway

LONG = "fireworks/accounts/fireworks/models/gpt-oss-120b"
FILE = f"""\
deployments:
  - {{model: openai/gpt-6.1-terra}}
  - {{model: anthropic/claude-opus-5-5}}
  - {{model: {LONG}}}
routes:
  - {{name: auto, weights: {{quality: 1}}, max_cost_usd: 0.02, sensitive_tiers: [workhorse]}}
"""
ENV = {"OPENAI_API_KEY": "a", "ANTHROPIC_API_KEY": "b", "FIREWORKS_API_KEY": "c"}
NAMES = ("openai/gpt-6.1-terra", "anthropic/claude-opus-5-5", LONG)


@pytest.fixture
def loaded() -> Loaded:
    return reads(FILE, "pointsman.yaml", ENV, Path())


def console(width: int) -> Console:
    return Console(file=StringIO(), width=width, force_terminal=True, color_system=None)


def printed(on: Console) -> str:
    file = on.file
    assert isinstance(file, StringIO)
    return file.getvalue()


def unfolded(text: str) -> str:
    """The first column's cells, put together again."""
    return "".join(line[1:].partition("  ")[0].strip() for line in text.splitlines())


@pytest.mark.parametrize("width", [72, 80, 120])
def test_an_explanation_keeps_names_and_the_width(width: int, loaded: Loaded) -> None:
    gateway = Gateway(loaded.settings)
    told = gateway.explain_chat([{"role": "user", "content": "Prove that 2 is prime"}])
    on = console(width)
    print_explanation(told, on)
    text = printed(on)
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines())
    assert all(name in unfolded(text) for name in NAMES)


@pytest.mark.parametrize(("width", "tables"), [(80, 2), (140, 1)])
def test_parts_get_a_table_of_their_own_where_there_is_no_room(
    width: int, tables: int, loaded: Loaded
) -> None:
    told = Gateway(loaded.settings).explain_chat([{"role": "user", "content": "Hi"}])
    on = console(width)
    print_explanation(told, on)
    assert printed(on).count("part by part") == tables - 1


@pytest.mark.parametrize("width", [80, 120])
def test_a_description_keeps_the_width_and_breaks_at_words(width: int, loaded: Loaded) -> None:
    examined = Examined(loaded.settings, loaded.root, ENV, shipped())
    on = console(width)
    print_description(describe(examined, loaded.key_sources), on)
    text = printed(on)
    assert all(len(line) <= width for line in text.splitlines())
    assert "1,050,000" in text and "env:FIREWORKS_API_KEY" in text
    assert "parallel_tools" in text.replace("\n", " ")
