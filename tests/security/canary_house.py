"""A real gateway full of canaries, and everything that comes out of it, to look for them in.

Each canary is a word that nothing else says. They stand where secrets stand: keys, tokens,
passwords, URLs that are passwords, prompts. `Sinks` keeps what came out, by place.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import sys
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp


def canary(name: str) -> str:
    return f"canary-{name}-0a1b2c3d4e5f6789"


OPERATORS = {
    # the environment's name: what of the operator's stands there
    **{name: canary(name.lower()) for name in ("OA_KEY", "OA_SPARE", "OA_THIRD", "AN_KEY")},
    **{name: canary(name.lower()) for name in ("BAD_KEY", "OA_HEADER", "SMTP_PASSWORD")},
    **{name: canary(name.lower()) for name in ("FILE_KEY", "NARROW_KEY", "WEBHOOK_SECRET")},
    **{name: canary(name.lower()) for name in ("OWNER", "ADMIN", "VIEWER", "TENANT_ADMIN")},
    "POINTSMAN_KEY_PEPPER": canary("pepper"),
    "UNUSED_API_KEY": canary("of-another-program"),
}
REDIS_PASSWORD = canary("redis-password")
WEBHOOK_PATH = canary("webhook-path")
SLACK_PATH = canary("slack-path")
POSTGRES_PASSWORD = canary("postgres-password")
SECRET_FILE = canary("secret-file")

PROMPTS = {
    name: canary(f"prompt-{name}")
    for name in (
        *("user", "system", "assistant", "tool-name-described", "tool-arguments", "tool-result"),
        *("image", "stop", "schema", "embedding", "anthropic-user", "anthropic-system", "stream"),
        *("user-field-of-body", "not-json", "too-deep", "refused", "cut", "prefix", "count"),
    )
}
CLIENTS = {
    name: canary(f"client-{name}")
    for name in (
        *("wrong-key", "wrong-x-api-key", "wrong-admin-token", "query", "cookie", "basic"),
        *("own-openai-key", "header", "idempotency", "proxy-authorization"),
    )
}

CONFIG = """
server:
  keys:
    - {{key: "env:FILE_KEY", name: wide, tenant: acme, app: web}}
    - {{key: "env:NARROW_KEY", name: narrow, tenant: other, routes: [solo]}}
ledger: {{path: ledger.db, log: true, log_dir: wal}}
redis: {{url: "file:redis.url"}}
cache: {{mode: exact, store: redis}}
admin:
  port: {admin}
  tokens:
    - {{token: "env:OWNER", name: olga, role: owner}}
    - {{token: "env:ADMIN", name: adam, role: admin}}
    - {{token: "env:VIEWER", name: vera, role: viewer}}
    - {{token: "env:TENANT_ADMIN", name: ann, role: tenant-admin, tenant: acme}}
alerts:
  sinks:
    - {{name: hook, kind: webhook, url: "file:hook.url", secret: "env:WEBHOOK_SECRET"}}
    - {{name: chat, kind: slack, url: "file:slack.url"}}
    - {{name: mail, kind: smtp, host: 127.0.0.1, port: {closed}, user: u,
        password: "env:SMTP_PASSWORD", sender: a@b.test, to: [c@d.test]}}
    - {{name: lines, kind: log}}
budgets:
  - {{name: all, scope: everyone, limit_usd: 5, window: day, alert_at: [0.000001]}}
providers:
  oa: {{url: "http://127.0.0.1:{provider}/oa/v1", dialect: openai,
       keys: ["env:OA_KEY", "env:OA_SPARE", "env:OA_THIRD"], headers: {{x-house: "env:OA_HEADER"}}}}
  an: {{url: "http://127.0.0.1:{provider}/an", dialect: anthropic, key: "env:AN_KEY"}}
{providers}deployments:
  - {{name: first, provider: oa, model: m, tier: workhorse, context_tokens: 20000,
      price: {{input_usd: 1, output_usd: 2}},
      capabilities: [chat, tools, vision, json, json_schema]}}
  - {{name: second, provider: an, model: c, tier: frontier, price: {{input_usd: 1, output_usd: 2}},
      capabilities: [chat, tools, vision]}}
  - {{name: vectors, provider: oa, model: e, tier: workhorse, capabilities: [embeddings],
      price: {{input_usd: 1, output_usd: 0}}}}
{deployments}routes:
  - {{name: auto, deployments: [first, second], strategy: static, order: [first, second]}}
  - {{name: claude, deployments: [second]}}
  - {{name: solo, deployments: [first]}}
  - {{name: embed, deployments: [vectors]}}
{routes}"""


PLAYS = ("401", "403", "400", "404", "413", "422", "429", "500", "garbage", "cut")
"""What a provider of its own does for each, so that no breaker spares another one."""
PROVIDER = """\
  bad-{play}: {{url: "http://127.0.0.1:{port}/bad/{play}/v1", dialect: openai, key: "env:BAD_KEY"}}
  bid-{play}: {{url: "http://127.0.0.1:{port}/bad/{play}/v1", dialect: openai, key: "file:key.txt"}}
