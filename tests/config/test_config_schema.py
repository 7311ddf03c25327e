"""The published JSON Schema: complete, described, and in agreement with the loader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest

from pointsman.config.conform import conform
from pointsman.config.known import Known
from pointsman.config.load import Loaded
from pointsman.config.publish import json_schema
from pointsman.config.yaml_marks import plain, read_yaml

Read = Callable[..., Loaded]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


def properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for block, part in schema["$defs"].items():
        for key, shape in part["properties"].items():
            yield f"{block}.{key}", shape


def test_the_schema_is_one_of_draft_2020_12(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)


def test_every_key_is_described(schema: dict[str, Any]) -> None:
    found = dict(properties(schema))
    assert len(found) > 100
    assert [key for key, shape in found.items() if not shape.get("description", "").strip()] == []


def test_every_key_has_a_default_or_is_required(schema: dict[str, Any]) -> None:
    for block, part in schema["$defs"].items():
        for key, shape in part["properties"].items():
            assert ("default" in shape) != (key in part["required"]), f"{block}.{key}"


def test_unknown_keys_are_refused_in_every_block(schema: dict[str, Any]) -> None:
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values())


def test_numbers_of_seconds_money_and_tokens_say_so(schema: dict[str, Any]) -> None:
    """A number's unit is in its name, or it is a count or a share."""
    units = (
        "_s",
        "_usd",
        "_mb",
        "_tokens",
        "_tokens_above",
        "_tokens_below",
        "_per_minute",
        "bytes_per_s",
    )
    bare = {
        "port", "workers", "json_depth", "max_in_flight", "batch_rows", "weight", "quality",
        "explore", "seed", "max_attempts", "retry_same", "streak", "ratio", "min_samples",
        "floor_per_s", "max_queued", "max_connections", "max_connections_per_address",
        "panic_per_s", "provider_share", "share", "spend_share", "factor", "success",
            "similarity", "burn_rate", "repeats",
    }  # fmt: skip
    for key, shape in properties(schema):
        kinds = {shape.get("type"), *(each.get("type") for each in shape.get("anyOf", ()))}
        name = key.partition(".")[2]
        if kinds & {"number", "integer"}:
            assert name.endswith(units) or name in bare, key


GOOD = [
    "deployments: [{model: openai/gpt-4.1}]",
    "deployments: [{model: openai/gpt-4.1, price: {input_usd: 1, output_usd: 2}}]",
    "deployments: [{model: openai/gpt-4.1, price: free, capabilities: [tools, x-a]}]\n"
    "routes: [{name: a, strategy: cost, weights: {cost: 1}, fallback: {chain: []}}]",
    "server: {keys: [{key: 'env:APP_KEY'}]}\n"
    "providers: {openai: {key: none}}\ndeployments: [{model: openai/gpt-4.1}]",
]
BAD = [
    "{}",
    "deployments: []",
    "deployments: [{name: a}]",
    "deployments: [{model: a, tier: cloud}]",
    "deployments: [{model: a, price: cheap}]",
    "deployments: [{model: a, colour: red}]",
    "deployments: [{model: a, weight: -1}]",
    "deployments: [{model: a, capabilities: [telepathy]}]",
    "deployments: [{model: a}]\nroutes: [{name: a, strategy: bogus}]",
    "deployments: [{model: a}]\nroutes: [{name: a, weights: {price: 1}}]",
    "deployments: [{model: a}]\nroutes: [{name: a, weights: {cost: -1}}]",
    "deployments: [{model: a}]\nroutes: [{name: a, explore: 2}]",
    "deployments: [{model: a}]\nproviders: {openai: {key: sk-12345678}}",
    "deployments: [{model: a}]\nserver: {keys: [{key: none}]}",
    "deployments: [{model: a}]\nserver: {port: '80'}",
]


@pytest.mark.parametrize("text", GOOD)
def test_good_files_fit_the_schema_and_the_loader(
    text: str, schema: dict[str, Any], read: Read
) -> None:
    jsonschema.validate(plain(read_yaml(text)[0]), schema)
    read(text)


@pytest.mark.parametrize("text", BAD)
def test_bad_files_fit_neither(text: str, schema: dict[str, Any], read: Read) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(plain(read_yaml(text)[0]), schema)
    with pytest.raises(Exception, match=r"f\.yaml:"):
        read(text)


def test_what_the_loader_lets_pass_by_shape_the_schema_lets_pass(schema: dict[str, Any]) -> None:
    """The two readings of one set of records agree, apart from the names only one of them has."""
    validator = jsonschema.Draft202012Validator(schema)
    for text in (*GOOD, *BAD):
        root, _ = read_yaml(text)
        if validator.is_valid(plain(root)):
            assert conform(root).problems == ()


def test_names_come_from_the_registries(known: Known) -> None:
    schema = json_schema(known)
    assert schema["$defs"]["RouteBlock"]["properties"]["strategy"]["enum"] == sorted(
        known.strategies
    )
