"""A gateway that kills itself: `python -m crash.child serve …` is `pointsman serve …`, wrapped.

`CRASH_POINT` says where and `CRASH_NTH` at which passing; `CRASH_MARK` is a file that gets the
point's name before. The product knows nothing of this: its ledger, shipping, leases and transport
are replaced by subclasses before it is put together. With `CRASH_REPEAT` whatever is told to the
store is told again, the batch before it too, so that nothing may rest on being told once.

K0 before the hold is logged   K1 logged, nothing sent      K2 request sent, no answer
K3 in the middle of an answer  K4 usage seen, not logged    K5 settled in the log, not told
K6 told, not known to be told  K7 while recovering another  K8 lease granted, not known
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Final

from pointsman import books, composition, gateway
from pointsman.budgets.escrow import Lease, Refused, Want
from pointsman.budgets.escrow_store import StoreEscrow
from pointsman.config.settings import Settings
from pointsman.ledger import keeper, opening, recovery
from pointsman.ledger.shipping import Shipping
from pointsman.providers.transport import Endpoint, HttpRequest, HttpResponse, Transport
from pointsman.store.database import Database
from pointsman.wal.replay import Item

POINTS: Final = ("K0", "K1", "K2", "K3", "K4", "K5", "K6", "K7", "K8")
SENT_S: Final = 0.004
"""After so long a request is with the provider, whose first token takes longer."""


PR_SET_PDEATHSIG: Final = 1
LOOK_S: Final = 0.5
"""How old metrics of all accounts may be: not ten seconds, which would be waited for."""


class Killer:
    """Dies when its point is come to for the nth time; `at` says whether it is its point."""

    def __init__(self, point: str, nth: int, mark: str) -> None:
        self._point = point
        self._left = nth
        self._mark = mark

    def is_due(self, point: str) -> bool:
        if point == self._point:
            self._left -= 1
        return point == self._point and self._left == 0

    def at(self, point: str) -> None:
        if self.is_due(point):
            self.die()

    def die(self) -> None:
        if self._mark:
            file = os.open(self._mark, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(file, f"{self._point}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


KILLER = Killer(
    os.environ.get("CRASH_POINT", ""),
    int(os.environ.get("CRASH_NTH", "1")),
    os.environ.get("CRASH_MARK", ""),
)
REPEATS = bool(os.environ.get("CRASH_REPEAT"))


class DyingLedger(keeper.KeptLedger):
    def dispatch(
        self, attempt_id: str, parts: Sequence[tuple[int, int]], amount: int, note: bytes
    ) -> None:
        KILLER.at("K0")
        super().dispatch(attempt_id, parts, amount, note)
        KILLER.at("K1")

    def settle(
        self,
        attempt_id: str,
        charges: Sequence[tuple[int, int, int]],
        exact: bool,
        charged_nano: int | None = None,
    ) -> None:
        KILLER.at("K4")
        super().settle(attempt_id, charges, exact, charged_nano)
        if KILLER.is_due("K5"):
            if self._log is not None:
                self._log.flush()
            KILLER.die()


class DyingShipping(Shipping):
    """Of the worker itself."""

    _before: Sequence[Item] = ()

    def ship(self, database: Database, items: Sequence[Item]) -> None:
        super().ship(database, items)
        KILLER.at("K6")
        if REPEATS:
            super().ship(database, self._before)
            super().ship(database, items)
            self._before = items


class RecoveringShipping(Shipping):
    """Of one whose log is recovered: K7 is after a part of it was told, or before the end."""

    def ship(self, database: Database, items: Sequence[Item]) -> None:
        super().ship(database, items)
        KILLER.at("K7")

    def end(self, database: Database, seq: int, *, is_sure: bool = True) -> None:
        KILLER.at("K7")
        super().end(database, seq, is_sure=is_sure)


class DyingEscrow(StoreEscrow):
    def grant(self, wants: Sequence[Want]) -> list[Lease] | Refused:
        granted = super().grant(wants)
        if not isinstance(granted, Refused):
            KILLER.at("K8")
        return granted


class DyingResponse:
    def __init__(self, response: HttpResponse) -> None:
        self._response = response
        self._reads = 0
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        KILLER.at("K3")
        return await self._response.read()

    async def read_some(self) -> bytes:
        data = await self._response.read_some()
        self._reads += 1
        if self._reads == 2:
            KILLER.at("K3")
        return data

    def abort(self) -> None:
        self._response.abort()


class DyingTransport:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, request: HttpRequest) -> HttpResponse:
        if KILLER.is_due("K2"):
            asyncio.get_running_loop().call_later(SENT_S, KILLER.die)
        return DyingResponse(await self._transport.send(request))

    async def warm(self, endpoint: Endpoint) -> None:
        await self._transport.warm(endpoint)

    async def close(self) -> None:
        await self._transport.close()


def dying_transport(settings: Settings) -> Transport:
    return DyingTransport(composition.make_transport(settings))


REPLACED: Final[tuple[tuple[ModuleType, str, object], ...]] = (
    (gateway, "make_transport", dying_transport),
    (opening, "KeptLedger", DyingLedger),
    (opening, "Shipping", DyingShipping),
    (recovery, "Shipping", RecoveringShipping),
    (books, "StoreEscrow", DyingEscrow),
    (books, "LOOK_S", LOOK_S),
)


def arm() -> None:
    """Put the dying parts in the place of the product's own."""
    for module, name, part in REPLACED:
        if not hasattr(module, name):
            raise AttributeError(f"{module.__name__} has no {name} to be replaced any more")
        setattr(module, name, part)


def end_with_parent() -> None:
    """Have the kernel end this process when whoever started it has ended, however it did."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


if __name__ == "__main__":
    from pointsman.cli.main import main

    end_with_parent()
    arm()
    main(prog_name="pointsman")
