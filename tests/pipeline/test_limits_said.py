"""Limits keep to what the provider said is left, and to what was learnt, without a 429."""

from __future__ import annotations

import asyncio

import pytest

from pointsman.clock import Clock
from pointsman.config.settings import BreakerSettings
from pointsman.domain.deployment import Limits as Declared
from pointsman.domain.granted import Allowance, Granted
from pointsman.errors import ProviderFailure, Rejected
from pointsman.pipeline.adaptive import Gradient, Signalled
from pointsman.pipeline.build import DeploymentStack, deployment_stack
from pointsman.pipeline.call import Call
from pointsman.pipeline.last_word import LONGEST_S, LastWord
from pointsman.pipeline.limits import Limits
from pointsman.pipeline.service import Reply
from pointsman.routing.signals import LoadReport
from pointsman.testing.clock import FakeClock, settle
from pointsman.testing.services import ScriptedService, make_call, make_deployment


class Provider(ScriptedService):
    """Says `says` with every answer, before the next step of the script."""

    says: Granted | None = None

    async def __call__(self, call: Call) -> Reply:
        try:
            reply = await super().__call__(call)
        except ProviderFailure as failure:
            failure.granted = self.says
            raise
        reply.granted = self.says
        return reply


class Half:
    def random(self) -> float:
        return 0.5


def stack_of(provider: Provider, clock: Clock, **changes: object) -> DeploymentStack:
    deployment = make_deployment("d0", **changes)
    return deployment_stack(provider, deployment, clock, BreakerSettings(), Half())


async def test_of_three_that_remain_the_fourth_goes_elsewhere(clock: FakeClock) -> None:
    provider = Provider(clock, ["ok", 5, 5, 5])
    stack = stack_of(provider, clock)
    provider.says = Granted(Allowance(limit=10, remaining=3, reset_s=20.0))
    (await stack.service(make_call(clock))).close()
    assert stack.state().headroom == pytest.approx(0.3)
    under_way = [asyncio.create_task(stack.service(make_call(clock))) for _ in range(3)]
    await settle()
    state = stack.state()
    assert (state.headroom, state.free_in_s) == (0.0, 20.0)
    with pytest.raises(
        Rejected, match=r"too few requests are left; free again in 20\.0 s"
    ) as caught:
        await stack.service(make_call(clock))
    assert (caught.value.code, caught.value.retry_after_s) == ("deployment_busy", 20.0)
    assert len(provider.calls) == 4
    provider.says = None
    await clock.run_for(6)
    for task in under_way:
        (await task).close()
    clock.advance(14.1)
    assert stack.state().headroom == 1.0
    (await stack.service(make_call(clock))).close()


async def test_what_refills_evenly_is_there_again_bit_by_bit(clock: FakeClock) -> None:
    provider = Provider(clock)
    stack = stack_of(provider, clock)
    provider.says = Granted(Allowance(limit=60, remaining=0, reset_s=30.0, evenly=True))
    (await stack.service(make_call(clock))).close()
    assert stack.state().free_in_s == pytest.approx(0.5)
    clock.advance(0.6)
    assert stack.state().headroom == pytest.approx(1.2 / 60)
    (await stack.service(make_call(clock))).close()


async def test_a_prompt_larger_than_the_tokens_left_is_not_sent(clock: FakeClock) -> None:
    provider = Provider(clock)
    stack = stack_of(provider, clock)
    provider.says = Granted(tokens=Allowance(limit=10_000, remaining=99, reset_s=9.0))
    (await stack.service(make_call(clock))).close()
    with pytest.raises(Rejected, match="too few tokens"):
        await stack.service(make_call(clock))  # 100 tokens in
    (await stack.service(make_call(clock, expected_tokens=(40, 500)))).close()


ABSURD = [
    Allowance(limit=0, remaining=0, reset_s=50.0),
    Allowance(limit=10, remaining=0, reset_s=0.0),
    Allowance(limit=10, remaining=None, reset_s=50.0),
]


@pytest.mark.parametrize("allowance", ABSURD)
async def test_an_absurd_word_keeps_nobody_out(clock: FakeClock, allowance: Allowance) -> None:
    provider = Provider(clock)
    stack = stack_of(provider, clock)
    provider.says = Granted(allowance, allowance)
    for _ in range(3):
        (await stack.service(make_call(clock))).close()
    assert stack.state().headroom == 1.0


@pytest.mark.parametrize("reset_s", [61.0, 3600.0, 86_400.0, None])
async def test_no_word_keeps_it_out_for_longer_than_a_minute(
    clock: FakeClock, reset_s: float | None
) -> None:
    provider = Provider(clock)
    stack = stack_of(provider, clock)
    provider.says = Granted(Allowance(limit=1000, remaining=0, reset_s=reset_s))
    (await stack.service(make_call(clock))).close()
    assert stack.state().headroom == 0.0
    assert 0 < stack.state().free_in_s <= LONGEST_S
    clock.advance(60)
    assert stack.state().headroom == 1.0


