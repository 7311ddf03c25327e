"""LiteLLM's `config.yaml` to a file of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pointsman.config.known import Known
from pointsman.config.migration.draft import ALL_TIERS, Draft, Entry
from pointsman.config.migration.litellm_models import Group, Models
from pointsman.config.migration.litellm_money import carry_money
from pointsman.config.migration.source import Journal, Source, env_name
from pointsman.config.yaml_marks import Node

STRATEGIES: Mapping[str, str] = {
    "simple-shuffle": "random",
    "least-busy": "load",
    "usage-based-routing": "load",
    "usage-based-routing-v2": "load",
    "latency-based-routing": "latency",
    "cost-based-routing": "cost",
}

SHARED = "for what workers share write `redis: {url: env:REDIS_URL}`; money needs none"
OTHER = "Pointsman has no such setting"
REASONS: Mapping[str, str] = {
    "environment_variables": "variables are set outside the file",
    "database_url": "for a ledger in PostgreSQL write `ledger: {url: env:LEDGER_URL}`",
    "store_model_in_db": "the file is the only source of models",
    "cache_params": "see `cache` and `redis`: keys of answers are made otherwise",
    "redis_host": SHARED,
    "redis_port": SHARED,
    "redis_password": SHARED,
    "redis_url": SHARED,
    "success_callback": "no callbacks: there are metrics, logs and the ledger",
    "failure_callback": "no callbacks: there are metrics, logs and the ledger",
    "callbacks": "no callbacks: there are metrics, logs and the ledger",
    "callback_settings": "no callbacks: there are metrics, logs and the ledger",
    "guardrails": "there are no guardrails; sensitive content can be kept local",
    "alerting": "say where they go under `alerts.sinks`",
    "max_budget": "not of one deployment: write `budgets`, of a model or a provider",
    "budget_duration": "not of one deployment: write `budgets`, of a model or a provider",
    "retry_policy": "retries go by kind of failure, see `fallback`",
    "allowed_fails_policy": "one breaker setting holds for all kinds of failure",
    "drop_params": "what the chosen dialect cannot say is left out or refused by its own rules",
    "timeout": "timeouts are set for the file or a route, not for a deployment",
    "stream_timeout": "timeouts are set for the file or a route, not for a deployment",
    "temperature": "parameters of a request are the caller's",
    "top_p": "parameters of a request are the caller's",
    "extra_headers": "headers belong to a provider: write them under `providers`",
    "mock_response": "use `pointsman provider` for an answer from a script",
    "region_name": "write `residency:` if it stands for where the data stays",
    "access_groups": "a key's `routes` say what it may ask for",
    "base_model": "the model's own name is looked up",
    "model_name": "the model it belongs to is not carried over",
}


def carry_litellm(root: Node, draft: Draft, journal: Journal, known: Known) -> None:
    """Carry the whole file over into `draft`."""
    file = Source(root, (), journal)
    router, library = file.section("router_settings"), file.section("litellm_settings")
    models = Models(draft, known)
    for item in file.each("model_list"):
        models.carry(item)
    aliases = _aliases(router, models.groups)
    attempts = _Attempts(router, library)
    chains = _Chains(router, library, models.groups)
    strategy = _strategy(router)
    for name, group in models.groups.items():
        draft.routes.append(_route(name, group, aliases, strategy, chains, attempts, draft))
    _timeouts(router, library, attempts, draft)
    _breaker(router, draft)
    _server(file.section("general_settings"), draft)
    carry_money(library, router, draft)
    if router.take("enable_pre_call_checks") is False:
        router.note("changed", "context windows are always checked", "enable_pre_call_checks")


def _aliases(router: Source, groups: Mapping[str, Group]) -> dict[str, list[str]]:
    section = router.section("model_group_alias")
    found: dict[str, list[str]] = {}
    for alias in section:
        value = section.take(alias)
        target = value.get("model") if isinstance(value, dict) else value
        if isinstance(target, str) and target in groups and alias not in groups:
            found.setdefault(target, []).append(alias)
            if isinstance(value, dict) and value.get("hidden"):
                section.note("changed", "every name is listed, none is hidden", alias)
        else:
            section.note("dropped", "no such model group, or the name is taken", alias)
    return found


def _strategy(router: Source) -> str:
    stated = router.text("routing_strategy") or "simple-shuffle"
    if stated not in STRATEGIES:
        router.note("changed", f"{stated} has no counterpart: tiers", "routing_strategy")
        return "tiers"
    if stated.startswith("usage"):
        router.note("changed", "the least busy by slots and rates: load", "routing_strategy")
    return STRATEGIES[stated]


class _Attempts:
    """How often LiteLLM tries: `num_retries` of the router, else of the library."""

    def __init__(self, router: Source, library: Source) -> None:
        retries = [source.whole("num_retries") for source in (library, router)]
        stated = [number for number in retries if number is not None]
        self.retries = stated[-1] if stated else None

    def fallback(self, further: int) -> Entry:
        """`further` model groups follow. Ours counts attempts over all of them."""
        retries = 2 if self.retries is None else self.retries
        entry: Entry = {"max_attempts": max(1, min(20, 1 + retries + further))}
        if self.retries is not None:
            entry["retry_same"] = min(self.retries, 10)
        return entry


class _Chains:
    """Fallbacks by model group: plain, for long contexts and for content filters."""

    KEYS: Mapping[str, str] = {
        "fallbacks": "chain",
        "context_window_fallbacks": "context_length",
        "content_policy_fallbacks": "content_filter",
    }

    def __init__(self, router: Source, library: Source, groups: Mapping[str, Group]) -> None:
        self._groups = groups
        self._found: dict[tuple[str, str], list[str]] = {}
        for source in (library, router):
            for key, ours in self.KEYS.items():
                self._read(source, key, ours)
            self._default(source)

    def _read(self, source: Source, key: str, ours: str) -> None:
        for mapping in source.each(key):
            for group in mapping:
                names = mapping.words(group)
                if group != "*" and group not in self._groups:
                    mapping.note("dropped", "no such model group", group)
                    continue
                known = [name for name in names if name in self._groups]
                if len(known) < len(names):
                    missing = ", ".join(name for name in names if name not in self._groups)
                    mapping.note("dropped", f"no such model group: {missing}", group)
                self._found[ours, group] = known

    def _default(self, source: Source) -> None:
        known = [name for name in source.words("default_fallbacks") if name in self._groups]
        if known:
            self._found.setdefault(("chain", "*"), known)

    def of(self, ours: str, group: str) -> list[str] | None:
        """The groups that follow `group`, without itself."""
        names = self._found.get((ours, group), self._found.get((ours, "*")))
        return None if names is None else [name for name in names if name != group]

    def deployments_of(self, names: Sequence[str]) -> list[str]:
        return [each for name in names for each in self._groups[name].deployments]


def _route(
    name: str,
    group: Group,
    aliases: Mapping[str, list[str]],
    strategy: str,
    chains: _Chains,
    attempts: _Attempts,
    draft: Draft,
) -> Entry:
    route: Entry = {"name": name}
    if name in aliases:
        route["aliases"] = aliases[name]
    route["deployments"] = group.deployments
    route |= _choice(group, strategy, draft)
    fallback: Entry = {}
    further = 0
    for key in ("chain", "context_length", "content_filter"):
        following = chains.of(key, name)
        if following is None:
            continue
        others = chains.deployments_of(following)
        own = group.deployments if key == "chain" else []
        fallback[key] = list(dict.fromkeys((*own, *others)))
        further = max(further, len(following))
    if fallback or attempts.retries is not None:
        route["fallback"] = fallback | attempts.fallback(further)
    # LiteLLM sends sensitive content wherever it routes; ours would keep it on the local tier.
    route["sensitive_tiers"] = ALL_TIERS
    return route


def _choice(group: Group, strategy: str, draft: Draft) -> Entry:
    """How the group chooses: 1. by stated order; 2. by lot with stated shares; 3. as the file
    says. One deployment needs no choice."""
    if len(group.deployments) == 1:
        return {}
    if group.orders:
        last = max(group.orders.values()) + 1
        order = sorted(group.deployments, key=lambda name: group.orders.get(name, last))
        return {"strategy": "static", "order": order}
    if strategy == "random" and group.weights:
        for entry in draft.deployments:
            if entry["name"] in group.weights:
                entry["weight"] = group.weights[entry["name"]]
        return {"strategy": "weighted"}
    return {"strategy": strategy}


def _timeouts(router: Source, library: Source, attempts: _Attempts, draft: Draft) -> None:
    """LiteLLM's timeout is one attempt's; ours has one for attempts and one for everything."""
    stated = [router.number("timeout"), library.number("request_timeout")]
    one = next((seconds for seconds in stated if seconds is not None and seconds > 0), None)
    first = router.number("stream_timeout")
    if first is not None and first > 0:
        draft.timeouts["first_content_s"] = first
    if one is None:
        return
    draft.timeouts.setdefault("first_content_s", one)
    draft.timeouts["whole_s"] = one
    total = one * (1 + (2 if attempts.retries is None else attempts.retries))
    draft.timeouts["total_s"] = min(86_400, max(total, *draft.timeouts.values()))
    source, key = (router, "timeout") if "timeout" in router else (library, "request_timeout")
    source.note("changed", "for one attempt as before; all attempts together have total_s", key)


def _breaker(router: Source, draft: Draft) -> None:
    fails, cooldown = router.whole("allowed_fails"), router.number("cooldown_time")
    if fails is not None:
        draft.breaker["streak"] = max(1, fails + 1)
        router.note("changed", "failures in a row, not a minute", "allowed_fails")
    if cooldown is not None and cooldown > 0:
        draft.breaker["base_s"] = cooldown
        draft.breaker["max_s"] = max(60.0, cooldown)
    if router.take("disable_cooldowns") is True:
        draft.breaker["streak"] = 1000
        draft.breaker["ratio"] = 0
        router.note("changed", "the breaker opens only after 1000 failures", "disable_cooldowns")


def _server(general: Source, draft: Draft) -> None:
    master = general.text("master_key")
    if master is not None:
        variable = env_name(master)
        if variable is None:
            variable = "POINTSMAN_KEY"
            text = f"a key written out is not copied: put it into {variable}"
            general.note("set", text, "master_key")
        draft.server["keys"] = [{"name": "master", "key": draft.env(variable)}]
    most = general.whole("global_max_parallel_requests")
    if most is not None and most > 0:
        draft.server["max_in_flight"] = most
