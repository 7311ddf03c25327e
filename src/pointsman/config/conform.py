"""Check a file's tree against the schema and report every mistake, not only the first.

Works on msgspec's description of the records, so there is one schema. What is wrong is left
out and the rest is converted: a bad entry of `routes` does not hide a bad entry of
`deployments`. Names of left-out entries are kept, so that nobody is told that a deployment
does not exist when it is only misspelt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
from msgspec import inspect as kinds

from pointsman.config.conform_values import Checker
from pointsman.config.problems import Problem
from pointsman.config.schema import ConfigFile
from pointsman.config.yaml_marks import Node, plain

SECTIONS = ("providers", "deployments", "routes")
"""Blocks whose entries are left out one by one."""


@dataclass(frozen=True, slots=True)
class Conformed:
    """What could be read: `file` is None only where the tree is no mapping.

    `places` are, per section that is a list, the places in the file of the entries of `file`;
    `left_out` the names, per section, of the entries that could not be read.
    """

    file: ConfigFile | None
    problems: tuple[Problem, ...]
    places: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    left_out: Mapping[str, frozenset[str]] = field(default_factory=dict)


def conform(root: Node) -> Conformed:
    """Read the whole tree, leaving out what is wrong."""
    checker = Checker()
    checker.check(root, kinds.type_info(ConfigFile), ())
    if not isinstance(root.value, dict):
        return Conformed(None, tuple(checker.problems))
    values: dict[str, object] = {"deployments": []}
    places: dict[str, tuple[int, ...]] = {}
    left_out: dict[str, frozenset[str]] = {}
    for key, node in root.value.items():
        wrong = {path[1] for path in checker.wrong if path[:1] == (key,) and len(path) > 1}
        if (key,) in checker.wrong or (wrong and key not in SECTIONS):
            left_out[key] = frozenset()
        elif isinstance(node.value, dict):
            values[key] = {k: plain(child) for k, child in node.value.items() if k not in wrong}
            left_out[key] = frozenset(str(name) for name in wrong)
        elif isinstance(node.value, list):
            places[key] = tuple(at for at in range(len(node.value)) if at not in wrong)
            values[key] = [plain(node.value[at]) for at in places[key]]
            left_out[key] = frozenset().union(*(_names(node.value[int(at)]) for at in wrong))
        else:
            values[key] = node.value
    file = msgspec.convert(values, ConfigFile)
    return Conformed(file, tuple(checker.problems), places, left_out)


def _names(entry: Node) -> frozenset[str]:
    """Guess what a deployment or route that cannot be read would be called."""
    if not isinstance(entry.value, dict):
        return frozenset()
    words = {
        key: str(node.value)
        for key, node in entry.value.items()
        if isinstance(node.value, str | int | float)
    }
    names = {words[key] for key in ("name", "model") if key in words}
    if "provider" in words and "model" in words:
        names.add(f"{words['provider']}/{words['model']}")
    aliases = entry.value.get("aliases")
    if aliases is not None and isinstance(aliases.value, list):
        names |= {str(alias.value) for alias in aliases.value}
    return frozenset(names)
