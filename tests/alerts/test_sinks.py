"""Sinks over real loopback sockets: what arrives, signed, and what is said where nothing does."""

from __future__ import annotations

import asyncio
import email
import email.policy
import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.alerts.conftest import Hook, Lines, hooked, told

from pointsman.alerts import sinks
from pointsman.alerts.mail import Mail
from pointsman.alerts.sinks import Log, NotTaken, Sink, sink_of
from pointsman.config.settings_money import SinkSettings
from pointsman.domain.secret import Secret
from pointsman.providers.lean import LeanTransport

NOW = 1_700_000_000.0


@asynccontextmanager
async def web_sink(settings: SinkSettings) -> AsyncIterator[Sink]:
    transport = LeanTransport()
    try:
        yield sink_of(settings, transport, lambda: NOW)
    finally:
        await transport.close()


def webhook(hook: Hook, **fields: object) -> SinkSettings:
    return SinkSettings("hook", "webhook", url=Secret(hook.url), **fields)  # type: ignore[arg-type]


async def test_a_webhook_gets_json_that_it_can_verify() -> None:
    async with hooked() as hook, web_sink(webhook(hook, secret=Secret("s3cret"))) as sink:
        await sink(told())
        [(path, headers, body)] = hook.taken
        assert path == "/hooks/T0/secret-path?x=1"
        assert json.loads(body)["facts"] == {"budget": "month", "threshold": 0.8}
        assert headers["content-type"] == "application/json"
        assert headers["x-pointsman-delivery"] == "7-1-hook"
        signed = f"{headers['x-pointsman-timestamp']}.".encode() + body
        expected = hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()
        assert headers["x-pointsman-signature"] == f"v1={expected}"
        assert headers["x-pointsman-timestamp"] == "1700000000"


async def test_the_receiver_of_the_documentation_verifies_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```python\n(.*?)```", text, re.S)
    names: dict[str, Any] = {}
    exec(block, names)
    monkeypatch.setattr("time.time", lambda: NOW + 10)
    async with hooked() as hook, web_sink(webhook(hook, secret=Secret("s3cret"))) as sink:
        await sink(told())
        [(_, headers, body)] = hook.taken
    assert names["is_genuine"](b"s3cret", headers, body)
    assert not names["is_genuine"](b"s3cret", headers, body + b" ")
    assert not names["is_genuine"](b"other", headers, body)
    late = {**headers, "x-pointsman-timestamp": str(int(NOW) - 999)}
    assert not names["is_genuine"](b"s3cret", late, body)


async def test_without_a_secret_nothing_is_signed() -> None:
    async with hooked() as hook, web_sink(webhook(hook)) as sink:
        await sink(told())
        assert "x-pointsman-signature" not in hook.taken[0][1]


async def test_slack_gets_a_text_in_which_nobody_is_called() -> None:
    async with hooked() as hook:
        settings = SinkSettings("chat", "slack", url=Secret(hook.url))
        async with web_sink(settings) as sink:
            await sink(told(text="user <!channel> & co", event="resolved"))
        said = json.loads(hook.taken[0][2])
        assert said == {
            "text": "Pointsman warning: threshold (resolved)\nuser &lt;!channel&gt; &amp; co"
        }


@pytest.mark.parametrize("status", [302, 400, 429, 500])
async def test_what_was_not_taken_is_said_without_the_url(status: int) -> None:
    async with hooked(statuses=[status]) as hook, hooked() as elsewhere:
        hook.headers = f"location: {elsewhere.url}\r\n"
        async with web_sink(webhook(hook, secret=Secret("s3cret"))) as sink:
            with pytest.raises(NotTaken) as problem:
                await sink(told())
        assert str(problem.value) == f"status {status}"
        assert elsewhere.taken == []


async def test_a_server_that_is_not_there_or_hangs_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sinks, "TRY_S", 0.05)
    async with hooked(hangs=True) as hook, web_sink(webhook(hook)) as sink:
        with pytest.raises(NotTaken, match="no answer in time"):
            await sink(told())
    async with web_sink(webhook(hook)) as sink:
        with pytest.raises(NotTaken, match="network: refused"):
            await sink(told())


async def test_the_log_gets_a_line(logged: Lines) -> None:
    await Log()(told())
    assert "alert.raised id=7 kind=threshold severity=warning" in logged.text


# Mail.


