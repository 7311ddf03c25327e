"""`pointsman keys` and `pointsman budgets`: on the store itself, with no server running."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pointsman.cli.main import main
from pointsman.clock import SystemClock
from pointsman.domain.windows import Window
from pointsman.store.open import Store
from pointsman.testing import FakeClock

CONFIG = """
ledger: {path: ledger.db}
deployments: [{model: ollama/m, context_tokens: 1000}]
budgets:
  - {name: file-month, scope: everyone, limit_usd: 100}
"""


TOTAL = ("--window", "total")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "p.yaml"
    path.write_text(CONFIG)
    return path


def run(config: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "-c", str(config)])


def told(config: Path, *words: str) -> Any:
    got = run(config, *words, "--json")
    assert got.exit_code == 0, got.output
    return json.loads(got.stdout)


def test_a_key_is_made_shown_once_listed_and_revoked(config: Path) -> None:
    limits = ("--budget-usd", "5", "--requests-per-minute", "60")
    made = told(config, "keys", "create", "web", "--team", "t", "--tag", "a=b", *limits)
    assert made["key"].startswith("pm_")
    assert made["limits"] == {"budget_usd": 5.0, "requests_per_minute": 60}
    listed = run(config, "keys", "list").output
    assert "web" in listed and made["key"] not in listed
    assert "key" not in told(config, "keys", "show", "web")
    assert told(config, "keys", "revoke", "web")["state"] == "revoked"
    assert told(config, "keys", "list") == []
    assert [key["name"] for key in told(config, "keys", "list", "--all")] == ["web"]


def test_a_tenants_key_is_listed_by_tenant(config: Path) -> None:
    run(config, "keys", "create", "web", "--tenant", "acme")
    run(config, "keys", "create", "own")
    assert [key["name"] for key in told(config, "keys", "list", "--tenant", "acme")] == ["acme/web"]


def test_a_rotation_overlaps_as_long_as_is_said(config: Path) -> None:
    made = told(config, "keys", "create", "web")
    after = told(config, "keys", "rotate", "web", "--overlap", "7d")
    assert after["key"] != made["key"] and len(after["secrets"]) == 2
    assert len(told(config, "keys", "rotate", "web", "--overlap", "0")["secrets"]) == 1


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("keys", "show", "none"), 1, "there is no key"),
        (("keys", "create", "a b"), 1, "Error: name: write letters, digits, dots"),
        (("keys", "create", "a\n"), 1, "Error: name: write letters, digits, dots"),
        (("keys", "create", "x", "--tenant", "a\n"), 1, "Error: tenant: write letters"),
        (("budgets", "set", "a\n", "--scope", "key", "--limit-usd", "1"), 1, "Error: name: "),
        (("keys", "create", "x", "--budget-usd", "-1"), 1, "Error: limits.budget_usd: Expected"),
        (("keys", "create", "x", "--team", "t\udcff"), 1, "no text in UTF-8"),
        (("keys", "create", "x", "--route", "none"), 1, "unknown route"),
        (("keys", "create", "x", "--tag", "a"), 2, "NAME=VALUE"),
        (("keys", "create", "x", "--expires", "soon"), 1, "2027-01-31"),
        (("keys", "create", "x", "--expires", "2020-01-01"), 1, "expires: is over already"),
        (("keys", "rotate", "x", "--overlap", "long"), 2, "15m"),
        (("budgets", "set", "x", "--scope", "key"), 2, "--limit-usd"),
        (("budgets", "set", "x", "--scope", "tag", "--limit-usd", "1"), 1, "tag"),
        (("budgets", "remove", "file-month"), 1, "stands in"),
        (("budgets", "remove", "none"), 1, "there is no stored"),
        (("budgets", "set", "file-month", "--scope", "key", "--limit-usd", "1"), 1, "which counts"),
    ],
)
def test_what_is_refused_says_why(
    words: tuple[str, ...], status: int, said: str, config: Path
) -> None:
    got = run(config, *words)
    assert got.exit_code == status, got.output
    assert said in got.output and "Traceback" not in got.output


def test_without_a_kept_ledger_it_says_what_to_set(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(CONFIG.replace("ledger: {path: ledger.db}", ""))
    got = run(path, "keys", "list")
    assert got.exit_code == 1 and "ledger.path" in got.output


def test_limits_of_file_and_store_stand_side_by_side(config: Path) -> None:
    run(config, "budgets", "set", "slow", "--scope", "team", "--requests-per-minute", "6")
    told(config, "budgets", "set", "cap", "--scope", "team", "--match", "a", "--limit-usd", "2.5")
    found = {each["name"]: each for each in told(config, "budgets", "list")["limits"]}
    assert [(name, each["from"]) for name, each in sorted(found.items())] == [
        ("cap", "store"),
        ("file-month", "file"),
        ("slow requests_per_minute", "store"),
    ]
    assert found["cap"]["limit_exact"] == 2_500_000_000
    assert told(config, "budgets", "show", "cap")["match"] == ["a"]
    assert run(config, "budgets", "remove", "cap").output == "removed cap\n"


def test_what_is_used_is_told(config: Path, tmp_path: Path) -> None:
    run(config, "keys", "list")  # makes the tables
    database = Store.of(tmp_path / "ledger.db", FakeClock()).open()
    database.run(
        "INSERT INTO budget_account (budget, subject, unit) VALUES ('file-month', '', 'nano_usd')"
    )
    database.run(
        "INSERT INTO budget_slice (account, start, until, lim, spent, leased, over) "
        "SELECT id, ?, ?, 100000000000, 30000000000, 0, 0 FROM budget_account",
        Window().slice_at(SystemClock.wall()),
    )
    database.close()
    (account,) = told(config, "budgets", "list")["accounts"]
    assert (account["budget"], account["spent"], account["left"]) == (
        "file-month",
        30_000_000_000,
        70_000_000_000,
    )
    assert "$30.00" in run(config, "budgets", "list").output


def test_what_is_used_of_a_budget_that_never_ends_is_told(config: Path, tmp_path: Path) -> None:
    """The end of such a window is no date."""
    forever = Window("total")
    told(config, "budgets", "set", "pot", "--scope", "everyone", "--limit-usd", "9", *TOTAL)
    database = Store.of(tmp_path / "ledger.db", FakeClock()).open()
    database.run(
        "INSERT INTO budget_account (budget, subject, unit) VALUES ('pot', '', 'nano_usd')"
    )
    database.run(
        "INSERT INTO budget_slice (account, start, until, lim, spent, leased, over) "
        "SELECT id, ?, ?, 9000000000, 1000000000, 0, 0 FROM budget_account",
        forever.slice_at(SystemClock.wall()),
    )
    database.close()
    (account,) = told(config, "budgets", "list")["accounts"]
    assert (account["left"], account["since"], account["until"]) == (8_000_000_000, None, None)
    assert "$8.00" in run(config, "budgets", "list").output


def test_sound_books_are_called_so_and_unsound_ones_are_not(config: Path, tmp_path: Path) -> None:
    run(config, "keys", "create", "web")
    assert run(config, "budgets", "verify").output == "sound\n"
    database = Store.of(tmp_path / "ledger.db", FakeClock()).open()
    database.run("DROP TRIGGER access_audit_is_not_changed")
    database.run("UPDATE access_audit SET who = 'nobody'")
    database.close()
    got = run(config, "budgets", "verify")
    assert got.exit_code == 1 and "audit: row 1" in got.output
    assert told_faults(config)["sound"] is False


def told_faults(config: Path) -> Any:
    return json.loads(run(config, "budgets", "verify", "--json").stdout)


def test_nothing_in_suspense_releases_nothing_and_is_audited(config: Path) -> None:
    assert run(config, "budgets", "release").output == "released 0 nano-USD ($0)\n"


def test_help_shows_every_command(config: Path) -> None:
    for group, words in (
        ("keys", ("create", "list", "show", "rotate", "revoke")),
        ("budgets", ("list", "show", "set", "remove", "verify", "release")),
    ):
        shown = CliRunner().invoke(main, [group, "--help"]).output
        for word in words:
            assert word in shown
