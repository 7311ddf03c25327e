"""What works but is probably not meant: warnings that `pointsman check` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pointsman.config.known import Known
from pointsman.config.lints_money import MONEY_LINTS, counts, is_money, places_of
from pointsman.config.lints_routes import ROUTE_LINTS, Finding
from pointsman.config.problems import Problem, dotted
from pointsman.config.resolve_providers import is_near
from pointsman.config.settings import Settings
from pointsman.config.yaml_marks import Node, line_of

SHORT_KEY = 16
"""Callers' keys with fewer characters can be guessed."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What the lints look at: settings, the lines they came from, and the environment."""

    settings: Settings
    root: Node
    env: Mapping[str, str]
    known: Known


def lint(examined: Examined) -> tuple[Problem, ...]:
    """Find what is probably not meant, by line."""
    found = [warning for check in LINTS for warning in check(examined)]
    routes = examined.settings.routes
    for place, route in enumerate(routes):
        for check_route in ROUTE_LINTS:
            for more, what, remedy in check_route(route):
                found.append((("routes", place, *more), what, remedy))
    root = examined.root
    places = places_of(root, examined.settings)
    for check_money in MONEY_LINTS:
        found += check_money(examined.settings, places)
    return tuple(
        sorted({Problem(line_of(root, path), dotted(path), *text) for path, *text in found})
    )


def _unused_deployments(examined: Examined) -> Iterator[Finding]:
    settings = examined.settings
    used = {deployment.name for route in settings.routes for deployment in route.deployments}
    for route in settings.routes:
        chains = (route.fallback.chain or (), *route.fallback.by_kind.values())
        used |= {name for chain in chains for name in chain}
    for place, deployment in enumerate(settings.deployments):
        if deployment.name not in used and "chat" in deployment.capabilities:
            what = f"{deployment.name} is in no route"
            yield ("deployments", place), what, "it answers only to its own name"


def _unknown_prices(examined: Examined) -> Iterator[Finding]:
    for place, deployment in enumerate(examined.settings.deployments):
        is_refused = any(is_money(b) and counts(b, deployment) for b in examined.settings.budgets)
        if deployment.price is None and not is_refused:
            what = f"the price of {deployment.name} is unknown: its cost is not counted"
            yield ("deployments", place, "price"), what, "state it as soon as you know it"


def _unused_keys(examined: Examined) -> Iterator[Finding]:
    settings = examined.settings
    for row in examined.known.providers.values():
        present = [name for name in row.key_env if examined.env.get(name)]
        if present and row.default_models and row.name not in settings.providers:
            used = any(
                p.key and p.key.reveal() == examined.env[present[0]].strip()
                for p in settings.providers.values()
            )
            if not used:
                model = row.default_models[0][0]
                what = f"{present[0]} is set, but no deployment is at {row.name}"
                yield ("deployments",), what, f"add one, such as `- {{model: {row.name}/{model}}}`"


def _open_doors(examined: Examined) -> Iterator[Finding]:
    server = examined.settings.server
    near = server.host == "localhost" or is_near(f"http://{server.host}/")
    if not server.keys and (not near or server.host == "0.0.0.0"):  # noqa: S104
        what = f"anybody who reaches {server.host}:{server.port} may call: there are no keys"
        yield ("server", "keys"), what, "write `keys: [{key: env:NAME}]`"
    for place, key in enumerate(server.keys):
        if len(key.secret.reveal()) < SHORT_KEY:
            what = f"the key of {key.caller.key} is shorter than {SHORT_KEY} characters"
            yield ("server", "keys", place, "key"), what, "make one: `openssl rand -hex 24`"


def _unsafe_providers(examined: Examined) -> Iterator[Finding]:
    for name, provider in examined.settings.providers.items():
        url = provider.endpoint.base_url
        if urlsplit(url).scheme == "http" and not is_near(url):
            what = "prompts and key travel unencrypted"
            yield ("providers", name, "url"), what, "write https://"
        if not provider.endpoint.verify_tls:
            what = "anybody on the way can read along"
            yield ("providers", name, "verify_tls"), what, "give the authority as `ca_file:`"


def _forgotten_ledger(examined: Examined) -> Iterator[Finding]:
    if not examined.settings.ledger.is_kept:
        what = "the ledger is kept in memory and lost when the server stops"
        yield ("ledger", "path"), what, "write `ledger: {path: pointsman.db}`"


def _shadowed_names(examined: Examined) -> Iterator[Finding]:
    settings = examined.settings
    names = {d.name: {d.name} for d in settings.deployments}
    for place, route in enumerate(settings.routes):
        for name in (route.name, *route.aliases):
            mine = {deployment.name for deployment in route.deployments}
            if name in names and names[name] != mine:
                what = f"{name} is also a deployment: asking for it takes the route"
                yield ("routes", place), what, "rename one if that is not meant"


def _idle_preloads(examined: Examined) -> Iterator[Finding]:
    settings = examined.settings
    for place, deployment in enumerate(settings.deployments):
        preload = settings.preloads.get(deployment.name)
        if preload is None:
            continue
        if preload.model and settings.providers[deployment.provider].kind == "hosted":
            what = f"{deployment.provider} is hosted: there is no model to load"
            remedy = "leave it out, or say the server's `kind` (ollama, vllm, llamacpp)"
            yield ("deployments", place, "preload", "model"), what, remedy
        if not preload.model and not preload.connection:
            what = f"nothing of {deployment.name} is made ready"
            yield ("deployments", place, "preload"), what, "leave the block out, or `model: true`"


LINTS: tuple[Callable[[Examined], Iterator[Finding]], ...] = (
    _unused_deployments,
    _unknown_prices,
    _unused_keys,
    _open_doors,
    _unsafe_providers,
    _forgotten_ledger,
    _shadowed_names,
    _idle_preloads,
)
