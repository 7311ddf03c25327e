"""Compile what an operator wrote about a route; refuse, by name, what cannot work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Final, get_args

from pointsman.domain.deployment import CAPABILITIES, TIERS, Deployment
from pointsman.domain.request import Preference
from pointsman.errors import ConfigError
from pointsman.routing.classify import LANGUAGES
from pointsman.routing.features import Questions
from pointsman.routing.filters import Constraints, matches
from pointsman.routing.pickers import PICKERS, Odds
from pointsman.routing.scorers import MEASURED, SCORERS, Ranks, Scorer
from pointsman.routing.sift import Terms, terms_of
from pointsman.routing.signals import Task
from pointsman.routing.spec import Condition, PickerName, PolicySpec, RuleSpec
from pointsman.routing.strategies import PREFERENCES, STRATEGIES

COLD_BELOW: Final = 5
"""A deployment with fewer samples than this is explored."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to score and pick. `scorers` are (name, weight, function); weights sum to 1."""

    strategy: str
    scorers: tuple[tuple[str, float, Scorer], ...]
    picker: PickerName
    odds: Odds
    explore: float = 0.0
    explore_tier_only: bool = False
    note: str = ""
    names: tuple[tuple[str, float], ...] = ()
    """(name, weight) of the scorers, as a Decision shows them."""
    weights: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A content rule with what it demands and its variants, one for each preference."""

    name: str
    when: Condition
    constraints: Constraints
    variants: Mapping[Preference | None, Variant]


@dataclass(frozen=True, slots=True)
class Policy:
    """A route's way to choose, ready to be asked by `decide`.

    terms: what of `deployments` never changes, taken apart once (sift.py). questions: what has to
    be read out of the content. notes: what an operator should know and
    `check` prints, such as a constraint that no deployment of the route can meet.
    """

    spec: PolicySpec
    deployments: Sequence[Deployment]
    terms: tuple[Terms, ...]
    questions: Questions
    constraints: Constraints
    variants: Mapping[Preference | None, Variant]
    rules: tuple[Rule, ...] = ()
    ranks: Ranks = Ranks()
    notes: tuple[str, ...] = field(default=())

    @property
    def needs(self) -> Questions:
        """What `features_of` must find out for this policy."""
        return self.questions

    def __repr__(self) -> str:
        rules = f", {len(self.rules)} rules" if self.rules else ""
        return f"Policy({self.spec.strategy}, picks {self.variants[None].picker}{rules})"


def compile_policy(spec: PolicySpec, deployments: Sequence[Deployment]) -> Policy:
    """Compile `spec` for a route's deployments.

    Raises ConfigError for a strategy, scorer, picker, capability, tier, task, language or
    deployment nobody knows, naming it and what there is.
    """
    if not 0 <= spec.explore <= 1:
        raise ConfigError(f"policy.explore is {spec.explore}; give a share from 0 to 1")
    _known("tier", spec.tiers, TIERS, "policy.tiers")
    _known("tier", spec.sensitive_tiers, TIERS, "policy.sensitive_tiers")
    _capabilities(spec.require, "policy.require")
    sure_tiers = tuple(tier for tier in TIERS if tier in spec.sensitive_tiers)
    notes: list[str] = []
    guarded = len(sure_tiers) < len(TIERS)
    if guarded and not any(deployment.tier in sure_tiers for deployment in deployments):
        # Nothing to keep it on: refusing each request with an e-mail address in it would make
        # the route useless. What a caller declares sensitive is still refused.
        guarded = False
        notes.append(
            f"no deployment of tier {' or '.join(sure_tiers) or 'none'}: secrets and personal data "
            "found in requests are not kept from any tier; add one, or state all tiers in "
            "policy.sensitive_tiers"
        )
    base = Constraints(
        require=spec.require,
        residency=spec.residency,
        max_cost_nano=spec.max_cost_nano,
        max_first_content_s=spec.max_first_content_s,
        sensitive_tiers=sure_tiers if guarded else None,
        declared_tiers=sure_tiers if len(sure_tiers) < len(TIERS) else ("local",),
    )
    order = [
        deployment.name
        for pattern in spec.order
        for deployment in _targets(pattern, deployments, "policy.order")
    ] or [deployment.name for deployment in deployments]
    variants = _variants(spec, spec.strategy, None, "policy")
    rules = tuple(_rule(rule, spec, base, deployments) for rule in spec.rules)
    asked = [rule.when for rule in spec.rules]
    ways = (variants, *(rule.variants for rule in rules))
    return Policy(
        spec=spec,
        deployments=deployments,
        terms=tuple(terms_of(each) for each in deployments),
        questions=Questions(
            task=any(when.task for when in asked)
            or any(STRATEGIES[way[None].strategy].reads_task for way in ways)
            or any(name == "capability" for way in ways for name, _, _ in way[None].scorers),
            language=any(when.language for when in asked),
            sensitivity=guarded or any(when.sensitive is not None for when in asked),
        ),
        constraints=base,
        variants=variants,
        rules=rules,
        ranks=Ranks(tiers=_evenly(spec.tiers, len(TIERS)), order=_evenly(order, len(order) + 1)),
        notes=tuple(notes),
    )


def _variants(
    spec: PolicySpec, strategy: str, weights: Mapping[str, float] | None, where: str
) -> Mapping[Preference | None, Variant]:
    """Compile the strategy's own way and one for each preference."""
    _known("strategy", (strategy,), STRATEGIES, f"{where}.strategy")
    preset = STRATEGIES[strategy]
    own = spec.weights if weights is None and strategy == spec.strategy else weights or {}
    # Stated weights change the preset's; those of hybrid are its whole meaning and replace them.
    mixed = own if own and strategy == "hybrid" else {**preset.weights, **own}
    picker = preset.picker
    if spec.picker is not None and strategy == spec.strategy:
        _known("picker", (spec.picker,), PICKERS, "policy.picker")
        picker = spec.picker
    plain = _variant(strategy, mixed, picker, spec.explore, preset.explore, f"{where}.weights")
    found: dict[Preference | None, Variant] = {None: plain}
    for prefer in get_args(Preference):
        found[prefer] = (
            _variant(strategy, PREFERENCES[prefer], "best", spec.explore, preset.explore, "prefer")
            if preset.yields
            else replace(plain, note=f"strategy {strategy} does not yield to prefer {prefer}")
        )
    return found


