"""Providers as rows: a compatible provider is a row here, not a class.

Addresses are from the providers' own API pages, read in November 2026. The default models are
what discovery uses where there is no configuration file: today's models of each provider whose
list price `prices.py` knows, by tier. A provider without any (Azure: deployments are the
customer's own; Perplexity: its chat models were retired on 2026-09-27; Qwen: no list price in
the snapshot) needs its models written down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from pointsman.domain.deployment import Tier

DialectName = Literal["openai", "anthropic"]
Kind = Literal["hosted", "ollama", "vllm", "llamacpp"]
PathStyle = Literal["plain", "azure"]
KeyHeader = Literal["authorization", "api-key", "x-api-key"]


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """What is known of a provider before anything is configured.

    url: base address, without a trailing slash; OpenAI's dialect appends /chat/completions,
    Anthropic's /v1/messages. Empty where only the operator knows it. url_env: variables
    that may hold it (Ollama's is host:port; OPENAI_BASE_URL is left out on purpose: it usually
    points clients at us). usual_url: where a local server listens unless told otherwise.
    key_env: variables that may hold the key, first found wins. key_header: where the key goes
    if not to the dialect's own header; authorization carries `Bearer KEY`, the others the key.
    path_style azure: /openai/deployments/{model}/chat/completions?api-version=… below a url
    that is the bare resource; a url that ends in /openai/v1 is plain. query: the default one.
    refuses: request fields it answers with an error, though others of its dialect take them.
    price_provider: its name in the price table, "" for none. otel_name: `gen_ai.provider.name`
    of OpenTelemetry's conventions, our own name where they have none.
    """

    name: str
    title: str
    url: str
    otel_name: str
    dialect: DialectName = "openai"
    key_env: tuple[str, ...] = ()
    url_env: tuple[str, ...] = ()
    kind: Kind = "hosted"
    path_style: PathStyle = "plain"
    query: str = ""
    key_header: KeyHeader | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    refuses: frozenset[str] = frozenset()
    price_provider: str = ""
    default_models: tuple[tuple[str, Tier], ...] = ()
    usual_url: str = ""
    needs_key: bool = True

    @property
    def is_local(self) -> bool:
        return self.kind != "hosted"


ROWS: tuple[ProviderRow, ...] = (
    ProviderRow(
        name="openai",
        title="OpenAI",
        url="https://api.openai.com/v1",
        otel_name="openai",
        key_env=("OPENAI_API_KEY",),
        price_provider="openai",
        default_models=(
            ("gpt-6.1-sol", "frontier"),
            ("gpt-6.1-terra", "workhorse"),
            ("gpt-6-luna", "workhorse"),
        ),
    ),
    ProviderRow(
        name="azure",
        title="Azure OpenAI",
        url="",
        url_env=("AZURE_OPENAI_ENDPOINT", "AZURE_API_BASE"),
        otel_name="azure.ai.openai",
        key_env=("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
        path_style="azure",
        query="api-version=2024-10-21",
        key_header="api-key",
        price_provider="azure",
    ),
    ProviderRow(
        name="anthropic",
        title="Anthropic",
        url="https://api.anthropic.com",
        otel_name="anthropic",
        dialect="anthropic",
        key_env=("ANTHROPIC_API_KEY",),
        price_provider="anthropic",
        default_models=(
            ("claude-opus-5-5", "frontier"),
            ("claude-sonnet-5-5", "frontier"),
            ("claude-haiku-5-5", "workhorse"),
        ),
    ),
    ProviderRow(
        name="gemini",
        title="Google Gemini",
        url="https://generativelanguage.googleapis.com/v1beta/openai",
        otel_name="gcp.gemini",
        key_env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        price_provider="google",
        default_models=(
            ("gemini-4-argon", "frontier"),
            ("gemini-3.8-flash", "workhorse"),
            ("gemini-3.5-flash-lite", "workhorse"),
        ),
    ),
    ProviderRow(
        name="mistral",
        title="Mistral",
        url="https://api.mistral.ai/v1",
        otel_name="mistral_ai",
        key_env=("MISTRAL_API_KEY",),
        # 422 extra_forbidden: public reports of 2025 and 2026 (avante.nvim #2347,
        # openai-agents-python #442, openclaude #739); usage comes in its streams unasked.
        refuses=frozenset({"stream_options", "max_completion_tokens"}),
        price_provider="mistral",
        default_models=(("mistral-large-4", "frontier"), ("mistral-small-2603", "workhorse")),
    ),
    ProviderRow(
        name="groq",
        title="Groq",
        url="https://api.groq.com/openai/v1",
        otel_name="groq",
        key_env=("GROQ_API_KEY",),
        price_provider="groq",
        default_models=(("openai/gpt-oss-120b", "workhorse"), ("openai/gpt-oss-20b", "workhorse")),
    ),
    ProviderRow(
        name="together",
        title="Together",
        url="https://api.together.xyz/v1",
        otel_name="together",
        key_env=("TOGETHER_API_KEY", "TOGETHERAI_API_KEY"),
        price_provider="together",
        default_models=(
            ("moonshotai/Kimi-K3.1-Pro", "frontier"),
            ("zai-org/GLM-5.3-Flash", "workhorse"),
        ),
    ),
    ProviderRow(
        name="fireworks",
        title="Fireworks",
        url="https://api.fireworks.ai/inference/v1",
        otel_name="fireworks",
        key_env=("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"),
        price_provider="fireworks",
        default_models=(
            ("accounts/fireworks/models/kimi-k3", "frontier"),
            ("accounts/fireworks/models/gpt-oss-120b", "workhorse"),
        ),
    ),
    ProviderRow(
        name="deepseek",
        title="DeepSeek",
        url="https://api.deepseek.com",
        otel_name="deepseek",
        key_env=("DEEPSEEK_API_KEY",),
        price_provider="deepseek",
        default_models=(("deepseek-v4-pro", "frontier"), ("deepseek-flash", "workhorse")),
    ),
    ProviderRow(
        name="xai",
        title="xAI",
        url="https://api.x.ai/v1",
        otel_name="x_ai",
        key_env=("XAI_API_KEY",),
        price_provider="x-ai",
        default_models=(("grok-4.7", "frontier"), ("grok-4.3", "workhorse")),
    ),
    ProviderRow(
        name="openrouter",
        title="OpenRouter",
        url="https://openrouter.ai/api/v1",
        otel_name="openrouter",
        key_env=("OPENROUTER_API_KEY",),
        price_provider="openrouter",
        default_models=(
            ("anthropic/claude-opus-5.5", "frontier"),
            ("google/gemini-3.8-flash", "workhorse"),
        ),
    ),
    ProviderRow(
        name="moonshot",
        title="Moonshot (Kimi)",
        url="https://api.moonshot.ai/v1",
        otel_name="moonshot_ai",
        key_env=("MOONSHOT_API_KEY",),
        price_provider="moonshotai",
        default_models=(("kimi-k3.1-pro", "frontier"), ("kimi-k2.6", "workhorse")),
    ),
    ProviderRow(
        name="zhipu",
        title="Zhipu (BigModel)",
        url="https://open.bigmodel.cn/api/paas/v4",
        otel_name="zhipu",
        key_env=("ZHIPUAI_API_KEY", "ZHIPU_API_KEY"),
        price_provider="zhipuai",
        default_models=(("glm-5.3", "frontier"), ("glm-5.3-flash", "workhorse")),
    ),
    ProviderRow(
        name="zai",
        title="Z.ai",
        url="https://api.z.ai/api/paas/v4",
        otel_name="zai",
        key_env=("ZAI_API_KEY",),
        price_provider="zai",
        default_models=(("glm-5.3", "frontier"), ("glm-5.3-flash", "workhorse")),
    ),
    ProviderRow(
        name="qwen",
        title="Qwen (Alibaba Model Studio)",
        url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        url_env=("DASHSCOPE_BASE_URL",),
        otel_name="qwen",
        key_env=("DASHSCOPE_API_KEY",),
    ),
    ProviderRow(
        name="cerebras",
        title="Cerebras",
        url="https://api.cerebras.ai/v1",
        otel_name="cerebras",
        key_env=("CEREBRAS_API_KEY",),
        price_provider="cerebras",
        default_models=(("gpt-oss-120b", "workhorse"), ("qwen-3.8-27b", "workhorse")),
    ),
    ProviderRow(
        name="perplexity",
        title="Perplexity",
        url="https://api.perplexity.ai",
        otel_name="perplexity",
        key_env=("PERPLEXITY_API_KEY", "PERPLEXITYAI_API_KEY"),
        price_provider="perplexity",
    ),
    ProviderRow(
        name="cohere",
        title="Cohere",
        url="https://api.cohere.ai/compatibility/v1",
        otel_name="cohere",
        key_env=("COHERE_API_KEY", "CO_API_KEY"),
        price_provider="cohere",
        default_models=(("command-a-03-2025", "frontier"), ("command-r7b-12-2024", "workhorse")),
    ),
    ProviderRow(
        name="ollama",
        title="Ollama",
        url="",
        url_env=("OLLAMA_HOST",),
        otel_name="ollama",
        kind="ollama",
        usual_url="http://127.0.0.1:11434/v1",
        needs_key=False,
    ),
    ProviderRow(
        name="vllm",
        title="vLLM",
        url="",
        url_env=("VLLM_BASE_URL",),
        otel_name="vllm",
        key_env=("VLLM_API_KEY",),
        kind="vllm",
        usual_url="http://127.0.0.1:8000/v1",
        needs_key=False,
    ),
    ProviderRow(
        name="llamacpp",
        title="llama.cpp",
        url="",
        url_env=("LLAMACPP_BASE_URL",),
        otel_name="llamacpp",
        key_env=("LLAMA_API_KEY",),
        kind="llamacpp",
        usual_url="http://127.0.0.1:8080/v1",
        needs_key=False,
    ),
)


def _by_name(rows: Iterable[ProviderRow]) -> Mapping[str, ProviderRow]:
    return MappingProxyType({row.name: row for row in rows})


CATALOG: Mapping[str, ProviderRow] = _by_name(ROWS)
"""Every known provider by its name, hosted ones first."""
