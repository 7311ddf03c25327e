"""What is wrong is refused in the client's dialect, and reaches no provider."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from e2e_house import House

HI = '"messages":[{"role":"user","content":"hi"}]'
DEEP = b'{"model":"auto","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

BODIES: dict[str, bytes] = {
    "empty": b"",
    "not json": b"hello",
    "an array": b"[]",
    "not utf-8": b'{"model":"auto","messages":[{"role":"user","content":"\xff"}]}',
    "lone surrogate": b'{"model":"auto","messages":[{"role":"user","content":"\\ud800"}]}',
    "nan": b'{"model":"auto","temperature":NaN,' + HI.encode() + b"}",
    "infinite": b'{"model":"auto","temperature":1e999,' + HI.encode() + b"}",
    "duplicate key": b'{"model":"auto","model":"second",' + HI.encode() + b"}",
    "nested duplicate": b'{"model":"auto","messages":[{"role":"user","role":"user","content":""}]}',
    "too deep": DEEP,
    "no model": b"{" + HI.encode() + b"}",
    "model is a number": b'{"model":5,' + HI.encode() + b"}",
    "no messages": b'{"model":"auto"}',
    "messages is an object": b'{"model":"auto","messages":{}}',
    "unknown option": b'{"model":"auto","pointsman":{"prefr":"cost"},' + HI.encode() + b"}",
    "bad option": b'{"model":"auto","pointsman":{"prefer":"cheapest"},' + HI.encode() + b"}",
    "bad timeout": b'{"model":"auto","timeout":-1,' + HI.encode() + b"}",
    "bad limit": b'{"model":"auto","max_cost_usd":"much",' + HI.encode() + b"}",
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_bad_body_is_a_400_in_openais_shape(house: House, name: str) -> None:
    got = await house.post("/v1/chat/completions", BODIES[name])
    assert got.status == 400, got.body
    assert set(got.error) >= {"message", "type", "param", "code"}
    assert got.error["type"] == "invalid_request_error"
    assert got.headers["x-should-retry"] == "false"
    assert house.openai.journal.arrived == 0


@pytest.mark.parametrize("name", BODIES)
async def test_a_bad_body_is_a_400_in_anthropics_shape(house: House, name: str) -> None:
    got = await house.post("/v1/messages", BODIES[name])
    assert got.status == 400, got.body
    assert got.json["type"] == "error"
    assert got.error["type"] == "invalid_request_error"
    assert got.json["request_id"] == got.headers["x-pointsman-request-id"]
    assert house.openai.journal.arrived == 0


async def test_the_field_is_named(house: House) -> None:
    got = await house.chat(pointsman={"prefr": "cost"})
    assert got.error["param"] == "pointsman.prefr"
    got = await house.chat(temperature="hot")
    assert got.error["param"] == "temperature"


async def test_no_options_are_no_options(house: House) -> None:
    got = await house.chat(pointsman=None, timeout=None, fallbacks=None)
    assert got.status == 200, got.body


async def test_a_large_body_is_refused(house: House) -> None:
    got = await house.chat("a" * 2_000_000)
    assert (got.status, got.error["code"]) == (413, "body_too_large")

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"a" * 65536

    async with house.client.post(
        f"{house.url}/v1/messages", data=endless(), headers=house.auth
    ) as response:
        assert response.status == 413
        assert (await response.json())["error"]["type"] == "request_too_large"


async def test_a_compressed_body_is_refused(house: House) -> None:
    got = await house.post("/v1/chat/completions", b"\x1f\x8b", {"content-encoding": "gzip"})
    assert got.status == 415


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Basic abc"},
        {"authorization": "Bearer wrong"},
        {"x-api-key": "wrong", "authorization": ""},
    ],
)
async def test_without_a_good_key_nothing_is_served(house: House, headers: dict[str, str]) -> None:
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/embeddings", "/v1/route:explain"):
        got = await house.post(path, {}, headers)
        assert got.status == 401
        assert "wrong" not in got.body.decode()
    assert (await house.get("/v1/models", headers)).status == 401
    got = await house.post("/v1/messages", {}, headers)
    assert got.error["type"] == "authentication_error"


@pytest.mark.parametrize("name", ["x-api-key", "x-goog-api-key", "api-key"])
async def test_a_key_may_be_shown_in_any_dialects_header(house: House, name: str) -> None:
    key = house.auth["authorization"].split()[1]
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    got = await house.post("/v1/chat/completions", body, {"authorization": "", name: key})
    assert got.status == 200


async def test_every_path_but_the_open_three_needs_a_key(house: House) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        assert (await house.get(path, {"authorization": ""})).status == 200
    assert (await house.get("/v1/nothing")).status == 404
    assert (await house.get("/v1/chat/completions")).status == 405


async def test_a_providers_key_and_address_are_never_told(house: House) -> None:
    await house.openai.refuse()
    await house.claude.refuse()
    got = await house.chat()
    assert got.status == 502
    told = got.body.decode() + str(dict(got.headers))
    assert "canary" not in told
    assert "canary" not in repr(house.gateway)


async def test_a_client_may_not_send_us_elsewhere(house: House) -> None:
    """No field of a request is an address that we would call."""
    fields = {"base_url": "http://127.0.0.1:1", "api_base": "http://127.0.0.1:1"}
    got = await house.chat(model="second", **fields)
    assert got.status == 200
    assert house.asked()["claude"] == 1
