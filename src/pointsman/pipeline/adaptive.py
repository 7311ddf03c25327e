"""How many attempts at once a deployment can bear, learnt from how it takes them. Arithmetic only.

Theory. A hosted provider tells when it is too many: with 429, 503 or 529. Until it does nothing is
bounded. A signal cuts the bound to 0.7 of what was under way (AWS's adaptive retry mode has this
factor), once a second and once for all that was sent before the cut; each success while the bound
binds adds 1/L, and CUBIC's curve (RFC 9438, C = 0.4) leads back to where the last signal came
from in a few seconds. What has not bound for long is forgotten.

A local server seldom says no: it lets requests wait, and time to first content tells of it.
Gradient2 (Netflix's concurrency-limits) compares the latest sample with the long average of its
size of input: g = max(0.5, min(1, 1.5 * long / short)), L <- 0.8 L + 0.2 (g L + 4). The 1.5 leaves
noise alone, the 4 lets it grow while nothing slows, and only while at least half of L is used.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

from pointsman.routing.estimate import SIZE_FACTORS

CUT: Final = 0.7
"""What is left after a signal (CUBIC's and AWS's beta)."""
CUBIC_C: Final = 0.4
"""Steepness of the way back, in attempts per cubed second (RFC 9438)."""
CUT_EVERY_S: Final = 1.0
"""Signals that come together are one."""
BINDS_AT: Final = 0.9
"""A bound that is used to this share binds."""
RELEASE_S: Final = 300.0
"""A bound that has not bound for so long is forgotten; our choice, the length of an incident."""

TOLERANCE: Final = 1.5
SMOOTHING: Final = 0.2
QUEUE: Final = 4.0
LONG_SAMPLES: Final = 600
FIRST_BOUND: Final = 20.0
MOST: Final = 200.0
"""Gradient2's defaults. The last is needed: where there is always more to do than the server can,
the long average follows the short one, and the bound would creep up with both."""
WARM_UP: Final = 10
"""Samples of a size before they are compared with anything (Gradient2's warm-up)."""
LEAST: Final = 4.0
"""Never below this, or below the slots the server says it has: no server is slower for using
those."""


class Adaptive(Protocol):
    """`bound` is attempts at once, infinite where nothing bounds them."""

    bound: float

    def has_slots(self, slots: int) -> None:
        """A local server says how many it works on at once."""
        ...

    def blocked(self, now: float) -> None:
        """An attempt was refused for the bound."""
        ...

    def signalled(self, in_flight: int, started: float, now: float) -> None:
        """The provider said that it was too many, to an attempt sent at `started`."""
        ...

    def succeeded(self, in_flight: int, size: int, ttft_s: float | None, now: float) -> None:
        """An attempt ended well that was sent as the `in_flight`th."""
        ...


class Unbounded:
    """Learns nothing."""

    bound = math.inf

    def has_slots(self, slots: int) -> None:
        pass

    def blocked(self, now: float) -> None:
        pass

    def signalled(self, in_flight: int, started: float, now: float) -> None:
        pass

    def succeeded(self, in_flight: int, size: int, ttft_s: float | None, now: float) -> None:
        pass


UNBOUNDED: Final = Unbounded()


class Signalled:
    """For hosted providers: from their explicit signals."""

    __slots__ = ("_bound_at", "_cut_at", "_top", "bound")

    def __init__(self) -> None:
        self.bound = math.inf
        self._top = 0.0
        self._cut_at = -math.inf
        self._bound_at = -math.inf

    def has_slots(self, slots: int) -> None:
        pass

    def blocked(self, now: float) -> None:
        self._bound_at = now

    def signalled(self, in_flight: int, started: float, now: float) -> None:
        # What was sent before the last cut tells of what was before it.
        if started <= self._cut_at or now - self._cut_at < CUT_EVERY_S:
            return
        # CUBIC's fast convergence: where it came sooner than last time, somebody else is there.
        sooner = in_flight < self._top
        self._top = in_flight * (1 + CUT) / 2 if sooner else float(in_flight)
        self.bound = max(1.0, CUT * in_flight)
        self._cut_at = self._bound_at = now

    def succeeded(self, in_flight: int, size: int, ttft_s: float | None, now: float) -> None:
        bound = self.bound
        if bound == math.inf:
            return
        if in_flight < BINDS_AT * int(bound):
            if now - self._bound_at > RELEASE_S:
                self.bound = math.inf
                self._top = 0.0
            return
        self._bound_at = now
        back_s = math.cbrt(self._top * (1 - CUT) / CUBIC_C)
        curve = self._top + CUBIC_C * (now - self._cut_at - back_s) ** 3
        self.bound = max(bound + 1 / bound, min(curve, self._top))

    def __repr__(self) -> str:
        return f"Signalled({self.bound:.1f})"


class Gradient:
    """For local servers: from time to first content. `most` is the declared max_in_flight."""

    __slots__ = ("_counts", "_cut_at", "_is_free", "_long", "bound", "least", "most")

    def __init__(self, most: int | None = None) -> None:
        self._is_free = most is None
        self.most = MOST if most is None else float(most)
        self.least = min(LEAST, self.most)
        self.bound = min(FIRST_BOUND, self.most)
        self._long = [0.0] * len(SIZE_FACTORS)
        self._counts = [0] * len(SIZE_FACTORS)
        self._cut_at = -math.inf

    def has_slots(self, slots: int) -> None:
        self.most = max(self.most, float(slots)) if self._is_free else self.most
        self.least = min(max(LEAST, float(slots)), self.most)
        self.bound = max(self.bound, self.least)

    def blocked(self, now: float) -> None:
        pass

    def signalled(self, in_flight: int, started: float, now: float) -> None:
        if started > self._cut_at and now - self._cut_at >= CUT_EVERY_S:
            self.bound = max(self.least, min(self.bound, CUT * in_flight))
            self._cut_at = now

    def succeeded(self, in_flight: int, size: int, ttft_s: float | None, now: float) -> None:
        if ttft_s is None or ttft_s <= 0:
            return
        count = self._counts[size] = min(self._counts[size] + 1, LONG_SAMPLES)
        # A plain mean at first, then an average over the last LONG_SAMPLES.
        long = self._long[size] + (ttft_s - self._long[size]) / count
        if long > 2 * ttft_s:
            long *= 0.95  # After a long bad time, come down faster (as Gradient2 does).
        self._long[size] = long
        if count <= WARM_UP or 2 * in_flight < self.bound:
            return
        gradient = max(0.5, min(1.0, TOLERANCE * long / ttft_s))
        wanted = gradient * self.bound + QUEUE
        bound = (1 - SMOOTHING) * self.bound + SMOOTHING * wanted
        self.bound = min(self.most, max(self.least, bound))

    def __repr__(self) -> str:
        return f"Gradient({self.bound:.1f})"
