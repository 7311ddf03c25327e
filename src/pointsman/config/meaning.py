"""What a configuration means, as twelve hexadecimal digits: the same in every worker and replica.

Two files that resolve to the same settings have the same digest, whatever their comments, order
of keys or place on the disk. What only a start can change (`STARTUP`) does not count: it does not
change which answers a request gets.

Secrets count, or a rotated key would go unseen; they must not be found by trying either. So all
of them together go through one slow hash (scrypt) salted with everything else: who wants to test
a guess of one needs all the others, and pays a few milliseconds and megabytes for each try.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping

import msgspec
import orjson

from pointsman.config.references import Headers
from pointsman.config.settings import Secret, Settings

DIGITS = 12

STARTUP = ("host", "port", "workers", "transport")
"""Fields of `server` that say where and how the process runs, not what it answers."""


def meaning(settings: Settings) -> str:
    """The digest of a configuration."""
    secrets: list[str] = []
    server = {
        field.name: _plain(getattr(settings.server, field.name), secrets)
        for field in dataclasses.fields(settings.server)
        if field.name not in STARTUP
    }
    rest = {
        field.name: _plain(getattr(settings, field.name), secrets)
        for field in dataclasses.fields(settings)
        if field.name not in ("server", "ledger", "origin")
    }
    body = orjson.dumps([server, rest], option=orjson.OPT_SORT_KEYS)
    salt = hashlib.sha256(body).digest()
    if not secrets:
        return salt.hex()[:DIGITS]
    joined = b"\0".join(secret.encode() for secret in secrets)
    return hashlib.scrypt(joined, salt=salt, n=2**12, r=8, p=1, dklen=DIGITS // 2).hex()


def _plain(value: object, secrets: list[str]) -> object:
    """Turn a part of the settings into what JSON can say; put secrets aside, in order."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Secret():
            secrets.append(value.reveal())
            return {"secret": True}
        case Headers():  # Their values may be secrets.
            secrets += [value[name] for name in sorted(value)]
            return {"headers": sorted(value)}
        case Mapping():
            named = {str(key): each for key, each in value.items()}
            return {key: _plain(named[key], secrets) for key in sorted(named)}
        case tuple() | list():
            return [_plain(each, secrets) for each in value]
        case frozenset() | set():
            return sorted(str(each) for each in value)
        case msgspec.Struct():
            names = [field.name for field in msgspec.structs.fields(value)]
            return {name: _plain(getattr(value, name), secrets) for name in names}
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: _plain(getattr(value, name), secrets) for name in names}
    raise TypeError(f"settings hold a {type(value).__name__}, which has no plain form")
