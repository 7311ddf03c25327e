"""The one place that names the concrete classes: from settings to stacks, transport and ledger.

What is made here starts nothing: no task, no timer, no connection. So a whole generation can be
built beside the running one, on another thread, and thrown away where it is no good.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from pointsman.clock import Clock
from pointsman.config.settings import (
    ProviderSettings,
    RetrySettings,
    Route,
    Settings,
)
from pointsman.config.settings_money import AlertSettings
from pointsman.dialects.registry import dialect_of
from pointsman.domain.deployment import Deployment
from pointsman.ledger.entries import LedgerEntry
from pointsman.ledger.hours import requests_by_hour
from pointsman.pipeline.account import Account
from pointsman.pipeline.admit import Admit
from pointsman.pipeline.build import DeploymentStack, deployment_stack
from pointsman.pipeline.cached import Cached
from pointsman.pipeline.circles import Allows, Circles
from pointsman.pipeline.dispatch import Dispatch
from pointsman.pipeline.holding import Denied, Holding
from pointsman.pipeline.outage import ChangeListener, silent
from pointsman.pipeline.provider_health import ProviderHealth
from pointsman.pipeline.resume import Resume
from pointsman.pipeline.service import Service
from pointsman.pipeline.treasury import Treasury
from pointsman.providers.keys import KeyChain, keys_of
from pointsman.providers.preload import History
from pointsman.providers.transport import Transport, TransportLimits
from pointsman.providers.upstream import Upstream
from pointsman.routing.retries import RetryBudgets
from pointsman.store.open import Store

CacheLayer = Callable[[Service, Route, Mapping[str, DeploymentStack]], Service]
"""Lays a cache over a route's stack, or gives it back as it is."""


class Shelving(Protocol):
    """Keeps answers for all generations (`pointsman.shelf`)."""

    def layer(self, settings: Settings, epoch: str) -> CacheLayer | None:
        """What lays the cache over a generation's routes; None where none of them has one."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What lives as long as the process, and every generation is built from."""

    clock: Clock
    rng: random.Random
    transport: Transport
    keep: Callable[[LedgerEntry], None]
    """Told every entry: the ledger, the metrics, the log, and who else observes."""
    prefix: str
    """What this process's ids have in common, in hexadecimal."""
    attempts: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    changed: ChangeListener = silent
    """Told whenever a deployment or a provider goes out or comes back."""
    treasury: Treasury | None = None
    """Who keeps the budgets; None where there never are any."""
    denied: Denied = lambda budget, code: None
    """Told of each refusal by one of them."""
    shelf: Shelving | None = None
    """Who keeps answers; None where there never are any."""
    allows: Allows | None = None
    """Who knows a loop; None where nobody looks for one."""

    def new_attempt_id(self) -> str:
        return f"att_{self.prefix}{next(self.attempts):08x}"


def chain_of(provider: ProviderSettings, parts: Parts) -> KeyChain:
    return KeyChain(provider.name, keys_of(provider), parts.clock.now)


def provider_of(name: str, settings: Settings, parts: Parts) -> ProviderHealth:
    return ProviderHealth(name, parts.clock, settings.breaker, parts.rng, parts.changed)


def stack_of(
    deployment: Deployment, settings: Settings, keys: KeyChain, health: ProviderHealth, parts: Parts
) -> DeploymentStack:
    """A deployment's stack, cold. `keys` and `health` are its provider's, shared with its other
    deployments."""
    provider: ProviderSettings = settings.providers[deployment.provider]
    upstream = Upstream(
        deployment,
        provider,
        dialect_of(deployment.dialect, deployment.billing),
        parts.transport,
        parts.clock,
        keys,
    )
    return deployment_stack(
        upstream,
        deployment,
        parts.clock,
        settings.breaker,
        parts.rng,
        health,
        parts.changed,
        is_local=provider.kind != "hosted",
    )


def counts(settings: Settings) -> bool:
    """Whether there is anything that requests are counted in, or may be before the next reload:
    where a ledger is kept, keys and budgets may be in it."""
    return bool(settings.budgets) or settings.ledger.is_kept


def account_of(
    route: Route,
    stacks: Mapping[str, DeploymentStack],
    retries: RetryBudgets,
    parts: Parts,
    *,
    is_counted: bool = False,
    is_watched: bool = False,
    cached: CacheLayer | None = None,
) -> Account:
    """A route's stack. `is_counted`: its requests and attempts count in budgets. `is_watched`:
    loops are looked for. `cached` lays the cache over it, where the route has one."""
    holding = None
    if is_counted and parts.treasury is not None:
        holding = Holding(parts.treasury, route.name, parts.clock, parts.denied)
    inner: Service = Dispatch(
        route, stacks, parts.clock, parts.rng, retries, parts.new_attempt_id, holding
    )
    if route.resume:
        inner = Resume(inner, parts.clock, retries, route.fallback.max_attempts)
    if cached is not None:
        # Below Admit: a hit counts as a request; above all that costs money.
        inner = cached(inner, route, stacks)
    if holding is not None:
        # Above all that answers: a request counts once, however it is answered.
        inner = Admit(inner, holding)
    if is_watched and parts.allows is not None:
        inner = Circles(inner, parts.allows)
    return Account(inner, parts.clock, route.name, baseline_of(route), parts.keep)


def watches(alerts: AlertSettings) -> bool:
    """Are loops looked for? Only where somebody is told or something is done about them: it
    takes a few microseconds a request, and more for one that seems to repeat."""
    return alerts.loop.enabled and (alerts.loop.throttle or bool(alerts.sinks))


def dispatch_of(account: Account) -> Dispatch:
    """The innermost of a route's stack."""
    inner = account.inner
    while isinstance(inner, Admit | Cached | Circles | Resume):
        inner = inner.inner
    assert isinstance(inner, Dispatch)
    return inner


def retries_of(settings: RetrySettings) -> RetryBudgets:
    return RetryBudgets(
        ratio=settings.ratio, ttl_s=settings.ttl_s, floor_per_s=settings.floor_per_s
    )


def baseline_of(route: Route) -> Deployment | None:
    """The deployment that savings are measured against: the named one, else the dearest of the
    frontier tier, else the dearest of all, by the price of output."""
    if route.baseline is not None:
        return next((d for d in route.deployments if d.name == route.baseline), None)
    priced = [d for d in route.deployments if d.price is not None]
    frontier = [d for d in priced if d.tier == "frontier"] or priced
    return max(frontier, key=lambda d: 0 if d.price is None else d.price.rates.output, default=None)


def connect_s_of(settings: Settings) -> float:
    """Seconds to connect. Connections are shared by routes: the longest that any gives holds."""
    stated = [settings.timeouts, *(route.timeouts for route in settings.routes)]
    return max(times.connect_s for times in stated)


def make_transport(settings: Settings) -> Transport:
    """The transport that the configuration names; the other one is not imported."""
    limits = TransportLimits(connect_s=connect_s_of(settings))
    if settings.server.transport == "aiohttp":
        from pointsman.providers.aiohttp_transport import AiohttpTransport

        return AiohttpTransport(limits)
    from pointsman.providers.lean import LeanTransport

    return LeanTransport(limits)


def history_of(store: Store | None) -> History | None:
    """What the ledger can tell of the hours that had traffic; nothing where it is in memory."""
    return None if store is None else partial(requests_by_hour, store)
