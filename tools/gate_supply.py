"""What comes from elsewhere: how much, exactly which, and that nothing of it starts by itself.

Theory. A dependency is code with our keys in its hands. Few of them, each pinned by hash, can be
read; and the way stolen packages have been used (a `.pth` file that runs at every start of Python)
is visible in the environment's folder, so it is looked at, file by file and by content.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

MOST_DIRECT: Final = 12
MOST_IN_ALL: Final = 30
FLOORS: Final[Mapping[str, tuple[int, ...]]] = {
    # below these, known holes of requests' and answers' parsing
    "aiohttp": (3, 13, 3),
    "orjson": (3, 11, 6),
    "h11": (0, 16),
    "python-multipart": (0, 0, 32),
}
EDITABLE: Final = "_editable_impl_pointsman.pth"
"""The development install of this package: one line, the path of `src`."""
HOOKS: Final[Mapping[str, str]] = {
    # setuptools' own, which every environment of Python's venv and pip has had
    "distutils-precedence.pth": "2638ce9e2500e572a5e0de7faed6661eb569d1b696fcba07b0dd223da5f5d224",
}
"""Files that run at every start of Python and are known: their names and SHA-256."""
STARTS: Final = frozenset(
    {"sitecustomize.py", "usercustomize.py", "sitecustomize", "usercustomize"}
)

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[a-z0-9,_-]+\])?==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}(?=\s|$)")
_ELSEWHERE = re.compile(r"[a-z+]+://|file:|\s@\s|--(?!hash=)|\bgit\+|^-")


def direct(pyproject: str) -> list[str]:
    """Too many direct dependencies of the product."""
    wanted = tomllib.loads(pyproject)["project"]["dependencies"]
    if len(wanted) > MOST_DIRECT:
        return [f"pyproject.toml: {len(wanted)} direct dependencies, over {MOST_DIRECT}"]
    return []


def pins(text: str) -> dict[str, str]:
    """The packages of a lock with their versions."""
    found = (_PIN.match(line) for line in text.splitlines())
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}


def lock(name: str, text: str) -> list[str]:
    """What is wrong with a lock: unpinned, unhashed, from elsewhere, too old."""
    said: list[str] = []
    for entry in _entries(text):
        match = _PIN.match(entry)
        shown = entry.split("\\")[0].strip()[:80]
        if match is None:
            said.append(f"{name}: {shown}: not NAME==VERSION")
            continue
        if not _HASH.search(entry):
            said.append(f"{name}: {shown}: no sha256")
        if _ELSEWHERE.search(_HASH.sub("", entry)):
            said.append(f"{name}: {shown}: an option or an address")
        floor = FLOORS.get(match[1].lower())
        if floor is not None and _version(match[2]) < floor:
            said.append(f"{name}: {shown}: below {'.'.join(map(str, floor))}")
    return said


def total(name: str, text: str) -> list[str]:
    count = len(pins(text))
    return [f"{name}: {count} packages, over {MOST_IN_ALL}"] if count > MOST_IN_ALL else []


def hooks(site: Path, source: Path) -> list[str]:
    """Whatever in an environment's site-packages runs at every start, and is not known."""
    said: list[str] = []
    for file in sorted(site.iterdir()):
        if file.name in STARTS or file.name.partition(".")[0] in STARTS:
            said.append(f"site-packages: {file.name} runs at every start")
        elif file.suffix == ".pth":
            text = file.read_bytes()
            if file.name == EDITABLE and text.decode().strip() == str(source):
                continue
            if HOOKS.get(file.name) != hashlib.sha256(text).hexdigest():
                said.append(f"site-packages: {file.name} is not known; read it before you allow it")
    return said


def package(root: Path) -> list[str]:
    """What must not be in the package: hooks, links, and what is not text of ours."""
    said: list[str] = []
    for file in sorted(root.rglob("*")):
        if file.suffix == ".pth" or file.name in STARTS:
            said.append(f"{file.name}: runs at every start of Python")
        if file.is_symlink():
            said.append(f"{file.name}: a link")
        if file.suffix in {".so", ".pyd", ".dll", ".dylib", ".exe"}:
            said.append(f"{file.name}: a binary")
    return said


def _entries(text: str) -> Iterable[str]:
    """Requirements with their continued lines, without comments."""
    entry = ""
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("#") or (not bare and not entry):
            continue
        entry += " " + bare
        if not bare.endswith("\\"):
            yield entry.strip()
            entry = ""
    if entry:
        yield entry.strip()


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def check(root: Path) -> list[str]:
    """All of it, for this checkout and its environment."""
    said = direct((root / "pyproject.toml").read_text())
    locks = sorted(root.glob("requirements*.lock"))
    for file in locks:
        said += lock(file.name, file.read_text())
    said += total("requirements.lock", (root / "requirements.lock").read_text())
    said += package(root / "src")
    for site in sorted((root / ".venv" / "lib").glob("python*/site-packages")):
        said += hooks(site, root / "src")
    return said
