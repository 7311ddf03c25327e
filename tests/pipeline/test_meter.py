"""What is measured of a deployment is right for the size of input that is asked for."""

from __future__ import annotations

import random

import pytest

from pointsman.config.settings import BreakerSettings
from pointsman.domain.reply import ChatReply
from pointsman.domain.usage import Usage
from pointsman.errors import ProviderFailure
from pointsman.pipeline.build import DeploymentStack, deployment_stack
from pointsman.pipeline.call import Call
from pointsman.pipeline.quantiles import FEWEST, KEPT, RecentQuantiles
from pointsman.pipeline.service import Reply
from pointsman.pipeline.speed import STALE_S, PeakEwma, Speed
from pointsman.routing.estimate import SIZE_FACTORS
from pointsman.routing.signals import SIZES, LoadReport, size_of
from pointsman.testing.clock import FakeClock
from pointsman.testing.services import make_call, make_deployment


class Timed:
    """Answers at once, and says that its first content took `ttft_s`."""

    def __init__(self, clock: FakeClock, ttft_s: float = 0.4) -> None:
        self.clock = clock
        self.ttft_s: float | None = ttft_s
        self.failure: ProviderFailure | None = None

    async def __call__(self, call: Call) -> Reply:
        if self.failure is not None:
            raise self.failure
        return Reply(
            make_deployment(),
            self.clock,
            self.clock.now(),
            wire=None,
            chat=ChatReply("c", "m", ()),
            usage=Usage(call.expected_tokens[0], 11),
            ttft_s=self.ttft_s,
        )


def stack_of(service: Timed, clock: FakeClock) -> DeploymentStack:
    return deployment_stack(service, make_deployment(), clock, BreakerSettings(), random.Random(1))


async def ask(stack: DeploymentStack, clock: FakeClock, tokens: int, seconds: float) -> None:
    reply = await stack.service(make_call(clock, expected_tokens=(tokens, 10)))
    clock.advance(seconds)
    reply.close()


def test_sizes_are_steps_of_four() -> None:
    assert [size_of(n) for n in (0, 256, 257, 1024, 4096, 16_384, 65_536, 65_537, 10**9)] == [
        0, 0, 1, 1, 2, 3, 4, 5, 5,
    ]  # fmt: skip
    assert len(SIZE_FACTORS) == len(SIZES) + 1


async def test_long_prompts_do_not_make_a_host_look_slow(clock: FakeClock) -> None:
    service = Timed(clock)
    stack = stack_of(service, clock)
    for _ in range(10):
        service.ttft_s = 0.4
        await ask(stack, clock, 200, 0.9)
        service.ttft_s = 9.0
        await ask(stack, clock, 50_000, 9.5)
    assert stack.state(size=0).ttft_s == pytest.approx(0.4)
    assert stack.state(size=4).ttft_s == pytest.approx(9.0)
    # Time per token is not: ten tokens after the first in half a second each time.
    assert stack.state(size=0).per_token_s == pytest.approx(0.05)
    assert stack.state(size=0).samples == 20


def test_a_size_without_samples_is_answered_from_its_neighbours() -> None:
    speed = Speed()
    assert speed.first_content_s(2, 5.0) is None
    speed.learn_stream(0, 0.5, 1.0, 10, 5.0)
    alone = speed.first_content_s(3, 5.0)
    assert alone == pytest.approx(0.5 * SIZE_FACTORS[3] / SIZE_FACTORS[0])
    speed.learn_stream(5, 3.0, 4.0, 10, 5.0)
    between = speed.first_content_s(3, 5.0)
    assert between is not None and alone is not None
    assert between == pytest.approx((alone * 3.0 * SIZE_FACTORS[3] / SIZE_FACTORS[5]) ** 0.5)
    assert speed.first_content_s(0, 5.0) == 0.5
    estimates = [speed.first_content_s(size, 5.0) or 0.0 for size in range(6)]
    assert estimates == sorted(estimates)


def test_each_size_is_forgotten_by_itself() -> None:
    speed = Speed()
    speed.learn_stream(0, 0.5, 1.0, 10, 0.0)
    speed.learn_stream(1, 9.0, 9.5, 10, STALE_S - 1)
    assert speed.first_content_s(0, STALE_S) == 0.5
    assert speed.stale_at(STALE_S - 1) == STALE_S
    assert speed.first_content_s(0, STALE_S + 1) == 9.0  # From its neighbour.
    # What comes after that is not averaged with it.
    speed.learn_stream(0, 0.1, 1.0, 10, STALE_S + 2)
    assert speed.first_content_s(0, STALE_S + 2) == 0.1


