"""The wheel is the tree: nothing is in it that is not in `src`, nothing is another."""

from __future__ import annotations

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_wheel_is_the_tree_file_by_file(tmp_path: Path) -> None:
    """After LiteLLM's March 2026: the repository was clean, the wheel on the registry was not."""
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    package = ROOT / "src"
    # Bytes that editors and Python leave lying about are no part of it.
    here = {
        file.relative_to(package).as_posix(): file.read_bytes()
        for file in (package / "pointsman").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.name != ".DS_Store"
    }
    with zipfile.ZipFile(wheel) as archive:
        inside = {name: archive.read(name) for name in archive.namelist()}
    info = {name.partition("/")[2] for name in inside if ".dist-info/" in name}
    assert info == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    code = {name: data for name, data in inside.items() if ".dist-info/" not in name}
    assert sorted(code) == sorted(here)
    assert [name for name, data in code.items() if data != here[name]] == []
    entries = configparser.ConfigParser()
    (text,) = (data for name, data in inside.items() if name.endswith("entry_points.txt"))
    entries.read_string(text.decode())
    assert {name: dict(entries[name]) for name in entries.sections()} == {
        "console_scripts": {"pointsman": "pointsman.cli.main:main"}
    }
