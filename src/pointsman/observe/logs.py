"""Logs: one line a request, an event name and key-values; never a prompt, never a key."""

from __future__ import annotations

import logging
import sys

import orjson

from pointsman.ledger.entries import LedgerEntry

_log = logging.getLogger("pointsman")


class KeyValues(logging.Formatter):
    """`12:00:00.000 INFO request.done route=auto …`"""

    default_msec_format = "%s.%03d"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")


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


def setup_logs(level: str = "INFO", json_lines: bool = False) -> None:
    """Send Pointsman's own events to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if json_lines else KeyValues())
    _log.handlers[:] = [handler]
    _log.setLevel(level)
    _log.propagate = False


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
