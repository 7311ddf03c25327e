"""The matrix as a table for people and as JSON for machines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from matrix.fault import Cell, Expect, Told
from matrix.groups import group_of
from matrix.run import Result
from pointsman.domain.content import Json, JsonObject

MODES = ((False, False), (False, True), (True, False), (True, True))
HEADS = ("whole, alone", "whole, fallback", "stream, alone", "stream, fallback")
WIDTH = 26
NAME_WIDTH = 46
_NUMBERS = re.compile(r"(?:msg_|chatcmpl-|req_|\bm|\bd|\br)[0-9a-f]{1,24}\b|\d{10}|\d+\.\d{2,}")
"""What differs from cell to cell and says nothing."""


def table(results: Sequence[Result], *, quiet: bool = False) -> str:
    """A row a fault: what the client is told in each mode and after how many attempts; every
    difference below it. Cells of one mode differ by dialects alone and share a column."""
    lines = [_line("fault", HEADS), _line("-" * NAME_WIDTH, ["-" * (WIDTH - 2)] * len(HEADS))]
    for _, group in groupby(results, key=lambda result: id(result.cell.fault)):
        row = list(group)
        wrong = [result for result in row if result.wrong]
        if quiet and not wrong:
            continue
        columns = []
        for streamed, fallback in MODES:
            here = [r for r in row if (r.cell.streamed, r.cell.fallback) == (streamed, fallback)]
            columns.append(_column(here))
        lines.append(_line(row[0].cell.fault.name, columns))
        lines += _differences(wrong)
    return "\n".join(lines) + "\n"


def _differences(wrong: Sequence[Result]) -> list[str]:
    """Say each difference once, with the cells that have it."""
    found: dict[str, list[str]] = {}
    for result in wrong:
        cell = result.cell
        mode = f"{'stream' if cell.streamed else 'whole'}{' fallback' if cell.fallback else ''}"
        for text in result.wrong:
            told = _NUMBERS.sub("…", text)
            found.setdefault(told, []).append(f"{mode} {cell.client[:2]}<{cell.upstream[:2]}")
    return [
        f"    {len(where)}x {text}\n        in {', '.join(where[:4])}{', …' * (len(where) > 4)}"
        for text, where in found.items()
    ]


def _line(name: str, columns: Sequence[str]) -> str:
    return (
        f"{name:{NAME_WIDTH}.{NAME_WIDTH}} " + "".join(f"{c:{WIDTH}.{WIDTH}}" for c in columns)
    ).rstrip()


def _column(results: Sequence[Result]) -> str:
    if not results:
        return "."
    right = sum(not result.wrong for result in results)
    mark = "ok" if right == len(results) else f"{right}/{len(results)}"
    return f"{told_as(results[0].cell.expect)} {mark}"


def told_as(expect: Expect) -> str:
    """Say an end in a few words: what the client is told, and after how many attempts."""
    attempts = len(expect.tried)
    if expect.gone:
        return f"client gone x{attempts}"
    if expect.told is None:
        return f"200 from {expect.tried[-1].who} x{attempts}"
    shown = expect.told.code.removeprefix("upstream_")
    if expect.said is not None:
        return f"event {shown} x{attempts}"
    return f"{expect.told.status} {shown} x{attempts}"


def as_json(results: Sequence[Result], seed: int, seconds: float) -> JsonObject:
    """Everything: the seed, the counts, and each cell with what was right and what was not."""
    wrong = sum(bool(result.wrong) for result in results)
    rows: list[Json] = [_cell_json(result) for result in results]
    return {
        "seed": seed,
        "seconds": round(seconds, 1),
        "faults": len({result.cell.fault.name for result in results}),
        "cells": len(results),
        "exact": len(results) - wrong,
        "wrong": wrong,
        "repeated": sum(result.repeated for result in results),
        "rows": rows,
    }


def _cell_json(result: Result) -> JsonObject:
    cell: Cell = result.cell
    expect = cell.expect
    told: Told | None = expect.told
    return {
        "fault": cell.fault.name,
        "group": group_of(cell.fault),
        "catalogue_row": cell.fault.row,
        "streamed": cell.streamed,
        "fallback": cell.fallback,
        "client": cell.client,
        "upstream": cell.upstream,
        "right": told_as(expect),
        "status": 200 if told is None or expect.said is not None else told.status,
        "code": None if told is None else told.code,
        "in_stream": expect.said is not None,
        "should_retry": None if told is None else told.should_retry,
        "attempts": [f"{each.who} {each.outcome} {each.books}" for each in expect.tried],
        "breakers": {"a": expect.a, "b": expect.b},
        "seconds": [round(got.seconds, 3) for got in result.got],
        "wrong": list(result.wrong),
    }
