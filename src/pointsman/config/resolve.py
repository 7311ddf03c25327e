"""From a file that fits the schema to Settings: every cross-check, every complaint at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from pointsman.config.desk import Desk
from pointsman.config.problems import Path, shown, suggest
from pointsman.config.resolve_deployments import Named, name_deployments, resolve_deployments
from pointsman.config.resolve_money import (
    budgets_of_key,
    check_named,
    moment_of,
    resolve_admin,
    resolve_alerts,
    resolve_budgets,
    resolve_cache,
    resolve_ledger,
    resolve_redis,
)
from pointsman.config.resolve_providers import resolve_providers
from pointsman.config.resolve_routes import resolve_routes, timeouts_for
from pointsman.config.schema import ConfigFile, KeyBlock
from pointsman.config.selection import Pool
from pointsman.config.settings import (
    ApiKey,
    BreakerSettings,
    PreloadSettings,
    RetrySettings,
    Route,
    ServerSettings,
    Settings,
)
from pointsman.domain.call import Caller
from pointsman.domain.deployment import Deployment
from pointsman.domain.hours import parse_span
from pointsman.domain.money import from_usd


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings, and where each provider's key came from ("env:NAME", "file:PATH", "none")."""

    settings: Settings
    key_sources: Mapping[str, str] = field(default_factory=dict)


def resolve(file: ConfigFile, origin: str, desk: Desk) -> Resolved:
    """Resolve everything that can be; what is wrong is in `desk.problems`."""
    if desk.places.get("deployments") == () and not desk.left_out.get("deployments"):
        what = "no deployments"
        desk.complain(("deployments",), what, "name one, such as `- {model: openai/gpt-4.1}`")
    named = name_deployments(file.deployments, desk)
    used = [(item.provider, item.path) for item in named if item.provider]
    providers = resolve_providers(file.providers, used, desk)
    declared = frozenset(file.providers) | desk.left_out.get("providers", frozenset())
    deployments = resolve_deployments(named, declared, providers, desk)
    broken = frozenset(item.name for item in named) - {item.name for item in deployments}
    desk = desk.without("deployments", broken)
    routes = resolve_routes(file.routes, file.timeouts, deployments, desk)
    found = {name: provider for name, provider in providers.items() if provider is not None}
    in_use = {deployment.provider for deployment in deployments}
    server = _server(file, routes, deployments, desk)
    own = [budgets_of_key(name_of(key), key.limits) for key in file.server.keys]
    budgets = (*resolve_budgets(file, desk), *(budget for each in own for budget in each))
    check_named(file.server.keys, budgets, desk)
    redis = resolve_redis(file, desk)
    settings = Settings(
        providers={name: found[name].settings for name in found if name in in_use},
        deployments=deployments,
        routes=routes,
        server=server,
        ledger=resolve_ledger(file.ledger, desk),
        breaker=_breaker(file, desk),
        retry=RetrySettings(file.retry.ratio, file.retry.ttl_s, file.retry.floor_per_s),
        timeouts=timeouts_for(deployments, file.timeouts, path=("timeouts",), desk=desk),
        origin=origin,
        preloads=_preloads(named, desk),
        budgets=budgets,
        redis=redis,
        admin=resolve_admin(file, desk),
        cache=resolve_cache(file.cache, file.redis is not None, desk),
        alerts=resolve_alerts(file, desk),
        reports_baseline=_baseline(file, deployments, desk),
    )
    return Resolved(settings, {name: found[name].key_source for name in found})