def _variant(
    strategy: str,
    weights: Mapping[str, float],
    picker: PickerName,
    explore: float,
    scope: str,
    where: str,
) -> Variant:
    _known("scorer", weights, SCORERS, where)
    for name, weight in weights.items():
        if not isfinite(weight) or weight < 0:
            raise ConfigError(f"{where}.{name} is {weight}; give a number from 0 up")
    total = sum(weights.values())
    if total <= 0:
        raise ConfigError(f"{where}: all weights are 0; give one of them a weight")
    used = {name: weight / total for name, weight in weights.items() if weight > 0}
    explores = scope != "no" and not MEASURED.isdisjoint(used)
    return Variant(
        strategy=strategy,
        scorers=tuple((name, weight, SCORERS[name]) for name, weight in used.items()),
        picker=picker,
        odds=PICKERS[picker],
        explore=explore if explores and picker in ("best", "power_of_two") else 0.0,
        explore_tier_only=scope == "tier",
        names=tuple(used.items()),
        weights=tuple(used.values()),
    )


def _rule(
    rule: RuleSpec, spec: PolicySpec, base: Constraints, deployments: Sequence[Deployment]
) -> Rule:
    where = f"policy.rules[{rule.name}]"
    _known("task", rule.when.task, get_args(Task), f"{where}.when.task")
    _known("language", rule.when.language, LANGUAGES, f"{where}.when.language")
    _capabilities(rule.when.needs, f"{where}.when.needs")
    _known("tier", rule.tiers or (), TIERS, f"{where}.tiers")
    targets = rule.deployments
    return Rule(
        name=rule.name,
        when=rule.when,
        constraints=replace(
            base,
            rule=rule.name,
            rule_tiers=rule.tiers,
            rule_deployments=None
            if targets is None
            else frozenset(
                deployment.name
                for pattern in targets
                for deployment in _targets(pattern, deployments, f"{where}.deployments")
            ),
        ),
        variants=_variants(spec, rule.strategy or spec.strategy, rule.weights, where),
    )


def _targets(pattern: str, deployments: Sequence[Deployment], where: str) -> list[Deployment]:
    found = [deployment for deployment in deployments if matches(pattern, deployment)]
    if not found:
        raise _unknown("deployment", pattern, (d.name for d in deployments), where)
    return found


def _capabilities(names: Iterable[str], where: str) -> None:
    for name in sorted(names):
        if name not in CAPABILITIES and not name.startswith("x-"):
            raise _unknown("capability", name, (*CAPABILITIES, "x-… (your own)"), where)


def _known(what: str, names: Iterable[str], known: Iterable[str], where: str) -> None:
    there = tuple(known)
    for name in sorted(names):
        if name not in there:
            raise _unknown(what, name, there, where)


def _unknown(what: str, name: str, known: Iterable[str], where: str) -> ConfigError:
    return ConfigError(
        f"{where}: unknown {what} {name!r}; known are {', '.join(known)}", param=where
    )


def _evenly(names: Sequence[str], steps: int) -> Mapping[str, float]:
    """Give the first 1 and each next one a step less; the first mention of a name counts."""
    gap = 1 / max(1, steps - 1)
    return {name: max(0.0, 1 - gap * i) for i, name in reversed(list(enumerate(names)))}
