"""Files that are right, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pointsman.config.load import Loaded, load
from pointsman.config.settings import Route, Settings
from pointsman.domain.call import Timeouts
from pointsman.domain.deployment import Deployment
from pointsman.domain.usage import FREE, Rates, Usage
from pointsman.errors import ConfigError

Read = Callable[..., Loaded]

THREE = """\
providers:
  house: {kind: vllm, url: "http://127.0.0.1:8000/v1"}
deployments:
  - {model: openai/gpt-4.1}
  - {model: groq/llama-3.3-70b, name: fast}
  - {model: openai/text-embedding-3-small}
  - {provider: house, model: qwen3}
"""


def only(settings: Settings, name: str) -> Deployment:
    return next(each for each in settings.deployments if each.name == name)


def route(settings: Settings, name: str = "auto") -> Route:
    return next(each for each in settings.routes if each.name == name)


def names(route: Route) -> list[str]:
    return [deployment.name for deployment in route.deployments]


def test_the_shortest_file_is_one_deployment(read: Read) -> None:
    settings = read("deployments: [{model: openai/gpt-4.1}]").settings
    deployment = settings.deployments[0]
    assert (deployment.name, deployment.provider, deployment.model) == (
        "openai/gpt-4.1",
        "openai",
        "gpt-4.1",
    )
    assert deployment.price is not None
    assert deployment.price.version == "list 2026-11"
    assert deployment.limits.context_tokens == 1_000_000
    assert "vision" in deployment.capabilities
    provider = settings.providers["openai"]
    assert provider.endpoint.base_url == "https://api.openai.com/v1"
    assert provider.key is not None
    assert provider.key.reveal() == "openai-key-of-the-test"


def test_without_routes_there_is_one_over_all_that_chat(read: Read) -> None:
    auto = route(read(THREE).settings)
    assert names(auto) == ["openai/gpt-4.1", "fast", "house/qwen3"]
    assert auto.policy.strategy == "tiers"
    assert auto.timeouts == Timeouts()


def test_a_local_server_is_free_keyless_and_local(read: Read) -> None:
    settings = read(THREE).settings
    deployment = only(settings, "house/qwen3")
    assert deployment.price == FREE
    assert deployment.tier == "local"
    assert settings.providers["house"].key is None
    assert settings.providers["house"].dialect == "openai"
    assert settings.providers["house"].kind == "vllm"


def test_a_tier_comes_from_the_file_the_provider_or_a_guess(read: Read) -> None:
    settings = read(
        "providers: {groq: {tier: frontier}}\n"
        "deployments:\n"
        "  - {model: openai/gpt-4.1-mini}\n"
        "  - {model: openai/gpt-4.1, tier: workhorse}\n"
        "  - {model: groq/llama-3.3-70b}\n"
    ).settings
    assert [each.tier for each in settings.deployments] == ["workhorse", "workhorse", "frontier"]


def test_a_stated_price_is_exact_and_has_a_version_of_its_own(read: Read) -> None:
    text = (
        "deployments:\n"
        "  - model: openai/gpt-4.1\n"
        "    price:\n"
        "      input_usd: .59\n"
        "      output_usd: 0.79\n"
        "      cached_input_usd: 0.1\n"
        "      above: [{input_tokens: 1000, input_usd: 2, output_usd: 3}]\n"
        "      batch: {input_usd: 0.3, output_usd: 0.4}\n"
    )
    price = read(text).settings.deployments[0].price
    assert price is not None
    assert price.rates == Rates.of(590_000_000, 790_000_000, 100_000_000)
    assert price.cost(Usage(input=1_000_000, output=0)) == 2_000_000_000
    assert price.cost(Usage(input=1000, output=0)) == 590_000
    assert price.batch == Rates.of(300_000_000, 400_000_000)
    other = read(text.replace("0.79", "0.80")).settings.deployments[0].price
    assert other is not None
    assert price.version.startswith("config ")
    assert other.version != price.version
    again = read("\n" + text).settings.deployments[0].price
    assert again is not None
    assert again.version == price.version


@pytest.mark.parametrize(("word", "price"), [("free", FREE), ("unknown", None)])
def test_a_price_may_be_a_word(word: str, price: object, read: Read) -> None:
    text = f"deployments: [{{model: openai/gpt-9, price: {word}}}]"
    assert read(text).settings.deployments[0].price == price


def test_stated_capabilities_replace_the_known_ones(read: Read) -> None:
    text = "deployments: [{model: openai/gpt-4.1, capabilities: [tools, x-legal]}]"
    assert read(text).settings.deployments[0].capabilities == {"chat", "tools", "x-legal"}
    text = "deployments: [{model: openai/gpt-4.1, capabilities: [embeddings]}]\n"
    text += "routes: [{name: e, deployments: ['openai/*']}]"
    assert read(text).settings.deployments[0].capabilities == {"embeddings"}


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("[fast, openai/gpt-4.1]", ["fast", "openai/gpt-4.1"]),
        ("['openai/*']", ["openai/gpt-4.1", "openai/text-embedding-3-small"]),
        ("['tier:local', 'tier:workhorse']", ["house/qwen3", "fast"]),
        ("[groq/llama-3.3-70b]", ["fast"]),
        ("[fast, 'groq/*', fast]", ["fast"]),
    ],
)
def test_deployments_are_named_by_name_provider_or_tier(
    patterns: str, expected: list[str], read: Read
) -> None:
    settings = read(THREE + f"routes: [{{name: auto, deployments: {patterns}}}]\n").settings
    assert names(route(settings)) == expected


def test_a_chain_may_leave_the_route(read: Read) -> None:
    settings = read(
        THREE
        + "routes:\n"
        + "  - {name: auto, deployments: [fast], fallback: {chain: ['tier:frontier'], "
        + "context_length: [openai/gpt-4.1], throttled: [], content_filter: [house/qwen3]}}\n"
    ).settings
    fallback = route(settings).fallback
    assert fallback.chain == ("openai/gpt-4.1", "openai/text-embedding-3-small")
    assert fallback.by_kind == {
        "context_length": ("openai/gpt-4.1",),
        "throttled": (),
        "content_filter": ("house/qwen3",),
    }
    assert fallback.on_content_filter is True


def test_a_route_without_chains_falls_back_by_its_ranking(read: Read) -> None:
    fallback = route(read(THREE).settings).fallback
    assert fallback.chain is None
    assert fallback.by_kind == {}
    assert fallback.on_content_filter is False


def test_timeouts_of_the_file_hold_for_routes_that_state_none(read: Read) -> None:
    settings = read(
        THREE
        + "timeouts: {first_content_s: 10, total_s: 50}\n"
        + "routes: [{name: auto}, {name: slow, timeouts: {first_content_s: 40}},\n"
        + "  {name: quick, timeouts: {total_s: 5}}]\n"
    ).settings
    assert route(settings).timeouts == Timeouts(first_content_s=10, total_s=50, whole_s=50)
    assert route(settings, "slow").timeouts.first_content_s == 40
    quick = route(settings, "quick").timeouts
    assert (quick.first_content_s, quick.idle_s, quick.whole_s, quick.total_s) == (5, 5, 5, 5)


THINKS = "  - {model: openai/gpt-9, price: unknown, capabilities: [chat, reasoning]}\n"


def test_a_route_with_a_model_that_reasons_waits_longer_for_content(read: Read) -> None:
    routes = "routes: [{name: deep}, {name: plain, deployments: [openai/gpt-4.1]}]\n"
    settings = read(THREE + THINKS + routes).settings
    assert route(settings, "deep").timeouts.first_content_s == 120
    assert route(settings, "plain").timeouts.first_content_s == 30
    assert settings.timeouts.first_content_s == 120, "for requests that name a deployment"


def test_a_stated_wait_holds_for_models_that_reason_too(read: Read) -> None:
    settings = read(THREE + THINKS + "timeouts: {first_content_s: 40}\n").settings
    assert route(settings).timeouts.first_content_s == 40
    assert settings.timeouts.first_content_s == 40


def test_every_part_of_a_policy_arrives(read: Read) -> None:
    settings = read(
        THREE
        + """\
