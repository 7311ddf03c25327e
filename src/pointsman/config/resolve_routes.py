"""From the file's routes to resolved ones: deployments, policy, fallback, timeouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from msgspec.structs import replace

from pointsman.config.desk import Desk
from pointsman.config.problems import Path, shown, suggest
from pointsman.config.resolve_rules import resolve_rules
from pointsman.config.schema_routes import FallbackBlock, HedgeBlock, RouteBlock, TimeoutsBlock
from pointsman.config.selection import Pool, expand, names_of
from pointsman.config.settings import Route
from pointsman.config.word_checks import check_capabilities, check_strategy, check_weights
from pointsman.domain.call import Timeouts
from pointsman.domain.deployment import Deployment
from pointsman.domain.money import from_usd
from pointsman.errors import FailureKind
from pointsman.routing.spec import FallbackSpec, HedgeSpec, PolicySpec

DEFAULT_ROUTE = RouteBlock(name="auto")
"""What there is when the file names no route."""

REASONING_FIRST_CONTENT_S = 120.0
"""How long a route with a model that reasons waits for content, unless told: such models think
unseen for a minute and more (docs/architecture.md, defaults)."""

FAILURE_KINDS: tuple[FailureKind, ...] = get_args(FailureKind)


def resolve_routes(
    blocks: Sequence[RouteBlock],
    timeouts: TimeoutsBlock,
    deployments: tuple[Deployment, ...],
    desk: Desk,
) -> tuple[Route, ...]:
    if not blocks and not desk.left_out.get("routes"):
        return (_resolve(DEFAULT_ROUTE, timeouts, deployments, ("routes",), desk),)
    _check_names(blocks, desk)
    return tuple(
        _resolve(block, timeouts, deployments, desk.path("routes", index), desk)
        for index, block in enumerate(blocks)
    )


def _check_names(blocks: Sequence[RouteBlock], desk: Desk) -> None:
    """Complain of names and aliases that two routes lay claim to."""
    taken: dict[str, str] = {}
    for index, block in enumerate(blocks):
        claims: list[tuple[str, Path]] = [(block.name, desk.path("routes", index, "name"))]
        for place, alias in enumerate(block.aliases):
            claims.append((alias, desk.path("routes", index, "aliases", place)))
        for name, path in claims:
            if name in taken:
                whose = "the same route" if taken[name] == block.name else f"route {taken[name]}"
                desk.complain(path, f"{shown(name)} is already a name of {whose}", "choose another")
            elif any(letter in name for letter in " *\t"):
                desk.complain(
                    path, f"{shown(name)} cannot name a route", "leave out blanks and `*`"
                )
            taken.setdefault(name, block.name)


def _resolve(
    block: RouteBlock,
    timeouts: TimeoutsBlock,
    deployments: tuple[Deployment, ...],
    path: Path,
    desk: Desk,
) -> Route:
    mine = _members(block, deployments, path, desk)
    everything = Pool(deployments)
    if block.baseline is not None:
        found = everything.matching(block.baseline)
        if not found and not desk.may_exist("deployments", block.baseline):
            remedy = suggest(block.baseline, names_of(deployments))
            what = f"unknown deployment {shown(block.baseline)}"
            desk.complain((*path, "baseline"), what, remedy)
    return Route(
        name=block.name,
        deployments=mine,
        policy=_policy(block, mine, deployments, path, desk),
        fallback=_fallback(block.fallback, everything, (*path, "fallback"), desk),
        timeouts=timeouts_for(mine, timeouts, block.timeouts, path=(*path, "timeouts"), desk=desk),
        aliases=block.aliases,
        hedge=_hedge(block.hedge),
        resume=block.resume,
        affinity=block.affinity,
        cache=block.cache,
        baseline=next(iter(everything.matching(block.baseline)), None) if block.baseline else None,
    )


def _hedge(block: HedgeBlock) -> HedgeSpec:
    return HedgeSpec(
        enabled=block.enabled,
        factor=block.factor,
        min_s=block.min_s,
        share=block.share,
        spend_share=block.spend_share,
        max_input_tokens=block.max_input_tokens,
        success=block.success,
    )


def _members(
    block: RouteBlock, deployments: tuple[Deployment, ...], path: Path, desk: Desk
) -> tuple[Deployment, ...]:
    """The route's deployments in the order written; all that chat where none are."""
    if block.deployments is None:
        mine = tuple(d for d in deployments if "chat" in d.capabilities)
        if not mine and deployments and not desk.left_out.get("deployments"):
            what = "no deployment can chat"
            desk.complain(path, what, "add one, or list the route's `deployments:`")
        return mine
    if not block.deployments:
        desk.complain((*path, "deployments"), "empty", "name some, or leave the key out for all")
    names = expand(block.deployments, Pool(deployments), (*path, "deployments"), desk)
    by_name = {deployment.name: deployment for deployment in deployments}
    return tuple(by_name[name] for name in names)


