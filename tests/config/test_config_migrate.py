"""Other routers' files, carried over; the samples are our own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.cli.main import main
from pointsman.config.known import Known
from pointsman.config.load import loads
from pointsman.config.migrate import Migration, migrate
from pointsman.config.settings import Route, Settings
from pointsman.errors import ConfigError

LITELLM = """\
model_list:
  - model_name: chat
    litellm_params:
      model: azure/our-gpt-eu
      api_base: https://eu.openai.azure.com/
      api_key: os.environ/AZURE_EU_KEY
      api_version: "2024-10-21"
      rpm: 600
    model_info: {base_model: azure/gpt-4.1, id: eu-1}
  - model_name: chat
    litellm_params:
      model: azure/our-gpt-us
      api_base: os.environ/AZURE_US_BASE
      api_key: os.environ/AZURE_US_KEY
      rpm: 300
      temperature: 0.2
      input_cost_per_token: 0.000002
      output_cost_per_token: 8e-06
  - model_name: claude
    litellm_params: {model: claude-sonnet-4-5, api_key: sk-ant-0123456789abcdef0123456789}
  - model_name: tiny
    litellm_params: {model: ollama/llama3.1, api_base: "http://localhost:11434"}
  - model_name: house
    litellm_params:
      model: openai/our-model
      api_base: http://10.0.0.5:8000/v1
      api_key: none
      max_parallel_requests: 8
      max_tokens: 500
    model_info:
      max_input_tokens: 8000
      max_output_tokens: 2000
      supports_vision: true
      supports_function_calling: false
  - model_name: cloud
    litellm_params: {model: bedrock/anthropic.claude-v2, aws_region_name: us-east-1}
  - model_name: "openai/*"
    litellm_params: {model: "openai/*"}
  - model_name: draw
    litellm_params: {model: openai/gpt-4.1}
    model_info: {mode: image_generation}
  - model_name: embed
    litellm_params: {model: text-embedding-3-small}
    model_info: {mode: embedding}
router_settings:
  routing_strategy: simple-shuffle
  num_retries: 2
  timeout: 30
  stream_timeout: 10
  allowed_fails: 3
  cooldown_time: 90
  fallbacks: [{chat: [claude, nowhere]}]
  context_window_fallbacks: [{chat: [claude]}]
  content_policy_fallbacks: [{claude: [chat]}]
  model_group_alias: {gpt: chat, hidden-one: {model: claude, hidden: true}, lost: nobody}
  redis_host: localhost
litellm_settings:
  drop_params: true
  success_callback: [langfuse]
  default_fallbacks: [tiny]
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
  database_url: os.environ/DATABASE_URL
  global_max_parallel_requests: 100
environment_variables: {FOO: bar}
"""

LITELLM_MONEY = """\
model_list:
  - model_name: gpt
    litellm_params: {model: openai/gpt-4.1, max_budget: 10, budget_duration: 1d}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5}
litellm_settings:
  max_budget: 100
  budget_duration: 30d
  cache: true
  cache_params: {type: redis, host: h, port: 6379, ttl: 60}
router_settings:
  provider_budget_config:
    openai: {budget_limit: 1.5, time_period: 1d}
    anthropic: {budget_limit: 1, time_period: 3d}
    mistral: {budget_limit: 1, time_period: 1d}
"""

LLM_ROUTER = """\
models:
  workhorses:
    - id: glm-small
      provider: zhipu
      cost_per_million_input: 0.30
      cost_per_million_output: 0.60
      max_tokens: 128000
      capabilities: [general, vision]
      api_key_env: GLM_KEY
    - {id: coder, provider: kat, costPerMillionInput: 0.5, costPerMillionOutput: 1,
       maxTokens: 32000, capabilities: [code], apiKeyEnv: KAT_KEY}
    - {id: retired, provider: openai, cost_per_million_input: 1, cost_per_million_output: 1,
       max_tokens: 1000, enabled: false}
  judges:
    - {id: claude-opus, provider: anthropic, cost_per_million_input: 15,
       cost_per_million_output: 75, max_tokens: 200000, config: {beta: true}}
