"""The whole demo: real model, simulated providers, a gateway process."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from pointsman.demo.books import read_ledger
from pointsman.demo.world import free_port
from pointsman.testing.child import Child
from pointsman.testing.local_model import LocalModelMissing, weights

MESSAGES = [{"role": "user", "content": "Hello!"}]


@pytest.mark.slow
@pytest.mark.real
def test_the_demo_verifies_what_it_shows(tmp_path: Path) -> None:
    try:
        weights()
    except LocalModelMissing as missing:
        pytest.skip(str(missing))
    finished = subprocess.run(
        [sys.executable, "-m", "pointsman", "demo", "--dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=170,
    )
    lines = finished.stdout.rstrip().splitlines()
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-2000:]
    assert lines[-1].startswith("demo: ok, 40 requests, ")
    assert len(read_ledger(tmp_path / "ledger.db")) == 40
    told = [line for line in lines if line.startswith("budget     40 requests at once against ")]
    assert len(told) == 1
    usage = subprocess.run(
        [sys.executable, "-m", "pointsman", "usage", "--ledger", str(tmp_path / "ledger.db")],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert usage.returncode == 0
    assert "claude-opus-5-5" in usage.stdout


@pytest.mark.slow
@pytest.mark.real
def test_the_demos_world_can_be_left_open(tmp_path: Path) -> None:
    try:
        weights()
    except LocalModelMissing as missing:
        pytest.skip(str(missing))
    port = free_port()
    command = [sys.executable, "-u", "-m", "pointsman", "demo", "--serve", str(port)]
    with Child(
        "demo", [*command, "--dir", str(tmp_path)], ready=r"^key +(sk-demo-\w+)", grace_s=10
    ) as child:
        body = {"model": "local/smollm2", "max_tokens": 3, "messages": MESSAGES}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            data=json.dumps(body).encode(),
            headers={"authorization": f"Bearer {child.match.group(1)}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.headers["x-pointsman-deployment"] == "local/smollm2"
    assert child.returncode == 0
    assert len(read_ledger(tmp_path / "ledger.db")) == 1


@pytest.mark.slow
def test_without_the_model_the_demo_says_how_to_get_it(tmp_path: Path) -> None:
    # An interpreter that cannot see the wheels: find_spec is told that there are none.
    code = (
        "import pointsman.testing.local_model as m; m.find_spec = lambda name: None\n"
        "from pathlib import Path; from pointsman.demo.run import main\n"
        f"raise SystemExit(main(Path({str(tmp_path)!r})))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert finished.returncode == 1
    last = finished.stdout.rstrip().splitlines()[-1]
    assert last.startswith("demo: failed, the local model needs the package xllamacpp")
    assert "requirements-local.lock" in last
