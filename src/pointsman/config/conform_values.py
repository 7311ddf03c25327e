"""Check one value of the file against one kind of the schema, and say what to write instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import inspect as kinds

from pointsman.config.problems import Path, Problem, closest, problem_at, shown, suggest
from pointsman.config.yaml_marks import Node

_LITELLM = "this looks like a LiteLLM file: run `pointsman migrate FILE`"
_LLM_ROUTER = "this looks like a file of llm-router: run `pointsman migrate FILE`"
STRANGERS: Mapping[str, str] = {
    "model_list": _LITELLM,
    "router_settings": _LITELLM,
    "litellm_settings": _LITELLM,
    "general_settings": _LITELLM,
    "fallback_chains": _LLM_ROUTER,
    "strategies": _LLM_ROUTER,
    "models": "models stand under `deployments`",
    "api_key": "write `key: env:NAME`",
    "base_url": "write `url:`",
    "api_base": "write `url:`",
    "timeout": "write `timeouts: {total_s: …}`",
    "fallbacks": "write `fallback: {chain: […]}`",
    "rpm": "write `requests_per_minute:`",
    "tpm": "write `tokens_per_minute:`",
}
"""Keys of other programs that people bring along, and what to do with them."""

_ENV_STYLES = re.compile(r"^(?:os\.environ/|env\.|env::|\$\{?)([A-Za-z_][A-Za-z0-9_]*)\}?$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PATTERNS: Mapping[str, str] = {
    r"^[a-z]{2,3}$": "an ISO 639-1 code such as `en`",
    r"^[a-z0-9][a-z0-9_-]*$": "a word in lower case such as `eu`",
}


class Checker:
    """Walks a tree; `problems` and the `wrong` paths they are about grow."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.wrong: list[Path] = []

    def report(self, node: Node, path: Path, what: str, remedy: str = "") -> None:
        self.problems.append(problem_at(node.line, path, what, remedy))
        self.wrong.append(path)

    def check(self, node: Node, kind: kinds.Type, path: Path, *, secret: bool = False) -> None:
        if isinstance(kind, kinds.Metadata):
            self.check(
                node, kind.type, path, secret=secret or bool((kind.extra or {}).get("secret"))
            )
        elif isinstance(kind, kinds.UnionType):
            self._union(node, kind, path)
        elif isinstance(kind, kinds.StrType) and secret:
            self._secret(node, path, kind)
        else:
            _CHECKS[type(kind)](self, node, kind, path)

    def _union(self, node: Node, kind: kinds.UnionType, path: Path) -> None:
        """Take the member that fits the value's kind; the last one words the complaint."""
        if node.value is None and kind.includes_none:
            return
        members = [member for member in kind.types if not isinstance(member, kinds.NoneType)]
        for member in members:
            if _fits(node, member):
                self.check(node, member, path)
                return
        structs = [member for member in members if isinstance(member, kinds.StructType)]
        words = [str(v) for m in members if isinstance(m, kinds.LiteralType) for v in m.values]
        if structs and words:
            choices = ", ".join(f"`{word}`" for word in words)
            self.report(node, path, f"{shown(node.value)} is not {choices} or a mapping")
        else:
            self.check(node, members[-1], path)

    def _secret(self, node: Node, path: Path, kind: kinds.StrType) -> None:
        """Never show the value: it may be the key itself."""
        text = node.value if isinstance(node.value, str) else ""
        if kind.pattern is not None and re.search(kind.pattern, text):
            return
        foreign = _ENV_STYLES.match(text)
        if foreign:
            what, remedy = "not a reference we read", f"write `env:{foreign[1]}`"
        else:
            what = "a secret written out, or no reference"
            remedy = "put it into an environment variable and write `env:NAME`, or `file:PATH`"
        self.report(node, path, what, remedy)

    def struct(self, node: Node, kind: kinds.StructType, path: Path) -> None:
        if not isinstance(node.value, dict):
            self.report(node, path, f"{_kind_of(node)} instead of a mapping", _keys_of(kind))
            return
        fields = {item.encode_name: item for item in kind.fields}
        for key, child in node.value.items():
            if key in fields:
                self.check(child, fields[key].type, (*path, key))
            else:
                self.report(child, (*path, key), "no such key", _meant(key, list(fields)))
        for name, item in fields.items():
            if item.required and name not in node.value:
                self.report(node, (*path, name), "missing", "it has no default")

    def mapping(self, node: Node, kind: kinds.DictType, path: Path) -> None:
        if not isinstance(node.value, dict):
            self.report(node, path, f"{_kind_of(node)} instead of a mapping", "write `name: …`")
            return
        for key, child in node.value.items():
            if not key:
                self.report(child, path, "an empty name")
            self.check(child, kind.value_type, (*path, key))

    def sequence(self, node: Node, kind: kinds.VarTupleType, path: Path) -> None:
        if not isinstance(node.value, list):
            remedy = "write `[…]` or lines that start with `- `"
            if isinstance(node.value, str):
                remedy = f"write `[{node.value}]`" if shown(node.value)[0] == "`" else remedy
            self.report(node, path, f"{_kind_of(node)} instead of a list", remedy)
            return
        for at, child in enumerate(node.value):
            self.check(child, kind.item_type, (*path, at))

    def text(self, node: Node, kind: kinds.StrType, path: Path) -> None:
        value = node.value
        if not isinstance(value, str):
            quotes = isinstance(value, bool | int | float)
            remedy = "put it in quotes" if quotes else ""
            self.report(node, path, f"{_kind_of(node)} instead of text", remedy)
        elif kind.min_length is not None and len(value) < kind.min_length:
            self.report(node, path, "empty", "write something or remove the key")
        elif kind.max_length is not None and len(value) > kind.max_length:
            self.report(node, path, f"longer than {kind.max_length} characters")
        elif kind.max_length is not None and _CONTROL.search(value):
            # Names go into headers and lines of the log, where a line break begins another one.
            self.report(node, path, "control characters", "keep it to one line of plain text")
        elif kind.pattern is not None and not re.search(kind.pattern, value):
            self.report(node, path, f"{shown(value)} is not {_PATTERNS[kind.pattern]}")

    def number(self, node: Node, kind: kinds.IntType | kinds.FloatType, path: Path) -> None:
        value = node.value
        whole = isinstance(kind, kinds.IntType)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            name = "a whole number" if whole else "a number"
            self.report(node, path, f"{_kind_of(node)} instead of {name}")
            return
        low, high = kind.ge, kind.le
        if kind.gt is not None and value <= kind.gt:
            self.report(node, path, f"{value} is not above {kind.gt}")
        elif low is not None and value < low:
            self.report(node, path, f"{value} is below {low}")
        elif high is not None and value > high:
            self.report(node, path, f"{value} is above {high}")

    def boolean(self, node: Node, kind: kinds.BoolType, path: Path) -> None:
        if not isinstance(node.value, bool):
            self.report(node, path, f"{_kind_of(node)} instead of true or false")

    def literal(self, node: Node, kind: kinds.LiteralType, path: Path) -> None:
        words = [str(value) for value in kind.values]
        if node.value not in kind.values:
            value = node.value
            what = _kind_of(node) if isinstance(value, dict | list) else shown(value)
            self.report(node, path, f"{what} is not known", suggest(str(value), words))


