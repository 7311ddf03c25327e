"""Print the tables of docs/reliability.md from docs/results: `python tools/reliability_page.py`.

tools/reliability_results.py keeps there what runs have written. Each table stands between
`<!-- results: NAME -->` and `<!-- end -->`; tests/docs/test_reliability_page.py holds the page to
what is printed here, and tests/faults/test_published.py the results to the code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"
RESULTS = PAGE.parent / "results"
TABLE = re.compile(r"(<!-- results: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
RIGHT = ("ok", "continued")
MODES = ("whole", "whole+", "stream", "stream+")

Fields = dict[str, Any]


def load(name: str) -> Fields:
    """Return a kept result, {} where there is none."""
    path = RESULTS / f"{name}.json"
    found: Fields = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in cells)} |\n" for cells in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _about(result: Fields) -> str:
    about = result["about"]
    parts = [about["date"], f"commit {about['commit']}", about["machine"]]
    if "seed" in result:
        parts.append(f"seed {result['seed']}")
    if "seconds" in result:
        parts.append(f"{result['seconds']:.0f} s")
    return ", ".join(parts)


def _missing(command: str) -> str:
    return f"Not yet run for this page: `{command}`.\n"


def faults_counts() -> str:
    """The counts of our own matrix, and both gateways by the rules for any."""
    result, peer = load("faults"), load("faults-litellm")
    if not result:
        return _missing("make faults")
    text = (
        f"**{result['exact']:,} of {result['cells']:,} cells exact**, of {result['faults']} "
        f"faults; {result['repeated']} repeated after a stall of the machine ({_about(result)}).\n"
    )
    if not peer:
        return text
    rows = []
    for name, key in (("Pointsman", "ours"), (f"{peer['peer']} {peer['version']}", "theirs")):
        words = peer[key]
        right = sum(words.get(word, 0) for word in RIGHT)
        rest = ", ".join(f"{word} {count}" for word, count in words.items() if word not in RIGHT)
        rows.append([name, f"{right:,} of {sum(words.values()):,}", rest or "–"])
    return (
        f"{text}\nBy the rules for any gateway ({_about(peer)}; {peer['run_twice']} cells of "
        f"{peer['peer']} were run twice):\n\n{_table(('gateway', 'right', 'not right'), rows)}"
    )


def faults() -> str:
    result, peer = load("faults"), load("faults-litellm")
    if not result:
        return _missing("make faults")
    of_peer = {row["fault"]: row["theirs"] for row in peer.get("rows", ())}
    name = f"{peer['peer']} {peer['version']}" if peer else "a peer"
    parts = []
    for group, rows in groupby(result["rows"], key=lambda row: row["group"]):
        lines = [
            (
                row["fault"],
                _ends(row["alone"]),
                _ends(row["fallback"]),
                f"{row['exact']}/{row['cells']}",
                _theirs(of_peer.get(row["fault"])),
            )
            for row in rows
        ]
        head = ("fault", "right without fallback", "right with fallback", "exact", name)
        parts.append(f"### {group}\n\n{_table(head, lines)}")
    return "\n".join(parts)


def _ends(ends: Sequence[str | None]) -> str:
    whole, stream = ends
    if whole == stream or stream is None:
        return whole or "–"
    if whole is None:
        return f"stream: {stream}"
    return f"{whole}; stream: {stream}"


def _theirs(modes: Sequence[dict[str, int]] | None) -> str:
    """`10/16: lost 4 (stream+), silent cut 2 (stream, stream+)`."""
    if not modes:
        return "–"
    words: dict[str, int] = {}
    where: dict[str, list[str]] = {}
    for mode, counts in zip(MODES, modes, strict=True):
        for word, count in counts.items():
            words[word] = words.get(word, 0) + count
            where.setdefault(word, []).append(mode)
    right = f"{sum(words.get(word, 0) for word in RIGHT)}/{sum(words.values())}"
    wrong = [
        f"{word} {count} ({', '.join(where[word])})"
        for word, count in words.items()
        if word not in RIGHT
    ]
    return f"{right}: {', '.join(wrong)}" if wrong else right


def chaos() -> str:
    return _checks("chaos")


def crash() -> str:
    return _checks("crash")


def _checks(name: str) -> str:
    """The checks of a run, with their figures."""
    result = load(name)
    if not result:
        return _missing(f"make {name}")
    rows = [
        (
            check["id"],
            check["title"],
            check["pass_line"],
            "holds" if check["ok"] else "**does not hold**: " + "; ".join(check["failures"]),
            ", ".join(f"{name} {value}" for name, value in check["figures"].items()),
        )
        for check in result["checks"]
    ]
    good = sum(check["ok"] for check in result["checks"])
    scale = f", scale {result['scale']:g}" if result.get("scale", 1.0) != 1.0 else ""
    return (
        f"**{good} of {len(rows)} hold** ({_about(result)}{scale}).\n\n"
        + _table(("", "what is broken", "pass line", "", "figures"), rows)
    )  # fmt: skip


def simulation() -> str:
    result = load("simulation")
    if not result:
        return _missing("make simulate")
    text = (
        f"**{result['sequences']:,} sequences, {result['broken']} broken** "
        f"({_about(result)}; seeds from {result['base']}). The laws:\n\n"
    )
    text += "".join(f"- {law}\n" for law in result["laws"])
    rows = [(name, f"{count:,}") for name, count in result["met"].items()]
    return f"{text}\nWhat the sequences met, so that no law holds for want of an occasion:\n\n" + (
        _table(("met", "times"), rows)
    )


def fuzz() -> str:
    result = load("fuzz")
    if not result:
        return _missing("make fuzz")
    suites = result["suites"]
    failed = sum(suite["failed"] for suite in suites)
    head = tuple(suites[0])
    rows = [[str(suite[key]) for key in head] for suite in suites]
    return f"**{failed} failed** ({_about(result)}).\n\n{_table(head, rows)}"


TABLES = {
    "faults-counts": faults_counts,
    "chaos": chaos,
    "crash": crash,
    "simulation": simulation,
    "fuzz": fuzz,
    "faults": faults,
}


def rewritten(text: str) -> str:
    """Return the page with its tables made anew."""
    return TABLE.sub(lambda match: match[1] + TABLES[match[2]]() + match[3], text)


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
