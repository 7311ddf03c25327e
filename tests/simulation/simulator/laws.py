"""What must hold after every step, and at the end, whatever happened.

The laws are reckoned anew from what can be seen from outside the layers: what passes the door
between Breaker and Limits, what reaches the network, what clients are given, what is in the
ledger. Only that nothing is left behind is read from the layers themselves.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

from pointsman.domain.outcome import Outcome
from pointsman.pipeline.build import DeploymentStack
from pointsman.pipeline.call import Call
from pointsman.pipeline.dispatch import Dispatch
from pointsman.pipeline.service import Reply, Service
from pointsman.routing.contract import KINDS

from .loop import START
from .world import World

SLACK_S = 0.25
"""How much later than its deadline a call may end."""


class Violation(Exception):
    """A law was broken; the message says which and how."""


class Door:
    """Stands between Breaker and Limits, and sees who is let through in which state."""

    def __init__(self, laws: Laws, name: str, inner: Service) -> None:
        self.inner = inner
        self._laws = laws
        self._name = name
        self.inside = 0
        """Calls that have passed and not come back."""
        self.is_probing = False
        self.is_for_provider = False
        """It began while its provider was out."""
        self.probe_due = 0.0
        self.probes = 0
        self.panicked_at = float("-inf")

    async def __call__(self, call: Call) -> Reply:
        laws = self._laws
        stack = laws.world.stacks[self._name]
        breaker, now = stack.breaker, laws.world.loop.now()
        state = breaker.state
        laws.demand(now >= breaker.cooling_until, f"{self._name} was called while it cools down")
        is_probe = state == "half_open" and not call.panic
        if state == "open":
            laws.demand(call.panic, f"{self._name} was called though its breaker is open")
        if call.panic and state != "closed":
            laws.world.note("panic")
            if state == "half_open":
                self.probes += 1  # Perhaps: where there was room for a probe, it is one.
        if call.panic and state == "open":
            apart, per_s = now - self.panicked_at, laws.world.settings.breaker.panic_per_s
            laws.demand(
                per_s > 0 and apart * per_s > 0.999, f"{self._name}: panics {apart:.3f} s apart"
            )
            self.panicked_at = now
        if is_probe:
            laws.world.note("probe")
            laws.demand(
                not self.is_probing or now >= self.probe_due,
                f"{self._name} has two probes at a time",
            )
            self.probes += 1
            self.is_for_provider = laws.is_providers_only_probe(self._name, now)
            self.is_probing = True
            self.probe_due = now + call.timeouts.first_content_s
        self.inside += 1
        try:
            return await self.inner(call)
        except asyncio.CancelledError:
            if is_probe:
                laws.world.note("probe abandoned")
            raise
        finally:
            self.inside -= 1
            if is_probe:
                self.is_probing = False


class Witness:
    """Stands above Upstream, and hears of every reply's end before anybody else."""

    def __init__(self, laws: Laws, inner: Service) -> None:
        self.inner = inner
        self._laws = laws

    async def __call__(self, call: Call) -> Reply:
        reply = await self.inner(call)
        told: list[Outcome] = []
        self._laws.replies.append((reply, told))
        reply.on_close(told.append)
        return reply


