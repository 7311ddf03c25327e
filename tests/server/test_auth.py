"""Who is let in on the data plane: keys of the file and of the store, and nobody else."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from admin_house import (
    CONFIG,
    FILE_KEY,
    TOKENS,
    AdminHouse,
    ask,
    open_admin_house,
    settings_in,
)

from pointsman.access.directory import STALE_S, Directory
from pointsman.access.tokens import mint
from pointsman.gateway import Gateway
from pointsman.ledger.memory import MemoryLedger
from pointsman.server.app import App
from pointsman.store.open import Store
from pointsman.testing import FakeClock

OPEN_CONFIG = CONFIG.partition("server:")[0]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[AdminHouse]:
    async with open_admin_house(tmp_path) as house:
        yield house


async def test_a_new_key_is_good_at_once_and_a_revoked_one_at_once_not(house: AdminHouse) -> None:
    made = await house.make("web")
    assert (await house.models(made["key"])).status == 200
    said = await house.as_("admin", "POST", f"/admin/v1/keys/{made['id']}/revoke", {})
    assert said.json["state"] == "revoked"
    assert (await house.models(made["key"])).status == 401


async def test_a_rotated_key_overlaps(house: AdminHouse) -> None:
    made = await house.make("web")
    path = f"/admin/v1/keys/{made['id']}/rotate"
    young = (await house.as_("admin", "POST", path, {"overlap_s": 60})).json["key"]
    for text in (made["key"], young):
        assert (await house.models(text)).status == 200
    house.clock.advance(61)
    assert (await house.models(made["key"])).status == 401
    assert (await house.models(young)).status == 200


async def test_keys_of_the_file_work_beside_them(house: AdminHouse) -> None:
    await house.make("web")
    assert (await house.models(FILE_KEY)).status == 200


async def test_a_key_sees_its_own_routes_only(house: AdminHouse) -> None:
    made = await house.make("web", routes=["cheap"])
    names = [row["id"] for row in (await house.models(made["key"])).json["data"]]
    assert names == ["cheap"]
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    said = await ask(house.app, "POST", "/v1/chat/completions", body, token=made["key"])
    assert (said.status, said.code) == (403, "model_not_allowed")


async def test_all_that_is_no_good_is_told_the_same(house: AdminHouse) -> None:
    gone = await house.make("gone")
    await house.as_("owner", "POST", f"/admin/v1/keys/{gone['id']}/revoke", {})
    late = await house.make("late", expires="2023-11-14T22:13:21Z")
    house.clock.advance(2)
    known = (await house.make("known"))["key"]
    wrong = known[:11] + mint().text[11:]
    shown = (gone["key"], late["key"], mint().text, wrong, known[:-1], "sk-x", TOKENS["owner"])
    told = set()
    for at, key in enumerate(shown):
        said = await house.models(key, address=f"10.0.9.{at}")
        error = said.json["error"]
        told.add((said.status, error["message"], error["code"], error["type"]))
    assert len(told) == 1 and next(iter(told))[0] == 401


async def test_a_key_is_not_asked_of_the_store(house: AdminHouse) -> None:
    """Whatever is shown, the store hears nothing of it: the directory is all that is looked at."""
    made = await house.make("web")
    asked: list[str] = []
    database = house.directory._database
    rows = database.rows
    database.rows = lambda sql, values=(): asked.append(sql) or rows(sql, values)  # type: ignore
    for key in (made["key"], mint().text, "pm_" + "x" * 57, "'; DROP TABLE access_key; --"):
        await house.models(key)
    assert asked == []


async def test_failures_are_throttled_and_good_keys_are_not(house: AdminHouse) -> None:
    made = await house.make("web")
    told = [(await house.models("sk-wrong")).status for _ in range(12)]
    assert told == [401] * 10 + [429] * 2
    refused = await house.models("sk-wrong")
    assert refused.code == "too_many_auth_failures"
    assert int(refused.headers["retry-after"]) >= 1
    # The same address, and the same id, with the good secret.
    assert (await house.models(made["key"])).status == 200
    for _ in range(12):
        await house.models(made["key"][:11] + mint().text[11:])
    assert (await house.models(made["key"])).status == 200
    assert (await house.models("sk-wrong", address="10.9.9.9")).status == 401


async def test_one_id_is_throttled_over_all_addresses(house: AdminHouse) -> None:
    token = mint().text
    told = [(await house.models(token, address=f"10.3.0.{n}")).status for n in range(12)]
    assert told == [401] * 10 + [429] * 2


async def test_admin_tokens_that_fail_are_throttled_too(house: AdminHouse) -> None:
    told = [
        (await ask(house.admin, "GET", "/admin/v1/keys", token=f"wrong-{n}")).status
        for n in range(12)
    ]
    assert told == [401] * 10 + [429] * 2
    assert (await house.as_("viewer", "GET", "/admin/v1/keys")).status == 200


async def test_without_a_word_from_the_store_it_is_503(house: AdminHouse) -> None:
    made = await house.make("web")
    house.clock.advance(STALE_S + 1)
    for key in (made["key"], mint().text):
        said = await house.models(key)
        assert (said.status, said.code) == (503, "storage_unavailable")
        assert said.headers["retry-after"] and said.headers["x-should-retry"] == "true"
    assert (await house.models(FILE_KEY)).status == 200
    await house.directory.look()
    assert (await house.models(made["key"])).status == 200


async def test_where_a_key_was_ever_made_nobody_is_anonymous(tmp_path: Path) -> None:
    clock = FakeClock()
    store = Store.of(tmp_path / "store.db", clock)
    gateway = Gateway(settings_in(tmp_path, OPEN_CONFIG), clock=clock, ledger=MemoryLedger())
    directory = Directory(store, clock)
    app = App(gateway, directory)
    assert (await ask(app, "GET", "/v1/models")).status == 503  # Nobody can know yet.
    await directory.look()
    assert (await ask(app, "GET", "/v1/models")).status == 200
    assert (await ask(app, "GET", "/v1/models", token="whatever")).status == 200
    async with open_admin_house(tmp_path) as other:
        made = await other.make("first")
        await other.as_("owner", "POST", f"/admin/v1/keys/{made['id']}/revoke", {})
    await directory.look()
    assert (await ask(app, "GET", "/v1/models")).status == 401
    await directory.close()
    await app.close()
    await gateway.close()


async def test_with_admin_tokens_nobody_is_anonymous(tmp_path: Path) -> None:
    config = OPEN_CONFIG + "admin:" + CONFIG.partition("admin:")[2]
    gateway = Gateway(settings_in(tmp_path, config), ledger=MemoryLedger())
    app = App(gateway)
    assert (await ask(app, "GET", "/v1/models")).status == 401
    await gateway.close()


async def test_a_key_of_the_file_ends_when_it_says(tmp_path: Path) -> None:
    config = CONFIG.replace("tenant: acme}", 'tenant: acme, expires: "2023-11-14T22:13:30Z"}', 1)
    clock = FakeClock()
    gateway = Gateway(settings_in(tmp_path, config), clock=clock, ledger=MemoryLedger())
    app = App(gateway)
    assert (await ask(app, "GET", "/v1/models", token=FILE_KEY)).status == 200
    clock.advance(11)
    assert (await ask(app, "GET", "/v1/models", token=FILE_KEY)).status == 401
    await gateway.close()


async def test_a_name_that_the_file_takes_later_is_the_files(
    tmp_path: Path, house: AdminHouse
) -> None:
    made = await house.make("taken")
    config = CONFIG.replace("name: from-file, tenant: acme", "name: taken")
    house.gateway.reload(settings_in(tmp_path, config))
    assert (await house.models(made["key"])).status == 401
    assert (await house.models(FILE_KEY)).status == 200


async def test_no_secret_is_told_logged_or_kept(
    house: AdminHouse, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Canaries: every secret there is, looked for in every answer, the log, and the store."""
    caplog.set_level(logging.DEBUG)
    made = await house.make("web", tags={"a": "b"})
    path = f"/admin/v1/keys/{made['id']}"
    young = (await house.as_("owner", "POST", f"{path}/rotate", {})).json["key"]
    secrets = [made["key"], young, FILE_KEY, *TOKENS.values()]
    targets = (
        "/admin/v1/keys",
        path,
        "/admin/v1/audit",
        "/admin/v1/rules",
        "/admin/v1/tenants",
        "/admin/v1/whoami",
        "/admin/openapi.json",
        "/admin/v1/" + FILE_KEY,
    )
    answers = [(await house.as_("owner", "GET", target)).body for target in targets]
    answers.append((await house.as_("owner", "PATCH", path, {"team": "t"})).body)
    answers.append((await house.as_("owner", "POST", f"{path}/revoke", {})).body)
    answers.append((await house.models(young)).body)
    opened = ("/metrics", "/readyz", "/openapi.json")
    answers += [(await ask(house.app, "GET", target)).body for target in opened]
    database = house.store.open()
    dump = "\n".join(
        str(database.rows(f"SELECT * FROM {table}"))
        for (table,) in database.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
    )
    database.close()
    log = "\n".join(record.getMessage() for record in caplog.records)
    for secret in secrets:
        for place in (*answers, dump.encode(), log.encode(), repr(house.admin).encode()):
            # The address that was asked for is told back; all else is silence.
            found = place.replace(b"/admin/v1/" + FILE_KEY.encode(), b"")
            assert secret.encode() not in found
            assert secret[11:].encode() not in found


