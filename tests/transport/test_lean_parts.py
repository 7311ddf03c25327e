"""The pure parts of the lean transport: origins, heads, names."""

from __future__ import annotations

import socket

import pytest

from pointsman.providers.lean_dial import Address, Names, families_in_turn, numeric_address
from pointsman.providers.lean_request import Heads, Origin, parse_origin
from pointsman.providers.transport import Endpoint, HttpRequest, TransportError

V4, V6 = socket.AF_INET, socket.AF_INET6


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://a.test", Origin(False, "a.test", 80, "a.test", "")),
        ("https://a.test/v1", Origin(True, "a.test", 443, "a.test", "/v1")),
        ("https://A.test:443/v1/", Origin(True, "a.test", 443, "a.test", "/v1")),
        ("http://a.test:443", Origin(False, "a.test", 443, "a.test:443", "")),
        ("http://[::1]:8080/x/y", Origin(False, "::1", 8080, "[::1]:8080", "/x/y")),
        (
            "https://b\u00fccher.test",
            Origin(True, "xn--bcher-kva.test", 443, "xn--bcher-kva.test", ""),
        ),
    ],
)
def test_a_base_url_is_split_into_its_origin(url: str, origin: Origin) -> None:
    assert parse_origin(url) == origin


@pytest.mark.parametrize(
    "url",
    ["", "a.test", "ws://a.test", "http:///x", "http://a b/", "http://a.test/x y", "http://[::1"],
)
def test_what_cannot_be_dialled_is_said_at_once(url: str) -> None:
    with pytest.raises(TransportError) as caught:
        parse_origin(url)
    assert (caught.value.fault, caught.value.sent) == ("protocol", False)


def test_a_head_is_made_once_and_again_when_its_headers_change() -> None:
    """The cache must not look at which mapping it is, but at what is in it."""
    heads = Heads(parse_origin("http://a.test/v1"))
    headers = {"authorization": "one"}
    request = HttpRequest(Endpoint("http://a.test/v1"), "/chat", b"body", headers)
    first = heads.head(request)
    assert first.endswith(b"authorization: one\r\ncontent-length: 4\r\n\r\n")
    headers["authorization"] = "two"
    assert b"authorization: two\r\n" in heads.head(request)
    headers["authorization"] = "one"
    assert heads.head(request) == first


def test_ever_changing_headers_do_not_fill_the_memory() -> None:
    heads = Heads(parse_origin("http://a.test"))
    endpoint = Endpoint("http://a.test")
    for number in range(5000):
        head = heads.head(HttpRequest(endpoint, "/", b"", {"x-request-id": str(number)}))
        assert f"x-request-id: {number}\r\n".encode() in head
    assert len(heads._kept) <= 1024


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", (V4, "127.0.0.1")), ("::1", (V6, "::1")), ("a.test", None), ("127.1", None)],
)
def test_numeric_hosts_need_no_resolver(host: str, address: Address | None) -> None:
    assert numeric_address(host) == address


def test_address_families_take_turns() -> None:
    found = [(V6, "1"), (V6, "2"), (V6, "3"), (V4, "4")]
    assert families_in_turn(found) == [(V6, "1"), (V4, "4"), (V6, "2"), (V6, "3")]
    assert families_in_turn([]) == []


async def test_a_name_is_asked_once_in_half_a_minute_and_kept_while_asking_fails() -> None:
    clock = [0.0]
    asked: list[float] = []
    fails = False

    async def resolve(host: str) -> list[Address]:
        asked.append(clock[0])
        if fails:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure")
        return [(V4, "10.0.0.1")]

    names = Names(resolve, lambda: clock[0])
    for clock[0] in (0.0, 29.0, 31.0):
        assert await names.addresses("a.test") == [(V4, "10.0.0.1")]
    assert asked == [0.0, 31.0]
    fails = True
    clock[0] = 300.0
    assert await names.addresses("a.test") == [(V4, "10.0.0.1")]
    clock[0] = 700.0
    with pytest.raises(TransportError) as caught:
        await names.addresses("a.test")
    assert caught.value.fault == "dns"


async def test_the_address_that_answered_goes_first() -> None:
    async def resolve(host: str) -> list[Address]:
        return [(V4, "10.0.0.1"), (V4, "10.0.0.2")]

    names = Names(resolve, lambda: 0.0)
    await names.addresses("a.test")
    names.prefer("a.test", (V4, "10.0.0.2"))
    assert await names.addresses("a.test") == [(V4, "10.0.0.2"), (V4, "10.0.0.1")]
