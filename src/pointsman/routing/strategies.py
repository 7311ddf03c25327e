"""Strategies and preferences as data: which scorers with which weights, and which picker.

Weights are relative; a score is their weighted mean. Where a small weight stands beside a large
one it breaks ties. The numbers are our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pointsman.domain.request import Preference
from pointsman.routing.spec import PickerName


@dataclass(frozen=True, slots=True)
class Strategy:
    """A preset. explore: where exploration may go: nowhere (the strategy's point is its
    distribution, or nothing measured matters), among the best candidate's `tier`, or the whole
    `pool`. yields: may a caller's preference replace the weights?"""

    summary: str
    weights: Mapping[str, float]
    picker: PickerName = "best"
    explore: Literal["no", "tier", "pool"] = "no"
    yields: bool = True
    reads_task: bool = False


STRATEGIES: Final[Mapping[str, Strategy]] = {
    "static": Strategy("the first in `order` that can", {"order": 1}, yields=False),
    "weighted": Strategy(
        "by lot, in proportion to declared weights", {"weight": 1}, "weighted", yields=False
    ),
    "random": Strategy("by lot, evenly", {"load": 1}, "random", yields=False),
    "round_robin": Strategy("each in turn", {"load": 1}, "round_robin", yields=False),
    "cost": Strategy("the cheapest for this request", {"cost": 0.96, "load": 0.04}),
    "latency": Strategy(
        "the soonest through, by what was measured and is under way",
        {"balance": 1},
        explore="pool",
    ),
    "load": Strategy(
        "of two drawn by lot the sooner through, by what was measured and is under way",
        {"balance": 1},
        "power_of_two",
        explore="pool",
    ),
    "capability": Strategy(
        "the specialist rather than the dear all-rounder",
        {"capability": 0.5, "cost": 0.3, "quality": 0.2},
        reads_task=True,
    ),
    "content": Strategy(
        "by rules on task, language, length and sensitivity, then the fitting and cheap",
        {"capability": 0.35, "cost": 0.35, "quality": 0.2, "latency": 0.1},
        explore="tier",
        reads_task=True,
    ),
    "hybrid": Strategy(
        "cost, speed, quality and load, weighed against each other",
        {"cost": 0.4, "latency": 0.2, "quality": 0.3, "load": 0.1},
        explore="tier",
    ),
    "tiers": Strategy(
        "the first tier that can, within it the cheap, fast and idle",
        # Neighbouring tiers differ by 1/2 of 0.75: more than all other parts together.
        {"tier": 0.75, "cost": 0.12, "latency": 0.1, "load": 0.03},
        explore="tier",
    ),
    "sticky": Strategy("each session where it was", {"load": 1}, "sticky", yields=False),
}


PREFERENCES: Final[Mapping[Preference, Mapping[str, float]]] = {
    "cost": {"cost": 0.85, "latency": 0.05, "quality": 0.05, "load": 0.05},
    "speed": {"latency": 0.75, "load": 0.15, "cost": 0.05, "quality": 0.05},
    "quality": {"quality": 0.85, "cost": 0.05, "latency": 0.05, "load": 0.05},
    "balanced": {"cost": 0.4, "latency": 0.2, "quality": 0.3, "load": 0.1},
}
"""A caller's `prefer` replaces the weights, and the picker becomes `best`; hard limits, rules'
tiers and deployments stay. Strategies that do not yield keep their way: the operator said so."""
