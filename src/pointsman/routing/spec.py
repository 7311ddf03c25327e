"""What an operator writes about a route, resolved and validated; policy.py compiles it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pointsman.domain.deployment import Tier
from pointsman.errors import FailureKind

PickerName = Literal["best", "weighted", "random", "round_robin", "power_of_two", "sticky"]


@dataclass(frozen=True, slots=True)
class Condition:
    """When a rule applies: every stated part must hold; None and empty match anything."""

    task: frozenset[str] = frozenset()
    language: frozenset[str] = frozenset()
    sensitive: bool | None = None
    needs: frozenset[str] = frozenset()
    input_tokens_above: int | None = None
    input_tokens_below: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """A content rule: under `when`, only `tiers` and `deployments` may answer (where stated),
    and `strategy` or `weights` replace the route's (where stated). The first rule wins."""

    name: str
    when: Condition
    tiers: tuple[Tier, ...] | None = None
    deployments: tuple[str, ...] | None = None
    strategy: str | None = None
    weights: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """How a route chooses. `strategy` is a name in `routing.policy.STRATEGIES`.

    weights: scorer -> weight, for hybrid, or to change a strategy's own. order: deployments for
    static. tiers: order of preference for tiers. explore: the share of requests in [0, 1] that
    go to deployments measured too little. Hard limits hold whatever the score: require,
    residency, max_cost_nano (per request), max_first_content_s (expected).
    """

    strategy: str = "tiers"
    weights: Mapping[str, float] = field(default_factory=dict)
    picker: PickerName | None = None
    order: tuple[str, ...] = ()
    tiers: tuple[Tier, ...] = ("workhorse", "frontier", "local")
    explore: float = 0.05
    seed: int | None = None
    rules: tuple[RuleSpec, ...] = ()
    require: frozenset[str] = frozenset()
    residency: str | None = None
    max_cost_nano: int | None = None
    max_first_content_s: float | None = None
    sensitive_tiers: tuple[Tier, ...] = ("local",)
    """Where a request with a secret or personal data in it may go; all tiers turns it off."""


@dataclass(frozen=True, slots=True)
class HedgeSpec:
    """When a second attempt is made elsewhere while the first is late.

    After max(factor * the deployment's 95th percentile to first content, min_s) seconds; hedges
    are at most `share` of requests and `spend_share` of the last hour's cost; not for inputs
    above `max_input_tokens`, nor while a deployment's share of successes is below `success`.
    """

    enabled: bool = False
    factor: float = 1.5
    min_s: float = 1.0
    share: float = 0.03
    spend_share: float = 0.02
    max_input_tokens: int = 32_000
    success: float = 0.95


@dataclass(frozen=True, slots=True)
class FallbackSpec:
    """What follows a failed attempt.

    chain: deployments to try in this order after the chosen one; None takes the decision's own
    ranking, then the next tiers. by_kind: another chain for one kind of failure; an empty one
    means that this kind does not fall back. retry_same: attempts on the same deployment after
    `unavailable` and `overloaded` when nothing else is left. on_content_filter: try elsewhere.
    """

    enabled: bool = True
    max_attempts: int = 3
    chain: tuple[str, ...] | None = None
    by_kind: Mapping[FailureKind, tuple[str, ...]] = field(default_factory=dict)
    retry_same: int = 1
    on_content_filter: bool = False
