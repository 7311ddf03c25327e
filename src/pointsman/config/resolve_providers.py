"""From the file's providers and the catalogue to how each one is reached."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pointsman.config.desk import Desk
from pointsman.config.problems import Path, shown, suggest
from pointsman.config.references import Headers, is_reference
from pointsman.config.schema_models import ProviderBlock
from pointsman.config.settings import ProviderSettings, Secret
from pointsman.domain.deployment import Tier
from pointsman.providers.catalog import PathStyle, ProviderRow
from pointsman.providers.transport import Endpoint

SECRET_HEADERS = frozenset(
    {"authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "proxy-authorization"}
)


@dataclass(frozen=True, slots=True)
class Found:
    """A provider, and what its deployments inherit. `facts_as` is its name in price lists."""

    settings: ProviderSettings
    facts_as: str
    key_source: str
    tier: Tier | None
    residency: str | None

    @property
    def is_local(self) -> bool:
        return self.settings.kind != "hosted"


def resolve_providers(
    blocks: Mapping[str, ProviderBlock], used: Iterable[tuple[str, Path]], desk: Desk
) -> Mapping[str, Found | None]:
    """Resolve every provider of the file and every catalogue provider that is used.

    `used` are names with the places that use them. None stands for one that is in error.
    """
    first_use: dict[str, Path] = {}
    for name, path in used:
        first_use.setdefault(name, path)
    found: dict[str, Found | None] = {}
    for name, block in blocks.items():
        found[name] = _resolve(name, block, ("providers", name), name in first_use, desk)
    for name, path in first_use.items():
        if name not in found and name in desk.known.providers:
            found[name] = _resolve(name, ProviderBlock(), path, True, desk)
    return found


def _resolve(name: str, block: ProviderBlock, path: Path, used: bool, desk: Desk) -> Found | None:
    before = len(desk.problems)
    known = desk.known
    if not name or any(letter in name for letter in "/*: "):
        desk.complain(path, f"{shown(name)} cannot name a provider", "use letters, digits, - and _")
    if block.like is not None and block.like not in known.providers:
        remedy = suggest(block.like, frozenset(known.providers))
        desk.complain((*path, "like"), f"{shown(block.like)} is not in the catalogue", remedy)
        return None
    row = known.row_for(name, block.like, block.kind)
    dialect = block.dialect or (row.dialect if row else None)
    if dialect is None:
        what = "not in the catalogue, and no `dialect`"
        near = suggest(name, frozenset(known.providers)) if block.url is None else ""
        remedy = near if near.startswith("did") else "write `dialect: openai` and `url:`"
        desk.complain(path, what, remedy)
        return None
    kind = block.kind or (row.kind if row else "hosted")
    url = _url(block, row, dialect, path, desk)
    key, source = _key(block, row, url, path, used, desk)
    spare = [desk.secret(word, (*path, "keys", at + 1)) for at, word in enumerate(block.keys[1:])]
    headers = _headers(row.headers if row else {}, block.headers, path, desk)
    ca_file = _ca_file(block, path, desk)
    if len(desk.problems) > before or url is None:
        return None
    settings = ProviderSettings(
        name=name,
        dialect=dialect,
        endpoint=Endpoint(
            url,
            verify_tls=block.verify_tls,
            ca_file=ca_file,
            allow_private=kind != "hosted" if block.allow_private is None else block.allow_private,
        ),
        key=key,
        spare_keys=tuple(each for each in spare if each is not None),
        headers=headers,
        path_style=_path_style(block, row, url),
        query=_query(block, row, url),
        key_header=row.key_header if row else None,
        refuses=row.refuses if row else frozenset(),
        kind=kind,
        load_s=block.load_s,
    )
    facts_as = row.name if row else name
    return Found(settings, facts_as, source, block.tier, block.residency)


def _at(path: Path, key: str) -> Path:
    """A key of the provider's own block; of one without a block, the deployment that uses it."""
    return (*path, key) if path[0] == "providers" else path


def _path_style(block: ProviderBlock, row: ProviderRow | None, url: str) -> PathStyle:
    """Azure's newer address, which ends in /openai/v1, takes the model in the body."""
    if block.path_style is not None:
        return block.path_style
    style = row.path_style if row else "plain"
    return "plain" if url.endswith("/openai/v1") else style


def _query(block: ProviderBlock, row: ProviderRow | None, url: str) -> str:
    if block.query:
        return block.query.lstrip("?")
    return "" if row is None or url.endswith("/openai/v1") else row.query


