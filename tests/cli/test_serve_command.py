"""`pointsman serve`: what it says when it cannot, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from pointsman.cli.main import main
from pointsman.testing import FaultProvider, Slow

CONFIG = """
providers:
  oa: {{url: "{url}", dialect: openai}}
deployments:
  - name: first
    provider: oa
    model: m
    tier: workhorse
    price: {{input_usd: 1, output_usd: 2}}
"""


def test_a_busy_port_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(CONFIG.format(url="http://127.0.0.1:9/v1"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        got = CliRunner().invoke(main, ["serve", "-c", str(path), "--port", port])
    assert got.exit_code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in got.output
    assert "listening on http" not in got.output


def test_without_file_or_provider_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None:
        return None

    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_TOKEN")):
            monkeypatch.delenv(name)
    monkeypatch.setattr("pointsman.server.entry.probe_http", nothing)
    got = CliRunner().invoke(main, ["serve"])
    assert got.exit_code == 1
    assert "OPENAI_API_KEY" in got.output


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_sigterm_lets_a_stream_end_and_exits_0(tmp_path: Path, workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path, ledger = tmp_path / "p.yaml", tmp_path / "ledger.db"
    async with FaultProvider() as provider, aiohttp.ClientSession() as client:
        path.write_text(CONFIG.format(url=provider.base_url))
        command = ("-m", "pointsman", "serve", "-c", str(path), "--port", str(port))
        options = ("--workers", str(workers), "--ledger", str(ledger), "--log-level", "ERROR")
        process = await asyncio.create_subprocess_exec(sys.executable, *command, *options)
        try:
            url = f"http://127.0.0.1:{port}"
            async with asyncio.timeout(20):
                while True:
                    try:
                        async with client.get(f"{url}/readyz") as ready:
                            assert ready.status == 200
                            break
                    except aiohttp.ClientConnectionError:
                        await asyncio.sleep(0.05)
            provider.script((Slow(tokens_per_second=10),))
            messages = [{"role": "user", "content": "a b c d e f g h i j"}]
            body = {"model": "auto", "stream": True, "messages": messages}
            async with client.post(f"{url}/v1/chat/completions", json=body) as response:
                process.send_signal(signal.SIGTERM)
                said = await response.read()
            assert said.endswith(b"data: [DONE]\n\n")
            async with asyncio.timeout(10):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    with closing(sqlite3.connect(ledger)) as kept:
        assert kept.execute("select count(*) from entry").fetchone() == (1,)
