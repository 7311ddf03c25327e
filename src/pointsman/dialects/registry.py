"""The dialects by name."""

from __future__ import annotations

from functools import cache

from pointsman.dialects.anthropic.dialect import Anthropic
from pointsman.dialects.dialect import Dialect
from pointsman.dialects.openai_chat.dialect import OpenAIChat
from pointsman.domain.billing import BillingRule

_ALL: tuple[Dialect, ...] = (OpenAIChat(), Anthropic())

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in _ALL}
"""A third dialect is a third entry, and must pass tests/contracts."""


@cache
def dialect_of(name: str, rule: BillingRule) -> Dialect:
    """The dialect as a provider with this rule speaks it."""
    return OpenAIChat(rule) if name == OpenAIChat.name else DIALECTS[name]
