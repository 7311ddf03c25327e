"""The blocks about money: budgets, rates, who administers, cache, alerts."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from pointsman.config.schema_words import (
    Block,
    Count,
    PositiveUsd,
    Seconds,
    SecretRef,
    Share,
    Usd,
    Word,
)
from pointsman.domain.access import Role
from pointsman.domain.budgets import AtCap, Scope
from pointsman.domain.windows import Period

Match = Annotated[
    tuple[Word, ...] | None,
    Meta(description="Only these have the limit; default all, each with an account of its own."),
]


class BudgetBlock(Block, frozen=True, kw_only=True):
    """How much may be spent, within a window, by whom."""

    name: Annotated[Word, Meta(description="What errors, reports and alerts call it.")]
    scope: Annotated[Scope, Meta(description="Whose spending counts together.")]
    match: Match = None
    tag: Annotated[Word | None, Meta(description="With `scope: tag`, the tag's name.")] = None
    tenant: Annotated[
        Word | None, Meta(description="Count only this tenant's requests; default everybody's.")
    ] = None
    limit_usd: Annotated[Usd, Meta(description="The most that may be spent, in USD.")]
    window: Annotated[Period, Meta(description="How often it begins anew.")] = "month"
    rolling: Annotated[
        bool, Meta(description="Look back by the window's length instead of by the calendar.")
    ] = False
    timezone: Annotated[
        Word, Meta(description="Where days begin, such as Europe/Berlin; for calendar windows.")
    ] = "UTC"
    mode: Annotated[
        Literal["strict", "tight"],
        Meta(
            description="strict: never overspent, the longest answer is held; tight: the expected "
            "tokens are held, fewer refusals near the limit."
        ),
    ] = "strict"
    at_cap: Annotated[AtCap, Meta(description="What follows where a request does not fit.")] = (
        "reject"
    )
    queue_s: Annotated[
        Seconds, Meta(description="With `at_cap: queue`, the longest wait, in seconds.")
    ] = 5.0
    alert_at: Annotated[
        tuple[Share, ...], Meta(description="Shares of the limit that are told, once a window.")
    ] = (0.5, 0.8, 1.0)


class RateBlock(Block, frozen=True, kw_only=True):
    """How much may be asked at a time, by whom, over all workers and replicas together."""

    name: Annotated[Word, Meta(description="What errors and headers call it.")]
    scope: Annotated[Scope, Meta(description="Whose requests count together.")]
    match: Match = None
    tag: Annotated[Word | None, Meta(description="With `scope: tag`, the tag's name.")] = None
    tenant: Annotated[
        Word | None, Meta(description="Count only this tenant's requests; default everybody's.")
    ] = None
    requests_per_minute: Annotated[
        Count | None, Meta(description="Requests in any 60 seconds.")
    ] = None
    tokens_per_minute: Annotated[
        Count | None,
        Meta(description="Tokens in and out in any 60 seconds; held by estimate, then corrected."),
    ] = None
    max_in_flight: Annotated[Count | None, Meta(description="Requests at once.")] = None
    usd_per_minute: Annotated[PositiveUsd | None, Meta(description="USD in any 60 seconds.")] = None
    at_cap: Annotated[
        Literal["reject", "queue"], Meta(description="What follows where a request does not fit.")
    ] = "reject"
    queue_s: Annotated[
        Seconds, Meta(description="With `at_cap: queue`, the longest wait, in seconds.")
    ] = 5.0


class RedisBlock(Block, frozen=True, kw_only=True):
    """A Redis or Valkey for shared rates and cache; never for money or keys."""

    url: Annotated[SecretRef, Meta(description="redis://…, as env:NAME or file:PATH.")]
    timeout_s: Annotated[
        Seconds, Meta(description="Longest wait for it, in seconds; then we go on without.")
    ] = 0.05
    rates: Annotated[bool, Meta(description="Count rates there.")] = True


class AdminTokenBlock(Block, frozen=True, kw_only=True):
    """Who may administer; these tokens open nothing else, and no API key opens this."""

    token: Annotated[SecretRef, Meta(description="The token itself, as env:NAME or file:PATH.")]
    name: Annotated[Word, Meta(description="Who it is, for the audit log.")]
    role: Annotated[Role, Meta(description="What it may do.")]
    tenant: Annotated[
        Word | None, Meta(description="Of a tenant's role, whose; no meaning for the others.")
    ] = None


class AdminBlock(Block, frozen=True, kw_only=True):
    """The admin API, on a listener of its own; without tokens there is none."""

    host: Annotated[Word, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="Port to listen on.")] = 4001
    tokens: Annotated[tuple[AdminTokenBlock, ...], Meta(description="Who may administer.")] = ()


class CacheBlock(Block, frozen=True, kw_only=True):
    """Answers kept for the same question, within a tenant."""

    mode: Annotated[
        Literal["off", "exact", "semantic"],
        Meta(
            description="exact: the same request to the byte of its meaning; semantic: also one "
            "in nearly the same words."
        ),
    ] = "off"
    store: Annotated[
        Literal["memory", "redis"], Meta(description="memory: of each worker; redis: shared.")
    ] = "memory"
    ttl_s: Annotated[
        float, Meta(gt=0, le=31_536_000, description="How long an answer is kept, in seconds.")
    ] = 3600.0
    most_mb: Annotated[
        float, Meta(gt=0, description="Memory of each worker for answers, in MiB.")
    ] = 64.0
    similarity: Annotated[
        Share, Meta(description="With semantic, how alike two requests have to be, up to 1.")
    ] = 0.95
    tools: Annotated[bool, Meta(description="Keep answers that call tools as well.")] = False


class SinkBlock(Block, frozen=True, kw_only=True):
    """Where alerts go."""

    name: Annotated[Word, Meta(description="What `alerts.send` calls it.")]
    kind: Annotated[Literal["log", "webhook", "slack", "smtp"], Meta(description="How it is told.")]
    url: Annotated[
        SecretRef | None, Meta(description="Of a webhook or Slack, as env:NAME or file:PATH.")
    ] = None
    allow_private: Annotated[
        bool, Meta(description="Let the URL's name lead into a private network.")
    ] = False
    secret: Annotated[
        SecretRef | None, Meta(description="Signs a webhook's body (HMAC-SHA256).")
    ] = None
    host: Annotated[Word | None, Meta(description="The mail server.")] = None
    port: Annotated[int, Meta(ge=1, le=65_535, description="Its port.")] = 587
    tls: Annotated[
        Literal["starttls", "tls", "none"], Meta(description="How mail is encrypted.")
    ] = "starttls"
    user: Annotated[Word | None, Meta(description="Who logs in at the mail server.")] = None
    password: Annotated[
        SecretRef | None, Meta(description="Their password, as env:NAME or file:PATH.")
    ] = None
    sender: Annotated[Word | None, Meta(description="From whom mail comes.")] = None
    to: Annotated[tuple[Word, ...], Meta(description="To whom mail goes.")] = ()
    least: Annotated[
        Literal["info", "warning", "critical"], Meta(description="Tell nothing less than this.")
    ] = "info"


class AnomalyBlock(Block, frozen=True, kw_only=True):
    """When spending is out of the ordinary."""

    enabled: Annotated[bool, Meta(description="Look for it at all.")] = True
    by: Annotated[
        tuple[Literal["key", "user", "app", "team", "tenant", "route", "model"], ...],
        Meta(description="Each value of these is watched by itself."),
    ] = ("key", "model")
    every_s: Annotated[
        Seconds, Meta(description="Spending is summed over this long, in seconds.")
    ] = 300.0
    least_usd: Annotated[
        Usd, Meta(description="A rise by less is not told, in USD over `every_s`.")
    ] = 0.10


class LoopBlock(Block, frozen=True, kw_only=True):
    """An application that asks the same again and again without an end."""

    enabled: Annotated[
        bool, Meta(description="Look for it, where there are `sinks` or it is to be throttled.")
    ] = True
    repeats: Annotated[
        int, Meta(ge=3, description="Nearly equal requests in `within_s` that are a loop.")
    ] = 30
    within_s: Annotated[Seconds, Meta(description="In how many seconds.")] = 60.0
    throttle: Annotated[
        bool, Meta(description="Hold the loop to one request in 10 s, with 429, until it ends.")
    ] = False


class AlertsBlock(Block, frozen=True, kw_only=True):
    """Who is told of money, and when."""

    sinks: Annotated[tuple[SinkBlock, ...], Meta(description="Where alerts go.")] = ()
    burn_rate: Annotated[
        float,
        Meta(
            gt=1,
            description="Told where a budget is spent this many times faster than its window "
            "allows, over the last hour and the last five minutes.",
        ),
    ] = 6.0
    forecast: Annotated[
        bool, Meta(description="Told where a budget will not last until its window ends.")
    ] = True
    repeat_s: Annotated[
        Seconds, Meta(description="An alert that stands is told again after this, in seconds.")
    ] = 21_600.0
    anomaly: Annotated[AnomalyBlock, Meta(description="When spending is out of the ordinary.")] = (
        AnomalyBlock()
    )
    loop: Annotated[LoopBlock, Meta(description="When an application runs in circles.")] = (
        LoopBlock()
    )


class ReportsBlock(Block, frozen=True, kw_only=True):
    """What reports compare with."""

    baseline: Annotated[
        Word | None,
        Meta(
            description="The deployment that savings are measured against, on every route; default "
            "the route's own."
        ),
    ] = None


class KeyLimits(Block, frozen=True, kw_only=True):
    """What one key may use; for more than one key write `budgets` and `rates`."""

    budget_usd: Annotated[Usd | None, Meta(description="The most it may spend, in USD.")] = None
    budget_window: Annotated[Period, Meta(description="How often that begins anew.")] = "month"
    max_cost_usd: Annotated[
        Usd | None, Meta(description="The most one request may cost, in USD.")
    ] = None
    requests_per_minute: Annotated[
        Count | None, Meta(description="Requests in any 60 seconds.")
    ] = None
    tokens_per_minute: Annotated[
        Count | None, Meta(description="Tokens in and out in any 60 seconds.")
    ] = None
    usd_per_minute: Annotated[PositiveUsd | None, Meta(description="USD in any 60 seconds.")] = None
    budgets: Annotated[
        tuple[Word, ...], Meta(description="Budgets with `scope: named` that it draws on.")
    ] = ()
