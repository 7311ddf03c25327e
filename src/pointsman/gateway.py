"""The gateway: from Settings to answers, and from one configuration to the next.

async with Gateway.from_config("pointsman.yaml") as gateway:
    answer = await gateway.chat([{"role": "user", "content": "hi"}], model="auto")
    print(answer.text, answer.cost_usd, answer.deployment)

What lives as long as the process is kept here: clock, transport, ledger, metrics, observers. What
follows from the configuration is a `Generation`; `reload` swaps it. `composition.py` names the
concrete classes, `inprocess.py` has what applications call.
"""

from __future__ import annotations

import itertools
import os
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

import orjson
from msgspec.structs import replace

from pointsman.alerts.alerts import Alerts
from pointsman.books import Books, check_shared
from pointsman.clock import Clock, SystemClock, Timer
from pointsman.composition import Parts, history_of, make_transport
from pointsman.config.load import load, loads
from pointsman.config.settings import Settings
from pointsman.domain.call import Caller
from pointsman.domain.content import JsonObject
from pointsman.domain.request import Request, RouteOptions
from pointsman.errors import ConfigError, Overloaded
from pointsman.generation import Generation
from pointsman.health import Health
from pointsman.inprocess import InProcess
from pointsman.ledger.entries import LedgerStore
from pointsman.observe.budget_metrics import show_redis
from pointsman.observe.events import Observer, Observers
from pointsman.observe.logs import log_change, log_entry
from pointsman.observe.metrics import Metrics
from pointsman.pipeline.build import DeploymentStack
from pointsman.pipeline.call import Call
from pointsman.pipeline.outage import Change
from pointsman.pipeline.service import Reply
from pointsman.providers.local_load import LocalLoad
from pointsman.providers.preload import Preload
from pointsman.providers.transport import Transport
from pointsman.routing.tokens import estimate_request
from pointsman.shelf import Shelf
from pointsman.upkeep import Upkeep

METRICS_DIRECTORY_VARIABLE = "POINTSMAN_METRICS_DIRECTORY"
"""Set by `serve` where several workers put their metrics together."""

SHARE_EVERY_S = 1.0
"""How old another worker's metrics may be, in seconds."""


Follower = Callable[[Generation], object]


