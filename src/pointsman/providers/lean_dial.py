"""Open connections: names to addresses, addresses to sockets, sockets to TLS.

Each step has its own bound and its own fault, because each says something else about the
provider: `dns`, `refused`, `connect_timeout` and `tls` all mean that no byte of a request has
left, so the attempt is free and may be repeated elsewhere.

Several addresses are tried one after the other, families in turn, each with its share of the
connect bound; the one that answered goes first the next time. (Not the race of RFC 8305: a
pool dials rarely, and the share bounds the wait just as well.)
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pointsman.providers.egress import objection
from pointsman.providers.lean_request import Origin
from pointsman.providers.transport import Endpoint, TransportError, TransportLimits

Address = tuple[socket.AddressFamily, str]
"""A family and a numeric address."""

Resolve = Callable[[str], Awaitable[list[Address]]]
"""Look a host name up. Raises OSError where it cannot be found."""

P = TypeVar("P", bound=asyncio.Protocol)

_FRESH_S = 30.0
_STALE_S = 600.0
"""Seconds an answer is used without asking again, and beyond that while asking fails."""
_MOST_ADDRESSES = 4
_LEAST_SHARE_S = 0.05


async def system_resolve(host: str) -> list[Address]:
    """Ask the system's resolver, in the order of RFC 6724."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(
        dict.fromkeys((socket.AddressFamily(family), str(where[0])) for family, *_, where in found)
    )


def numeric_address(host: str) -> Address | None:
    """Return the address that a host text already is, or None for a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return family, host
    return None


def families_in_turn(addresses: list[Address]) -> list[Address]:
    """Alternate between address families, the first one's first, so that a dead one costs one."""
    if not addresses:
        return []
    first = addresses[0][0]
    same = [address for address in addresses if address[0] == first]
    other = [address for address in addresses if address[0] != first]
    pairs = itertools.zip_longest(same, other)
    return [address for pair in pairs for address in pair if address is not None]


class Names:
    """Remember addresses for half a minute, and for ten while the resolver is failing."""

    def __init__(self, resolve: Resolve, now: Callable[[], float]) -> None:
        self._resolve = resolve
        self._now = now
        self._known: dict[str, tuple[float, list[Address]]] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def addresses(self, host: str) -> list[Address]:
        """Return where `host` may be dialled, best first. Raises TransportError("dns")."""
        numeric = numeric_address(host)
        if numeric is not None:
            return [numeric]
        known = self._known.get(host)
        if known is not None and self._now() - known[0] < _FRESH_S:
            return known[1]
        async with self._asking.setdefault(host, asyncio.Lock()):  # one question for a herd
            known = self._known.get(host)
            if known is not None and self._now() - known[0] < _FRESH_S:
                return known[1]
            try:
                found = await self._resolve(host)
                reason = "it has no address"
            except (OSError, UnicodeError) as error:
                found = []
                reason = str(error)
            if not found:
                if known is not None and self._now() - known[0] < _STALE_S:
                    return known[1]
                raise TransportError("dns", f"{host}: {reason}; check base_url", sent=False)
            ordered = families_in_turn(found)[:_MOST_ADDRESSES]
            self._known[host] = (self._now(), ordered)
            return ordered

    async def checked(self, host: str, *, allow_private: bool) -> list[Address]:
        """As `addresses`, if all of them may be dialled. Raises TransportError("dns").

        What is returned is what is dialled: the name is not looked up again in between."""
        found = await self.addresses(host)
        why_not = objection(host, (each for _, each in found), allow_private=allow_private)
        if why_not is not None:
            raise TransportError("dns", why_not, sent=False)
        return found

    def prefer(self, host: str, address: Address) -> None:
        """Put the address that answered first."""
        known = self._known.get(host)
        if known is not None and known[1][0] != address and address in known[1]:
            rest = [other for other in known[1] if other != address]
            self._known[host] = (known[0], [address, *rest])


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Build the TLS settings of an endpoint. Raises TransportError("tls") for a bad CA file."""
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise TransportError(
            "tls", f"CA file {endpoint.ca_file}: {error}; give a PEM file", sent=False
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    if not endpoint.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def dial(
    origin: Origin,
    context: ssl.SSLContext | None,
    names: Names,
    limits: TransportLimits,
    make: Callable[[], P],
    *,
    allow_private: bool = False,
) -> P:
    """Return a connected protocol. Raises TransportError with sent=False; cancelling cleans up.

    With TLS `connection_made` is called twice: with the bare transport, and with the secure one.
    """
    transport, protocol = await _connect(origin, names, limits, make, allow_private)
    if context is None:
        return protocol
    try:  # cancelled, start_tls closes the transport itself
        secure = await asyncio.get_running_loop().start_tls(
            transport,
            protocol,
            context,
            server_hostname=origin.host,
            ssl_handshake_timeout=limits.tls_s,
        )
    except OSError as error:  # ssl.SSLError and TimeoutError are its children
        transport.abort()
        reason = str(error) or "the connection was closed"
        raise TransportError("tls", f"{origin}: TLS handshake: {reason}", sent=False) from error
    if secure is None:  # the loop says so where the peer left as the handshake ended
        raise TransportError("tls", f"{origin}: closed after the TLS handshake", sent=False)
    protocol.connection_made(secure)
    return protocol


async def _connect(
    origin: Origin,
    names: Names,
    limits: TransportLimits,
    make: Callable[[], P],
    allow_private: bool,
) -> tuple[asyncio.Transport, P]:
    """Connect within `connect_s`, the look-up included."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limits.connect_s
    try:
        async with asyncio.timeout_at(deadline):
            addresses = await names.checked(origin.host, allow_private=allow_private)
    except TimeoutError as error:
        raise TransportError(
            "dns", f"{origin.host}: no answer in {limits.connect_s} s", sent=False
        ) from error
    refusal: OSError | None = None
    for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        share = max((deadline - loop.time()) / left, _LEAST_SHARE_S)
        try:
            async with asyncio.timeout(share):
                transport, protocol = await loop.create_connection(make, address[1], origin.port)
        except TimeoutError:  # before OSError, whose child it is
            continue
        except OSError as error:
            refusal = error
        else:
            names.prefer(origin.host, address)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return transport, protocol
    if refusal is not None:
        raise TransportError("refused", f"{origin}: {refusal}", sent=False) from refusal
    raise TransportError(
        "connect_timeout", f"{origin}: no connection in {limits.connect_s} s", sent=False
    )
