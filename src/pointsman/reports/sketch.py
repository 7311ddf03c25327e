"""Histograms of seconds whose sum is the sum of two integers.

Theory. The bounds of the bins grow by a constant factor, so a quantile read from them is off by at
most `ERROR` of its value, however many histograms were merged (Masson, Rim, Lee: DDSketch, VLDB
2019, section 2). A histogram is one large integer in which each bin has `WIDTH` bytes: merging is
one addition, done at the speed of C, and two merges in any order give the same bytes.

A bin holds up to `MOST` values. Where a report adds up more than that, no quantile is told, since a
bin might have run over into the next.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Final

ERROR: Final = 0.025
"""Largest relative error of a quantile between `LEAST_S` and `MOST_S`."""
LEAST_S: Final = 0.001
MOST_S: Final = 3_600.0
WIDTH: Final = 4
MOST: Final = (1 << 8 * WIDTH) - 1

_GROWTH: Final = (1 + ERROR) / (1 - ERROR)
_PER_LOG: Final = 1 / math.log(_GROWTH)
BINS: Final = math.ceil(math.log(MOST_S / LEAST_S) * _PER_LOG) + 1
_ONES: Final = tuple(1 << (8 * WIDTH * place) for place in range(BINS))


def bin_of(seconds: float) -> int:
    """The bin of a value; all below `LEAST_S` are in the first, all above `MOST_S` in the last."""
    if seconds <= LEAST_S:
        return 0
    return min(math.ceil(math.log(seconds / LEAST_S) * _PER_LOG), BINS - 1)


def one(seconds: float) -> int:
    """The histogram of one value."""
    return _ONES[bin_of(seconds)]


def packed(histogram: int) -> bytes:
    """A histogram for the store: which bin is the first that is not empty, then the bins."""
    if not histogram:
        return b""
    first = ((histogram & -histogram).bit_length() - 1) // (8 * WIDTH)
    bins = histogram >> (8 * WIDTH * first)
    return first.to_bytes(2, "little") + bins.to_bytes((bins.bit_length() + 7) // 8, "little")


def unpacked(stored: bytes) -> int:
    if not stored:
        return 0
    first = stored[0] | stored[1] << 8
    return int.from_bytes(stored[2:], "little") << (8 * WIDTH * first)


def counts(histogram: int) -> list[tuple[int, int]]:
    """The bins that are not empty, as (bin, values in it), ascending."""
    if not histogram:
        return []
    first = ((histogram & -histogram).bit_length() - 1) // (8 * WIDTH)
    histogram >>= 8 * WIDTH * first
    width = (histogram.bit_length() + 8 * WIDTH - 1) // (8 * WIDTH)
    bins = struct.unpack(f"<{width}I", histogram.to_bytes(width * WIDTH, "little"))
    return [(place, count) for place, count in enumerate(bins, first) if count]


def quantiles(histogram: int, percents: Sequence[int]) -> list[float | None]:
    """For each of the ascending `percents` the value that so many per cent do not exceed."""
    bins = counts(histogram)
    total = sum(count for _, count in bins)
    if total > MOST:
        return [None] * len(percents)
    found: list[float | None] = []
    for percent in percents:
        rank = max(-(-total * percent // 100), 1)
        below = 0
        for place, count in bins:
            below += count
            if below >= rank:
                found.append(_middle(place))
                break
        else:
            found.append(None)
    return found


def _middle(place: int) -> float:
    """The value in a bin from which both its bounds are equally far, as a share."""
    if place == 0:
        return LEAST_S
    return LEAST_S * 2 * _GROWTH**place / (1 + _GROWTH)
