"""A server that plays a script on each connection, byte for byte, and both transports."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pointsman.providers.aiohttp_transport import AiohttpTransport
from pointsman.providers.lean import LeanTransport
from pointsman.providers.transport import Endpoint, HttpRequest, Transport, TransportError


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.requests: list[bytes] = []
        self.is_gone = asyncio.Event()
        """Set when the client has closed, or the script is over."""

    async def request(self) -> bytes:
        """Read one request; IncompleteReadError when the client leaves."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)\r\n", head)
        body = await self.reader.readexactly(int(length[1])) if length else b""
        self.requests.append(head + body)
        return head + body

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def closed_by_client(self) -> None:
        """Return when the client has closed, whatever it sent before."""
        while await self.reader.read(65536):
            pass

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


def answers(*raw: bytes) -> Script:
    """Answer as many requests, then wait for the client to close."""

    async def play(peer: Peer) -> None:
        for answer in raw:
            await peer.request()
            await peer.write(answer)
        await peer.closed_by_client()

    return play


def answers_always(raw: bytes) -> Script:
    async def play(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.write(raw)

    return play


def cuts(raw: bytes, *, reset: bool = False) -> Script:
    """Answer one request with `raw` and close."""

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.write(raw)
        if reset:
            peer.reset()

    return play


async def says_nothing(peer: Peer) -> None:
    await peer.closed_by_client()


class Wire:
    """A listening server; connection n plays script n, the last one for all that follow."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts
        self.peers: list[Peer] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._players: set[asyncio.Task[None]] = set()

    async def listen(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, host, 0, ssl=tls, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        player = asyncio.current_task()
        assert player is not None
        self._players.add(player)
        peer = Peer(reader, writer)
        script = self._scripts[min(len(self.peers), len(self._scripts) - 1)]
        self.peers.append(peer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await script(peer)
        finally:
            peer.is_gone.set()
            self._players.discard(player)
            writer.close()

    @property
    def requests(self) -> list[bytes]:
        return [request for peer in self.peers for request in peer.requests]

    async def all_gone(self) -> None:
        """Return when every connection so far is closed; fail in 2 s."""
        async with asyncio.timeout(2):
            for peer in self.peers:
                await peer.is_gone.wait()

    def endpoint(self, host: str = "127.0.0.1", scheme: str = "http", **more: object) -> Endpoint:
        return Endpoint(f"{scheme}://{host}:{self.port}/v1", **more)  # type: ignore[arg-type]

    def post(self, body: bytes = b"{}", path: str = "/chat", **headers: str) -> HttpRequest:
        return HttpRequest(self.endpoint(), path, body, headers)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for player in tuple(self._players):
            player.cancel()
        for peer in self.peers:
            peer.writer.transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


OpenWire = Callable[..., Awaitable[Wire]]
OpenTransport = Callable[..., Transport]
AiohttpFails = Callable[[str], None]
FaultOf = Callable[..., Awaitable[TransportError]]


async def _fault_of(
    transport: Transport, request: HttpRequest, within_s: float = 5.0
) -> TransportError:
    """Return how an exchange fails, be it at its head or in its body."""
    async with asyncio.timeout(within_s):
        with pytest.raises(TransportError) as caught:
            await (await transport.send(request)).read()
    return caught.value


@pytest.fixture
def fault_of() -> FaultOf:
    return _fault_of


@dataclass(frozen=True)
class Kit:
    """What the scripts are written with, for tests to take by one fixture."""

    answers: Callable[..., Script] = staticmethod(answers)
    answers_always: Callable[[bytes], Script] = staticmethod(answers_always)
    cuts: Callable[..., Script] = staticmethod(cuts)
    says_nothing: Script = staticmethod(says_nothing)


@pytest.fixture
def kit() -> Kit:
    return Kit()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every test of this folder on both event loops."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=["lean", "aiohttp"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def aiohttp_fails(kind: str, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Mark what aiohttp cannot do, strictly: the mark must go when it can."""

    def mark(reason: str) -> None:
        if kind == "aiohttp":
            request.applymarker(pytest.mark.xfail(strict=True, reason=reason))

    return mark


@pytest.fixture
async def open_wire() -> AsyncIterator[OpenWire]:
    wires: list[Wire] = []

    async def start(
        *scripts: Script, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> Wire:
        wire = Wire(*scripts)
        await wire.listen(host, tls)
        wires.append(wire)
        return wire

    yield start
    for wire in wires:
        await wire.close()


@pytest.fixture
async def open_transport(kind: str, open_wire: OpenWire) -> AsyncIterator[OpenTransport]:
    """Make transports of the kind under test; they are closed before the servers are."""
    transports: list[Transport] = []

    def make(*arguments: object, **more: object) -> Transport:
        factories: dict[str, Callable[..., Transport]] = {
            "lean": LeanTransport,
            "aiohttp": AiohttpTransport,
        }
        transport = factories[kind](*arguments, **more)
        transports.append(transport)
        return transport

    yield make
    for transport in transports:
        await transport.close()


@dataclass(frozen=True)
class Authority:
    """A certificate authority made for the tests."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def ca_file(self) -> str:
        return str(self.folder / "ca.pem")

    def server(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        """Return server settings with a certificate for `names`."""
        path = self.folder / f"{'-'.join(names)}{'-expired' if expired else ''}.pem"
        if not path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            end = _NOW - datetime.timedelta(days=1) if expired else _LATER
            certificate = (
                _builder(names[0], self.certificate.subject, key.public_key())
                .not_valid_after(end)
                .add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), False)
                .sign(self.key, hashes.SHA256())
            )
            path.write_bytes(_pem(key) + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


_NOW = datetime.datetime.now(datetime.UTC)
_LATER = _NOW + datetime.timedelta(days=2)


def _builder(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW - datetime.timedelta(days=9))
    )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder("test authority", _name("test authority"), key.public_key())
        .not_valid_after(_LATER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(folder, key, certificate)
