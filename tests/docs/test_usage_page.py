"""docs/usage.md says what the code does: its tables are those of the code."""

from __future__ import annotations

from pathlib import Path

from pointsman.conformance.cases import FIELDS, cases
from pointsman.domain.billing import RULES
from pointsman.domain.usage import FLAGS
from pointsman.providers.catalog import CATALOG

PAGE = (Path(__file__).parents[2] / "docs/usage.md").read_text(encoding="utf-8")

REASONING = {
    "inside": "in the output",
    "beside": "beside it, added",
    "by_total": "as the total tells",
}
LEFT = {"stops": "stops", "bills_on": "billed to its end", "unknown": "nobody says"}
BILL = {"": "", "usd": "`cost`", "usd_ticks": "`cost_in_usd_ticks`"}


def test_every_rule_and_flag_is_in_its_table() -> None:
    for name, rule in RULES.items():
        words = (name, REASONING[rule.reasoning], LEFT[rule.on_cancel], BILL[rule.cost])
        assert f"| {' | '.join(words)} | {rule.unknown} |" in PAGE, name
    for flag, meaning in FLAGS.items():
        assert f"| `{flag}` | {meaning} |" in PAGE


def test_the_suite_is_as_large_as_the_page_says() -> None:
    found = list(cases())
    assert f"{len(found)} golden payloads over {len(CATALOG)} providers" in PAGE
    assert " ".join(FIELDS) in PAGE
