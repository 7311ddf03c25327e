"""A route over timed services: what Dispatch is tested with where time and money matter."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pointsman.budgets.ahead import NO_LOG, AheadLog
from pointsman.budgets.escrow_memory import MemoryEscrow
from pointsman.budgets.treasury import Treasury
from pointsman.config.settings import BreakerSettings, Route
from pointsman.domain.budgets import Budget
from pointsman.domain.content import Text
from pointsman.domain.deployment import Deployment, Limits
from pointsman.domain.outcome import Outcome
from pointsman.domain.reply import ChatReply
from pointsman.domain.usage import Usage
from pointsman.errors import FailureKind, ProviderFailure
from pointsman.ledger.entries import Attempt, LedgerEntry
from pointsman.pipeline.account import Account
from pointsman.pipeline.admit import Admit
from pointsman.pipeline.build import DeploymentStack, deployment_stack
from pointsman.pipeline.call import Call
from pointsman.pipeline.dispatch import Dispatch
from pointsman.pipeline.holding import Holding
from pointsman.pipeline.service import Reply
from pointsman.routing.estimate import worst_cost
from pointsman.routing.retries import UNLIMITED, RetrySource
from pointsman.routing.signals import COLD
from pointsman.routing.spec import FallbackSpec, HedgeSpec, PolicySpec
from pointsman.testing.clock import FakeClock, settle
from pointsman.testing.services import (
    ScriptedStream,
    attempt_ids,
    make_call,
    make_deployment,
)


@dataclass(frozen=True)
class Does:
    """What a deployment does with a call: nothing for `after_s`, then it fails or answers in
    `pieces`; it reports `usage` at the end of a whole answer."""

    after_s: float = 0.0
    fails: Exception | None = None
    pieces: tuple[bytes | ProviderFailure | None, ...] = (b"hello",)
    usage: Usage = Usage(10, 5)


def failure(
    kind: FailureKind, retry_after_s: float | None = None, *, maybe_billed: bool = True
) -> ProviderFailure:
    return ProviderFailure(
        kind, f"it {kind}", retry_after_s=retry_after_s, maybe_billed=maybe_billed
    )


def fails(kind: FailureKind, after_s: float = 0.0, hint: float | None = None) -> Does:
    return Does(after_s, failure(kind, hint))


@dataclass
class TimedService:
    """An innermost service; `open` counts the connections that are held."""

    clock: FakeClock
    deployment: Deployment
    does: Callable[[int], Does]
    calls: list[float] = field(default_factory=list)
    cancelled: list[float] = field(default_factory=list)
    open: int = 0

    async def __call__(self, call: Call) -> Reply:
        does = self.does(len(self.calls))
        started = self.clock.now()
        self.calls.append(started)
        self.open += 1
        try:
            await self.clock.sleep(does.after_s)
            if does.fails is not None:
                raise does.fails
        except asyncio.CancelledError:
            self.cancelled.append(self.clock.now())
            self.open -= 1
            raise
        except BaseException:
            self.open -= 1
            raise
        if call.request.stream:
            reply = Reply(
                self.deployment,
                self.clock,
                started,
                wire="openai",
                stream=ScriptedStream(does.pieces),
                ttft_s=self.clock.now() - started,
            )
        else:
            chat = ChatReply("c", "m", (Text("hello"),))
            reply = Reply(
                self.deployment, self.clock, started, wire=None, chat=chat, usage=does.usage
            )
        reply.on_close(self._closed)
        return reply

    def _closed(self, outcome: Outcome) -> None:
        self.open -= 1


Script = Sequence[Does] | Callable[[int], Does]


class House:
    """A static route over `scripts`, in this order; those `outside` belong to no route."""

    def __init__(
        self,
        clock: FakeClock,
        scripts: Mapping[str, Script],
        *,
        fallback: FallbackSpec = FallbackSpec(),  # noqa: B008
        hedge: HedgeSpec = HedgeSpec(),  # noqa: B008
        breaker: BreakerSettings = BreakerSettings(),  # noqa: B008
        policy: Mapping[str, object] | None = None,
        limits: Mapping[str, Limits] | None = None,
        changes: Mapping[str, Mapping[str, object]] | None = None,
        outside: tuple[str, ...] = (),
        retries: RetrySource = UNLIMITED,
        seed: int = 1,
        budgets: Sequence[Budget] | None = None,
        log: AheadLog = NO_LOG,
    ) -> None:
        self.clock = clock
        self.treasury = Treasury(budgets or (), MemoryEscrow(clock), clock, log=log)
        holding = None if budgets is None else Holding(self.treasury, "auto", clock)
        self.services: dict[str, TimedService] = {}
        self.stacks: dict[str, DeploymentStack] = {}
        for name, script in scripts.items():
            more = dict((changes or {}).get(name, {}))
            deployment = make_deployment(
                name, limits=(limits or {}).get(name, Limits(output_tokens=100)), **more
            )
            service = TimedService(clock, deployment, _does(script))
            self.services[name] = service
            self.stacks[name] = deployment_stack(
                service, deployment, clock, breaker, random.Random(seed)
            )
        names = tuple(name for name in scripts if name not in outside)
        spec: dict[str, object] = {"strategy": "static", "order": names, "explore": 0.0}
        self.route = Route(
            "auto",
            tuple(self.stacks[name].deployment for name in names),
            PolicySpec(**{**spec, **(policy or {})}),  # type: ignore[arg-type]
            fallback,
            hedge=hedge,
        )
        self.told: list[LedgerEntry] = []
        rng = random.Random(seed)
        self.dispatch = Dispatch(
            self.route, self.stacks, clock, rng, retries, attempt_ids(), holding
        )
        inner = self.dispatch if holding is None else Admit(self.dispatch, holding)
        self.account = Account(inner, clock, "auto", None, self.told.append)

    async def ask(self, **changes: object) -> str:
        """Ask once and read the answer; return who answered, or raise."""
        async with await self.account(make_call(self.clock, **changes)) as reply:  # type: ignore[arg-type]
            if reply.is_stream:
                async for _ in reply:
                    pass
        return reply.deployment.name

    async def after(self, seconds: float, **changes: object) -> str:
        """Ask, let time pass, and return who answered, or raise."""
        task = asyncio.ensure_future(self.ask(**changes))
        await self.clock.run_for(seconds)
        assert task.done(), "it still waits"
        return await task

    def worst_nano(self) -> int:
        """The most one attempt may cost."""
        features = self.dispatch.features(make_call(self.clock))
        most = worst_cost(features, self.route.deployments[0], COLD)
        assert most is not None
        return most

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return self.told[-1].attempts

    def tried(self) -> list[tuple[str, str]]:
        return [(each.deployment, each.outcome) for each in self.attempts]

    def calls(self) -> dict[str, int]:
        return {name: len(service.calls) for name, service in self.services.items()}

    def spent(self) -> int:
        """What was charged to all budgets, in nano-USD, by the ledger; nothing may be held."""
        assert not any(bound.held for bound in self.treasury.bounds())
        attempts = [attempt for entry in self.told for attempt in entry.attempts]
        return sum(
            (each.cost_nano or 0) if each.charged_nano is None else each.charged_nano
            for each in attempts
        )

    def leftovers(self) -> dict[str, tuple[int, int]]:
        """Connections and attempts that are still held, by deployment; empty is right."""
        held = {
            name: (service.open, self.stacks[name].meter.in_flight)
            for name, service in self.services.items()
        }
        return {name: each for name, each in held.items() if any(each)}


async def ended(clock: FakeClock, task: asyncio.Task[str]) -> float:
    """Let time pass from one thing that is due to the next until `task` is done; return when."""
    await settle()
    while not task.done():
        assert clock.pending, "it waits for nothing that will come"
        await clock.run_for(max(0.0, clock.pending[0] - clock.now()))
    return clock.now()


def _does(script: Script) -> Callable[[int], Does]:
    if callable(script):
        return script
    steps = list(script)
    return lambda turn: steps[turn] if turn < len(steps) else Does()
