"""A small world, drawn from a seed: providers, deployments, routes, settings, and what will happen.

The parts are put together by the same functions as in a real gateway (pointsman/composition.py).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from pointsman.composition import (
    Parts,
    account_of,
    chain_of,
    provider_of,
    retries_of,
    stack_of,
)
from pointsman.config.settings import (
    BreakerSettings,
    ProviderSettings,
    RetrySettings,
    Route,
    Secret,
    Settings,
    Timeouts,
)
from pointsman.domain.deployment import Deployment, Limits
from pointsman.domain.usage import FREE, Price, Rates
from pointsman.ledger.entries import LedgerEntry
from pointsman.pipeline.account import Account
from pointsman.pipeline.build import DeploymentStack
from pointsman.pipeline.outage import Change
from pointsman.pipeline.provider_health import ProviderHealth
from pointsman.providers.transport import Endpoint
from pointsman.routing.spec import FallbackSpec, HedgeSpec, PolicySpec

from .loop import SimLoop
from .network import MOODS, Mood, Play, SimTransport, draw, well

PRICE = Price(Rates.of(1_000_000_000, 2_000_000_000), version="simulated")
STRATEGIES = ("static", "weighted", "round_robin", "cost", "latency", "load", "tiers")


@dataclass
class Visit:
    """One call that a client will make. Seconds from the start, of the simulation's clock."""

    at_s: float
    route: int
    stream: bool
    wire: str | None
    timeout_s: float
    max_cost_nano: int | None
    cancel_s: float | None
    """The client's connection is lost so long after it asked."""
    leaves_after: int | None
    """It stops reading after so many pieces."""
    slow_s: float
    """It waits so long before each piece."""


@dataclass
class World:
    """Everything of one sequence. `say` tells the story, where somebody wants to hear it."""

    seed: int
    rng: random.Random
    loop: SimLoop
    settings: Settings
    transport: SimTransport
    providers: dict[str, ProviderHealth]
    stacks: dict[str, DeploymentStack]
    routes: list[Account]
    direct: dict[str, Account]
    specs: list[Route]
    visits: list[Visit]
    moods: dict[str, Mood]
    turns: list[tuple[float, str, Mood]]
    """When which deployment's provider changes its mood."""
    jumps: list[tuple[float, float]]
    entries: list[LedgerEntry]
    changes: list[tuple[float, Change]]
    say: Callable[[str], None] | None
    is_healed: bool = False
    seen: dict[str, int] = field(default_factory=dict)

    def note(self, what: str) -> None:
        """Count for the coverage."""
        self.seen[what] = self.seen.get(what, 0) + 1


def make_world(seed: int, say: Callable[[str], None] | None = None) -> World:
    rng = random.Random(seed)
    loop = SimLoop(rng)  # type: ignore[abstract]
    moods: dict[str, Mood] = {}
    entries: list[LedgerEntry] = []
    changes: list[tuple[float, Change]] = []

    def answer(name: str, exchange: int, stream: bool) -> Play:
        if world.is_healed:
            return well(exchange, stream)
        return draw(moods[name], rng, exchange, stream)

    transport = SimTransport(loop, answer, say)

    def changed(change: Change) -> None:
        changes.append((loop.now(), change))
        if say is not None:
            say(f"{change.who}: {change.cause} {change.reason} for {change.wait_s:.3f} s")

    parts = Parts(loop, rng, transport, entries.append, "5eed", changed=changed)
    deployments = _deployments(rng)
    settings = _settings(rng, deployments)
    providers = {name: provider_of(name, settings, parts) for name in settings.providers}
    stacks = {
        each.name: stack_of(
            each,
            settings,
            chain_of(settings.providers[each.provider], parts),
            providers[each.provider],
            parts,
        )
        for each in deployments
    }
    for name, health in providers.items():
        health.keep(s.breaker for s in stacks.values() if s.deployment.provider == name)
    retries = retries_of(settings.retry)
    specs = list(settings.routes)
    routes = [account_of(each, stacks, retries, parts) for each in specs]
    direct = {
        each.name: account_of(
            Route("direct", (each,), PolicySpec("static", order=(each.name,))),
            stacks,
            retries,
            parts,
        )
        for each in deployments
    }
    span_s = rng.choice((2.0, 8.0, 20.0))
    is_priced = deployments[0].price is not None
    moods.update({each.name: rng.choice(MOODS) for each in deployments})
    _warm(rng, stacks)
    world = World(
        seed,
        rng,
        loop,
        settings,
        transport,
        providers,
        stacks,
        routes,
        direct,
        specs,
        _visits(rng, span_s, len(specs), is_priced),
        moods,
        [
            (_grid(rng, span_s), each.name, rng.choice(MOODS))
            for each in deployments
            for _ in range(rng.choice((0, 1, 2)))
        ],
        [
            (_grid(rng, span_s), rng.choice((0.5, 2.0, 15.0)))
            for _ in range(rng.choice((0,) * 6 + (1, 2)))
        ],
        entries,
        changes,
        say,
    )
    return world