def test_a_whole_answer_scales_what_is_known() -> None:
    speed = Speed()
    speed.learn_whole(4, 10.0, 100, 0.0)
    first, each = speed.first_content_s(4, 0.0), speed.per_token_s(0.0)
    assert first is not None and each is not None
    assert first + 100 * each == pytest.approx(10.0)
    assert first / each == pytest.approx(SIZE_FACTORS[4] / 0.02)


def test_a_peak_is_believed_at_once_and_wears_off_within_tau() -> None:
    average = PeakEwma(tau=10.0)
    average.observe(1.0, 0.0)
    average.observe(5.0, 1.0)
    assert average.value == 5.0
    average.observe(1.0, 11.0)
    assert average.value == pytest.approx(1 + 4 / 2.718281828, abs=0.01)


async def test_the_state_is_kept_for_each_size_and_read_anew_when_something_changed(
    clock: FakeClock,
) -> None:
    service = Timed(clock)
    stack = stack_of(service, clock)
    await ask(stack, clock, 200, 1.0)
    small, large = stack.state(size=0), stack.state(size=4)
    assert large.ttft_s == pytest.approx(0.4 * SIZE_FACTORS[4])
    assert stack.state(size=0) is small
    assert stack.state(size=4) is large
    stack.told(LoadReport(1, 1, 0.5, clock.now()))
    assert stack.state(size=0).waiting == 1
    clock.advance(11)
    assert stack.state(size=0).waiting == 0
    clock.advance(STALE_S)
    assert stack.state(size=0).ttft_s is None


async def test_a_penalty_wears_off_and_is_forgotten(clock: FakeClock) -> None:
    service = Timed(clock)
    stack = stack_of(service, clock)
    service.failure = ProviderFailure("unavailable", "x")
    with pytest.raises(ProviderFailure):
        await stack.service(make_call(clock))
    assert stack.state().penalty_s == 5.0
    clock.advance(10)
    assert stack.state().penalty_s == pytest.approx(5 / 2.718281828, abs=0.01)
    clock.advance(51)
    assert stack.state().penalty_s == 0.0
    assert stack.state() is stack.state()


async def test_quantiles_are_those_of_recent_streams_of_the_size(clock: FakeClock) -> None:
    service = Timed(clock)
    stack = stack_of(service, clock)
    for number in range(FEWEST):
        assert stack.first_content_quantile(0.5, 100) is None
        service.ttft_s = 0.1 * (number + 1)
        await ask(stack, clock, 200, 2.5)
    assert stack.first_content_quantile(0.5, 100) == pytest.approx(1.1)
    assert stack.first_content_quantile(0.95, 100) == pytest.approx(2.0)
    assert stack.first_content_quantile(0.95, 5000) is None
    service.ttft_s = None  # Whole answers tell nothing of it.
    for _ in range(FEWEST):
        await ask(stack, clock, 5000, 2.5)
    assert stack.first_content_quantile(0.95, 5000) is None
    clock.advance(STALE_S + 1)
    assert stack.first_content_quantile(0.5, 100) is None


def test_quantiles_of_many_samples_agree_with_sorting_them() -> None:
    rng = random.Random(4)
    recent = RecentQuantiles(100.0)
    samples: list[float] = []
    for second in range(1000):
        samples.append(rng.choice([0.5, rng.random()]))
        recent.add(samples[-1], second / 100)
    last = sorted(samples[-KEPT:])
    assert len(recent) == KEPT
    for q in (0.0, 0.5, 0.95, 1.0):
        assert recent.at(q, 10.0) == last[min(KEPT - 1, int(q * KEPT))]


async def test_the_share_of_successes_is_the_breakers(clock: FakeClock) -> None:
    service = Timed(clock)
    stack = stack_of(service, clock)
    assert stack.success_ratio() == 1.0
    for number in range(4):
        service.failure = ProviderFailure("unavailable", "x") if number == 1 else None
        if service.failure is None:
            await ask(stack, clock, 10, 0.1)
        else:
            with pytest.raises(ProviderFailure):
                await stack.service(make_call(clock))
    assert stack.success_ratio(clock.now()) == 0.75
