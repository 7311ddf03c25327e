"""The composition root: from Settings to a Gateway. It alone names the concrete classes.

async with Gateway.from_config("pointsman.yaml") as gateway:
    answer = await gateway.chat([{"role": "user", "content": "hi"}], model="auto")
    print(answer.text, answer.cost_usd, answer.deployment)
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import orjson
from msgspec.structs import replace

from pointsman.answers import Answer, AnswerStream
from pointsman.clock import Clock, SystemClock, Timer
from pointsman.config.load import load, loads
from pointsman.config.settings import Route, Settings
from pointsman.dialects.registry import DIALECTS
from pointsman.domain.call import ANONYMOUS, Caller
from pointsman.domain.content import Json, JsonObject
from pointsman.domain.deployment import TIERS, Deployment
from pointsman.domain.request import ChatRequest, Request, RouteOptions, Source
from pointsman.errors import ConfigError, InvalidRequest, Overloaded, PermissionDenied
from pointsman.ledger.entries import LedgerStore
from pointsman.ledger.memory import MemoryLedger
from pointsman.ledger.sqlite import SqliteLedger
from pointsman.observe.events import Observer, Observers
from pointsman.observe.logs import log_entry
from pointsman.observe.metrics import Metrics
from pointsman.pipeline.account import Account
from pointsman.pipeline.build import DeploymentStack, deployment_stack
from pointsman.pipeline.call import Call
from pointsman.pipeline.dispatch import Dispatch
from pointsman.pipeline.service import Reply
from pointsman.providers.transport import Transport, TransportLimits
from pointsman.providers.upstream import Upstream
from pointsman.routing.names import Names
from pointsman.routing.policy import explain
from pointsman.routing.retries import RetryBudget
from pointsman.routing.spec import PolicySpec
from pointsman.routing.tokens import estimate_request

DIRECT = "direct"
"""The route of a request that names its deployment itself."""

METRICS_DIRECTORY_VARIABLE = "POINTSMAN_METRICS_DIRECTORY"
"""Set by `serve` where several workers put their metrics together."""

SHARE_EVERY_S = 1.0
"""How old another worker's metrics may be, in seconds."""


