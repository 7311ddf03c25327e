"""From an API key to a Caller, or an error; there is no anonymous default where keys exist.

Keys are of two kinds. Those of the configuration file are texts of the operator's choice, looked
up by a keyed hash. Those of the store (access/) have a form of their own and are asked of the
directory. Where both know a name, the file's is the one that counts.

What a client is told is the same for a key that is unknown, revoked, expired or misspelt, and
every failure is counted (access/failures.py).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Final

from pointsman.access.directory import Directory
from pointsman.access.failures import Failures
from pointsman.access.tokens import public_id
from pointsman.clock import Clock
from pointsman.config.settings import ApiKey
from pointsman.domain.call import ANONYMOUS, Caller
from pointsman.errors import AuthenticationFailed

KEY_HEADERS = (b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key")
"""Every dialect's way to show a key is taken on every path: SDKs differ, and change."""

NO_KEY: Final = "no API key: send `Authorization: Bearer KEY` or `x-api-key: KEY`"
BAD_KEY: Final = "the API key is not known here"


class KeyRing:
    """Looks keys up by a keyed hash, so that the time it takes says nothing about a secret.

    directory: the store's keys; None where there is no store. is_guarded: keys are needed even
    where there are none yet.
    """

    def __init__(
        self,
        keys: Sequence[ApiKey],
        clock: Clock,
        failures: Failures,
        directory: Directory | None = None,
        *,
        is_guarded: bool = False,
    ) -> None:
        self._pepper = secrets.token_bytes(32)
        self._keys = {self._digest(key.secret.reveal().encode()): key for key in keys}
        self._names = frozenset(key.caller.key for key in keys)
        self._clock = clock
        self._failures = failures
        self._directory = directory
        self._is_guarded = is_guarded or bool(keys)

    @property
    def is_open(self) -> bool:
        """There is no key and never was one: everybody may call.

        Raises StorageUnavailable where only the store could tell.
        """
        if self._is_guarded:
            return False
        return self._directory is None or not self._directory.has_keys

    def caller(self, headers: Mapping[bytes, bytes], address: str = "") -> Caller:
        """Raise AuthenticationFailed for a missing or bad key, TooManyFailures for too many of
        those, StorageUnavailable where it cannot be told."""
        shown = shown_key(headers)
        if shown is None:
            if self.is_open:
                return ANONYMOUS
            self._failures.count(address)
            raise AuthenticationFailed(NO_KEY, code="missing_api_key")
        key = self._keys.get(self._digest(shown))
        if key is not None and (key.expires_at is None or self._clock.wall() < key.expires_at):
            if self._directory is not None:
                self._directory.raise_if_never_read()
            return key.caller
        # A key of the file that has ended goes on like any other that is no good.
        id = public_id(shown)
        if id is not None and self._directory is not None:
            caller = self._directory.caller(shown, id)
            if caller is not None and caller.key not in self._names:
                return caller
        if self.is_open:
            return ANONYMOUS
        self._failures.count(address, id)
        raise AuthenticationFailed(BAD_KEY)

    def _digest(self, key: bytes) -> bytes:
        return hashlib.blake2b(key, digest_size=32, key=self._pepper).digest()

    def __repr__(self) -> str:
        return f"KeyRing({len(self._keys)} keys, {self._directory})"


def shown_key(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The key that a request shows, in whichever header."""
    for name in KEY_HEADERS:
        value = headers.get(name)
        if value:
            if name != b"authorization":
                return value
            scheme, _, key = value.partition(b" ")
            if scheme.lower() == b"bearer" and key:
                return key.strip()
    return None