def _grid(rng: random.Random, span_s: float) -> float:
    return rng.randrange(int(span_s * 4)) / 4


def _deployments(rng: random.Random) -> tuple[Deployment, ...]:
    names = rng.choice((("p0",), ("p0",), ("p0", "p1")))
    price = rng.choice((PRICE, PRICE, FREE, None))
    return tuple(
        Deployment(
            name=f"d{place}",
            provider=rng.choice(names),
            model=f"d{place}",
            tier=rng.choice(("frontier", "workhorse")),
            dialect="openai",
            price=price,
            limits=Limits(
                max_in_flight=rng.choice((None, None, 1, 2)),
                requests_per_minute=rng.choice((None, None, None, 10)),
            ),
            adaptive=rng.random() < 0.5,
        )
        for place in range(rng.randint(1, 4))
    )


def _settings(rng: random.Random, deployments: tuple[Deployment, ...]) -> Settings:
    base_s = rng.choice((0.25, 1.0))
    times = Timeouts(
        connect_s=1.0,
        first_content_s=rng.choice((0.5, 1.0, 2.0, 4.0)),
        idle_s=rng.choice((0.5, 1.0, 2.0)),
        whole_s=rng.choice((1.0, 2.0, 4.0)),
        total_s=20.0,
    )
    routes = []
    for place in range(rng.choice((1, 1, 2))):
        members = tuple(rng.sample(deployments, rng.randint(1, len(deployments))))
        outside = [each.name for each in deployments if each not in members]
        names = tuple(each.name for each in members)
        chain = (*names, *outside) if outside and rng.random() < 0.3 else None
        hedges = rng.random() < 0.4
        routes.append(
            Route(
                f"r{place}",
                members,
                PolicySpec(rng.choice(STRATEGIES), order=names),
                FallbackSpec(
                    enabled=rng.random() < 0.9,
                    max_attempts=rng.randint(1, 4),
                    retry_same=rng.randint(0, 2),
                    chain=chain,
                    on_content_filter=rng.random() < 0.3,
                ),
                times,
                hedge=HedgeSpec(hedges, 1.0, rng.choice((0.25, 0.5)), 1.0, 1.0, success=0.0),
            )
        )
    return Settings(
        providers={
            name: ProviderSettings(name, "openai", Endpoint(f"http://{name}"), Secret("k"))
            for name in {each.provider: None for each in deployments}
        },
        deployments=deployments,
        routes=tuple(routes),
        breaker=BreakerSettings(
            streak=rng.choice((2, 3, 5)),
            window_s=rng.choice((5.0, 30.0)),
            min_samples=rng.choice((4, 10)),
            base_s=base_s,
            max_s=rng.choice((2.0, 20.0)),
            retry_after_max_s=20.0,
            ramp_s=rng.choice((1.0, 5.0)),
            quota_s=rng.choice((5.0, 15.0)),
            panic_per_s=rng.choice((0.0, 1.0, 1.0, 4.0)),
        ),
        retry=RetrySettings(
            ratio=rng.choice((0.0, 0.1, 0.5)),
            ttl_s=rng.choice((2.0, 10.0)),
            floor_per_s=rng.choice((0.2, 1.0)),
        ),
        timeouts=times,
    )


def _visits(rng: random.Random, span_s: float, routes: int, is_priced: bool) -> list[Visit]:
    visits = []
    for at_s in sorted(_grid(rng, span_s) for _ in range(rng.choice((1, 3, 8, 16, 24)))):
        stream = rng.random() < 0.7
        visits.append(
            Visit(
                at_s,
                rng.randrange(routes),
                stream,
                rng.choice(("openai", None)),
                rng.choice((0.5, 2.0, 5.0, 20.0, 20.0)),
                rng.choice((None, None, None, 50_000, 130_000, 400_000)) if is_priced else None,
                rng.choice((None, None, None, 0.0, 0.25, 0.5, 1.0, 2.0)),
                rng.choice((None, None, 0, 1, 2)),
                rng.choice((0.0, 0.0, 0.0, 0.5, 3.0)),
            )
        )
    return visits


def _warm(rng: random.Random, stacks: dict[str, DeploymentStack]) -> None:
    """Let some deployments have been measured: without it nobody knows when to hedge."""
    for stack, quick in zip(stacks.values(), itertools.cycle((0.25, 0.5)), strict=False):
        if rng.random() < 0.6:
            for _ in range(20):
                stack.meter._streams[0].add(quick, stack._clock.now())
