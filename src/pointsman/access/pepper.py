"""The pepper: what digests of keys are made with, beside the keys themselves.

It comes from the environment (POINTSMAN_KEY_PEPPER), so that a copy of the store alone is no use
to anybody, or is made at random and kept in the store. Which of the two, and that it is still the
same, is checked at every start: another pepper would turn every good key into an unknown one.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Final

from pointsman.access.tokens import digest
from pointsman.errors import ConfigError
from pointsman.store.database import Database

VARIABLE: Final = "POINTSMAN_KEY_PEPPER"
LEAST_CHARS: Final = 24
_PROVED: Final = b"pointsman pepper"


def pepper_given(environment: Mapping[str, str]) -> bytes | None:
    """The pepper of the environment. Raises ConfigError for one that could be guessed."""
    text = environment.get(VARIABLE)
    if text is None:
        return None
    if len(text) < LEAST_CHARS:
        raise ConfigError(
            f"{VARIABLE}: fewer than {LEAST_CHARS} characters; take random ones, such as "
            "openssl rand -hex 32, or unset it to have one made and kept in the ledger"
        )
    return text.encode()


def settled_pepper(database: Database, given: bytes | None) -> bytes:
    """The store's pepper, made if there is none. Raises ConfigError where `given` is another."""
    rows = _kept(database)
    if not rows:
        made = secrets.token_bytes(32)
        proof = digest(given or made, _PROVED)
        database.run(
            "INSERT INTO access_pepper (one, pepper, proof) VALUES (1, ?, ?) "
            "ON CONFLICT (one) DO NOTHING",
            (made if given is None else None, proof),
        )
        rows = _kept(database)  # Another worker may have been first.
    ((kept, proof),) = rows
    pepper = given if given is not None else kept
    if pepper is None:
        raise ConfigError(f"the keys in the ledger were made with {VARIABLE}; set it again")
    if not hmac.compare_digest(digest(bytes(pepper), _PROVED), bytes(proof)):
        raise ConfigError(
            f"{VARIABLE}: not the one that the keys in the ledger were made with; set that one"
            + (" (or none: it is kept in the ledger)" if kept is not None else "")
        )
    return bytes(pepper)


def _kept(database: Database) -> list[tuple[bytes | None, bytes]]:
    return [(row[0], row[1]) for row in database.rows("SELECT pepper, proof FROM access_pepper")]
