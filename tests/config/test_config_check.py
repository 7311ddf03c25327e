"""`pointsman check`: what it explains, to people and to programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pointsman.cli.main import main

FILE = """\
server: {keys: [{key: 'env:APP_KEY', app: shop}]}
ledger: {path: l.db}
providers: {house: {kind: vllm, url: 'http://127.0.0.1:1/v1'}}
deployments:
  - {name: big, model: openai/gpt-4.1, tier: frontier, price: {input_usd: 2, output_usd: 8}}
  - {name: fast, model: groq/llama-x, tier: workhorse, price: {input_usd: .59, output_usd: .79}}
  - {provider: house, model: qwen3, context_tokens: 8192}
routes:
  - name: auto
    aliases: [default]
    explore: 0
    max_cost_usd: 0.05
    rules:
      - {name: code, when: {task: [code], input_tokens_above: 2000}, use: {tiers: [local]}}
    fallback:
      throttled: []
      timeout: [house/qwen3]
"""

ENV = {"OPENAI_API_KEY": "openai-secret", "GROQ_API_KEY": "groq-secret", "APP_KEY": "k" * 20}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pointsman.yaml"
    path.write_text(FILE)
    return path


MONEY = """\
budgets:
  - {name: today, scope: team, match: [web], limit_usd: 5, window: day, at_cap: downgrade}
rates: [{name: pace, scope: key, requests_per_minute: 1000}]
admin: {tokens: [{token: 'env:ADMIN', name: ops, role: owner}]}
cache: {mode: exact}
redis: {url: 'env:REDIS'}
alerts: {sinks: [{name: log, kind: log}]}
"""


def test_what_is_said_of_money_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "pointsman.yaml"
    text = FILE.replace("{path: l.db}", "{url: 'env:LEDGER'}")
    file.write_text(text + MONEY)
    env = {
        "ADMIN": "a" * 40,
        "LEDGER": "postgresql://me:secret-word@db:5433/books?x=1",
        "REDIS": "redis://:secret-word@r:6379/0",
    }
    result = run("check", str(file), **env)
    assert result.exit_code == 0, result.output
    for said in (
        "ledger: postgresql://db:5433/books\n",
        "administered on http://127.0.0.1:4001 by ops (owner)",
        "cache: exact, in memory, for 3600 s",
        "redis: counts rates, waited for 0.05 s at most",
        "alerts go to log",
    ):
        assert said in result.stdout
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["today", "team:", "web", "$5.00", "day", "strict", "downgrade"] in rows
    pace = ["key", "1,000", "requests", "rolling", "minute", "strict", "reject"]
    assert any(row[2:] == pace for row in rows)
    found = run("check", str(file), "--json", **env)
    assert "secret-word" not in found.stdout + result.stdout
    assert json.loads(found.stdout)["limits"][0]["limit"] == "$5.00"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of the machine's own takes part."""
    import os

    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_HOST", "_BASE_URL", "_ENDPOINT")):
            monkeypatch.delenv(name)


def run(*words: str, **env: str) -> Result:
    return CliRunner().invoke(main, list(words), env={**ENV, **env})


