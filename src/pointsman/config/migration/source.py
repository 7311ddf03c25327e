"""Read another program's file so that nothing is dropped silently: every value is either taken
or reported."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pointsman.config.problems import Path, dotted
from pointsman.config.yaml_marks import Node, plain

NoteKind = Literal["dropped", "changed", "set"]
"""dropped: not carried over. changed: carried over with another meaning. set: the operator must
do something before it works."""

_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_LITELLM_ENV = re.compile(r"^os\.environ/([A-Za-z_][A-Za-z0-9_]*)$")


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """What became of one key of the old file; line 0 is about the whole file."""

    line: int
    path: str
    kind: NoteKind
    text: str


@dataclass(slots=True)
class Journal:
    """Notes and touched paths of one migration; both grow."""

    notes: list[Note] = field(default_factory=list)
    touched: set[Path] = field(default_factory=set)


class Source:
    """A mapping of the old file. What is taken counts as handled."""

    def __init__(self, node: Node, path: Path, journal: Journal) -> None:
        self.node = node
        self.path = path
        self._journal = journal
        self._entries = node.value if isinstance(node.value, dict) else {}

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def spelt(self, key: str) -> str:
        """The spelling of a snake_case key that is there: itself, or camelCase."""
        head, *rest = key.split("_")
        camel = head + "".join(word.title() for word in rest)
        return camel if key not in self._entries and camel in self._entries else key

    def take(self, key: str) -> object:
        """Take a value whole; None where it is missing."""
        self._journal.touched.add((*self.path, key))
        node = self._entries.get(key)
        return None if node is None else plain(node)

    def text(self, key: str) -> str | None:
        """Take a text (or a number written as one); report anything else."""
        value = self.take(key)
        if value is None or isinstance(value, str):
            return value or None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        self.note("dropped", "not a text", key)
        return None

    def number(self, key: str) -> float | None:
        """Take a number, also one in quotes; report anything else."""
        value = self.take(key)
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                self.note("dropped", "not a number", key)
                return None
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        self.note("dropped", "not a number", key)
        return None

    def whole(self, key: str) -> int | None:
        value = self.number(key)
        return None if value is None else int(value)

    def words(self, key: str) -> list[str]:
        """Take a list of texts, or one text."""
        value = self.take(key)
        items = value if isinstance(value, list) else [] if value is None else [value]
        texts = [str(item) for item in items if isinstance(item, str | int | float)]
        if len(texts) < len(items):
            self.note("dropped", "an entry that is more than a name", key)
        return texts

    def section(self, key: str) -> Source:
        """Go into a mapping; an empty one where it is missing."""
        return Source(
            self._entries.get(key, Node({}, self.node.line)), (*self.path, key), self._journal
        )

    def each(self, key: str) -> list[Source]:
        """Go into a list of mappings."""
        node = self._entries.get(key)
        items = node.value if node is not None and isinstance(node.value, list) else []
        return [
            Source(item, (*self.path, key, place), self._journal)
            for place, item in enumerate(items)
        ]

    def note(self, kind: NoteKind, text: str, *key: str | int) -> None:
        """Report on this mapping, or on one of its keys, which then counts as handled."""
        path = (*self.path, *key)
        if key:
            self._journal.touched.add(path)
        line = self.node.line
        if key and isinstance(key[0], str) and key[0] in self._entries:
            line = self._entries[key[0]].line
        self._journal.notes.append(Note(line, dotted(path), kind, text))

    def drop(self, text: str) -> None:
        """Report the whole mapping as not carried over."""
        self._journal.touched.add(self.path)
        self.note("dropped", text)


def leftovers(
    root: Node, journal: Journal, reasons: Mapping[str, str], other: str
) -> Iterator[Note]:
    """Report every value that nobody took, with the reason for its nearest named key."""
    for path, node in _leaves(root, ()):
        if any(path[:length] in journal.touched for length in range(1, len(path) + 1)):
            continue
        words = [_CAPITAL.sub(r"_\1", str(step)).lower() for step in reversed(path)]
        reason = next((reasons[word] for word in words if word in reasons), other)
        yield Note(node.line, dotted(path), "dropped", reason)


def _leaves(node: Node, path: Path) -> Iterator[tuple[Path, Node]]:
    if isinstance(node.value, dict) and node.value:
        for key, child in node.value.items():
            yield from _leaves(child, (*path, key))
    elif isinstance(node.value, list) and any(isinstance(i.value, dict) for i in node.value):
        for place, child in enumerate(node.value):
            yield from _leaves(child, (*path, place))
    else:
        yield path, node


def env_name(text: str | None) -> str | None:
    """The variable that LiteLLM's `os.environ/NAME` names."""
    found = _LITELLM_ENV.match(text or "")
    return found[1] if found else None
