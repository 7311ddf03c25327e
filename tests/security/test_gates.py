"""The static gates stop what they are there for, and nothing that is in the tree."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from tools import gate_code, gate_sql, gate_supply
from tools.gates import ROOT, problems

PACKAGE = ROOT / "src" / "pointsman"


@pytest.mark.slow
def test_the_tree_passes_every_gate() -> None:
    assert problems() == []


BANNED = [
    ("eval(text)", "code"),
    ("exec(text)", "code"),
    ("compile(text, '', 'exec')", "code"),
    ("__import__(name)", "code"),
    ("import builtins\nbuiltins.eval(text)", "code"),
    ("import importlib\nimportlib.import_module(name)", "import"),
    ("from importlib import import_module as load\nload(name)", "import"),
    ("import pickle", "pickle"),
    ("from pickle import loads", "pickle"),
    ("import marshal as m", "pickle"),
    ("import shelve", "pickle"),
    ("import subprocess", "spawn"),
    ("from subprocess import Popen", "spawn"),
    ("import os\nos.system(text)", "spawn"),
    ("from os import popen as p", "spawn"),
    ("import os as o\no.execvp(a, b)", "spawn"),
    ("import asyncio\nasyncio.create_subprocess_shell(text)", "spawn"),
    ("loop.subprocess_exec(make, text)", "spawn"),
    ("start(text, shell=True)", "spawn"),
    ("import ctypes", "native"),
    ("from jinja2 import Template", "template"),
    ("from string import Template", "template"),
    ("text.format(name)", "template"),
    ("'{}'.format_map(names)", "template"),
    ("import yaml\nyaml.load(text)", "yaml"),
    ("import yaml\nyaml.load(text, Loader=yaml.Loader)", "yaml"),
    ("from yaml import unsafe_load", "yaml"),
    ("import tempfile\ntempfile.mktemp()", "race"),
    ("import ssl\ncontext.verify_mode = ssl.CERT_NONE", "tls"),
    ("context.check_hostname = False", "tls"),
    ("get(url, verify=False)", "tls"),
    ("session.get(url, ssl=False)", "tls"),
    ("import ssl\nssl._create_unverified_context()", "tls"),
    ("import urllib.request", "dial"),
    ("from urllib.request import urlopen", "dial"),
    ("import aiohttp\naiohttp.ClientSession()", "dial"),
    ("session.get(url, allow_redirects=True)", "dial"),
    ("Session(trust_env=True)", "dial"),
    ("loop.create_connection(make, host, port)", "dial"),
    ("from pointsman.providers.transport import Endpoint\nEndpoint(body['url'])", "address"),
    ("import traceback\ntraceback.TracebackException(a, b, c, capture_locals=True)", "secrets"),
    ("import xml.etree.ElementTree", "parser"),
]


@pytest.mark.parametrize(("text", "rule"), BANNED)
def test_a_banned_means_is_found(text: str, rule: str) -> None:
    assert rule in {breach.rule for breach in gate_code.breaches("server/new.py", text)}


@pytest.mark.parametrize(
    "text",
    [
        "import re\nre.compile(text)",
        "requests = {}\nrequests.get(1)",
        "import yaml\nyaml.compose(text, Loader=yaml.SafeLoader)",
        "'{}'.format(name)",
        "TEXT.format(name)",
        "self.exec(text)",
        "import os\nos.replace(a, b)",
        "from pointsman.providers.transport import Endpoint\n\ndef f(endpoint: Endpoint): ...",
        "session.get(url, allow_redirects=False, ssl=True)",
    ],
)
def test_what_is_harmless_passes(text: str) -> None:
    assert gate_code.breaches("server/new.py", text) == []


def test_a_breach_in_a_file_of_the_package_stops_the_check(tmp_path: Path) -> None:
    (tmp_path / "new.py").write_text("import pickle\n")
    said = [line for line in gate_code.check(tmp_path) if "nobody needs it" not in line]
    assert said == ["src/pointsman/new.py:1: pickle: pickle"]


def test_a_permission_that_nobody_needs_stops_the_check(tmp_path: Path) -> None:
    for check, allowed in (
        (gate_code.check, gate_code.ALLOWED),
        (gate_sql.check, gate_sql.ALLOWED),
    ):
        said = check(tmp_path)
        assert len(said) == len(allowed) > 0
        assert all("nobody needs it" in line for line in said)


INJECTED = [
    "def f(db, name): db.rows(f'SELECT * FROM key WHERE name = {name}')",
    "def f(db, name): db.rows('SELECT * FROM key WHERE name = ' + name)",
    "def f(db, name): db.rows('SELECT * FROM key WHERE name = %s' % name)",
    "def f(db, name): db.rows('SELECT * FROM key WHERE name = {}'.format(name))",
    "def f(db, name):\n  sql = f'SELECT {name}'\n  db.rows(sql)",
    "def f(db, name):\n  sql = 'SELECT 1'\n  sql += name\n  db.rows(sql)",
    "def f(db, names): db.rows(f\"SELECT 1 WHERE a IN ({', '.join(names)})\")",
    "def f(db, request): db.run(request.query)",
    "def f(db, sql): db.run(sql)",
    "def f(db, body): db.run('DELETE FROM ' + body['table'], ())",
    "def f(cursor, text): cursor.execute(text)",
    "def f(cursor, text): cursor.executescript(text)",
    "def g(name): return f'WHERE name = {name}'\ndef f(db, name): db.rows('SELECT 1 ' + g(name))",
    "def f(db, order='name'): db.rows('SELECT 1 ORDER BY ' + order)",
    "def f(db):\n  with ask() as sql:\n    db.rows(sql)",
    "def f(db):\n  for sql in given():\n    db.rows(sql)",
    "def f(db):\n  a, sql = given()\n  db.rows(sql)",
    "async def f(connection, text): await connection.fetch(text)",
    "class C:\n  def f(self, db): db.rows(self.sql)",
    "def f(db, n): db.rows(f'SELECT 1 LIMIT {n:s}')",
]


@pytest.mark.parametrize("text", INJECTED)
def test_a_statement_with_something_foreign_in_it_is_found(text: str, tmp_path: Path) -> None:
    assert gate_sql.breaches(tmp_path, "new.py", text)


CONSTANT = [
    "def f(db, name): db.rows('SELECT * FROM key WHERE name = ?', (name,))",
    "A = 'SELECT 1'\nB = f'{A} WHERE x = ?'\ndef f(db, x): db.rows(B, (x,))",
    "def f(db, ids):\n  m = ', '.join('?' * len(ids))\n  db.rows(f'SELECT 1 IN ({m})', ids)",
    "def f(db, is_all): db.rows('SELECT 1' if is_all else 'SELECT 2')",
    "A = {'a': 'SELECT 1'}\ndef f(db, kind): db.rows(A[kind])",
    "def m(x): return ', '.join('?' * len(x))\ndef f(db, x): db.rows('SELECT ' + m(x), x)",
    "def f(db, n): db.rows(f'PRAGMA user_version = {n:d}')",
    "def f(db): db.rows('SELECT 1' + db.for_update)",
]


@pytest.mark.parametrize("text", CONSTANT)
def test_a_statement_of_constants_passes(text: str, tmp_path: Path) -> None:
    assert gate_sql.breaches(tmp_path, "new.py", text) == []


DIGEST = "0" * 64


@pytest.mark.parametrize(
    "text",
    [
        "a==1.0\n",  # no hash
        f"a>=1.0 --hash=sha256:{DIGEST}\n",
        f"a --hash=sha256:{DIGEST}\n",
        f"a==1.0 --hash=md5:{DIGEST}\n",
        f"a==1.0 --hash=sha256:{DIGEST[:63]}\n",
        f"a @ https://example.test/a.whl --hash=sha256:{DIGEST}\n",
        f"--index-url https://example.test\na==1.0 --hash=sha256:{DIGEST}\n",
        f"-e .\na==1.0 --hash=sha256:{DIGEST}\n",
        f"aiohttp==3.13.2 \\\n    --hash=sha256:{DIGEST}\n",
    ],
)
def test_a_lock_that_is_not_exact_is_found(text: str) -> None:
    assert gate_supply.lock("x.lock", text)


def test_a_lock_that_is_exact_passes() -> None:
    text = f"# made\na==1.0 \\\n    --hash=sha256:{DIGEST} \\\n    --hash=sha256:{DIGEST}\n"
    assert gate_supply.lock("x.lock", text + f"b[c]==2 --hash=sha256:{DIGEST}\n") == []


def test_too_many_dependencies_are_found() -> None:
    wanted = ", ".join(f'"p{n}"' for n in range(13))
    assert gate_supply.direct(f"[project]\ndependencies = [{wanted}]")
    assert gate_supply.total("x.lock", "".join(f"p{n}==1\n" for n in range(31)))
    assert not gate_supply.total("x.lock", "".join(f"p{n}==1\n" for n in range(30)))


def test_start_up_hooks_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "src"
    monkeypatch.setattr(gate_supply, "HOOKS", {"known.pth": hashlib.sha256(b"x").hexdigest()})
    (tmp_path / "known.pth").write_text("x")
    (tmp_path / gate_supply.EDITABLE).write_text(f"{source}\n")
    (tmp_path / "module.py").touch()
    assert gate_supply.hooks(tmp_path, source) == []
    (tmp_path / "known.pth").write_text("import os")  # a known name with another content
    (tmp_path / "litellm_init.pth").write_text("import os")
    (tmp_path / "sitecustomize.py").touch()
    (tmp_path / "usercustomize").mkdir()
    (tmp_path / gate_supply.EDITABLE).write_text(f"{source}\nimport os\n")
    assert len(gate_supply.hooks(tmp_path, source)) == 5


def test_hooks_links_and_binaries_in_the_package_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.pth").touch()
    (tmp_path / "fast.so").touch()
    (tmp_path / "link.py").symlink_to(tmp_path / "a.pth")
    assert len(gate_supply.package(tmp_path)) == 3
