"""One sequence of events: a drawn world, what happens in it, and then everybody is well again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from .clients import Client, Crowd
from .laws import Laws, Violation
from .loop import START, Stuck
from .world import World, make_world

LEAST_WAIT_S = 0.25
LONGEST_TOLD_S = 60.0
"""A minute's grant, and the longest Retry-After that is ever drawn, rounded up."""

Break = Callable[[World], None]
"""Builds a fault of ours into a world, to see whether the laws notice."""


def run_sequence(
    seed: int, say: Callable[[str], None] | None = None, break_it: Break | None = None
) -> Counter[str]:
    """Run one; return what occurred how often. Raises Violation."""
    world = make_world(seed, None if say is None else lambda what: say(f"{_at(world)} {what}"))
    laws = Laws(world)
    if break_it is not None:
        break_it(world)
    try:
        _story(world, laws)
        _recovery(world, laws)
        laws.close()
    except Stuck as stuck:
        raise Violation(str(stuck)) from stuck
    finally:
        steps = world.loop.steps
        world.loop.abandon()
    for _, change in world.changes:
        who = "provider" if change.who.startswith("provider:") else "breaker"
        world.note(f"{who} {change.cause}")
    world.note("sequence")
    return Counter(world.seen) + Counter(steps=steps, calls=len(laws.calls))


def _at(world: World) -> str:
    return f"{world.loop.now() - START:8.3f}"


def _story(world: World, laws: Laws) -> None:
    loop = world.loop

    def turn(name: str, mood: str) -> None:
        world.moods[name] = mood  # type: ignore[assignment]
        if world.say is not None:
            world.say(f"{name} is {mood} now")

    def jump(seconds: float) -> None:
        world.note("jump")
        if world.say is not None:
            world.say(f"the process stands still for {seconds} s")
        loop.jump(seconds)

    if world.say is not None:
        for name, stack in world.stacks.items():
            world.say(f"{name} at {stack.deployment.provider} is {world.moods[name]}")
        world.say(f"{world.settings.breaker} {world.settings.retry}")
        for spec in world.specs:
            world.say(f"{spec}")
    ours = [loop.call_later(at_s, turn, name, mood) for at_s, name, mood in world.turns]
    ours += [loop.call_later(at_s, jump, seconds) for at_s, seconds in world.jumps]
    crowd = Crowd(laws)
    loop.run_until(lambda: crowd.waiting == 0 and loop.is_idle(), laws.look)
    for timer in ours:  # What would happen when nobody is there any more.
        timer.cancel()
    laws.demand(not loop.pending(), f"timers are left: {loop.pending()}")


def _recovery(world: World, laws: Laws) -> None:
    """Everybody is well: each deployment must be found so in bounded time."""
    world.is_healed = True
    if world.say is not None:
        world.say("all providers are well")
    task = world.loop.create_task(_probe_all(world, laws))
    world.loop.run_until(lambda: task.done() and world.loop.is_idle(), laws.look)
    task.result()


async def _probe_all(world: World, laws: Laws) -> None:
    loop, breaker = world.loop, world.settings.breaker
    times = world.settings.timeouts
    longest = max(breaker.max_s, breaker.quota_s, breaker.retry_after_max_s, LONGEST_TOLD_S)
    latest = loop.now() + 60.0 + longest + times.first_content_s
    left = list(world.stacks)
    tries = 0
    while left:
        if loop.now() > latest:
            raise Violation(f"{left} was not probed within {latest - START:.0f} s of the beginning")
        for name in list(left):
            tries += 1
            client = Client(laws, f"h{tries}", world.direct[name], 3)
            call = client.call(
                stream=tries % 2 == 0, wire="openai", timeout_s=600.0, timeouts=times
            )
            if await client.run(call) == "end":
                left.remove(name)
        waits = [
            max(stack.breaker.reopens_in_s, stack.limits.free_in_s(loop.now()))
            for stack in (world.stacks[name] for name in left)
        ]
        if waits:
            await loop.sleep(max(LEAST_WAIT_S, min(waits)))
    await loop.sleep(breaker.ramp_s + 0.001)
    for name, stack in world.stacks.items():
        state = (stack.breaker.state, stack.breaker.share)
        laws.demand(state == ("closed", 1.0), f"{name} is {state} long after it was well")