routes:
  - name: auto
    aliases: [default]
    strategy: hybrid
    weights: {cost: 1, latency: 2}
    picker: power_of_two
    tiers: [local, frontier]
    explore: 0
    seed: 7
    require: [tools]
    max_cost_usd: 0.05
    max_first_content_s: 3
    sensitive_tiers: [local, workhorse]
    baseline: openai/gpt-4.1
    rules:
      - name: code
        when: {task: [code], language: [zh], sensitive: true, needs: [vision],
               input_tokens_above: 8000, input_tokens_below: 9000, tags: {team: legal}}
        use: {tiers: [frontier, local], deployments: ["openai/*", house/qwen3], strategy: cost,
              weights: {cost: 1}}
"""
    ).settings
    found = route(settings)
    policy, rule = found.policy, found.policy.rules[0]
    assert found.aliases == ("default",)
    assert found.baseline == "openai/gpt-4.1"
    assert (policy.strategy, policy.picker, policy.explore, policy.seed) == (
        "hybrid",
        "power_of_two",
        0,
        7,
    )
    assert policy.weights == {"cost": 1, "latency": 2}
    assert policy.tiers == ("local", "frontier")
    assert policy.require == {"tools"}
    assert policy.max_cost_nano == 50_000_000
    assert policy.max_first_content_s == 3
    assert policy.sensitive_tiers == ("local", "workhorse")
    assert (rule.when.task, rule.when.language, rule.when.needs) == (
        frozenset({"code"}),
        frozenset({"zh"}),
        frozenset({"vision"}),
    )
    assert (rule.when.sensitive, rule.when.tags) == (True, {"team": "legal"})
    assert (rule.when.input_tokens_above, rule.when.input_tokens_below) == (8000, 9000)
    assert rule.tiers == ("frontier", "local")
    assert rule.deployments == ("openai/gpt-4.1", "house/qwen3")
    assert (rule.strategy, rule.weights) == ("cost", {"cost": 1})


def test_a_second_account_is_like_the_first(read: Read) -> None:
    settings = read(
        "providers:\n"
        "  azure-eu: {like: azure, url: 'env:AZURE_URL', key: 'env:APP_KEY', residency: eu}\n"
        "  azure-v1: {like: azure, url: 'https://x.azure.com/openai/v1', key: 'env:APP_KEY'}\n"
        "deployments:\n"
        "  - {provider: azure-eu, model: gpt-4.1}\n"
        "  - {provider: azure-v1, model: gpt-4.1}\n"
    ).settings
    old, new = settings.providers["azure-eu"], settings.providers["azure-v1"]
    assert (old.path_style, old.query) == ("azure", "api-version=2024-10-21")
    assert old.endpoint.base_url == "https://eu.openai.azure.com"
    assert (new.path_style, new.query) == ("plain", "")
    assert (old.key_header, new.key_header) == ("api-key", "api-key")
    first = only(settings, "azure-eu/gpt-4.1")
    assert first.residency == "eu"
    assert first.price is not None
    assert first.price.rates.input == 2_200_000_000


def test_a_hosted_address_is_not_taken_from_the_environment(read: Read) -> None:
    """OPENAI_BASE_URL points clients at us; following it would call ourselves."""
    settings = read(
        "deployments: [{model: openai/gpt-4.1}]", OPENAI_BASE_URL="http://127.0.0.1:4000/v1"
    ).settings
    assert settings.providers["openai"].endpoint.base_url == "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434/v1"),
        ("0.0.0.0:9999", "http://127.0.0.1:9999/v1"),
        ("box", "http://box:11434/v1"),
        ("https://ollama.example.com", "https://ollama.example.com/v1"),
        ("http://box:1/v1/", "http://box:1/v1"),
    ],
)
def test_a_local_address_is_taken_from_its_variable(host: str, url: str, read: Read) -> None:
    text = "deployments: [{model: ollama/llama3, capabilities: [chat]}]"
    settings = read(text, OLLAMA_HOST=host).settings
    assert settings.providers["ollama"].endpoint.base_url == url


def test_server_keys_become_callers(read: Read) -> None:
    settings = read(
        THREE
        + "server:\n"
        + "  body_mb: 0.5\n"
        + "  keys:\n"
        + "    - {key: 'env:APP_KEY', app: shop, user: ann, team: t, tenant: n, tags: {a: b},\n"
        + "       routes: [default, fast]}\n"
        + "    - {key: 'env:OTHER_KEY', name: other}\n"
        + "routes: [{name: auto, aliases: [default]}]\n"
    ).settings
    first, second = settings.server.keys
    assert first.secret.reveal() == "app-key-of-the-test-0001"
    caller = first.caller
    assert (caller.key, caller.app, caller.user, caller.team, caller.tenant) == (
        "APP_KEY",
        "shop",
        "ann",
        "t",
        "n",
    )
    assert caller.tags == {"a": "b"}
    assert caller.routes == frozenset({"auto", "fast"})
    assert (second.caller.key, second.caller.routes) == ("other", None)
    assert settings.server.body_bytes == 512 * 1024


def test_paths_are_relative_to_the_file(tmp_path: Path, env: dict[str, str]) -> None:
    file = tmp_path / "deep" / "pointsman.yaml"
    file.parent.mkdir()
    (file.parent / "key").write_text("  from-a-file \n")
    file.write_text(
        "ledger: {path: l.db}\n"
        "providers: {openai: {key: 'file:key'}}\n"
        "deployments: [{model: openai/gpt-4.1, price: free}]\n",
        encoding="utf-8-sig",
    )
    settings = load(file, env)
    assert settings.ledger.path == file.parent / "l.db"
    key = settings.providers["openai"].key
    assert key is not None
    assert key.reveal() == "from-a-file"
    assert settings.origin == str(file)


@pytest.mark.parametrize(
    ("content", "part"),
    [(None, "there is no such file"), (b"\xff\xfe\x00", "not UTF-8"), ("dir", "cannot be read")],
)
def test_a_file_that_cannot_be_read_says_why(
    content: bytes | str | None, part: str, tmp_path: Path
) -> None:
    file = tmp_path / "p.yaml"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content == "dir":
        file.mkdir()
    with pytest.raises(ConfigError, match=part):
        load(file, {})
