"""Read one YAML file into Settings, or say everything that is wrong with it.

Every complaint is one line, `FILE:LINE: field.path: what is wrong; remedy`, and they come
together in one ConfigError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path

from pointsman.config.conform import conform
from pointsman.config.desk import Desk
from pointsman.config.known import Known, shipped
from pointsman.config.problems import BadConfig, Problem, problem_at
from pointsman.config.problems import Path as Place
from pointsman.config.resolve import resolve
from pointsman.config.schema import ConfigFile
from pointsman.config.settings import Settings
from pointsman.config.yaml_marks import MAX_BYTES, Node, YamlProblem, line_of, read_yaml
from pointsman.errors import ConfigError

MOST_ENTRIES = 10_000
"""Longest list of deployments, routes or keys, and most providers."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings with what only `check` wants to know: the lines, and where keys came from."""

    settings: Settings
    root: Node
    key_sources: Mapping[str, str]
    files: frozenset[Path] = field(default_factory=frozenset)
    """What was read besides the file itself: secrets and certificates."""


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


def read(
    path: Path,
    env: Mapping[str, str],
    known: Known | None = None,
    files: set[Path] | None = None,
) -> Loaded:
    """Read a file, keeping its lines. Raises ConfigError.

    What was read besides is put into `files` as well, so that it is known after an error too.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        # One that is too large is cut, and `read_yaml` refuses it.
        text = data.decode("utf-8-sig", "ignore" if len(data) > MAX_BYTES else "strict")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file; write one (docs/configuration.md), or start without "
            "one to use the providers that the environment has keys for"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; correct that") from None
    return reads(text, str(path), env, path.parent, known, files)


def reads(
    text: str,
    origin: str,
    env: Mapping[str, str],
    base_dir: Path,
    known: Known | None = None,
    files: set[Path] | None = None,
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
    if too_many := _too_many(conformed.file, root):
        raise BadConfig(origin, [*problems, *too_many])
    desk = Desk(
        root,
        env,
        base_dir,
        known or shipped(),
        conformed.places,
        conformed.left_out,
        problems,
        set() if files is None else files,
    )
    resolved = resolve(conformed.file, origin, desk)
    if problems:
        raise BadConfig(origin, problems)
    return Loaded(resolved.settings, root, resolved.key_sources, frozenset(desk.files))


def _too_many(file: ConfigFile, root: Node) -> list[Problem]:
    lists: Mapping[Place, Sized] = {
        ("deployments",): file.deployments,
        ("routes",): file.routes,
        ("providers",): file.providers,
        ("server", "keys"): file.server.keys,
    }
    return [
        problem_at(
            line_of(root, place), place, f"{len(many)} entries", f"keep to {MOST_ENTRIES} at most"
        )
        for place, many in lists.items()
        if len(many) > MOST_ENTRIES
    ]
