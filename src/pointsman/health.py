"""Whether this process can serve, and if not, why: what /readyz tells.

Nothing here waits or asks anybody: it reads what is known already. /livez says only that the
event loop turns; whoever restarts processes must not do so because a provider is down.

A reason that is not `""` turns traffic away. A configuration that was refused is told and is no
reason: the last good one serves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from pointsman.domain.content import Json, JsonObject
from pointsman.generation import Generation
from pointsman.ledger.entries import LedgerStore

Phase = Literal["starting", "serving", "draining"]

Check = Callable[[], str]
"""Says what is wrong now, "" where nothing is."""


@dataclass(slots=True)
class Health:
    """The state of one process, written by those who know: the gateway, the reloader, the
    server that drains."""

    phase: Phase = "starting"
    rejected_since: float | None = None
    """Unix time at which the file became what cannot be used; None where it is what serves."""
    loaded_at: float = 0.0
    """Unix time at which the configuration that serves was loaded."""
    waits: tuple[str, ...] = ()
    """Fields of the file that a restart will bring into effect."""
    checks: dict[str, Check] = field(default_factory=dict)
    """What else may say no, by a name: how late the event loop runs, for one."""

    def told(self, generation: Generation, ledger: LedgerStore) -> JsonObject:
        """Everything, as JSON; `ready` is the verdict and `reasons` are why not."""
        states: JsonObject = {}
        outages: JsonObject = {}
        open_now: set[str] = set()
        for name, stack in generation.stacks.items():
            states[name] = stack.breaker.state
            if stack.breaker.share > 0:
                open_now.add(name)
            if reason := stack.breaker.reason:
                wait_s = round(stack.breaker.reopens_in_s, 3)
                outages[name] = {"reason": reason, "next_probe_s": wait_s}
        routes: JsonObject = {}
        for route in generation.settings.routes:
            names = [each.name for each in route.deployments]
            can = [name for name in names if name in open_now]
            out: JsonObject = {name: states[name] for name in names if name not in open_now}
            routes[route.name] = {"ready": bool(can), "out": out}
        reasons: list[str] = [] if self.phase == "serving" else [self.phase]
        if not open_now:
            reasons.append("no deployment can be asked")
        # A store of the user's own need not know whether it can write.
        if fault := getattr(ledger, "fault", ""):
            reasons.append(f"ledger {fault}")
        reasons += [f"{name}: {said}" for name, check in self.checks.items() if (said := check())]
        return {
            "ready": not reasons,
            "reasons": list[Json](reasons),
            "routes": routes,
            "breakers": states,
            "outages": outages,
            "ledger_lost": ledger.lost,
            "generation": generation.id,
            "config": {
                "loaded_at": self.loaded_at,
                "rejected_since": self.rejected_since,
                "needs_restart": list[Json](self.waits),
            },
        }
