"""Settings about money, resolved: who administers, cache, alerts, where shared counts are kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pointsman.domain.access import Role
from pointsman.domain.secret import Secret

Severity = Literal["info", "warning", "critical"]


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """timeout_s: the longest wait for an answer; then its user goes on without."""

    url: Secret
    timeout_s: float = 0.05
    rates: bool = True


@dataclass(frozen=True, slots=True)
class AdminToken:
    """A token that opens the admin API and nothing else. `tenant` is set for a tenant's roles."""

    secret: Secret
    name: str
    role: Role
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """No tokens, no admin API."""

    host: str = "127.0.0.1"
    port: int = 4001
    tokens: tuple[AdminToken, ...] = ()


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Answers kept for the same question, within a tenant."""

    mode: Literal["off", "exact", "semantic"] = "off"
    store: Literal["memory", "redis"] = "memory"
    ttl_s: float = 3600.0
    most_bytes: int = 64 * 1024 * 1024
    similarity: float = 0.95
    tools: bool = False


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """Where alerts go; which fields matter depends on `kind`."""

    name: str
    kind: Literal["log", "webhook", "slack", "smtp"]
    url: Secret | None = None
    secret: Secret | None = None
    host: str | None = None
    port: int = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password: Secret | None = None
    sender: str | None = None
    to: tuple[str, ...] = ()
    least: Severity = "info"
    allow_private: bool = False


@dataclass(frozen=True, slots=True)
class AnomalySettings:
    """When spending is out of the ordinary; `least_nano` over `every_s`."""

    enabled: bool = True
    by: tuple[str, ...] = ("key", "model")
    every_s: float = 300.0
    least_nano: int = 100_000_000


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """When an application runs in circles."""

    enabled: bool = True
    repeats: int = 30
    within_s: float = 60.0
    throttle: bool = False


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Who is told of money, and when."""

    sinks: tuple[SinkSettings, ...] = ()
    burn_rate: float = 6.0
    forecast: bool = True
    repeat_s: float = 21_600.0
    anomaly: AnomalySettings = field(default_factory=AnomalySettings)
    loop: LoopSettings = field(default_factory=LoopSettings)