def described(file: Path) -> dict[str, Any]:
    result = run("check", str(file), "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_providers_are_told_with_the_source_of_their_key(file: Path) -> None:
    assert described(file)["providers"] == [
        {
            "name": "house",
            "url": "http://127.0.0.1:1/v1",
            "dialect": "openai",
            "kind": "vllm",
            "key": "none",
        },
        {
            "name": "openai",
            "url": "https://api.openai.com/v1",
            "dialect": "openai",
            "kind": "hosted",
            "key": "env:OPENAI_API_KEY",
        },
        {
            "name": "groq",
            "url": "https://api.groq.com/openai/v1",
            "dialect": "openai",
            "kind": "hosted",
            "key": "env:GROQ_API_KEY",
        },
    ]


def test_no_key_is_ever_printed(file: Path) -> None:
    for words in (("check", str(file)), ("check", str(file), "--json")):
        result = run(*words)
        for secret in ("openai-secret", "groq-secret", "k" * 20):
            assert secret not in result.output


def test_deployments_are_told_with_price_and_limits(file: Path) -> None:
    big, fast, qwen = described(file)["deployments"]
    assert (big["name"], big["tier"], big["price"]) == ("big", "frontier", "$2.00 / $8.00")
    assert fast["price_usd_per_million"]["input"] == 0.59
    assert (qwen["price"], qwen["context_tokens"]) == ("free", 8192)


def test_candidates_stand_in_the_order_of_the_policy(file: Path) -> None:
    route = described(file)["routes"][0]
    assert [each["deployment"] for each in route["candidates"]] == ["fast", "big", "house/qwen3"]
    assert route["candidates"][0]["cost_usd"] == pytest.approx(0.000827)
    assert route["by_lot"] is False


def test_fallbacks_are_played_for_every_kind_of_failure(file: Path) -> None:
    after = described(file)["routes"][0]["fallback"]["after"]
    assert after["throttled"] == []
    assert after["timeout"] == ["house/qwen3"]
    assert after["refused"] == ["big", "house/qwen3"]
    assert after["content_filter"] == []
    assert set(after) == {
        "throttled",
        "overloaded",
        "unavailable",
        "timeout",
        "refused",
        "malformed",
        "content_filter",
        "context_length",
    }


def test_a_person_reads_the_same_in_words(file: Path) -> None:
    text = run("check", str(file)).stdout
    for part in (
        "pointsman.yaml is good",
        "callers' keys: APP_KEY",
        "Route auto (also default): strategy tiers",
        "in this order: fast ($0.000827), big ($0.0044), house/qwen3 ($0)",
        "rule code: when task is code, input is above 2,000 tokens: tiers local",
        "after throttled, content_filter: give up",
        ": big → house/qwen3",
        "first_content 30 s",
        "hard limits: max_cost_usd 0.05",
        "env:OPENAI_API_KEY",
    ):
        assert part in text
    assert "\x1b" not in text


def test_a_choice_by_lot_is_told_as_one(file: Path) -> None:
    file.write_text(FILE.replace("explore: 0", "strategy: random"))
    assert "drawn by random from" in run("check", str(file)).stdout


def test_warnings_are_told_and_count_only_when_asked(file: Path) -> None:
    file.write_text(FILE.replace("ledger: {path: l.db}\n", ""))
    result = run("check", str(file))
    assert result.exit_code == 0
    assert "pointsman.yaml:1: ledger.path: the ledger is kept in memory" in result.stdout
    assert run("check", str(file), "--strict").exit_code == 1


def test_a_bad_file_is_told_on_stderr_without_a_traceback(file: Path) -> None:
    file.write_text(FILE.replace("tiers: [local]", "tiers: [lokal]").replace("auto", "a b"))
    result = run("check", str(file))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"Error: {file}:14: routes[0].rules[0].use.tiers[0]: `lokal` is not known; did you mean "
        "`local`?\n"
    )


def test_a_bad_file_is_told_to_programs_as_json(file: Path) -> None:
    file.write_text(FILE.replace("explore: 0", "explore: 7"))
    result = run("check", str(file), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["errors"] == [
        {"line": 11, "path": "routes[0].explore", "what": "7 is above 1", "remedy": ""}
    ]


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    result = run("check", str(tmp_path / "nowhere.yaml"))
    assert result.exit_code == 1
    assert "there is no such file" in result.stderr


def test_without_a_name_the_usual_file_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert run("check").stdout.startswith("pointsman.yaml is good")


def test_what_serve_would_refuse_is_not_called_good(tmp_path: Path) -> None:
    """Several workers with limits need something that they share."""
    path = tmp_path / "pointsman.yaml"
    limits = "budgets: [{name: all, scope: everyone, limit_usd: 1}]\n"
    text = FILE.replace("server: {", "server: {workers: 2, ") + limits
    path.write_text(text)
    assert CliRunner().invoke(main, ["check", str(path)], env=ENV).exit_code == 0
    path.write_text(text.replace("ledger: {path: l.db}\n", ""))
    got = CliRunner().invoke(main, ["check", str(path)], env=ENV)
    assert got.exit_code == 1 and "is good" not in got.output
    assert "`ledger.path` or `ledger.url`" in got.output


def test_two_listeners_have_two_ports(tmp_path: Path) -> None:
    path = tmp_path / "pointsman.yaml"
    path.write_text(FILE + "admin: {port: 4000, tokens: [{token: 'env:A', name: o, role: owner}]}")
    got = CliRunner().invoke(main, ["check", str(path)], env={**ENV, "A": "a" * 32})
    assert got.exit_code == 1
    assert "admin.port: 4000 is the port of `server` too; write another" in got.output