"""
DEPLOYMENT = """\
  - {{name: {name}-{play}, provider: {name}-{play}, model: b, tier: workhorse,
      context_tokens: 20000, price: {{input_usd: 1, output_usd: 2}}}}
"""
ROUTE = """\
  - {{name: broken-{play}, deployments: [bad-{play}, bid-{play}], strategy: static,
      order: [bad-{play}, bid-{play}]}}
"""


class Sinks(dict[str, bytes]):
    """What came out, by the place where it did."""

    def add(self, place: str, data: bytes | str) -> None:
        self[place] = self.get(place, b"") + (data.encode() if isinstance(data, str) else data)

    def leaks(self, secrets: Mapping[str, str], besides: tuple[str, ...] = ()) -> list[str]:
        """Where a secret is found, plain or in a usual disguise."""
        return sorted(
            f"{name} in {place}"
            for place, data in self.items()
            if not place.startswith(besides or ("\0",))
            for name, secret in secrets.items()
            if any(form in data for form in forms(secret))
        )


def forms(secret: str) -> set[bytes]:
    """A secret as it is, as base64 (also of `Bearer …`, in any phase), and quoted for a URL."""
    plain = secret.encode()
    found = {plain, urllib.parse.quote(secret, safe="").encode(), plain.hex().encode()}
    for phase in range(3):
        text = base64.b64encode(b"\0" * phase + plain).rstrip(b"=")
        found.add(text[4 if phase else 0 : -2])
    return found


class Mirror:
    """A provider that says back whatever it was told, above all what it should not repeat."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self.server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line[15:])
                body = await reader.readexactly(length)
                self.seen.append(head + body)
                if await self._answer(head, body, writer):
                    return
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer; True where the connection ends with it."""
        path = head.split(b" ")[1]
        echo = f"you said {head.decode('latin-1')} {body.decode('latin-1')}"
        is_stream = b'"stream":true' in body.replace(b" ", b"")
        if path.startswith(b"/bad"):
            play = path.split(b"/")[2].decode()
            if play == "cut":
                start = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
                writer.write(
                    start + b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
                )
                await writer.drain()
                await asyncio.sleep(0.1)  # the content is on its way: what follows comes after it
                error = {"error": {"message": echo, "type": "server_error"}}
                writer.write(f"data: {json.dumps(error)}\n\n".encode())
                await writer.drain()
                return True
            if play == "garbage":
                data = b"HTTP/1.1 200 OK\r\nx-echo\x00: " + head.replace(b"\r\n", b" ")
                writer.write(data + b"\r\n\r\n")
                await writer.drain()
                return True
            error = {"error": {"message": echo, "type": "x", "code": echo, "param": echo}}
            self._write(writer, int(play), error, echo)
            return False
        if path.startswith(b"/an") and is_stream:
            return False
        if path.startswith(b"/an"):
            said: object = {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "c",
                "content": [{"type": "text", "text": "fine"}],
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": {"input_tokens": 9, "output_tokens": 2},
            }
        elif b"embeddings" in path:
            vector = {"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}
            said = {
                "object": "list",
                "data": [vector],
                "model": "e",
                "usage": {"prompt_tokens": 3, "total_tokens": 3},
            }
        elif is_stream:
            self._stream(writer)
            await writer.drain()
            return True
        else:
            said = {
                "id": "x",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": "fine"},
                    }
                ],
                "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
            }
        self._write(writer, 200, said, "")
        return False

    def _stream(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        for delta, end in (({"role": "assistant", "content": "fi"}, None), ({}, "stop")):
            chunk = {
                "id": "x",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "m",
                "choices": [{"index": 0, "delta": delta, "finish_reason": end}],
            }
            writer.write(f"data: {json.dumps(chunk)}\n\n".encode())
        writer.write(b"data: [DONE]\n\n")

    def _write(self, writer: asyncio.StreamWriter, status: int, body: object, echo: str) -> None:
        data = json.dumps(body).encode()
        flat = echo.replace("\r\n", " ").replace("\n", " ").encode("latin-1")[:6000]
        lines = [b"HTTP/1.1 %d X" % status, b"content-type: application/json"]
        lines += [b"x-request-id: " + flat, b"x-echo: " + flat] if flat else []
        lines += [b"content-length: %d" % len(data)]
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + data)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Running:
    """The gateway's process, how to ask it, and its sinks."""

    def __init__(self, folder: Path, client: aiohttp.ClientSession, mirror: Mirror) -> None:
        self.folder = folder
        self.sinks = Sinks()
        self.mirror = mirror
        self._client = client
        self.port, self.admin = free_port(), free_port()
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            **OPERATORS,
            "PYTHONFAULTHANDLER": "1",
            "PYTHONDEVMODE": "0",
            "COLUMNS": "200",
        }

    def write(self) -> None:
        config = CONFIG.format(
            admin=self.admin,
            provider=self.mirror.port,
            closed=free_port(),
            providers="".join(PROVIDER.format(play=p, port=self.mirror.port) for p in PLAYS),
            deployments="".join(
                DEPLOYMENT.format(name=name, play=p) for p in PLAYS for name in ("bad", "bid")
            ),
            routes="".join(ROUTE.format(play=p) for p in PLAYS),
        )
        (self.folder / "p.yaml").write_text(config)
        closed = free_port()
        texts = {
            "redis.url": f"redis://user:{REDIS_PASSWORD}@127.0.0.1:{closed}/0",
            "hook.url": f"http://127.0.0.1:{closed}/{WEBHOOK_PATH}",
            "slack.url": f"http://127.0.0.1:{closed}/{SLACK_PATH}",
            "key.txt": SECRET_FILE,
        }
        (self.folder / "given").mkdir()
        for name, text in texts.items():
            (self.folder / name).write_text(text)

    async def ask(
        self,
        place: str,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        is_admin: bool = False,
        keep: bool = True,
    ) -> tuple[int, bytes]:
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        sent = {"content-type": "application/json", **(headers or {})}
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        url = f"http://127.0.0.1:{self.admin if is_admin else self.port}{path}"
        async with self._client.request(method, url, data=data, headers=sent) as response:
            said = await response.read()
            if keep:
                lines = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
                self.sinks.add(f"answer {place}", lines.encode() + b"\n" + said)
            return response.status, said

    async def command(self, place: str, *arguments: str) -> int:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pointsman", *arguments),
            cwd=self.folder,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(30):
            said, _ = await process.communicate()
        self.sinks.add(f"command {place}", said)
        return process.returncode or 0

    def keep_files(self) -> list[str]:
        """Take in every file that the gateway has written."""
        ours = {"p.yaml", "redis.url", "hook.url", "slack.url", "key.txt"}
        names: list[str] = []
        for file in sorted(self.folder.rglob("*")):
            name = file.relative_to(self.folder).as_posix()
            if file.is_file() and name not in ours:
                names.append(name)
                self.sinks.add(f"file {name}", file.read_bytes())
        return names


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    """Serve until the end, which is a crash: SIGABRT, with the traces that Python writes then."""
    mirror = Mirror()
    await mirror.start()
    async with aiohttp.ClientSession() as client:
        house = Running(folder, client, mirror)
        house.write()
        with (folder / "given" / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "pointsman", "serve", "-c", "p.yaml"),
                *("--port", str(house.port), "--log-level", "debug"),
                cwd=folder,
                env=house.environment,
                stdout=log,
                stderr=log,
            )
        try:
            async with asyncio.timeout(20):
                while True:
                    try:
                        status, _ = await house.ask("ready", "GET", "/readyz")
                        if status == 200:
                            break
                    except aiohttp.ClientError:
                        assert process.returncode is None, (folder / "given" / "log").read_text()
                    await asyncio.sleep(0.05)
            yield house
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGABRT)
            await process.wait()
            mirror.server.close()
            await mirror.server.wait_closed()