strategies:
  default:
    type: cost-optimized
    workhorse_pool: [glm-small, coder]
    budget_per_request: 0.05
    priority: 3
  realtime: {type: latency-optimized, workhorse_pool: [glm-small], timeout_ms: 3000,
             target_p99_ms: 2000}
  complex: {type: judgment-based, workhorse_pool: [coder], judge_pool: [claude-opus],
            escalation_threshold: 0.7, consensus_required: true}
  seeing: {type: capability-based, required_capabilities: [vision],
           preferred_models: [glm-small, claude-opus]}
  odd: {type: bogus, workhorse_pool: [glm-small]}
fallback_chains:
  - name: usual
    models: [glm-small, coder]
    circuit_breaker: {failure_threshold: 7, reset_timeout_ms: 90000, half_open_max_calls: 3}
  - {name: last, models: [retired], circuit_breaker: {failure_threshold: 2}}
budgets:
  default: {daily_limit: 100, alert_thresholds: [0.5], hard_limit: true}
observability: {enabled: true, otlpEndpoint: "http://collector"}
"""


@pytest.fixture(scope="module")
def lite(known: Known) -> Migration:
    return migrate(LITELLM, "config.yaml", known=known)


@pytest.fixture(scope="module")
def ts(known: Known) -> Migration:
    return migrate(LLM_ROUTER, "llm.yaml", {"kat": "https://kat.example.com/v1"}, known)


def settings_of(migration: Migration, known: Known) -> Settings:
    env = {name: f"{name}-0123456789" for name in migration.variables}
    env["AZURE_US_BASE"] = "https://us.openai.azure.com"
    return loads(migration.text, "new.yaml", env, Path("/nowhere"), known)


def route(settings: Settings, name: str) -> Route:
    return next(each for each in settings.routes if each.name == name)


def notes(migration: Migration) -> Mapping[str, tuple[str, str]]:
    return {note.path: (note.kind, note.text) for note in migration.notes}


def test_litellms_file_passes_our_check(lite: Migration, known: Known) -> None:
    assert (lite.format, lite.problems) == ("LiteLLM", ())
    assert lite.variables == (
        "ANTHROPIC_API_KEY",
        "AZURE_EU_KEY",
        "AZURE_US_BASE",
        "AZURE_US_KEY",
        "LITELLM_MASTER_KEY",
        "OPENAI_API_KEY",
    )
    settings = settings_of(lite, known)
    assert [each.name for each in settings.routes] == ["chat", "claude", "tiny", "house", "embed"]


def test_a_key_written_out_is_never_copied(lite: Migration) -> None:
    shown = lite.text + "".join(note.text + note.path for note in lite.notes)
    assert "sk-ant-0123456789abcdef" not in shown
    assert notes(lite)["model_list[2].litellm_params.api_key"] == (
        "set",
        "a key written out is not copied: put it into ANTHROPIC_API_KEY",
    )


def test_deployments_of_one_group_become_one_route(lite: Migration, known: Known) -> None:
    settings = settings_of(lite, known)
    chat = route(settings, "chat")
    assert [each.name for each in chat.deployments] == ["eu-1", "azure-2/our-gpt-us"]
    assert chat.aliases == ("gpt",)
    assert chat.policy.strategy == "weighted"
    assert [each.weight for each in chat.deployments] == [600, 300]
    assert [each.limits.requests_per_minute for each in chat.deployments] == [600, 300]
    eu, us = chat.deployments
    assert settings.providers[eu.provider].endpoint.base_url == "https://eu.openai.azure.com"
    assert settings.providers[us.provider].endpoint.base_url == "https://us.openai.azure.com"
    assert settings.providers[eu.provider].query == "api-version=2024-10-21"
    assert eu.price is not None
    assert us.price is not None
    assert eu.price.rates.input == 2_200_000_000, "the list price of its base model"
    assert (us.price.rates.input, us.price.rates.output) == (2_000_000_000, 8_000_000_000)


def test_fallbacks_by_kind_are_carried_over(lite: Migration, known: Known) -> None:
    settings = settings_of(lite, known)
    fallback = route(settings, "chat").fallback
    assert fallback.chain == ("eu-1", "azure-2/our-gpt-us", "anthropic/claude-sonnet-4-5")
    assert fallback.by_kind == {"context_length": ("anthropic/claude-sonnet-4-5",)}
    assert (fallback.max_attempts, fallback.retry_same) == (4, 2)
    claude = route(settings, "claude").fallback
    assert claude.by_kind == {"content_filter": ("eu-1", "azure-2/our-gpt-us")}
    assert claude.on_content_filter
    assert claude.chain == ("anthropic/claude-sonnet-4-5", "ollama/llama3.1")


def test_local_and_compatible_servers_are_carried_over(lite: Migration, known: Known) -> None:
    settings = settings_of(lite, known)
    tiny, house = route(settings, "tiny").deployments[0], route(settings, "house").deployments[0]
    assert settings.providers[tiny.provider].endpoint.base_url == "http://localhost:11434/v1"
    assert settings.providers[house.provider].endpoint.base_url == "http://10.0.0.5:8000/v1"
    assert settings.providers[house.provider].key is None
    assert (tiny.tier, house.tier) == ("local", "local")
    assert house.capabilities == {"chat", "vision"}
    assert (house.limits.max_in_flight, house.default_max_tokens) == (8, 500)
    assert (house.limits.context_tokens, house.limits.output_tokens) == (8000, 2000)


def test_the_rest_of_litellms_settings_is_carried_over(lite: Migration, known: Known) -> None:
    settings = settings_of(lite, known)
    timeouts = route(settings, "chat").timeouts
    assert (timeouts.first_content_s, timeouts.whole_s, timeouts.total_s) == (10, 30, 90)
    assert (settings.breaker.streak, settings.breaker.base_s, settings.breaker.max_s) == (4, 90, 90)
    assert [key.caller.key for key in settings.server.keys] == ["master"]
    assert settings.server.max_in_flight == 100
    assert route(settings, "embed").deployments[0].capabilities == {"embeddings"}


@pytest.mark.parametrize(
    ("path", "kind", "part"),
    [
        ("model_list[1].litellm_params.temperature", "dropped", "the caller's"),
        ("model_list[5]", "dropped", "bedrock"),
        ("model_list[6]", "dropped", "wildcards"),
        ("model_list[7]", "dropped", "image_generation"),
        ("model_list[0].model_info.base_model", "changed", "priced like"),
        ("router_settings.fallbacks[0].chat", "dropped", "nowhere"),
        ("router_settings.model_group_alias.lost", "dropped", "no such model group"),
        ("router_settings.model_group_alias.hidden-one", "changed", "none is hidden"),
        ("router_settings.redis_host", "dropped", "env:REDIS_URL"),
        ("router_settings.timeout", "changed", "one attempt"),
        ("litellm_settings.success_callback", "dropped", "no callbacks"),
        ("litellm_settings.drop_params", "dropped", "dialect"),
        ("general_settings.database_url", "dropped", "env:LEDGER_URL"),
        ("environment_variables.FOO", "dropped", "outside the file"),
    ],
)
def test_what_litellm_had_and_we_have_not_is_reported(
    path: str, kind: str, part: str, lite: Migration
) -> None:
    found = notes(lite)[path]
    assert found[0] == kind
    assert part in found[1]


@pytest.mark.parametrize(
    ("strategy", "ours"),
    [
        ("least-busy", "load"),
        ("latency-based-routing", "latency"),
        ("cost-based-routing", "cost"),
        ("usage-based-routing-v2", "load"),
        ("simple-shuffle", "random"),
        ("made-up", "tiers"),
    ],
)
def test_routing_strategies_have_counterparts(strategy: str, ours: str, known: Known) -> None:
    text = (
        "model_list:\n"
        "  - {model_name: a, litellm_params: {model: openai/gpt-4.1}}\n"
        "  - {model_name: a, litellm_params: {model: anthropic/claude-sonnet-4-5}}\n"
        f"router_settings: {{routing_strategy: {strategy}}}\n"
    )
    result = migrate(text, "c.yaml", known=known)
    assert settings_of(result, known).routes[0].policy.strategy == ours
    assert ("router_settings.routing_strategy" in notes(result)) == (
        strategy in ("made-up", "usage-based-routing-v2")
    )


def test_order_becomes_a_static_route(known: Known) -> None:
    text = (
        "model_list:\n"
        "  - {model_name: a, litellm_params: {model: openai/gpt-4.1, order: 2}}\n"
        "  - {model_name: a, litellm_params: {model: anthropic/claude-sonnet-4-5, order: 1}}\n"
    )
    policy = settings_of(migrate(text, "c.yaml", known=known), known).routes[0].policy
    assert policy.strategy == "static"
    assert policy.order == ("anthropic/claude-sonnet-4-5", "openai/gpt-4.1")


def test_prices_of_long_requests_and_batches_are_carried_over(known: Known) -> None:
    text = """\
