"""How much is tried, and which: POINTSMAN_FUZZ multiplies the cases, POINTSMAN_SEED chooses them,
POINTSMAN_CASE runs a single one of a numbered suite. `make fuzz` sets the first two."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

SEED = int(os.environ.get("POINTSMAN_SEED", "1"))
FACTOR = float(os.environ.get("POINTSMAN_FUZZ", "1"))
_ONE = os.environ.get("POINTSMAN_CASE")


def many(short: int) -> int:
    """Say how many cases a suite runs that has `short` of them in CI."""
    return max(1, round(short * FACTOR))


def numbers(short: int) -> list[int]:
    """Name the cases of a numbered suite."""
    return [int(_ONE)] if _ONE else list(range(many(short)))


class Crashes(logging.Handler):
    """Keeps what the log says at ERROR and above: nothing that a stranger sends may cause it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            message += f": {record.exc_info[1]!r}"
        self.heard.append(message)


@contextmanager
def listening() -> Iterator[Crashes]:
    """Hear of crashes, of ours and the event loop's; keep the lines of refused requests out."""
    crashes = Crashes()
    loggers = [logging.getLogger(name) for name in ("pointsman", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(crashes)
        logger.setLevel(logging.ERROR)
    try:
        yield crashes
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(crashes)
            logger.setLevel(level)


def watch_loop(loop: asyncio.AbstractEventLoop, crashes: Crashes) -> None:
    """Hear also of what the loop's callbacks raise."""
    loop.set_exception_handler(lambda _, context: crashes.heard.append(str(context)))
