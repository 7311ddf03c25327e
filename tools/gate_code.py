"""What the product's code must not do, read from its syntax tree.

Theory. No path may execute, template, import, spawn or dial anything that came from a request, a
row or the admin API. A test shows that for the inputs somebody thought of; here the means
themselves are missing. What is banned is a name (after imports, whatever it was called there), and
each exception is a line of `ALLOWED` with its reason. One that nobody needs any more is itself an
error, so the list cannot rot.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

BANNED: Final[Mapping[str, str]] = {
    # a dotted name, or the module that holds it: the rule
    **dict.fromkeys(("eval", "exec", "compile", "__import__", "code", "codeop", "runpy"), "code"),
    **dict.fromkeys(("builtins", "types.FunctionType", "types.CodeType"), "code"),
    **dict.fromkeys(("importlib.import_module", "importlib.util", "pkgutil", "imp"), "import"),
    **dict.fromkeys(("pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle"), "pickle"),
    **dict.fromkeys(
        ("subprocess", "multiprocessing", "pty", "concurrent.futures.process"), "spawn"
    ),
    **dict.fromkeys(("os.system", "os.popen", "os.posix_spawn", "os.posix_spawnp"), "spawn"),
    **dict.fromkeys(("os.fork", "os.forkpty", "os.startfile", "webbrowser"), "spawn"),
    **{f"os.{verb}{how}": "spawn" for verb in ("exec", "spawn") for how in ("l", "v")},
    **{f"os.exec{how}": "spawn" for how in ("le", "lp", "lpe", "ve", "vp", "vpe")},
    **{f"os.spawn{how}": "spawn" for how in ("le", "lp", "lpe", "ve", "vp", "vpe")},
    **dict.fromkeys(("asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell"), "spawn"),
    **dict.fromkeys(("ctypes", "cffi", "mmap"), "native"),
    **dict.fromkeys(("jinja2", "mako", "string.Template", "string.Formatter"), "template"),
    **dict.fromkeys(("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"), "yaml"),
    **dict.fromkeys(("yaml.Loader", "yaml.UnsafeLoader", "yaml.FullLoader"), "yaml"),
    **dict.fromkeys(("tempfile.mktemp",), "race"),
    **dict.fromkeys(("ssl.CERT_NONE", "ssl._create_unverified_context"), "tls"),
    **dict.fromkeys(("urllib.request", "http.client", "requests", "httpx", "urllib3"), "dial"),
    **dict.fromkeys(
        ("smtplib", "ftplib", "xmlrpc", "socketserver", "aiohttp.ClientSession"), "dial"
    ),
    **dict.fromkeys(("socket.create_connection", "asyncio.open_connection"), "dial"),
    **dict.fromkeys(("xml", "lxml", "cgi", "zipfile", "tarfile"), "parser"),
    "pointsman.providers.transport.Endpoint": "address",
}
"""Modules and names that stay out. `address`: who makes an Endpoint decides where keys go."""

BUILTIN: Final = frozenset({"eval", "exec", "compile", "__import__"})
"""What is there without an import."""

METHODS: Final[Mapping[str, str]] = {
    "create_connection": "dial",
    "sock_connect": "dial",
    "subprocess_exec": "spawn",
    "subprocess_shell": "spawn",
    "format_map": "template",
}
"""Methods of whatever object that are banned by their name."""

KEYWORDS: Final[Mapping[tuple[str, object], str]] = {
    ("shell", True): "spawn",
    ("verify", False): "tls",
    ("ssl", False): "tls",
    ("check_hostname", False): "tls",
    ("trust_env", True): "dial",
    ("allow_redirects", True): "dial",
    ("follow_redirects", True): "dial",
    ("capture_locals", True): "secrets",
}
"""Arguments that switch a protection off, or show local variables."""

ALLOWED: Final[Mapping[tuple[str, str], str]] = {
    ("__init__.py", "import"): "its own public names, from a table",
    ("cli/main.py", "import"): "its own commands, from a table",
    ("server/child.py", "spawn"): "the supervisor starts workers: this interpreter, constant args",
    ("server/worker.py", "native"): "mallopt, with constants",
    ("providers/lean_dial.py", "dial"): "the one place that dials, at checked addresses",
    (
        "providers/lean_dial.py",
        "tls",
    ): "verify_tls: false of the operator's file, which lints warn of",
    ("providers/aiohttp_transport.py", "dial"): "the other transport, with our resolver",
    ("config/discover.py", "dial"): "local servers' usual addresses, without a file",
    ("observe/lines.py", "template"): "a logging handler's own format(), which takes a record",
    ("store/neutral.py", "template"): "triggers of the package, a table of the package put in",
    ("alerts/mail.py", "dial"): "the operator's mail server",
    ("config/resolve_providers.py", "address"): "URLs of the operator's file and the catalogue",
    ("alerts/sinks.py", "address"): "URLs of the operator's file",
    ("conformance/peer.py", "spawn"): "the operator's own command line",
}
"""Exceptions: a file below src/pointsman, a rule, and why."""

EXEMPT: Final = ("testing/", "demo/")
"""What the running gateway never imports (import contracts); it plays providers and servers."""


class Breach(NamedTuple):
    path: str
    line: int
    rule: str
    what: str

    def __str__(self) -> str:
        return f"src/pointsman/{self.path}:{self.line}: {self.rule}: {self.what}"


def breaches(path: str, text: str) -> list[Breach]:
    """Find every banned thing in one file's text, allowed or not."""
    tree = ast.parse(text, path)
    known = _imported(tree)
    found = {
        Breach(path, getattr(node, "lineno", 0), rule, what)
        for node in ast.walk(tree)
        for rule, what in _judge(node, known)
    }
    return sorted(found)


