"""SQL is made of constants: nothing that came from outside can reach a statement's text.

Theory. Values go beside a statement, never into it. So whatever is handed to a method that runs
SQL must be built from constants of our own: literals, names bound to such, pieces joined or
repeated, one of two such. This follows names back through their assignments, within a function,
its module, and modules it imports from; what it cannot follow must be in `ALLOWED`, with why it is
safe, and a person has read it. A permission nobody needs is an error.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

RUNS: Final = frozenset(
    {"rows", "named", "run", "run_many", "script", "execute", "executemany", "executescript"}
    | {"fetch", "fetchrow", "fetchval"}
)
NO_SQL: Final = frozenset({"asyncio", "uvloop", "runner", "subprocess", "hedge"})
"""Objects whose `run` runs something else."""
TRUSTED_ATTRIBUTES: Final = frozenset({"for_update"})
"""Pieces of SQL that the engines give out; constants there."""

ALLOWED: Final[Mapping[tuple[str, str], str]] = {
    **dict.fromkeys(
        (
            *(("store/sqlite.py", name) for name in ("rows", "named", "run", "run_many", "script")),
            *(("store/postgres.py", name) for name in ("_fetched", "_executed", "run_many")),
        ),
        "the engines themselves: what they are handed is judged where it is handed over",
    ),
    ("store/sqlite.py", "_connect"): "FULL or NORMAL, by a bool",
    ("store/migrate.py", "migrate"): "migrations of the package, put into the engine's words",
    ("budgets/escrow_store.py", "_learn"): "`where` of its two callers: one piece, repeated",
    ("budgets/rows.py", "_leases"): "`lock` of its two callers: nothing, or FOR UPDATE",
    ("ledger/write.py", "write"): "tables and columns of module constants, placeholders repeated",
    ("reports/attempts.py", "attempts"): "one of two columns each, by what the store has",
    ("reports/cells.py", "cells_of"): "conditions of its callers, made of column names of ours",
    ("reports/cells.py", "adjustments_of"): "the same",
    ("reports/report.py", "_add_sums"): "columns of a table of ours; tags by number, as values",
    ("reports/report.py", "_add_latencies"): "the same",
}
"""Exceptions: a file below src/pointsman, the function, and why."""

EXEMPT: Final = ("testing/", "demo/")

_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Module:
    """A file's tree, with what its names are bound to."""

    def __init__(self, root: Path, path: str, text: str) -> None:
        self.root = root
        self.path = path
        self.tree = ast.parse(text, path)
        self.imported: dict[str, tuple[str, str]] = {}
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pointsman."):
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = (node.module or "", alias.name)

    def calls(self) -> Iterator[tuple[ast.expr, list[_Function]]]:
        """Each expression that is run as SQL, with the functions around it, outermost first."""
        yield from self._within(self.tree, [])

    def _within(
        self, node: ast.AST, around: list[_Function]
    ) -> Iterator[tuple[ast.expr, list[_Function]]]:
        for child in ast.iter_child_nodes(node):
            inner = [*around, child] if isinstance(child, _Function) else around
            if isinstance(child, ast.Call) and _runs_sql(child):
                yield child.args[0], around
            yield from self._within(child, inner)


