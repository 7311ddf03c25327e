"""A gateway process between the real SDKs and two fault providers, one of each dialect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pointsman.demo.world import free_port
from pointsman.testing.child import Child

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-clients-test"

SCENARIO = """
persona: echo
rules:
  - {name: down, model: down, play: {fail: {status: 503}}}
  - {name: throttled, model: throttled, play: {fail: {status: 429, headers: {retry-after: "7"}}}}
  - {name: late error, model: late-error, play: [{slow: {tokens_per_second: 20}},
     {error_event: {after_tokens: 3}}]}
"""


def configuration(urls: dict[str, str]) -> dict[str, Any]:
    """Every route exists once for each upstream dialect."""
    able = {
        "price": {"input_usd": 1, "output_usd": 2},
        "tier": "workhorse",
        "context_tokens": 100_000,
        "default_max_tokens": 200,
        "capabilities": [
            *("chat", "tools", "parallel_tools", "vision", "json", "json_schema", "reasoning")
        ],
    }
    deployments: list[dict[str, Any]] = [
        {"name": f"{side}-{model}", "provider": f"of-{side}", "model": model, **able}
        for side in ("openai", "anthropic")
        for model in ("chat", "down", "throttled", "late-error")
    ]
    vectors = {"name": "vectors", "provider": "of-openai", "model": "vectors", **able}
    deployments.append({**vectors, "capabilities": ["embeddings"]})
    once = {"fallback": {"enabled": False}}
    routes: list[dict[str, Any]] = []
    for side, other in (("openai", "anthropic"), ("anthropic", "openai")):
        order = [f"{side}-down", f"{other}-chat"]
        routes += [
            {"name": f"to-{side}", "deployments": [f"{side}-chat"]},
            {
                "name": f"to-{side}-after-503",
                "deployments": order,
                "strategy": "static",
                "order": order,
            },
            {"name": f"to-{side}-429", "deployments": [f"{side}-throttled"], **once},
            {"name": f"to-{side}-late-error", "deployments": [f"{side}-late-error"], **once},
        ]
    return {
        "server": {"keys": [{"key": "env:CLIENTS_KEY", "name": "clients"}]},
        "providers": {
            "of-openai": {"url": f"{urls['openai']}/v1", "dialect": "openai", "key": "none"},
            "of-anthropic": {"url": urls["anthropic"], "dialect": "anthropic", "key": "none"},
        },
        "deployments": deployments,
        "routes": routes,
    }


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway that the SDKs can be pointed at."""
    folder = tmp_path_factory.mktemp("clients")
    scenario = folder / "scenario.yaml"
    scenario.write_text(SCENARIO)
    with ExitStack() as stack:
        urls = {}
        for side in ("openai", "anthropic"):
            command = [sys.executable, "-m", "pointsman", "provider", "--scenario", str(scenario)]
            provider = Child(f"provider {side}", command, ready=r"^(http://\S+)")
            urls[side] = stack.enter_context(provider).match.group(1)
        config = folder / "pointsman.yaml"
        config.write_text(json.dumps(configuration(urls)))  # JSON is YAML.
        port = free_port()
        command = [sys.executable, "-m", "pointsman", "serve", "--config", str(config)]
        server = Child(
            "gateway",
            [*command, "--port", str(port), "--log-level", "WARNING"],
            ready="^listening on ",
            env={**os.environ, "CLIENTS_KEY": KEY},
        )
        stack.enter_context(server)
        url = f"http://127.0.0.1:{port}"
        await_answer(f"{url}/readyz", server)
        yield url


def await_answer(url: str, server: Child) -> None:
    """Return when `url` answers; the refused connections before are a few milliseconds each."""
    while server.returncode is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.URLError:
            continue
        return
    pytest.fail("\n".join(server.lines))


@pytest.fixture(scope="session")
def run_sdk(gateway: str) -> Callable[[str, str, str], dict[str, Any]]:
    """Run an SDK's script against a route, once; later calls get the same answer."""
    done: dict[tuple[str, str], dict[str, Any]] = {}

    def run(sdk: str, base_url: str, route: str) -> dict[str, Any]:
        if (sdk, route) not in done:
            python = ROOT / ".venvs" / sdk / "bin" / "python"
            if not python.exists():
                pytest.skip(f"no environment with the {sdk} SDK; `make test` makes it")
            script = Path(__file__).with_name(f"sdk_{sdk}.py")
            finished = subprocess.run(
                [str(python), str(script), base_url, KEY, route],
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert finished.returncode == 0, finished.stderr
            done[sdk, route] = json.loads(finished.stdout)
        return done[sdk, route]

    return run
