"""Settings without a file: keys in the environment and local servers on their usual ports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pointsman.config.desk import Desk
from pointsman.config.known import Known, shipped
from pointsman.config.load import Loaded
from pointsman.config.problems import BadConfig
from pointsman.config.resolve import resolve
from pointsman.config.resolve_providers import local_url
from pointsman.config.schema import ConfigFile
from pointsman.config.schema_models import DeploymentBlock, ProviderBlock
from pointsman.config.settings import ApiKey, Secret, Settings
from pointsman.config.yaml_marks import Node
from pointsman.domain.call import Caller
from pointsman.errors import ConfigError
from pointsman.providers.catalog import ProviderRow

Probe = Callable[[str], Awaitable[list[str] | None]]
"""Ask a `/v1/models` URL for the names of its models; None where nobody answers."""

ORIGIN = "discovered"
MODELS_PER_SERVER = 20
PROBE_S = 0.5
PROBE_BYTES = 1024 * 1024

NOTHING = (
    "no provider found and no file given. Set the key of one: {keys}; or start a local server: "
    "{servers}; or write a file: docs/configuration.md"
)


async def discover(
    env: Mapping[str, str], probe: Probe, known: Known | None = None
) -> tuple[Settings, list[str]]:
    """Find what there is: (settings with one route `auto`, lines that tell what was found).

    Raises ConfigError, which says what to set, where nothing is found.
    """
    loaded, lines = await discover_all(env, probe, known)
    return loaded.settings, lines


async def discover_all(
    env: Mapping[str, str], probe: Probe, known: Known | None = None
) -> tuple[Loaded, list[str]]:
    """As `discover`, with what `check` wants to know.

    A provider counts when one of its variables holds a key; it brings the catalogue's default
    models. POINTSMAN_KEY or POINTSMAN_KEYS (by commas) hold keys that callers must show.
    """
    known = known or shipped()
    deployments: list[DeploymentBlock] = []
    providers: dict[str, ProviderBlock] = {}
    lines: list[str] = []
    for row in known.providers.values():
        variable = next((name for name in row.key_env if env.get(name)), None)
        if row.is_local or variable is None:
            continue
        if not row.default_models:
            lines.append(f"{row.name}: {variable} is set, but its models must be named in a file")
            continue
        for model, tier in row.default_models:
            deployments.append(DeploymentBlock(provider=row.name, model=model, tier=tier))
        models = ", ".join(f"{model} ({tier})" for model, tier in row.default_models)
        lines.append(f"{row.name}: key from {variable}; {models}")
    local = [row for row in known.providers.values() if row.is_local]
    urls = [_address(row, env) for row in local]
    answers = await asyncio.gather(*(probe(f"{url}/models") for url in urls))
    for row, url, models_there in zip(local, urls, answers, strict=True):
        if not models_there:
            continue
        providers[row.name] = ProviderBlock(url=url)
        chosen = list(dict.fromkeys(models_there))[:MODELS_PER_SERVER]
        deployments += [DeploymentBlock(provider=row.name, model=model) for model in chosen]
        lines.append(f"{row.name}: {len(chosen)} model(s) at {url}; {', '.join(chosen)} (local)")
    if not deployments:
        raise ConfigError(_nothing(known))
    desk = Desk(Node({}, 1), env, Path(), known)
    file = ConfigFile(providers=providers, deployments=tuple(deployments))
    resolved = resolve(file, ORIGIN, desk)
    if desk.problems:
        raise BadConfig(ORIGIN, desk.problems)
    keys = _keys(env)
    lines.append(
        f"callers: {len(keys)} key(s) from POINTSMAN_KEY(S)"
        if keys
        else "callers: no POINTSMAN_KEY is set, so anybody who reaches the port may call"
    )
    server = replace(resolved.settings.server, keys=keys)
    settings = replace(resolved.settings, server=server)
    return Loaded(settings, desk.root, resolved.key_sources), lines


def _address(row: ProviderRow, env: Mapping[str, str]) -> str:
    told = next((env[name] for name in row.url_env if env.get(name)), "")
    return local_url(told, row.usual_url) if told else row.usual_url


def _keys(env: Mapping[str, str]) -> tuple[ApiKey, ...]:
    """Keys that callers show, named by their place: never by any part of them."""
    texts: Sequence[str] = [
        text.strip()
        for text in f"{env.get('POINTSMAN_KEY', '')},{env.get('POINTSMAN_KEYS', '')}".split(",")
        if text.strip()
    ]
    return tuple(
        ApiKey(Secret(text), Caller(key=f"key-{place}"))
        for place, text in enumerate(dict.fromkeys(texts), start=1)
    )


def _nothing(known: Known) -> str:
    rows = [row for row in known.providers.values() if row.default_models and row.key_env]
    servers = [f"{r.title} ({r.usual_url})" for r in known.providers.values() if r.is_local]
    keys = ", ".join(row.key_env[0] for row in rows)
    return NOTHING.format(keys=keys, servers=", ".join(servers))


async def probe_http(url: str) -> list[str] | None:
    """Ask over HTTP, for at most half a second; anything but a list of models is None."""
    import aiohttp
    import msgspec

    timeout = aiohttp.ClientTimeout(total=PROBE_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                return None
            body = await response.content.read(PROBE_BYTES)
        listed = msgspec.json.decode(body)
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
    entries = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(entries, list):
        return None
    rows = [entry for entry in entries if isinstance(entry, dict)]
    if any(row.get("owned_by") == "pointsman" for row in rows):
        return None  # a Pointsman: routing to ourselves would go round in circles
    return [row["id"] for row in rows if isinstance(row.get("id"), str) and row["id"]]
