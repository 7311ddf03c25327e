"""What goes out to a provider: where the key stands, and what it must not be sent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest

from pointsman.config.load import loads
from pointsman.domain.call import ANONYMOUS
from pointsman.errors import Overloaded
from pointsman.gateway import Gateway
from pointsman.testing import FakeTransport, Scripted

ANSWER = orjson.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
)
KEY = "key-of-the-provider-0123456789"


async def sent(
    provider: str, url: str, model: str, **fields: object
) -> tuple[Mapping[str, str], dict[str, object]]:
    """Ask once through a gateway with one deployment; return the headers and body that left."""
    text = f"""
providers: {{ {provider}: {{ key: "env:KEY"{url} }} }}
deployments: [{{ model: {provider}/{model}, price: free, tier: workhorse }}]
"""

    settings = loads(text, "test", {"KEY": KEY}, Path.cwd())
    transport = FakeTransport(Scripted(chunks=(ANSWER,)))
    async with Gateway(settings, transport=transport) as gateway:
        await gateway.chat([{"role": "user", "content": "hi"}], caller=ANONYMOUS, **fields)  # type: ignore[arg-type]
    request = transport.requests[0]
    return request.headers, orjson.loads(request.body)


@pytest.mark.parametrize(
    ("provider", "url", "header", "value"),
    [
        ("openai", "", "authorization", f"Bearer {KEY}"),
        ("azure", ', url: "https://x.openai.azure.com"', "api-key", KEY),
        ("azure", ', url: "https://x.openai.azure.com/openai/v1"', "api-key", KEY),
    ],
)
async def test_the_key_stands_where_the_provider_looks(
    provider: str, url: str, header: str, value: str
) -> None:
    headers, _ = await sent(provider, url, "gpt-test")
    assert headers[header] == value
    assert len([name for name, each in headers.items() if KEY in each]) == 1


async def test_a_provider_that_refuses_a_field_is_not_sent_it() -> None:
    _, body = await sent("mistral", "", "mistral-large-4", max_completion_tokens=50)
    assert body["max_tokens"] == 50
    assert "max_completion_tokens" not in body
    _, body = await sent("openai", "", "gpt-6-luna", max_completion_tokens=50)
    assert body["max_completion_tokens"] == 50


async def test_a_closed_gateway_says_so() -> None:
    text = "deployments: [{ model: ollama/m, price: free, tier: local }]"
    gateway = Gateway(loads(text, "test", {}, Path.cwd()), transport=FakeTransport())
    await gateway.close()
    with pytest.raises(Overloaded, match="closed"):
        await gateway.chat([{"role": "user", "content": "hi"}])


async def test_what_a_provider_says_is_left_is_kept_to() -> None:
    """Two providers; the first says that three requests remain: the fourth goes to the second,
    and nobody is told 429."""
    text = """
providers:
  one: { url: "http://one.test", dialect: openai, key: "env:KEY" }
  two: { url: "http://two.test", dialect: openai, key: "env:KEY" }
deployments:
  - { name: a, provider: one, model: m, price: free, tier: workhorse }
  - { name: b, provider: two, model: m, price: free, tier: workhorse }
routes: [{ name: auto, deployments: [a, b], strategy: static, order: [a, b] }]
"""
    left = {"x-ratelimit-limit-requests": "100", "x-ratelimit-reset-requests": "1h0m0s"}
    answers = [
        Scripted(headers={**left, "x-ratelimit-remaining-requests": n}, chunks=(ANSWER,))
        for n in ("3", "2", "1", "0")
    ]
    transport = FakeTransport(*answers, Scripted(chunks=(ANSWER,)), Scripted(chunks=(ANSWER,)))
    settings = loads(text, "test", {"KEY": KEY}, Path.cwd())
    async with Gateway(settings, transport=transport) as gateway:
        told = [await gateway.chat([{"role": "user", "content": "hi"}]) for _ in range(5)]
    assert [each.deployment.name for each in told] == ["a", "a", "a", "a", "b"]
