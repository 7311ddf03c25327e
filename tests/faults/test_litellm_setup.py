"""How LiteLLM is set up for the matrix: what it is given is what a route of ours has."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from matrix.fault import Fault
from matrix.litellm import LiteLLM, configuration, times_of
from matrix.run import FAULTS, cells
from matrix.sites import Sites

CELLS = cells()


async def test_a_fallback_is_a_second_group_that_the_first_leads_to(tmp_path: Path) -> None:
    chosen = cells([fault for fault in FAULTS if fault.name == "input too long, no larger window"])
    alone, fallback = chosen[0], chosen[1]
    async with Sites(tmp_path) as sites:
        made: dict[str, Any] = configuration([alone, fallback], sites)
    group = f"{fallback.route}-fallback"
    assert [each["model_name"] for each in made["model_list"]] == [
        alone.route,
        fallback.route,
        group,
    ]
    assert made["router_settings"]["fallbacks"] == [{fallback.route: [group]}]
    assert made["router_settings"]["context_window_fallbacks"] == []
    first, second = (each["litellm_params"] for each in made["model_list"][1:])
    assert first["model"] == f"openai/{fallback.model('a')}"
    assert second["model"] == f"anthropic/{fallback.model('b')}"
    assert first["api_base"].endswith("/v1")
    assert not second["api_base"].endswith("/v1")


def test_two_attempts_fit_into_every_deadline() -> None:
    for cell in CELLS:
        times = times_of(cell)
        assert max(times.whole_s, times.first_content_s) * 2 <= times.total_s, cell.id


def test_no_time_is_shorter_than_ours() -> None:
    for cell in CELLS:
        if isinstance(cell.fault, Fault):
            assert times_of(cell).total_s >= cell.fault.times.total_s


@pytest.mark.parametrize("python", ["", "/nowhere/python", sys.executable])
async def test_a_python_without_litellm_has_no_version(python: str, tmp_path: Path) -> None:
    assert await LiteLLM(python, tmp_path).version() == ""
