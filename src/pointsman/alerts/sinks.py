"""Where alerts go: the log, a webhook, Slack, mail.

A sink takes one alert and returns when it was taken, or raises `NotTaken` with what can be said of
it without a secret: neither a URL (Slack's is a password) nor what the other side answered.

A webhook's body is signed as is usual for webhooks: HMAC-SHA256 over the time, a dot and the body,
with the shared secret; the receiver computes the same, compares in constant time, and refuses what
is older than some minutes. Redirects are not followed: alerts go where the configuration says.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, Protocol
from urllib.parse import urlsplit

import msgspec

from pointsman.alerts.alert import Told
from pointsman.config.settings_money import SinkSettings
from pointsman.domain.secret import Secret
from pointsman.providers.transport import (
    Endpoint,
    HttpRequest,
    HttpResponse,
    Transport,
    TransportError,
)

TRY_S: Final = 15.0
"""The longest that one try may take, in seconds."""
MOST_READ: Final = 65_536
"""Bytes of an answer that are read; a longer one costs its connection."""
SIGNATURE: Final = "x-pointsman-signature"
TIMESTAMP: Final = "x-pointsman-timestamp"
DELIVERY: Final = "x-pointsman-delivery"
VERSION: Final = "v1"

_log = logging.getLogger("pointsman")


class NotTaken(Exception):
    """Why an alert was not taken, in words that hold no secret."""


class Sink(Protocol):
    async def __call__(self, told: Told) -> None:
        """Return when it was taken. Raises NotTaken. Cancelling gives up at once."""
        ...


class Log:
    """A line at WARNING, or at INFO where that is all it is."""

    async def __call__(self, told: Told) -> None:
        level = logging.INFO if told.severity == "info" else logging.WARNING
        _log.log(
            level,
            "alert.%s id=%d kind=%s severity=%s text=%r",
            *(told.event, told.id, told.kind, told.severity, told.text),
        )

    def __repr__(self) -> str:
        return "Log()"


class Webhook:
    """POST the alert as JSON, signed where there is a secret."""

    def __init__(
        self,
        url: Secret,
        secret: Secret | None,
        transport: Transport,
        now: Callable[[], float],
        body_of: Callable[[Told], bytes],
        *,
        allow_private: bool = False,
    ) -> None:
        parts = urlsplit(url.reveal())
        self._endpoint = Endpoint(f"{parts.scheme}://{parts.netloc}", allow_private=allow_private)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._secret = secret
        self._transport = transport
        self._now = now
        self._body_of = body_of

    async def __call__(self, told: Told) -> None:
        body = self._body_of(told)
        once = [(DELIVERY, told.delivery)]
        if self._secret is not None:
            stamp = str(int(self._now()))
            once += [(TIMESTAMP, stamp), (SIGNATURE, signature(self._secret, stamp, body))]
        request = HttpRequest(self._endpoint, self._path, body, _HEADERS, once=tuple(once))
        try:
            async with asyncio.timeout(TRY_S):
                response = await self._transport.send(request)
                await _read(response)
        except TransportError as error:
            raise NotTaken(f"network: {error.fault}") from None
        except TimeoutError:
            raise NotTaken("no answer in time") from None
        if not 200 <= response.status < 300:
            raise NotTaken(f"status {response.status}")

    def __repr__(self) -> str:
        return f"Webhook({urlsplit(self._endpoint.base_url).hostname})"


_HEADERS: Final = {"content-type": "application/json", "user-agent": "pointsman"}


async def _read(response: HttpResponse) -> None:
    """Let it have its say, which is of no use to us, up to a limit."""
    read = 0
    while data := await response.read_some():
        read += len(data)
        if read > MOST_READ:
            response.abort()
            return


def signature(secret: Secret, stamp: str, body: bytes) -> str:
    """`v1=` and the HMAC-SHA256 of `stamp.body` in hexadecimal."""
    signed = hmac.new(secret.reveal().encode(), stamp.encode() + b"." + body, hashlib.sha256)
    return f"{VERSION}={signed.hexdigest()}"


def webhook_body(told: Told) -> bytes:
    return msgspec.json.encode(told)


def slack_body(told: Told) -> bytes:
    """What Slack's incoming webhooks take, and Mattermost's and others' like it."""
    return msgspec.json.encode({"text": f"{headline(told)}\n{_for_slack(told.text)}"})


def _for_slack(text: str) -> str:
    # Its three control characters: `<!channel>` in a user's name must not call everybody.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def headline(told: Told) -> str:
    words: Mapping[str, str] = {"raised": "", "again": " (still)", "resolved": " (resolved)"}
    return f"Pointsman {told.severity}: {told.kind.replace('_', ' ')}{words[told.event]}"


def plain_text(told: Told) -> str:
    """An alert for a mail."""
    at = datetime.fromtimestamp(told.raised_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    facts = "\n".join(f"{name}: {value}" for name, value in sorted(told.facts.items()))
    return f"{told.text}\n\nalert {told.id}, since {at}\n\n{facts}\n"


def sink_of(settings: SinkSettings, transport: Transport, now: Callable[[], float]) -> Sink:
    """Make a sink as it is configured; the configuration has checked what its kind needs."""
    if settings.kind == "log":
        return Log()
    if settings.kind == "smtp":
        from pointsman.alerts.mail import Mail

        return Mail(settings)
    assert settings.url is not None
    body = webhook_body if settings.kind == "webhook" else slack_body
    return Webhook(
        *(settings.url, settings.secret, transport, now, body),
        allow_private=settings.allow_private,
    )
