"""A gateway that another process started does not outlive it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pointsman.demo.world import free_port

FILE = """\
deployments:
  - {provider: house, model: small, tier: local}
providers: {house: {kind: vllm, url: 'http://127.0.0.1:9/v1'}}
"""


@pytest.mark.slow
def test_the_gateway_ends_when_standard_input_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "pointsman.yaml"
    file.write_text(FILE, encoding="utf-8")
    port = str(free_port())
    command = [sys.executable, "-m", "pointsman", "serve", "-c", str(file), "--port", port]
    with subprocess.Popen(
        [*command, "--with-parent"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as gateway:
        assert gateway.stdin is not None and gateway.stderr is not None
        try:
            assert any(line.startswith("listening on") for line in gateway.stderr)
            gateway.stdin.close()
            assert gateway.wait(20) in (0, -15)
        finally:
            gateway.kill()
