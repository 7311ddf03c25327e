"""What a file may refer to beyond itself: the catalogue, model facts, names of routing parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from pointsman.domain.deployment import CAPABILITIES, Tier
from pointsman.providers.catalog import CATALOG, ProviderRow
from pointsman.providers.model_facts import DEFAULT_CAPABILITIES, LOCAL_CAPABILITIES
from pointsman.providers.prices import ModelFacts, facts_of, guess_tier
from pointsman.routing.language import LANGUAGES
from pointsman.routing.scorers import SCORERS
from pointsman.routing.strategies import STRATEGIES


@dataclass(frozen=True, slots=True)
class Known:
    """Names and facts that a file is checked against; a test gives its own."""

    providers: Mapping[str, ProviderRow]
    facts_of: Callable[[str, str], ModelFacts | None]
    guess_tier: Callable[[str, str, ModelFacts | None], Tier]
    strategies: frozenset[str] = frozenset(STRATEGIES)
    scorers: frozenset[str] = frozenset(SCORERS)
    languages: frozenset[str] = LANGUAGES

    def row_for(self, name: str, like: str | None, kind: str | None) -> ProviderRow | None:
        """The catalogue's row that a provider starts from: named, by its own name, by kind."""
        if like is not None:
            return self.providers.get(like)
        if name in self.providers:
            return self.providers[name]
        return self.providers.get(kind or "")

    def believed(self, kind: str) -> frozenset[str]:
        """Capabilities of a model that nobody knows, by the kind of its server."""
        return LOCAL_CAPABILITIES.get(kind, DEFAULT_CAPABILITIES) | {"chat"}


@cache
def shipped() -> Known:
    """What this version of Pointsman knows."""
    return Known(CATALOG, facts_of, guess_tier)


def is_capability(word: str) -> bool:
    """Tell whether a word is a capability: one of ours, or the operator's own `x-…`."""
    return word in CAPABILITIES or (word.startswith("x-") and len(word) > 2)
