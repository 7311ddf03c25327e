"""Both applications over one store, asked without sockets: exchanges in, answers out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pointsman.access.directory import Directory
from pointsman.config.load import loads
from pointsman.config.settings import Settings
from pointsman.gateway import Gateway
from pointsman.ledger.memory import MemoryLedger
from pointsman.server.admin import AdminApp
from pointsman.server.app import App
from pointsman.server.exchange import Exchange
from pointsman.store.open import Store
from pointsman.testing import FakeClock

FILE_KEY = "sk-file-canary-0123456789abcdef"
TOKENS = {
    "owner": "adm-owner-canary-0123456789abcdef",
    "admin": "adm-admin-canary-0123456789abcdef",
    "viewer": "adm-viewer-canary-0123456789abcde",
    "tenant-admin": "adm-tenant-admin-canary-01234567",
    "tenant-viewer": "adm-tenant-viewer-canary-0123456",
    "other-admin": "adm-other-admin-canary-012345678",
}
CONFIG = """
deployments:
  - {name: small, model: ollama/small, context_tokens: 1000}
  - {name: large, model: ollama/large, context_tokens: 1000}
routes:
  - {name: auto, deployments: [small, large]}
  - {name: cheap, deployments: [small]}
budgets:
  - {name: file-month, scope: everyone, limit_usd: 100}
server:
  keys:
    - {key: "env:FILE_KEY", name: from-file, tenant: acme}
admin:
  tokens:
    - {token: "env:OWNER", name: olga, role: owner}
    - {token: "env:ADMIN", name: adam, role: admin}
    - {token: "env:VIEWER", name: vera, role: viewer}
    - {token: "env:TENANT_ADMIN", name: ann, role: tenant-admin, tenant: acme}
    - {token: "env:TENANT_VIEWER", name: tom, role: tenant-viewer, tenant: acme}
    - {token: "env:OTHER_ADMIN", name: bob, role: tenant-admin, tenant: other}
"""


def settings_in(folder: Path, config: str = CONFIG) -> Settings:
    names = {name.upper().replace("-", "_"): text for name, text in TOKENS.items()}
    return loads(config, "test", {"FILE_KEY": FILE_KEY, **names}, folder)


class Line:
    """A connection that keeps what is written."""

    date = b""
    is_full = False
    is_closing = False

    def __init__(self, address: str) -> None:
        self.address = address
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def want_body(self, exchange: Exchange) -> None:
        pass

    async def drained(self) -> None:
        pass


class Answers(Protocol):
    def new_id(self) -> str: ...

    async def handle(self, exchange: Exchange) -> None: ...


@dataclass
class Said:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        error = self.json["error"]
        return str(error["code"])


async def ask(
    app: Answers,
    method: str,
    path: str,
    body: object = None,
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    address: str = "10.0.0.1",
) -> Said:
    """Ask an application; `token` is shown as a bearer's."""
    path, _, query = path.partition("?")
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {b"content-length": str(len(data)).encode()}
    if token is not None:
        sent[b"authorization"] = f"Bearer {token}".encode()
    for name, value in (headers or {}).items():
        sent[name.encode()] = value.encode()
    line = Line(address)
    exchange = Exchange(line, app.new_id(), b"", method, path, sent, query=query)
    exchange.receive(data)
    exchange.finish_request()
    await app.handle(exchange)
    head, _, rest = line.written.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    pairs = (each.partition(": ") for each in lines)
    return Said(int(first.split()[1]), {name: value for name, _, value in pairs}, rest)


@dataclass
class AdminHouse:
    settings: Settings
    store: Store
    clock: FakeClock
    gateway: Gateway
    directory: Directory
    app: App
    admin: AdminApp
    made: dict[str, Any] = field(default_factory=dict)

    async def as_(self, who: str, method: str, path: str, body: object = None, **more: Any) -> Said:
        """Ask the admin API with the token of `who`."""
        return await ask(self.admin, method, path, body, token=TOKENS[who], **more)

    async def make(self, name: str, who: str = "owner", **fields: object) -> dict[str, Any]:
        said = await self.as_(who, "POST", "/admin/v1/keys", {"name": name, **fields})
        assert said.status == 201, said.body
        found: dict[str, Any] = said.json
        return found

    async def models(self, key: str | None, **more: Any) -> Said:
        """Ask the data plane for what costs nothing."""
        return await ask(self.app, "GET", "/v1/models", token=key, **more)


@asynccontextmanager
async def open_admin_house(folder: Path, where: str | None = None) -> AsyncIterator[AdminHouse]:
    clock = FakeClock()
    settings = settings_in(folder)
    store = Store.of(where or folder / "store.db", clock)
    gateway = Gateway(settings, clock=clock, ledger=MemoryLedger())
    directory = Directory(store, clock)
    app = App(gateway, directory, store)
    admin = AdminApp(settings, clock, store, directory=directory)
    await directory.start()
    try:
        yield AdminHouse(settings, store, clock, gateway, directory, app, admin)
    finally:
        await app.close()
        await admin.close()
        await directory.close()
        await gateway.close()
