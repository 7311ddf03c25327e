"""From the blocks about money to Settings: budgets, rates, sinks, administrators."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pointsman.config.desk import Desk
from pointsman.config.problems import Path, shown, suggest
from pointsman.config.schema import ConfigFile, KeyBlock, LedgerBlock
from pointsman.config.schema_money import BudgetBlock, CacheBlock, KeyLimits, RateBlock, SinkBlock
from pointsman.config.settings import LedgerSettings
from pointsman.config.settings_money import (
    AdminSettings,
    AdminToken,
    AlertSettings,
    AnomalySettings,
    CacheSettings,
    LoopSettings,
    RedisSettings,
    SinkSettings,
)
from pointsman.domain.access import OF_TENANT
from pointsman.domain.budgets import Budget, Scope, Unit
from pointsman.domain.money import from_usd
from pointsman.domain.secret import Secret
from pointsman.domain.windows import Window

MINUTE: Final = Window("minute", rolling=True)

_RATES: Final[tuple[tuple[str, Unit], ...]] = (
    ("requests_per_minute", "requests"),
    ("tokens_per_minute", "tokens"),
    ("max_in_flight", "at_once"),
    ("usd_per_minute", "nano_usd"),
)


def resolve_budgets(file: ConfigFile, desk: Desk) -> tuple[Budget, ...]:
    """Budgets and rates of the file; a rate is a budget a limit, named `NAME requests` …"""
    found: list[Budget] = []
    names: set[str] = set()
    blocks: list[tuple[str, int, BudgetBlock | RateBlock]] = [
        *(("budgets", at, block) for at, block in enumerate(file.budgets)),
        *(("rates", at, block) for at, block in enumerate(file.rates)),
    ]
    for section, at, block in blocks:
        path: Path = (section, at)
        if block.name in names:
            what = f"{shown(block.name)} names two of `budgets` and `rates`"
            desk.complain((*path, "name"), what, "write another `name:`")
        names.add(block.name)
        _check_scope(block.scope, block.tag, block.match, path, desk)
        if isinstance(block, BudgetBlock):
            found.append(_budget(block, path, desk))
        else:
            found.extend(_rates(block, path, desk))
    return tuple(found)


def _check_scope(
    scope: Scope, tag: str | None, match: tuple[str, ...] | None, path: Path, desk: Desk
) -> None:
    if (scope == "tag") != (tag is not None):
        what = "`scope: tag` needs the tag's name" if scope == "tag" else f"no tag in `{scope}`"
        remedy = "write `tag: NAME`" if scope == "tag" else "leave `tag` out or write `scope: tag`"
        desk.complain((*path, "tag"), what, remedy)
    if match is not None and scope in ("everyone", "named"):
        desk.complain((*path, "match"), f"`scope: {scope}` has one account", "leave `match` out")
    if match == ():
        desk.complain((*path, "match"), "matches nobody", "name some, or leave it out for all")


def _budget(block: BudgetBlock, path: Path, desk: Desk) -> Budget:
    try:
        ZoneInfo(block.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        what = f"unknown time zone {shown(block.timezone)}"
        desk.complain((*path, "timezone"), what, "write a name such as Europe/Berlin")
    if block.scope == "named" and block.tenant is not None:
        desk.complain((*path, "tenant"), "whose it is, is said by the keys", "leave it out")
    return Budget(
        name=block.name,
        scope=block.scope,
        limit=from_usd(block.limit_usd),
        window=Window(block.window, block.rolling, block.timezone),
        match=None if block.match is None else frozenset(block.match),
        tag=block.tag or "",
        strict=block.mode == "strict",
        at_cap=block.at_cap,
        queue_s=block.queue_s if block.at_cap == "queue" else 0.0,
        alert_at=tuple(sorted(set(block.alert_at))),
        tenant=block.tenant,
    )


def _rates(block: RateBlock, path: Path, desk: Desk) -> Iterable[Budget]:
    stated = [(key, unit) for key, unit in _RATES if getattr(block, key) is not None]
    if not stated:
        desk.complain(path, "limits nothing", f"write one of {', '.join(k for k, _ in _RATES)}")
    for key, unit in stated:
        limit = getattr(block, key)
        yield Budget(
            name=f"{block.name} {key}",
            scope=block.scope,
            limit=from_usd(limit) if unit == "nano_usd" else limit,
            unit=unit,
            window=Window("total") if unit == "at_once" else MINUTE,
            match=None if block.match is None else frozenset(block.match),
            tag=block.tag or "",
            strict=unit != "tokens",
            at_cap=block.at_cap,
            queue_s=block.queue_s if block.at_cap == "queue" else 0.0,
            alert_at=(),
            tenant=block.tenant,
        )


def budgets_of_key(name: str, limits: KeyLimits) -> tuple[Budget, ...]:
    """What a key's own `limits` come to: budgets that only it has."""
    mine = frozenset({name})
    found: list[Budget] = []
    if limits.budget_usd is not None:
        window = Window(limits.budget_window)
        found.append(
            Budget(f"key {name}", "key", from_usd(limits.budget_usd), window=window, match=mine)
        )
    for key, unit in _RATES:
        limit = getattr(limits, key, None)
        if limit is not None:
            found.append(
                Budget(
                    f"key {name} {key}",
                    "key",
                    from_usd(limit) if unit == "nano_usd" else limit,
                    unit=unit,
                    window=MINUTE,
                    match=mine,
                    strict=unit != "tokens",
                    alert_at=(),
                )
            )
    return tuple(found)


