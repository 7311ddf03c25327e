"""Alerts by mail: the standard library's SMTP client, on a thread that nobody waits for.

That client blocks, so each try has a daemon thread. One that is given up on ends by its own
timeouts and holds nothing up, not even the end of the process; while it hangs, no second one is
begun.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
import threading
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Final

from pointsman.alerts.alert import Told
from pointsman.alerts.sinks import TRY_S, NotTaken, headline, plain_text
from pointsman.config.settings_money import SinkSettings

STEP_S: Final = 10.0
"""The longest that one step of the conversation may take, in seconds."""


class Mail:
    """Send by the server that is configured, encrypted as it says, with its certificate checked."""

    def __init__(self, settings: SinkSettings) -> None:
        self._settings = settings
        self._thread: threading.Thread | None = None

    async def __call__(self, told: Told) -> None:
        if self._thread is not None and self._thread.is_alive():
            raise NotTaken("the mail server still has not answered the last one")
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[str] = loop.create_future()
        message = self.message(told)

        def say(problem: str) -> None:
            if not ended.done():
                ended.set_result(problem)

        def run() -> None:
            problem = self._sent(message)
            try:
                loop.call_soon_threadsafe(say, problem)
            except RuntimeError:
                pass  # The loop is closed: whoever asked is gone.

        self._thread = threading.Thread(target=run, name="alert mail", daemon=True)
        self._thread.start()
        try:
            async with asyncio.timeout(TRY_S):
                problem = await ended
        except TimeoutError:
            raise NotTaken("no answer in time") from None
        self._thread = None  # It has said its word, and only has to end.
        if problem:
            raise NotTaken(problem)

    def message(self, told: Told) -> EmailMessage:
        settings = self._settings
        message = EmailMessage()
        message["From"] = settings.sender
        message["To"] = ", ".join(settings.to)
        # Texts hold names that others chose: a line break would begin another header.
        message["Subject"] = " ".join(f"{headline(told)}: {told.text}".split())[:180]
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Message-ID"] = make_msgid(told.delivery, domain="pointsman.invalid")
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(plain_text(told))
        return message

    def _sent(self, message: EmailMessage) -> str:
        """Why it could not be sent, "" if it was; on the thread."""
        settings = self._settings
        assert settings.host is not None
        try:
            with self._connected(settings.host) as server:
                if settings.tls == "starttls":
                    server.starttls(context=ssl.create_default_context())
                if settings.user is not None and settings.password is not None:
                    server.login(settings.user, settings.password.reveal())
                refused = server.send_message(message)
        # Their texts quote the server, and it may quote what it was told: only the kind is kept.
        except smtplib.SMTPResponseException as error:
            return f"{type(error).__name__} {error.smtp_code}"
        except (smtplib.SMTPException, OSError, ValueError) as error:
            return type(error).__name__
        return f"refused for {len(refused)} of {len(settings.to)}" if refused else ""

    def _connected(self, host: str) -> smtplib.SMTP:
        settings = self._settings
        if settings.tls == "tls":
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(host, settings.port, timeout=STEP_S, context=context)
        return smtplib.SMTP(host, settings.port, timeout=STEP_S)

    def __repr__(self) -> str:
        return f"Mail({self._settings.host})"