@dataclass
class MailServer:
    """An SMTP server of one screen. `says` replaces what it answers to a command."""

    says: dict[str, str] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    hangs: bool = False
    port: int = 0
    commands: list[str] = field(default_factory=list)
    letters: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def answer(text: str) -> None:
            writer.write(f"{text}\r\n".encode())

        try:
            if self.hangs:
                await reader.read()
                return
            answer("220 here")
            while line := (await reader.readline()).decode().strip():
                self.commands.append(line)
                word = line.split()[0].split(":")[0].upper()
                if word in self.says:
                    answer(self.says[word])
                elif word == "EHLO":
                    answer("250-here")
                    for feature in self.features:
                        answer(f"250-{feature}")
                    answer("250 OK")
                elif word == "DATA":
                    answer("354 go on")
                    self.letters.append(await reader.readuntil(b"\r\n.\r\n"))
                    answer("250 taken")
                elif word == "AUTH":
                    answer("235 welcome")
                elif word == "QUIT":
                    answer("221 bye")
                    return
                else:
                    answer("250 OK")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def mailing(**fields: object) -> AsyncIterator[tuple[MailServer, Mail]]:
    server = MailServer(**{k: v for k, v in fields.items() if k in ("says", "features", "hangs")})  # type: ignore[arg-type]
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    stated: dict[str, object] = {
        "name": "mail",
        "kind": "smtp",
        "host": "127.0.0.1",
        "port": server.port,
        "tls": "none",
        "sender": "pointsman@example.org",
        "to": ("ops@example.org", "cfo@example.org"),
    }
    rest = {k: v for k, v in fields.items() if k not in ("says", "features", "hangs")}
    try:
        yield server, Mail(SinkSettings(**{**stated, **rest}))  # type: ignore[arg-type]
    finally:
        listening.close()


async def test_a_mail_arrives() -> None:
    async with mailing() as (server, sink):
        await sink(told(text="team Küche\nBcc: eve@example.org has spent\r\n.\r\nmuch"))
        [letter] = server.letters
        mail = email.message_from_bytes(letter[:-5], policy=email.policy.default)
        assert mail["To"] == "ops@example.org, cfo@example.org"
        assert mail["Subject"].startswith("Pointsman warning: threshold: team Küche Bcc: eve@")
        assert mail["Bcc"] is None
        body = mail.get_body()
        assert body is not None
        assert "threshold: 0.8" in body.get_content()
        assert "much" in body.get_content()
        assert [c for c in server.commands if c.upper().startswith("RCPT")] == [
            "rcpt TO:<ops@example.org>",
            "rcpt TO:<cfo@example.org>",
        ]


async def test_who_logs_in_does_so_and_a_refusal_tells_no_password() -> None:
    known = {"user": "me", "password": Secret("hunter2")}
    async with mailing(features=("AUTH PLAIN",), **known) as (server, sink):
        await sink(told())
        assert any(each.upper().startswith("AUTH") for each in server.commands)
    bad = {"AUTH": "535 no: hunter2"}
    async with mailing(features=("AUTH PLAIN",), says=bad, **known) as (server, sink):
        with pytest.raises(NotTaken) as problem:
            await sink(told())
        assert str(problem.value) == "SMTPAuthenticationError 535"


async def test_without_the_encryption_asked_for_nothing_is_said() -> None:
    known = {"user": "me", "password": Secret("hunter2")}
    async with mailing(tls="starttls", features=("AUTH PLAIN",), **known) as (server, sink):
        with pytest.raises(NotTaken, match="SMTPNotSupportedError"):
            await sink(told())
        assert not any(each.upper().startswith(("AUTH", "MAIL")) for each in server.commands)


async def test_a_mail_server_that_hangs_is_given_up_and_not_asked_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pointsman.alerts.mail.TRY_S", 0.05)
    monkeypatch.setattr("pointsman.alerts.mail.STEP_S", 0.15)
    async with mailing(hangs=True) as (_, sink):
        with pytest.raises(NotTaken, match="no answer in time"):
            await sink(told())
        with pytest.raises(NotTaken, match="still has not answered"):
            await sink(told())
        thread = sink._thread
        assert thread is not None
        await asyncio.to_thread(thread.join, 5)
    assert not thread.is_alive()


async def test_a_recipient_that_is_refused_is_told() -> None:
    async with mailing(says={"RCPT": "550 nobody"}) as (_, sink):
        with pytest.raises(NotTaken, match="SMTPRecipientsRefused"):
            await sink(told())
