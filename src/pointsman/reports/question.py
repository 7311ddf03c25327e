"""What can be asked of the ledger, checked before anything is read.

Whose figures they are is never left out: every question names a tenant, or says `EVERYONE`, which
is for the operator alone. A caller's tenant is what its key or token says, never its own words.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from pointsman.errors import InvalidRequest
from pointsman.reports.cells import DIMENSIONS
from pointsman.reports.spans import BUCKETS, Bucket


class Everyone(Enum):
    """All tenants, and what belongs to none."""

    EVERYONE = "everyone"

    def __repr__(self) -> str:
        return "EVERYONE"


EVERYONE: Final = Everyone.EVERYONE
Whose: TypeAlias = str | Literal[Everyone.EVERYONE]

Dimension: TypeAlias = str
"""A name in `DIMENSIONS`, or `tag:NAME` for a tag of the caller's own."""

Filter: TypeAlias = tuple[Dimension, str]
"""Only what has this value; "" is what has none. Several of one dimension: any of them."""


class Question(msgspec.Struct, frozen=True):
    """`since` and `until` are seconds since the epoch, the end left out; None: as far as it goes.

    `bucket`: a line for each hour, day, week or month of a wall clock in `timezone`.
    """

    whose: Whose
    group_by: tuple[Dimension, ...] = ()
    since: float | None = None
    until: float | None = None
    filters: tuple[Filter, ...] = ()
    bucket: Bucket | None = None
    timezone: str = "UTC"
    latencies: bool = True
    """Tell quantiles too; a report over very many combinations is faster without."""

    @classmethod
    def of(
        cls,
        whose: Whose,
        by: Sequence[str] = (),
        *,
        since: float | None = None,
        until: float | None = None,
        where: Sequence[Filter] = (),
        bucket: str | None = None,
        timezone: str = "UTC",
        latencies: bool = True,
    ) -> Question:
        """Check a question. Raises InvalidRequest, whose `param` names what is wrong.

        One of hour, day, week and month among the dimensions is the bucket.
        """
        if whose is not EVERYONE and not (isinstance(whose, str) and whose):
            raise InvalidRequest("a report needs a tenant, or EVERYONE", param="tenant")
        periods = [name for name in by if name in BUCKETS]
        if len(set(periods)) + (bucket is not None and bucket not in periods) > 1:
            raise InvalidRequest("a report has one of hour, day, week and month", param="by")
        chosen = bucket or next(iter(periods), None)
        if chosen is not None and chosen not in BUCKETS:
            raise InvalidRequest(
                f"unknown bucket {chosen!r}: choose of {', '.join(BUCKETS)}", param="bucket"
            )
        names = tuple(dict.fromkeys(name for name in by if name not in BUCKETS))
        _check(names, "by")
        _check([name for name, _ in where], "where")
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise InvalidRequest(
                f"unknown time zone {timezone!r}: write one such as Europe/Berlin", param="timezone"
            ) from None
        for moment in (since, until):
            if moment is not None and not 0 <= moment < 253_402_300_800:
                raise InvalidRequest("a period lies between 1970 and 9999", param="since")
        found = next((each for each in BUCKETS if each == chosen), None)
        return cls(whose, names, since, until, tuple(where), found, timezone, latencies)


def _check(names: Sequence[str], param: str) -> None:
    for name in names:
        if name in BUCKETS:
            raise InvalidRequest(f"{name}: a period is named by since and until", param=param)
        if name not in DIMENSIONS and not (name.startswith("tag:") and len(name) > 4):
            known = ", ".join((*DIMENSIONS, *BUCKETS) if param == "by" else DIMENSIONS)
            raise InvalidRequest(
                f"unknown dimension {name!r}: choose of {known} or tag:NAME", param=param
            )
