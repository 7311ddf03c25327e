"""The demo's prompts, its configuration and its client."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import get_args

import pytest

from pointsman.config.load import load
from pointsman.demo.burst import BUDGET
from pointsman.demo.client import body_of, read_event, read_whole
from pointsman.demo.prompts import ALL, FAKE_KEY, Prompt
from pointsman.demo.run import list_prices
from pointsman.demo.show import BREAKERS
from pointsman.demo.world import BURST, FRONTIER, LOCAL, SIMULATED, WORKHORSE, clean
from pointsman.pipeline.breaker import State

ENV = {
    "POINTSMAN_DEMO_KEY": "sk-demo",
    "POINTSMAN_DEMO_BURST_KEY": "sk-demo-burst",
    "POINTSMAN_DEMO_PROVIDER_KEY": "sk-simulated",
    "POINTSMAN_DEMO_LOCAL_URL": "http://127.0.0.1:1/v1",
    "POINTSMAN_DEMO_WORKHORSE_URL": "http://127.0.0.1:2/v1",
    "POINTSMAN_DEMO_FRONTIER_URL": "http://127.0.0.1:3",
}


def test_there_are_forty_prompts_of_every_sort() -> None:
    assert len(ALL) == 40
    assert {prompt.dialect for prompt in ALL} == {"openai", "anthropic"}
    assert any(prompt.stream for prompt in ALL)
    assert any("tools" in prompt.asks for prompt in ALL)
    assert any("response_format" in prompt.asks for prompt in ALL)


def test_every_prompt_with_the_secret_may_only_stay_here() -> None:
    secret = [prompt for prompt in ALL if FAKE_KEY in prompt.text]
    assert len(secret) == 2
    assert all(prompt.only == {"local"} for prompt in secret)


def test_the_configuration_bears_todays_list_prices() -> None:
    path = files("pointsman.demo").joinpath("pointsman.yaml")
    settings = load(path, ENV)  # type: ignore[arg-type]
    deployments = {each.name: each for each in settings.deployments}
    assert set(deployments) == {LOCAL, WORKHORSE, FRONTIER}
    assert {name: deployments[name].price for name in SIMULATED} == list_prices()
    assert [deployments[name].tier for name in (LOCAL, WORKHORSE, FRONTIER)] == [
        *("local", "workhorse", "frontier")
    ]


def test_the_budget_of_the_burst_is_as_the_configuration_has_it() -> None:
    path = files("pointsman.demo").joinpath("pointsman.yaml")
    settings = load(path, ENV)  # type: ignore[arg-type]
    assert settings.budgets == (BUDGET,)
    assert [key.caller.key for key in settings.server.keys] == ["demo", BURST]


def test_an_earlier_runs_ledger_is_removed(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("demo")
    (folder / "ledger.db").write_text("old")
    (folder / "notes.txt").write_text("mine")
    config = clean(folder)
    assert not (folder / "ledger.db").exists()
    assert (folder / "notes.txt").read_text() == "mine"
    assert config.read_text().startswith("# The demo's configuration")


def test_a_prompt_is_written_in_its_dialect() -> None:
    prompt = Prompt("x", "Hi", system="Be brief.", stream=True)
    assert body_of(prompt)["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]
    anthropic = body_of(Prompt("x", "Hi", "anthropic", system="Be brief."))
    assert anthropic["system"] == "Be brief."
    assert anthropic["messages"] == [{"role": "user", "content": "Hi"}]
    assert "stream" not in anthropic


@pytest.mark.parametrize(
    ("dialect", "data", "read"),
    [
        ("openai", "[DONE]", ("", True, "")),
        ("openai", '{"choices":[{"delta":{"content":"Hi"}}]}', ("Hi", False, "")),
        ("openai", '{"choices":[],"usage":{}}', ("", False, "")),
        (
            "openai",
            '{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"{}"}}]}}]}',
            ("{}", False, ""),
        ),
        ("anthropic", '{"type":"message_stop"}', ("", True, "")),
        ("anthropic", '{"type":"content_block_delta","delta":{"text":"Hi"}}', ("Hi", False, "")),
    ],
)
def test_a_stream_is_read(dialect: str, data: str, read: tuple[str, bool, str]) -> None:
    assert read_event(dialect, data) == read


def test_an_error_event_is_a_fault() -> None:
    text, ended, fault = read_event("openai", '{"error":{"message":"overloaded"}}')
    assert (text, ended) == ("", False)
    assert fault.startswith("error event")


def test_an_empty_answer_is_a_fault() -> None:
    body = json.dumps({"choices": [{"message": {"content": ""}}]}).encode()
    assert read_whole("openai", body) == ("", "an empty answer")
    assert read_whole("anthropic", b"<html>")[1].startswith("not JSON")


def test_every_state_of_a_breaker_has_its_word() -> None:
    assert set(BREAKERS) == set(get_args(State))