async def test_answers_of_the_admin_api_are_not_cached(house: AdminHouse) -> None:
    said = await house.as_("owner", "GET", "/admin/v1/keys")
    assert said.headers["cache-control"] == "no-store"


async def test_without_a_kept_ledger_the_admin_api_says_so(tmp_path: Path) -> None:
    from pointsman.server.admin import AdminApp

    admin = AdminApp(settings_in(tmp_path), FakeClock(), None)
    said = await ask(admin, "GET", "/admin/v1/keys", token=TOKENS["owner"])
    assert (said.status, said.code) == (501, "no_store")
    await admin.close()


async def test_lists_come_in_pages(house: AdminHouse) -> None:
    for name in ("a", "b", "c"):
        await house.make(name)
    first = (await house.as_("viewer", "GET", "/admin/v1/keys?limit=2")).json
    assert [key["name"] for key in first["keys"]] == ["a", "b"]
    rest = (await house.as_("viewer", "GET", f"/admin/v1/keys?limit=2&after={first['after']}")).json
    assert [key["name"] for key in rest["keys"]] == ["c"] and rest["after"] is None


async def test_tokens_of_a_reloaded_file_count(house: AdminHouse, tmp_path: Path) -> None:
    config = CONFIG.replace("role: viewer", "role: owner")
    house.admin.follow(settings_in(tmp_path, config))
    said = await house.as_("viewer", "GET", "/admin/v1/whoami")
    assert said.json == {"name": "vera", "role": "owner", "tenant": None}


