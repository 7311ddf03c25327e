"""What we tell a provider in confidence is not repeated, whatever it says of it.

Providers quote requests in their errors: "Incorrect API key provided: sk-…", or a proxy that shows
the whole head. Those words go to clients, logs and the ledger. What keys look like in general is
blotted out where errors are read (`dialects.failures`); here it is exactly the secrets of this
provider, of whatever shape, wherever in an error they stand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

from pointsman.errors import PointsmanError, ProviderFailure

LEAST: Final = 8
"""Shorter ones are no secrets, and would blot out words."""
BLOT: Final = "…"


def confidential(keys: Iterable[str], headers: Mapping[str, str]) -> frozenset[str]:
    """All that went to a provider in confidence, also as JSON writes it."""
    told = {text for text in (*keys, *headers.values()) if len(text) >= LEAST}
    return frozenset(told | {json.dumps(text)[1:-1] for text in told})


def unsaid(text: str, secrets: Iterable[str]) -> str:
    """A text without secrets, longest first: one may be a part of another."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, BLOT)
    return text


def unsaid_bytes(data: bytes, secrets: Iterable[str]) -> bytes:
    """The same of an answer's bytes, before anything is read from them."""
    for secret in sorted(secrets, key=len, reverse=True):
        data = data.replace(secret.encode(), BLOT.encode())
    return data


def quieted(failure: PointsmanError, secrets: frozenset[str]) -> None:
    """Take secrets out of what an error says; the error itself stays what it is."""
    failure.message = unsaid(failure.message, secrets)
    failure.args = tuple(
        unsaid(each, secrets) if isinstance(each, str) else each for each in failure.args
    )
    if isinstance(failure, ProviderFailure) and failure.body:
        failure.body = unsaid_bytes(failure.body, secrets)
