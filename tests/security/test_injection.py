"""Words that mean something to somebody else: SQL, LIKE, formulas, headers, lines of a log."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from admin_house import AdminHouse, ask, open_admin_house
from click.testing import CliRunner

from pointsman.access.audit import broken_at
from pointsman.alerts.alert import Told
from pointsman.alerts.mail import Mail
from pointsman.cli.main import main
from pointsman.config.load import loads
from pointsman.config.settings_money import SinkSettings
from pointsman.domain.call import Caller
from pointsman.domain.usage import Usage
from pointsman.errors import ConfigError
from pointsman.ledger.entries import Attempt, LedgerEntry
from pointsman.ledger.write import insert
from pointsman.observe.logs import JsonLines, KeyValues, log_entry
from pointsman.reports.tables import FORMULA
from pointsman.server.admin_table import TABLE
from pointsman.store.database import Database

CORPUS = (
    *(
        "'",
        "''",
        '"',
        "`",
        "\\",
        "\\'",
        "%",
        "_",
        "%%%",
        ";",
        "--",
        "#",
        "/*",
        "*/",
        "?",
        "$1",
        ":a",
    ),
    *("' OR '1'='1", "' OR 1=1 --", '" OR ""="', "1 OR 1=1", "') OR ('a'='a", "%' OR '%'='"),
    *("'; DROP TABLE entry; --", "1; DELETE FROM access_key", "'; ATTACH DATABASE 'x' AS y; --"),
    *("' UNION SELECT key, digest FROM access_secret --", "a' AND 1=(SELECT 1) --"),
    *("'||(SELECT pg_sleep(9))||'", "1 AND randomblob(1000000000)", "x') ; VACUUM; --"),
    *(
        "\u2019 OR 1=1",
        "\u02bc OR 1=1",
        "\ufeff'",
        "a\u0000b",
        "{0.__class__}",
        "${7*7}",
        "{{7*7}}",
    ),
    *(
        "%s%s%n",
        "e.tenant",
        "tenant,tenant",
        "tag:",
        "tag:'; DROP TABLE tag; --",
        "NULL",
        "-1",
        "1e309",
    ),
    "a" * 5000,
)
OTHERS = "others-own-app"


def written(tenant: str, app: str, tags: tuple[tuple[str, str], ...] = ()) -> LedgerEntry:
    usage = Usage(input=1, output=1)
    tried = Attempt("p/m", "p", "m", "workhorse", "ok", usage, 5, id=f"att-{tenant}")
    return LedgerEntry(
        request_id=f"r-{tenant}",
        decision_id="d",
        at=1_700_000_000.0,
        operation="chat",
        route="auto",
        requested_model="auto",
        caller=Caller("k", app=app, tenant=tenant),
        stream=False,
        status=200,
        outcome="ok",
        attempts=(tried,),
        usage=usage,
        cost_nano=5,
        baseline_nano=5,
        seconds=0.1,
        ttft_s=0.1,
        tags=tags,
    )


def dump(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """Everything in the store."""
    tables = database.rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return {name: sorted(database.rows(f"SELECT * FROM {name}"), key=repr) for (name,) in tables}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[AdminHouse]:
    async with open_admin_house(tmp_path) as house:
        database = house.store.open()
        with database.transaction():
            insert(database, [written("acme", "web"), written("other", OTHERS, (("own", OTHERS),))])
        database.close()
        await house.make("theirs", tenant="other", app=OTHERS)
        yield house


def questions() -> list[tuple[str, str]]:
    """(path, field of its query) for every question that the admin API takes."""
    found: list[tuple[str, str]] = []
    for route in TABLE:
        if route.method == "GET":
            fields = [each.encode_name for each in msgspec.structs.fields(route.asks)]
            found += [(route.path, field) for field in (*fields, "")]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("path", "field"), questions())
async def test_no_question_means_anything_to_the_store(
    path: str, field: str, house: AdminHouse
) -> None:
    """Nothing changes, nothing of another tenant is shown, and nothing goes wrong inside."""
    database = house.store.open()
    await house.as_("owner", "GET", "/admin/v1/reports/lines")  # what it adds up, it adds up now
    before = dump(database)
    needed = "limit_usd=5&baseline=small&before=2023-11-01&since=2023-11-10"
    allowed = {name for name in ("limit_usd", "baseline", "before", "since") if name != field}
    route = next(each for each in TABLE if each.path == path and each.method == "GET")
    known = {each.encode_name for each in msgspec.structs.fields(route.asks)}
    usual = [part for part in needed.split("&") if part.partition("=")[0] in known & allowed]
    for text in CORPUS:
        filled = path.replace("{id}", quote(text, safe="")).replace("{name}", quote(text, safe=""))
        forms = [text]
        if field in ("where", "by"):
            forms += [f"app={text}", f"{text}=web", f"tag:{text}=x", f"tag:{text}", f"app,{text}"]
        for form in forms:
            query = [*usual, *([f"{field}={quote(form, safe='')}"] if field else [])]
            for who in ("tenant-viewer", "owner"):
                said = await house.as_(who, "GET", "?".join([filled, "&".join(query)]).rstrip("?"))
                assert said.status < 500, (text, said.body)
                if who != "owner":
                    assert OTHERS.encode() not in said.body, text
    assert dump(database) == before
    database.close()


@pytest.mark.slow
async def test_names_that_are_sql_are_refused_or_kept_as_they_are(house: AdminHouse) -> None:
    database = house.store.open()
    kept = 0
    for number, text in enumerate(CORPUS):
        fields = {"team": text, "app": text, "user": text}
        said = await house.as_("owner", "POST", "/admin/v1/keys", {"name": f"n{number}", **fields})
        assert said.status in (201, 400), said.body
        if said.status == 201:
            kept += 1
            shown = (await house.as_("owner", "GET", f"/admin/v1/keys/{said.json['id']}")).json
            assert {name: shown[name] for name in fields} == fields
        body = {"scope": "team", "match": [text], "limit_usd": 1}
        target = f"/admin/v1/rules/{quote(text, safe='')}/budget"
        said = await house.as_("owner", "PUT", target, body)
        assert said.status in (200, 400, 404), said.body
        said = await house.as_("owner", "DELETE", f"/admin/v1/rules/{quote(text, safe='')}")
        assert said.status in (200, 204, 400, 404), said.body
        body = {"name": text}
        assert (await house.as_("owner", "POST", "/admin/v1/keys", body)).status in (201, 400)
    assert kept > 10
    tables = {"entry", "attempt", "tag", "access_key", "access_secret", "access_audit"}
    found = dump(database)
    assert tables <= set(found) and len(found["entry"]) == 2
    assert broken_at(database) is None
    database.close()


async def test_keys_that_are_sql_open_nothing_and_are_looked_up_by_nobody(
    house: AdminHouse,
) -> None:
    for number, text in enumerate(CORPUS):
        if not text.isascii() or "\0" in text:
            continue
        said = await ask(house.app, "GET", "/v1/models", token=text, address=f"10.0.{number}.1")
        assert said.status == 401, text
        said = await ask(
            house.admin, "GET", "/admin/v1/keys", token=text, address=f"10.1.{number}.1"
        )
        assert said.status == 401, text


# Spreadsheets


@pytest.mark.parametrize("begin", FORMULA)
def test_cells_of_both_commands_are_no_formulas(begin: str, tmp_path: Path) -> None:
    from pointsman.clock import SystemClock
    from pointsman.store.open import Store

    evil = f"{begin}cmd|' /C calc'!A0"
    ledger = tmp_path / "l.db"
    database = Store.of(ledger, SystemClock()).open()
    with database.transaction():
        insert(database, [written("acme", evil, (("t", evil),))])
    database.close()
    for command in (
        ["usage", "--ledger", str(ledger), "--by", "app,tag:t", "--csv"],
        ["report", "export", "--ledger", str(ledger), "--by", "app,tag:t"],
    ):
        got = CliRunner().invoke(main, command)
        assert got.exit_code == 0, got.output
        rows = list(csv.reader(io.StringIO(got.stdout, newline="")))
        cells = [cell for row in rows[1:] for cell in row]
        assert cells.count(f"'{evil}") == 2, rows
        assert not [cell for cell in cells if cell.startswith(FORMULA)]


# Headers and lines


@pytest.mark.parametrize("text", ["a\r\nset-cookie: x", "a\nb", "a\rb", "a\0b", "a\x1b[31m"])
def test_names_of_the_file_begin_no_header(text: str, tmp_path: Path) -> None:
    """What stands in `x-pointsman-deployment` and `-route` is one line, or no configuration."""
    for part in ("deployments", "routes"):
        config: dict[str, Any] = {
            "deployments": [{"name": "small", "model": "ollama/small", "context_tokens": 1000}],
            "routes": [{"name": "auto", "deployments": ["small"]}],
        }
        config[part][0]["name"] = text
        if part == "deployments":
            config["routes"][0]["deployments"] = [text]
        with pytest.raises(ConfigError):
            loads(json.dumps(config), "test", {}, tmp_path)


async def test_names_of_a_request_begin_no_header_and_no_line(
    house: AdminHouse, caplog: pytest.LogCaptureFixture
) -> None:
    evil = "auto\r\nset-cookie: stolen=1\r\n\r\n04:41 INFO fake line"
    made = await house.make("good", tenant="acme")
    body = {"model": evil, "messages": [{"role": "user", "content": "x"}], "user": evil}
    with caplog.at_level(logging.DEBUG, "pointsman"):
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/embeddings"):
            said = await ask(house.app, "POST", path, body, token=made["key"])
            assert said.status in (400, 404)
            assert "set-cookie" not in {name.lower() for name in said.headers}
            assert json.loads(said.body)  # one answer, whole
        odd = f"/v1/{quote(evil, safe='')}"
        said = await ask(house.app, "GET", odd, token=made["key"])
        assert "set-cookie" not in {name.lower() for name in said.headers}
    for record in caplog.records:
        assert "\n" not in record.getMessage() and "\r" not in record.getMessage()


def test_a_record_of_the_log_is_one_line() -> None:
    evil = "auto\r\n04:41 INFO fake \x1b[2J\x9b\u2028\u202eend"
    entry = msgspec.structs.replace(written("acme", "web"), requested_model=evil, route=evil)
    queue: list[logging.LogRecord] = []

    class Keeps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            queue.append(record)

    handler = Keeps()
    logger = logging.getLogger("pointsman")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        log_entry(entry)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    line = KeyValues().format(queue[0])
    assert len(line.splitlines()) == 1 and line.isprintable() and "fake" in line
    line = JsonLines().format(queue[0])
    assert line.count("\n") == 0 and "\x1b" not in line and evil in json.loads(line)["message"]


def test_texts_of_an_alert_begin_no_header_of_a_mail() -> None:
    settings = SinkSettings("m", "smtp", host="127.0.0.1", sender="a@b.test", to=("c@d.test",))
    evil = "x\r\nBcc: thief@evil.test\r\n\r\nbody"
    message = Mail(settings).message(
        Told("d", "raised", 1, "threshold", "info", evil, None, 0.0, {})
    )
    assert message["Bcc"] is None
    assert message.as_string().split("\n\n")[0].count("evil.test") == 1  # in the subject, as text
