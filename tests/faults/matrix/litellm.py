"""LiteLLM's proxy as the gateway under test, set up as one who knows it would set it up.

What stands for what:

ours                                  theirs
a route                               a model group of one deployment, and a second group that
                                      router_settings.fallbacks leads to where fallback is on
fallback to a larger window           router_settings.context_window_fallbacks
no fallback after a filter's verdict  no content_policy_fallbacks
another deployment at once            num_retries: 0, so that no time goes into asking the first
                                      again (with the default of 2 it would be asked thrice)
timeouts.first_content_s              stream_timeout of the deployment
timeouts.whole_s                      timeout of the deployment
timeouts.idle_s                       litellm_settings.request_timeout, which bounds each wait in
                                      streams of /v1/messages
timeouts.total_s                      LITELLM_MAX_STREAMING_DURATION_SECONDS; for the rest none, as
                                      timeouts are of one attempt: two fit into the deadline
breakers                              their cooldowns, as they are by default
chat completions at the provider      use_chat_completions_url_for_anthropic_messages

Times that are short in the matrix are four times as long here, since a proxy that shares a core
with its client and providers needs more than half a second under load. The environment keeps it
off the network: prices and other lists are those in the package, proxies are not set.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from matrix.fault import PATIENT, SIDES, Cell, Fault, Side, Times
from matrix.sites import Sites
from matrix.under_test import KEY, Inside

PYTHON = "BENCH_LITELLM_PYTHON"
"""The environment variable that names a Python which has `litellm[proxy]`; of `make bench` too."""
SLOWER = 4.0
READY_S = 180.0
END_S = 10.0
RUN = "from litellm import run_server; run_server()"
QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_DONT_SHOW_FEEDBACK_BOX": "True",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "DISABLE_ADMIN_UI": "True",
}


class LiteLLM:
    """A process of LiteLLM's proxy, started anew for each batch of cells."""

    name = "litellm"
    key = KEY

    def __init__(self, python: str, folder: Path) -> None:
        self._python = python
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def version(self) -> str:
        """Return what its package says, "" where that Python has no LiteLLM."""
        ask = "from importlib.metadata import version; print(version('litellm'))"
        try:
            process = await asyncio.create_subprocess_exec(
                self._python, "-c", ask,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        except OSError:
            return ""
        said, _ = await process.communicate()
        return said.decode().strip() if process.returncode == 0 else ""

    async def start(self, cells: Sequence[Cell], sites: Sites) -> str:
        path = self._folder / "litellm.yaml"
        path.write_text(json.dumps(configuration(cells, sites), indent=1))  # JSON is YAML
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        environment = {
            name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
        }
        longest = min(times_of(cell).total_s for cell in cells)
        environment |= {
            **QUIET,
            "SSL_CERT_FILE": str(sites.ca_file),
            "LITELLM_MAX_STREAMING_DURATION_SECONDS": str(longest),
        }
        with (self._folder / "litellm.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                self._python, "-c", RUN,
                "--config", str(path), "--host", "127.0.0.1", "--port", str(port),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment, cwd=self._folder,
            )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        try:
            async with asyncio.timeout(READY_S):
                await self._ready(url)
        except BaseException:
            await self.stop()
            raise
        return url

    async def _ready(self, url: str) -> None:
        assert self._process is not None
        async with aiohttp.ClientSession() as session:
            while self._process.returncode is None:
                try:
                    async with session.get(f"{url}/health/liveliness") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.1)
        tail = (self._folder / "litellm.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"LiteLLM ended before it was ready:\n{tail}")

    def inside(self, cell: Cell) -> Inside | None:
        return None

    def complaints(self) -> list[tuple[str, str]]:
        return []

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), END_S)
        except TimeoutError:
            process.kill()
            await process.wait()


def times_of(cell: Cell) -> Times:
    """Return the times of a cell as this peer is given them."""
    times = cell.fault.times if isinstance(cell.fault, Fault) else PATIENT
    if times == PATIENT:
        return times
    attempt = SLOWER * min(times.whole_s, times.first_content_s, times.total_s / 2)
    return Times(attempt, attempt, attempt, SLOWER * times.total_s)


def configuration(cells: Sequence[Cell], sites: Sites) -> dict[str, object]:
    """Write the configuration of a batch."""
    models: list[object] = []
    fallbacks: list[object] = []
    windows: list[object] = []
    for cell in cells:
        sides = SIDES if cell.fallback else SIDES[:1]
        models += [_deployment(cell, side, sites) for side in sides]
        if cell.fallback:
            leads = {cell.route: [_group(cell, "b")]}
            fallbacks.append(leads)
            if not isinstance(cell.fault, Fault) or cell.fault.larger:
                windows.append(leads)
    return {
        "model_list": models,
        "router_settings": {
            "num_retries": 0,
            "fallbacks": fallbacks,
            "context_window_fallbacks": windows,
        },
        "litellm_settings": {
            "use_chat_completions_url_for_anthropic_messages": True,
            "request_timeout": max(times_of(cell).whole_s for cell in cells),
            "set_verbose": False,
        },
        "general_settings": {"master_key": KEY},
    }


def _group(cell: Cell, side: Side) -> str:
    return cell.route if side == "a" else f"{cell.route}-fallback"


def _deployment(cell: Cell, side: Side, sites: Sites) -> dict[str, object]:
    wire = cell.wire(side)
    address = sites.address(cell, side, named=False)
    times = times_of(cell)
    return {
        "model_name": _group(cell, side),
        "litellm_params": {
            "model": f"{wire}/{cell.model(side)}",
            "api_base": f"{address}/v1" if wire == "openai" else address,
            "api_key": "sk-provider-0123456789",
            "timeout": times.whole_s,
            "stream_timeout": times.first_content_s,
            "max_retries": 0,
            "input_cost_per_token": 1e-6,
            "output_cost_per_token": 2e-6,
        },
        "model_info": {"max_input_tokens": 100_000, "mode": "chat"},
    }
