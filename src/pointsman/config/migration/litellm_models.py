"""LiteLLM's `model_list` to providers and deployments.

Facts about the format are from docs.litellm.ai (proxy/configs, proxy/config_settings), read in
November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pointsman.config.known import Known
from pointsman.config.migration.draft import Draft, Entry
from pointsman.config.migration.litellm_facts import abilities_of, limits_of, listed, price_of
from pointsman.config.migration.source import Source, env_name
from pointsman.config.resolve_providers import is_near
from pointsman.providers.catalog import ProviderRow
from pointsman.providers.prices import ModelFacts

PROVIDERS: Mapping[str, str] = {
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "dashscope": "qwen",
    "cohere_chat": "cohere",
    "ollama_chat": "ollama",
    "hosted_vllm": "vllm",
}
"""LiteLLM's provider prefixes that we call otherwise; the rest have the catalogue's names."""

COMPATIBLE = frozenset(
    {"openai_like", "custom_openai", "litellm_proxy", "lm_studio", "llamafile", "xinference"}
)
"""Prefixes that only say that a server speaks OpenAI's chat API."""

FAMILIES: tuple[tuple[str, str], ...] = (
    (r"gpt-|o\d|chatgpt-|text-embedding-", "openai"),
    (r"claude-", "anthropic"),
    (r"gemini-", "gemini"),
    (r"mistral-|ministral|codestral|open-mi|magistral|devstral", "mistral"),
    (r"command-", "cohere"),
    (r"deepseek-", "deepseek"),
    (r"grok-", "xai"),
)
"""Whose model it is where no prefix says so."""

DUMMIES = frozenset(
    {"", "none", "null", "empty", "dummy", "fake", "fake-key", "anything", "sk-1234"}
)


@dataclass(slots=True)
class Group:
    """The deployments that share a `model_name`."""

    deployments: list[str] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    orders: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reached:
    """A provider of the new file: its name there and its row, None for a compatible server."""

    name: str
    row: ProviderRow | None
    near: bool


