"""Reload: from a file that changed to the next generation, or to a line that says what is wrong.

    look --changed, or SIGHUP--> read, check, build, rehearse (on a thread) --> swap (on the loop)
                                                       \\--wrong--> keep the last good, say so once

Signals that come while one is being answered are answered together, by one more reload.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from pointsman.clock import Clock
from pointsman.composition import connect_s_of
from pointsman.config.settings import Settings
from pointsman.config.source import Source
from pointsman.errors import ConfigError
from pointsman.gateway import Gateway
from pointsman.generation import Generation

SETTLE_S = 0.05
"""Between noticing a change and reading it: whoever writes may still be at it."""

MOST_TOLD = 64
"""Mistakes that are remembered as told, the newest."""

_log = logging.getLogger("pointsman")


class Reloader:
    """Keeps a gateway at what its source says. `run` is a task's; `hurry` answers SIGHUP."""

    def __init__(self, gateway: Gateway, source: Source, clock: Clock) -> None:
        self._gateway = gateway
        self._source = source
        self._clock = clock
        self._started_with = gateway.settings
        self._woken = asyncio.Event()
        self._is_asked = False
        self._told: deque[str] = deque(maxlen=MOST_TOLD)

    def hurry(self) -> None:
        """Reload now, changed or not: keys that were refused are tried again."""
        self._is_asked = True
        self._woken.set()

    async def run(self) -> None:
        """Look every `server.reload_s` until cancelled."""
        while True:
            every_s = self._gateway.settings.server.reload_s
            timer = self._clock.call_later(every_s, self._woken.set) if every_s > 0 else None
            try:
                await self._woken.wait()
            finally:
                if timer is not None:
                    timer.cancel()
            self._woken.clear()
            is_asked, self._is_asked = self._is_asked, False
            if not is_asked:
                if not await asyncio.to_thread(self._source.has_changed):
                    continue
                await self._clock.sleep(SETTLE_S)
            await self.reload()

    async def reload(self) -> bool:
        """Read and swap; False where what was read is no good."""
        try:
            generation = await asyncio.to_thread(self._prepare)
        except ConfigError as error:
            self._reject(error.message)
            return False
        except Exception:  # noqa: BLE001
            # The outermost edge of a reload: a mistake of ours must not end what serves.
            _log.exception("config.crashed source=%s", self._source)
            self._reject("our own mistake; the log above has it")
            return False
        was = self._gateway.generation
        self._gateway.swap(generation)
        self._accept(was, generation)
        return True

    def _prepare(self) -> Generation:
        return self._gateway.prepare(self._source.read())

    def _accept(self, was: str, generation: Generation) -> None:
        vitals, metrics = self._gateway.vitals, self._gateway.metrics
        vitals.rejected_since = None
        metrics.count("pointsman_config_reloads_total", "ok")
        self._told.clear()
        _log.info("config.loaded generation=%s before=%s", generation.id, was)
        waits = needs_restart(self._started_with, generation.settings)
        if waits and waits != vitals.waits:
            _log.warning("config.needs_restart fields=%s", ",".join(waits))
        vitals.waits = waits

    def _reject(self, message: str) -> None:
        vitals, metrics = self._gateway.vitals, self._gateway.metrics
        if vitals.rejected_since is None:
            vitals.rejected_since = self._clock.wall()
        metrics.count("pointsman_config_reloads_total", "rejected")
        said = f"{self._source.content} {message}"
        if said in self._told:
            return
        self._told.append(said)
        first, *others = message.splitlines()
        more = f" (and {len(others)} more: `pointsman check` lists them)" if others else ""
        _log.error("config.rejected kept=%s error=%r%s", self._gateway.generation, first, more)


def needs_restart(old: Settings, new: Settings) -> tuple[str, ...]:
    """What a new configuration says that a process cannot take up while it runs."""
    fields = (
        ("server", "host"),
        ("server", "port"),
        ("server", "workers"),
        ("server", "transport"),
        ("server", "max_connections"),
        ("server", "max_connections_per_address"),
        ("admin", "host"),
        ("admin", "port"),
        ("ledger", "path"),
        ("ledger", "url"),
        ("ledger", "flush_s"),
        ("ledger", "batch_rows"),
    )
    found = [
        f"{block}.{field}"
        for block, field in fields
        if getattr(getattr(old, block), field) != getattr(getattr(new, block), field)
    ]
    if bool(old.admin.tokens) != bool(new.admin.tokens):
        found.append("admin.tokens")
    if connect_s_of(old) != connect_s_of(new):
        found.append("timeouts.connect_s")
    return tuple(found)
