"""`pointsman alerts`, and the admin routes that show the same book."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.alerts.conftest import alert, hooked
from tests.alerts.test_sinks import mailing

from pointsman.alerts.book import raise_alerts
from pointsman.cli.main import main
from pointsman.clock import SystemClock
from pointsman.store.open import Store

CONFIG = """
providers:
  house: {kind: vllm, url: "http://127.0.0.1:8000/v1"}
deployments:
  - {provider: house, model: qwen3, price: free}
ledger: {path: ledger.db}
alerts:
  sinks:
    - {name: hook, kind: webhook, url: env:HOOK_URL, secret: env:HOOK_SECRET}
    - name: mail
      kind: smtp
      host: 127.0.0.1
      port: MAIL_PORT
      tls: none
      sender: a@b.c
      to: [d@e.f]
    - {name: log, kind: log}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOOK_URL", "http://127.0.0.1:9/hidden-path")
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    path = tmp_path / "pointsman.yaml"
    path.write_text(CONFIG.replace("MAIL_PORT", "9"))
    return path


@pytest.fixture
def run(config: Path) -> Callable[..., Result]:
    def run(*words: str) -> Result:
        return CliRunner().invoke(main, ["alerts", words[0], "-c", str(config), *words[1:]])

    return run


@pytest.fixture
def numbers(config: Path) -> list[int]:
    """Two alerts in the store, of the tenants north and south."""
    db = Store.of(config.parent / "ledger.db", SystemClock()).open()
    raise_alerts(db, [alert("a"), alert("b", tenant="south", text="too slow")], {}, 60.0)
    found = [number for (number,) in db.rows("SELECT id FROM alert ORDER BY id")]
    db.close()
    return found


def test_what_stands_is_listed_and_acknowledged(
    run: Callable[..., Result], numbers: list[int]
) -> None:
    said = run("list")
    assert said.exit_code == 0, said.output
    assert "too fast" in said.output
    assert "too slow" in said.output
    done = run("ack", str(numbers[0]), "--by", "ada")
    assert (done.exit_code, done.output) == (0, "")
    lines = json.loads(run("list", "--json", "--tenant", "north").output)
    assert [(each["state"], each["acked_by"]) for each in lines] == [("acknowledged", "ada")]
    assert run("ack", "999").exit_code == 1


def test_an_empty_book_says_so(run: Callable[..., Result]) -> None:
    assert run("list").output == "Nothing stands.\n"


async def test_sinks_are_tried(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    def run() -> Result:
        return CliRunner().invoke(main, ["alerts", "test", "-c", str(config)])

    async with hooked() as hook, mailing() as (server, _):
        monkeypatch.setenv("HOOK_URL", hook.url)
        config.write_text(CONFIG.replace("MAIL_PORT", str(server.port)))
        said = await asyncio.to_thread(run)
        assert (said.exit_code, said.output) == (0, "hook: taken\nmail: taken\nlog: taken\n")
        assert json.loads(hook.taken[0][2])["kind"] == "test"
        assert len(server.letters) == 1


def test_a_sink_that_does_not_take_it_is_named_without_its_address(
    run: Callable[..., Result],
) -> None:
    said = run("test", "--sink", "hook")
    assert said.exit_code == 1
    assert said.output == "hook: not taken: network: refused\n"
    assert "no sink is called 'pager'" in run("test", "--sink", "pager").output
