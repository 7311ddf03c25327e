"""Two gateways beside each other, as a table for people and as JSON for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from matrix.compare import Judged
from matrix.groups import group_of
from matrix.report import HEADS, MODES, NAME_WIDTH
from pointsman.domain.content import Json, JsonObject

WIDTH = 30


def words(found: Iterable[Judged]) -> str:
    counted = Counter(each.verdict.word for each in found)
    return ", ".join(f"{count} {word}" for word, count in counted.most_common())


def beside(ours: Sequence[Judged], theirs: Sequence[Judged]) -> str:
    """A row a fault: what came of us and of the peer, all modes together; where something was not
    right, in which modes and why."""
    lines = [f"{'fault':{NAME_WIDTH}} {'pointsman':{WIDTH}} peer"]
    of_peer = _by_fault(theirs)
    for name, row in _by_fault(ours).items():
        other = of_peer.get(name, [])
        lines.append(f"{name:{NAME_WIDTH}.{NAME_WIDTH}} {words(row):{WIDTH}} {words(other)}")
        for each in (*row, *other):
            if not each.verdict.is_right:
                cell = each.cell
                mode = HEADS[MODES.index((cell.streamed, cell.fallback))]
                what = f"{mode}, {cell.client[:2]}<{cell.upstream[:2]}"
                lines.append(f"    {each.verdict.word} ({what}): {each.verdict.why[:120]}")
    return "\n".join(lines) + "\n"


def peer_json(
    name: str,
    version: str,
    ours: Sequence[Judged],
    theirs: Sequence[Judged],
    seed: int,
    seconds: float,
) -> JsonObject:
    """Write the words of both, and each fault's by mode, in the order of `MODES`."""
    of_peer = _by_fault(theirs)
    rows: list[Json] = []
    for fault, row in _by_fault(ours).items():
        rows.append(
            {
                "fault": fault,
                "group": group_of(row[0].cell.fault),
                "ours": _by_mode(row),
                "theirs": _by_mode(of_peer.get(fault, [])),
            }
        )
    return {
        "peer": name,
        "version": version,
        "seed": seed,
        "seconds": round(seconds, 1),
        "cells": len(theirs),
        "run_twice": sum(each.again for each in theirs),
        "ours": _counts(ours),
        "theirs": _counts(theirs),
        "rows": rows,
    }


def _by_fault(found: Sequence[Judged]) -> dict[str, list[Judged]]:
    return {
        name: list(group) for name, group in groupby(found, key=lambda each: each.cell.fault.name)
    }


def _by_mode(found: Sequence[Judged]) -> list[Json]:
    return [
        _counts([each for each in found if (each.cell.streamed, each.cell.fallback) == mode])
        for mode in MODES
    ]


def _counts(found: Iterable[Judged]) -> JsonObject:
    return dict(Counter(str(each.verdict.word) for each in found).most_common())
