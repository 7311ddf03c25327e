"""How fast one deployment is: time to first content by size of input, time per output token.

Theory. Both are peak-EWMAs (after Finagle's PeakEwma): a slow sample counts at once, fast ones
win back trust over `tau` seconds. Time to first content grows with the input, since all of it is
read first; in one average a few long prompts would make a host look slow to short ones. So there
is an average for each size (signals.SIZES, steps of four). A size without samples is answered from
its nearest neighbours, scaled by SIZE_FACTORS. Time per token is one average: it hardly depends
on the input, and samples that are spread over six averages are soon stale in all of them.

What was measured too long ago is forgotten: a deployment that was slow once and is asked no more
could never show better.
"""

from __future__ import annotations

import math
from typing import Final

from pointsman.routing.estimate import SIZE_FACTORS

TAU_S: Final = 10.0
"""Decay of the peak-EWMAs (Finagle's default)."""

STALE_S: Final = 300.0
"""Seconds after which a measurement is forgotten; our own choice, the length of an incident."""

PRIOR_TTFT_S: Final = 1.0
PRIOR_PER_TOKEN_S: Final = 0.02
"""How a first whole answer is split: one second, then fifty tokens a second."""

NEVER: Final = float("-inf")


class PeakEwma:
    """A peak-sensitive moving average in seconds: rises at once, decays with `tau`. `at` is when
    it last learnt."""

    __slots__ = ("at", "tau", "value")

    def __init__(self, tau: float = TAU_S) -> None:
        self.tau = tau
        self.value: float | None = None
        self.at = NEVER

    def observe(self, sample: float, now: float) -> None:
        old = self.value
        if old is None or sample > old or now - self.at > STALE_S:
            self.value = sample
        else:
            keep = math.exp(-max(0.0, now - self.at) / self.tau)
            # At least a little decay a sample, or a burst within one tick would teach nothing.
            keep = min(keep, 0.9)
            self.value = old * keep + sample * (1.0 - keep)
        self.at = now

    def known(self, now: float) -> float | None:
        """The value, None where there is none or it is stale."""
        return None if now - self.at > STALE_S else self.value


class Speed:
    """Answers in seconds; None where nothing fresh was measured."""

    __slots__ = ("_all", "_first", "_per_token")

    def __init__(self) -> None:
        self._first = tuple(PeakEwma() for _ in SIZE_FACTORS)
        self._per_token = PeakEwma()
        self._all = (*self._first, self._per_token)

    def first_content_s(self, size: int, now: float) -> float | None:
        """Expected time to first content of inputs of `size`, a place in SIZE_FACTORS."""
        own = self._first[size].known(now)
        if own is not None:
            return own
        # 1. none is known. 2. beside those that are. 3. between two: the geometric mean of what
        # both let expect, and nothing that neither of them has seen.
        below = self._nearest(range(size - 1, -1, -1), now)
        above = self._nearest(range(size + 1, len(self._first)), now)
        known = [each for each in (below, above) if each is not None]
        if not known:
            return None
        scaled = [value * SIZE_FACTORS[size] / SIZE_FACTORS[other] for other, value in known]
        if len(scaled) == 1:
            return scaled[0]
        seen = [value for _, value in known]
        return max(min(seen), min(max(seen), math.sqrt(scaled[0] * scaled[1])))

    def _nearest(self, others: range, now: float) -> tuple[int, float] | None:
        for other in others:
            known = self._first[other].known(now)
            if known is not None:
                return other, known
        return None

    def per_token_s(self, now: float) -> float | None:
        return self._per_token.known(now)

    def stale_at(self, now: float) -> float:
        """The first moment at which something that is known now is forgotten."""
        oldest = math.inf
        for each in self._all:
            if each.at < oldest and now - each.at <= STALE_S:
                oldest = each.at
        return oldest + STALE_S

    def learn_stream(
        self, size: int, ttft_s: float, seconds: float, tokens: int, now: float
    ) -> None:
        """Learn from a stream that began after `ttft_s` and ended after `seconds`."""
        self._first[size].observe(ttft_s, now)
        if tokens > 1:
            self._per_token.observe(max(0.0, seconds - ttft_s) / (tokens - 1), now)

    def learn_whole(self, size: int, seconds: float, tokens: int, now: float) -> None:
        """Learn from an answer that came whole: its total scales both estimates alike."""
        first = self.first_content_s(size, now)
        each = self._per_token.known(now)
        ttft = PRIOR_TTFT_S * SIZE_FACTORS[size] if first is None else first
        per_token = PRIOR_PER_TOKEN_S if each is None else each
        scale = seconds / max(1e-9, ttft + tokens * per_token)
        self._first[size].observe(ttft * scale, now)
        self._per_token.observe(per_token * scale, now)

    def __repr__(self) -> str:
        each = (average.value for average in self._first)
        return "/".join("-" if value is None else f"{value:.2f}" for value in each)
