"""Secrets by reference: `env:NAME` and `file:PATH`, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pointsman.config.settings import Secret

MAX_FILE_BYTES = 64 * 1024


class Headers(dict[str, str]):
    """Headers that show their names only: values may be secrets."""

    def __repr__(self) -> str:
        return f"Headers({', '.join(sorted(self))})"


class BadReference(Exception):
    """A reference that leads nowhere; `what` and `remedy` name it, never a value."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def is_reference(text: str) -> bool:
    return text.startswith(("env:", "file:"))


def follow(reference: str, env: Mapping[str, str], base_dir: Path) -> Secret:
    """Fetch what a reference names, without surrounding white space.

    Files are relative to `base_dir`. Raises BadReference where it is missing, empty, or more
    than one line.
    """
    scheme, _, name = reference.partition(":")
    text = _from_env(name, env) if scheme == "env" else _from_file(file_of(reference, base_dir))
    if not text:
        raise BadReference(f"{reference} is empty", "put the key into it")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise BadReference(f"{reference} holds more than one line", "keep the key alone in it")
    return Secret(text)


def _from_env(name: str, env: Mapping[str, str]) -> str:
    value = env.get(name)
    if value is None:
        raise BadReference(f"the variable {name} is not set", f"export {name}=…")
    return value.strip()


def file_of(reference: str, base_dir: Path) -> Path:
    """The file that a `file:` reference names."""
    return base_dir / Path(reference.removeprefix("file:")).expanduser()


def _from_file(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadReference(f"{path} is no key: over {MAX_FILE_BYTES // 1024} KiB", "")
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise BadReference(f"there is no file {path}", "create it, or correct the path") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadReference(f"cannot read {path}: {why}", "correct it") from None
