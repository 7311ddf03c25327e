"""What a simulation must have met to prove anything: each of these so often in 1,000 sequences.

The figures are about a third of what is usual, so that chance does not break a build.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

LEAST_PER_1000: Final[Mapping[str, float]] = {
    "calls": 4000,
    "steps": 30_000,
    "breaker failing": 200,
    "breaker throttled": 3,
    "breaker lost": 8,
    "breaker credential": 40,
    "breaker quota": 40,
    "breaker recovered": 150,
    "provider failing": 30,
    "provider unreachable": 15,
    "provider recovered": 30,
    "probe": 400,
    "probe abandoned": 30,
    "provider probe": 50,
    "panic": 100,
    "retry": 150,
    "hedge ok": 0.3,
    "hedge abandoned": 3,
    "hedge timeout": 2,
    "jump": 50,
    "client end": 1000,
    "client left": 80,
    "client cancelled": 20,
    "client upstream_disconnected": 5,
    "client upstream_error": 3,
    "client upstream_stalled": 8,
    "client deadline_exceeded": 8,
    "outcome abandoned": 500,
    "attempt throttled": 80,
    "attempt overloaded": 80,
    "attempt unavailable": 300,
    "attempt timeout": 400,
    "attempt refused": 100,
    "attempt malformed": 80,
    "attempt content_filter": 8,
    "attempt context_length": 8,
    "attempt rejected": 8,
    "status 429": 200,
    "status 502": 300,
    "status 503": 300,
    "status 504": 300,
}


def missing(met: Counter[str], sequences: int) -> dict[str, tuple[int, float]]:
    """What was met too seldom: name -> (how often, how often it should be)."""
    wanted = {name: least * sequences / 1000 for name, least in LEAST_PER_1000.items()}
    return {name: (met[name], least) for name, least in wanted.items() if met[name] < int(least)}
