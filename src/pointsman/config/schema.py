"""The shape of the file, one frozen record a block: what is accepted, with units and defaults.

Read by three: `conform.py` checks a file against it, `json_schema()` publishes it, and
docs/configuration.md is tested to name every key. Money is in USD here (people write files);
`resolve.py` turns it into integer nano-USD.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from pointsman.config.schema_models import DeploymentBlock, ProviderBlock
from pointsman.config.schema_money import (
    AdminBlock,
    AlertsBlock,
    BudgetBlock,
    CacheBlock,
    KeyLimits,
    RateBlock,
    RedisBlock,
    ReportsBlock,
)
from pointsman.config.schema_routes import RouteBlock, TimeoutsBlock
from pointsman.config.schema_words import Block, Count, Seconds, SecretRef, Share, Word
from pointsman.domain.call import Criticality


class KeyBlock(Block, frozen=True, kw_only=True):
    """A key that callers show, and who they are then."""

    key: Annotated[SecretRef, Meta(description="The key itself, as env:NAME or file:PATH.")]
    name: Annotated[
        Word | None,
        Meta(description="What ledger and reports call this key; default the variable's name."),
    ] = None
    app: Annotated[Word | None, Meta(description="The application that uses the key.")] = None
    user: Annotated[Word | None, Meta(description="The person who uses the key.")] = None
    team: Annotated[Word | None, Meta(description="The team its cost belongs to.")] = None
    tenant: Annotated[Word | None, Meta(description="The customer its cost belongs to.")] = None
    tags: Annotated[
        dict[str, str], Meta(description="Your own words for reports, such as `env: prod`.")
    ] = field(default_factory=dict)
    routes: Annotated[
        tuple[str, ...] | None,
        Meta(description="Routes and deployments the key may ask for; default all."),
    ] = None
    criticality: Annotated[
        Criticality,
        Meta(
            description="Who is let in where there is not room for all: critical first, sheddable "
            "last."
        ),
    ] = "default"
    weight: Annotated[
        float,
        Meta(gt=0, description="The tenant's share where there is not room for all."),
    ] = 1.0
    max_in_flight: Annotated[
        Count | None, Meta(description="Requests of this key at once in one worker.")
    ] = None
    expires: Annotated[
        Word | None,
        Meta(description="Last moment it is good for, such as 2027-01-31 or 2027-01-31T12:00Z."),
    ] = None
    limits: Annotated[KeyLimits, Meta(description="What this key may use.")] = KeyLimits()


class ServerBlock(Block, frozen=True, kw_only=True):
    """How Pointsman listens."""

    host: Annotated[Word, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    ] = 4000
    workers: Annotated[int, Meta(ge=1, le=256, description="Processes that share the port.")] = 1
    keys: Annotated[
        tuple[KeyBlock, ...],
        Meta(description="Keys that callers may show. None at all turns authentication off."),
    ] = ()
    body_mb: Annotated[float, Meta(gt=0, le=1024, description="Largest request body, in MiB.")] = 10
    json_depth: Annotated[
        int, Meta(ge=8, le=512, description="Deepest nesting of a request body.")
    ] = 64
    transport: Annotated[
        Literal["lean", "aiohttp"], Meta(description="The HTTP client towards providers.")
    ] = "lean"
    max_in_flight: Annotated[
        int, Meta(ge=1, description="Requests at once in one worker; more wait, or are told 503.")
    ] = 4096
    max_queued: Annotated[
        int, Meta(ge=0, description="Requests that may wait for their turn in one worker.")
    ] = 256
    queue_wait_s: Annotated[
        Seconds, Meta(description="Longest wait for a turn before 503, in seconds.")
    ] = 0.05
    lag_shed_s: Annotated[
        Seconds,
        Meta(description="How late a worker may run before it turns requests away, in seconds."),
    ] = 0.2
    bodies_mb: Annotated[
        float, Meta(gt=0, description="Request bodies held at once in one worker, in MiB.")
    ] = 512
    max_connections: Annotated[
        Count | None,
        Meta(description="Clients' connections of one worker; default by its file descriptors."),
    ] = None
    max_connections_per_address: Annotated[
        Count | None,
        Meta(description="Connections from one address; default no bound (a proxy is one)."),
    ] = None
    header_timeout_s: Annotated[
        Seconds, Meta(description="For a request's headers to arrive, in seconds.")
    ] = 10.0
    body_bytes_per_s: Annotated[
        int, Meta(ge=1, description="Slowest request body, in bytes a second, after 5 seconds.")
    ] = 1024
    keep_alive_s: Annotated[
        Seconds, Meta(description="An idle connection is kept this long, in seconds.")
    ] = 75.0
    stall_s: Annotated[
        Seconds, Meta(description="A reader that takes nothing is cut after this, in seconds.")
    ] = 60.0
    drain_s: Annotated[
        Seconds, Meta(description="What is under way may take this long after SIGTERM, in seconds.")
    ] = 120.0
    reload_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="How often this file is looked at for changes, in seconds; 0 only on "
            "SIGHUP.",
        ),
    ] = 1.0


class LedgerBlock(Block, frozen=True, kw_only=True):
    """Where the account of every request is kept."""

    path: Annotated[
        Word | None,
        Meta(description="SQLite file, relative to this file; without it, memory only."),
    ] = None
    flush_s: Annotated[
        float, Meta(gt=0, le=60, description="Longest wait before entries are written, in seconds.")
    ] = 0.2
    batch_rows: Annotated[
        int, Meta(ge=1, le=100_000, description="Entries that are written at once.")
    ] = 512
    url: Annotated[
        SecretRef | None,
        Meta(description="PostgreSQL instead of a file, postgresql://…, as env:NAME or file:PATH."),
    ] = None
    log: Annotated[
        bool,
        Meta(description="Write each request to a log of the worker's own before anybody is paid."),
    ] = True
    log_dir: Annotated[
        Word | None,
        Meta(description="Where these logs are; default beside the ledger's or this file."),
    ] = None
    log_sync_s: Annotated[
        float,
        Meta(ge=0.001, le=10, description="How often the log is synced to the disk, in seconds."),
    ] = 0.005
    sync_before_asking: Annotated[
        bool, Meta(description="Wait for that sync before a provider is asked.")
    ] = False
    lease_s: Annotated[
        float,
        Meta(
            ge=1,
            le=3600,
            description="A worker not heard of for so long loses its part of the budgets, in "
            "seconds.",
        ),
    ] = 60.0
    timeout_s: Annotated[
        Seconds, Meta(description="Longest wait for the data base, in seconds.")
    ] = 0.25


class BreakerBlock(Block, frozen=True, kw_only=True):
    """When a deployment is left alone, and for how long."""

    streak: Annotated[
        int, Meta(ge=1, le=1000, description="Failures in a row that open the breaker.")
    ] = 5
    ratio: Annotated[Share, Meta(description="Least share of successes before it opens.")] = 0.8
    window_s: Annotated[Seconds, Meta(description="Over how many seconds the share is taken.")] = (
        30.0
    )
    min_samples: Annotated[
        Count, Meta(description="Attempts in the window before the share counts.")
    ] = 10
    base_s: Annotated[
        Seconds, Meta(description="First time it stays open, in seconds; doubles each time.")
    ] = 1.0
    max_s: Annotated[Seconds, Meta(description="Longest time it stays open, in seconds.")] = 60.0
    retry_after_max_s: Annotated[
        Seconds, Meta(description="Longest Retry-After that is believed, in seconds.")
    ] = 300.0
    ramp_s: Annotated[
        Seconds, Meta(description="Time back to full traffic after a good probe, in seconds.")
    ] = 30.0
    quota_s: Annotated[
        Seconds,
        Meta(description="How often one whose quota is used up is asked again, in seconds."),
    ] = 300.0
    provider_share: Annotated[
        Share,
        Meta(description="Share of a provider's deployments that are out before all of them are."),
    ] = 0.5
    panic_per_s: Annotated[
        float,
        Meta(ge=0, description="Requests a second that may try all the same when all are out."),
    ] = 1.0


class RetryBlock(Block, frozen=True, kw_only=True):
    """How many attempts beyond the first there may be, over all requests."""

    ratio: Annotated[Share, Meta(description="Retries per request.")] = 0.1
    ttl_s: Annotated[Seconds, Meta(description="How long unused ones keep, in seconds.")] = 10.0
    floor_per_s: Annotated[
        float, Meta(ge=0, description="Retries a second that are always allowed.")
    ] = 1.0


class ConfigFile(Block, frozen=True, kw_only=True):
    """A Pointsman configuration."""

    server: Annotated[ServerBlock, Meta(description="How Pointsman listens, and who may call.")] = (
        ServerBlock()
    )
    ledger: Annotated[
        LedgerBlock, Meta(description="Where the account of every request is kept.")
    ] = LedgerBlock()
    providers: Annotated[
        dict[str, ProviderBlock],
        Meta(description="Name -> provider; catalogue names need nothing but a key."),
    ] = field(default_factory=dict)
    deployments: Annotated[
        tuple[DeploymentBlock, ...],
        Meta(description="The models there are.", extra_json_schema={"minItems": 1}),
    ]
    routes: Annotated[
        tuple[RouteBlock, ...],
        Meta(description="The names clients ask for; default one, `auto`, over all that chat."),
    ] = ()
    timeouts: Annotated[
        TimeoutsBlock, Meta(description="Timeouts of every route that states none.")
    ] = TimeoutsBlock()
    breaker: Annotated[BreakerBlock, Meta(description="When a deployment is left alone.")] = (
        BreakerBlock()
    )
    retry: Annotated[
        RetryBlock, Meta(description="How many retries there may be, over all requests.")
    ] = RetryBlock()
    budgets: Annotated[
        tuple[BudgetBlock, ...], Meta(description="How much may be spent, and by whom.")
    ] = ()
    rates: Annotated[
        tuple[RateBlock, ...], Meta(description="How much may be asked at a time, and by whom.")
    ] = ()
    redis: Annotated[
        RedisBlock | None, Meta(description="A Redis or Valkey for shared rates and cache.")
    ] = None
    admin: Annotated[AdminBlock, Meta(description="The admin API, on a listener of its own.")] = (
        AdminBlock()
    )
    cache: Annotated[
        CacheBlock, Meta(description="Answers kept for the same question, within a tenant.")
    ] = CacheBlock()
    alerts: Annotated[AlertsBlock, Meta(description="Who is told of money, and when.")] = (
        AlertsBlock()
    )
    reports: Annotated[ReportsBlock, Meta(description="What reports compare with.")] = (
        ReportsBlock()
    )
