"""Where requests may go: what a name may lead to, and that a key goes nowhere else."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.alerts.alert import Told
from pointsman.alerts.sinks import NotTaken, sink_of
from pointsman.config.load import loads
from pointsman.config.settings_money import SinkSettings
from pointsman.domain.secret import Secret
from pointsman.providers.aiohttp_transport import AiohttpTransport
from pointsman.providers.ask import root_of
from pointsman.providers.egress import objection, says_private, standing
from pointsman.providers.lean import LeanTransport
from pointsman.providers.lean_dial import Address, Names, Resolve
from pointsman.providers.transport import (
    Endpoint,
    HttpRequest,
    Transport,
    TransportError,
    TransportLimits,
)


def words(text: str) -> list[str]:
    return text.split()


NEVER = words(
    """
    169.254.169.254 169.254.170.2 169.254.0.1 100.100.100.200 168.63.129.16 192.0.0.192
    192.0.2.1 198.51.100.7 203.0.113.9 192.88.99.1 224.0.0.1 239.255.255.250 240.0.0.1
    255.255.255.255 fd00:ec2::254 fd20:ce::254 fe80::1 fe80::1%eth0 febf::1 ff02::1 ff0e::1
    100::1 2001::1 2001:2::1 2001:10::1 2001:db8::1 3fff::1 5f00::1 4000::1 8000::1
    ::ffff:169.254.169.254 64:ff9b::169.254.169.254 64:ff9b:1::a9fe:a9fe ::169.254.169.254
    2002:a9fe:a9fe::1
    """
)
PRIVATE = words(
    """
    127.0.0.1 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1
    100.64.0.1 100.127.255.254 198.18.0.1 198.19.255.255 ::1 :: fc00::1 fd12:3456::1 fec0::1
    ::ffff:127.0.0.1 ::ffff:10.1.2.3 64:ff9b::10.0.0.1 64:ff9b::7f00:1 64:ff9b:1::c0a8:101
    ::127.0.0.1 2002:7f00:1:: 2002:c0a8:101::1
    """
)
PUBLIC = words(
    """
    1.1.1.1 8.8.8.8 104.18.6.192 172.15.255.255 172.32.0.1 100.63.255.255 100.128.0.1 11.0.0.1
    169.253.255.255 192.0.1.1 198.17.255.255 198.20.0.1 223.255.255.255 2606:4700::1
    2a00:1450::1 2620:fe::fe ::ffff:1.1.1.1 64:ff9b::1.1.1.1 2002:101:101::1
    """
)


@pytest.mark.parametrize(
    ("addresses", "judged"), [(NEVER, "never"), (PRIVATE, "private"), (PUBLIC, "public")]
)
def test_addresses_are_judged_by_a_list_of_our_own(addresses: list[str], judged: str) -> None:
    assert {each: standing(each) for each in addresses} == dict.fromkeys(addresses, judged)


@given(st.ip_addresses(v=4))
def test_whatever_carries_an_address_is_judged_by_it(address: object) -> None:
    assert isinstance(address, ipaddress.IPv4Address)
    number = int(address)
    inside = standing(str(address))
    assert standing(f"::ffff:{address}") == inside
    assert standing(f"64:ff9b::{address}") == inside
    assert standing(str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1))) == inside


@given(st.ip_addresses())
def test_what_python_calls_private_is_never_public(address: object) -> None:
    assert isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address)
    if not address.is_global:
        carried = isinstance(address, ipaddress.IPv6Address) and (
            address.ipv4_mapped is not None or address in ipaddress.ip_network("64:ff9b:1::/48")
        )
        assert carried or standing(str(address)) != "public"


def test_one_bad_address_spoils_the_answer() -> None:
    assert objection("a.test", ["1.1.1.1", "2606:4700::1"], allow_private=False) is None
    for bad in ("10.0.0.1", "::1", "169.254.169.254"):
        for answer in (["1.1.1.1", bad], [bad, "1.1.1.1"]):
            assert objection("a.test", answer, allow_private=False)


def test_metadata_addresses_are_refused_however_they_are_asked_for() -> None:
    for host in ("169.254.169.254", "metadata.google.internal", "a.test"):
        for allowed in (True, False):
            assert objection(host, ["169.254.169.254"], allow_private=allowed)


def test_a_private_address_that_is_written_out_is_meant() -> None:
    for host in ("127.0.0.1", "10.0.0.7", "::1", "0.0.0.0"):
        assert objection(host, [host], allow_private=False) is None


def test_a_refusal_shows_no_address() -> None:
    for bad in ("10.9.8.7", "169.254.169.254"):
        assert bad not in (objection("a.test", [bad], allow_private=False) or "")


def test_names_that_say_they_are_private() -> None:
    near = ("localhost", "LOCALHOST.", "a.localhost", "nas.local", "gpu.house.internal")
    far = ("a.test", "localhost.evil.com", "internal", "notlocalhost", "local", "x.internal.io")
    assert all(says_private(name) for name in near)
    assert not any(says_private(name) for name in far)


# Over sockets


class Listener:
    """A server that counts who comes, and answers as it is told."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            self.heard.append(b"")
        finally:
            writer.close()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    one = Listener()
    await one.start()
    yield one
    one.server.close()
    await one.server.wait_closed()


