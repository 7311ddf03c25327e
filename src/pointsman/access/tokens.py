"""Tokens: what an API key of ours looks like, and what is kept of it.

    pm_ | 8 characters: its public id | 43: 32 random bytes | 6: a checksum        all base62

The prefix lets people and scanners recognise one. The public id finds it, so that no secret is
ever looked up by comparing texts. The checksum keeps misspelt keys and guesses from any further
work. What is kept is HMAC-SHA256 of the whole token under a pepper: 256 random bits cannot be
guessed, so a slow hash would protect nothing, and a stolen table is useless without the pepper.
"""

from __future__ import annotations

import hmac
import re
import secrets
import zlib
from typing import Final, NamedTuple

PREFIX: Final = "pm_"
ID_CHARS: Final = 8
SECRET_BYTES: Final = 32

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_CHARS: Final = 43  # 62 ** 43 > 2 ** 256
_CHECK_CHARS: Final = 6  # 62 ** 6 > 2 ** 32
_GRAMMAR: Final = re.compile(
    rb"(pm_([0-9A-Za-z]{%d})[0-9A-Za-z]{%d})([0-9A-Za-z]{%d})"
    % (ID_CHARS, _SECRET_CHARS, _CHECK_CHARS)
)


class Minted(NamedTuple):
    """A new token: its public id, and the text that is shown once."""

    id: str
    text: str


def mint() -> Minted:
    id = "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARS))
    secret = _base62(int.from_bytes(secrets.token_bytes(SECRET_BYTES)), _SECRET_CHARS)
    body = f"{PREFIX}{id}{secret}"
    return Minted(id, body + _check(body.encode()))


def public_id(shown: bytes) -> str | None:
    """The public id of what may be a token of ours; None for what cannot be one."""
    match = _GRAMMAR.fullmatch(shown)
    if match is None or _check(match[1]).encode() != match[3]:
        return None
    return match[2].decode()


def digest(pepper: bytes, token: bytes) -> bytes:
    """What is kept of a token."""
    return hmac.digest(pepper, token, "sha256")


def new_id(kind: str) -> str:
    """An id that says what it is of: `key_…`."""
    return f"{kind}_{''.join(secrets.choice(_ALPHABET) for _ in range(12))}"


def _check(body: bytes) -> str:
    return _base62(zlib.crc32(body), _CHECK_CHARS)


def _base62(number: int, chars: int) -> str:
    text = ""
    for _ in range(chars):
        number, digit = divmod(number, 62)
        text = _ALPHABET[digit] + text
    return text
