"""Ledger entries as rows of the store's tables, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec
import orjson

from pointsman.domain.call import Caller
from pointsman.domain.content import JsonObject
from pointsman.domain.usage import Usage
from pointsman.ledger.entries import Attempt, LedgerEntry
from pointsman.routing.decision import Decision, Ranking
from pointsman.store.database import Row as Stored

Value: TypeAlias = "int | float | str | None"
Row: TypeAlias = "tuple[Value, ...]"

_USAGE = (
    *("input", "output", "cached", "cache_write", "cache_write_1h", "reasoning", "estimated"),
    "usage_detail",
)

ENTRY_COLUMNS = (
    *("seq", "request_id", "decision_id", "at", "day", "operation", "route", "requested_model"),
    *("key", '"user"', "app", "team", "tenant", "stream", "status", "outcome", "error_code"),
    *("final_deployment", "final_provider", "final_model", "final_tier", "seconds", "ttft_s"),
    *("attempts", "fallbacks", "billed_input", "billed_output", "billed_cached"),
    *("billed_reasoning", "known_nano", "unpriced", "baseline_nano", "cost_nano", *_USAGE),
    *("cache", "saved_nano"),
)
ATTEMPT_COLUMNS = (
    *("entry", "n", "deployment", "provider", "model", "tier", "outcome", "fallback", *_USAGE),
    *("cost_nano", "price_version", "started_s", "seconds", "ttft_s", "http_status", "detail"),
    *("hedge", "id", "charged_nano"),
)


@lru_cache(maxsize=8)
def _day(days: int) -> str:
    return datetime.fromtimestamp(days * 86_400, UTC).date().isoformat()


class _Detail(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What few answers use; each field is Usage's of that name."""

    audio_input: int = 0
    audio_cached: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_output: int = 0
    searches: int = 0
    tier: str = ""
    told_nano: int | None = None
    flags: tuple[str, ...] = ()


_PLAIN = _Detail()
_DETAILS = _Detail.__struct_fields__
_details = attrgetter(*_DETAILS)
_decode_detail = msgspec.json.Decoder(_Detail).decode


def _detail(usage: Usage) -> str | None:
    detail = _Detail(*_details(usage))
    return None if detail == _PLAIN else msgspec.json.encode(detail).decode()


def _usage_row(usage: Usage) -> Row:
    return (
        usage.input,
        usage.output,
        usage.cached,
        usage.cache_write,
        usage.cache_write_1h,
        usage.reasoning,
        int(usage.estimated),
        _detail(usage),
    )


def fell_back(attempts: Sequence[Attempt], index: int) -> bool:
    """Tell whether an attempt was made on another deployment because the one before had failed:
    a hedge was not, nor was what it ran beside."""
    if index == 0:
        return False
    before, this = attempts[index - 1], attempts[index]
    return (
        this.deployment != before.deployment
        and not this.hedge
        and not (before.hedge and this.started_s <= before.started_s)
    )


def _sums(attempts: Sequence[Attempt]) -> Row:
    """The columns from `fallbacks` to `unpriced`."""
    if len(attempts) == 1:  # Almost every request.
        (each,) = attempts
        used, cost = each.usage, each.cost_nano
        is_unpriced = int(cost is None)
        return 0, used.input, used.output, used.cached, used.reasoning, cost or 0, is_unpriced
    return (
        sum(fell_back(attempts, index) for index in range(1, len(attempts))),
        sum(each.usage.input for each in attempts),
        sum(each.usage.output for each in attempts),
        sum(each.usage.cached for each in attempts),
        sum(each.usage.reasoning for each in attempts),
        sum(each.cost_nano or 0 for each in attempts),
        sum(each.cost_nano is None for each in attempts),
    )


