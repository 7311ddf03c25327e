"""Settings without a file."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from aiohttp import web

from pointsman.config.discover import discover, probe_http
from pointsman.errors import ConfigError

Answers = Mapping[str, list[str]]


class ScriptedProbe:
    """Answers for the URLs it knows; remembers what it was asked."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def __call__(self, url: str) -> list[str] | None:
        self.asked.append(url)
        return self.answers.get(url)


NOBODY = ScriptedProbe({})


async def test_a_key_brings_the_providers_usual_models() -> None:
    settings, lines = await discover({"OPENAI_API_KEY": "a", "ANTHROPIC_API_KEY": "b"}, NOBODY)
    providers = {deployment.provider for deployment in settings.deployments}
    assert providers == {"openai", "anthropic"}
    assert {deployment.tier for deployment in settings.deployments} == {"frontier", "workhorse"}
    assert all(deployment.price is not None for deployment in settings.deployments)
    assert [route.name for route in settings.routes] == ["auto"]
    assert len(settings.routes[0].deployments) == len(settings.deployments)
    assert settings.origin == "discovered"
    assert lines[0].startswith("openai: key from OPENAI_API_KEY; ")
    assert lines[-1] == (
        "callers: no POINTSMAN_KEY is set, so anybody who reaches the port may call"
    )


async def test_any_of_a_providers_variables_will_do() -> None:
    settings, lines = await discover({"GOOGLE_API_KEY": "a"}, NOBODY)
    assert settings.providers["gemini"].key is not None
    assert lines[0].startswith("gemini: key from GOOGLE_API_KEY; ")


async def test_an_empty_key_is_no_key() -> None:
    with pytest.raises(ConfigError):
        await discover({"OPENAI_API_KEY": ""}, NOBODY)


async def test_local_servers_are_asked_on_their_usual_ports() -> None:
    probe = ScriptedProbe({"http://127.0.0.1:11434/v1/models": ["llama3.1:8b", "nomic-embed-text"]})
    settings, lines = await discover({}, probe)
    assert sorted(probe.asked) == [
        "http://127.0.0.1:11434/v1/models",
        "http://127.0.0.1:8000/v1/models",
        "http://127.0.0.1:8080/v1/models",
    ]
    chat, embed = settings.deployments
    assert (chat.name, chat.tier, chat.price and chat.price.version) == (
        "ollama/llama3.1:8b",
        "local",
        "free",
    )
    assert embed.capabilities == {"embeddings"}
    assert [each.name for each in settings.routes[0].deployments] == ["ollama/llama3.1:8b"]
    assert lines[0] == (
        "ollama: 2 model(s) at http://127.0.0.1:11434/v1; llama3.1:8b, nomic-embed-text (local)"
    )


async def test_ollama_host_moves_the_question() -> None:
    probe = ScriptedProbe({"http://127.0.0.1:9999/v1/models": ["x"]})
    settings, _ = await discover({"OLLAMA_HOST": "0.0.0.0:9999"}, probe)
    assert settings.providers["ollama"].endpoint.base_url == "http://127.0.0.1:9999/v1"


async def test_keys_for_callers_come_from_the_environment() -> None:
    env = {"OPENAI_API_KEY": "a", "POINTSMAN_KEY": "one", "POINTSMAN_KEYS": "two, one ,three"}
    settings, lines = await discover(env, NOBODY)
    assert [key.secret.reveal() for key in settings.server.keys] == ["one", "two", "three"]
    assert [key.caller.key for key in settings.server.keys] == ["key-1", "key-2", "key-3"]
    assert lines[-1] == "callers: 3 key(s) from POINTSMAN_KEY(S)"


async def test_a_provider_whose_models_must_be_named_is_mentioned() -> None:
    env = {"OPENAI_API_KEY": "a", "AZURE_API_KEY": "b"}
    settings, lines = await discover(env, NOBODY)
    assert "azure" not in settings.providers
    assert "azure: AZURE_API_KEY is set, but its models must be named in a file" in lines


async def test_nothing_found_says_what_to_set() -> None:
    with pytest.raises(ConfigError) as caught:
        await discover({}, NOBODY)
    for part in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "11434", "8000", "8080"):
        assert part in caught.value.message


async def serve(body: str, status: int = 200) -> tuple[web.AppRunner, str]:
    """A server on loopback that answers /v1/models."""

    async def models(request: web.Request) -> web.Response:
        return web.Response(text=body, status=status, content_type="application/json")

    app = web.Application()
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    return runner, f"http://127.0.0.1:{port}/v1/models"


@pytest.mark.parametrize(
    ("body", "status", "found"),
    [
        ('{"data": [{"id": "a"}, {"id": "b", "owned_by": "x"}, {"no": 1}, 3]}', 200, ["a", "b"]),
        ('{"data": [{"id": "auto", "owned_by": "pointsman"}, {"id": "a"}]}', 200, None),
        ('{"data": []}', 200, []),
        ('{"models": []}', 200, None),
        ("[1]", 200, None),
        ("<html>", 200, None),
        ('{"data": [{"id": "a"}]}', 503, None),
    ],
)
async def test_the_probe_reads_a_list_of_models_or_nothing(
    body: str, status: int, found: list[str] | None
) -> None:
    runner, url = await serve(body, status)
    try:
        assert await probe_http(url) == found
    finally:
        await runner.cleanup()


async def test_the_probe_finds_nobody_where_nobody_listens() -> None:
    runner, url = await serve("{}")
    await runner.cleanup()
    assert await probe_http(url) is None
