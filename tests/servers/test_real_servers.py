"""The real servers that other tests stand on: they start, hang, crash and come back."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.servers.fixtures import ENVIRONMENT, ask

from pointsman.testing.servers import PostgresServer, ServerMissing, ValkeyServer

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_postgres_answers_and_says_its_version(postgres: PostgresServer) -> None:
    assert ask(postgres, "SHOW server_version_num") >= "180000"


def test_what_was_committed_survives_a_crash(postgres: PostgresServer) -> None:
    ask(postgres, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
    postgres.kill()
    assert not postgres.is_well
    postgres.start()
    assert ask(postgres, "SELECT n FROM kept") == "7"
    ask(postgres, "DROP TABLE kept")


def test_a_frozen_postgres_takes_connections_and_says_nothing(postgres: PostgresServer) -> None:
    postgres.freeze()
    with socket.create_connection((postgres.host, postgres.port), timeout=0.2) as there:
        there.sendall(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")  # May we speak TLS?
        with pytest.raises(TimeoutError):
            there.recv(1)
    postgres.thaw()
    assert ask(postgres, "SELECT 1") == "1"


def test_each_test_gets_a_database_of_its_own(postgres_database: str) -> None:
    assert postgres_database.rpartition("/")[2].startswith("test_")


def test_valkey_hangs_when_frozen_and_comes_back(valkey: ValkeyServer) -> None:
    assert valkey.say("SET", "a", "1") == b"+OK\r\n"
    valkey.freeze()
    with pytest.raises(TimeoutError):
        valkey.say("GET", "a", timeout_s=0.2)
    valkey.thaw()
    assert valkey.say("GET", "a") == b"$1\r\n1\r\n"


def test_a_stopped_valkey_refuses_connections(valkey: ValkeyServer) -> None:
    valkey.stop()
    with pytest.raises(ConnectionRefusedError):
        valkey.say("PING")
    valkey.start()
    assert valkey.say("PING") == b"+PONG\r\n"


@pytest.mark.usefixtures("valkey")  # So that it is skipped with the others.
def test_a_server_ends_when_the_process_that_started_it_is_killed() -> None:
    start = (
        "import sys, time; from pathlib import Path; "
        "from pointsman.testing.servers import ValkeyServer; "
        f"server = ValkeyServer(Path({str(ENVIRONMENT)!r})).start(); "
        "print(server.port, server.folder, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", start], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        port, folder = parent.stdout.readline().split()
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 5
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(port))) != 0:
                break
        assert time.monotonic() < until, "the server is still there"
    for left in Path(folder).iterdir():
        left.unlink()
    Path(folder).rmdir()


def test_a_missing_environment_is_told_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(ServerMissing, match="make test"):
        PostgresServer(tmp_path)
