"""Names and ids of tool calls that the other side will accept, made from any by rule.

The rule has no memory: the same id gives the same answer in the call and in its result, on
every attempt and on every replica.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from hashlib import sha256

_ANTHROPIC_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OPENAI_ID = re.compile(r"[\x21-\x7e]{1,40}")
_MISTRAL_ID = re.compile(r"[A-Za-z0-9]{9}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_-]")
_MISTRAL_MODEL = re.compile(
    r"(?:^|/)(?:open-)?(?:mistral|mixtral|ministral|codestral|magistral|devstral|pixtral|voxtral)"
)

IdRule = Callable[[str], str]


def anthropic_id(given: str) -> str:
    """Keep an id of letters, digits, `_` and `-` (Anthropic's rule), else derive one."""
    if _ANTHROPIC_ID.fullmatch(given):
        return given
    return "toolu_" + _digest(given)[:24]


def openai_id(given: str) -> str:
    """Keep an id of at most 40 printable characters (OpenAI's limit), else derive one."""
    if _OPENAI_ID.fullmatch(given):
        return given
    return "call_" + _digest(given)[:24]


def mistral_id(given: str) -> str:
    """Keep an id of nine letters and digits (all that Mistral's API takes), else derive one."""
    if _MISTRAL_ID.fullmatch(given):
        return given
    return _digest(given)[:9]


def id_rule_for(model: str) -> IdRule:
    """Return the rule for ids in a request to `model` in OpenAI's dialect."""
    return mistral_id if _MISTRAL_MODEL.search(model.lower()) else openai_id


def portable_name(name: str) -> str:
    """Keep a name that both dialects take (64 letters, digits, `_`, `-`), else derive one."""
    if _NAME.fullmatch(name):
        return name
    return f"{_NOT_IN_NAME.sub('_', name)[:54]}_{_digest(name)[:9]}"


def given_names(names: Iterable[str]) -> dict[str, str]:
    """Return portable name → the client's own, for the names that had to change."""
    return {short: name for name in names if (short := portable_name(name)) != name}


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
