"""The gateway under test: ours, or any other that can be given the same routes.

A gateway is started for a batch of cells at once; each cell has a route, two deployments and two
providers of its own, so that no cell sees what another left behind (breakers, connections,
slots). What is inside is looked at only where there is a way in: a peer is judged by its client's
side and by the providers' journals alone.
"""

from __future__ import annotations

import logging
import random
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from matrix.fault import PATIENT, SIDES, Cell, Effect, Fault, Side
from matrix.sites import Sites, resolve
from pointsman.gateway import Gateway
from pointsman.ledger.entries import LedgerEntry
from pointsman.ledger.memory import MemoryLedger
from pointsman.providers.lean import LeanTransport
from pointsman.providers.transport import TransportLimits
from pointsman.server.app import App
from pointsman.server.http import HttpServer

KEY = "sk-matrix-0123456789abcdef"
NARROW_KEY = "sk-narrow-0123456789abcdef"
"""A key that may use no route of any cell."""
ELSEWHERE = "elsewhere"
SMALL, LARGE = 20_000, 100_000
NO_RETRIES = {"ratio": 0.0, "floor_per_s": 0.0}
ABLE = ["chat", "tools", "parallel_tools", "vision", "json", "json_schema", "reasoning"]


@dataclass(frozen=True, slots=True)
class Inside:
    """What a cell left behind in the gateway."""

    entries: Sequence[LedgerEntry]
    effects: Mapping[Side, tuple[Effect, int]]
    """What each deployment's breaker keeps: the effect, and the hard failures in a row."""
    in_flight: int


class UnderTest(Protocol):
    name: str

    async def start(self, cells: Sequence[Cell], sites: Sites) -> str:
        """Configure a route for each cell and serve; return the base URL, without `/v1`."""
        ...

    @property
    def key(self) -> str: ...

    def inside(self, cell: Cell) -> Inside | None:
        """Tell what a cell left behind; None where that cannot be seen."""
        ...

    def complaints(self) -> list[tuple[str, str]]:
        """Crashes in the log since the start: (request id or "", message)."""
        ...

    async def stop(self) -> None: ...


class Serving:
    """Our server around a gateway, in this process."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._server = HttpServer(App(gateway), gateway.settings.server, counting=gateway.metrics)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    async def start(self) -> None:
        await self._gateway.start()
        await self._server.start([self._listener])

    async def stop(self) -> None:
        await self._server.close()
        await self._gateway.close()
        self._listener.close()


class Complaints(logging.Handler):
    """Keeps what the log says of crashes: ours, and those that the event loop met."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            message += f": {record.exc_info[1]!r}"
        _, _, rest = message.partition("id=")
        self.found.append((rest.split(" ")[0].split(":")[0], message))

    def heard(self) -> list[tuple[str, str]]:
        found, self.found = self.found, []
        return found


class Pointsman:
    """Our gateway, in this process, with the scaled timeouts of the matrix."""

    name = "pointsman"
    key = KEY

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._complaints = Complaints()

    async def start(self, cells: Sequence[Cell], sites: Sites) -> str:
        self._by_route: dict[str, list[LedgerEntry]] = {}
        self.gateway = Gateway.from_config(
            configuration(cells, sites),
            env={"KEY": KEY, "NARROW_KEY": NARROW_KEY, "PROVIDER_KEY": "sk-provider-0123456789"},
            ledger=MemoryLedger(),
            transport=LeanTransport(TransportLimits(connect_s=1.0, tls_s=1.0), resolve=resolve),
            rng=random.Random(self._seed),
            observers=(self._keep,),
        )
        for logger in ("pointsman", "asyncio"):
            logging.getLogger(logger).addHandler(self._complaints)
        self._serving = Serving(self.gateway)
        await self._serving.start()
        return self._serving.url

    def _keep(self, entry: LedgerEntry) -> None:
        self._by_route.setdefault(entry.requested_model, []).append(entry)

    def inside(self, cell: Cell) -> Inside | None:
        stacks = {side: self.gateway.stacks[cell.deployment(side)] for side in SIDES}
        return Inside(
            self._by_route.get(cell.route, ()),
            {side: effect_of(stack.breaker) for side, stack in stacks.items()},
            sum(stack.meter.in_flight for stack in stacks.values()),
        )

    def complaints(self) -> list[tuple[str, str]]:
        return self._complaints.heard()

    async def stop(self) -> None:
        await self._serving.stop()
        for logger in ("pointsman", "asyncio"):
            logging.getLogger(logger).removeHandler(self._complaints)


def effect_of(breaker: Any) -> tuple[Effect, int]:
    """Read what a breaker keeps. The one place that looks at its inside."""
    if breaker._streak:
        return "hard", breaker._streak
    if breaker._refused or "credential" in breaker.reason or "quota" in breaker.reason:
        return "credential", 0
    if breaker.state == "closed" and breaker.share == 0:
        return "cool", 0
    return "neutral", 0


def may_retry(cell: Cell) -> bool:
    return not isinstance(cell.fault, Fault) or cell.fault.retries


def configuration(cells: Sequence[Cell], sites: Sites) -> dict[str, object]:
    """Write the configuration of a batch, whose cells agree on `retries`."""
    retries = may_retry(cells[0])
    providers: dict[str, object] = {}
    deployments: list[object] = []
    routes: list[object] = []
    for cell in cells:
        fault = cell.fault
        times = fault.times if isinstance(fault, Fault) else PATIENT
        larger = isinstance(fault, Fault) and fault.larger
        for side in SIDES:
            wire = cell.wire(side)
            address = sites.address(cell, side)
            name = cell.deployment(side)
            provider: dict[str, object] = {
                "url": f"{address}/v1" if wire == "openai" else address,
                "dialect": wire,
                "kind": "hosted",
                "key": "env:PROVIDER_KEY",
                "allow_private": True,  # its names lead to this machine
            }
            if address.startswith("https"):
                provider["ca_file"] = str(sites.ca_file)
            providers[f"p{name}"] = provider
            deployments.append(
                {
                    "name": name,
                    "provider": f"p{name}",
                    "model": cell.model(side),
                    "tier": "workhorse",
                    "price": {"input_usd": 1, "output_usd": 2, "cached_input_usd": 0.5},
                    "context_tokens": LARGE if side == "b" and larger else SMALL,
                    "capabilities": ABLE,
                }
            )
        routes.append(
            {
                "name": cell.route,
                "deployments": [cell.deployment("a"), cell.deployment("b")],
                "strategy": "static",
                "order": [cell.deployment("a"), cell.deployment("b")],
                "fallback": {"enabled": cell.fallback},
                "timeouts": {
                    "first_content_s": min(times.first_content_s, times.total_s),
                    "idle_s": min(times.idle_s, times.total_s),
                    "whole_s": min(times.whole_s, times.total_s),
                    "total_s": times.total_s,
                },
            }
        )
    routes.append({"name": ELSEWHERE, "deployments": [cells[0].deployment("a")]})
    return {
        "server": {
            "keys": [
                {"key": "env:KEY", "app": "matrix"},
                {"key": "env:NARROW_KEY", "app": "narrow", "routes": [ELSEWHERE]},
            ],
            "body_mb": 1,
        },
        # The retry budget is the gateway's; here no cell may spend what another needs.
        "retry": {"ratio": 1.0, "floor_per_s": 1000.0} if retries else NO_RETRIES,
        "providers": providers,
        "deployments": deployments,
        "routes": routes,
    }
