"""A race of two attempts: the first content wins, and nothing of the race is left behind.

Each attempt runs in a task of its own; `race` is their owner. Whoever wins, fails, raises or is
cancelled from above: when `race` returns, every task has ended, and every reply but the winner's
is closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from pointsman.clock import Clock
from pointsman.errors import PointsmanError
from pointsman.pipeline.attempt import Asking
from pointsman.pipeline.service import Reply
from pointsman.routing.plan import Failed

_log = logging.getLogger("pointsman")

Run = asyncio.Future[Reply | Failed]


class Finish(msgspec.Struct, frozen=True):
    """How a race ended: with a winner and its reply, or with nothing but failures."""

    winner: Asking | None = None
    reply: Reply | None = None
    failures: tuple[Failed, ...] = ()


async def race(
    first: Asking, after_s: float, second: Callable[[], Asking | None], clock: Clock
) -> Finish:
    """Run `first`; if it has not ended after `after_s` seconds, what `second` makes beside it."""
    due: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def late() -> None:
        if not due.done():
            due.set_result(None)

    timer = clock.call_later(after_s, late)
    opening: Run = asyncio.ensure_future(first.run())
    runs: dict[Run, Asking] = {opening: first}
    won: Run | None = None
    try:
        await asyncio.wait((opening, due), return_when=asyncio.FIRST_COMPLETED)
        if not opening.done() and (rival := second()) is not None:
            runs[asyncio.ensure_future(rival.run())] = rival
        failures: list[Failed] = []
        pending = set(runs)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            # In the order in which they were asked: where both are there, the first one wins.
            for run in [each for each in runs if each in done]:
                ended = run.result()
                if isinstance(ended, Reply):
                    won = run
                    return Finish(runs[run], ended, tuple(failures))
                failures.append(ended)
        return Finish(failures=tuple(failures))
    finally:
        timer.cancel()
        due.cancel()
        await _end(runs, won)


async def _end(runs: dict[Run, Asking], won: Run | None) -> None:
    """Call off all but the winner and wait until they have ended, come what may."""
    pending = [run for run in runs if run is not won and not run.done()]
    for run in pending:
        run.cancel()
    left: asyncio.CancelledError | None = None
    while pending:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as cancelled:
            left = cancelled  # Our own reader has left meanwhile: the losers first, then we.
        pending = [run for run in pending if not run.done()]
    for run, asking in runs.items():
        if run is won or run.cancelled():
            continue
        error = run.exception()
        if error is None:
            ended = run.result()
            if isinstance(ended, Reply):
                asking.lose(ended)
        elif not isinstance(error, PointsmanError):
            _log.error("race.loser_failed deployment=%s", asking.name, exc_info=error)
    if left is not None:
        if won is not None and isinstance(reply := won.result(), Reply):
            reply.close()
        raise left