class Gateway:
    """Routes, falls back, accounts. Use with `async with`, or `start` and `close`."""

    def __init__(
        self,
        settings: Settings,
        *,
        transport: Transport | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        ledger: LedgerStore | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.settings = settings
        self.clock = clock = clock if clock is not None else SystemClock()
        self._rng = rng if rng is not None else random.Random()
        self._transport = transport if transport is not None else make_transport(settings)
        self._prefix = f"req_{secrets.token_hex(6)}"
        self._count = itertools.count(1)
        self._attempt_count = itertools.count(1)
        self.ledger = ledger if ledger is not None else make_ledger(settings, clock)
        self.stacks = {
            deployment.name: self._stack(deployment) for deployment in settings.deployments
        }
        metrics_directory = os.environ.get(METRICS_DIRECTORY_VARIABLE)
        self.metrics = Metrics(
            self.stacks,
            lambda: self.ledger.lost,
            directory=None if metrics_directory is None else Path(metrics_directory),
        )
        self._keep = Observers((self.ledger.append, self.metrics, log_entry, *observers))
        self._retries = RetryBudget(
            ratio=settings.retry.ratio,
            ttl_s=settings.retry.ttl_s,
            floor_per_s=settings.retry.floor_per_s,
        )
        self._names = Names(
            {route.name: route.aliases for route in settings.routes}, settings.deployments
        )
        self._routes = {route.name: self._account(route) for route in settings.routes}
        self._members = {
            route.name: tuple(each.name for each in route.deployments) for route in settings.routes
        }
        self._timeouts = {route.name: route.timeouts for route in settings.routes}
        self._pinned: dict[tuple[str, ...], Account] = {}
        self._sharing: Timer | None = None
        self._is_closed = False

    @classmethod
    def from_config(
        cls,
        config: str | Path | Mapping[str, object] | Settings,
        *,
        env: Mapping[str, str] | None = None,
        transport: Transport | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        ledger: LedgerStore | None = None,
        observers: Sequence[Observer] = (),
    ) -> Gateway:
        """Build from a file's path, a mapping of the same shape, or resolved Settings.

        Raises ConfigError with file, line, field and remedy.
        """
        environment = os.environ if env is None else env
        if isinstance(config, Settings):
            settings = config
        elif isinstance(config, str | Path):
            settings = load(Path(config), environment)
        else:
            try:
                text = orjson.dumps(config).decode()  # JSON is YAML.
            except TypeError as error:
                raise ConfigError(f"config: {error}; write it in JSON's own types") from error
            settings = loads(text, "config", environment, Path.cwd())
        return cls(
            settings,
            transport=transport,
            clock=clock,
            rng=rng,
            ledger=ledger,
            observers=observers,
        )

    # The life of a gateway.

    async def __aenter__(self) -> Gateway:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Begin to share metrics where there are several workers. Connections are made as they
        are needed."""
        if os.environ.get(METRICS_DIRECTORY_VARIABLE) is not None:
            self._share_metrics()

    def _share_metrics(self) -> None:
        self.metrics.share()
        self._sharing = self.clock.call_later(SHARE_EVERY_S, self._share_metrics)

    async def close(self) -> None:
        """Close connections and make the ledger durable."""
        self._is_closed = True
        if self._sharing is not None:
            self._sharing.cancel()
            self.metrics.share()
        await self._transport.close()
        await asyncio.to_thread(self.ledger.close)

    def health(self) -> JsonObject:
        """Tell whether traffic can be served: at least one deployment lets calls through."""
        states: JsonObject = {name: stack.breaker.state for name, stack in self.stacks.items()}
        open_now = [name for name, stack in self.stacks.items() if stack.breaker.share > 0]
        return {"ready": bool(open_now), "breakers": states, "ledger_lost": self.ledger.lost}

    # For applications.

    async def chat(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        model: str = "auto",
        caller: Caller = ANONYMOUS,
        options: RouteOptions | None = None,
        **fields: object,
    ) -> Answer:
        """Answer a conversation written in OpenAI's shape; `fields` are the body's others
        (`tools`, `temperature`, …). Raises PointsmanError."""
        call = self._own_call(messages, model, caller, options, {**fields, "stream": False})
        async with await self.handle(call) as reply:
            assert reply.chat is not None
            reply.close()
            return Answer(reply.chat, reply.deployment, call.trail, call.id)

    async def stream(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        model: str = "auto",
        caller: Caller = ANONYMOUS,
        options: RouteOptions | None = None,
        **fields: object,
    ) -> AnswerStream:
        """As `chat`, committed but still coming: `async with await gateway.stream(…) as events`."""
        call = self._own_call(messages, model, caller, options, {**fields, "stream": True})
        return AnswerStream(await self.handle(call), call)

    def explain_chat(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        model: str = "auto",
        caller: Caller = ANONYMOUS,
        options: RouteOptions | None = None,
        **fields: object,
    ) -> JsonObject:
        """Decide for a conversation without calling anybody, and tell why."""
        return self.explain(self._own_call(messages, model, caller, options, fields))

    def _own_call(
        self,
        messages: Sequence[Mapping[str, object]],
        model: str,
        caller: Caller,
        options: RouteOptions | None,
        fields: Mapping[str, object],
    ) -> Call:
        dialect = DIALECTS["openai"]
        body = {"model": model, "messages": list(messages), **fields}
        try:
            data = orjson.dumps(body)
        except TypeError as error:
            raise InvalidRequest(f"messages and fields must be JSON values: {error}") from error
        parsed: JsonObject = orjson.loads(data)
        request = dialect.parse_request(parsed, Source(dialect.name, data))
        return self.new_call(
            request, caller, options or RouteOptions(), wire=None, id=self.new_id()
        )

    # For the server.

    def new_id(self) -> str:
        return f"{self._prefix}{next(self._count):08x}"

    def new_call(
        self,
        request: Request,
        caller: Caller,
        options: RouteOptions,
        *,
        wire: str | None,
        id: str,
        app: str | None = None,
        user: str | None = None,
    ) -> Call:
        """Make a call; what the key does not fix of the caller, the request may say."""
        said_user = user or (request.user if isinstance(request, ChatRequest) else None)
        if (said_user and caller.user is None) or (app and caller.app is None):
            caller = replace(caller, user=caller.user or said_user, app=caller.app or app)
        target = self._names.resolve(request.model)
        timeouts = self._timeouts.get(target.route or "", self.settings.timeouts)
        if target.prefer is not None and options.prefer is None:
            options = replace(options, prefer=target.prefer)
        total = timeouts.total_s
        if options.timeout_s is not None:
            total = min(total, options.timeout_s)
        if options.fallbacks:
            options = replace(options, fallbacks=self._fallbacks(caller, options.fallbacks))
        now = self.clock.now()
        return Call(
            id=id,
            caller=caller,
            request=request,
            options=options,
            deadline=now + total,
            started=now,
            timeouts=timeouts,
            wire=wire,
        )

    async def handle(self, call: Call) -> Reply:
        """Answer a call, committed. Raises PointsmanError."""
        if self._is_closed:
            raise Overloaded("the gateway is closed; make a new one", code="closed")
        return await self._stack_for(call)(call)

    def explain(self, call: Call) -> JsonObject:
        """Decide without calling anybody, and tell why."""
        dispatch = self._stack_for(call).inner
        assert isinstance(dispatch, Dispatch)
        features = dispatch.features(call)
        told = explain(dispatch.consider(features, random.Random(0), 0))
        told["features"] = {
            "input_tokens": features.input_tokens,
            "output_tokens": features.output_tokens,
            "needs": list[Json](sorted(features.needs)),
            "task": features.task,
            "language": features.language,
            "sensitive": features.sensitive,
        }
        return told

    def models(self, caller: Caller) -> list[JsonObject]:
        """List what this caller may ask for, in OpenAI's shape: routes first."""
        routes: list[JsonObject] = [
            {"id": route.name, "object": "model", "created": 0, "owned_by": "pointsman"}
            for route in self.settings.routes
            if caller.allows(route.name)
        ]
        deployments: list[JsonObject] = [
            {
                "id": deployment.name,
                "object": "model",
                "created": 0,
                "owned_by": deployment.provider,
                "tier": deployment.tier,
                "context_window": deployment.limits.context_tokens,
                "capabilities": list[Json](sorted(deployment.capabilities)),
            }
            for deployment in self.settings.deployments
            if caller.allows(DIRECT) or caller.allows(deployment.name)
        ]
        return routes + deployments

    def count_tokens(self, call: Call) -> int:
        """Estimate the input tokens of a call that its caller may make."""
        self._stack_for(call)
        return estimate_request(call.request)

    # Composition.

    def _stack(self, deployment: Deployment) -> DeploymentStack:
        provider = self.settings.providers[deployment.provider]
        upstream = Upstream(
            deployment,
            provider,
            DIALECTS[deployment.dialect],
            self._transport,
            self.clock,
            self._new_attempt_id,
        )
        return deployment_stack(upstream, deployment, self.clock, self.settings.breaker, self._rng)

    def _new_attempt_id(self) -> str:
        return f"att_{self._prefix[4:]}{next(self._attempt_count):08x}"

    def _account(self, route: Route) -> Account:
        dispatch = Dispatch(route, self.stacks, self.clock, self._rng, self._retries)
        return Account(dispatch, self.clock, route.name, baseline_of(route), self._keep)

    def _stack_for(self, call: Call) -> Account:
        target = self._names.resolve(call.request.model)
        if target.route is not None:
            self._allow(call.caller, target.route)
            return self._routes[target.route]
        for pinned in target.pinned:
            self._allow(call.caller, pinned, DIRECT)
        return self._direct(target.pinned)

    def _fallbacks(self, caller: Caller, names: tuple[str, ...]) -> tuple[str, ...]:
        """Turn what a caller may write as a model into deployments, if the caller may use them."""
        found: dict[str, None] = {}
        for name in names:
            target = self._names.resolve(name, param="fallbacks")
            if target.route is not None:
                self._allow(caller, target.route)
                found.update(dict.fromkeys(self._members[target.route]))
            for pinned in target.pinned:
                self._allow(caller, pinned, DIRECT)
                found[pinned] = None
        return tuple(found)

    def _direct(self, pinned: tuple[str, ...]) -> Account:
        """The stack of a request that names its model: that model, and the fallbacks it names.

        Who names a model has chosen where the data goes: no rule of a route applies.
        """
        account = self._pinned.get(pinned)
        if account is None:
            route = Route(
                DIRECT,
                tuple(self.stacks[name].deployment for name in pinned),
                PolicySpec(strategy="static", order=pinned, sensitive_tiers=TIERS),
            )
            account = self._pinned[pinned] = self._account(route)
        return account

    def _allow(self, caller: Caller, *names: str) -> None:
        if not any(caller.allows(name) for name in names):
            raise PermissionDenied(
                f"the API key may not use {names[0]!r}; it may use "
                f"{', '.join(sorted(caller.routes or ()))}",
                param="model",
            )

    def __repr__(self) -> str:
        lines = [f"Gateway({self.settings.origin})"]
        lines += [f"  route {name}: {account!r}" for name, account in self._routes.items()]
        lines += [f"  {stack!r}" for stack in self.stacks.values()]
        return "\n".join(lines)


def baseline_of(route: Route) -> Deployment | None:
    """The deployment that savings are measured against: the named one, else the dearest of the
    frontier tier, else the dearest of all, by the price of output."""
    if route.baseline is not None:
        return next((d for d in route.deployments if d.name == route.baseline), None)
    priced = [d for d in route.deployments if d.price is not None]
    frontier = [d for d in priced if d.tier == "frontier"] or priced
    return max(frontier, key=lambda d: 0 if d.price is None else d.price.rates.output, default=None)


def make_transport(settings: Settings) -> Transport:
    """The transport that the configuration names; the other one is not imported."""
    # Connections are shared by routes: the longest time that any of them gives holds.
    stated = [settings.timeouts, *(route.timeouts for route in settings.routes)]
    limits = TransportLimits(connect_s=max(times.connect_s for times in stated))
    if settings.server.transport == "aiohttp":
        from pointsman.providers.aiohttp_transport import AiohttpTransport

        return AiohttpTransport(limits)
    from pointsman.providers.lean import LeanTransport

    return LeanTransport(limits)


def make_ledger(settings: Settings, clock: Clock) -> LedgerStore:
    ledger = settings.ledger
    if ledger.path is None:
        return MemoryLedger()
    return SqliteLedger(ledger.path, clock, flush_s=ledger.flush_s, batch_rows=ledger.batch_rows)
