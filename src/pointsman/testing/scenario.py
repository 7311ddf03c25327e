"""Scenarios: how a provider behaves over time, from a YAML file or by a well-known name.

persona: workhorse            # a name in persona.PERSONAS
seed: 7
models: [small, large]        # None: any model is known
rate_limit: {requests: 60, window_s: 60}
rules:
  - name: noon outage
    model: "small*"
    from_s: 10
    until_s: 20
    probability: 0.5
    play: {fail: {status: 503, headers: {retry-after: "7"}}}
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec
import yaml

from pointsman.domain.content import Json, JsonObject
from pointsman.errors import ConfigError
from pointsman.testing.director import RateLimit, Rule
from pointsman.testing.persona import PERSONAS, Persona
from pointsman.testing.plays import Cut, Drip, ErrorEvent, Fail, Hang, Slow, Truncate, read_plays

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything about a provider's behaviour that can be written down beforehand."""

    about: str = "answers properly"
    persona: Persona = PERSONAS["echo"]
    seed: int = 0
    models: tuple[str, ...] | None = None
    rate_limit: RateLimit | None = None
    rules: tuple[Rule, ...] = ()


def load_scenario(name_or_path: str) -> Scenario:
    """Return the named scenario, or the one in a file. Raises ConfigError."""
    if name_or_path in SCENARIOS:
        return SCENARIOS[name_or_path]
    path = Path(name_or_path)
    if not path.is_file():
        raise ConfigError(
            f"scenario {name_or_path!r}: neither a file nor a known name; "
            f"the names are {', '.join(SCENARIOS)}"
        )
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    return read_scenario(value, str(path))


def read_scenario(value: Json, where: str) -> Scenario:
    """Read a scenario from parsed YAML or JSON; `where` is for the messages."""
    stated = _known(value, ("about", "persona", "seed", "models", "rate_limit", "rules"), where)
    persona = stated.get("persona", "echo")
    if persona not in PERSONAS:
        raise ConfigError(f"{where}: no persona {persona!r}; there are {', '.join(PERSONAS)}")
    limit = stated.get("rate_limit")
    models = stated.get("models")
    rules = stated.get("rules", [])
    if not isinstance(rules, list):
        raise ConfigError(f"{where}: rules is a list")
    return Scenario(
        about=str(stated.get("about", "")),
        persona=PERSONAS[str(persona)],
        seed=_convert(stated.get("seed", 0), int, f"{where}: seed"),
        models=tuple(_convert(models, list[str], f"{where}: models")) if models else None,
        rate_limit=None if limit is None else _convert(limit, RateLimit, f"{where}: rate_limit"),
        rules=read_rules(rules, where),
    )


def read_rules(rules: list[Json], where: str) -> tuple[Rule, ...]:
    """Read rules from parsed YAML or JSON."""
    return tuple(_read_rule(rule, f"{where}: rules[{n}]") for n, rule in enumerate(rules))


def _read_rule(value: Json, where: str) -> Rule:
    names = [item.name for item in fields(Rule) if item.name != "plays"]
    stated = _known(value, ("play", *names), where)
    if "play" not in stated:
        raise ConfigError(f"{where}: says no `play`, such as `play: hang`")
    plays = read_plays(stated.pop("play"), where)
    kinds = get_type_hints(Rule)
    checked: dict[str, Any] = {
        name: _convert(given, kinds[name], f"{where}.{name}") for name, given in stated.items()
    }
    return Rule(plays, **checked)


def _known(value: Json, names: tuple[str, ...], where: str) -> JsonObject:
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: an object is needed, with some of {', '.join(names)}")
    for name in value:
        if name not in names:
            raise ConfigError(f"{where}: unknown field {name!r}; there are {', '.join(names)}")
    return dict(value)


def _convert(value: object, kind: type[T], where: str) -> T:
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from error


SCENARIOS: dict[str, Scenario] = {
    "healthy": Scenario(),
    "workhorse": Scenario("answers briefly, at a hosted model's speed", PERSONAS["workhorse"]),
    "frontier": Scenario("answers at length, at a large model's speed", PERSONAS["frontier"]),
    "outage": Scenario("answers 503 to everything", rules=(Rule((Fail(503),), "outage"),)),
    "flapping": Scenario(
        "answers 500 to half of the requests",
        rules=(Rule((Fail(500),), "flapping", probability=0.5),),
    ),
    "dies_after_20": Scenario(
        "answers 20 requests, then 503", rules=(Rule((Fail(503),), "dead", after=20),)
    ),
    "recovering": Scenario(
        "answers 503 from 10 s to 30 s after the start",
        rules=(Rule((Fail(503),), "outage", from_s=10.0, until_s=30.0),),
    ),
    "throttled": Scenario(
        "lets 10 requests through in 10 s", rate_limit=RateLimit(requests=10, window_s=10.0)
    ),
    "quota": Scenario(
        "has no quota left", rules=(Rule((Fail(canned="insufficient_quota"),), "quota"),)
    ),
    "bad_key": Scenario("refuses the key", rules=(Rule((Fail(401),), "bad key"),)),
    "filters": Scenario(
        "filters every prompt", rules=(Rule((Fail(canned="azure_content_filter"),), "filter"),)
    ),
    "small_context": Scenario(
        "finds every prompt too long", rules=(Rule((Fail(canned="context_openai"),), "context"),)
    ),
    "hangs": Scenario("accepts and never answers", rules=(Rule((Hang(),), "hang"),)),
    "stalls": Scenario("stalls after 3 tokens", rules=(Rule((Hang(after_tokens=3),), "stall"),)),
    "cuts": Scenario("resets after 3 tokens", rules=(Rule((Cut(after_tokens=3),), "cut"),)),
    "truncates": Scenario(
        "ends streams without an end", rules=(Rule((Truncate(after_tokens=3),), "truncate"),)
    ),
    "errors_early": Scenario(
        "sends an error event before content", rules=(Rule((ErrorEvent(),), "error event"),)
    ),
    "errors_late": Scenario(
        "sends an error event after 3 tokens",
        rules=(Rule((ErrorEvent(after_tokens=3),), "error event"),),
    ),
    "slow": Scenario(
        "takes 5 s to the first token, then 2 tokens a second",
        rules=(Rule((Slow(first_token_s=5.0, tokens_per_second=2.0),), "slow"),),
    ),
    "drips": Scenario("sends a byte every 0.1 s", rules=(Rule((Drip(every_s=0.1),), "drip"),)),
}
