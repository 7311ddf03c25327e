"""Read YAML into plain values that remember their lines.

Stricter than YAML: one document, no tags, duplicate keys are mistakes, keys are text, and
aliases may not grow the file beyond `MAX_NODES`. Plain scalars follow YAML 1.2's core schema
(`no`, `on` and `12:30` are text), so `language: [no]` means Norwegian.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import yaml

from pointsman.config.problems import Path, Problem, dotted

MAX_BYTES = 1024 * 1024
MAX_NODES = 100_000
MAX_DEPTH = 32

Scalar = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Node:
    """A value with the line it (or its key) stands on, counted from 1.

    `size` is the number of nodes in it with aliases written out.
    """

    value: Scalar | dict[str, Node] | list[Node]
    line: int
    size: int = 1


class YamlProblem(Exception):
    """The text is not the YAML we read; `problem` says where."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.what)
        self.problem = problem


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9][0-9_]*\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, Scalar] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}


def read_yaml(text: str) -> tuple[Node, list[Problem]]:
    """Parse `text`; return its tree and the mistakes that leave a tree (duplicate keys, tags).

    Raises YamlProblem where there is no tree to speak of.
    """
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        what = f"the file is over {MAX_BYTES // 1024} KiB"
        raise YamlProblem(Problem(1, "", what, "make it shorter"))
    reader = _Reader(text)
    try:
        return reader.document(), reader.problems
    except yaml.MarkedYAMLError as error:
        # An unclosed bracket is noticed far below: where it opens is what helps.
        unclosed = "flow" in (error.context or "")
        marks = (error.problem_mark, error.context_mark)[:: -1 if unclosed else 1]
        line = next((mark.line + 1 for mark in marks if mark is not None), 1)
        what = f"not YAML: {error.problem or error.context}"
        raise YamlProblem(Problem(line, "", what, "check indentation and quotes")) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position if isinstance(error.position, int) else 0) + 1
        what = f"not YAML: {error.reason}"
        raise YamlProblem(Problem(line, "", what, "remove the character")) from error


def plain(node: Node) -> object:
    """Drop the lines."""
    value = node.value
    if isinstance(value, dict):
        return {key: plain(child) for key, child in value.items()}
    if isinstance(value, list):
        return [plain(child) for child in value]
    return value


def line_of(root: Node, path: Path) -> int:
    """Find the line of the deepest part of `path` that is in the file."""
    node = root
    for step in path:
        value = node.value
        if isinstance(value, dict) and step in value:
            node = value[str(step)]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            node = value[step]
        else:
            break
    return node.line


class _Reader:
    """Builds nodes from the parser's events; one use."""

    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
        self._anchors: dict[str, Node] = {}

    def document(self) -> Node:
        next(self._events)  # the start of the stream
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return Node({}, 1)
        root = self._node(next(self._events), ())
        next(self._events)  # the end of the document
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            line = _line(event)
            raise YamlProblem(Problem(line, "", "a second document", "keep one, remove `---`"))
        return root if root.value is not None else Node({}, 1)

    def _node(self, event: yaml.Event, path: Path) -> Node:
        line = _line(event)
        if len(path) > MAX_DEPTH:
            raise YamlProblem(Problem(line, "", f"deeper than {MAX_DEPTH} levels", ""))
        if isinstance(event, yaml.AliasEvent):
            found = self._anchors.get(event.anchor or "")
            if found is None:
                what = f"alias `*{event.anchor}` before its anchor, or inside it"
                raise YamlProblem(Problem(line, dotted(path), what, "write the value out"))
            return replace(found, line=line)
        assert isinstance(event, yaml.NodeEvent)
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            what = f"the tag `{tag}`"
            self.problems.append(Problem(line, dotted(path), what, "tags are not read; remove it"))
        if isinstance(event, yaml.ScalarEvent):
            node = Node(_scalar(event.value) if event.implicit[0] else event.value, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(line, path)
        else:
            node = self._mapping(line, path)
        if node.size > MAX_NODES:
            what = f"it grows beyond {MAX_NODES} values, aliases written out"
            raise YamlProblem(Problem(line, dotted(path), what, "write fewer"))
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _sequence(self, line: int, path: Path) -> Node:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return Node(items, line, 1 + sum(item.size for item in items))

    def _mapping(self, line: int, path: Path) -> Node:
        entries: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            at = _line(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise YamlProblem(Problem(at, dotted(path), "a key that is not a word", ""))
            key = event.value
            child = self._node(next(self._events), (*path, key))
            if key == "<<" and event.implicit[0]:
                merged |= self._merge(child, at, path)
                continue
            if key in entries:
                what = f"written twice (first on line {entries[key].line})"
                self.problems.append(Problem(at, dotted((*path, key)), what, "keep one"))
                continue
            entries[key] = replace(child, line=at)
        entries = merged | entries
        return Node(entries, line, 1 + sum(child.size for child in entries.values()))

    def _merge(self, node: Node, line: int, path: Path) -> dict[str, Node]:
        """YAML's merge key: earlier mappings win over later ones."""
        sources = node.value if isinstance(node.value, list) else [node]
        merged: dict[str, Node] = {}
        for source in sources:
            if not isinstance(source.value, dict):
                self.problems.append(Problem(line, dotted(path), "`<<` needs a mapping", ""))
                continue
            merged = source.value | merged
        return merged


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def _scalar(text: str) -> Scalar:
    """Resolve a plain scalar: words, decimal integers, decimal fractions, else text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text) and len(text) < 20:
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    return text
