"""A server whose standard error nobody reads serves all the same."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from pointsman.testing import FaultProvider

CONFIG = """
providers:
  oa: {{url: "{url}", dialect: openai}}
deployments:
  - {{name: first, provider: oa, model: m, tier: workhorse, price: {{input_usd: 1, output_usd: 2}}}}
"""
F_SETPIPE_SZ = 1031
"""Linux's; fcntl has a name for it from Python 3.10 only where it was built with it."""
REQUESTS = 200
"""A line of log each: some ten times what the pipe holds."""


@pytest.mark.slow
async def test_a_full_pipe_of_log_lines_holds_up_no_request_and_no_end(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = tmp_path / "p.yaml"
    async with FaultProvider() as provider, aiohttp.ClientSession() as client:
        path.write_text(CONFIG.format(url=provider.base_url))
        command = ("-m", "pointsman", "serve", "-c", str(path), "--port", str(port))
        process = subprocess.Popen(
            [sys.executable, *command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        assert process.stderr is not None
        fcntl.fcntl(process.stderr.fileno(), F_SETPIPE_SZ, 4096)
        url = f"http://127.0.0.1:{port}"
        try:
            async with asyncio.timeout(20):
                while True:
                    try:
                        async with client.get(f"{url}/livez"):
                            break
                    except aiohttp.ClientConnectionError:
                        await asyncio.sleep(0.05)
            body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}

            async def ask() -> None:
                async with client.post(f"{url}/v1/chat/completions", json=body) as answer:
                    assert answer.status == 200
                    await answer.read()

            async with asyncio.timeout(20):
                await ask()
                said = b""
                while b"request.done" not in said:
                    said += await asyncio.to_thread(os.read, process.stderr.fileno(), 65536)
                for _ in range(REQUESTS):  # From here on nobody reads.
                    await ask()
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 10) == 0
            # A last write larger than the room left in the pipe leaves nothing at all in it.
            os.set_blocking(process.stderr.fileno(), False)
            try:
                rest = os.read(process.stderr.fileno(), 65536)
            except BlockingIOError:
                rest = b""
            assert rest.count(b"request.done") < REQUESTS / 2, "the pipe was never full"
        finally:
            process.kill()
            process.wait()
            process.stderr.close()
