"""Who decides what is played: header, script, rate limit, rules, in this order.

Rules and the rate limit count; what they count is here and nowhere else.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from math import ceil

import orjson

from pointsman.clock import Clock
from pointsman.errors import ConfigError
from pointsman.testing.asked import Asked
from pointsman.testing.plays import Fail, Play, Step, as_plays, read_plays

ANY_MODEL = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """What to play, and when. Every stated condition must hold; the first rule that does, wins.

    after, until: how many matching requests came before this one (from `after` on, before
    `until`). from_s, until_s: seconds since the provider started. times: how often at most.
    probability in [0, 1], drawn from the seed. `model` is a shell pattern.
    """

    plays: tuple[Play, ...]
    name: str = "rule"
    model: str = ANY_MODEL
    dialect: str | None = None
    stream: bool | None = None
    after: int = 0
    until: int | None = None
    from_s: float = 0.0
    until_s: float | None = None
    probability: float = 1.0
    times: int | None = None

    def concerns(self, asked: Asked) -> bool:
        return (
            fnmatchcase(asked.model, self.model)
            and self.dialect in (None, asked.dialect)
            and self.stream in (None, asked.stream)
        )

    def is_due(self, before: int, seconds: float) -> bool:
        return (
            self.after <= before
            and (self.until is None or before < self.until)
            and self.from_s <= seconds
            and (self.until_s is None or seconds < self.until_s)
        )


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Let `requests` through in every window of `window_s` seconds; the window is fixed."""

    requests: int
    window_s: float


@dataclass(frozen=True, slots=True)
class Direction:
    """What to play, why, and the headers that tell of the rate limit."""

    plays: tuple[Play, ...]
    origin: str
    headers: dict[str, str]


class Director:
    """Choose the plays of each request."""

    def __init__(
        self,
        clock: Clock,
        *,
        seed: int = 0,
        rules: Sequence[Rule] = (),
        rate_limit: RateLimit | None = None,
    ) -> None:
        self._clock = clock
        self._seed = seed
        self._queues: defaultdict[str, deque[tuple[Play, ...]]] = defaultdict(deque)
        self.rate_limit = rate_limit
        self.started = clock.now()
        self._window = clock.now()
        self._used = 0
        self._rules: tuple[Rule, ...] = ()
        self._matched: list[int] = []
        self._played: list[int] = []
        self.set_rules(rules)

    def script(self, steps: Sequence[Step], model: str = ANY_MODEL) -> None:
        """Queue one step for each of the next requests (for `model`)."""
        self._queues[model].extend(as_plays(step) for step in steps)

    def set_rules(self, rules: Sequence[Rule]) -> None:
        """Replace the rules; they count from now on."""
        self._rules = tuple(rules)
        self._matched = [0] * len(self._rules)
        self._played = [0] * len(self._rules)

    def reset(self) -> None:
        """Forget scripts, rules and rate limit: answer properly from now on."""
        self._queues.clear()
        self.set_rules(())
        self.rate_limit = None

    @property
    def scripted(self) -> int:
        """Steps that no request has taken yet."""
        return sum(len(queue) for queue in self._queues.values())

    def direct(self, asked: Asked, fault_header: str | None) -> Direction:
        """Decide for one request; raise ConfigError for a header that is no play.

        Every rule counts every request that concerns it, whoever decides in the end.
        """
        ruled = self._ruled(asked)
        headers, throttled = self._rated(asked)
        if fault_header is not None:
            return Direction(_from_header(fault_header), "header", headers)
        for model in (asked.model, ANY_MODEL):
            queue = self._queues.get(model)
            if queue:
                return Direction(queue.popleft(), "script", headers)
        if throttled is not None:
            return Direction((throttled,), "rate limit", headers)
        if ruled is not None:
            index, rule = ruled
            self._played[index] += 1
            return Direction(rule.plays, rule.name, headers)
        return Direction((), "", headers)

    def _ruled(self, asked: Asked) -> tuple[int, Rule] | None:
        seconds = self._clock.now() - self.started
        chosen: tuple[int, Rule] | None = None
        for index, rule in enumerate(self._rules):
            if not rule.concerns(asked):
                continue
            before = self._matched[index]
            self._matched[index] += 1
            if chosen is not None or not rule.is_due(before, seconds):
                continue
            if rule.times is not None and self._played[index] >= rule.times:
                continue
            draw = random.Random(f"{self._seed}:{index}:{before}").random()
            if draw < rule.probability:
                chosen = index, rule
        return chosen

    def _rated(self, asked: Asked) -> tuple[dict[str, str], Fail | None]:
        limit = self.rate_limit
        if limit is None:
            return {}, None
        now = self._clock.now()
        windows = (now - self._window) // limit.window_s
        if windows > 0:
            self._window += windows * limit.window_s
            self._used = 0
        self._used += 1
        reset_s = self._window + limit.window_s - now
        headers = _limit_headers(asked, limit, self._used, reset_s, self._clock.wall())
        if self._used <= limit.requests:
            return headers, None
        return headers, Fail(429, {"retry-after": str(ceil(reset_s))})


def _limit_headers(
    asked: Asked, limit: RateLimit, used: int, reset_s: float, wall: float
) -> dict[str, str]:
    left = str(max(0, limit.requests - used))
    if asked.dialect == "anthropic":
        moment = datetime.fromtimestamp(ceil(wall + reset_s), UTC)
        return {
            "anthropic-ratelimit-requests-limit": str(limit.requests),
            "anthropic-ratelimit-requests-remaining": left,
            "anthropic-ratelimit-requests-reset": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        }
    return {
        "x-ratelimit-limit-requests": str(limit.requests),
        "x-ratelimit-remaining-requests": left,
        "x-ratelimit-reset-requests": f"{max(reset_s, 0.001):.3f}s",
    }


def _from_header(value: str) -> tuple[Play, ...]:
    try:
        parsed = orjson.loads(value) if value[:1] in '{["' else value
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"header x-fault: not JSON ({error})") from error
    return read_plays(parsed, "header x-fault")
