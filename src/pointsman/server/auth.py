"""From an API key to a Caller, or an error; there is no anonymous default where keys exist."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence

from pointsman.config.settings import ApiKey
from pointsman.domain.call import ANONYMOUS, Caller
from pointsman.errors import AuthenticationFailed

KEY_HEADERS = (b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key")
"""Every dialect's way to show a key is taken on every path: SDKs differ, and change."""


class KeyRing:
    """Looks keys up by a keyed hash, so that the time it takes says nothing about a secret."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._pepper = secrets.token_bytes(32)
        self._callers = {self._digest(key.secret.reveal().encode()): key.caller for key in keys}

    @property
    def is_open(self) -> bool:
        """No keys are configured: everybody may call."""
        return not self._callers

    def caller(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Raise AuthenticationFailed for a missing or unknown key."""
        if not self._callers:
            return ANONYMOUS
        shown = _shown(headers)
        if shown is None:
            raise AuthenticationFailed(
                "no API key: send `Authorization: Bearer KEY` or `x-api-key: KEY`",
                code="missing_api_key",
            )
        caller = self._callers.get(self._digest(shown))
        if caller is None:
            raise AuthenticationFailed("the API key is not known here")
        return caller

    def _digest(self, key: bytes) -> bytes:
        return hashlib.blake2b(key, digest_size=32, key=self._pepper).digest()

    def __repr__(self) -> str:
        return f"KeyRing({len(self._callers)} keys)"


def _shown(headers: Mapping[bytes, bytes]) -> bytes | None:
    for name in KEY_HEADERS:
        value = headers.get(name)
        if value:
            if name != b"authorization":
                return value
            scheme, _, key = value.partition(b" ")
            if scheme.lower() == b"bearer" and key:
                return key.strip()
    return None
