"""What the head of a request may be: pure, on what llhttp has already found well formed.

llhttp is run without its leniencies, so these are its own refusals (400): a bare LF or CR, folded
lines, a name that is no token, a control character in a value, Content-Length twice, not a number,
or beside Transfer-Encoding, chunks whose framing is off. Left to us is what is well formed and
still not to be served, because a proxy before us might have read it otherwise: RFC 9112 sections
2.3, 3.2, 5.2, 6.1 and 11.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pointsman.errors import InvalidRequest

HEAD_BYTES = 32 * 1024
"""Target and header lines together; trailers and chunk extensions have as much again."""
HEADER_COUNT = 100
TARGET_BYTES = 8 * 1024

ONCE = frozenset(
    {
        b"host",
        b"authorization",
        b"x-api-key",
        b"x-goog-api-key",
        b"api-key",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"transfer-encoding",
        b"expect",
        b"x-request-timeout-ms",
    }
)
"""Header lines that may stand only once: two readers of one request may take different ones."""

_HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
"""RFC 9112 section 3.2, without the empty port's colon being an error."""

_NAMES: dict[bytes, bytes] = {}
"""Header names as they come on wires, lowered once."""
_NAMES_KEPT = 1024


class HttpFault(InvalidRequest):
    """A request refused as HTTP, before anybody looks at what it asks for."""

    code = "invalid_http"


REFUSALS: Mapping[str, tuple[int, str]] = {
    "invalid_http": (400, "not HTTP/1.x as RFC 9112 has it, or open to two readings"),
    "request_timeout": (408, "the head or the body comes too slowly"),
    "target_too_long": (414, f"a target of more than {TARGET_BYTES} bytes"),
    "expectation_failed": (417, "an `Expect` that is not 100-continue"),
    "headers_too_large": (
        431,
        f"more than {HEADER_COUNT} header lines, or {HEAD_BYTES} bytes of them",
    ),
    "not_implemented": (501, "CONNECT, Upgrade, or a Transfer-Encoding other than chunked"),
    "http_version": (505, "a version that is neither 1.0 nor 1.1"),
}
"""Codes of the refusals that are this server's own: status, and when."""


def fault(code: str, message: str) -> HttpFault:
    return HttpFault(message, code=code, status=REFUSALS[code][0])


def add_header(headers: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    """Add a line, its name in lower case. Raises HttpFault where it may not stand again."""
    name = _NAMES.get(name) or _lower(name)
    if value.endswith((b" ", b"\t")):
        value = value.rstrip(b" \t")
    known = headers.get(name)
    if known is not None:
        if name in ONCE:
            raise fault("invalid_http", f"the header {name.decode()} stands twice; send it once")
        value = known + b", " + value
    elif name == b"transfer-encoding" and value.lower() != b"chunked":
        raise fault(
            "not_implemented", "Transfer-Encoding: only chunked is taken; send the body as it is"
        )
    headers[name] = value


def _lower(name: bytes) -> bytes:
    if len(_NAMES) >= _NAMES_KEPT:
        _NAMES.clear()
    lowered = _NAMES[name] = name.lower()
    return lowered


def check_head(version: str, method: str, headers: Mapping[bytes, bytes]) -> None:
    """Raise HttpFault for what this version of HTTP may not say, or we do not do."""
    # 1. 1.1: exactly one Host. 2. 1.0: no chunks. 3. 0.9, which has no version and no head.
    # 4. what we do not speak.
    if version == "1.1":
        host = headers.get(b"host")
        if host is None:
            raise fault("invalid_http", "HTTP/1.1 needs a Host header")
        check_host(host)
    elif version == "1.0":
        if b"transfer-encoding" in headers:
            raise fault("invalid_http", "Transfer-Encoding is not in HTTP/1.0; use HTTP/1.1")
        check_host(headers.get(b"host", b""))
    elif version == "0.9":
        raise fault("invalid_http", "the request line names no version; use HTTP/1.1")
    else:
        raise fault("http_version", f"HTTP/{version} is not spoken here; use HTTP/1.1")
    if method == "CONNECT":
        raise fault("not_implemented", "CONNECT: this is no tunnel")
    expected = headers.get(b"expect")
    if expected is not None and expected.lower() != b"100-continue":
        raise fault("expectation_failed", "Expect: only 100-continue is known")


def check_host(host: bytes) -> None:
    """We serve one host and never use its name; a strange one is still somebody's trick."""
    if _HOST.fullmatch(host) is None:
        raise fault("invalid_http", "the Host header is no host")


def query_of(target: bytes) -> str:
    """What follows a target's `?`, as it was sent; "" where nothing does."""
    return target.partition(b"?")[2].decode("latin-1") if b"?" in target else ""


def path_of(target: bytes) -> str:
    """Return the path as it was sent: no decoding, no folding of slashes or dots, so that one
    resource has one name. Of an absolute target only the path is used, never its host."""
    if b"#" in target:
        raise fault("invalid_http", "a fragment (#) is not sent to servers")
    path = target.partition(b"?")[0]
    if path[:1] != b"/" and path != b"*":
        scheme, mark, rest = path.partition(b"://")
        if not mark or scheme.lower() not in (b"http", b"https"):
            raise fault("invalid_http", "the target is neither a path nor an http address")
        path = b"/" + rest.partition(b"/")[2]
    return path.decode("latin-1")
