"""The one interface to the network: send a request, read an answer, nothing about LLMs.

Two implementations pass one conformance suite: `lean.py` (our own HTTP/1.1 on httptools) and
`aiohttp_transport.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

TransportFault = Literal[
    "refused", "connect_timeout", "dns", "tls", "reset", "protocol", "too_large"
]
"""refused, connect_timeout, dns, tls: no request byte reached the provider's application.
reset: the connection was lost after that. protocol: bytes that are not HTTP, a truncated body.
too_large: headers, chunk or whole body over the limit."""


class TransportError(Exception):
    """The network failed an exchange; `fault` says how, `sent` whether a request byte left."""

    def __init__(self, fault: TransportFault, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.fault: TransportFault = fault
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a deployment's requests go. `base_url` without a trailing slash."""

    base_url: str
    verify_tls: bool = True
    ca_file: str | None = None
    allow_private: bool = False
    """Whether its name may lead into a private network (`egress.py`)."""


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """Bounds of one transport. Seconds and bytes; sources in docs/architecture.md."""

    connect_s: float = 2.0
    tls_s: float = 3.0
    keep_alive_s: float = 60.0
    idle_per_origin: int = 256
    header_bytes: int = 32 * 1024
    header_count: int = 100
    body_bytes: int = 64 * 1024 * 1024
    stream_buffer_bytes: int = 64 * 1024


class HttpRequest(msgspec.Struct, frozen=True, gc=False):
    endpoint: Endpoint
    path: str
    """Below the endpoint's base URL, with query; starts with a slash."""
    body: bytes
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    method: str = "POST"
    once: tuple[tuple[str, str], ...] = ()
    """Headers of this request alone. What is in `headers` is rendered once and kept."""
    resend: bool = True
    """Whether it may be sent a second time, unseen, where a pooled connection turns out closed.
    Whoever pays for each sending says no: the first one may have been taken, and billed."""


class HttpResponse(Protocol):
    """An answer whose head has come. Exactly one of `read` to the end, `read_some` until b"",
    or `abort` must happen; the first two give the connection back to the pool."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; repeated ones joined by ", "."""

    async def read(self) -> bytes:
        """The whole body. Raises TransportError, also where the body was cut short."""
        ...

    async def read_some(self) -> bytes:
        """What has come since the last call, waiting for at least a byte; b"" at the proper end.
        Raises TransportError where the body was cut short."""
        ...

    def abort(self) -> None:
        """Close the connection now. A waiting read raises TransportError("reset")."""
        ...


class Transport(Protocol):
    async def send(self, request: HttpRequest) -> HttpResponse:
        """Return when the head of the answer has come. Raises TransportError. Cancelling closes
        the connection. A pooled connection that turns out closed before any byte of an answer
        is retried once on a fresh one, unless the request says no."""
        ...

    async def warm(self, endpoint: Endpoint) -> None:
        """Open one connection ahead of traffic."""
        ...

    async def close(self) -> None: ...