class Gateway(InProcess):
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
        self.clock = clock = clock if clock is not None else SystemClock()
        self._transport = transport if transport is not None else make_transport(settings)
        prefix = secrets.token_hex(8)
        self._prefix = f"req_{prefix}"
        self._count = itertools.count(1)
        metrics_directory = os.environ.get(METRICS_DIRECTORY_VARIABLE)
        self._is_one_of_many = metrics_directory is not None
        self._started = settings
        self._check(settings)
        self.books = Books(settings, clock, ledger)
        self.ledger = self.books.ledger
        self.metrics = Metrics(
            {},
            lambda: self.ledger.lost,
            directory=None if metrics_directory is None else Path(metrics_directory),
        )
        self.shelf = Shelf(settings, clock)
        self.alerts = Alerts(settings.alerts, self.books.kept.store, clock, self._transport)
        self.books.treasury.listen(self.alerts.settled)
        self.books.treasury.listen_refused(self.alerts.refused)
        self._upkeep = Upkeep(self.books.kept.store, clock)
        self._parts = Parts(
            clock,
            rng if rng is not None else random.Random(),
            self._transport,
            Observers((self.ledger.append, self.metrics, log_entry, self.alerts.entry, *observers)),
            prefix,
            changed=self._breaker_changed,
            treasury=self.books.treasury,
            shelf=self.shelf,
            allows=self.alerts.allows,
            denied=partial(self.metrics.count, "pointsman_budget_denials_total"),
        )
        self.vitals = Health()
        self._followers: list[Follower] = []
        self._take(Generation(settings, self._parts))
        self.metrics.watch("pointsman_config_loaded_seconds", lambda: {(): self.vitals.loaded_at})
        self.metrics.watch("pointsman_provider_keys_refused", self._keys_refused)
        self._local_load = LocalLoad(self._transport, clock)
        history = history_of(self.books.kept.store)
        self._preload = Preload(self._transport, clock, history=history)
        self.follow(lambda new: self.books.follow(new.settings.budgets))
        self.follow(lambda new: self.alerts.follow(new.settings.alerts))
        self.follow(lambda new: self._local_load.follow(new.settings, new.stacks))
        self.follow(lambda new: self._preload.follow(new.settings, new.stacks))
        self._local_load.show(self.metrics)
        self.books.show(self.metrics)
        show_redis(self.metrics, {**self.books.redis_uses, **self.shelf.redis_uses})
        self.metrics.watch("pointsman_alerts_raised_total", self._alerts_raised)
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
        """Begin to share metrics where there are several workers, to watch local servers, and to
        make ready what is to be (preload.py). Other connections are made as they are needed."""
        if os.environ.get(METRICS_DIRECTORY_VARIABLE) is not None:
            self._share_metrics()
        await self.books.start()
        await self.alerts.start()
        await self._upkeep.start()
        await self._local_load.start()
        await self._preload.start()
        self.vitals.phase = "serving"

    def _share_metrics(self) -> None:
        self.metrics.share()
        self._sharing = self.clock.call_later(SHARE_EVERY_S, self._share_metrics)

    async def close(self) -> None:
        """Close connections and make the ledger durable."""
        self._is_closed = True
        if self._sharing is not None:
            self._sharing.cancel()
            self.metrics.share()
        await self._preload.close()
        await self._local_load.close()
        await self._upkeep.close()
        await self.shelf.close()
        await self.books.close()
        await self.alerts.close()
        await self._transport.close()

    # From one configuration to the next.

    @property
    def settings(self) -> Settings:
        """The configuration that new calls go by."""
        return self.current.settings

    @property
    def generation(self) -> str:
        """The digest of what that configuration means: config/meaning.py."""
        return self.current.id

    @property
    def stacks(self) -> Mapping[str, DeploymentStack]:
        """The deployments' stacks that new calls go to, by name."""
        return self.current.stacks

    def reload(self, settings: Settings) -> None:
        """Go by other settings from the next call on; calls under way end as they began.

        Ledger, transport and where the server listens stay as they were at the start. Raises
        ConfigError, and then nothing has changed.
        """
        self.swap(self.prepare(settings))

    def prepare(self, settings: Settings) -> Generation:
        """Build and rehearse what `swap` takes, changing nothing; may run on another thread."""
        self._check(settings)
        generation = Generation(settings, self._parts, self.current)
        generation.rehearse()
        return generation

    def _check(self, settings: Settings) -> None:
        if self._is_one_of_many:
            is_first = settings is self._started
            check_shared(settings, None if is_first else self._started)

    def swap(self, generation: Generation) -> None:
        """Put a prepared generation in place, between two calls; on the event loop."""
        generation.take_effect()
        self._take(generation)

    def follow(self, follower: Follower) -> None:
        """Call `follower` now and at every swap; for what belongs to a generation elsewhere. It
        runs on the event loop and must not raise."""
        self._followers.append(follower)
        follower(self.current)

    def _take(self, generation: Generation) -> None:
        self.current = generation
        self.metrics.stacks = generation.stacks
        self.vitals.loaded_at = self.clock.wall()
        for follower in self._followers:
            follower(generation)

    def _breaker_changed(self, change: Change) -> None:
        self.metrics.breaker_changed(change)
        log_change(change)

    def _keys_refused(self) -> Mapping[tuple[str, ...], float]:
        return {(name,): chain.aside for name, chain in self.current.keys.items() if chain.refusals}

    def _alerts_raised(self) -> Mapping[tuple[str, ...], float]:
        # Copied at once: the thread of the alerts adds to it.
        return {(kind,): count for kind, count in self.alerts.raised.copy().items()}

    def health(self) -> JsonObject:
        """Tell whether traffic can be served, and why not: `ready`, `reasons` and the rest."""
        return self.vitals.told(self.current, self.ledger)

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
        said_user = user or request.user
        if (said_user and caller.user is None) or (app and caller.app is None):
            caller = replace(caller, user=caller.user or said_user, app=caller.app or app)
        current = self.current
        target = current.resolve(request.model)
        timeouts = current.timeouts_of(target)
        if target.prefer is not None and options.prefer is None:
            options = replace(options, prefer=target.prefer)
        total = timeouts.total_s
        if options.timeout_s is not None:
            total = min(total, options.timeout_s)
        if caller.max_cost_nano is not None:
            said = options.max_cost_nano
            least = caller.max_cost_nano if said is None else min(said, caller.max_cost_nano)
            options = replace(options, max_cost_nano=least)
        if options.fallbacks:
            options = replace(options, fallbacks=current.fallbacks(caller, options.fallbacks))
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
        return await self.current.stack_for(call)(call)

    def explain(self, call: Call) -> JsonObject:
        """Decide without calling anybody, and tell why."""
        return self.current.explain(call)

    def models(self, caller: Caller) -> list[JsonObject]:
        """List what this caller may ask for, in OpenAI's shape: routes first."""
        return self.current.models(caller)

    def count_tokens(self, call: Call) -> int:
        """Estimate the input tokens of a call that its caller may make."""
        self.current.stack_for(call)
        return estimate_request(call.request)

    def __repr__(self) -> str:
        return f"Gateway({self.settings.origin})\n{self.current.stacks_shown()}"
