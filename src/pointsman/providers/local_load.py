"""Watch what local servers are doing: how many requests run and wait there, whose or not.

Our own count of attempts in flight sees one worker's requests; a local server serves several
workers and others besides, and a request that waits in its queue looks like any other until it
is late. So servers of kind vllm, llamacpp and ollama are asked, every `load_s` while there is
traffic, seldom while there is none, and what they say is told to their deployments' stacks.

A server that does not answer is no worse a server: failures here are counted, said once in the
log, and touch no request and no breaker. What was told is forgotten after a while (the stack
does that), so silence ends as ignorance.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from msgspec.structs import replace

from pointsman.clock import Clock
from pointsman.config.settings import ProviderSettings, Settings
from pointsman.domain.deployment import Deployment
from pointsman.providers.ask import NoAnswer, ask, root_of
from pointsman.providers.load_formats import (
    BadLoad,
    Loads,
    load_of,
    read_llamacpp,
    read_ollama,
    read_slots,
    read_vllm,
)
from pointsman.providers.transport import HttpRequest, Transport
from pointsman.routing.signals import LoadReport

_log = logging.getLogger("pointsman")

BUSY_S: Final = 60.0
"""Seconds since the last attempt, at whatever deployment, for which there is traffic."""
IDLE_S: Final[Mapping[str, float]] = {"vllm": 30.0, "llamacpp": 30.0, "ollama": 8.0}
"""How often they are asked without traffic, in seconds. Ollama unloads models just then, and what
it says of them must not grow stale (signals.REPORT_S)."""
REST_S: Final = 5.0
"""How long one that failed is left alone, in seconds."""
MISSING_S: Final = 60.0
"""The same for one that has no such page."""
TIMEOUT_S: Final = 1.0
BODY_BYTES: Final = 256 * 1024
COLD_S: Final = 5.0
"""What loading a model is expected to take, in seconds: an 8B model from a fast disk."""

MISSING: Final = frozenset({401, 403, 404, 405, 501})
"""llama.cpp says 501 where it was started without `--metrics`."""

SLOTS_PATH: Final = "/slots"
WAYS: Final[Mapping[str, tuple[tuple[str, Callable[[bytes], Loads]], ...]]] = {
    "vllm": (("/metrics", read_vllm),),
    "llamacpp": (("/metrics", read_llamacpp), (SLOTS_PATH, read_slots)),
    "ollama": (("/api/ps", read_ollama),),
}
"""Where a server of a kind tells its load, best first."""


class NoPage(BadLoad):
    """The server has no page that tells its load, or not for us."""


class Attempts(Protocol):
    @property
    def begun(self) -> int:
        """Attempts so far."""
        ...

    @property
    def in_flight(self) -> int: ...

    def fresh_report(self, now: float) -> LoadReport:
        """What was told last, or nothing of a load where that is too old."""
        ...


class Told(Protocol):
    """What is told the load; `DeploymentStack` in production."""

    @property
    def deployment(self) -> Deployment: ...

    @property
    def meter(self) -> Attempts: ...

    def told(self, report: LoadReport) -> None: ...


class Gauges(Protocol):
    """Where the load is shown; `Metrics` in production."""

    def watch(self, name: str, read: Callable[[], Mapping[tuple[str, ...], float]]) -> None: ...


class Watch:
    """One local server: whom to tell, where to ask, and when next."""

    def __init__(
        self, provider: ProviderSettings, stacks: Sequence[Told], everyone: Sequence[Told]
    ) -> None:
        self.name = provider.name
        self.kind = provider.kind
        self.stacks = tuple(stacks)
        self.every_s = provider.load_s
        self.endpoint = root_of(provider.endpoint)
        key = {} if provider.key is None else {"authorization": f"Bearer {provider.key.reveal()}"}
        self.headers: Mapping[str, str] = {**key, **provider.headers}
        self.slots: int | None = None
        """Requests that it works on at once, 0 where it does not say, None before it was asked."""
        self.is_silent = False
        """Its load is unknown, and the log has said so."""
        self._ways = WAYS[provider.kind]
        self._way = 0
        self._idle_s = IDLE_S[provider.kind]
        self._everyone = everyone
        self._begun = sum(stack.meter.begun for stack in everyone)
        self._busy_at = self._asked_at = self._rest_until = float("-inf")

    @property
    def way(self) -> tuple[str, Callable[[bytes], Loads]]:
        return self._ways[self._way]

    def is_due(self, now: float) -> bool:
        """Is it time to ask? Takes note of traffic on the way: anybody's, for a server whose
        queue keeps our traffic away must be known to be free again."""
        begun = sum(stack.meter.begun for stack in self._everyone)
        if begun != self._begun or any(stack.meter.in_flight for stack in self._everyone):
            self._begun = begun
            self._busy_at = now
        if now < self._rest_until:
            return False
        return now - self._busy_at <= BUSY_S or now - self._asked_at >= self._idle_s

    def asked(self, now: float, rest_s: float = 0.0) -> None:
        """Take note of an answer, or of none, after which it is left alone for `rest_s`."""
        self._asked_at = now
        self._rest_until = now + rest_s

    def turn(self) -> bool:
        """Take the next way to ask; False where all have been tried and the first comes again."""
        self._way = (self._way + 1) % len(self._ways)
        return self._way > 0


class LocalLoad:
    """One task for each local server that is followed; none where there is no such server."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._watches: tuple[Watch, ...] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._is_running = False
        self.failures: dict[str, int] = {}
        """How often a server did not tell its load, by provider."""

    def follow(self, settings: Settings, stacks: Mapping[str, Told]) -> None:
        """Watch the servers of these settings, and no others any more."""
        watches: list[Watch] = []
        everyone = tuple(stacks.values())
        for name, provider in settings.providers.items():
            own = [stack for stack in everyone if stack.deployment.provider == name]
            if own and provider.kind in WAYS and provider.load_s > 0:
                watches.append(Watch(provider, own, everyone))
        self._watches = tuple(watches)
        if self._is_running:
            self._stop()
            self._begin()

    def show(self, gauges: Gauges) -> None:
        """Show what the servers say, and how often they said nothing."""
        parts: dict[str, Callable[[LoadReport], float]] = {
            "running": lambda report: report.running,
            "waiting": lambda report: report.waiting,
            "memory_share": lambda report: report.memory_used,
        }
        for name, part in parts.items():
            gauges.watch(f"pointsman_local_{name}", partial(self._shown, part))
        gauges.watch(
            "pointsman_local_load_unknown_total",
            lambda: {(name,): count for name, count in self.failures.items()},
        )

    def _shown(self, part: Callable[[LoadReport], float]) -> Mapping[tuple[str, ...], float]:
        now = self._clock.now()
        reports = {
            (stack.deployment.name,): stack.meter.fresh_report(now)
            for watch in self._watches
            for stack in watch.stacks
        }
        return {name: part(each) for name, each in reports.items() if each.at > float("-inf")}

    async def start(self) -> None:
        if not self._is_running:
            self._is_running = True
            self._begin()

    async def close(self) -> None:
        self._is_running = False
        self._stop()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = {loop.create_task(self._keep_asking(watch)) for watch in self._watches}

    def _stop(self) -> None:
        for task in self._tasks:
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            task.cancel()
        self._tasks = set()

    async def _keep_asking(self, watch: Watch) -> None:
        while True:
            await self._clock.sleep(watch.every_s)
            if watch.is_due(self._clock.now()):
                await self._look(watch)

    async def _look(self, watch: Watch) -> None:
        try:
            loads = await self._loads(watch)
        except (NoAnswer, BadLoad) as error:
            self.failures[watch.name] = self.failures.get(watch.name, 0) + 1
            watch.slots = None
            watch.asked(self._clock.now(), MISSING_S if isinstance(error, NoPage) else REST_S)
            if not watch.is_silent:
                watch.is_silent = True
                _log.warning("load.unknown provider=%s error=%s", watch.name, error)
            return
        now = self._clock.now()
        watch.asked(now)
        for stack in watch.stacks:
            if (load := load_of(loads, stack.deployment.model)) is not None:
                stack.told(
                    LoadReport(
                        running=load.running,
                        waiting=load.waiting,
                        memory_used=load.memory_used,
                        slots=load.slots,
                        cold_s=0.0 if load.is_loaded else COLD_S,
                        at=now,
                    )
                )
        if watch.is_silent:
            watch.is_silent = False
            _log.info("load.known provider=%s", watch.name)

    async def _loads(self, watch: Watch) -> Loads:
        """Ask in the way that worked, else in the next one. Raises NoAnswer and BadLoad."""
        while True:
            path, read = watch.way
            request = HttpRequest(watch.endpoint, path, b"", watch.headers, method="GET")
            status, body = await ask(
                self._transport, request, self._clock, timeout_s=TIMEOUT_S, body_bytes=BODY_BYTES
            )
            if status == 200:
                return await self._with_slots(watch, read(body))
            if status not in MISSING:
                raise BadLoad(f"{path}: status {status}")
            if not watch.turn():
                raise NoPage(f"{path}: status {status}")

    async def _with_slots(self, watch: Watch, loads: Loads) -> Loads:
        """Add how many requests it works on at once, which llama.cpp tells elsewhere, and seldom
        changes: it is asked for that once, and again after it was away."""
        if watch.slots is None and watch.kind == "llamacpp" and watch.way[0] != SLOTS_PATH:
            watch.slots = 0
            request = HttpRequest(watch.endpoint, SLOTS_PATH, b"", watch.headers, method="GET")
            try:
                status, body = await ask(
                    self._transport,
                    request,
                    self._clock,
                    timeout_s=TIMEOUT_S,
                    body_bytes=BODY_BYTES,
                )
                if status == 200:
                    watch.slots = max(load.slots for load in read_slots(body).values())
            except (NoAnswer, BadLoad):
                pass  # it does without
        if not watch.slots:
            return loads
        return {model: replace(load, slots=watch.slots) for model, load in loads.items()}

    def __repr__(self) -> str:
        return f"LocalLoad({', '.join(watch.name for watch in self._watches) or 'nobody'})"