def _policy(
    block: RouteBlock,
    mine: tuple[Deployment, ...],
    deployments: tuple[Deployment, ...],
    path: Path,
    desk: Desk,
) -> PolicySpec:
    check_strategy(block.strategy, (*path, "strategy"), desk)
    check_weights(block.weights, (*path, "weights"), desk)
    check_capabilities(block.require, (*path, "require"), desk)
    pool = Pool(mine, f"route {block.name}", frozenset(names_of(deployments)))
    require = frozenset(block.require)
    if mine and not any(require <= deployment.capabilities for deployment in mine):
        what = f"no deployment of the route has {' and '.join(sorted(require))}"
        desk.complain((*path, "require"), what, "every request would be refused")
    places = {deployment.residency for deployment in mine}
    if block.residency is not None and mine and block.residency not in places:
        what = f"no deployment of the route keeps its data in {shown(block.residency)}"
        desk.complain((*path, "residency"), what, "write `residency:` at those that do")
    defaults = PolicySpec()
    return PolicySpec(
        strategy=block.strategy,
        weights=block.weights,
        picker=block.picker,
        order=expand(block.order, pool, (*path, "order"), desk),
        tiers=defaults.tiers if block.tiers is None else tuple(dict.fromkeys(block.tiers)),
        explore=block.explore,
        seed=block.seed,
        rules=resolve_rules(block.rules, pool, (*path, "rules"), desk),
        require=require,
        residency=block.residency,
        max_cost_nano=None if block.max_cost_usd is None else from_usd(block.max_cost_usd),
        max_first_content_s=block.max_first_content_s,
        sensitive_tiers=tuple(dict.fromkeys(block.sensitive_tiers)),
    )


def _fallback(block: FallbackBlock, pool: Pool, path: Path, desk: Desk) -> FallbackSpec:
    """A chain may name any deployment of the file; constraints are checked again anyway."""
    by_kind: dict[FailureKind, tuple[str, ...]] = {}
    for kind in FAILURE_KINDS:
        patterns: tuple[str, ...] | None = getattr(block, kind)
        if patterns is not None:
            by_kind[kind] = expand(patterns, pool, (*path, kind), desk)
    filtered = bool(by_kind.get("content_filter"))
    if filtered and block.on_content_filter is False:
        desk.complain(
            (*path, "on_content_filter"),
            "false, but `content_filter` has a chain",
            "leave one of them out",
        )
    return FallbackSpec(
        enabled=block.enabled,
        max_attempts=block.max_attempts,
        chain=None if block.chain is None else expand(block.chain, pool, (*path, "chain"), desk),
        by_kind=by_kind,
        retry_same=block.retry_same,
        on_content_filter=filtered if block.on_content_filter is None else block.on_content_filter,
    )


def timeouts_for(
    deployments: Sequence[Deployment], *blocks: TimeoutsBlock, path: Path, desk: Desk
) -> Timeouts:
    """Lay the blocks over the defaults for these deployments; `path` is the last block's."""
    reasons = any("reasoning" in deployment.capabilities for deployment in deployments)
    times = Timeouts(first_content_s=REASONING_FIRST_CONTENT_S) if reasons else Timeouts()
    for block in blocks:
        times = _laid(times, block)
    for key in _stated(blocks[-1]):
        seconds: float = getattr(times, key)
        if seconds > times.total_s:
            what = f"{seconds:g} s is longer than total_s, {times.total_s:g} s"
            desk.complain((*path, key), what, "lower it or raise total_s")
    return times


def _laid(base: Timeouts, block: TimeoutsBlock) -> Timeouts:
    """Lay the stated ones over the base; a total pulls down those that are not stated."""
    stated = _stated(block)
    times = replace(base, **stated)
    late = {
        key: times.total_s
        for key in ("connect_s", "first_content_s", "idle_s", "whole_s")
        if key not in stated and getattr(times, key) > times.total_s
    }
    return replace(times, **late)


def _stated(block: TimeoutsBlock) -> dict[str, float]:
    keys = ("connect_s", "first_content_s", "idle_s", "whole_s", "total_s")
    return {key: value for key in keys if (value := getattr(block, key)) is not None}
