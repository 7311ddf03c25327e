"""Workers that never get ready are not started for ever."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import pytest

from pointsman.clock import SystemClock
from pointsman.server import supervisor
from pointsman.server.child import Launch
from pointsman.server.supervisor import Supervisor


@pytest.mark.slow
@pytest.mark.real
async def test_it_gives_up_with_the_status_of_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "PAUSE_S", (0.001, 0.001))
    monkeypatch.setattr(supervisor, "MOST_DEATHS", 3)
    path = tmp_path / "p.yaml"
    path.write_text("deployments: [")
    listener = socket.create_server(("127.0.0.1", 0))
    launch = Launch(str(path), None, "INFO", [listener], 1.0)
    try:
        async with asyncio.timeout(60):
            assert await Supervisor(launch, 1, SystemClock()).run() == 78
    finally:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
            loop.remove_signal_handler(number)
    assert caplog.text.count("worker.died") == 3
    assert "supervisor.gives_up" in caplog.text
    assert listener.fileno() == -1
