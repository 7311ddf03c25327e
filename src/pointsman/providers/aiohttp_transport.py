"""The same transport on aiohttp: for those who would rather trust a library they know.

aiohttp is imported when the first request is sent. What it cannot do as asked is named where
the conformance suite marks it (tests/transport/), and comes to this: one bound for connection
and TLS handshake together; none for idle connections, trailers and interim answers; a parser
that forgives some malformed answers; and bytes that come unasked on an idle connection are taken
for the answer to the next request, so use it with providers you trust. What `allow_private` of
one endpoint allows holds for all of the same host and port.
"""

from __future__ import annotations

import asyncio
import io
import ssl
import time
import weakref
from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING

from pointsman.providers.egress import objection
from pointsman.providers.lean_dial import (
    Names,
    Resolve,
    numeric_address,
    system_resolve,
    tls_context,
)
from pointsman.providers.lean_request import Origin, check_request, parse_origin
from pointsman.providers.transport import (
    Endpoint,
    HttpRequest,
    TransportError,
    TransportFault,
    TransportLimits,
)

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver


class AiohttpResponse:
    """An answer of aiohttp's as `HttpResponse`."""

    def __init__(self, response: aiohttp.ClientResponse, limits: TransportLimits) -> None:
        self._response = response
        self._limits = limits
        self._error: TransportError | None = None
        self.status = response.status
        headers: dict[str, str] = {}
        for raw_name, raw_value in response.raw_headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        self.headers: Mapping[str, str] = headers

    async def read(self) -> bytes:
        limit = self._limits.body_bytes
        announced = self._response.content_length or 0
        chunks: list[bytes] = []
        size = 0
        while announced <= limit and size <= limit:
            chunk = await self.read_some()
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            size += len(chunk)
        failure = TransportError("too_large", f"body over {limit} bytes", sent=True)
        self._fail(failure)
        raise failure

    async def read_some(self) -> bytes:
        import aiohttp

        if self._error is not None:
            raise self._error
        try:
            return await self._response.content.readany()
        except asyncio.CancelledError:
            self.abort()
            raise
        except (
            aiohttp.ClientError,
            aiohttp.http_exceptions.HttpProcessingError,
            OSError,
            RuntimeError,  # what aiohttp says of a connection that it closed itself
        ) as error:
            lost = isinstance(error, (OSError, RuntimeError))
            failure = self._error or TransportError(
                "reset" if lost else "protocol", _text(error), sent=True
            )
            self._fail(failure)
            raise failure from None

    def abort(self) -> None:
        if self._error is None and not self._response.content.at_eof():
            self._fail(TransportError("reset", "aborted by us", sent=True))

    def _fail(self, error: TransportError) -> None:
        self._error = error
        # Closing does not wake whoever waits for the body, so its stream is told first.
        self._response.content.set_exception(ConnectionResetError(str(error)))
        self._response.close()

    def __repr__(self) -> str:
        return f"AiohttpResponse({self.status})"