async def test_the_word_of_a_failure_counts_too(clock: FakeClock) -> None:
    provider = Provider(clock, [ProviderFailure("unavailable", "x")])
    stack = stack_of(provider, clock)
    provider.says = Granted(Allowance(limit=100, remaining=20, reset_s=9.0))
    with pytest.raises(ProviderFailure):
        await stack.service(make_call(clock))
    assert stack.state().headroom == pytest.approx(0.2)


async def test_the_tightest_of_declared_and_said_holds(clock: FakeClock) -> None:
    provider = Provider(clock)
    stack = stack_of(provider, clock, limits=Declared(requests_per_minute=10))
    provider.says = Granted(Allowance(limit=100, remaining=50, reset_s=60.0))
    (await stack.service(make_call(clock))).close()
    assert stack.state().headroom == pytest.approx(0.5)
    provider.says = Granted(Allowance(limit=100, remaining=99, reset_s=60.0))
    (await stack.service(make_call(clock))).close()
    assert stack.state().headroom == pytest.approx(0.8)


def test_a_last_word_counts_down_with_what_is_sent() -> None:
    word = LastWord()
    assert (word.share(5.0), word.wait_s(1, 5.0)) == (1.0, 0.0)
    word.hear(Allowance(limit=100, remaining=40, reset_s=10.0), 5.0)
    word.sent = 39.5
    assert word.share(6.0) == 0.0
    assert word.wait_s(1, 6.0) == 9.0
    word.hear(Allowance(limit=100, remaining=200, reset_s=10.0, evenly=True), 7.0)
    assert word.share(8.0) == 1.0
    assert word.left(17.0) == float("inf")


async def bounded(clock: FakeClock, kind: str, **more: object) -> Limits:
    """A guard that has had eight attempts under way and then was told that it was too many."""
    failure = ProviderFailure(kind, "too many", **more)  # type: ignore[arg-type]
    provider = Provider(clock, [*[[b"a", None] for _ in range(7)], failure])
    guard = Limits(provider, clock, make_deployment(), Signalled())
    replies = [await guard(make_call(clock, stream=True)) for _ in range(7)]
    with pytest.raises(ProviderFailure):
        await guard(make_call(clock, stream=True))
    assert len(replies) == 7
    return guard


@pytest.mark.parametrize("kind", ["throttled", "overloaded"])
async def test_after_too_many_no_more_than_it_bears_are_sent(clock: FakeClock, kind: str) -> None:
    guard = await bounded(clock, kind)
    assert guard.adaptive.bound == pytest.approx(0.7 * 8)
    assert guard.headroom == 0.0
    with pytest.raises(Rejected, match="bears 5 attempts at once just now") as caught:
        await guard(make_call(clock))
    assert (caught.value.code, caught.value.retry_after_s) == ("deployment_busy", None)


async def test_a_used_up_minute_or_quota_does_not_bound_attempts_at_once(clock: FakeClock) -> None:
    assert (await bounded(clock, "throttled", cause="quota")).adaptive.bound == float("inf")
    assert (await bounded(clock, "unavailable")).adaptive.bound == float("inf")
    provider = Provider(clock, [ProviderFailure("throttled", "x")])
    provider.says = Granted(tokens=Allowance(limit=100, remaining=0, reset_s=1.0))
    guard = Limits(provider, clock, make_deployment(), Signalled())
    with pytest.raises(ProviderFailure):
        await guard(make_call(clock))
    assert guard.adaptive.bound == float("inf")


async def test_who_is_told_not_to_learn_does_not(clock: FakeClock) -> None:
    failures = [ProviderFailure("overloaded", "x") for _ in range(3)]
    stack = stack_of(Provider(clock, [*failures]), clock, adaptive=False)
    for _ in range(3):
        with pytest.raises(ProviderFailure):
            await stack.service(make_call(clock))
    assert stack.state().bears is None


async def test_a_local_server_tells_its_slots_and_who_waits(clock: FakeClock) -> None:
    provider = Provider(clock)
    stack = deployment_stack(
        provider, make_deployment(), clock, BreakerSettings(), Half(), is_local=True
    )
    assert isinstance(stack.limits.adaptive, Gradient)
    assert stack.state().bears == 20
    stack.told(LoadReport(running=3, waiting=2, memory_used=0.75, at=clock.now(), slots=48))
    state = stack.state()
    assert (state.waiting, state.memory_used, state.bears) == (2, 0.75, 48)
    clock.advance(10.1)
    state = stack.state()
    assert (state.waiting, state.memory_used) == (0, 0.0)


async def test_slots_come_back_however_a_call_ends(clock: FakeClock) -> None:
    provider = Provider(clock, [[b"a", None], ProviderFailure("timeout", "x"), "ok", 9])
    guard = Limits(provider, clock, make_deployment(limits=Declared(max_in_flight=9)), Signalled())
    reply = await guard(make_call(clock, stream=True))
    with pytest.raises(ProviderFailure):
        await guard(make_call(clock))
    (await guard(make_call(clock))).close()
    task = asyncio.create_task(guard(make_call(clock)))
    await settle()
    assert guard.headroom == pytest.approx(7 / 9)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    reply.close()
    assert guard.headroom == 1.0
