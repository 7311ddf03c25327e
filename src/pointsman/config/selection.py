"""Names of deployments as people write them: `name`, `provider/model`, `provider/*`, `tier:x`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pointsman.config.desk import Desk
from pointsman.config.problems import Path, shown, suggest
from pointsman.domain.deployment import TIERS, Deployment


@dataclass(frozen=True, slots=True)
class Pool:
    """Deployments to choose from. `within` says which, for a complaint: "" for all there are.

    `elsewhere` are names that exist but not in this pool.
    """

    deployments: tuple[Deployment, ...]
    within: str = ""
    elsewhere: frozenset[str] = frozenset()

    def matching(self, pattern: str) -> tuple[str, ...]:
        """Expand one pattern, in the order of the pool."""
        if pattern.startswith("tier:"):
            return tuple(d.name for d in self.deployments if d.tier == pattern[5:])
        if pattern.endswith("/*"):
            return tuple(d.name for d in self.deployments if d.provider == pattern[:-2])
        exact = tuple(d.name for d in self.deployments if d.name == pattern)
        return exact or tuple(
            d.name for d in self.deployments if f"{d.provider}/{d.model}" == pattern
        )


def expand(patterns: Sequence[str], pool: Pool, path: Path, desk: Desk) -> tuple[str, ...]:
    """Expand patterns in their order, each deployment once; complain of those that match none."""
    names: dict[str, None] = {}
    for place, pattern in enumerate(patterns):
        found = pool.matching(pattern)
        names |= dict.fromkeys(found)
        if not found and not desk.may_exist("deployments", pattern):
            desk.complain((*path, place), *_no_match(pattern, pool))
    return tuple(names)


def _no_match(pattern: str, pool: Pool) -> tuple[str, str]:
    """Say why a pattern matches nothing: 1. no such tier; 2. nothing of that tier or provider;
    3. it is elsewhere; 4. no such name."""
    among = f" in {pool.within}" if pool.within else ""
    if pattern.startswith("tier:") and pattern[5:] not in TIERS:
        return f"unknown tier {shown(pattern[5:])}", suggest(pattern[5:], TIERS)
    if pattern.startswith("tier:"):
        return f"no deployment{among} has tier {pattern[5:]}", "add one, or leave the entry out"
    if pattern.endswith("/*"):
        providers = tuple(sorted({d.provider for d in pool.deployments}))
        what = f"no deployment{among} is at provider {shown(pattern[:-2])}"
        return what, suggest(pattern[:-2], providers)
    if pattern in pool.elsewhere:
        return f"{shown(pattern)} is not one of the deployments of {pool.within}", "add it there"
    return f"unknown deployment {shown(pattern)}", suggest(pattern, names_of(pool.deployments))


def names_of(deployments: Iterable[Deployment]) -> tuple[str, ...]:
    return tuple(deployment.name for deployment in deployments)