_CHECKS: Mapping[type[kinds.Type], Callable[[Checker, Node, Any, Path], None]] = {
    kinds.StructType: Checker.struct,
    kinds.DictType: Checker.mapping,
    kinds.VarTupleType: Checker.sequence,
    kinds.StrType: Checker.text,
    kinds.IntType: Checker.number,
    kinds.FloatType: Checker.number,
    kinds.BoolType: Checker.boolean,
    kinds.LiteralType: Checker.literal,
}


def _fits(node: Node, kind: kinds.Type) -> bool:
    """Tell whether a union's member is meant for this sort of value."""
    value = node.value
    if isinstance(kind, kinds.Metadata):
        return _fits(node, kind.type)
    if isinstance(kind, kinds.LiteralType):
        return value in kind.values if not isinstance(value, dict | list) else False
    if isinstance(kind, kinds.StrType):
        return isinstance(value, str)
    if isinstance(kind, kinds.StructType | kinds.DictType):
        return isinstance(value, dict)
    if isinstance(kind, kinds.VarTupleType):
        return isinstance(value, list)
    return False


def _kind_of(node: Node) -> str:
    """Say what stands there, without showing it."""
    value = node.value
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f"the text {shown(value)}"
    return "nothing" if value is None else shown(value)


def _keys_of(kind: kinds.StructType) -> str:
    names = [item.encode_name for item in kind.fields]
    more = ", …" if len(names) > 6 else ""
    return f"its keys are {', '.join(names[:6])}{more}"


def _meant(key: str, known: list[str]) -> str:
    if key in STRANGERS and closest(key, known) != key:
        return STRANGERS[key]
    return suggest(key, known, limit=30)