model_list:
  - model_name: a
    litellm_params: {model: openai/new-one, api_key: os.environ/K}
    model_info:
      input_cost_per_token: 1.25e-06
      output_cost_per_token: 0.00001
      cache_read_input_token_cost: 1.25e-07
      cache_creation_input_token_cost: 1.5e-06
      input_cost_per_token_above_200k_tokens: 2.5e-06
      output_cost_per_token_above_200k_tokens: 1.5e-05
      input_cost_per_token_batches: 6.25e-07
      output_cost_per_token_batches: 5e-06
"""
    result = migrate(text, "c.yaml", known=known)
    price = settings_of(result, known).deployments[0].price
    assert result.notes == ()
    assert price is not None
    assert (price.rates.input, price.rates.output) == (1_250_000_000, 10_000_000_000)
    assert (price.rates.cached, price.rates.cache_write) == (125_000_000, 1_500_000_000)
    above, rates = price.steps[0]
    assert (above, rates.input, rates.output) == (200_000, 2_500_000_000, 15_000_000_000)
    assert price.batch is not None
    assert (price.batch.input, price.batch.output) == (625_000_000, 5_000_000_000)


def test_what_may_be_spent_and_what_is_kept_is_carried_over(known: Known) -> None:
    migration = migrate(LITELLM_MONEY, "config.yaml", known=known)
    settings = settings_of(migration, known)
    everybody, at_openai = settings.budgets
    assert (everybody.scope, everybody.limit, everybody.window.period) == (
        "everyone",
        100_000_000_000,
        "month",
    )
    assert (at_openai.scope, at_openai.match, at_openai.limit, at_openai.window.period) == (
        "provider",
        frozenset({"openai"}),
        1_500_000_000,
        "day",
    )
    assert (settings.cache.mode, settings.cache.ttl_s) == ("exact", 60)
    told = notes(migration)
    for path, kind, part in (
        ("litellm_settings.budget_duration", "changed", "month of the calendar"),
        ("litellm_settings.cache_params.type", "changed", "memory of each worker"),
        ("litellm_settings.cache_params.host", "dropped", "`redis`"),
        ("model_list[0].litellm_params.max_budget", "dropped", "not of one deployment"),
        ("router_settings.provider_budget_config.mistral", "dropped", "no deployment"),
        ("router_settings.provider_budget_config.anthropic.budget_limit", "dropped", "of 3d"),
    ):
        assert told[path][0] == kind and part in told[path][1]


def test_llm_routers_file_passes_our_check(ts: Migration, known: Known) -> None:
    assert (ts.format, ts.problems) == ("llm-router", ())
    assert ts.variables == ("ANTHROPIC_API_KEY", "GLM_KEY", "KAT_KEY")
    settings = settings_of(ts, known)
    assert [each.name for each in settings.deployments] == ["glm-small", "coder", "claude-opus"]
    assert [each.tier for each in settings.deployments] == ["workhorse", "workhorse", "frontier"]
    glm = settings.deployments[0]
    assert glm.capabilities == {"chat", "x-general", "vision"}
    assert glm.limits.context_tokens == 128_000
    assert glm.price is not None
    assert glm.price.rates.output == 600_000_000


def test_strategies_become_routes(ts: Migration, known: Known) -> None:
    settings = settings_of(ts, known)
    assert {each.name: each.policy.strategy for each in settings.routes} == {
        "default": "cost",
        "realtime": "latency",
        "complex": "tiers",
        "seeing": "capability",
        "odd": "tiers",
    }
    default = route(settings, "default")
    assert default.aliases == ("auto",)
    assert default.policy.max_cost_nano == 50_000_000
    assert default.fallback.chain == ("glm-small", "coder")
    assert route(settings, "realtime").timeouts.total_s == 3
    assert [d.name for d in route(settings, "complex").deployments] == ["coder", "claude-opus"]
    assert route(settings, "seeing").policy.require == {"vision"}
    assert (settings.breaker.streak, settings.breaker.base_s) == (7, 90)


@pytest.mark.parametrize(
    ("path", "kind", "part"),
    [
        ("models.workhorses[0].max_tokens", "changed", "context_tokens"),
        ("models.workhorses[2]", "dropped", "not enabled"),
        ("models.judges[0].config.beta", "dropped", "client library"),
        ("strategies.default.priority", "dropped", "do not compete"),
        ("strategies.realtime.target_p99_ms", "dropped", "median"),
        ("strategies.complex.escalation_threshold", "dropped", "no judge"),
        ("strategies.complex.consensus_required", "dropped", "no judge"),
        ("strategies.complex.type", "changed", "no judge compares"),
        ("strategies.odd.type", "changed", "bogus"),
        ("fallback_chains[0].circuit_breaker.half_open_max_calls", "dropped", "one probe"),
        ("fallback_chains[0].name", "changed", "by itself"),
        ("fallback_chains[1].models", "dropped", ""),
        ("fallback_chains[1].circuit_breaker", "dropped", "first chain"),
        ("budgets.default.daily_limit", "dropped", "write `budgets`"),
        ("observability.otlpEndpoint", "dropped", "not set in this file"),
    ],
)
def test_what_llm_router_had_and_we_have_not_is_reported(
    path: str, kind: str, part: str, ts: Migration
) -> None:
    found = notes(ts)[path]
    assert found[0] == kind
    assert part in found[1]


def test_a_provider_without_an_address_takes_its_models_with_it(known: Known) -> None:
    result = migrate(LLM_ROUTER, "llm.yaml", known=known)
    assert result.problems == ()
    assert "--url kat=" in notes(result)["models.workhorses[1]"][1]
    assert "coder" not in [each.name for each in settings_of(result, known).deployments]


@pytest.mark.parametrize("text", ["a: 1", "", "models: [a]", "- 1"])
def test_another_kind_of_file_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="neither LiteLLM's config"):
        migrate(text, "x.yaml")


def leaves(value: object, path: str = "") -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from leaves(child, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for place, child in enumerate(value):
            yield from leaves(child, f"{path}[{place}]")
    else:
        yield path


PLACES = [
    "",
    "model_list.0",
    "model_list.0.litellm_params",
    "model_list.0.model_info",
    "router_settings",
    "router_settings.deep",
    "litellm_settings",
    "general_settings",
]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    place=st.sampled_from(PLACES),
    key=st.from_regex(r"zz_[a-z]{3,8}", fullmatch=True),
    value=st.sampled_from([1, "x", True, None, [1, 2], {"a": {"b": 1}}, [{"c": 2}]]),
)
def test_nothing_is_dropped_silently(place: str, key: str, value: object, known: Known) -> None:
    """Whatever is added anywhere to LiteLLM's file, each of its values is reported."""
    file: Any = yaml.load(LITELLM, Loader=yaml.CSafeLoader)
    at = file
    for step in place.split(".") if place else []:
        at = at[int(step)] if isinstance(at, list) else at.setdefault(step, {})
    at[key] = value
    result = migrate(yaml.dump(file, Dumper=yaml.CSafeDumper), "c.yaml", known=known)
    prefix = place.replace(".0", "[0]")
    reported = {note.path for note in result.notes if note.kind == "dropped"}
    for leaf in leaves(value, f"{prefix}.{key}" if prefix else key):
        assert leaf in reported
    assert result.problems == ()


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(LITELLM)
    return path


def test_the_command_writes_the_file_and_reports_on_stderr(sample: Path) -> None:
    target = sample.parent / "pointsman.yaml"
    result = CliRunner().invoke(main, ["migrate", str(sample), "-o", str(target)])
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert target.read_text().startswith("# Made by `pointsman migrate` from config.yaml.")
    line = LITELLM.splitlines().index("  - model_name: cloud") + 1
    assert f"{sample}:{line}: model_list[5]: dropped: provider bedrock" in result.stderr
    assert "set these variables: ANTHROPIC_API_KEY, AZURE_EU_KEY" in result.stderr
    again = CliRunner().invoke(main, ["migrate", str(sample), "-o", str(target)])
    assert again.exit_code == 2
    assert "add --force" in again.stderr


def test_the_command_prints_the_file_or_json(sample: Path) -> None:
    plain = CliRunner().invoke(main, ["migrate", str(sample)])
    assert yaml.safe_load(plain.stdout)["routes"][0]["name"] == "chat"
    found = json.loads(CliRunner().invoke(main, ["migrate", str(sample), "--json"]).stdout)
    assert found["file"] == plain.stdout
    assert found["problems"] == []
    assert {"line", "path", "kind", "text"} == set(found["notes"][0])
