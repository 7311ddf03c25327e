"""Print the tables of docs/errors.md from the code: `python tools/errors_page.py` rewrites them.

Each table stands between `<!-- table: NAME -->` and `<!-- end -->`; tests/docs/test_errors_page.py
holds the page to what is printed here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import orjson

import pointsman
from pointsman.dialects.registry import DIALECTS
from pointsman.errors import PointsmanError
from pointsman.routing.contract import ENDS, IN_STREAM, KINDS
from pointsman.server.head import REFUSALS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "errors.md"
TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

OWN: tuple[tuple[str, str], ...] = (
    (
        "InvalidRequest",
        "a body that is no JSON, of a wrong type, too deep, with a field twice, or that no "
        "provider could answer",
    ),
    ("AuthenticationFailed", "no key (`missing_api_key`) or an unknown one"),
    (
        "PermissionDenied",
        "a key that may not use this route or deployment, or that draws on a budget which does "
        "not exist (`unknown_budget`)",
    ),
    (
        "UnknownModel",
        "a `model` that is no route, alias or deployment; the nearest names are suggested",
    ),
    ("NotFound", "no such path; 405 and `method_not_allowed` for a wrong method"),
    ("BodyTooLarge", "above `server.body_mb`; nothing of it is kept"),
    (
        "ContextTooLong",
        "it fits no candidate's window, or every provider that was asked said so",
    ),
    (
        "NoCandidate",
        "hard constraints, or what is left of `max_cost_usd`, leave nobody; the message says "
        "which; `unpriced_model` where a budget counts the request and the price is unknown",
    ),
    (
        "RateLimited",
        "a rate is used up, or more requests of one API key are under way than its own "
        "`max_in_flight`; the message says whose it is, `param` which; with Retry-After",
    ),
    (
        "BudgetExhausted",
        "less is left in a budget than the answer may cost; the message says whose it is, `param` "
        "which; with Retry-After where room comes back within a day",
    ),
    (
        "Overloaded",
        "more than `server.max_in_flight` at once, too late a worker (both with Retry-After), "
        "shutting down (`draining`), or budgets that cannot be read or logged "
        "(`storage_unavailable`, with Retry-After)",
    ),
    (
        "DeadlineExceeded",
        "the call's own deadline passed, whoever was being asked, or nobody would begin before it",
    ),
)
"""Errors of ours and the caller's, with when they come; nobody was called, or it made no
difference who."""

STATUSES = (
    *(400, 401, 402, 403, 404, 408, 413, 414, 415, 417, 429, 431),
    *(500, 501, 502, 503, 504, 505),
)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def own() -> str:
    rows = []
    for name, when in OWN:
        error = getattr(pointsman, name)("")
        retry = "true" if error.should_retry else "false"
        rows.append([f"`{name}`", str(error.status), f"`{error.code}`", retry, when])
    return _table(("error", "status", "code", "retry", "when"), rows)


def edge() -> str:
    rows = [[str(status), f"`{code}`", when] for code, (status, when) in REFUSALS.items()]
    return _table(("status", "code", "when"), rows)


def kinds() -> str:
    rows = [
        [
            f"`{kind}`",
            row.means,
            str(row.status),
            f"`{row.code}`",
            row.retry,
            "yes" if row.retry_after else "–",
            row.breaker,
            row.falls_back,
            str(row.retry_cost),
            row.billed,
        ]
        for kind, row in KINDS.items()
    ]
    head = (
        *("all that failed", "what it is", "status", "code", "retry", "Retry-After"),
        *("breaker", "falls back", "retry costs", "billed"),
    )
    return _table(head, rows)


def ends() -> str:
    rows = [
        [row.means, str(row.status), f"`{row.code}`", row.retry, "yes" if row.retry_after else "–"]
        for row in ENDS
    ]
    return _table(("what happened", "status", "code", "retry", "Retry-After"), rows)


def streams() -> str:
    rows = [[row.means, f"`{row.code}`", row.breaker] for row in IN_STREAM]
    return _table(("what happened", "code", "breaker"), rows)


def words() -> str:
    rows = []
    for status in STATUSES:
        error = PointsmanError("", status=status)
        said = [
            orjson.loads(DIALECTS[name].render_error(error, ""))["error"]["type"]
            for name in ("openai", "anthropic")
        ]
        rows.append([str(status), *(f"`{word}`" for word in said)])
    return _table(("status", "OpenAI's `type`", "Anthropic's `type`"), rows)


TABLES = {
    "own": own,
    "edge": edge,
    "kinds": kinds,
    "ends": ends,
    "streams": streams,
    "words": words,
}


def rewritten(text: str) -> str:
    """Return the page with its tables made anew."""
    return TABLE.sub(lambda match: match[1] + TABLES[match[2]]() + match[3], text)


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