class AiohttpTransport:
    """A `Transport` on `aiohttp.ClientSession`; make it anywhere, use it in one loop."""

    def __init__(
        self,
        limits: TransportLimits | None = None,
        *,
        resolve: Resolve = system_resolve,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits or TransportLimits()
        self._now = now
        self._names = Names(resolve, now)
        self._private: set[tuple[str, int]] = set()
        """Hosts and ports that may be in a private network."""
        self._routes: dict[Endpoint, tuple[Origin, ssl.SSLContext | None]] = {}
        self._pooled: aiohttp.ClientSession | None = None
        self._unpooled: aiohttp.ClientSession | None = None
        self._answers: weakref.WeakSet[AiohttpResponse] = weakref.WeakSet()
        self._closed = False

    async def send(self, request: HttpRequest) -> AiohttpResponse:
        origin, context = self._route(request.endpoint)
        check_request(request)
        started = self._now()
        trace = SimpleNamespace(reused=False)
        try:
            return await self._send(self._session(), request, origin, context, trace)
        except TransportError as error:
            stale = (
                error.fault == "reset"
                and trace.reused
                and self._now() - started <= self._limits.connect_s
            )
            if not (stale and request.resend) or self._closed:
                raise
        return await self._send(self._fresh_session(), request, origin, context, trace)

    async def warm(self, endpoint: Endpoint) -> None:
        """Open a connection by asking for the root: aiohttp has no other way to fill its pool."""
        response = await self.send(HttpRequest(endpoint=endpoint, path="/", body=b"", method="GET"))
        await response.read()

    async def close(self) -> None:
        self._closed = True
        for answer in tuple(self._answers):
            answer.abort()
        for session in (self._pooled, self._unpooled):
            if session is not None:
                await session.close()
        await asyncio.sleep(0)  # the loop drops closed sockets in its next round

    async def _send(
        self,
        session: aiohttp.ClientSession,
        request: HttpRequest,
        origin: Origin,
        context: ssl.SSLContext | None,
        trace: SimpleNamespace,
    ) -> AiohttpResponse:
        import aiohttp
        from yarl import URL

        url = URL(f"{origin}{origin.prefix}{request.path}", encoded=True)
        try:
            response = await session.request(
                request.method,
                url,
                data=_body(request.body),
                headers={**request.headers, **dict(request.once), "accept-encoding": "identity"},
                allow_redirects=False,
                ssl=True if context is None else context,
                trace_request_ctx=trace,
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Without its cause: aiohttp's errors show the request's headers, keys and all.
            raise _send_error(error) from None
        self._check_head(response)
        answer = AiohttpResponse(response, self._limits)
        self._answers.add(answer)
        return answer

    def _check_head(self, response: aiohttp.ClientResponse) -> None:
        size = sum(len(name) + len(value) + 4 for name, value in response.raw_headers)
        if size > self._limits.header_bytes or (
            len(response.raw_headers) > self._limits.header_count
        ):
            response.close()
            raise TransportError("too_large", "head over its limit", sent=True)
        if not 200 <= response.status <= 599:
            response.close()
            raise TransportError(
                "protocol", f"status {response.status} was not asked for", sent=True
            )

    def _route(self, endpoint: Endpoint) -> tuple[Origin, ssl.SSLContext | None]:
        route = self._routes.get(endpoint)
        if route is None:
            origin = parse_origin(endpoint.base_url)
            if numeric_address(origin.host) is not None:  # aiohttp asks no resolver for these
                why_not = objection(
                    origin.host, [origin.host], allow_private=endpoint.allow_private
                )
                if why_not is not None:
                    raise TransportError("dns", why_not, sent=False)
            elif endpoint.allow_private:
                self._private.add((origin.host, origin.port))
            route = (origin, tls_context(endpoint) if origin.secure else None)
            self._routes[endpoint] = route
        return route

    def _session(self) -> aiohttp.ClientSession:
        if self._closed:
            raise TransportError("refused", "the transport is closed", sent=False)
        if self._pooled is None:
            self._pooled = self._open_session(fresh=False)
        return self._pooled

    def _fresh_session(self) -> aiohttp.ClientSession:
        """Return the session that never uses a connection again, for the one retry."""
        if self._unpooled is None:
            self._unpooled = self._open_session(fresh=True)
        return self._unpooled

    def _open_session(self, *, fresh: bool) -> aiohttp.ClientSession:
        import aiohttp

        limits = self._limits

        async def note_reuse(
            _session: aiohttp.ClientSession, context: SimpleNamespace, _params: object
        ) -> None:
            context.trace_request_ctx.reused = True

        tracing = aiohttp.TraceConfig()
        tracing.on_connection_reuseconn.append(note_reuse)
        resolver = _resolver(self._names, self._private, limits.connect_s)
        connector = (
            aiohttp.TCPConnector(limit=0, resolver=resolver, use_dns_cache=False, force_close=True)
            if fresh
            else aiohttp.TCPConnector(
                limit=0,
                resolver=resolver,
                use_dns_cache=False,
                keepalive_timeout=limits.keep_alive_s,
            )
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=limits.connect_s + limits.tls_s, sock_read=None
            ),
            read_bufsize=max(limits.stream_buffer_bytes // 2, 1024),
            max_line_size=limits.header_bytes,
            max_field_size=limits.header_bytes,
            max_headers=limits.header_count,
            trace_configs=[tracing],
        )

    def __repr__(self) -> str:
        return f"AiohttpTransport({len(self._routes)} endpoints)"


def _body(body: bytes) -> bytes | io.BytesIO | None:
    """Give aiohttp what it can send in pieces, where it warns of bytes (over 1 MiB)."""
    return (body or None) if len(body) <= 1024 * 1024 else io.BytesIO(body)


def _resolver(
    names: Names, private: Collection[tuple[str, int]], bound_s: float
) -> AbstractResolver:
    """Let aiohttp look names up through our cache, within a bound that it does not have."""
    from aiohttp.abc import AbstractResolver, ResolveResult

    class CachedResolver(AbstractResolver):
        async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
            try:
                async with asyncio.timeout(bound_s):
                    found = await names.checked(host, allow_private=(host, port) in private)
            except (TransportError, TimeoutError) as error:
                raise OSError(None, str(error) or f"no answer in {bound_s} s") from error
            return [
                ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=0)
                for kind, address in found
            ]

        async def close(self) -> None: ...

    return CachedResolver()


def _send_error(error: Exception) -> TransportError:
    """Say in our words how aiohttp failed before the head had come."""
    import aiohttp

    faults: tuple[tuple[type[Exception], TransportFault, bool], ...] = (
        # the first that fits: children before parents
        (aiohttp.ClientConnectorDNSError, "dns", False),
        (aiohttp.ClientConnectorCertificateError, "tls", False),
        (aiohttp.ClientSSLError, "tls", False),
        (ssl.SSLError, "tls", False),
        (aiohttp.ConnectionTimeoutError, "connect_timeout", False),
        (TimeoutError, "connect_timeout", False),
        (aiohttp.ClientConnectorError, "refused", False),
        (aiohttp.ServerDisconnectedError, "reset", True),
        (aiohttp.ClientResponseError, "protocol", True),
        (aiohttp.ClientPayloadError, "protocol", True),
        (aiohttp.ClientConnectionError, "reset", True),
        (OSError, "reset", True),
        (ValueError, "protocol", False),
    )
    fault, sent = next(
        ((fault, sent) for kind, fault, sent in faults if isinstance(error, kind)),
        ("protocol", True),
    )
    if isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str):
        fault = "protocol"  # part of a head had come
    if fault == "protocol" and _is_over_limit(error):
        fault = "too_large"
    return TransportError(fault, _text(error), sent=sent)


def _text(error: BaseException) -> str:
    """Say what went wrong without the URL, whose query may hold a key."""
    return f"{type(error).__name__}: {getattr(error, 'message', None) or error}"[:300]


def _is_over_limit(error: BaseException | None) -> bool:
    from aiohttp.http_exceptions import LineTooLong

    while error is not None:
        if isinstance(error, LineTooLong) or "Too many headers" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