@pytest.mark.real
@pytest.mark.slow
async def test_the_whole_round_on_postgresql(tmp_path: Path, postgres_database: str) -> None:
    async with open_admin_house(tmp_path, postgres_database) as house:
        made = await house.make("web", tenant="acme", limits={"budget_usd": 5})
        assert (await house.models(made["key"])).status == 200
        path = f"/admin/v1/keys/{made['id']}"
        young = (await house.as_("tenant-admin", "POST", f"{path}/rotate", {"overlap_s": 0})).json
        assert (await house.models(young["key"])).status == 200
        assert (await house.models(made["key"])).status == 401
        rule = {"scope": "team", "limit_usd": 2}
        said = await house.as_("tenant-admin", "PUT", "/admin/v1/rules/acme%2Fx/budget", rule)
        assert said.status == 200
        assert [each.name for each in house.directory.limits] == ["acme/x"]
        assert (await house.as_("other-admin", "GET", path)).status == 404
        assert (await house.as_("viewer", "GET", "/admin/v1/budgets")).json == {"accounts": []}
        await house.as_("admin", "POST", f"{path}/revoke", {})
        assert (await house.models(young["key"])).status == 401
        rows = (await house.as_("owner", "GET", "/admin/v1/audit?limit=2")).json["rows"]
        assert [row["action"] for row in rows] == ["key.revoke", "rule.set"]
