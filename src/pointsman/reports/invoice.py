"""Read what a provider says that it was: CSV files of usage or cost, line by line.

`SHAPES` tells the columns of the files we know; where a name has several spellings, any of them
will do. The tokens' names are those of the providers' usage and cost APIs. Files change more often
than APIs: where a column is missing the error says which, and `mapped` reads any other file.

Money is read as decimal dollars and kept in nano-USD; a number that is none is an error that names
its line, never a zero.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from pointsman.domain.money import NANO
from pointsman.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Item:
    """One line. What a file does not say is None. day: in UTC, as in 2026-05-01."""

    line: int
    day: str | None = None
    model: str | None = None
    attempt_id: str | None = None
    input: int | None = None
    output: int | None = None
    cached: int | None = None
    requests: int | None = None
    cost_nano: int | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """Which columns hold what. Tokens may be spread over several, which are added up.

    day, model, attempt: spellings, the first that is there counts. has: columns that only a file
    of this shape has, by which it is known.
    """

    has: frozenset[str]
    day: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    attempt: tuple[str, ...] = ()
    input: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    cached: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()
    cost_usd: tuple[str, ...] = ()
    cost_nano: tuple[str, ...] = ()
    currency: tuple[str, ...] = field(default=("currency", "amount_currency", "amount.currency"))


SHAPES: Final[Mapping[str, Shape]] = {
    "attempts": Shape(
        frozenset({"attempt_id"}),
        attempt=("attempt_id",),
        day=("day", "date"),
        model=("model",),
        input=("input_tokens",),
        output=("output_tokens",),
        cost_usd=("cost_usd",),
        cost_nano=("cost_nano_usd", "cost_nano"),
    ),
    "openai-usage": Shape(
        frozenset({"num_model_requests"}),
        day=("start_time_iso", "start_time", "date"),
        model=("model",),
        input=("input_tokens",),
        output=("output_tokens",),
        cached=("input_cached_tokens",),
        requests=("num_model_requests",),
    ),
    "openai-costs": Shape(
        frozenset({"line_item"}),
        day=("start_time_iso", "start_time", "date"),
        model=("line_item",),
        cost_usd=("amount_value", "amount.value", "amount"),
    ),
    "anthropic-usage": Shape(
        frozenset({"usage_output_tokens"}),
        day=("usage_date_utc",),
        model=("model_version", "model"),
        input=(
            *("usage_input_tokens_no_cache", "usage_input_tokens_cache_read"),
            *("usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h"),
        ),
        output=("usage_output_tokens",),
        cached=("usage_input_tokens_cache_read",),
    ),
    "anthropic-cost": Shape(
        frozenset({"usage_date_utc", "cost_usd"}),
        day=("usage_date_utc",),
        model=("model", "model_version"),
        cost_usd=("cost_usd",),
    ),
}
"""Known files, by name. Anthropic counts the cache beside the input; we count it as part of it."""

_ONE_NAME: Final = ("day", "model", "attempt", "requests", "cost_usd", "cost_nano")


def mapped(columns: Mapping[str, str]) -> Shape:
    """A shape by hand: `{"day": "Date", "model": "Model", "cost_usd": "Amount"}`; several columns
    of tokens are joined by "+". Raises InvalidRequest for an unknown field."""
    known = (*_ONE_NAME, "input", "output", "cached")
    if unknown := [name for name in columns if name not in known]:
        raise InvalidRequest(
            f"unknown field {unknown[0]!r}: choose of {', '.join(known)}", param="map"
        )
    return Shape(frozenset(), **{name: tuple(text.split("+")) for name, text in columns.items()})


def items(lines: Iterable[str], shape: Shape | None = None) -> Iterator[Item]:
    """Read a file's lines. Without a shape it is the known one that fits. Raises InvalidRequest."""
    try:
        yield from _items(lines, shape)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(
            f"this is no CSV file in UTF-8 ({error}): save it as one", param="invoice"
        ) from error


