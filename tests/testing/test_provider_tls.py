"""The provider over TLS, good and bad."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pointsman.testing import Cut, FaultProvider


def write_certificate(folder: Path) -> Path:
    """Write a self-signed certificate for 127.0.0.1 and its key into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "provider")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "provider.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return write_certificate(tmp_path)


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def ask(provider: FaultProvider, trusted: Path | None) -> bytes:
    context = ssl.create_default_context(cafile=trusted)
    reader, writer = await asyncio.open_connection("127.0.0.1", provider.port, ssl=context)
    body = b'{"model":"m","messages":[{"role":"user","content":"hey"}]}'
    head = b"POST /v1/chat/completions HTTP/1.1\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    writer.write(head % len(body) + body)
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_it_serves_https(certificate: Path) -> None:
    async with FaultProvider(tls=serving(certificate)) as provider:
        assert provider.base_url == f"https://127.0.0.1:{provider.port}/v1"
        assert b"You said: hey" in await ask(provider, certificate)


async def test_who_does_not_trust_it_does_not_get_through(certificate: Path) -> None:
    async with FaultProvider(tls=serving(certificate)) as provider:
        with pytest.raises(ssl.SSLCertVerificationError):
            await ask(provider, None)
        assert provider.journal.arrived == 0


async def test_a_cut_is_a_cut_under_tls_too(certificate: Path) -> None:
    async with FaultProvider(tls=serving(certificate)) as provider:
        provider.script(Cut("rst", at_wire_byte=30))
        with pytest.raises(ConnectionResetError):
            await ask(provider, certificate)


async def test_a_plain_and_deaf_provider_holds_up_a_handshake(certificate: Path) -> None:
    async with FaultProvider() as provider:
        provider.is_deaf = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await ask(provider, certificate)