def check(root: Path) -> list[str]:
    """Every breach that is not allowed in a package's folder, and every idle permission."""
    said: list[str] = []
    used: set[tuple[str, str]] = set()
    for file in sorted(root.rglob("*.py")):
        path = file.relative_to(root).as_posix()
        if path.startswith(EXEMPT):
            continue
        for breach in breaches(path, file.read_text()):
            if (path, breach.rule) in ALLOWED:
                used.add((path, breach.rule))
            else:
                said.append(str(breach))
    idle = sorted(set(ALLOWED) - used)
    return said + [f"tools/gate_code.py: ALLOWED {where}: nobody needs it" for where in idle]


def _imported(tree: ast.AST) -> dict[str, str]:
    """What names of this file stand for: `from os import system as s` is s: os.system."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                known[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return known


def _judge(node: ast.AST, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """1. imports; 2. uses of a name; 3. methods and arguments of calls; 4. switches set."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from _banned(alias.name)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            # A type to annotate with may be imported by whoever does not make one.
            if f"{node.module}.{alias.name}" != "pointsman.providers.transport.Endpoint":
                yield from _banned(f"{node.module}.{alias.name}")
    elif isinstance(node, ast.Attribute):
        yield from _banned(_dotted(node, known))
    elif isinstance(node, ast.Call):
        name = _dotted(node.func, known)
        yield from _banned(name)
        if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            yield METHODS[node.func.attr], f".{node.func.attr}()"
        if isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            # `{0.__class__}` in a format text reads anything: the text must be ours.
            yield from _foreign_text(node.func.value)
        for keyword in node.keywords:
            value = keyword.value
            if isinstance(value, ast.Constant) and isinstance(value.value, bool):
                rule = KEYWORDS.get((keyword.arg or "", value.value))
                if rule is not None:
                    yield rule, f"{keyword.arg}={value.value}"
    elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
        for target in node.targets:
            if isinstance(target, ast.Attribute) and isinstance(node.value.value, bool):
                rule = KEYWORDS.get((target.attr, node.value.value))
                if rule is not None:
                    yield rule, f"{target.attr} = {node.value.value}"


def _foreign_text(node: ast.expr) -> Iterator[tuple[str, str]]:
    """What is neither a literal nor, by its name, a constant of a module."""
    name = node.id if isinstance(node, ast.Name) else ""
    name = node.attr if isinstance(node, ast.Attribute) else name
    if not (isinstance(node, ast.Constant) or name.isupper()):
        yield "template", "format() of a text that is not a constant"


def _banned(name: str) -> Iterator[tuple[str, str]]:
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        head = ".".join(parts[:end])
        if head in BANNED:
            yield BANNED[head], head
            return


def _dotted(node: ast.expr, known: Mapping[str, str]) -> str:
    """The full name of what an expression refers to; "" where it is a name of this file's own."""
    if isinstance(node, ast.Name):
        return known.get(node.id, node.id if node.id in BUILTIN else "")
    if isinstance(node, ast.Attribute):
        inner = _dotted(node.value, known)
        return f"{inner}.{node.attr}" if inner else ""
    return ""