def _server(
    file: ConfigFile, routes: tuple[Route, ...], deployments: tuple[Deployment, ...], desk: Desk
) -> ServerSettings:
    block = file.server
    keys: list[ApiKey] = []
    for place, key in enumerate(block.keys):
        path: Path = ("server", "keys", place)
        secret = desk.secret(key.key, (*path, "key"))
        caller = _caller(key, routes, deployments, path, desk)
        if any(caller.key == other.caller.key for other in keys):
            what = f"{shown(caller.key)} names two keys"
            desk.complain((*path, "name" if key.name else "key"), what, "write another `name:`")
        if secret is None:
            continue
        twin = next((at for at, other in enumerate(keys) if other.secret == secret), None)
        if twin is not None:
            what = f"the same key as that of {keys[twin].caller.key}"
            desk.complain((*path, "key"), what, "give every caller a key of its own")
        path = (*path, "expires")
        expires_at = None if key.expires is None else moment_of(key.expires, path, desk)
        keys.append(ApiKey(secret, caller, expires_at))
    return ServerSettings(
        host=block.host,
        port=block.port,
        workers=block.workers,
        keys=tuple(keys),
        body_bytes=int(block.body_mb * 1024 * 1024),
        json_depth=block.json_depth,
        transport=block.transport,
        max_in_flight=block.max_in_flight,
        max_queued=block.max_queued,
        queue_wait_s=block.queue_wait_s,
        lag_shed_s=block.lag_shed_s,
        bodies_bytes=int(block.bodies_mb * 1024 * 1024),
        max_connections=block.max_connections,
        max_connections_per_address=block.max_connections_per_address,
        header_timeout_s=block.header_timeout_s,
        body_bytes_per_s=block.body_bytes_per_s,
        keep_alive_s=block.keep_alive_s,
        stall_s=block.stall_s,
        drain_s=block.drain_s,
        reload_s=block.reload_s,
    )


def _caller(
    key: KeyBlock,
    routes: tuple[Route, ...],
    deployments: tuple[Deployment, ...],
    path: Path,
    desk: Desk,
) -> Caller:
    """Turn aliases into the routes they stand for."""
    by_name = {word: route.name for route in routes for word in (route.name, *route.aliases)}
    allowed: set[str] = set()
    for place, word in enumerate(key.routes or ()):
        names = (by_name[word],) if word in by_name else Pool(deployments).matching(word)
        allowed |= set(names)
        if not names and not desk.may_exist("routes", word):
            known = (*by_name, *(deployment.name for deployment in deployments))
            what = f"unknown route {shown(word)}"
            desk.complain((*path, "routes", place), what, suggest(word, known))
    return Caller(
        key=name_of(key),
        user=key.user,
        app=key.app,
        team=key.team,
        tenant=key.tenant,
        tags=key.tags,
        routes=None if key.routes is None else frozenset(allowed),
        criticality=key.criticality,
        weight=key.weight,
        max_in_flight=key.max_in_flight,
        max_cost_nano=from_usd(most) if (most := key.limits.max_cost_usd) is not None else None,
        budgets=key.limits.budgets,
    )


def name_of(key: KeyBlock) -> str:
    """A key's own name, or its variable's or file's."""
    return key.name or FilePath(key.key.partition(":")[2]).stem


def _preloads(named: tuple[Named, ...], desk: Desk) -> Mapping[str, PreloadSettings]:
    for item in named:
        for place, text in enumerate(item.block.preload.hours if item.block.preload else ()):
            try:
                parse_span(text)
            except ValueError as error:
                path = (*item.path, "preload", "hours", place)
                desk.complain(path, f"{shown(text)} says no hours", str(error))
    return {
        item.name: PreloadSettings(
            connection=block.connection,
            model=block.model,
            hours=block.hours,
            predict=block.predict,
            keep_s=block.keep_s,
        )
        for item in named
        if (block := item.block.preload) is not None
    }


def _baseline(file: ConfigFile, deployments: tuple[Deployment, ...], desk: Desk) -> str | None:
    name = file.reports.baseline
    known = [deployment.name for deployment in deployments]
    if name is not None and name not in known and not desk.may_exist("deployments", name):
        what = f"unknown deployment {shown(name)}"
        desk.complain(("reports", "baseline"), what, suggest(name, known))
    return name


def _breaker(file: ConfigFile, desk: Desk) -> BreakerSettings:
    block = file.breaker
    if block.base_s > block.max_s:
        what = f"{block.base_s:g} s is longer than max_s, {block.max_s:g} s"
        desk.complain(("breaker", "base_s"), what, "lower it or raise max_s")
    return BreakerSettings(
        streak=block.streak,
        ratio=block.ratio,
        window_s=block.window_s,
        min_samples=block.min_samples,
        base_s=block.base_s,
        max_s=block.max_s,
        retry_after_max_s=block.retry_after_max_s,
        ramp_s=block.ramp_s,
        quota_s=block.quota_s,
        provider_share=block.provider_share,
        panic_per_s=block.panic_per_s,
    )