def entry_row(seq: int, entry: LedgerEntry) -> Row:
    attempts = entry.attempts
    caller = entry.caller
    final = attempts[-1] if attempts else None
    return (
        seq,
        entry.request_id,
        entry.decision_id,
        entry.at,
        _day(int(entry.at // 86_400)),
        entry.operation,
        entry.route,
        entry.requested_model,
        caller.key,
        caller.user,
        caller.app,
        caller.team,
        caller.tenant,
        int(entry.stream),
        entry.status,
        entry.outcome,
        entry.error_code,
        final.deployment if final else None,
        final.provider if final else None,
        final.model if final else None,
        final.tier if final else None,
        entry.seconds,
        entry.ttft_s,
        len(attempts),
        *_sums(attempts),
        entry.baseline_nano,
        entry.cost_nano,
        *_usage_row(entry.usage),
        entry.cache,
        entry.saved_nano,
    )


def attempt_rows(seq: int, entry: LedgerEntry) -> Iterator[Row]:
    for index, each in enumerate(entry.attempts):
        yield (
            seq,
            index + 1,
            each.deployment,
            each.provider,
            each.model,
            each.tier,
            each.outcome,
            int(fell_back(entry.attempts, index)),
            *_usage_row(each.usage),
            each.cost_nano,
            each.price_version,
            each.started_s,
            each.seconds,
            each.ttft_s,
            each.http_status,
            each.detail,
            int(each.hedge),
            each.id,
            each.charged_nano,
        )


def tags_of(entry: LedgerEntry) -> dict[str, str]:
    """The key's own tags and the request's; the request's win."""
    return {**entry.caller.tags, **dict(entry.tags)}


def decision_json(decision: Decision) -> str:
    """Write a decision compactly: what explain shows of it, without prices and limits. Its
    candidates stand by columns, at `order`; `decision_of` reads it."""
    ranking = Ranking.of(decision.candidates)
    return orjson.dumps(
        {
            "route": decision.route,
            "strategy": decision.strategy,
            "picker": decision.picker,
            "propensity": decision.propensity,
            "rule": decision.rule,
            "why": decision.why,
            "scorers": decision.scorers,
            "candidates": {
                "order": list(ranking.order),
                "deployment": [each.name for each in ranking.deployments],
                "score": ranking.scores,
                "parts": ranking.parts,
                "cost_nano": ranking.costs,
                "seconds": ranking.seconds,
            },
            "rejected": [
                {
                    "deployment": each.deployment.name,
                    "filter": each.filter,
                    "reason": each.reason,
                }
                for each in decision.rejected
            ],
        }
    ).decode()


# Back.


@dataclass(frozen=True, slots=True)
class Recorded:
    """An entry as the ledger has it: its decision as JSON, all its tags in `entry.tags`."""

    entry: LedgerEntry
    decision: JsonObject | None


def decision_of(body: str) -> dict[str, Any]:
    """Read what `decision_json` wrote, the candidates as rows, best first."""
    decision: dict[str, Any] = orjson.loads(body)
    columns = decision["candidates"]
    if isinstance(columns, dict):  # Older entries have rows.
        order = columns.pop("order")
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        decision["candidates"] = [rows[place] for place in order]
    return decision


def _usage(row: Stored) -> Usage:
    body = row["usage_detail"]
    return Usage(
        row["input"],
        row["output"],
        row["cached"],
        row["cache_write"],
        row["cache_write_1h"],
        row["reasoning"],
        bool(row["estimated"]),
        *_details(_PLAIN if body is None else _decode_detail(body)),
    )


def attempt_of(row: Stored) -> Attempt:
    return Attempt(
        deployment=row["deployment"],
        provider=row["provider"],
        model=row["model"],
        tier=row["tier"],
        outcome=row["outcome"],
        usage=_usage(row),
        cost_nano=row["cost_nano"],
        price_version=row["price_version"],
        started_s=row["started_s"],
        seconds=row["seconds"],
        ttft_s=row["ttft_s"],
        http_status=row["http_status"],
        detail=row["detail"],
        hedge=bool(row["hedge"]),
        id=row["id"],
        charged_nano=row["charged_nano"],
    )


def entry_of(
    row: Stored, attempts: Sequence[Attempt], tags: Sequence[tuple[str, str]]
) -> LedgerEntry:
    return LedgerEntry(
        request_id=row["request_id"],
        decision_id=row["decision_id"],
        at=row["at"],
        operation=row["operation"],
        route=row["route"],
        requested_model=row["requested_model"],
        caller=Caller(row["key"], row["user"], row["app"], row["team"], row["tenant"]),
        stream=bool(row["stream"]),
        status=row["status"],
        outcome=row["outcome"],
        attempts=tuple(attempts),
        usage=_usage(row),
        cost_nano=row["cost_nano"],
        baseline_nano=row["baseline_nano"],
        seconds=row["seconds"],
        ttft_s=row["ttft_s"],
        error_code=row["error_code"],
        tags=tuple(tags),
        cache=row["cache"],
        saved_nano=row["saved_nano"],
    )