def _url(
    block: ProviderBlock, row: ProviderRow | None, dialect: str, path: Path, desk: Desk
) -> str | None:
    """Find the base URL: 1. the file's; 2. the catalogue's; 3. a variable that the catalogue
    names; 4. where such a local server usually listens.

    A hosted provider's address is never taken from the environment: `OPENAI_BASE_URL` is how
    clients are pointed at us, and following it would call ourselves.
    """
    at = _at(path, "url")
    if block.url is not None and block.url.startswith("env:"):
        secret = desk.secret(block.url, at)
        text = secret.reveal() if secret else None
    elif block.url is not None:
        text = block.url
    else:
        text = _usual_url(row, desk.env)
        if not text:
            names = " or ".join(row.url_env) if row and row.url_env else ""
            also = f", or set {names}" if names else ""
            desk.complain(at, "no URL is known", f"write `url: https://…`{also}")
    return _checked_url(text, dialect, at, desk) if text else None


def _usual_url(row: ProviderRow | None, env: Mapping[str, str]) -> str:
    if row is None:
        return ""
    if row.url:
        return row.url
    for name in row.url_env:
        if env.get(name):
            return local_url(env[name], row.usual_url) if row.is_local else env[name]
    return row.usual_url


def local_url(host: str, usual: str) -> str:
    """Turn what a variable such as `OLLAMA_HOST` may hold (`0.0.0.0`, `box:1234`, a URL) into a
    base URL, taking port and path from the usual one."""
    text = host if "://" in host else f"http://{host}"
    text = text.replace("://0.0.0.0", "://127.0.0.1").rstrip("/")
    parts, wont = urlsplit(text), urlsplit(usual)
    try:
        if "://" not in host and parts.port is None:
            text = f"{text}:{wont.port}"
    except ValueError:
        return text  # no port number: told by whoever checks the URL
    return text if parts.path else f"{text}{wont.path}"


def _checked_url(url: str, dialect: str, path: Path, desk: Desk) -> str | None:
    text = url.rstrip("/")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    problem: tuple[str, str] | None = None
    if parts.scheme not in ("http", "https") or not host:
        problem = (f"{shown(url)} is no URL", "write `https://host/v1`")
    elif parts.username is not None or parts.password is not None:
        problem = ("a URL with a password in it", "give the key as `key: env:NAME`")
    elif parts.query or parts.fragment:
        problem = ("a URL with a query", "put it into `query:`")
    elif parts.path.endswith(("/chat/completions", "/messages")):
        problem = ("the address of one operation", "stop before /chat/completions or /v1/messages")
    elif dialect == "anthropic" and parts.path.endswith("/v1"):
        problem = ("ends in /v1", "leave it out: dialect anthropic adds /v1/messages")
    if problem is not None:
        desk.complain(path, *problem)
        return None
    return text


def is_near(url: str) -> bool:
    """Tell whether a URL is on this machine or a private network."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal"))
    return address.is_loopback or address.is_private


def _key(
    block: ProviderBlock,
    row: ProviderRow | None,
    url: str | None,
    path: Path,
    used: bool,
    desk: Desk,
) -> tuple[Secret | None, str]:
    """Find the key: 1. the file's, or none; 2. a variable of the catalogue; else complain
    where one is needed."""
    at = _at(path, "key")
    if block.keys:
        if block.key is not None:
            desk.complain(at, "both `key` and `keys`", "put all of them into `keys`")
        return desk.secret(block.keys[0], (*path, "keys", 0)), block.keys[0]
    if block.key == "none":
        return None, "none"
    if block.key is not None:
        return desk.secret(block.key, at), block.key
    for name in row.key_env if row else ():
        if desk.env.get(name):
            return desk.secret(f"env:{name}", at), f"env:{name}"
    needs = row.needs_key if row else url is not None and not is_near(url)
    if needs and used:
        name = row.key_env[0] if row and row.key_env else "NAME"
        provider = path[1] if path[0] == "providers" else row.name if row else ""
        remedy = f"set {name}, or write `providers: {{{provider}: {{key: env:NAME}}}}`"
        desk.complain(at, f"no key for provider {provider}", remedy)
    return None, "none"


def _headers(
    defaults: Mapping[str, str], own: Mapping[str, str], path: Path, desk: Desk
) -> Mapping[str, str]:
    headers = Headers({name.lower(): value for name, value in defaults.items()})
    for name, value in own.items():
        at = (*path, "headers", name)
        if is_reference(value):
            secret = desk.secret(value, at)
            headers[name.lower()] = secret.reveal() if secret else ""
        elif name.lower() in SECRET_HEADERS:
            desk.complain(at, "a secret written out", "write `env:NAME` or `file:PATH`")
        elif not name.isascii() or any(letter in name + value for letter in "\r\n\0"):
            desk.complain(at, "not a header", "keep it to one line")
        else:
            headers[name.lower()] = value
    return headers


def _ca_file(block: ProviderBlock, path: Path, desk: Desk) -> str | None:
    if block.ca_file is None:
        return None
    file = desk.base_dir / block.ca_file
    desk.files.add(file)
    if not file.is_file():
        desk.complain((*path, "ca_file"), f"there is no file {file}", "correct the path")
    return str(file)
