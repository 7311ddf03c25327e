"""Logs: one line a request, an event name and key-values; never a prompt, never a key.

They are written by a thread of their own (lines.py): a reader that stops reading holds up no
request.
"""

from __future__ import annotations

import io
import logging
import sys

import orjson

from pointsman.ledger.entries import LedgerEntry
from pointsman.observe.lines import LineQueue, Write, to_descriptor
from pointsman.pipeline.outage import Change

LOGGERS = ("pointsman", "asyncio")
"""Our own events, and asyncio's complaints, which would otherwise go to standard error by way of
logging's last resort, in the event loop."""

_log = logging.getLogger("pointsman")


_ESCAPED = {
    code: repr(chr(code))[1:-1]
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F))
}
"""Control characters, line ends and what turns the direction of text, as Python writes them."""


class KeyValues(logging.Formatter):
    """`12:00:00.000 INFO request.done route=auto …`"""

    default_msec_format = "%s.%03d"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """One record is one line: names that callers wrote begin no other, and drive no terminal.
        What follows of an exception has lines of its own."""
        line = super().formatMessage(record)
        return line if line.isprintable() else line.translate(_ESCAPED)


class JsonLines(logging.Formatter):
    """One JSON object a line, for collectors."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": record.created,
            "level": record.levelname,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


def setup_logs(level: str = "INFO", json_lines: bool = False) -> LineQueue:
    """Send our events to standard error; a second call replaces the first."""
    queue = LineQueue(_standard_error())
    queue.setFormatter(JsonLines() if json_lines else KeyValues())
    for name in LOGGERS:
        logger = logging.getLogger(name)
        for old in logger.handlers:
            if isinstance(old, LineQueue):
                old.close()
        logger.handlers[:] = [queue]
        logger.propagate = False
    _log.setLevel(level)
    return queue


def _standard_error() -> Write:
    try:
        return to_descriptor(sys.stderr.fileno())
    except (AttributeError, io.UnsupportedOperation):
        stream = sys.stderr  # something else than a file was put in its place
        return lambda data: stream.write(data.decode())


def lines_lost() -> int:
    """How many lines could not be written since `setup_logs`."""
    return sum(each.lost for each in _log.handlers if isinstance(each, LineQueue))


def log_entry(entry: LedgerEntry) -> None:
    """Observe a request: one line, at WARNING if it failed."""
    level = logging.INFO if entry.status < 500 else logging.WARNING
    if not _log.isEnabledFor(level):
        return
    tried = ",".join(f"{attempt.deployment}:{attempt.outcome}" for attempt in entry.attempts)
    _log.log(
        level,
        "request.done id=%s route=%s model=%s status=%d outcome=%s attempts=%s "
        "input_tokens=%d output_tokens=%d cost_usd=%s seconds=%.3f",
        entry.request_id,
        entry.route,
        entry.requested_model,
        entry.status,
        entry.outcome,
        tried or "-",
        entry.usage.input,
        entry.usage.output,
        "unknown" if entry.cost_nano is None else f"{entry.cost_nano / 1e9:.9f}",
        entry.seconds,
    )


OUT = {
    "quota": "deployment.quota",
    "credential": "deployment.refused",
}
"""What an operator must see to has an event of its own."""


def log_change(change: Change) -> None:
    """Observe a breaker: one line when it goes out and one when it comes back, none for a probe
    that finds what is known already."""
    if change.cause == "recovered":
        _log.info("deployment.recovered name=%s", change.who)
    elif not change.again:
        event = OUT.get(change.cause, "deployment.out")
        _log.warning(
            "%s name=%s reason=%r wait_s=%.1f", event, change.who, change.reason, change.wait_s
        )
