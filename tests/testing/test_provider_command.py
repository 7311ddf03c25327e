from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from pointsman.cli.provider import provider
from pointsman.testing import SCENARIOS, BlackHole, read_journal

COMMAND = "from pointsman.cli.provider import provider; provider()"


def test_help_shows_an_example() -> None:
    shown = CliRunner().invoke(provider, ["--help"])
    assert shown.exit_code == 0
    assert "Example:" in shown.output and "--scenario dies_after_20" in shown.output


def test_the_known_scenarios_are_listed_with_what_they_do() -> None:
    lines = CliRunner().invoke(provider, ["--list-scenarios"]).output.splitlines()
    assert [line.split()[0] for line in lines] == list(SCENARIOS)
    assert all(scenario.about for scenario in SCENARIOS.values())


def test_an_unknown_scenario_is_refused_with_what_there_is() -> None:
    shown = CliRunner().invoke(provider, ["--scenario", "nope"])
    assert shown.exit_code == 1 and "dies_after_20" in shown.output


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        shown = CliRunner().invoke(provider, ["--port", port])
    assert shown.exit_code == 1 and f"127.0.0.1:{port}" in shown.output


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_end(tmp_path: Path, number: signal.Signals) -> None:
    journal = tmp_path / "journal.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, "--journal", str(journal), "--scenario", "healthy"],
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stdout is not None
            url = running.stdout.readline().strip()
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hey"}]})
            request = urllib.request.Request(f"{url}/v1/chat/completions", body.encode())
            with urllib.request.urlopen(request, timeout=5) as response:
                reply = json.load(response)
            running.send_signal(number)
            assert running.wait(timeout=5) == 0
        finally:
            running.kill()
    assert reply["choices"][0]["message"]["content"] == "You said: hey"
    (entry,) = read_journal(journal)
    assert entry.ended == "done" and entry.billed.output == 3


def test_nobody_answers_from_a_black_hole() -> None:
    with BlackHole() as hole, pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", hole.port), timeout=0.1)
