"""Pointsman: an LLM router that decides, falls back, accounts and explains.

from pointsman import Gateway

async with Gateway.from_config("pointsman.yaml") as gateway:
    answer = await gateway.chat([{"role": "user", "content": "Hello"}])

The names of `__all__` are the public API. They are imported when they are first asked for
(PEP 562), so that `import pointsman` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pointsman.answers import Answer, AnswerStream
    from pointsman.domain.call import Caller
    from pointsman.domain.request import ChatRequest, RouteOptions
    from pointsman.errors import (
        AllFailed,
        AuthenticationFailed,
        BodyTooLarge,
        BudgetExhausted,
        ConfigError,
        ContextTooLong,
        DeadlineExceeded,
        InvalidRequest,
        NoCandidate,
        NotFound,
        Overloaded,
        PermissionDenied,
        PointsmanError,
        ProviderFailure,
        RateLimited,
        Rejected,
        UnknownModel,
        Unsupported,
    )
    from pointsman.gateway import Gateway
    from pointsman.ledger.entries import LedgerEntry
    from pointsman.pipeline.service import Reply

    __version__: str

__all__ = [
    "AllFailed",
    "Answer",
    "AnswerStream",
    "AuthenticationFailed",
    "BodyTooLarge",
    "BudgetExhausted",
    "Caller",
    "ChatRequest",
    "ConfigError",
    "ContextTooLong",
    "DeadlineExceeded",
    "Gateway",
    "InvalidRequest",
    "LedgerEntry",
    "NoCandidate",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "PointsmanError",
    "ProviderFailure",
    "RateLimited",
    "Rejected",
    "Reply",
    "RouteOptions",
    "UnknownModel",
    "Unsupported",
    "__version__",
]

_HOMES = {
    "Answer": "answers",
    "AnswerStream": "answers",
    "Caller": "domain.call",
    "ChatRequest": "domain.request",
    "Gateway": "gateway",
    "LedgerEntry": "ledger.entries",
    "Reply": "pipeline.service",
    "RouteOptions": "domain.request",
}
"""Where a public name lives; the others are errors."""


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        found: object = version("pointsman")
    elif name in __all__:
        from importlib import import_module

        found = getattr(import_module(f"pointsman.{_HOMES.get(name, 'errors')}"), name)
    else:
        raise AttributeError(f"module 'pointsman' has no attribute {name!r}")
    globals()[name] = found  # asked for once
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
