"""Read one YAML file into Settings, or say everything that is wrong with it.

Every complaint is one line, `FILE:LINE: field.path: what is wrong; remedy`, and they come
together in one ConfigError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pointsman.config.conform import conform
from pointsman.config.desk import Desk
from pointsman.config.known import Known, shipped
from pointsman.config.problems import BadConfig, Problem
from pointsman.config.resolve import resolve
from pointsman.config.settings import Settings
from pointsman.config.yaml_marks import Node, YamlProblem, read_yaml
from pointsman.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings with what only `check` wants to know: the lines, and where keys came from."""

    settings: Settings
    root: Node
    key_sources: Mapping[str, str]


def load(path: Path, env: Mapping[str, str], known: Known | None = None) -> Settings:
    """Read a file. Raises ConfigError with every mistake in it."""
    return read(path, env, known).settings


def loads(
    text: str,
    origin: str,
    env: Mapping[str, str],
    base_dir: Path,
    known: Known | None = None,
) -> Settings:
    """Read a text; `origin` names it in messages, relative paths start at `base_dir`."""
    return reads(text, origin, env, base_dir, known).settings


def read(path: Path, env: Mapping[str, str], known: Known | None = None) -> Loaded:
    """Read a file, keeping its lines. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file; write one (docs/configuration.md), or start without "
            "one to use the providers that the environment has keys for"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; correct that") from None
    return reads(text, str(path), env, path.parent, known)


def reads(
    text: str,
    origin: str,
    env: Mapping[str, str],
    base_dir: Path,
    known: Known | None = None,
) -> Loaded:
    """Read a text, keeping its lines. Raises ConfigError."""
    try:
        root, problems = read_yaml(text)
    except YamlProblem as error:
        raise BadConfig(origin, [error.problem]) from None
    conformed = conform(root)
    problems = [*problems, *conformed.problems]
    if conformed.file is None:
        raise BadConfig(origin, problems or [Problem(1, "", "not a mapping")])
    desk = Desk(
        root, env, base_dir, known or shipped(), conformed.places, conformed.left_out, problems
    )
    resolved = resolve(conformed.file, origin, desk)
    if problems:
        raise BadConfig(origin, problems)
    return Loaded(resolved.settings, root, resolved.key_sources)
