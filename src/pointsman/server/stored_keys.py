"""What a worker has of the store's keys: the directory, and the admin API where it listens."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from pointsman.access.directory import Directory
from pointsman.access.pepper import pepper_given
from pointsman.clock import Clock, SystemClock
from pointsman.config.settings import LedgerSettings, Settings
from pointsman.gateway import Gateway
from pointsman.server.admin import AdminApp
from pointsman.server.http import HttpServer
from pointsman.store.open import Store

TIMEOUT_S = 2.0
"""The longest that a look-up of keys waits for the store; no request waits for it."""


class StoredKeys:
    """`directory` and `store` are None where the ledger is in memory."""

    def __init__(self, store: Store | None, clock: Clock, pepper: bytes | None = None) -> None:
        self.store = store
        self._clock = clock
        self._pepper = pepper
        self.directory = None if store is None else Directory(store, clock, pepper)
        self._admin: AdminApp | None = None
        self._server: HttpServer | None = None

    @classmethod
    def of(cls, settings: Settings, environment: Mapping[str, str] = os.environ) -> StoredKeys:
        """Raises ConfigError for a pepper that could be guessed."""
        clock = SystemClock()
        return cls(store_of(settings.ledger, clock), clock, pepper_given(environment))

    async def start(self, gateway: Gateway) -> None:
        """Read the store, and have the gateway go by the limits that are kept there."""
        if self.directory is not None:
            await self.directory.start()
            self.directory.follow(gateway.books.follow_stored)

    async def administer(self, gateway: Gateway, listener: socket.socket) -> None:
        """Serve the admin API on a listener, which stays the caller's."""
        admin = self._admin = AdminApp(
            gateway.settings,
            self._clock,
            self.store,
            pepper=self._pepper,
            directory=self.directory,
        )
        gateway.follow(lambda generation: admin.follow(generation.settings))
        self._server = HttpServer(admin, gateway.settings.server, clock=self._clock)
        await self._server.start([listener])

    async def close(self) -> None:
        if self._server is not None:
            await self._server.close()
        if self._admin is not None:
            await self._admin.close()
        if self.directory is not None:
            await self.directory.close()

    def __repr__(self) -> str:
        return f"StoredKeys({self.directory}, {self._admin})"


def store_of(ledger: LedgerSettings, clock: Clock) -> Store | None:
    """The ledger's store; None where it is in memory."""
    if ledger.url is not None:
        return Store.of(ledger.url.reveal(), clock, timeout_s=TIMEOUT_S, connect_s=TIMEOUT_S)
    if ledger.path is not None:
        return Store.of(ledger.path, clock, timeout_s=TIMEOUT_S)
    return None