def check_named(keys: Iterable[KeyBlock], budgets: Iterable[Budget], desk: Desk) -> None:
    """A key that draws on a budget which is not there would be refused every request."""
    named = [budget.name for budget in budgets if budget.scope == "named"]
    for place, key in enumerate(keys):
        for at, name in enumerate(key.limits.budgets):
            if name not in named and not desk.may_exist("budgets", name):
                path = ("server", "keys", place, "limits", "budgets", at)
                what = f"no budget with `scope: named` is called {shown(name)}"
                desk.complain(path, what, suggest(name, named))


def moment_of(text: str, path: Path, desk: Desk) -> float | None:
    """Read a day (its end, in UTC) or a moment, in seconds since the epoch."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        what = f"{shown(text)} is no moment"
        desk.complain(path, what, "write 2027-01-31 or 2027-01-31T12:00Z")
        return None
    if len(text) == len("2027-01-31"):
        at = at.replace(hour=23, minute=59, second=59)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def resolve_ledger(block: LedgerBlock, desk: Desk) -> LedgerSettings:
    base_dir = desk.base_dir

    def place(text: str | None) -> FilePath | None:
        return None if text is None else base_dir / FilePath(text).expanduser()

    if block.path is not None and block.url is not None:
        desk.complain(("ledger", "url"), "a file and a data base", "leave one of them out")
    url = None if block.url is None else desk.secret(block.url, ("ledger", "url"))
    if url is not None and urlsplit(url.reveal()).scheme not in ("postgresql", "postgres"):
        desk.complain(("ledger", "url"), "no PostgreSQL", "write postgresql://user@host/name")
    path = place(block.path)
    log_dir = place(block.log_dir)
    if log_dir is None and path is not None:
        log_dir = path.with_name(path.name + "-log")
    elif log_dir is None and url is not None:
        log_dir = base_dir / "pointsman-log"
    return LedgerSettings(
        path=path,
        flush_s=block.flush_s,
        batch_rows=block.batch_rows,
        url=url,
        log=block.log,
        log_dir=log_dir,
        log_sync_s=block.log_sync_s,
        sync_before_asking=block.sync_before_asking,
        lease_s=block.lease_s,
        timeout_s=block.timeout_s,
    )


def resolve_redis(file: ConfigFile, desk: Desk) -> RedisSettings | None:
    block = file.redis
    url = None if block is None else desk.secret(block.url, ("redis", "url"))
    if block is None or url is None:
        return None
    if urlsplit(url.reveal()).scheme not in ("redis", "rediss", "unix"):
        desk.complain(("redis", "url"), "no Redis", "write redis://host:6379/0")
    return RedisSettings(url, block.timeout_s, block.rates)


def resolve_admin(file: ConfigFile, desk: Desk) -> AdminSettings:
    tokens: list[AdminToken] = []
    for at, block in enumerate(file.admin.tokens):
        path: Path = ("admin", "tokens", at)
        if (block.role in OF_TENANT) != (block.tenant is not None):
            what = f"role {block.role} and tenant {shown(block.tenant)}"
            remedy = "a tenant's role names its tenant, the others name none"
            desk.complain((*path, "tenant"), what, remedy)
        secret = desk.secret(block.token, (*path, "token"))
        if secret is None:
            continue
        if len(secret.reveal()) < LEAST_TOKEN:
            what = f"fewer than {LEAST_TOKEN} characters"
            desk.complain((*path, "token"), what, "take a random one, such as openssl rand -hex 24")
        if any(secret == other.secret for other in tokens):
            desk.complain((*path, "token"), "the same as another's", "give everybody their own")
        if any(secret.reveal() == desk_key for desk_key in _keys(file, desk)):
            desk.complain((*path, "token"), "the same as an API key", "take another")
        tokens.append(AdminToken(secret, block.name, block.role, block.tenant))
    if tokens and file.admin.port == file.server.port != 0:
        what = f"{file.admin.port} is the port of `server` too"
        desk.complain(("admin", "port"), what, "write another")
    return AdminSettings(file.admin.host, file.admin.port, tuple(tokens))


LEAST_TOKEN: Final = 24
"""Characters of an admin token: random ones of it cannot be guessed."""


def _keys(file: ConfigFile, desk: Desk) -> Iterable[str]:
    quiet = Desk(desk.root, desk.env, desk.base_dir, desk.known)
    for key in file.server.keys:
        secret = quiet.secret(key.key, ())
        if secret is not None:
            yield secret.reveal()


def resolve_cache(block: CacheBlock, has_redis: bool, desk: Desk) -> CacheSettings:
    if block.store == "redis" and not has_redis:
        desk.complain(("cache", "store"), "no `redis` is configured", "add it, or use memory")
    return CacheSettings(
        mode=block.mode,
        store=block.store,
        ttl_s=block.ttl_s,
        most_bytes=int(block.most_mb * 1024 * 1024),
        similarity=block.similarity,
        tools=block.tools,
    )


_NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "log": (),
    "webhook": ("url",),
    "slack": ("url",),
    "smtp": ("host", "sender", "to"),
}


def resolve_alerts(file: ConfigFile, desk: Desk) -> AlertSettings:
    block = file.alerts
    names = [sink.name for sink in block.sinks]
    sinks: list[SinkSettings] = []
    for at, sink in enumerate(block.sinks):
        path: Path = ("alerts", "sinks", at)
        if names.index(sink.name) != at:
            desk.complain((*path, "name"), f"{shown(sink.name)} names two sinks", "rename one")
        for key in _NEEDED[sink.kind]:
            if not getattr(sink, key):
                desk.complain((*path, key), f"missing: kind {sink.kind} needs it", "add it")
        sinks.append(_sink(sink, path, desk))
    return AlertSettings(
        sinks=tuple(sinks),
        burn_rate=block.burn_rate,
        forecast=block.forecast,
        repeat_s=block.repeat_s,
        anomaly=AnomalySettings(
            block.anomaly.enabled,
            block.anomaly.by,
            block.anomaly.every_s,
            from_usd(block.anomaly.least_usd),
        ),
        loop=LoopSettings(
            block.loop.enabled, block.loop.repeats, block.loop.within_s, block.loop.throttle
        ),
    )


def _sink(block: SinkBlock, path: Path, desk: Desk) -> SinkSettings:
    def secret(key: str, reference: str | None) -> Secret | None:
        return None if reference is None else desk.secret(reference, (*path, key))

    url = secret("url", block.url)
    if url is not None and urlsplit(url.reveal()).scheme not in ("http", "https"):
        desk.complain((*path, "url"), "no web address", "write https://…")
    return SinkSettings(
        name=block.name,
        kind=block.kind,
        url=url,
        secret=secret("secret", block.secret),
        host=block.host,
        port=block.port,
        tls=block.tls,
        user=block.user,
        password=secret("password", block.password),
        sender=block.sender,
        to=block.to,
        least=block.least,
        allow_private=block.allow_private,
    )