Open = Callable[[Resolve], Transport]


@pytest.fixture(params=["lean", "aiohttp"])
async def opened(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    made: list[Transport] = []

    def make(resolve: Resolve) -> Transport:
        kind = LeanTransport if request.param == "lean" else AiohttpTransport
        made.append(kind(TransportLimits(connect_s=1.0), resolve=resolve))
        return made[-1]

    yield make
    for transport in made:
        await transport.close()


def leads_to(*answers: str) -> tuple[Resolve, list[str]]:
    """A resolver whose nth answer is the nth, the last one for all that follow."""
    asked: list[str] = []
    left: Iterator[str] = iter(answers)
    last = [answers[0]]

    async def resolve(host: str) -> list[Address]:
        asked.append(host)
        last[0] = next(left, last[0])
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, each) for each in last[0].split()
        ]

    return resolve, asked


async def fault(sending: Awaitable[object]) -> str:
    with pytest.raises(TransportError) as caught:
        await sending
    assert caught.value.sent is False
    return f"{caught.value.fault}: {caught.value}"


@pytest.mark.parametrize(
    "answer", ["127.0.0.1", "1.1.1.1 127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "169.254.169.254"]
)
async def test_a_name_that_leads_inside_is_not_dialled(
    answer: str, opened: Open, listener: Listener
) -> None:
    transport = opened(leads_to(answer)[0])
    request = HttpRequest(Endpoint(f"http://models.test:{listener.port}"), "/v1", b"{}")
    said = await fault(transport.send(request))
    assert "dns" in said and answer not in said
    assert listener.heard == []


async def test_a_name_is_dialled_inside_where_that_is_declared(
    opened: Open, listener: Listener
) -> None:
    transport = opened(leads_to("127.0.0.1")[0])
    endpoint = Endpoint(f"http://models.test:{listener.port}", allow_private=True)
    response = await transport.send(HttpRequest(endpoint, "/v1", b"{}"))
    assert await response.read() == b"ok"


async def test_a_name_that_turns_inside_later_is_refused_then() -> None:
    """Rebinding: public when it was looked at first, private when its answer is asked for anew."""
    resolve, asked = leads_to("1.1.1.1", "127.0.0.1")
    now = [0.0]
    names = Names(resolve, lambda: now[0])
    for now[0] in (0.0, 29.0):
        found = await names.checked("models.test", allow_private=False)
        assert found == [(socket.AF_INET, "1.1.1.1")]
    now[0] = 31.0
    assert "private network" in await fault(names.checked("models.test", allow_private=False))
    assert asked == ["models.test"] * 2


async def test_what_was_looked_at_is_what_is_dialled(
    opened: Open, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the name: the system's resolver is never asked behind the checked answer's back."""
    asked: list[object] = []
    ask = socket.getaddrinfo

    def note(host: object, *rest: object, **more: object) -> object:
        asked.append(host)
        return ask(host, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", note)
    transport = opened(leads_to("127.0.0.1")[0])
    endpoint = Endpoint(f"http://models.test:{listener.port}", allow_private=True)
    assert await (await transport.send(HttpRequest(endpoint, "/v1", b""))).read() == b"ok"
    assert "models.test" not in asked


async def test_permission_of_one_endpoint_opens_no_other(opened: Open, listener: Listener) -> None:
    transport = opened(leads_to("127.0.0.1")[0])
    inside = Endpoint(f"http://inside.test:{listener.port}", allow_private=True)
    await (await transport.send(HttpRequest(inside, "/v1", b""))).read()
    outside = Endpoint(f"http://outside.test:{listener.port}")
    assert "private network" in await fault(transport.send(HttpRequest(outside, "/v1", b"")))


async def test_a_lean_pool_is_not_shared_with_who_has_less_permission(listener: Listener) -> None:
    listener.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    transport = LeanTransport(resolve=leads_to("127.0.0.1")[0])
    url = f"http://models.test:{listener.port}"
    try:
        allowed = HttpRequest(Endpoint(url, allow_private=True), "/v1", b"")
        await (await transport.send(allowed)).read()
        assert "private" in await fault(transport.send(HttpRequest(Endpoint(url), "/v1", b"")))
    finally:
        await transport.close()


@pytest.mark.parametrize("text", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]"])
async def test_a_metadata_address_written_out_is_refused(text: str, opened: Open) -> None:
    transport = opened(leads_to("127.0.0.1")[0])
    assert "dns" in await fault(transport.send(HttpRequest(Endpoint(f"http://{text}"), "/", b"")))


async def test_numbers_that_are_addresses_in_disguise_are_names(
    opened: Open, listener: Listener
) -> None:
    """`2130706433` and `0x7f.1` are 127.0.0.1 to the system's resolver."""
    transport = opened(leads_to("127.0.0.1")[0])
    for host in ("2130706433", "0x7f.1", "127.1"):
        request = HttpRequest(Endpoint(f"http://{host}:{listener.port}"), "/", b"")
        with pytest.raises(TransportError):
            await transport.send(request)
    assert listener.heard == []


async def test_a_key_does_not_follow_a_redirect(opened: Open, listener: Listener) -> None:
    thief = Listener()
    await thief.start()
    listener.answer = (
        f"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:{thief.port}/v1\r\n"
        "content-length: 0\r\nconnection: close\r\n\r\n"
    ).encode()
    transport = opened(leads_to("127.0.0.1")[0])
    headers = {"authorization": "Bearer sk-canary"}
    endpoint = Endpoint(f"http://127.0.0.1:{listener.port}")
    response = await transport.send(HttpRequest(endpoint, "/v1", b"{}", headers))
    await response.read()
    assert response.status == 307
    assert b"sk-canary" in listener.heard[0]
    assert thief.heard == []
    thief.server.close()
    await thief.server.wait_closed()


async def test_no_proxy_of_the_environment_is_used(
    opened: Open, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Listener()
    await proxy.start()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    transport = opened(leads_to("127.0.0.1")[0])
    endpoint = Endpoint(f"http://127.0.0.1:{listener.port}")
    await (await transport.send(HttpRequest(endpoint, "/v1", b"{}"))).read()
    assert (len(listener.heard), proxy.heard) == (1, [])
    proxy.server.close()
    await proxy.server.wait_closed()


@pytest.mark.parametrize("path", ["//evil.test/v1", "/@evil.test", "/\\evil.test", "/v1//../x"])
async def test_a_path_cannot_name_another_host(path: str, opened: Open, listener: Listener) -> None:
    transport = opened(leads_to("8.8.8.8")[0])
    endpoint = Endpoint(f"http://127.0.0.1:{listener.port}/v1")
    response = await transport.send(HttpRequest(endpoint, path, b"{}"))
    await response.read()
    (heard,) = listener.heard
    assert heard.split(b" ")[1].startswith(b"/v1")
    assert f"host: 127.0.0.1:{listener.port}".encode() in heard.lower()


def test_questions_beside_the_traffic_keep_what_their_provider_is_allowed() -> None:
    endpoint = Endpoint("https://a.test/v1", ca_file="x", allow_private=True)
    assert root_of(endpoint) == Endpoint("https://a.test", ca_file="x", allow_private=True)


async def test_alerts_are_not_sent_inside_by_a_name(listener: Listener) -> None:
    transport = LeanTransport(resolve=leads_to("127.0.0.1")[0])
    told = Told("d", "raised", 1, "threshold", "warning", "text", None, 0.0, {})
    url = Secret(f"http://hooks.test:{listener.port}/x")
    try:
        closed = sink_of(SinkSettings("a", "webhook", url=url), transport, lambda: 0.0)
        with pytest.raises(NotTaken, match="dns"):
            await closed(told)
        assert listener.heard == []
        open_ = SinkSettings("a", "webhook", url=url, allow_private=True)
        await sink_of(open_, transport, lambda: 0.0)(told)
        assert len(listener.heard) == 1
    finally:
        await transport.close()


# What the file says


def allowed(provider: str) -> bool:
    text = f"""
    providers: {{house: {provider}}}
    deployments: [{{model: m, provider: house, price: free}}]
    routes: [{{name: auto, deployments: [house/m]}}]
    """
    settings = loads(textwrap.dedent(text), "f.yaml", {"K": "k" * 20}, Path())
    return settings.providers["house"].endpoint.allow_private


def test_local_servers_may_be_inside_and_hosted_ones_must_say_so() -> None:
    assert allowed("{kind: vllm, dialect: openai, url: 'http://gpu:8000/v1'}")
    assert allowed("{kind: ollama, dialect: openai, url: 'http://gpu:8000/v1'}")
    assert not allowed("{dialect: openai, url: 'https://a.test/v1', key: 'env:K'}")
    assert allowed("{dialect: openai, url: 'https://a.test/v1', key: none, allow_private: true}")
    assert not allowed(
        "{kind: vllm, dialect: openai, url: 'http://gpu:8000/v1', allow_private: false}"
    )
