"""The benchmark runs and its figures are of answers that were right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.real
@pytest.mark.slow
def test_the_baseline_is_measured_and_written(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    done = bench(
        "--quick",
        "--seconds",
        "0.2",
        "--targets",
        "passthrough,passthrough-lean",
        "--json",
        str(out),
    )
    assert done.returncode == 0, done.stderr
    assert "passthrough-lean / passthrough" in done.stdout
    report = json.loads(out.read_text())
    assert set(report["targets"]) == {"direct", "passthrough", "passthrough-lean"}
    for name in ("passthrough", "passthrough-lean"):
        figures = report["targets"][name]
        assert figures["errors"] == 0
        assert figures["unary_per_s"] > 0
        assert figures["chunks_per_s"]["50"] > 0
        assert figures["p99_ms"] >= figures["p50_ms"] > 0
        assert figures["rss_mb"] > 1


@pytest.mark.slow
def test_an_unknown_target_is_named() -> None:
    done = bench("--quick", "--targets", "nonsense")
    assert done.returncode == 1
    assert "no target 'nonsense'" in done.stderr