class Laws:
    def __init__(self, world: World) -> None:
        self.world = world
        self.broken: list[str] = []
        self.replies: list[tuple[Reply, list[Outcome]]] = []
        self.calls: dict[str, Call] = {}
        self.most_attempts: dict[str, int] = {}
        self.doors: dict[str, Door] = {}
        for name, stack in world.stacks.items():
            timeout = stack.limits.inner
            timeout.inner = Witness(self, timeout.inner)  # type: ignore[attr-defined]
            self.doors[name] = Door(self, name, stack.limits)
            stack.breaker.inner = self.doors[name]

    def demand(self, holds: bool, law: str) -> None:
        if not holds:
            self.broken.append(f"at {self.world.loop.now() - START:.3f} s: {law}")

    def is_providers_only_probe(self, name: str, now: float) -> bool:
        """While a provider is out, one probe at a time for all its deployments; those that were
        under way before say nothing of that."""
        world = self.world
        provider = world.stacks[name].deployment.provider
        if not world.providers[provider].is_out:
            return False
        world.note("provider probe")
        for other, door in self.doors.items():
            same = world.stacks[other].deployment.provider == provider
            if same and door.is_probing and door.is_for_provider and now < door.probe_due:
                self.demand(False, f"provider {provider}: {name} and {other} probe at a time")
        return True

    # After each step.

    def look(self) -> None:
        world = self.world
        for name, stack in world.stacks.items():
            if stack.meter.in_flight < 0 or stack.limits._taken < 0:
                self.demand(False, f"{name}: less than nothing is under way")
            slots = stack.deployment.limits.max_in_flight
            if slots is not None and stack.limits._taken > slots:
                self.demand(False, f"{name}: {stack.limits._taken} of {slots} slots are taken")
            if not stack.breaker.is_closed:
                self._somebody_looks(name, stack)
        for call in self.calls.values():
            purse = call.trail.purse
            if purse is not None and purse._held + purse._spent > purse.limit_nano:
                self.demand(False, f"{call.id}: its purse is overdrawn: {purse!r}")
        if world.loop.errors:
            self.demand(False, f"the loop was told: {world.loop.errors.pop()!r}")
        if self.broken:
            raise Violation(self.broken[0])

    def _somebody_looks(self, name: str, stack: DeploymentStack) -> None:
        """Who is kept out because a probe is under way, for that one there is a probe."""
        breaker = stack.breaker
        if breaker.share > 0 or breaker.reopens_in_s > 0:
            return
        provider = stack.deployment.provider
        mates = (each for each, s in self.world.stacks.items() if s.deployment.provider == provider)
        if not any(self.doors[each].inside for each in mates):
            self.demand(False, f"{name} waits for a probe that nobody makes")

    # At the end.

    def close(self) -> None:
        """Look at everything once more, when nobody waits any longer."""
        self._nothing_is_left()
        self._each_probe_failed_once()
        self._each_reply_closed_once()
        self._one_entry_for_each_call()
        self._retries_within_budget()
        self.look()

    def _nothing_is_left(self) -> None:
        world, demand = self.world, self.demand
        for name, stack in world.stacks.items():
            demand(stack.meter.in_flight == 0, f"{name}: {stack.meter.in_flight} still in flight")
            demand(stack.limits._taken == 0, f"{name}: {stack.limits._taken} slots leaked")
            demand(stack.breaker._outage.probe is None, f"{name}: a probe's place leaked")
        for name, health in world.providers.items():
            demand(health.outage.probe is None, f"provider {name}: a probe's place leaked")
        for account in [*world.routes, *world.direct.values()]:
            dispatch = account.inner
            assert isinstance(dispatch, Dispatch)
            demand(dispatch.choice._waiting == 0, "a place among those who wait leaked")
        for exchange in world.transport.exchanges:
            demand(not exchange.is_live, f"exchange {exchange.number} was left {exchange.state}")
        timers = world.loop.pending()
        demand(not timers, f"timers are left: {timers}")
        tasks = [task for task in asyncio.all_tasks(world.loop) if not task.done()]
        demand(not tasks, f"tasks are left: {tasks}")
        for call in self.calls.values():
            purse = call.trail.purse
            demand(purse is None or purse._held == 0, f"{call.id}: money is still held: {purse!r}")

    def _each_probe_failed_once(self) -> None:
        again = Counter(change.who for _, change in self.world.changes if change.again)
        for name, door in self.doors.items():
            self.demand(
                again[name] <= door.probes, f"{name}: {again[name]} times by {door.probes} probes"
            )

    def _each_reply_closed_once(self) -> None:
        for reply, told in self.replies:
            where = reply.deployment.name
            self.demand(len(told) == 1, f"a reply of {where} was closed {len(told)} times")
            self.demand(bool(told) and told[0] is reply.outcome, f"{where}: two outcomes of one")

    def _one_entry_for_each_call(self) -> None:
        world = self.world
        entries = Counter(entry.request_id for entry in world.entries)
        for name in self.calls:
            self.demand(entries[name] == 1, f"{name} has {entries[name]} ledger entries")
        self.demand(len(entries) == len(self.calls), "an entry belongs to no call")
        sent = Counter(exchange.call for exchange in world.transport.exchanges)
        for entry in world.entries:
            name, made = entry.request_id, len(entry.attempts)
            most = self.most_attempts[name]
            self.demand(made <= most, f"{name}: {made} attempts where {most} are allowed")
            self.demand(sent[name] <= made, f"{name}: {sent[name]} sent and {made} in the ledger")
            hedges = sum(attempt.hedge for attempt in entry.attempts)
            self.demand(hedges <= 1, f"{name}: {hedges} hedges")
            call = self.calls[name]
            limit, cost = call.options.max_cost_nano, entry.cost_nano
            self.demand(
                limit is None or cost is None or cost <= limit, f"{name}: cost {cost} of {limit}"
            )
            world.note(f"outcome {entry.outcome}")
            world.note(f"status {entry.status}")
            if made - hedges > 1:
                world.note("retry")
            for attempt in entry.attempts:
                world.note(f"attempt {attempt.outcome}")
                if attempt.hedge:
                    world.note(f"hedge {attempt.outcome}")

    def _retries_within_budget(self) -> None:
        """In nine tenths of any `ttl_s` (there are ten slots) what was retried is paid for."""
        if self.world.loop.jumped_s:
            return  # What was paid for before a jump may be sent long after it.
        budget = self.world.settings.retry
        span_s = budget.ttl_s * 0.9
        asked = sorted(call.started for call in self.calls.values())
        retried: list[float] = []
        for entry in self.world.entries:
            call = self.calls[entry.request_id]
            if any(attempt.hedge for attempt in entry.attempts):
                continue  # What follows a race is paid for as what failed last.
            own = sorted(entry.attempts, key=lambda attempt: attempt.started_s)
            for before, attempt in itertools.pairwise(own):
                kind = before.outcome
                # What was waited for was paid for at some moment in between.
                at_once = attempt.started_s - before.started_s - before.seconds < 0.001
                if at_once and kind in KINDS and KINDS[kind].retry_cost > 0:  # type: ignore[index]
                    retried.append(call.started + attempt.started_s)
        for last in retried:
            since = last - span_s
            made = sum(since < at <= last for at in retried)
            paid = sum(last - 2 * budget.ttl_s <= at <= last for at in asked) * budget.ratio
            most = paid + budget.floor_per_s * budget.ttl_s
            self.demand(made <= most + 1e-6, f"{made} retries in {span_s} s, paid for {most:.2f}")


def is_content_of_one(marks: list[tuple[int, int]]) -> bool:
    """Is it one exchange's content from its first piece on, none missing, none twice?"""
    return [place for _, place in marks] == list(range(len(marks))) and (
        len({exchange for exchange, _ in marks}) <= 1
    )
