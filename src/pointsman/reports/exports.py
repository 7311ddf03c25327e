"""What is exported, and under which columns: the lines of a report, or every attempt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from pointsman.domain.money import to_usd
from pointsman.reports.attempts import AttemptRow
from pointsman.reports.question import Question
from pointsman.reports.report import PERCENTS, Line
from pointsman.reports.tables import Cell, Kind, Row

_COUNTS: Final = (
    *("requests", "errors", "attempts", "fallbacks", "hedges", "cache_hits", "input", "output"),
    *("cached", "cache_write", "cache_write_1h", "reasoning", "estimated", "unpriced"),
)
_MONEY: Final = (*("cost", "uncertain", "adjusted", "billed", "baseline", "saved", "hits_saved"),)
_TOKENS: Final = frozenset(
    {"input", "output", "cached", "cache_write", "cache_write_1h", "reasoning"}
)


def usd(nano: int | None) -> str | None:
    """Exact dollars, without an exponent."""
    return None if nano is None else f"{to_usd(nano):f}"


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def columns_for(question: Question) -> dict[str, Kind]:
    """The columns of a report's lines."""
    found: dict[str, Kind] = {"period": "text"} if question.bucket else {}
    found |= dict.fromkeys(question.group_by, "text")
    found |= dict.fromkeys((_counted(name) for name in _COUNTS), "whole")
    for name in _MONEY:
        found |= {f"{name}_usd": "usd", f"{name}_nano_usd": "whole"}
    found |= {"seconds_mean": "real"}
    found |= {f"{what}_p{p}": "real" for what in ("seconds", "ttft") for p in PERCENTS}
    return found


def _counted(name: str) -> str:
    return f"{name}_tokens" if name in _TOKENS else name


def line_rows(question: Question, lines: Iterable[Line]) -> Iterator[Row]:
    for line in lines:
        row: dict[str, Cell] = {"period": line.period} if question.bucket else {}
        row |= dict(zip(question.group_by, line.group, strict=True))
        row |= {_counted(name): getattr(line, name) for name in _COUNTS}
        for name in _MONEY:
            nano = getattr(line, f"{name}_nano")
            row |= {f"{name}_usd": usd(nano), f"{name}_nano_usd": nano}
        row["seconds_mean"] = line.mean_s
        row |= {f"seconds_p{p}": v for p, v in zip(PERCENTS, line.seconds, strict=True)}
        row |= {f"ttft_p{p}": v for p, v in zip(PERCENTS, line.ttft, strict=True)}
        yield row


ATTEMPT_COLUMNS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("request_id", "attempt_id"), "text"),
    "n": "whole",
    "at": "moment",
    **dict.fromkeys(
        (
            *("tenant", "team", "app", "user", "key", "route", "operation", "deployment"),
            *("provider", "model", "tier", "outcome"),
        ),
        "text",
    ),
    **dict.fromkeys(
        (
            *("hedge", "status", "input_tokens", "output_tokens", "cached_tokens"),
            *("cache_write_tokens", "cache_write_1h_tokens", "reasoning_tokens", "estimated"),
            *("cost_nano_usd", "charged_nano_usd"),
        ),
        "whole",
    ),
    "cost_usd": "usd",
    "price_version": "text",
    "seconds": "real",
    "ttft_s": "real",
    "usage_detail": "text",
}


def attempt_rows(found: Iterable[AttemptRow]) -> Iterator[Row]:
    for each in found:
        row: dict[str, Cell] = {
            _counted(name): getattr(each, name) for name in AttemptRow.__struct_fields__
        }
        row["at"] = moment(each.at)
        row["cost_nano_usd"] = each.cost_nano
        row["charged_nano_usd"] = each.charged_nano
        row["cost_usd"] = usd(each.cost_nano)
        yield row
