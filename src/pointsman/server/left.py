"""Headers that say what is left of the caller's rates and budgets, the tightest of each kind.

For rates they are those that clients of OpenAI know: `x-ratelimit-limit-requests`, `-remaining-`,
`-reset-` (until the limit is whole again: a rolling window's length where anything counts), and
the same for tokens. Money has none of its own: `x-pointsman-budget-left-usd`.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import Final

from pointsman.domain.budgets import Unit
from pointsman.domain.money import to_usd
from pointsman.pipeline.treasury import Standing

NAMES: Final[dict[Unit, bytes]] = {"requests": b"requests", "tokens": b"tokens"}

Headers = list[tuple[bytes, bytes]]


def left_headers(standings: Iterable[Standing]) -> Headers:
    """`standings` are sorted, the tightest first."""
    headers: Headers = []
    told: set[Unit] = set()
    for standing in standings:
        unit = standing.unit
        if unit in told:
            continue
        told.add(unit)
        remaining = max(0, standing.remaining)
        if unit == "nano_usd":
            headers.append((b"x-pointsman-budget-left-usd", f"{to_usd(remaining):f}".encode()))
        elif (name := NAMES.get(unit)) is not None:
            headers += [
                (b"x-ratelimit-limit-" + name, b"%d" % standing.limit),
                (b"x-ratelimit-remaining-" + name, b"%d" % remaining),
                (b"x-ratelimit-reset-" + name, b"%ds" % ceil(max(0.0, standing.reset_s))),
            ]
    return headers
