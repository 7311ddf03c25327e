"""Where a request goes and the bytes of its head: pure, strict, and built once per shape.

Strict because this is where a request could be smuggled: one header value with a line break in
it, or a second length, and the provider would see two requests where we sent one. So names must
be tokens, values must be printable, and the headers that decide framing are ours alone. After
RFC 9110 section 5 and RFC 9112 section 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from pointsman.providers.transport import HttpRequest, TransportError

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_PATH = re.compile(r"[!-\"$-~]+")  # visible ASCII without "#": a fragment never goes on the wire
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
"""HEAD and CONNECT are missing because the framing of their answers depends on the method."""
_OURS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_HEADS_KEPT = 1024
"""Heads cached per origin; all are dropped when full, so that ever-changing headers stay cheap."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of an endpoint, and the path that its base URL adds."""

    secure: bool
    host: str
    """Without brackets; ASCII (IDNA)."""
    port: int
    authority: str
    """What the Host header says."""
    prefix: str

    def __str__(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.authority}"


def unsendable(message: str) -> TransportError:
    """Return the error for a request that is refused before a byte of it leaves."""
    return TransportError("protocol", message, sent=False)


def parse_origin(base_url: str) -> Origin:
    """Split a base URL. Raises TransportError("protocol") for one that cannot be dialled."""
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        raise unsendable(f"base URL {base_url!r}: {error}; write http(s)://host[:port]") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise unsendable(f"base URL {base_url!r} is not http(s)://host[:port][/path]")
    if parts.username is not None or parts.password is not None:
        raise unsendable(f"base URL of {parts.hostname}: credentials belong into a header")
    if parts.query or parts.fragment:
        raise unsendable(f"base URL of {parts.hostname}: no query or fragment there")
    try:
        host = parts.hostname if parts.hostname.isascii() else _idna(parts.hostname)
    except UnicodeError as error:
        raise unsendable(f"base URL: {parts.hostname!r} is no host name") from error
    prefix = parts.path.rstrip("/")
    if _PATH.fullmatch(host) is None or (prefix and _PATH.fullmatch(prefix) is None):
        raise unsendable(f"base URL {base_url!r}: blanks and control characters are not sent")
    secure = parts.scheme == "https"
    shown = f"[{host}]" if ":" in host else host
    default_port = 443 if secure else 80
    return Origin(
        secure=secure,
        host=host,
        port=default_port if port is None else port,
        authority=shown if port in (None, default_port) else f"{shown}:{port}",
        prefix=prefix,
    )


def _idna(host: str) -> str:
    return host.encode("idna").decode("ascii")


def check_request(request: HttpRequest) -> None:
    """Raise TransportError("protocol", sent=False) for a request that must not go on a wire."""
    if request.method not in _METHODS:
        raise unsendable(f"method {request.method!r} is not one of {', '.join(sorted(_METHODS))}")
    if not request.path.startswith("/") or _PATH.fullmatch(request.path) is None:
        raise unsendable(
            f"path {request.path!r}: it starts with a slash and is percent-encoded ASCII"
        )
    check_headers(request.headers.items())
    check_headers(request.once)


def check_headers(headers: Iterable[tuple[str, str]]) -> None:
    """Raise TransportError("protocol", sent=False) for a header that must not go on a wire."""
    for name, value in headers:
        lower = name.lower()
        if _TOKEN.fullmatch(name) is None:
            raise unsendable(f"header name {name!r} is not a token")
        if _VALUE.fullmatch(value) is None:  # the value may be a secret: not shown
            raise unsendable(f"header {lower}: its value has a line break or other control byte")
        if lower in _OURS:
            raise unsendable(f"header {lower} is the transport's own; leave it out")
        if lower == "accept-encoding" and value.strip().lower() != "identity":
            raise unsendable("header accept-encoding: answers are not decompressed; leave it out")


class Heads:
    """Make the head of requests to one endpoint, each shape of head only once.

    The key is what the head is made of, never the identity of a mapping that its owner may edit.
    """

    __slots__ = ("_kept", "_origin")

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._kept: dict[tuple[str, str, tuple[tuple[str, str], ...]], bytes] = {}

    def head(self, request: HttpRequest) -> bytes:
        """Return the whole head with the body's length. Raises TransportError("protocol")."""
        key = (request.method, request.path, tuple(request.headers.items()))
        start = self._kept.get(key)
        if start is None:
            start = self._render(request)
            if len(self._kept) >= _HEADS_KEPT:
                self._kept.clear()
            self._kept[key] = start
        if request.once:
            check_headers(request.once)
            start += "".join([f"{name}: {value}\r\n" for name, value in request.once]).encode(
                "latin-1"
            )
        if request.body or request.method not in ("GET", "DELETE"):
            return b"%bcontent-length: %d\r\n\r\n" % (start, len(request.body))
        return start + b"\r\n"

    def _render(self, request: HttpRequest) -> bytes:
        check_request(request)
        lines = [
            f"{request.method} {self._origin.prefix}{request.path} HTTP/1.1",
            f"host: {self._origin.authority}",
            "accept-encoding: identity",
        ]
        lines += [
            f"{name}: {value}"
            for name, value in request.headers.items()
            if name.lower() != "accept-encoding"
        ]
        return ("\r\n".join(lines) + "\r\n").encode("latin-1")
