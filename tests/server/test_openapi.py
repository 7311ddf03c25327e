"""The API's description is there, is valid, and describes the routes that there are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pointsman.dialects.registry import DIALECTS
from pointsman.errors import AllFailed
from pointsman.gateway import Gateway
from pointsman.ledger.memory import MemoryLedger
from pointsman.server.app import App
from pointsman.server.openapi import document

DEPLOYMENT = {"model": "ollama/m", "context_tokens": 1000}


@pytest.fixture(scope="module")
def app() -> App:
    return App(Gateway.from_config({"deployments": [DEPLOYMENT]}, env={}, ledger=MemoryLedger()))


def test_every_route_is_described_and_no_other(app: App) -> None:
    described = {
        (path, method.upper()): operation
        for path, operations in document()["paths"].items()
        for method, operation in operations.items()
    }
    assert set(described) == {(path, entry.method) for path, entry in app.table.items()}
    for path, entry in app.table.items():
        assert ("security" in described[path, entry.method]) == (entry.access == "key"), path


def test_its_schemas_are_schemas() -> None:
    for schema in document()["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", DIALECTS)
def test_an_error_is_as_described(name: str) -> None:
    schemas: dict[str, Any] = document()["components"]["schemas"]
    schema = schemas["AnthropicError" if name == "anthropic" else "OpenAIError"]
    body = json.loads(DIALECTS[name].render_error(AllFailed("m"), "req_1"))
    Draft202012Validator(schema).validate(body)
