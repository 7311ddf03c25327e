"""The dialects by name."""

from __future__ import annotations

from pointsman.dialects.anthropic.dialect import Anthropic
from pointsman.dialects.dialect import Dialect
from pointsman.dialects.openai_chat.dialect import OpenAIChat

_ALL: tuple[Dialect, ...] = (OpenAIChat(), Anthropic())

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in _ALL}
"""A third dialect is a third entry, and must pass tests/contracts."""