class Models:
    """Carries `model_list` over into a draft; `groups` by model name."""

    def __init__(self, draft: Draft, known: Known) -> None:
        self.draft = draft
        self.known = known
        self.groups: dict[str, Group] = {}
        self._reached: dict[tuple[str, ...], Reached] = {}

    def carry(self, item: Source) -> None:
        group = item.text("model_name")
        params, info = item.section("litellm_params"), item.section("model_info")
        model = params.text("model")
        if group is None or model is None:
            item.drop("no model_name or no litellm_params.model")
            return
        if "*" in group or "*" in model:
            item.drop("wildcards: name each model; every deployment answers to provider/model")
            return
        mode = info.text("mode")
        if mode not in (None, "chat", "completion", "responses", "embedding"):
            item.drop(f"mode {mode}: Pointsman routes chat and embeddings")
            return
        reached, name = self._provider(params, model, item)
        if reached is None:
            return
        entry = self._deployment(item, params, info, group, reached, name)
        if mode == "embedding":
            entry["capabilities"] = ["embeddings"]
        self.draft.deployments.append(entry)
        members = self.groups.setdefault(group, Group())
        members.deployments.append(entry["name"])
        for key in ("weight", "requests_per_minute", "tokens_per_minute"):
            if key in entry:
                members.weights[entry["name"]] = float(entry[key])
                break
        order = params.whole("order")
        if order is not None:
            members.orders[entry["name"]] = order

    # Providers.

    def _provider(self, params: Source, model: str, item: Source) -> tuple[Reached | None, str]:
        """Find the provider and the model's name there: 1. by prefix; 2. an address of one's
        own: compatible; 3. by the family the name belongs to."""
        given = params.text("custom_llm_provider")
        prefix, slash, rest = model.partition("/")
        if given is not None:
            prefix, rest = given, model.removeprefix(f"{given}/")
        ours = PROVIDERS.get(prefix, prefix)
        base_key = "api_base" if "api_base" in params else "base_url"
        base = params.text(base_key)
        if (slash or given) and (ours in self.known.providers or prefix in COMPATIBLE):
            row = self.known.providers.get(ours)
            if ours == "openai" and base is not None and "api.openai.com" not in base:
                row = None
            return self._reach(params, row, base, base_key), rest
        if base is not None and not slash:
            return self._reach(params, None, base, base_key), model
        for pattern, name in FAMILIES:
            if not slash and re.match(pattern, model):
                row = self.known.providers[name]
                return self._reach(params, row, base, base_key), model
        why = f"provider {prefix}" if slash else f"no provider is named, and {model} is unknown"
        item.drop(f"{why}: Pointsman has no dialect or address for it")
        return None, model

    def _reach(
        self, params: Source, row: ProviderRow | None, base: str | None, base_key: str
    ) -> Reached | None:
        key = params.text("api_key")
        version = params.text("api_version")
        organization = params.text("organization")
        if row is None and base is None:
            params.note("dropped", "a compatible server without api_base", "model")
            return None
        identity = tuple(str(x) for x in (row and row.name, base, key, version, organization))
        if identity in self._reached:
            return self._reached[identity]
        variable = env_name(base)
        near = base is not None and variable is None and is_near(base)
        name = self._free_name(row.name if row else _host_name(base or "", variable))
        entry: Entry = {}
        if row is not None and name != row.name:
            entry["like"] = row.name
        if base is not None:
            entry["url"] = self.draft.env(variable) if variable else _base_url(base, row)
        if row is None:
            entry["dialect"] = "openai"
        entry |= self._key(params, key, row, near, name)
        if version is not None and row is not None and row.path_style == "azure":
            entry["query"] = f"api-version={version}"
        if organization is not None:
            variable = env_name(organization)
            header = self.draft.env(variable) if variable else organization
            entry["headers"] = {"openai-organization": header}
        if entry:
            self.draft.providers[name] = entry
        reached = Reached(name, row, near or (row is not None and row.is_local))
        self._reached[identity] = reached
        return reached

    def _key(
        self, params: Source, key: str | None, row: ProviderRow | None, near: bool, name: str
    ) -> Entry:
        """Keep references; never a key written out."""
        variable = env_name(key)
        if variable is not None:
            return {"key": self.draft.env(variable)}
        needs = row.needs_key if row else not near
        if key is None or (not needs and key.lower() in DUMMIES):
            if needs and row is not None and row.key_env:
                self.draft.variables.add(row.key_env[0])
                return {} if name == row.name else {"key": f"env:{row.key_env[0]}"}
            return {} if row is not None else {"key": "none"}
        taken = f"{re.sub('[^A-Za-z0-9]', '_', name).upper()}_API_KEY"
        if row is not None and row.key_env and name == row.name:
            taken = row.key_env[0]
        params.note("set", f"a key written out is not copied: put it into {taken}", "api_key")
        return {"key": self.draft.env(taken)}

    def _free_name(self, wanted: str) -> str:
        taken = {reached.name for reached in self._reached.values()}
        names = (wanted, *(f"{wanted}-{n}" for n in range(2, len(taken) + 3)))
        return next(name for name in names if name not in taken)

    # Deployments.

    def _deployment(
        self, item: Source, params: Source, info: Source, group: str, reached: Reached, model: str
    ) -> Entry:
        names = {entry["name"] for entry in self.draft.deployments}
        wanted = info.text("id") or f"{reached.name}/{model}"
        wanted = re.sub(r"[\s*]+", "-", wanted)
        choices = (wanted, *(f"{wanted}#{n}" for n in range(2, len(names) + 3)))
        name = next(choice for choice in choices if choice not in names)
        row = reached.row.name if reached.row else reached.name
        base_model = info.text("base_model")
        facts = own = self.known.facts_of(row, model)
        if base_model is not None and (own is None or own.price is None):
            facts = self.known.facts_of(row, base_model.rpartition("/")[2]) or own
        entry: Entry = {"name": name, "provider": reached.name, "model": model}
        local = reached.near or (reached.row is not None and reached.row.is_local)
        entry["tier"] = "local" if local else self.known.guess_tier(row, model, facts)
        price = price_of(params, info)
        if price is not None:
            entry["price"] = price
        elif own is None or own.price is None:
            entry |= _unlisted(params, info, facts, local, reached)
        entry |= limits_of(item, params, info)
        abilities = abilities_of(info, facts)
        if abilities is not None:
            entry["capabilities"] = abilities
        elif base_model is not None and facts is not None:
            entry["capabilities"] = sorted(facts.capabilities)
        tags = params.words("tags")
        if tags:
            entry["tags"] = tags
        return entry


def _unlisted(
    params: Source, info: Source, facts: ModelFacts | None, local: bool, reached: Reached
) -> Entry:
    """A price for a model that is on no list under its own name."""
    if facts is not None and facts.price is not None:
        info.note("changed", "priced like its base_model on the list", "base_model")
        return {"price": listed(facts.price)}
    if local:
        return {} if reached.row is not None else {"price": "free"}
    params.note("set", "no price is known: state it under `price:`", "model")
    return {"price": "unknown"}


def _host_name(base: str, variable: str | None) -> str:
    """Name a compatible server after its host, or the variable that holds its address."""
    if variable is not None:
        return variable.lower().replace("_", "-")
    parts = urlsplit(base)
    return re.sub(r"[^a-z0-9]+", "-", parts.netloc.lower()).strip("-") or "server"


def _base_url(base: str, row: ProviderRow | None) -> str:
    """LiteLLM takes Ollama's bare address; ours is that of the compatible API."""
    text = re.sub(r"/(chat/completions|v1/messages)/?$", "", base.rstrip("/"))
    if row is not None and row.is_local and not urlsplit(text).path:
        return f"{text}/v1"
    if row is not None and row.dialect == "anthropic":
        return text.removesuffix("/v1")
    return text
