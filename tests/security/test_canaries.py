"""No secret comes out anywhere: some fifty canaries, one real gateway, every sink.

What is looked at: logs at `debug`, metrics, errors of both dialects, the ledger's file and what is
beside it, the write-ahead log, every answer of the admin API, the OpenAPI documents, what the
commands print, and the traces of a crash. Prompts are in none of them either.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from canary_house import (
    CLIENTS,
    OPERATORS,
    PLAYS,
    POSTGRES_PASSWORD,
    PROMPTS,
    REDIS_PASSWORD,
    SECRET_FILE,
    SLACK_PATH,
    WEBHOOK_PATH,
    Running,
    canary,
    forms,
    running,
)

from pointsman.server.admin_table import TABLE

pytestmark = [pytest.mark.slow, pytest.mark.real]

HOUSE = {
    **OPERATORS,
    "redis": REDIS_PASSWORD,
    "webhook": WEBHOOK_PATH,
    "slack": SLACK_PATH,
    "postgres": POSTGRES_PASSWORD,
    "secret-file": SECRET_FILE,
}


def user(name: str, **more: object) -> dict[str, object]:
    return {"model": "auto", "messages": [{"role": "user", "content": PROMPTS[name]}], **more}


async def talk(house: Running) -> None:
    """Requests that are answered: their prompts go to the provider, and nowhere else."""
    key = OPERATORS["FILE_KEY"]
    chat, messages = "/v1/chat/completions", "/v1/messages"
    tool = {
        "name": "look",
        "description": PROMPTS["tool-name-described"],
        "parameters": {"type": "object", "properties": {"a": {"const": PROMPTS["schema"]}}},
    }
    called = {"name": "look", "arguments": json.dumps({"a": PROMPTS["tool-arguments"]})}
    image = {"url": f"data:image/png;base64,{PROMPTS['image']}"}
    history = [
        {"role": "system", "content": PROMPTS["system"]},
        {"role": "user", "content": [{"type": "text", "text": PROMPTS["user"]}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": image}]},
        {
            "role": "assistant",
            "content": PROMPTS["assistant"],
            "tool_calls": [{"id": "c1", "type": "function", "function": called}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": PROMPTS["tool-result"]},
    ]
    body = {
        "model": "auto",
        "messages": history,
        "stop": [PROMPTS["stop"]],
        "tools": [{"type": "function", "function": tool}],
    }
    status, _ = await house.ask("chat", "POST", chat, body, key=key)
    assert status == 200
    status, _ = await house.ask("stream", "POST", chat, user("stream", stream=True), key=key)
    assert status == 200
    odd = {"cookie": f"session={CLIENTS['cookie']}", "x-odd": CLIENTS["header"]}
    odd |= {"proxy-authorization": f"Basic {CLIENTS['proxy-authorization']}"}
    path = f"{chat}?api_key={CLIENTS['query']}"
    await house.ask("odd", "POST", path, user("prefix"), key=key, headers=odd)
    again = {"idempotency-key": CLIENTS["idempotency"]}
    await house.ask("once", "GET", "/v1/models", key=key, headers=again)
    said = {
        "model": "claude",
        "max_tokens": 50,
        "system": PROMPTS["anthropic-system"],
        "messages": [{"role": "user", "content": PROMPTS["anthropic-user"]}],
    }
    status, _ = await house.ask("message", "POST", messages, said, headers={"x-api-key": key})
    assert status == 200
    said = {**said, "messages": [{"role": "user", "content": PROMPTS["count"]}]}
    await house.ask("count", "POST", f"{messages}/count_tokens", said, key=key)
    embed = {"model": "embed", "input": PROMPTS["embedding"]}
    status, _ = await house.ask("embed", "POST", "/v1/embeddings", embed, key=key)
    assert status == 200
    question = user("user-field-of-body")
    await house.ask("explain", "POST", "/v1/route:explain", question, key=key)


async def err(house: Running) -> None:
    """Requests that end in an error, each kind in both dialects."""
    key, narrow = OPERATORS["FILE_KEY"], OPERATORS["NARROW_KEY"]
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/embeddings", "/v1/route:explain"):
        for name in ("wrong-key", "own-openai-key"):
            await house.ask("401", "POST", path, user("refused"), key=CLIENTS[name])
        wrong = {"x-api-key": CLIENTS["wrong-x-api-key"]}
        await house.ask("401", "POST", path, user("refused"), headers=wrong)
        basic = {"authorization": f"Basic {CLIENTS['basic']}"}
        await house.ask("401", "POST", path, user("refused"), headers=basic)
        await house.ask("403", "POST", path, user("refused", max_tokens=5), key=narrow)
        await house.ask("400", "POST", path, f'{{"a": "{PROMPTS["not-json"]}'.encode(), key=key)
        deep = b'{"a":' * 200 + json.dumps(PROMPTS["too-deep"]).encode() + b"}" * 200
        await house.ask("400", "POST", path, deep, key=key)
        twice = f'{{"model": "auto", "model": "{PROMPTS["not-json"]}"}}'.encode()
        await house.ask("400 twice", "POST", path, twice, key=key)
        odd = {**user("refused"), "max_tokens": PROMPTS["refused"], "messages": PROMPTS["refused"]}
        await house.ask("400 odd", "POST", path, odd, key=key)
        await house.ask("404", "GET", f"{path}/none?key={CLIENTS['query']}", key=key)
        await house.ask("405", "DELETE", f"{path}?key={CLIENTS['query']}", key=key)
    for path in ("/v1/chat/completions", "/v1/messages"):
        for play in PLAYS:
            body = user("cut", model=f"broken-{play}", max_tokens=20, stream=play == "cut")
            await house.ask(f"provider {play}", "POST", path, body, key=key)


async def administer(house: Running, secrets: dict[str, str]) -> None:
    """Every route of the admin API; the keys it makes are shown once, and never again."""
    owner = OPERATORS["OWNER"]
    make = {"name": "made", "tenant": "acme"}
    status, said = await house.ask(
        "made", "POST", "/admin/v1/keys", make, key=owner, is_admin=True, keep=False
    )
    assert status == 201, said
    made = json.loads(said)
    secrets["made key"] = made["key"]
    status, said = await house.ask(
        "rotated",
        "POST",
        f"/admin/v1/keys/{made['id']}/rotate",
        {},
        key=owner,
        is_admin=True,
        keep=False,
    )
    assert status == 200, said
    secrets["rotated key"] = json.loads(said)["key"]
    for name in ("made key", "rotated key"):
        status, _ = await house.ask("models", "GET", "/v1/models", key=secrets[name])
        assert status == 200
    limit = {"scope": "tenant", "limit_usd": 5}
    await house.ask(
        "limit", "PUT", "/admin/v1/rules/acme%2Fr/budget", limit, key=owner, is_admin=True
    )
    for route in TABLE:
        path = route.path.replace("{id}", made["id"]).replace("{name}", "acme")
        if path.endswith(("/rotate", "/revoke")):
            continue
        for token in ("OWNER", "ADMIN", "VIEWER", "TENANT_ADMIN"):
            body = None if route.method == "GET" else {"nonsense": CLIENTS["header"]}
            await house.ask(
                f"admin {token}", route.method, path, body, key=OPERATORS[token], is_admin=True
            )
        for wrong in (CLIENTS["wrong-admin-token"], OPERATORS["FILE_KEY"]):
            await house.ask("admin 401", route.method, path, key=wrong, is_admin=True)
        query = f"{path}?where=key%3D{CLIENTS['query']}&nonsense={CLIENTS['query']}"
        await house.ask(
            "admin no", route.method, query, key=CLIENTS["wrong-admin-token"], is_admin=True
        )
    await house.ask("admin document", "GET", "/admin/openapi.json", key=owner, is_admin=True)
    for path in ("/openapi.json", "/metrics", "/readyz", "/livez"):
        await house.ask(path, "GET", path, key=OPERATORS["FILE_KEY"])


async def command(house: Running) -> None:
    for line in (
        *("check p.yaml", "usage -c p.yaml --by key,user,app --json", "usage -c p.yaml --csv"),
        *("report lines -c p.yaml --by key --json", "keys list -c p.yaml --all --json"),
        *("budgets list -c p.yaml --json", "budgets verify -c p.yaml", "alerts list -c p.yaml"),
        *(
            "alerts test -c p.yaml",
            "schema",
            "explain -c p.yaml hello",
            "keys show acme/made -c p.yaml",
        ),
    ):
        await house.command(line, *line.split())
    # Files with mistakes beside their secrets, and stores that cannot be reached.
    good = (house.folder / "p.yaml").read_text()
    url = f"postgresql://u:{POSTGRES_PASSWORD}@127.0.0.1:{house.mirror.port}/db"
    (house.folder / "given" / "pg.url").write_text(url)
    changes = {
        "written-out": good.replace("env:OA_KEY", OPERATORS["OA_KEY"]),
        "unset": good.replace("env:OA_KEY", "env:NOT_SET"),
        "torn": good.replace("deployments:", "deployments: ]", 1),
        "url": good.replace("http://127.0.0.1", f"http://u:{SECRET_FILE}@127.0.0.1"),
        "postgres": good.replace(
            "ledger: {path: ledger.db, log: true, log_dir: wal}",
            'ledger: {url: "file:given/pg.url"}',
        ),
        "postgres-plain": good.replace(
            "ledger: {path: ledger.db, log: true, log_dir: wal}", f'ledger: {{url: "{url}"}}'
        ),
    }
    for name, text in changes.items():
        assert text != good, name
        (house.folder / f"{name}.yaml").write_text(text)
        status = await house.command(f"check {name}", "check", f"{name}.yaml")
        await house.command(f"keys {name}", "keys", "list", "-c", f"{name}.yaml")
        if name not in ("postgres", "unset"):
            assert status != 0, house.sinks[f"command check {name}"]
        (house.folder / f"{name}.yaml").unlink()
    (house.folder / "given" / "pg.url").unlink()


async def test_no_canary_comes_out(tmp_path: Path) -> None:
    secrets = {**HOUSE, **{f"client {name}": text for name, text in CLIENTS.items()}}
    assert len(secrets) + len(PROMPTS) >= 40
    async with running(tmp_path) as house:
        await talk(house)
        await err(house)
        await administer(house, secrets)
        await command(house)
        seen = b"".join(house.mirror.seen)
    # The canaries were alive: the provider has seen its keys and the prompts, no client's key.
    for alive in ("OA_KEY", "AN_KEY", "BAD_KEY", "OA_HEADER"):
        assert OPERATORS[alive].encode() in seen, alive
    for play in PLAYS:
        assert seen.count(f"POST /bad/{play}/v1".encode()) >= 2, play  # once for each dialect
    for name in ("user", "stream", "anthropic-user", "embedding", "tool-result", "cut"):
        assert PROMPTS[name].encode() in seen, name
    clients = {"FILE_KEY", "NARROW_KEY", "OWNER"}
    for name, text in {**CLIENTS, **{name: OPERATORS[name] for name in clients}}.items():
        assert text.encode() not in seen, name
    names = house.keep_files()
    assert "given/log" in names and "ledger.db" in names
    assert any(name.startswith("wal/") for name in names), names
    log = house.sinks["file given/log"]
    assert b"Fatal Python error" in log  # the crash has left its traces
    assert b"/v1/chat/completions" in log or b"auto" in log
    assert b"requests_total" in house.sinks["answer /metrics"]
    leaks = house.sinks.leaks(secrets)
    # What a client has sent may come back to that client in an error, and goes no further.
    leaks += house.sinks.leaks(PROMPTS, besides=("answer ",))
    assert leaks == []


def test_a_leak_would_be_found(tmp_path: Path) -> None:
    """The net has no holes of its own: each disguise is recognized."""
    secret = canary("x")
    for form in forms(secret):
        house = Running.__new__(Running)
        from canary_house import Sinks

        house.sinks = Sinks()
        house.sinks.add("log", b"..." + form + b"...")
        assert house.sinks.leaks({"x": secret}) == ["x in log"]
