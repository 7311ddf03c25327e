"""What a configuration means, as twelve hexadecimal digits: the same in every worker and replica.

Two files that resolve to the same settings have the same digest, whatever their comments, order
of keys or place on the disk. What only a start can change (address, workers, transport, ledger)
does not count: it changes no answer.

Secrets count, or a rotated key would go unseen; they must not be found by trying either. So all
of them together go through one slow hash (scrypt) salted with everything else: who wants to test
a guess of one needs all the others, and pays a few milliseconds and megabytes for each try.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import msgspec

from pointsman.config.settings import LedgerSettings, Secret, Settings

DIGITS = 12


def meaning(settings: Settings) -> str:
    """The digest of a configuration."""
    secrets: list[str] = []

    def plain(value: object) -> object:
        if isinstance(value, Secret):
            secrets.append(value.reveal())
            return "secret"
        if isinstance(value, Path):
            return str(value)
        raise TypeError(f"settings hold a {type(value).__name__}, which has no plain form")

    providers = {}
    for name, provider in sorted(settings.providers.items()):
        # Headers may hold secrets, which nobody can tell from other values any more.
        secrets += [value for _, value in sorted(provider.headers.items())]
        providers[name] = replace(provider, headers=dict.fromkeys(provider.headers, "hidden"))
    # A route says by name what `deployments` tells in full: every one of them is encoded once.
    routes = [
        (replace(route, deployments=()), [each.name for each in route.deployments])
        for route in settings.routes
    ]
    rest = replace(
        settings,
        providers=providers,
        routes=(),
        # What only a start can change: it changes no answer.
        server=replace(settings.server, host="", port=0, workers=1, transport="lean"),
        ledger=LedgerSettings(),
        admin=replace(settings.admin, host="", port=0),
        origin="",
    )
    encoder = msgspec.json.Encoder(enc_hook=plain, order="sorted")
    salt = hashlib.sha256(encoder.encode((rest, routes))).digest()
    if not secrets:
        return salt.hex()[:DIGITS]
    joined = b"\0".join(secret.encode() for secret in secrets)
    return hashlib.scrypt(joined, salt=salt, n=2**12, r=8, p=1, dklen=DIGITS // 2).hex()
