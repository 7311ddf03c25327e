"""What a local server says of its load is in its deployment's state, for as long as it holds."""

from __future__ import annotations

from random import Random

from pointsman.config.settings import BreakerSettings
from pointsman.domain.deployment import Deployment
from pointsman.pipeline.build import DeploymentStack, deployment_stack
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply
from pointsman.routing.signals import REPORT_S, LoadReport
from pointsman.testing import FakeClock


async def nobody(call: Call) -> Reply:
    raise AssertionError("nobody is called here")


def stack_of(clock: FakeClock) -> DeploymentStack:
    deployment = Deployment("d", "house", "m", "local", "openai", None)
    return deployment_stack(nobody, deployment, clock, BreakerSettings(), Random(0), is_local=True)


def report(clock: FakeClock, **said: float) -> LoadReport:
    return LoadReport(**{"running": 1, "waiting": 0, "memory_used": 0.0, "at": clock.now(), **said})  # type: ignore[arg-type]


def test_what_was_told_holds_for_a_while() -> None:
    clock = FakeClock()
    stack = stack_of(clock)
    assert stack.state().waiting == 0
    stack.told(report(clock, waiting=7, memory_used=0.5, cold_s=4.0))
    state = stack.state()
    assert (state.waiting, state.memory_used, state.cold_s, state.headroom) == (7, 0.5, 4.0, 1.0)
    clock.advance(REPORT_S - 0.1)
    assert stack.state().waiting == 7
    clock.advance(0.2)
    state = stack.state()
    assert (state.waiting, state.memory_used, state.cold_s) == (0, 0.0, 0.0)


def test_a_cache_that_is_nearly_full_leaves_little_headroom_and_refuses_nobody() -> None:
    clock = FakeClock()
    stack = stack_of(clock)
    for used, headroom in ((0.95, 1.0), (0.96, 0.04), (0.995, 0.01), (1.0, 0.01)):
        stack.told(report(clock, memory_used=used))
        assert abs(stack.state().headroom - headroom) < 1e-9
    clock.advance(REPORT_S + 1)
    assert stack.state().headroom == 1.0
