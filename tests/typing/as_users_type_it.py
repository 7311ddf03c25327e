"""The public API as an application types it. mypy strict reads this file with all others; the
test beside it runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from decimal import Decimal

from pointsman import (
    AllFailed,
    Answer,
    Caller,
    Gateway,
    LedgerEntry,
    PointsmanError,
    RouteOptions,
    __version__,
)

version: str = __version__
HELLO: list[dict[str, str]] = [{"role": "user", "content": "Hello"}]


async def ask(config: Mapping[str, object], seen: list[LedgerEntry]) -> Answer:
    """Ask once, as a caller of one's own, told what for."""
    async with Gateway.from_config(config, observers=[seen.append]) as gateway:
        answer = await gateway.chat(
            HELLO,
            model="auto",
            caller=Caller(key="shop", team="sales"),
            options=RouteOptions(prefer="cost", tags={"page": "home"}),
            temperature=0.2,
        )
    text: str = answer.text
    cost: Decimal | None = answer.cost_usd
    deployment: str = answer.deployment.name
    outcomes: list[str] = [attempt.outcome for attempt in answer.attempts]
    assert text and cost is not None and deployment and outcomes
    return answer


async def words(gateway: Gateway) -> AsyncIterator[str]:
    """Stream an answer's text."""
    async with await gateway.stream(HELLO) as events:
        yield await events.text()


async def why_twice(gateway: Gateway) -> list[str | None]:
    """Ask the same twice, whole, then as a stream, and tell why each came from where it came.

    What is in the cache was not decided.
    """
    told: list[str | None] = []
    for _ in range(2):
        answer = await gateway.chat(HELLO)
        told.append(None if answer.decision is None else answer.decision.route)
        assert answer.is_cached == (answer.decision is None)
    async with await gateway.stream(HELLO) as events:
        told.append(None if events.decision is None else events.decision.route)
        assert events.is_cached == (events.decision is None)
        await events.text()
    return told


async def status_of_failure(gateway: Gateway) -> int:
    """Ask where nobody can answer."""
    try:
        await gateway.chat(HELLO)
    except AllFailed as error:
        kinds: list[str] = [failure.kind for failure in error.failures]
        assert kinds
        return error.status
    except PointsmanError as error:
        code: str = error.code
        assert code
    return 0
