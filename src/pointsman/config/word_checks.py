"""Complain of words that routing does not know: strategies, scorers, capabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pointsman.config.desk import Desk
from pointsman.config.known import is_capability
from pointsman.config.problems import Path, shown, suggest
from pointsman.domain.deployment import CAPABILITIES


def check_strategy(name: str, path: Path, desk: Desk) -> None:
    if name not in desk.known.strategies:
        remedy = suggest(name, desk.known.strategies)
        desk.complain(path, f"unknown strategy {shown(name)}", remedy)


def check_weights(weights: Mapping[str, float], path: Path, desk: Desk) -> None:
    for name in weights:
        if name not in desk.known.scorers:
            remedy = suggest(name, desk.known.scorers)
            desk.complain((*path, name), f"unknown scorer {shown(name)}", remedy)
    if weights and not any(weights.values()):
        desk.complain(path, "every weight is 0", "give one of them weight, or leave the key out")


def check_capabilities(words: Sequence[str], path: Path, desk: Desk) -> None:
    """Complain of words that are neither ours nor `x-…`."""
    for place, word in enumerate(words):
        if not is_capability(word):
            remedy = f"{suggest(word, tuple(CAPABILITIES))}; your own are written `x-{word}`"
            desk.complain((*path, place), f"unknown capability {shown(word)}", remedy)
