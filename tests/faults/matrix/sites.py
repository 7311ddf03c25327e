"""The providers' side of the matrix: who listens where, and with which certificate."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from matrix.fault import SIDES, TEXT, Cell, Fault, Place, Side
from pointsman.providers.lean_dial import Address
from pointsman.testing import Answer, BlackHole, FaultProvider
from pointsman.testing.plays import as_plays

DOMAIN = "site.test"
"""Each cell reaches its deployments under names of its own, so that no two share a connection."""

SPARE = 4
"""Proper answers that wait behind the scripted plays of a deployment."""


async def resolve(host: str) -> list[Address]:
    """Resolve the names of the matrix, and no others."""
    if host.startswith("hangs."):
        await asyncio.sleep(60)
    if host.startswith("nowhere.") or not host.endswith(DOMAIN):
        raise OSError("Name or service not known")
    return [(socket.AF_INET, "127.0.0.1")]


class Sites:
    """`a` and `b`, and for `a` all the places where it cannot be reached."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = AsyncExitStack()
        self.plain: dict[Side, FaultProvider] = {}
        self.secure: dict[Place, FaultProvider] = {}
        self.ca_file = folder / "ca.pem"
        self._ports: dict[Place, int] = {}

    async def __aenter__(self) -> Self:
        stack = self._stack
        for side in SIDES:
            self.plain[side] = await stack.enter_async_context(FaultProvider())
        certificates = _certificates(self._folder)
        for place, path in certificates.items():
            self.secure[place] = await stack.enter_async_context(FaultProvider(tls=_context(path)))
        for place in ("tls_deaf", "tls_resets"):
            self.secure[place] = await stack.enter_async_context(FaultProvider())
        self.secure["tls_deaf"].is_deaf = self.secure["tls_resets"].is_resetting = True
        closed = socket.create_server(("127.0.0.1", 0))
        self._ports["refused"] = closed.getsockname()[1]
        closed.close()
        self._ports["black_hole"] = stack.enter_context(BlackHole()).port
        self._ports["dns"] = self._ports["dns_hangs"] = self.plain["a"].port
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def provider(self, cell: Cell, side: Side) -> FaultProvider:
        """Return whose journal tells of the calls to this deployment."""
        place = self._place(cell, side)
        return self.secure.get(place, self.plain[side])

    def address(self, cell: Cell, side: Side, *, named: bool = True) -> str:
        """Return scheme, host and port. `named`: by the cell's own name instead of 127.0.0.1."""
        place = self._place(cell, side)
        port = self._ports.get(place) or self.provider(cell, side).port
        host = f"c{cell.number}{side}.{DOMAIN}" if named else "127.0.0.1"
        if place == "dns":
            host = f"nowhere.c{cell.number}.{DOMAIN}" if named else "nowhere.invalid"
        elif place == "dns_hangs" and named:
            host = f"hangs.c{cell.number}.{DOMAIN}"
        return f"{'https' if place.startswith('tls') else 'http'}://{host}:{port}"

    def script(self, cell: Cell) -> None:
        """Tell the providers what to play for the models of a cell."""
        fault = cell.fault
        if not isinstance(fault, Fault):
            return
        for side, step in zip(SIDES, (fault.first, fault.second), strict=True):
            usual = Answer(text=TEXT[side])
            own = as_plays(step)
            answers = [play for play in own if isinstance(play, Answer)]
            scripted = (_with_text(answers, usual), *own[len(answers) :])
            again = scripted if fault.always else (usual,)
            provider = self.provider(cell, side)
            model = cell.model(side)
            provider.script(scripted, *[again] * SPARE, model=model)

    def _place(self, cell: Cell, side: Side) -> Place:
        return cell.fault.where if side == "a" and isinstance(cell.fault, Fault) else "plain"


def _with_text(answers: list[Answer], usual: Answer) -> Answer:
    return Answer(text=usual.text, finish=answers[0].finish) if answers else usual


def _context(path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def _certificates(folder: Path) -> dict[Place, Path]:
    """Write an authority and four servers' certificates: one good, three bad."""
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = _name("authority")
    own = _signed(issuer, issuer, authority, authority, None, days=1)
    (folder / "ca.pem").write_bytes(own.public_bytes(serialization.Encoding.PEM))
    found: dict[Place, Path] = {}
    kinds: tuple[tuple[Place, str, int, bool], ...] = (
        ("tls", f"*.{DOMAIN}", 1, True),
        ("tls_expired", f"*.{DOMAIN}", -1, True),
        ("tls_wrong_name", "elsewhere.invalid", 1, True),
        ("tls_unknown", f"*.{DOMAIN}", 1, False),
    )
    for place, host, days, trusted in kinds:
        key = ec.generate_private_key(ec.SECP256R1())
        signer = authority if trusted else key
        certificate = _signed(
            _name(place), issuer if trusted else _name(place), key, signer, host, days=days
        )
        found[place] = folder / f"{place}.pem"
        found[place].write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    return found


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    host: str | None,
    *,
    days: int,
) -> x509.Certificate:
    now = datetime.now(UTC)
    end = now + timedelta(days=days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, end) - timedelta(days=1))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
    )
    if host is not None:
        names: list[x509.GeneralName] = [x509.DNSName(host)]
        if host.endswith(DOMAIN):  # A peer has no resolver of ours: it comes by the address.
            names.append(x509.IPAddress(IPv4Address("127.0.0.1")))
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())