def _runs_sql(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in RUNS or not call.args:
        return False
    holder = call.func.value
    return not (isinstance(holder, ast.Name) and holder.id in NO_SQL)


class Constants:
    """Decides whether an expression is built from constants alone."""

    def __init__(
        self,
        module: Module,
        around: list[_Function],
        depth: int = 0,
        given: frozenset[str] = frozenset(),
    ) -> None:
        """`given`: parameters of the innermost function that are constants in this call."""
        self._module = module
        self._around = around
        self._depth = depth
        self._given = given
        self._asking: set[str] = set()

    def holds(self, node: ast.expr) -> bool:
        """1. literals and pieces of them; 2. names; 3. tables; 4. joined and repeated pieces."""
        match node:
            case ast.Constant():
                return isinstance(node.value, str | int)
            case ast.JoinedStr():
                return all(self._holds_piece(piece) for piece in node.values)
            case ast.BinOp(op=ast.Add()):
                return self.holds(node.left) and self.holds(node.right)
            case ast.BinOp(op=ast.Mult()):  # a text or a list so many times
                return self.holds(node.left) or self.holds(node.right)
            case ast.IfExp():
                return self.holds(node.body) and self.holds(node.orelse)
            case ast.List() | ast.Tuple():
                return all(self.holds(each) for each in node.elts)
            case ast.Dict():
                return all(self.holds(each) for each in node.values)
            case ast.DictComp():
                return self.holds(node.value)
            case ast.Starred():
                return self.holds(node.value)
            case ast.GeneratorExp() | ast.ListComp():
                return self.holds(node.elt)
            case ast.Subscript():
                return self.holds(node.value)
            case ast.Attribute():
                return node.attr in TRUSTED_ATTRIBUTES
            case ast.Name():
                return self._name_holds(node.id)
            case ast.Call(func=ast.Attribute(attr="join" | "get")):
                assert isinstance(node.func, ast.Attribute)
                return self.holds(node.func.value) and all(self.holds(each) for each in node.args)
            case ast.Call(func=ast.Name()):
                return self._call_holds(node)
            case _:
                return False

    def _call_holds(self, call: ast.Call) -> bool:
        """A function of ours that returns nothing but constants, given these arguments."""
        assert isinstance(call.func, ast.Name)
        found = self._function(call.func.id)
        if found is None or self._depth > 5:
            return False
        module, function = found
        names = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
        given = {name for name, each in zip(names, call.args, strict=False) if self.holds(each)}
        given |= {each.arg for each in call.keywords if each.arg and self.holds(each.value)}
        inside = Constants(module, [function], self._depth + 1, frozenset(given))
        returned = [each.value for each in ast.walk(function) if isinstance(each, ast.Return)]
        return bool(returned) and all(each is not None and inside.holds(each) for each in returned)

    def _function(self, name: str) -> tuple[Module, _Function] | None:
        for node in self._module.tree.body:
            if isinstance(node, _Function) and node.name == name:
                return self._module, node
        other = self._source(name)
        if other is None:
            return None
        module, original = other
        for node in module.tree.body:
            if isinstance(node, _Function) and node.name == original:
                return module, node
        return None

    def _holds_piece(self, piece: ast.expr) -> bool:
        if isinstance(piece, ast.FormattedValue):
            if isinstance(piece.format_spec, ast.JoinedStr):
                spec = piece.format_spec.values
                # `:d` takes a whole number, and nothing else.
                return len(spec) == 1 and isinstance(spec[0], ast.Constant) and spec[0].value == "d"
            return self.holds(piece.value)
        return self.holds(piece)

    def _name_holds(self, name: str) -> bool:
        if name in self._asking:
            return True  # a text that is added to itself: judged by what is added
        self._asking.add(name)
        try:
            for function in reversed(self._around):
                if name in _parameters(function):
                    return name in self._given and function is self._around[-1]
                bound = list(_bound(function, name))
                if bound:
                    return all(value is not None and self.holds(value) for value in bound)
            bound = [
                each
                for statement in self._module.tree.body
                if not isinstance(statement, _Function | ast.ClassDef)
                for node in ast.walk(statement)
                for each in _bound_by(node, name)
            ]
            if bound:
                return all(value is not None and self.holds(value) for value in bound)
            return self._imported_holds(name)
        finally:
            self._asking.discard(name)

    def _imported_holds(self, name: str) -> bool:
        found = self._source(name)
        if found is None or self._depth > 5:
            return False
        module, original = found
        return Constants(module, [], self._depth + 1)._name_holds(original)

    def _source(self, name: str) -> tuple[Module, str] | None:
        """The module that an imported name comes from, and what it is called there."""
        if name not in self._module.imported:
            return None
        where, original = self._module.imported[name]
        path = "/".join(where.split(".")[1:]) + ".py"
        file = self._module.root / path
        if not file.is_file():
            return None
        return Module(self._module.root, path, file.read_text()), original


def _parameters(function: _Function) -> set[str]:
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return {each.arg for each in every if each is not None}


def _bound(function: _Function, name: str) -> Iterator[ast.expr | None]:
    for node in ast.walk(function):
        yield from _bound_by(node, name)


def _bound_by(node: ast.AST, name: str) -> Iterator[ast.expr | None]:
    """What a statement binds a name to; None where it cannot be told."""
    match node:
        case ast.Assign():
            for target in node.targets:
                yield from _of_target(target, node.value, name)
        case ast.AnnAssign(value=ast.expr() as value) | ast.AugAssign(value=value):
            yield from _of_target(node.target, value, name)
        case ast.NamedExpr():
            yield from _of_target(node.target, node.value, name)
        case ast.For() | ast.AsyncFor() | ast.comprehension():
            yield from _of_loop(node.target, node.iter, name)
        case ast.With() | ast.AsyncWith():
            for item in node.items:
                if item.optional_vars is not None and name in _names(item.optional_vars):
                    yield None


def _of_target(target: ast.expr, value: ast.expr, name: str) -> Iterator[ast.expr | None]:
    if isinstance(target, ast.Name):
        if target.id == name:
            yield value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for each, part in zip(target.elts, value.elts, strict=True):
            yield from _of_target(each, part, name)
    elif name in _names(target):
        yield None


def _of_loop(target: ast.expr, over: ast.expr, name: str) -> Iterator[ast.expr | None]:
    """A loop over a table of constants, in one name, gives constants."""
    if isinstance(target, ast.Name) and target.id == name:
        yield over
    elif name in _names(target):
        yield None


def _names(node: ast.expr) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def breaches(root: Path, path: str, text: str) -> list[tuple[str, int, str]]:
    """(function, line, expression) of each statement whose text may not be all ours."""
    module = Module(root, path, text)
    return [
        (around[-1].name if around else "", node.lineno, ast.unparse(node))
        for node, around in module.calls()
        if not Constants(module, around).holds(node)
    ]


def check(root: Path) -> list[str]:
    """Every statement that is neither constant nor allowed, and every idle permission."""
    said: list[str] = []
    used: set[tuple[str, str]] = set()
    for file in sorted(root.rglob("*.py")):
        path = file.relative_to(root).as_posix()
        if path.startswith(EXEMPT):
            continue
        for function, line, shown in breaches(root, path, file.read_text()):
            if (path, function) in ALLOWED:
                used.add((path, function))
            else:
                said.append(f"src/pointsman/{path}:{line}: sql: {function}() runs {shown[:120]}")
    idle = sorted(set(ALLOWED) - used)
    return said + [f"tools/gate_sql.py: ALLOWED {where}: nobody needs it" for where in idle]
