"""Golden payloads: what a provider sends, what was used by it, and what that costs.

Written by us in the shapes that providers document, one file a provider in `data/`; each file
says which pages, when they were read, and what no page says. A case has the answer whole, as a
stream, or both; both must be read the same. `cut` is a stream that its client left. `bill` is
the cost worked out by hand, line by line; it is not read by any code that is under test.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

FIELDS = (
    *("input", "output", "cached", "cache_write", "cache_write_1h", "reasoning"),
    *("audio_input", "audio_output", "image_input", "image_output", "searches"),
    *("tier", "told_nano", "estimated", "flags"),
)
"""What of a usage is compared."""

UNTOLD: dict[str, object] = {"tier": "", "told_nano": None, "estimated": False, "flags": []}
"""What a field is that a case leaves out; counts are 0."""


class Asked(msgspec.Struct, frozen=True):
    """The request: its model, and the input tokens that a gateway would estimate for it."""

    model: str
    expected_input: int


class Line(msgspec.Struct, frozen=True):
    """A line of the bill: `usd` a million tokens, or each of a fee."""

    line: str
    count: int
    usd: str


class Case(msgspec.Struct, frozen=True):
    id: str
    says: str
    request: Asked
    price: dict[str, Any]
    usage: dict[str, Any]
    bill: tuple[Line, ...]
    cost_nano: int
    whole: str | None = None
    stream: str | None = None
    cut: bool = False
    pains: tuple[int, ...] = ()
    """Which of the field's known faults it is about: cached tokens counted twice (13), a stream
    that costs other than a whole answer (14), what a client that leaves is charged (15)."""

    def expected(self, field: str) -> object:
        return self.usage.get(field, UNTOLD.get(field, 0))


class Provider(msgspec.Struct, frozen=True):
    """A file: a provider, its dialect, and where its rule is from."""

    provider: str
    dialect: str
    source: str
    read: str
    cases: tuple[Case, ...]
    not_knowable: str = ""


@cache
def providers() -> tuple[Provider, ...]:
    """Every file, by name."""
    folder = files("pointsman.conformance").joinpath("data")
    found = sorted((each for each in folder.iterdir()), key=lambda each: each.name)
    return tuple(
        msgspec.json.decode(each.read_bytes(), type=Provider)
        for each in found
        if each.name.endswith(".json")
    )


def cases() -> Iterator[tuple[Provider, Case]]:
    for provider in providers():
        for case in provider.cases:
            yield provider, case
