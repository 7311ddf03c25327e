"""LiteLLM's budgets and cache to a file of ours.

Facts about the format are from docs.litellm.ai (proxy/users, proxy/provider_budget_routing,
proxy/caching), read in November 2026. Budgets of keys, users and teams are in LiteLLM's data base
and not in its file, so there is nothing here to carry over of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from pointsman.config.migration.draft import Draft, Entry
from pointsman.config.migration.litellm_models import PROVIDERS
from pointsman.config.migration.source import Source

WINDOWS: Mapping[str, str] = {
    "60s": "minute",
    "1m": "minute",
    "60m": "hour",
    "1h": "hour",
    "24h": "day",
    "1d": "day",
    "7d": "week",
    "1w": "week",
    "30d": "month",
    "1mo": "month",
}
"""Durations that are, or stand for, one of our windows."""

KEYS = (("max_budget", "budget_duration"), ("budget_limit", "time_period"))


def carry_money(library: Source, router: Source, draft: Draft) -> None:
    """Carry over what may be spent in all and at each provider, and whether answers are kept."""
    if (limit := _limit(library)) is not None:
        draft.budgets.append({"name": "everybody", "scope": "everyone", **limit})
    providers = router.section("provider_budget_config")
    asked = {entry["provider"] for entry in draft.deployments}
    for theirs in providers:
        ours, entry = PROVIDERS.get(theirs, theirs), providers.section(theirs)
        if ours not in asked:
            entry.drop("no deployment of this provider is carried over")
        elif (limit := _limit(entry)) is not None:
            budget = {"name": f"at-{ours}", "scope": "provider", "match": [ours]}
            draft.budgets.append({**budget, **limit})
    _cache(library, draft)


def _limit(source: Source) -> Entry | None:
    """Take a limit and its window, by either pair of names; without a window it never ends."""
    for amount, duration in KEYS:
        if amount not in source:
            continue
        stated = source.text(duration)
        limit = source.number(amount)
        if limit is None or limit <= 0:
            source.note("dropped", "no budget: not above 0", amount)
            return None
        window = "total" if stated is None else WINDOWS.get(stated)
        if window is None:
            text = f"no window of {stated}: minute, hour, day, week, month or total"
            source.note("dropped", text, amount)
            return None
        if stated is not None:
            source.note("changed", f"a {window} of the calendar, in UTC", duration)
        return {"limit_usd": limit, "window": window}
    return None


def _cache(library: Source, draft: Draft) -> None:
    """Take exact answers in memory; a shared server's address has to be put together anew."""
    wanted = library.take("cache")
    params = library.section("cache_params")
    if wanted is not True:
        return
    draft.cache["mode"] = "exact"
    ttl_s = params.number("ttl")
    if ttl_s is not None and 0 < ttl_s <= 31_536_000:
        draft.cache["ttl_s"] = ttl_s
    kind = params.text("type")
    if kind not in (None, "local"):
        text = f"{kind}: the same question to the letter, in the memory of each worker"
        params.note("changed", text, "type")
