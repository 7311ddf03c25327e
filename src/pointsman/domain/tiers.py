"""The words for tiers of service that providers use, and the lanes of prices they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

STANDARD: Final[Mapping[str, str]] = {
    "default": "",
    "standard": "",
    "auto": "",
    "on_demand": "",
    "scale": "",
}
"""OpenAI's and Anthropic's words for what the list price is of; Groq's `on_demand`; OpenAI's
`scale` is paid ahead and has no other list price."""

ANTHROPIC: Final[Mapping[str, str]] = {"standard": "", "priority": "", "batch": "batch"}
"""Anthropic's `priority` is capacity that was bought ahead, at no list price of its own."""


def tier_of(word: object, meaning: Mapping[str, str] = STANDARD) -> str:
    """The lane a provider names, "" for the standard one; its own word where it is another."""
    if type(word) is not str or not word:
        return ""
    word = word.lower()[:32]
    return meaning.get(word, word)
