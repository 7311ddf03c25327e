"""The golden payloads: ours in every form, and what the suite itself promises."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner

from pointsman.cli.main import main
from pointsman.conformance.cases import Case, Provider, cases, providers
from pointsman.conformance.peer import Peer
from pointsman.conformance.run import Ours, run
from pointsman.domain.billing import RULES, billing_of
from pointsman.errors import InvalidRequest
from pointsman.providers.catalog import CATALOG

every = pytest.mark.parametrize(
    ("provider", "case"), list(cases()), ids=[case.id for _, case in cases()]
)


@every
def test_each_form_is_read_and_charged_the_same(provider: Provider, case: Case) -> None:
    (result,) = run(Ours(borders=False), lambda each: each is case)
    assert result.differences == ()
    assert len(result.forms) == 2 * (case.whole is not None) + 4 * (case.stream is not None)


@pytest.mark.slow
def test_no_border_between_two_bytes_makes_a_difference() -> None:
    results = list(run(Ours()))
    assert [each.id for each in results if not each.holds] == []
    assert sum(len(each.forms) for each in results) > 100_000


@every
def test_the_cost_is_the_bill_worked_out_by_hand(provider: Provider, case: Case) -> None:
    nano = 0
    for line in case.bill:
        is_each = line.line.startswith(("fee", "told", "bound"))
        usd = Decimal(line.usd) * line.count / (1 if is_each else 1_000_000)
        nano += math.ceil(usd * 10**9)
    assert nano == case.cost_nano


def test_there_are_cases_of_every_provider_and_each_known_pain() -> None:
    found = list(cases())
    assert len(found) >= 100
    assert {provider.provider for provider, _ in found} >= set(CATALOG)
    assert len({case.id for _, case in found}) == len(found)
    assert {pain for _, case in found for pain in case.pains} == {13, 14, 15}
    for provider in providers():
        assert provider.source and provider.read
        assert sum(case.whole is not None and case.stream is not None for case in provider.cases)


def test_every_provider_of_the_catalogue_has_a_rule_with_its_source() -> None:
    assert set(RULES) == set(CATALOG)
    for rule in RULES.values():
        assert rule.source and rule.read
    assert billing_of("nobody").reasoning == "by_total"


class Wrong:
    """Adds the cache to an input that has it already: the field's oldest fault."""

    def answers(self, provider: Provider, case: Case) -> Iterator[tuple[str, dict[str, object]]]:
        for form, told in Ours(borders=False).answers(provider, case):
            cached = told["cached"]
            assert isinstance(cached, int)
            cost = told["cost_nano"]
            assert isinstance(cost, int)
            yield form, told | {"cost_nano": cost + 1_000 * cached}


def test_a_reader_that_counts_cached_tokens_twice_is_found_out() -> None:
    wrong = {each.id for each in run(Wrong()) if not each.holds}
    assert wrong == {case.id for _, case in cases() if case.expected("cached")}


PEER = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    usage = {}
    try:
        usage = json.loads(asked["body"]).get("usage") or {}
    except ValueError:
        pass
    cost = 1000 * float(asked["price"]["input_usd"]) * usage.get("prompt_tokens", 0)
    cost += 1000 * float(asked["price"]["output_usd"]) * usage.get("completion_tokens", 0)
    told = {"input": usage.get("prompt_tokens", 0), "cost_nano": round(cost)}
    print(json.dumps(told), flush=True)
"""


@pytest.mark.real
def test_another_program_can_be_asked(tmp_path: Path) -> None:
    script = tmp_path / "peer.py"
    script.write_text(PEER)
    with Peer([sys.executable, str(script)]) as peer:
        results = {each.id: each for each in run(peer, lambda case: case.id == "together/plain")}
    (result,) = results.values()
    assert result.forms == ("whole", "stream")
    assert {(each.form, each.field) for each in result.differences} == {
        ("stream", "input"),
        ("stream", "cost_nano"),
    }
    assert "output" in result.untold


@pytest.mark.real
def test_a_program_that_ends_or_is_not_there_is_said_to(tmp_path: Path) -> None:
    ends = Peer([sys.executable, "-c", "pass"])
    with pytest.raises(InvalidRequest, match="ended before"), ends:
        list(run(ends))
    with (
        pytest.raises(InvalidRequest, match="cannot be run"),
        Peer([str(tmp_path / "nothing")]),
    ):
        pass


def test_the_command_prints_a_line_a_case_and_fails_on_a_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = CliRunner().invoke(main, ["conformance", "usage", "--only", "groq/", "--quick"])
    assert good.exit_code == 0
    assert "groq/x-groq" in good.output and "0 differ" in good.output
    as_json = CliRunner().invoke(
        main, ["conformance", "usage", "--only", "groq/", "--quick", "--json"]
    )
    assert as_json.exit_code == 0 and '"differ": 0' in as_json.output
    monkeypatch.setattr("pointsman.conformance.run.Ours", lambda borders: Wrong())
    bad = CliRunner().invoke(main, ["conformance", "usage", "--only", "groq/", "--quick"])
    assert bad.exit_code == 1
    assert "DIFFER groq/cached" in bad.output
    none = CliRunner().invoke(main, ["conformance", "usage", "--only", "nobody/"])
    assert none.exit_code == 2
