"""From the file's content rules to resolved ones."""

from __future__ import annotations

from collections.abc import Sequence

from pointsman.config.desk import Desk
from pointsman.config.problems import Path, shown, suggest
from pointsman.config.schema_routes import RuleBlock, UseBlock, WhenBlock
from pointsman.config.selection import Pool, expand
from pointsman.config.word_checks import check_capabilities, check_strategy, check_weights
from pointsman.routing.spec import Condition, RuleSpec


def resolve_rules(
    blocks: Sequence[RuleBlock], pool: Pool, path: Path, desk: Desk
) -> tuple[RuleSpec, ...]:
    rules: list[RuleSpec] = []
    taken: set[str] = set()
    for place, block in enumerate(blocks):
        at = (*path, place)
        if block.name in taken:
            desk.complain((*at, "name"), f"{shown(block.name)} names two rules", "choose another")
        taken.add(block.name)
        rules.append(_resolve(block, pool, at, desk))
    return tuple(rules)


def _resolve(block: RuleBlock, pool: Pool, path: Path, desk: Desk) -> RuleSpec:
    use, at = block.use, (*path, "use")
    if use == UseBlock():
        desk.complain(
            at, "changes nothing", "write `tiers`, `deployments`, `strategy` or `weights`"
        )
    if use.strategy is not None:
        check_strategy(use.strategy, (*at, "strategy"), desk)
    check_weights(use.weights or {}, (*at, "weights"), desk)
    deployments = None
    if use.deployments is not None:
        deployments = expand(use.deployments, pool, (*at, "deployments"), desk)
    if use.tiers is not None and pool.deployments:
        allowed = {
            d.name
            for d in pool.deployments
            if d.tier in use.tiers and (deployments is None or d.name in deployments)
        }
        if not allowed and not desk.left_out.get("deployments"):
            what = f"no deployment of {pool.within} is left by tiers {', '.join(use.tiers)}"
            desk.complain((*at, "tiers"), what, "requests under this rule would be refused")
    return RuleSpec(
        name=block.name,
        when=_condition(block.when, (*path, "when"), desk),
        tiers=use.tiers,
        deployments=deployments,
        strategy=use.strategy,
        weights=use.weights,
    )


def _condition(block: WhenBlock, path: Path, desk: Desk) -> Condition:
    check_capabilities(block.needs, (*path, "needs"), desk)
    for place, code in enumerate(block.language):
        if code not in desk.known.languages:
            remedy = suggest(code, desk.known.languages, limit=40)
            desk.complain((*path, "language", place), f"cannot tell {shown(code)}", remedy)
    above, below = block.input_tokens_above, block.input_tokens_below
    if above is not None and below is not None and below - above < 2:
        what = f"no length is above {above} and below {below}"
        desk.complain((*path, "input_tokens_below"), what, "correct one of them")
    if below is not None and below < 1:
        desk.complain((*path, "input_tokens_below"), f"nothing is shorter than {below}", "raise it")
    return Condition(
        task=frozenset(block.task),
        language=frozenset(block.language),
        sensitive=block.sensitive,
        needs=frozenset(block.needs),
        input_tokens_above=above,
        input_tokens_below=below,
        tags=block.tags,
    )
