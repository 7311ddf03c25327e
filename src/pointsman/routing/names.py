"""What a client may write as `model`, and what it means.

In this order: 1. a route or its alias. 2. a deployment's name. 3. `provider/model`. 4. a model's
bare name: every deployment that serves it. 5. any of these with a suffix that states a
preference (`auto:fast`); a name that itself has a colon wins, as in `ollama/llama3:8b`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pointsman.domain.deployment import Deployment
from pointsman.domain.request import Preference
from pointsman.errors import UnknownModel

SUFFIXES: Mapping[str, Preference] = {
    "cheap": "cost",
    "floor": "cost",  # OpenRouter's word
    "fast": "speed",
    "nitro": "speed",  # OpenRouter's word
    "best": "quality",
    "balanced": "balanced",
}

MOST_COMPARED = 200
"""Characters of an unknown name that are compared with the known ones: it costs their square."""


@dataclass(frozen=True, slots=True)
class Target:
    """Either a `route`, or the deployments that were `pinned`."""

    route: str | None
    pinned: tuple[str, ...] = ()
    prefer: Preference | None = None


class Names:
    """The names of one configuration; immutable after it is built."""

    def __init__(
        self,
        routes: Mapping[str, Sequence[str]],
        deployments: Sequence[Deployment],
    ) -> None:
        """`routes` maps each route to its aliases."""
        targets: dict[str, Target] = {}
        by_model: dict[str, list[str]] = {}
        for deployment in deployments:
            full = f"{deployment.provider}/{deployment.model}"
            by_model.setdefault(full, []).append(deployment.name)
            by_model.setdefault(deployment.model, []).append(deployment.name)
        for name, pinned in by_model.items():
            targets[name] = Target(None, tuple(pinned))
        for deployment in deployments:
            targets[deployment.name] = Target(None, (deployment.name,))
        for route, aliases in routes.items():
            for name in (route, *aliases):
                targets[name] = Target(route)
        self._targets = targets

    def resolve(self, asked: str, param: str = "model") -> Target:
        """Raise UnknownModel, naming what is near."""
        target = self._targets.get(asked)
        if target is not None:
            return target
        name, colon, suffix = asked.rpartition(":")
        prefer = SUFFIXES.get(suffix)
        if colon and prefer is not None and (target := self._targets.get(name)) is not None:
            return Target(target.route, target.pinned, prefer)
        near = difflib.get_close_matches(asked[:MOST_COMPARED], self._targets, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UnknownModel(
            f"{param} {asked[:200]!r} is neither a route nor a deployment{hint} "
            "See GET /v1/models for the list.",
            param=param,
        )
