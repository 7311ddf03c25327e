"""Say what a configuration does about money: limits, who administers, cache, alerts, and where
the books are. Plain data without a secret in it."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from pointsman.config.settings import LedgerSettings, Settings
from pointsman.domain.budgets import Budget
from pointsman.domain.money import format_usd

Description = dict[str, Any]

UNITS: Final = {"requests": "requests", "tokens": "tokens", "at_once": "requests at once"}


def describe_money(settings: Settings) -> Description:
    cache, alerts, redis = settings.cache, settings.alerts, settings.redis
    return {
        "ledger": place_of(settings.ledger),
        "limits": [_limit(budget) for budget in settings.budgets],
        "admin": {
            "address": f"http://{settings.admin.host}:{settings.admin.port}",
            "tokens": [
                {"name": token.name, "role": token.role, "tenant": token.tenant}
                for token in settings.admin.tokens
            ],
        },
        "cache": {"mode": cache.mode, "store": cache.store, "ttl_s": cache.ttl_s},
        "redis": None if redis is None else {"rates": redis.rates, "timeout_s": redis.timeout_s},
        "alerts": [{"name": sink.name, "kind": sink.kind} for sink in alerts.sinks],
    }


def place_of(ledger: LedgerSettings) -> str | None:
    """Where the ledger is, without who may write there; None for memory."""
    if ledger.url is None:
        return None if ledger.path is None else str(ledger.path)
    where = urlsplit(ledger.url.reveal())
    return f"{where.scheme}://{where.netloc.rpartition('@')[2]}{where.path}"


def _limit(budget: Budget) -> Description:
    is_money = budget.unit == "nano_usd"
    return {
        "name": budget.name,
        "scope": f"tag {budget.tag}" if budget.scope == "tag" else budget.scope,
        "match": None if budget.match is None else sorted(budget.match),
        "tenant": budget.tenant,
        "limit": format_usd(budget.limit) if is_money else f"{budget.limit:,} {UNITS[budget.unit]}",
        "window": None if budget.unit == "at_once" else str(budget.window),
        "mode": "strict" if budget.strict else "tight",
        "at_cap": budget.at_cap,
    }
