"""Schemathesis, with nothing but /openapi.json to go by, against a gateway process in front of
two providers that answer well. It runs in an environment of its own, made by make."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fuzz_house import ABLE
from fuzz_knobs import SEED, many

from pointsman.demo.world import free_port
from pointsman.testing.child import Child

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / ".venvs" / "schemathesis" / "bin" / "schemathesis"
KEY = "sk-schemathesis-0123456789"
EXAMPLES = 40
"""For each of ten operations; the phase before, of single bad values, has some 1,000 by itself."""
MODELS = {
    "Chat": ["auto", "first", "second"],
    "Messages": ["auto", "first", "second"],
    "Count": ["auto", "second"],
    "Embeddings": ["embed", "vectors"],
}
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance", "negative_data_rejection"),
    *("missing_required_header", "unsupported_method", "allow_header_conformance"),
)


@dataclass
class Running:
    url: str
    server: Child
    config: Path


def configuration(urls: dict[str, str]) -> dict[str, Any]:
    def deployment(name: str, provider: str, able: list[str]) -> dict[str, Any]:
        return {
            "name": name,
            "provider": provider,
            "model": f"{name}-model",
            "tier": "workhorse",
            "price": {"input_usd": 1, "output_usd": 2},
            "context_tokens": 100_000,
            "capabilities": able,
        }

    return {
        "server": {"keys": [{"key": "env:FUZZ_KEY", "app": "fuzz"}]},
        "providers": {
            "oa": {"url": f"{urls['openai']}/v1", "dialect": "openai", "key": "none"},
            "an": {"url": urls["anthropic"], "dialect": "anthropic", "key": "none"},
        },
        "deployments": [
            deployment("first", "oa", ABLE),
            deployment("second", "an", ABLE),
            deployment("vectors", "oa", ["embeddings"]),
        ],
        "routes": [
            {"name": "auto", "deployments": ["first", "second"]},
            {"name": "embed", "deployments": ["vectors"]},
        ],
    }


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    if not PROGRAM.exists():
        pytest.skip("no environment with schemathesis; `make fuzz` makes it")
    folder = tmp_path_factory.mktemp("schemathesis")
    (folder / "scenario.yaml").write_text("persona: echo\n")
    program = [sys.executable, "-m", "pointsman"]
    with ExitStack() as stack:
        urls = {}
        for side in ("openai", "anthropic"):
            command = [*program, "provider", "--scenario", str(folder / "scenario.yaml")]
            provider = Child(f"provider {side}", command, ready=r"^(http://\S+)")
            urls[side] = stack.enter_context(provider).match.group(1)
        config = folder / "pointsman.yaml"
        config.write_text(json.dumps(configuration(urls)))
        port = free_port()
        server = Child(
            "gateway",
            [*program, "serve", "--config", str(config), "--port", str(port)],
            ready="^listening on ",
            env={**os.environ, "FUZZ_KEY": KEY},
        )
        stack.enter_context(server)
        yield Running(f"http://127.0.0.1:{port}", server, folder)


def specialise(schemas: dict[str, Any]) -> None:
    """Name the models that there are, and leave out what most often ends a request at once: a
    deadline that is over, names of other models, and constraints that nobody fulfils."""
    for name, models in MODELS.items():
        fields = schemas[name]["properties"]
        fields["model"] = {"enum": models}
        for option in ("timeout", "models", "fallbacks"):
            fields.pop(option)
        (options,) = (each for each in fields["pointsman"]["anyOf"] if each["type"] == "object")
        for option in ("timeout_s", "fallbacks", "allow", "require", "residency"):
            options["properties"].pop(option, None)


@pytest.mark.slow
@pytest.mark.real
def test_schemathesis_finds_nothing(running: Running) -> None:
    with urllib.request.urlopen(f"{running.url}/openapi.json", timeout=10) as response:
        document = json.load(response)
    specialise(document["components"]["schemas"])
    schema, report = running.config / "openapi.json", running.config / "report.json"
    schema.write_text(json.dumps(document))
    finished = subprocess.run(
        [
            *(str(PROGRAM), "run", str(schema), "--url", running.url),
            *("--header", f"authorization: Bearer {KEY}", "--checks", ",".join(CHECKS)),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", str(many(EXAMPLES))),
            *("--seed", str(SEED), "--continue-on-failure", "--request-timeout", "10"),
            *("--report", "junit,ndjson", "--report-junit-path", str(report.with_suffix(".xml"))),
            *("--report-ndjson-path", str(report.with_suffix(".ndjson"))),
            *("--generation-database", "none", "--no-color", "--suppress-health-check", "all"),
        ],
        capture_output=True,
        text=True,
        timeout=60 + many(EXAMPLES),
        cwd=running.config,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    print(finished.stdout[-3000:])
    assert finished.returncode == 0, finished.stdout + finished.stderr
    tried = re.search(r"(\d+) generated, (\d+) passed", finished.stdout)
    assert tried is not None and int(tried[1]) == int(tried[2]) >= 1000, finished.stdout
    crashed = [line for line in running.server.lines if "crashed" in line or "Traceback" in line]
    assert not crashed, crashed
