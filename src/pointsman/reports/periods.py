"""Moments as people write them: `7d`, `today`, `2026-11-01`. All in UTC, as the ledger is."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_AGO = re.compile(r"(\d+)(m|h|d|w)")
_UNIT = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

FORMS = "24h, 7d, 2w, today, yesterday, week, month, 2026-11-01 or 2026-11-01T09:30"


def moment(text: str, now: float) -> float:
    """Turn a text into seconds since the epoch; raises ValueError saying what is understood.

    1. a number and m, h, d or w: so long ago; 2. now, today, yesterday, week (its Monday) or
    month (its first): where that begins; 3. an ISO date or time, UTC unless it says otherwise.
    """
    text = text.strip().lower()
    here = datetime.fromtimestamp(now, UTC)
    if ago := _AGO.fullmatch(text):
        try:
            return (here - timedelta(**{_UNIT[ago[2]]: int(ago[1])})).timestamp()
        except OverflowError:
            raise ValueError(f"{text!r} is before all ledgers; try {FORMS}") from None
    midnight = here.replace(hour=0, minute=0, second=0, microsecond=0)
    named = {
        "now": here,
        "today": midnight,
        "yesterday": midnight - timedelta(days=1),
        "week": midnight - timedelta(days=midnight.weekday()),
        "month": midnight.replace(day=1),
    }
    if text in named:
        return named[text].timestamp()
    try:
        stated = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError(f"{text!r} is no moment; try {FORMS}") from None
    return stated.replace(tzinfo=stated.tzinfo or UTC).timestamp()
