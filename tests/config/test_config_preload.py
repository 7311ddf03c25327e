"""The `preload` block: what is refused, what is warned of, and what `check` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from pointsman.config.describe import describe
from pointsman.config.known import Known
from pointsman.config.lints import Examined, lint
from pointsman.config.load import Loaded
from pointsman.config.settings import PreloadSettings

Read = Callable[..., Loaded]
Wrong = Callable[..., list[str]]

HOUSE = "providers: {house: {kind: vllm, url: 'http://127.0.0.1:1/v1'}}\n"


def test_hours_that_are_none_are_refused_by_place(wrong: Wrong) -> None:
    text = (
        HOUSE
        + "deployments:\n"
        + "  - provider: house\n    model: m\n    preload:\n"
        + "      hours: ['mon-fri 08:00-18:00', 'funday', '8-18', '08:00-08:00']\n"
    )
    assert wrong(text) == [
        "f.yaml:6: deployments[0].preload.hours[1]: `funday` says no hours; `funday` is no day: "
        "write mon, tue, wed, thu, fri, sat, sun",
        "f.yaml:6: deployments[0].preload.hours[2]: `8-18` says no hours; `8-18` is no time: "
        "write it as `08:00-18:00`",
        "f.yaml:6: deployments[0].preload.hours[3]: `08:00-08:00` says no hours; it ends as it "
        "begins: leave the time out for the whole day",
    ]


def test_a_block_becomes_settings(read: Read) -> None:
    text = HOUSE + "deployments: [{provider: house, model: m, preload: {model: true, keep_s: 90}}]"
    assert read(text).settings.preloads == {"house/m": PreloadSettings(model=True, keep_s=90.0)}


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        (
            "{model: openai/gpt-4.1, preload: {model: true}}",
            "deployments[0].preload.model: openai is hosted: there is no model to load",
        ),
        (
            "{provider: house, model: m, preload: {connection: false}}",
            "deployments[0].preload: nothing of house/m is made ready",
        ),
        ("{provider: house, model: m, preload: {model: true}}", ""),
        ("{model: openai/gpt-4.1, preload: {}}", ""),
    ],
)
def test_a_block_without_effect_is_warned_of(
    read: Read, known: Known, env: Mapping[str, str], line: str, warning: str
) -> None:
    loaded = read(f"{HOUSE}deployments: [{line}]\n")
    found = lint(Examined(loaded.settings, loaded.root, env, known))
    told = [each.text("") for each in found if ".preload" in each.path]
    assert (
        [warning] == [each.split(";")[0].partition(": ")[2] for each in told]
        if warning
        else (told == [])
    )


def test_affinity_among_one_is_warned_of(read: Read, known: Known, env: Mapping[str, str]) -> None:
    text = HOUSE + "deployments: [{provider: house, model: m}]\nroutes: [{name: a, affinity: true}]"
    loaded = read(text)
    found = lint(Examined(loaded.settings, loaded.root, env, known))
    assert any(each.path == "routes[0].affinity" for each in found)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("{}", "connection, always"),
        ("{model: true}", "connection and model, always"),
        (
            "{connection: false, model: true, hours: ['mon-fri 08:00-18:00', sat]}",
            "model, mon-fri 08:00-18:00 and sat",
        ),
        ("{predict: true}", "connection, the hours that had traffic"),
        ("{connection: false}", None),
    ],
)
def test_check_says_what_is_made_ready_and_when(
    read: Read, known: Known, env: Mapping[str, str], block: str, said: str | None
) -> None:
    loaded = read(f"{HOUSE}deployments: [{{provider: house, model: m, preload: {block}}}]")
    description = describe(Examined(loaded.settings, loaded.root, env, known), loaded.key_sources)
    assert description["deployments"][0]["preload"] == said
