"""An entry in the log: all of it but the decision comes back."""

from __future__ import annotations

import msgspec
from msgspec.structs import fields

from pointsman.domain.call import Caller
from pointsman.domain.usage import Usage
from pointsman.ledger.entries import Attempt, LedgerEntry
from pointsman.wal import entry as entries

USAGE = Usage(
    *(10, 20, 3, 4, 5, 6, True),
    *(7, 1, 8, 9, 11, 12),
    *("priority", 13, ("parts_clamped",)),
)
ATTEMPT = Attempt(
    *("a/m", "a", "m", "frontier", "throttled", USAGE, 7, "v"),
    *(0.5, 1.5, 0.75, 429, "slow down", True, "id-1", 9),
)
ENTRY = LedgerEntry(
    request_id="r",
    decision_id="d",
    at=1.5,
    operation="chat",
    route="auto",
    requested_model="asked",
    caller=Caller("key", "user", "app", "team", "tenant", tags={"a": "b"}),
    stream=True,
    status=200,
    outcome="ok",
    attempts=(ATTEMPT, ATTEMPT),
    usage=USAGE,
    cost_nano=14,
    baseline_nano=15,
    seconds=2.5,
    ttft_s=1.25,
    error_code="code",
    tags=(("c", "d"),),
    cache="hit",
    saved_nano=33,
)


def test_an_entry_is_read_back_as_it_was_written() -> None:
    assert entries.decode(entries.encode(ENTRY)) == ENTRY


def test_the_entry_of_this_test_leaves_no_field_at_its_default() -> None:
    """So that a field that is added to entries, and forgotten in the log, is found."""
    for made in (ENTRY, ATTEMPT, USAGE):
        for field in fields(made):
            is_default = field.default is not msgspec.NODEFAULT and (
                getattr(made, field.name) == field.default
            )
            assert not is_default or field.name == "decision", field.name
