"""The tables of the documents, of defaults and of metrics, are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pointsman.access import directory, failures
from pointsman.budgets import clerk, desk, escrow, treasury
from pointsman.config.resolve_routes import REASONING_FIRST_CONTENT_S
from pointsman.config.settings import (
    BreakerSettings,
    LedgerSettings,
    RetrySettings,
    ServerSettings,
    Timeouts,
)
from pointsman.config.settings_money import (
    AlertSettings,
    AnomalySettings,
    CacheSettings,
    LoopSettings,
    RedisSettings,
)
from pointsman.domain.secret import Secret
from pointsman.observe.metric_table import METRICS
from pointsman.pipeline import adaptive, breaker, last_word, meter, speed
from pointsman.providers.transport import TransportLimits
from pointsman.routing import signals, upper
from pointsman.routing.spec import FallbackSpec, PolicySpec
from pointsman.server import idempotency

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| `(\w+)\.(\w+)` \| ([^ |]+) \|", re.MULTILINE)
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
RECORDS: dict[str, object] = {
    type(record).__name__: record
    for record in (
        AlertSettings(),
        AnomalySettings(),
        BreakerSettings(),
        CacheSettings(),
        FallbackSpec(),
        LedgerSettings(),
        LoopSettings(),
        PolicySpec(),
        RedisSettings(Secret("redis://x")),
        RetrySettings(),
        ServerSettings(),
        Timeouts(),
        TransportLimits(),
    )
}
RECORDS |= {
    module.__name__.rpartition(".")[2]: module
    for module in (
        *(adaptive, breaker, clerk, desk, directory, escrow, failures, idempotency, last_word),
        *(meter, signals, speed, treasury, upper),
    )
}


@pytest.mark.parametrize(("record", "name", "value"), ROW.findall(TEXT))
def test_a_default_is_as_documented(record: str, name: str, value: str) -> None:
    assert getattr(RECORDS[record], name) == float(value)


def test_the_patience_with_reasoning_is_as_documented() -> None:
    assert f"| `REASONING_FIRST_CONTENT_S` | {REASONING_FIRST_CONTENT_S} |" in TEXT


def test_the_table_is_there() -> None:
    assert len(ROW.findall(TEXT)) > 20


def test_every_metric_is_in_the_documented_table() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", text, re.MULTILINE)) == dict(METRICS)
