"""Paths, methods, options and permissions, as a client on either dialect meets them."""

from __future__ import annotations

import pytest
from e2e_house import House

from pointsman.domain.call import Caller
from pointsman.domain.request import RouteOptions
from pointsman.errors import PermissionDenied, UnknownModel
from pointsman.testing import Fail

HI: list[dict[str, object]] = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("path", ["/v1/messages/batches", "/v1/messages/", "/v1/messagesx"])
async def test_an_unknown_path_of_anthropics_is_told_in_its_shape(house: House, path: str) -> None:
    got = await house.get(path)
    assert got.status == 404
    assert (got.json.get("type") == "error") == (path != "/v1/messagesx")


async def test_models_and_explain_fail_in_the_dialect_of_their_caller(house: House) -> None:
    version = {"anthropic-version": "2023-06-01", "authorization": "Bearer wrong"}
    got = await house.get("/v1/models", version)
    assert (got.status, got.json["type"]) == (401, "error")
    assert got.error["type"] == "authentication_error"


async def test_a_method_that_is_not_taken_is_told_which_is(house: House) -> None:
    got = await house.get("/v1/messages")
    assert (got.status, got.headers["allow"], got.json["type"]) == (405, "POST", "error")
    async with house.client.head(f"{house.url}/livez") as response:
        assert response.status == 200
    async with house.client.options(f"{house.url}/v1/chat/completions") as response:
        assert response.status == 405


async def test_a_query_changes_nothing(house: House) -> None:
    body = {"model": "auto", "max_tokens": 9, "messages": HI}
    assert (await house.post("/v1/messages?beta=true", body)).status == 200


@pytest.mark.parametrize("field", ["timeout", "max_cost_usd"])
@pytest.mark.parametrize("value", [b"true", b"1" + b"0" * 400, b'"1"', b"[1]", b"-1"])
async def test_a_number_that_is_none_is_refused(house: House, field: str, value: bytes) -> None:
    body = b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"%b":%b}'
    got = await house.post("/v1/chat/completions", body % (field.encode(), value))
    assert got.status == 400, got.body


@pytest.mark.parametrize("value", ["nan", "inf", "-5", "0", "soon"])
async def test_a_timeout_header_that_is_none_is_refused(house: House, value: str) -> None:
    body = {"model": "auto", "messages": HI}
    got = await house.post("/v1/chat/completions", body, {"x-request-timeout-ms": value})
    assert (got.status, got.error["param"]) == (400, "x-request-timeout-ms")


async def test_tags_of_ours_reach_no_provider(house: House) -> None:
    for post in (house.chat, house.message):
        model = "first" if post == house.chat else "second"
        await post(model=model, metadata={"tags": {"team": "red"}, "user_id": "u"})
    for provider in (house.openai, house.claude):
        sent = provider.journal.calls[-1].body
        assert b"tags" not in sent
        assert b'"user_id"' in sent
    assert [entry.tags for entry in await house.told(2)] == [(("team", "red"),)] * 2


@pytest.mark.parametrize("name", ["claude-test", "an/claude-test", "second"])
async def test_a_fallback_may_be_named_in_every_way(house: House, name: str) -> None:
    house.openai.script(Fail(500))
    got = await house.chat(model="solo", fallbacks=[name])
    assert (got.status, got.headers["x-pointsman-deployment"]) == (200, "second")


async def test_an_error_says_how_often_and_where_it_was_tried(house: House) -> None:
    house.openai.script(Fail(500))
    got = await house.chat(model="solo")
    assert got.status == 502
    assert (got.headers["x-pointsman-attempts"], got.headers["x-pointsman-route"]) == ("1", "solo")


async def test_a_caller_is_kept_to_its_routes_on_every_way_in(house: House) -> None:
    gateway = house.gateway
    kept = Caller(key="k", routes=frozenset({"solo"}))
    for model in ("auto", "second", "claude-test", "auto:cheap"):
        with pytest.raises(PermissionDenied):
            await gateway.chat(HI, model=model, caller=kept)
        with pytest.raises(PermissionDenied):
            gateway.explain_chat(HI, model=model, caller=kept)
    for fallback in ("second", "auto"):
        with pytest.raises(PermissionDenied):
            options = RouteOptions(fallbacks=(fallback,))
            await gateway.chat(HI, model="solo", caller=kept, options=options)
    assert [row["id"] for row in gateway.models(kept)] == ["solo"]
    assert house.asked() == {"openai": 0, "claude": 0}


async def test_tokens_are_counted_for_models_that_exist(house: House) -> None:
    got = await house.post("/v1/messages/count_tokens", {"model": "auto", "messages": HI})
    assert got.json["input_tokens"] > 0
    got = await house.post("/v1/messages/count_tokens", {"model": "nobody", "messages": HI})
    assert (got.status, got.error["type"]) == (404, "not_found_error")


async def test_a_name_as_long_as_a_book_is_refused_at_once(house: House) -> None:
    with pytest.raises(UnknownModel) as caught:
        await house.gateway.chat(HI, model="ab" * 400_000)
    assert len(caught.value.message) < 600


async def test_a_stream_read_to_its_end_settles_without_being_closed(house: House) -> None:
    events = await house.gateway.stream(HI, model="first")
    assert await events.text() == "You said: hi"
    assert events.usage is not None
    assert house.gateway.stacks["first"].meter.in_flight == 0