def _items(lines: Iterable[str], shape: Shape | None) -> Iterator[Item]:
    reader = csv.DictReader(lines)
    heads = tuple(name.strip().lstrip("\ufeff") for name in reader.fieldnames or ())
    reader.fieldnames = heads
    chosen = shape or _known(heads)
    _check(chosen, heads)
    for number, row in enumerate(reader, 2):
        if any(value for value in row.values()):
            yield _item(number, row, chosen)


def _known(heads: tuple[str, ...]) -> Shape:
    fitting = [shape for shape in SHAPES.values() if shape.has <= set(heads)]
    if not fitting:
        raise InvalidRequest(
            f"this file is none of {', '.join(SHAPES)}: say by --map which column is what; "
            f"it has {', '.join(heads) or 'no columns'}",
            param="invoice",
        )
    return max(fitting, key=lambda shape: len(shape.has))


def _check(shape: Shape, heads: tuple[str, ...]) -> None:
    """Whatever is compared has to be there: a key, and tokens or money."""
    missing = []
    if not _first(shape.attempt, heads):
        missing += [names for names in (shape.day, shape.model) if not _first(names, heads)]
    numbers = (shape.input, shape.output, shape.cost_usd, shape.cost_nano)
    if not any(_first(names, heads) for names in numbers):
        missing.append(tuple(name for names in numbers for name in names))
    if missing:
        raise InvalidRequest(
            f"the file has no column {' or '.join(missing[0]) or 'for a day and model'}",
            param="invoice",
        )


def _first(names: tuple[str, ...], heads: Iterable[str]) -> str | None:
    there = set(heads)
    return next((name for name in names if name in there), None)


def _item(number: int, row: Mapping[str, str | None], shape: Shape) -> Item:
    def text(names: tuple[str, ...]) -> str | None:
        name = _first(names, row)
        value = (row[name] or "").strip() if name else ""
        return value or None

    def tokens(names: tuple[str, ...]) -> int | None:
        said = [(row.get(name) or "").strip() for name in names if name in row]
        return sum(_whole(number, each) for each in said if each) if any(said) else None

    currency = text(shape.currency)
    if currency is not None and currency.upper() != "USD":
        raise InvalidRequest(f"line {number}: {currency} is not USD", param="invoice")
    nano = text(shape.cost_nano)
    dollars = text(shape.cost_usd)
    cost = _whole(number, nano) if nano else _nano(number, dollars) if dollars else None
    model = text(shape.model)
    return Item(
        number,
        _day(number, text(shape.day)),
        model.partition(",")[0].strip() if model else None,
        text(shape.attempt),
        tokens(shape.input),
        tokens(shape.output),
        tokens(shape.cached),
        tokens(shape.requests),
        cost,
    )


def _whole(number: int, text: str) -> int:
    try:
        value = Decimal(text.replace(",", ""))
        if value == value.to_integral_value() and abs(value) < 2**63:
            return int(value)
    except InvalidOperation:
        pass
    raise InvalidRequest(f"line {number}: {text!r} is no whole number", param="invoice")


def _nano(number: int, text: str) -> int:
    """Dollars as nano-USD; what is finer than that is rounded to even."""
    try:
        value = Decimal(text.strip("$ ").replace(",", "")) * NANO
        if value.is_finite() and abs(value) < 2**63:
            return int(value.to_integral_value())
    except InvalidOperation:
        pass
    raise InvalidRequest(f"line {number}: {text!r} is no amount in USD", param="invoice")


_SECONDS = re.compile(r"\d{9,11}(\.\d+)?")


def _day(number: int, text: str | None) -> str | None:
    """A day from a date, a time or seconds since the epoch."""
    if text is None:
        return None
    try:
        if _SECONDS.fullmatch(text):
            return datetime.fromtimestamp(float(text), UTC).date().isoformat()
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC).date().isoformat()
    except (ValueError, OverflowError):
        raise InvalidRequest(f"line {number}: {text!r} is no day", param="invoice") from None
