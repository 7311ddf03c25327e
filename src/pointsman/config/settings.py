"""A configuration, resolved: what the rest of the house is built from. No I/O, no YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pointsman.config.settings_money import (
    AdminSettings,
    AlertSettings,
    CacheSettings,
    RedisSettings,
)
from pointsman.domain.budgets import Budget
from pointsman.domain.call import Caller
from pointsman.domain.call import Timeouts as Timeouts
from pointsman.domain.deployment import Deployment
from pointsman.domain.secret import Secret as Secret
from pointsman.providers.catalog import KeyHeader
from pointsman.providers.transport import Endpoint
from pointsman.routing.spec import FallbackSpec, HedgeSpec, PolicySpec


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """A provider as it is reached. `path_style` azure puts the model into the path; `key_header`
    is where its key goes, None for the dialect's own header."""

    name: str
    dialect: str
    endpoint: Endpoint
    key: Secret | None = None
    spare_keys: tuple[Secret, ...] = ()
    """Taken in this order where the provider refuses `key`: a rotation's overlap."""
    headers: Mapping[str, str] = field(default_factory=dict)
    path_style: Literal["plain", "azure"] = "plain"
    query: str = ""
    key_header: KeyHeader | None = None
    refuses: frozenset[str] = frozenset()
    kind: str = "hosted"
    """hosted, ollama, vllm, llamacpp: how load and models are asked for."""
    load_s: float = 1.0
    """How often a local server is asked for its load, in seconds; 0 never."""


@dataclass(frozen=True, slots=True)
class Route:
    """A model name that clients ask for."""

    name: str
    deployments: tuple[Deployment, ...]
    policy: PolicySpec = PolicySpec()
    fallback: FallbackSpec = FallbackSpec()
    timeouts: Timeouts = Timeouts()
    aliases: tuple[str, ...] = ()
    baseline: str | None = None
    """The deployment that savings are measured against; None is the dearest frontier one."""
    hedge: HedgeSpec = HedgeSpec()
    resume: bool = False
    """Continue an answer that was cut off on another deployment."""
    affinity: bool = False
    """Keep conversations with the same beginning where it was read before."""
    cache: Literal["off", "exact", "semantic"] | None = None
    """None: as the file's `cache` says."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """streak: hard failures in a row. ratio: least share of successes over `window_s` seconds
    with at least `min_samples`. Open for equal-jitter backoff from `base_s` to `max_s`; back
    over `ramp_s`. One without quota is probed every `quota_s`. Where at least `provider_share` of
    a provider's deployments are out, all of them are. `panic_per_s` is what may be tried all the
    same where a route's deployments are all out."""

    streak: int = 5
    ratio: float = 0.8
    window_s: float = 30.0
    min_samples: int = 10
    base_s: float = 1.0
    max_s: float = 60.0
    retry_after_max_s: float = 300.0
    ramp_s: float = 30.0
    quota_s: float = 300.0
    provider_share: float = 0.5
    panic_per_s: float = 1.0


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """A RetryBudget: `ratio` retries per request over `ttl_s`, and `floor_per_s` besides."""

    ratio: float = 0.1
    ttl_s: float = 10.0
    floor_per_s: float = 1.0


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that callers show, and who they are then. `expires_at` is seconds since the epoch."""

    secret: Secret
    caller: Caller
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class ServerSettings:
    host: str = "127.0.0.1"
    port: int = 4000
    workers: int = 1
    keys: tuple[ApiKey, ...] = ()
    """No keys at all means no authentication; `serve` says so aloud."""
    body_bytes: int = 10 * 1024 * 1024
    json_depth: int = 64
    transport: Literal["lean", "aiohttp"] = "lean"
    max_in_flight: int = 4096
    max_queued: int = 256
    queue_wait_s: float = 0.05
    lag_shed_s: float = 0.2
    bodies_bytes: int = 512 * 1024 * 1024
    max_connections: int | None = None
    max_connections_per_address: int | None = None
    header_timeout_s: float = 10.0
    body_bytes_per_s: int = 1024
    keep_alive_s: float = 75.0
    stall_s: float = 60.0
    drain_s: float = 120.0
    reload_s: float = 1.0


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """A file or a data base; with neither, the ledger is in memory and so is every count.

    `log_dir`: where each worker's write-ahead log is; None is beside the file, and for a data
    base `pointsman-log` beside the configuration. `log_sync_s`: how often it is synced to the
    disk; with `sync_before_asking` a request waits for that. `lease_s`: how long a worker that
    was not heard of keeps what it has of a budget.
    """

    path: Path | None = None
    flush_s: float = 0.2
    batch_rows: int = 512
    url: Secret | None = None
    log: bool = True
    log_dir: Path | None = None
    log_sync_s: float = 0.005
    sync_before_asking: bool = False
    lease_s: float = 60.0
    timeout_s: float = 0.25
    """Longest wait for a data base, in seconds."""

    @property
    def is_kept(self) -> bool:
        return self.path is not None or self.url is not None


@dataclass(frozen=True, slots=True)
class PreloadSettings:
    """What is made ready for a deployment before requests come, and when. `hours` are spans such
    as `mon-fri 08:00-18:00` in local time, none for always; `predict` adds the hours that had
    traffic on earlier days. `keep_s`: how long a local server keeps an idle model."""

    connection: bool = True
    model: bool = False
    hours: tuple[str, ...] = ()
    predict: bool = False
    keep_s: float = 1800.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything, cross-checked. `origin` is the file's name, or "discovered"."""

    providers: Mapping[str, ProviderSettings]
    deployments: tuple[Deployment, ...]
    routes: tuple[Route, ...]
    server: ServerSettings = ServerSettings()
    ledger: LedgerSettings = LedgerSettings()
    breaker: BreakerSettings = BreakerSettings()
    retry: RetrySettings = RetrySettings()
    timeouts: Timeouts = Timeouts()
    """Of requests that name a deployment instead of a route."""
    preloads: Mapping[str, PreloadSettings] = field(default_factory=dict)
    """By the name of the deployment."""
    origin: str = "discovered"
    budgets: tuple[Budget, ...] = ()
    """Of `budgets`, `rates` and of the keys' own limits."""
    redis: RedisSettings | None = None
    admin: AdminSettings = AdminSettings()
    cache: CacheSettings = CacheSettings()
    alerts: AlertSettings = AlertSettings()
    reports_baseline: str | None = None
