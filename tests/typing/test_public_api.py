"""The public names are there, typed as used, and cost nothing until they are asked for."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import as_users_type_it as user
import pytest

import pointsman
from pointsman import Gateway, errors
from pointsman.ledger.entries import LedgerEntry
from pointsman.testing import Fail, FaultProvider


def config_for(provider: FaultProvider) -> dict[str, object]:
    return {
        "providers": {"near": {"url": provider.base_url, "dialect": "openai", "key": "none"}},
        "deployments": [
            {
                "model": "near/small",
                "tier": "workhorse",
                "price": {"input_usd": 1, "output_usd": 4},
            }
        ],
    }


@pytest.mark.parametrize("name", pointsman.__all__)
def test_a_public_name_can_be_imported(name: str) -> None:
    assert getattr(pointsman, name) is not None
    assert name in dir(pointsman)


def test_every_error_of_the_tree_is_public() -> None:
    tree = {
        name
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, errors.PointsmanError)
    }
    assert tree <= set(pointsman.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Gatewax"):
        pointsman.__getattr__("Gatewax")


def test_the_version_is_the_distribution_s() -> None:
    assert user.version == version("pointsman")


@pytest.mark.slow
def test_importing_the_package_imports_nothing_of_the_house() -> None:
    script = "import sys, pointsman; print([m for m in sys.modules if m.startswith('pointsman.')])"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert said.stdout.strip() == "[]"


async def test_an_application_asks_and_sees_its_entry() -> None:
    seen: list[LedgerEntry] = []
    async with FaultProvider() as provider:
        answer = await user.ask(config_for(provider), seen)
    assert answer.text == "You said: Hello"
    assert [(entry.caller.team, dict(entry.tags)) for entry in seen] == [
        ("sales", {"page": "home"})
    ]


async def test_an_application_streams() -> None:
    async with (
        FaultProvider() as provider,
        Gateway.from_config(config_for(provider)) as gateway,
    ):
        assert [text async for text in user.words(gateway)] == ["You said: Hello"]


async def test_an_application_sees_what_was_decided_and_what_was_in_the_cache() -> None:
    async with FaultProvider() as provider:
        plain, cached = config_for(provider), config_for(provider) | {"cache": {"mode": "exact"}}
        async with Gateway.from_config(plain) as gateway:
            assert await user.why_twice(gateway) == ["auto", "auto", "auto"]
        async with Gateway.from_config(cached) as gateway:
            assert await user.why_twice(gateway) == ["auto", None, None]


async def test_an_application_catches_a_failure() -> None:
    async with FaultProvider() as provider:
        provider.script(*[Fail(401)] * 3)
        async with Gateway.from_config(config_for(provider)) as gateway:
            assert await user.status_of_failure(gateway) == 502
