"""The file's blocks about routes: policy, rules, fallback, timeouts."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from pointsman.config.schema_words import (
    Block,
    PositiveUsd,
    Residency,
    Seconds,
    Share,
    Tokens,
    Weight,
    Word,
)
from pointsman.domain.deployment import Tier
from pointsman.routing.signals import Task
from pointsman.routing.spec import PickerName


class WhenBlock(Block, frozen=True, kw_only=True):
    """When a rule applies: every key that is written must hold."""

    task: Annotated[
        tuple[Task, ...], Meta(description="What the request is for: one of these.")
    ] = ()
    language: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[a-z]{2,3}$")], ...],
        Meta(description="Language of the request: one of these ISO 639-1 codes."),
    ] = ()
    sensitive: Annotated[
        bool | None, Meta(description="A secret or personal data was found in it, or not.")
    ] = None
    needs: Annotated[
        tuple[str, ...], Meta(description="Capabilities its content needs: all of these.")
    ] = ()
    input_tokens_above: Annotated[
        int | None, Meta(description="Input is longer than this, in tokens.")
    ] = None
    input_tokens_below: Annotated[
        int | None, Meta(description="Input is shorter than this, in tokens.")
    ] = None
    tags: Annotated[
        dict[str, str], Meta(description="Tags of the request or key: all of these.")
    ] = field(default_factory=dict)


class UseBlock(Block, frozen=True, kw_only=True):
    """What a rule changes."""

    tiers: Annotated[
        tuple[Tier, ...] | None, Meta(description="Only deployments of these tiers.")
    ] = None
    deployments: Annotated[
        tuple[str, ...] | None,
        Meta(description="Only these deployments: names, provider/* or tier:local."),
    ] = None
    strategy: Annotated[str | None, Meta(description="Another strategy than the route's.")] = None
    weights: Annotated[
        dict[str, Weight] | None, Meta(description="Other weights than the route's.")
    ] = None


class RuleBlock(Block, frozen=True, kw_only=True):
    """A content rule; the first whose `when` holds is applied."""

    name: Annotated[Word, Meta(description="What explanations call the rule.")]
    when: Annotated[WhenBlock, Meta(description="When it applies.")]
    use: Annotated[UseBlock, Meta(description="What it changes.")]


class FallbackBlock(Block, frozen=True, kw_only=True):
    """What follows a failed attempt. Entries are names, provider/* or tier:local."""

    enabled: Annotated[bool, Meta(description="Try elsewhere at all.")] = True
    max_attempts: Annotated[
        int, Meta(ge=1, le=20, description="Attempts in all, the first included.")
    ] = 3
    chain: Annotated[
        tuple[str, ...] | None,
        Meta(description="Tried in this order after the chosen one; default the route's ranking."),
    ] = None
    throttled: Annotated[
        tuple[str, ...] | None, Meta(description="Another chain after 429; [] gives up at once.")
    ] = None
    overloaded: Annotated[
        tuple[str, ...] | None, Meta(description="Another chain after 503 and 529.")
    ] = None
    unavailable: Annotated[
        tuple[str, ...] | None,
        Meta(description="Another chain after other 5xx and lost connections."),
    ] = None
    timeout: Annotated[
        tuple[str, ...] | None, Meta(description="Another chain after one of our timers.")
    ] = None
    refused: Annotated[
        tuple[str, ...] | None,
        Meta(description="Another chain after 401, 402, 403 and 404 of the provider."),
    ] = None
    malformed: Annotated[
        tuple[str, ...] | None, Meta(description="Another chain after an answer that is no answer.")
    ] = None
    context_length: Annotated[
        tuple[str, ...] | None,
        Meta(description="Another chain where the input was too long; default larger windows."),
    ] = None
    content_filter: Annotated[
        tuple[str, ...] | None,
        Meta(description="Another chain after the provider's content filter."),
    ] = None
    retry_same: Annotated[
        int,
        Meta(ge=0, le=10, description="Further attempts on the same one when nothing is left."),
    ] = 1
    on_content_filter: Annotated[
        bool | None,
        Meta(description="Try elsewhere after a content filter; default only with such a chain."),
    ] = None


class TimeoutsBlock(Block, frozen=True, kw_only=True):
    """Seconds."""

    connect_s: Annotated[
        Seconds | None, Meta(description="To open a connection, in seconds; default 2.")
    ] = None
    first_content_s: Annotated[
        Seconds | None,
        Meta(
            description="From sending to the first content, in seconds; default 30, and 120 on a "
            "route with a model that reasons."
        ),
    ] = None
    idle_s: Annotated[
        Seconds | None, Meta(description="Between two pieces of a stream, in seconds; default 30.")
    ] = None
    whole_s: Annotated[
        Seconds | None,
        Meta(
            description="For a whole answer that is not streamed, before the next deployment is "
            "tried, in seconds; default 120."
        ),
    ] = None
    total_s: Annotated[
        Seconds | None,
        Meta(description="The whole request with every fallback, in seconds; default 600."),
    ] = None


class HedgeBlock(Block, frozen=True, kw_only=True):
    """A second attempt elsewhere while the first one is late; the later one is called off."""

    enabled: Annotated[bool, Meta(description="Hedge at all.")] = False
    factor: Annotated[
        float,
        Meta(
            ge=1,
            le=10,
            description="How late: this many times the deployment's own 95th percentile to first "
            "content.",
        ),
    ] = 1.5
    min_s: Annotated[Seconds, Meta(description="Never before this, in seconds.")] = 1.0
    share: Annotated[Share, Meta(description="Most hedges, as a share of requests.")] = 0.03
    spend_share: Annotated[
        Share, Meta(description="Most they may cost, as a share of the last hour's cost.")
    ] = 0.02
    max_input_tokens: Annotated[
        Tokens, Meta(description="No hedge for longer inputs: they are dear, and often cached.")
    ] = 32_000
    success: Annotated[
        Share, Meta(description="No hedge on a deployment that succeeds less often than this.")
    ] = 0.95


class RouteBlock(Block, frozen=True, kw_only=True):
    """A model name that clients ask for."""

    name: Annotated[Word, Meta(description="The model name that clients ask for.")]
    aliases: Annotated[tuple[Word, ...], Meta(description="Other names for the route.")] = ()
    deployments: Annotated[
        tuple[str, ...] | None,
        Meta(
            description="Names, provider/* or tier:local, in order; default every deployment that "
            "chats."
        ),
    ] = None
    strategy: Annotated[str, Meta(description="How the route chooses.")] = "tiers"
    weights: Annotated[
        dict[str, Weight],
        Meta(description="Scorer -> weight: how much cost, latency, quality … count."),
    ] = field(default_factory=dict)
    picker: Annotated[PickerName | None, Meta(description="How one is taken from the ranked.")] = (
        None
    )
    order: Annotated[
        tuple[str, ...], Meta(description="Order of preference under strategy static.")
    ] = ()
    tiers: Annotated[
        tuple[Tier, ...] | None,
        Meta(description="Order of preference under strategy tiers; default workhorse first."),
    ] = None
    explore: Annotated[
        Share, Meta(description="Share of requests for deployments measured too little.")
    ] = 0.05
    seed: Annotated[int | None, Meta(description="Makes random choices repeatable, for tests.")] = (
        None
    )
    require: Annotated[
        tuple[str, ...], Meta(description="Capabilities every deployment must have here.")
    ] = ()
    residency: Annotated[
        Residency | None, Meta(description="Where the data must stay, such as `eu`.")
    ] = None
    max_cost_usd: Annotated[
        PositiveUsd | None,
        Meta(description="The most one request may cost with all its attempts, in USD."),
    ] = None
    max_first_content_s: Annotated[
        Seconds | None,
        Meta(description="Longest expected wait for the first content, in seconds."),
    ] = None
    sensitive_tiers: Annotated[
        tuple[Tier, ...],
        Meta(description="Where requests with secrets or personal data may go."),
    ] = ("local",)
    rules: Annotated[
        tuple[RuleBlock, ...], Meta(description="Content rules; the first that holds is applied.")
    ] = ()
    fallback: Annotated[FallbackBlock, Meta(description="What follows a failed attempt.")] = (
        FallbackBlock()
    )
    timeouts: Annotated[
        TimeoutsBlock, Meta(description="This route's timeouts, over the file's.")
    ] = TimeoutsBlock()
    hedge: Annotated[
        HedgeBlock, Meta(description="A second attempt elsewhere while the first one is late.")
    ] = HedgeBlock()
    resume: Annotated[
        bool,
        Meta(
            description="Continue an answer that was cut off on another deployment: text only, "
            "never inside a tool call."
        ),
    ] = False
    affinity: Annotated[
        bool,
        Meta(
            description="Keep conversations with the same beginning where it was read before, "
            "while that is not twice as slow."
        ),
    ] = False
    baseline: Annotated[
        Word | None,
        Meta(description="The deployment savings are measured against; default the dearest."),
    ] = None
    cache: Annotated[
        Literal["off", "exact", "semantic"] | None,
        Meta(description="Keep answers for the same question; default as the file's `cache`."),
    ] = None
