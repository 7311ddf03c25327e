"""Preload: have connections open and local models in memory before requests come.

For each deployment with a `preload` block, in its hours (a little before, `LEAD_S`), or in the
hours that had traffic on earlier days where it says `predict`:

- `connection`: one connection to its provider is open, and renewed before its keep-alive ends.
  The first ones are made before the gateway calls itself ready, for three seconds at most.
- `model`: a local server has the model in memory. Ollama is told to load it and for how long to
  keep it; vLLM and llama.cpp answer one token, which also reads the weights into the caches.
  At any other time nothing is done, and the server lets the model go as it is set up to.

Warm-ups are nobody's requests: they pass no breaker, no limit and no meter, and are not in the
ledger. Where one fails, the log says so once, it is tried again later, and that is all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, Final, Protocol

import orjson

from pointsman.clock import Clock
from pointsman.config.settings import PreloadSettings, ProviderSettings, Settings
from pointsman.dialects.registry import DIALECTS
from pointsman.domain.call import Caller
from pointsman.domain.content import Message, Text
from pointsman.domain.deployment import Deployment
from pointsman.domain.hours import covers, parse_span
from pointsman.domain.request import (
    ChatRequest,
    EmbeddingsRequest,
    Request,
    RouteOptions,
    Source,
)
from pointsman.errors import PointsmanError
from pointsman.pipeline.call import Call
from pointsman.providers.ask import NoAnswer, ask, root_of, within
from pointsman.providers.habits import FORGET_S, Habits
from pointsman.providers.keys import KeyChain, keys_of
from pointsman.providers.transport import HttpRequest, Transport, TransportError
from pointsman.providers.upstream import Upstream

_log = logging.getLogger("pointsman")

FIRST_S: Final = 3.0
"""Longest that connections may hold up readiness, in seconds."""
TICK_S: Final = 15.0
"""How often to look what is due, in seconds."""
RENEW_S: Final = 30.0
"""How often a connection is looked after, in seconds: half of TransportLimits.keep_alive_s."""
LEAD_S: Final = 300.0
"""How long before its hour a deployment is made ready, in seconds."""
LOAD_S: Final = 300.0
"""Longest wait for a model, in seconds: 70B from a disk takes minutes."""
AGAIN_S: Final = (15.0, 300.0)
"""First and longest pause after a failed warm-up, in seconds; it doubles."""
MARGIN_S: Final = 60.0
"""How long before a model would be let go it is asked for again, in seconds."""
BODY_BYTES: Final = 64 * 1024

WARM_UP: Final = Caller(key="pointsman", tags={"purpose": "warm-up"})

History = Callable[[Collection[str], float], Sequence[tuple[str, float, int]]]
"""Of these deployments, since a moment: (name, beginning of an hour, requests in it), in seconds
since the epoch. Called in a thread; may raise PointsmanError."""


class Attempts(Protocol):
    @property
    def begun(self) -> int:
        """Attempts so far."""
        ...


class Measured(Protocol):
    """A deployment and what passed; `DeploymentStack` in production."""

    @property
    def deployment(self) -> Deployment: ...

    @property
    def meter(self) -> Attempts: ...


class Plan:
    """What is to be ready of one deployment, and what has been done for it."""

    __slots__ = ("due_at", "failures", "is_loading", "preload", "provider", "seen", "spans",
                 "stack", "warmed_at")  # fmt: skip

    def __init__(self, stack: Measured, provider: ProviderSettings, preload: PreloadSettings):
        self.stack = stack
        self.provider = provider
        self.preload = preload
        self.spans = tuple(parse_span(text) for text in preload.hours)
        self.seen = stack.meter.begun
        self.warmed_at = self.due_at = float("-inf")
        self.is_loading = False
        self.failures = 0

    @property
    def name(self) -> str:
        return self.stack.deployment.name

    @property
    def is_for_model(self) -> bool:
        """Only a local server loads a model on demand."""
        return self.preload.model and self.provider.kind != "hosted"

    def goes_on(self, before: Plan) -> bool:
        """Is this what `before` was for, so that it need not be done again?"""
        return (
            self.stack.deployment == before.stack.deployment
            and self.provider == before.provider
            and self.preload == before.preload
        )


class Preload:
    """Runs one task, and one more for each model that is being loaded; none where nothing is to
    be ready. `zone` is where the hours hold, None for the machine's own."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        *,
        zone: tzinfo | None = None,
        history: History | None = None,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._zone = zone
        self._history = history
        self._plans: dict[str, Plan] = {}
        self._habits = Habits()
        self._remembered: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_running = False
        self._is_ticking = False

    def follow(self, settings: Settings, stacks: Mapping[str, Measured]) -> None:
        """Keep these deployments ready, and no others any more."""
        before, self._plans = self._plans, {}
        for name, preload in settings.preloads.items():
            if (stack := stacks.get(name)) is None:
                continue
            plan = Plan(stack, settings.providers[stack.deployment.provider], preload)
            old = before.get(name)
            if old is not None and plan.goes_on(old):
                plan.warmed_at, plan.due_at = old.warmed_at, old.due_at
            self._plans[name] = plan
        if self._is_running:
            self._begin()

    async def start(self) -> None:
        """Return when the first connections are open, or after FIRST_S."""
        self._is_running = True
        await self._connect()
        self._begin()

    async def close(self) -> None:
        self._is_running = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self) -> None:
        if self._plans and not self._is_ticking:
            self._is_ticking = True
            self._own(self._keep_ready())

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_ready(self) -> None:
        try:
            while self._plans:
                await self._remember()
                self._load()
                await self._clock.sleep(TICK_S)
                self._count()
                await self._connect()
        finally:
            self._is_ticking = False

    # When.

    def is_wanted(self, plan: Plan, wall: float) -> bool:
        """Is the deployment to be ready at this moment, in seconds since the epoch?"""
        if not plan.spans and not plan.preload.predict:
            return True
        for moment in (wall, wall + LEAD_S):
            at = datetime.fromtimestamp(moment, self._zone)
            if covers(plan.spans, at.weekday(), at.hour * 60 + at.minute):
                return True
            if plan.preload.predict and self._habits.expects(plan.name, _hour(at), moment):
                return True
        return False

    def _count(self) -> None:
        """Learn the hours from what passed since the last look."""
        wall = self._clock.wall()
        hour = _hour(datetime.fromtimestamp(wall, self._zone))
        for plan in self._plans.values():
            begun = plan.stack.meter.begun
            if begun == plan.seen:
                continue
            if plan.preload.predict:
                self._habits.observe(plan.name, hour, begun - plan.seen, wall)
            plan.seen = begun
            if plan.provider.kind != "ollama" and not plan.failures:
                # In use: it needs no warm-up. Ollama is told all the same: how long it keeps a
                # model is said with a request, and callers say nothing.
                plan.due_at = max(plan.due_at, self._clock.now() + _keep(plan))

    async def _remember(self) -> None:
        """Read what the ledger knows of the hours, once for each deployment."""
        names = {name for name, plan in self._plans.items() if plan.preload.predict}
        names -= self._remembered
        if not names or self._history is None:
            return
        self._remembered |= names
        since = self._clock.wall() - FORGET_S
        try:
            rows = await asyncio.to_thread(self._history, names, since)
        except PointsmanError as error:
            _log.warning("preload.no_history error=%s", error)
            return
        for name, wall, requests in rows:
            hour = _hour(datetime.fromtimestamp(wall, self._zone))
            self._habits.observe(name, hour, requests, wall)

    # What.

    async def _connect(self) -> None:
        """Open or renew the connections that are due, all at once."""
        now, wall = self._clock.now(), self._clock.wall()
        due = [
            plan
            for plan in self._plans.values()
            if plan.preload.connection
            and now - plan.warmed_at >= RENEW_S
            and self.is_wanted(plan, wall)
        ]
        for plan in due:
            plan.warmed_at = now
        await asyncio.gather(*(self._warm(plan) for plan in _one_each(due)))

    async def _warm(self, plan: Plan) -> None:
        try:
            await within(FIRST_S, self._clock, self._transport.warm(plan.provider.endpoint))
        except (TransportError, NoAnswer) as error:
            _log.info("preload.no_connection provider=%s error=%s", plan.provider.name, error)

    def _load(self) -> None:
        """Begin to load the models that are due."""
        now, wall = self._clock.now(), self._clock.wall()
        for plan in self._plans.values():
            if (
                plan.is_for_model
                and not plan.is_loading
                and now >= plan.due_at
                and self.is_wanted(plan, wall)
            ):
                plan.is_loading = True
                self._own(self._load_one(plan))

    async def _load_one(self, plan: Plan) -> None:
        started = self._clock.now()
        try:
            if plan.provider.kind == "ollama":
                await self._keep_at_ollama(plan)
            else:
                await within(LOAD_S, self._clock, self._one_token(plan))
        except (NoAnswer, PointsmanError) as error:
            first, longest = AGAIN_S
            plan.due_at = self._clock.now() + min(longest, first * 2.0**plan.failures)
            if not plan.failures:
                _log.warning("preload.failed deployment=%s error=%s", plan.name, error)
            plan.failures += 1
        else:
            now = self._clock.now()
            plan.due_at = now + _keep(plan)
            plan.failures = 0
            _log.info("preload.ready deployment=%s seconds=%.3f", plan.name, now - started)
        finally:
            plan.is_loading = False

    async def _keep_at_ollama(self, plan: Plan) -> None:
        """Without a prompt `/api/generate` loads the model and answers nothing; without a text
        `/api/embed` does, for models that cannot generate."""
        provider, deployment = plan.provider, plan.stack.deployment
        said = {"model": deployment.model, "keep_alive": f"{plan.preload.keep_s:.0f}s"}
        if "chat" in deployment.capabilities:
            path, body = "/api/generate", orjson.dumps({**said, "stream": False})
        else:
            path, body = "/api/embed", orjson.dumps({**said, "input": ""})
        key = {} if provider.key is None else {"authorization": f"Bearer {provider.key.reveal()}"}
        headers = {**key, **provider.headers, "content-type": "application/json"}
        request = HttpRequest(root_of(provider.endpoint), path, body, headers)
        status, _ = await ask(
            self._transport, request, self._clock, timeout_s=LOAD_S, body_bytes=BODY_BYTES
        )
        if status != 200:
            raise NoAnswer(f"status {status}")

    async def _one_token(self, plan: Plan) -> None:
        deployment, provider = plan.stack.deployment, plan.provider
        upstream = Upstream(
            deployment,
            provider,
            DIALECTS[deployment.dialect],
            self._transport,
            self._clock,
            KeyChain(provider.name, keys_of(provider), self._clock.now),
        )
        now = self._clock.now()
        call = Call(
            id="warm-up",
            caller=WARM_UP,
            request=_hello(deployment),
            options=RouteOptions(),
            deadline=now + LOAD_S,
            started=now,
            attempt_id=f"warm-up {deployment.name}",
        )
        async with await upstream(call):
            pass  # whole answers are read before they are given

    def __repr__(self) -> str:
        return f"Preload({', '.join(self._plans) or 'nothing'})"


def _hello(deployment: Deployment) -> Request:
    """The smallest request that a model can answer."""
    if "chat" in deployment.capabilities:
        said = (Message("user", (Text("Hello"),)),)
        return ChatRequest(deployment.model, said, max_tokens=1)
    body = orjson.dumps({"model": deployment.model, "input": "Hello"})
    return EmbeddingsRequest(deployment.model, ("Hello",), Source("openai", body))


def _hour(at: datetime) -> int:
    """Hour of the week, from Monday midnight, on the wall clock."""
    return at.weekday() * 24 + at.hour


def _keep(plan: Plan) -> float:
    """Seconds until a model that is in memory now is asked for again."""
    keep_s = plan.preload.keep_s
    return max(keep_s - MARGIN_S, keep_s / 2)


def _one_each(plans: Iterable[Plan]) -> Iterable[Plan]:
    """One plan for each server: deployments of a provider share its connections."""
    return {plan.provider.endpoint: plan for plan in plans}.values()
