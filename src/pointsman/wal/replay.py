"""What the log of a dead worker says: what still has to be told to the store.

Theory. Of each attempt the log has a DISPATCH, unless nobody was asked. Then

1. a VOID: nothing was sent. There is nothing to tell.
2. a SETTLE and an ENTRY: all is said, and told as it stands.
3. no SETTLE, but an ENTRY that has the attempt (the disk was full in between): the entry says
   what to charge.
4. no SETTLE and no ENTRY: the provider was asked and nobody knows what it did. It is charged what
   was held, the most it can have cost, and marked as an estimate.
5. a SETTLE, but no ENTRY: the worker died before the request's end. The charge is known.

For each request of 4 and 5 one entry is made of all its attempts that are in no ENTRY, with the
error code `crashed`. All of this follows from the log alone, and each entry and charge is taken
once by its request's or attempt's id: so it may be told again after another death, and where the
store has heard the truth from the dead worker's memory, that stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

import msgspec

from pointsman.domain.usage import Usage
from pointsman.ledger.entries import Attempt, LedgerEntry
from pointsman.wal import entry as entries
from pointsman.wal import note as notes
from pointsman.wal.record import (
    DISPATCH,
    ENTRY,
    SETTLE,
    VOID,
    Record,
    read_dispatch,
    read_settle,
)

CRASHED: Final = "crashed"
"""The error code of a request whose worker died."""


class Settled(msgspec.Struct, frozen=True, gc=False):
    """What an attempt has cost. charges: (lease, held, charged). `at`: seconds since the epoch."""

    attempt_id: str
    charges: tuple[tuple[int, int, int], ...]
    exact: bool
    at: float


Item: TypeAlias = "tuple[int, LedgerEntry | Settled]"
"""What is told to the store, with its number in the log; 0 for what is not in the log."""


def item_of(record: Record) -> Item | None:
    """What a record tells the store; None for what is between worker and log only.

    Raises msgspec.DecodeError.
    """
    if record.kind == ENTRY:
        return record.seq, entries.decode(record.tail)
    if record.kind == SETTLE:
        tail = read_settle(record)
        if tail.charges:
            return record.seq, Settled(record.attempt_id, tail.charges, tail.exact, record.at)
    return None


def items_of(
    records: Iterable[Record], refuse: Callable[[str, Exception], object]
) -> Iterator[Item]:
    """What records tell the store; what cannot be read is told to `refuse`, by number."""
    for record in records:
        try:
            item = item_of(record)
        except msgspec.DecodeError as error:
            refuse(f"{record.attempt_id}#{record.seq}", error)
        else:
            if item is not None:
                yield item


class _Asked(msgspec.Struct, gc=False):
    """A dispatched attempt."""

    at: float
    held: int
    parts: tuple[tuple[int, int], ...]
    note: notes.Note | None = None
    """None where it cannot be read: then it is charged, but in no entry."""
    charged: int | None = None
    exact: bool = False
    entered: Attempt | None = None


class Survey:
    """What a whole log says of its attempts; feed it every record, then ask."""

    def __init__(self) -> None:
        self.last_seq = 0
        self._asked: dict[str, _Asked] = {}

    def feed(self, records: Iterable[Record], refuse: Callable[[str, Exception], object]) -> None:
        """Take in a segment's records. A DISPATCH that cannot be read is told to `refuse`; of the
        others `items_of` tells."""
        for record in records:
            self.last_seq = max(self.last_seq, record.seq)
            try:
                self._take(record)
            except msgspec.DecodeError as error:
                if record.kind == DISPATCH:
                    refuse(f"{record.attempt_id}#{record.seq}", error)

    def _take(self, record: Record) -> None:
        if record.kind == DISPATCH:
            tail = read_dispatch(record)
            asked = _Asked(record.at, record.amount, tail.parts)
            self._asked[record.attempt_id] = asked
            asked.note = notes.decode(tail.note)
        elif record.kind == ENTRY:
            for entered in entries.decode(record.tail).attempts:
                if entered.id in self._asked:
                    self._asked[entered.id].entered = entered
        elif record.kind == SETTLE:
            settled = self._asked.get(record.attempt_id)
            if settled is not None:
                settled.charged, settled.exact = record.amount, read_settle(record).exact
        elif record.kind == VOID:
            self._asked.pop(record.attempt_id, None)

    @property
    def open_attempts(self) -> int:
        return sum(attempt.entered is None for attempt in self._asked.values())

    def unsaid(self) -> Iterator[Item]:
        """What the log leaves open; without numbers, as no record says it."""
        requests: dict[str, list[Attempt]] = {}
        first: dict[str, notes.Note] = {}
        for attempt_id, asked in self._asked.items():
            if asked.charged is None:
                asked.charged, asked.exact, charges = _guess(asked)
                if charges:
                    yield 0, Settled(attempt_id, charges, asked.exact, asked.at)
            note = asked.note
            if asked.entered is None and note is not None:
                first.setdefault(note.request_id, note)
                requests.setdefault(note.request_id, []).append(_attempt(attempt_id, asked, note))
        for request_id, attempts in requests.items():
            yield 0, _entry(first[request_id], tuple(attempts))


def _guess(asked: _Asked) -> tuple[int, bool, tuple[tuple[int, int, int], ...]]:
    """(charged, exact, charges) of an attempt without a SETTLE: by its entry, else as held."""
    told = asked.entered
    charged = asked.held
    exact = False
    if told is not None:
        known = told.cost_nano if told.charged_nano is None else told.charged_nano
        if known is not None:
            charged, exact = known, not told.usage.estimated
    is_known = told is not None
    return (
        charged,
        exact,
        tuple((lease, held, charged if is_known else held) for lease, held in asked.parts),
    )


def _attempt(attempt_id: str, asked: _Asked, note: notes.Note) -> Attempt:
    charged = asked.held if asked.charged is None else asked.charged
    is_priced = bool(note.price_version)
    cost = charged if asked.exact or note.expected_nano is None else note.expected_nano
    return Attempt(
        note.deployment,
        note.provider,
        note.model,
        note.tier,
        "abandoned",
        usage=Usage(note.expected_input, note.expected_output, estimated=True),
        cost_nano=cost if is_priced else None,
        price_version=note.price_version,
        started_s=note.started_s,
        detail="its worker died",
        hedge=note.hedge,
        id=attempt_id,
        charged_nano=charged if is_priced and charged != cost else None,
    )


def _entry(note: notes.Note, attempts: tuple[Attempt, ...]) -> LedgerEntry:
    costs = [each.cost_nano for each in attempts]
    return LedgerEntry(
        request_id=note.request_id,
        decision_id=note.decision_id,
        at=note.at,
        operation=note.operation,
        route=note.route,
        requested_model=note.requested_model,
        caller=note.caller,
        stream=note.stream,
        status=0,
        outcome="rejected",  # An error in reports, and nobody's but ours.
        attempts=attempts,
        usage=attempts[-1].usage,
        cost_nano=None if None in costs else sum(cost or 0 for cost in costs),
        seconds=max(each.started_s for each in attempts),
        error_code=CRASHED,
        tags=tuple(sorted(note.tags.items())),
    )
