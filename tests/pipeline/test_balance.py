"""Traffic goes to who is well, in proportion to how well: the real layers, a made-up world.

`World` sends requests at a steady rate through `decide` and the deployment stacks, on a clock
that is moved by hand; each host says how an attempt ends and how long it takes. First choices
are counted, since fallbacks would hide who is believed to be good."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from pointsman.config.settings import BreakerSettings
from pointsman.domain.content import Text
from pointsman.domain.reply import ChatReply
from pointsman.domain.usage import Usage
from pointsman.errors import FailureKind, ProviderFailure, Rejected
from pointsman.pipeline.build import DeploymentStack, deployment_stack
from pointsman.pipeline.call import Call
from pointsman.pipeline.service import Reply
from pointsman.routing.policy import compile_policy, decide
from pointsman.routing.signals import DeploymentState, LoadReport, RequestFeatures, size_of
from pointsman.routing.spec import PolicySpec
from pointsman.testing.clock import FakeClock
from pointsman.testing.services import make_call, make_deployment

pytestmark = pytest.mark.slow

Acts = Callable[[float, random.Random], float | FailureKind]
"""What a host does at a moment (seconds since the start): seconds it takes, or how it fails."""


def takes(seconds: float) -> Acts:
    return lambda now, rng: seconds * (0.8 + 0.4 * rng.random())


def fails(share: float, seconds: float, kind: FailureKind = "unavailable") -> Acts:
    """A fast failure in this share of cases."""
    return lambda now, rng: kind if rng.random() < share else seconds


@dataclass
class Host:
    """An upstream: answers at once for the event loop; the world closes the reply when it ends."""

    name: str
    acts: Acts
    world: World

    async def __call__(self, call: Call) -> Reply:
        world = self.world
        act = self.acts(world.clock.now() - world.began, world.rng)
        if isinstance(act, str):
            raise ProviderFailure(act, "fails", maybe_billed=False)
        reply = Reply(
            world.stacks[self.name].deployment,
            world.clock,
            world.clock.now(),
            wire=None,
            chat=ChatReply("c", "m", (Text("x"),)),
            usage=Usage(call.expected_tokens[0], 10),
            ttft_s=act / 2,
        )
        world.ending.append((world.clock.now() + act, reply))
        return reply


@dataclass
class World:
    hosts: dict[str, Acts]
    strategy: str = "load"
    seed: int = 1
    clock: FakeClock = field(default_factory=FakeClock)
    stands_still: bool = False
    ending: list[tuple[float, Reply]] = field(default_factory=list)
    stacks: dict[str, DeploymentStack] = field(default_factory=dict)
    chosen: list[tuple[float, str]] = field(default_factory=list)
    attempts: int = 0
    failed: int = 0
    requests: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.began = self.clock.now()
        self.deployments = tuple(make_deployment(name) for name in self.hosts)
        for each in self.deployments:
            host = Host(each.name, self.hosts[each.name], self)
            self.stacks[each.name] = deployment_stack(
                host, each, self.clock, BreakerSettings(), self.rng
            )
        self.policy = compile_policy(PolicySpec(self.strategy, explore=0.0), self.deployments)

    async def run(self, seconds: float, per_s: float, tokens: int = 100) -> World:
        for _ in range(int(seconds * per_s)):
            if not self.stands_still:
                self.clock.advance(1 / per_s)
            await self.ask(tokens)
        return self

    async def ask(self, tokens: int) -> None:
        now = self.clock.now()
        due = [each for each in self.ending if each[0] <= now or self.stands_still]
        for each in due:
            self.ending.remove(each)
            each[1].close()
        features = RequestFeatures(tokens, 10, 100, frozenset({"chat"}))
        size = size_of(tokens)
        states = {name: stack.state(now, size) for name, stack in self.stacks.items()}
        decision = decide(self.policy, "r", features, self.deployments, states, self.rng)
        self.requests += 1
        assert decision.candidates or decision.rejected
        if decision.candidates:
            self.chosen.append((now - self.began, decision.candidates[0].deployment.name))
        for candidate in decision.candidates:
            try:
                await self.stacks[candidate.deployment.name].service(
                    make_call(self.clock, expected_tokens=(tokens, 10))
                )
            except ProviderFailure:
                self.attempts += 1
            except Rejected:
                pass
            else:
                self.attempts += 1
                return
        self.failed += 1

    def share(self, name: str, start: float = 0.0, end: float = float("inf")) -> float:
        """The share of first choices in [start, end) seconds."""
        names = Counter(each for at, each in self.chosen if start <= at < end)
        return names[name] / max(1, names.total())


BALANCED = ["load", "latency"]


@pytest.mark.parametrize("strategy", BALANCED)
async def test_who_is_slow_but_well_gets_less_and_not_nothing(strategy: str) -> None:
    hosts = {"a": takes(0.5), "b": takes(0.5), "slow": takes(2.5)}
    world = await World(hosts, strategy).run(60, 30)
    assert 0.01 < world.share("slow", 10) < 0.15
    assert world.share("a", 10) == pytest.approx(world.share("b", 10), abs=0.1)
    assert world.failed == 0


@pytest.mark.parametrize("strategy", BALANCED)
async def test_who_is_as_fast_but_idle_gets_more(strategy: str) -> None:
    """Another gateway's requests wait at `busy`, by its own report."""
    world = World({"busy": takes(0.5), "idle": takes(0.5)}, strategy)
    for _ in range(60):
        world.stacks["busy"].told(LoadReport(8, 6, 0.9, world.clock.now()))
        await world.run(1, 20)
    assert world.share("idle", 5) > 0.7


@pytest.mark.parametrize("strategy", [*BALANCED, "tiers", "hybrid"])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.18])
async def test_failing_fast_never_attracts_traffic(strategy: str, share: float) -> None:
    """Mostly too rare for its breaker; what it does answer comes sooner than from the others."""
    hosts = {"fast-500": fails(share, 0.3), "b": takes(0.5), "c": takes(0.5)}
    world = await World(hosts, strategy).run(90, 30)
    assert world.share("fast-500", 10) < 1 / 3
    assert world.failed == 0


@pytest.mark.parametrize("strategy", [*BALANCED, "tiers", "random"])
async def test_after_a_step_outage_the_others_take_over(strategy: str) -> None:
    hosts: dict[str, Acts] = {
        "dead": lambda now, rng: "unavailable" if 20 <= now < 80 else 0.5,
        "b": takes(0.5),
        "c": takes(0.5),
    }
    world = await World(hosts, strategy).run(200, 30)
    assert world.failed == 0
    assert world.share("dead", 25, 80) < 0.02
    assert world.attempts < 1.02 * world.requests
    # While it ramps, no more than 1.3 of a fair part (of which tiers knows none).
    parts = [world.share("dead", second, second + 10) for second in range(80, 150)]
    assert max(parts) < 1.3 / 3 or strategy == "tiers"
    # Back in the end (60 s of backoff at most, 30 s of ramp), with about a fair part.
    assert world.share("dead", 180) > 0.2


@pytest.mark.parametrize("strategy", BALANCED)
async def test_who_fails_half_of_the_time_is_hardly_asked(strategy: str) -> None:
    hosts = {"flapping": fails(0.5, 0.1), "b": takes(0.5), "c": takes(0.5)}
    world = await World(hosts, strategy).run(120, 30)
    assert world.failed == 0
    assert world.share("flapping", 5) < 0.05
    assert world.attempts < 1.05 * world.requests


@pytest.mark.parametrize("strategy", [*BALANCED, "weighted", "sticky"])
async def test_with_one_of_two_dead_the_other_answers_everything(strategy: str) -> None:
    world = await World({"dead": fails(1.0, 0.0), "well": takes(0.4)}, strategy).run(60, 20)
    assert world.failed == 0
    assert world.share("well", 5) > 0.97


@pytest.mark.parametrize("strategy", [*BALANCED, "tiers", "hybrid", "random"])
async def test_a_clock_that_stands_still_stops_nothing(strategy: str) -> None:
    hosts = {"a": takes(0.5), "failing": fails(0.3, 0.1), "too many": fails(0.2, 0.1, "overloaded")}
    world = await World(hosts, strategy, stands_still=True).run(30, 20)
    assert world.failed == 0
    assert world.share("a") > 0.3


@pytest.mark.parametrize("strategy", BALANCED)
async def test_long_prompts_on_one_host_do_not_drive_short_ones_away(strategy: str) -> None:
    """Both hosts need as long; `a` has had all the long prompts so far."""
    world = World({"a": takes(0.5), "b": takes(0.5)}, strategy)
    await world.run(20, 20)
    call = make_call(world.clock, expected_tokens=(60_000, 10))
    for _ in range(30):
        reply = await world.stacks["a"].service(call)
        world.ending = [each for each in world.ending if each[1] is not reply]
        reply.ttft_s = 8.0
        world.clock.advance(0.1)
        reply.close()
    before = len(world.chosen)
    await world.run(30, 20)
    names = Counter(name for _, name in world.chosen[before:])
    assert names["a"] / names.total() > 0.35


@pytest.mark.parametrize("strategy", ["load", "weighted", "round_robin"])
@pytest.mark.parametrize("after_s", [0.0, 10.0, 25.0])
async def test_who_is_back_gets_its_share_of_an_even_part(strategy: str, after_s: float) -> None:
    """24,000 draws at one moment of the ramp, with its real breaker's share."""
    world = World({"back": fails(1.0, 0.0), "b": takes(0.5), "c": takes(0.5)}, strategy)
    stack = world.stacks["back"]
    for _ in range(5):
        with pytest.raises(ProviderFailure):
            await stack.service(make_call(world.clock))
    world.clock.advance(70)
    stack.breaker.inner = Host("back", takes(0.5), world)
    (await stack.service(make_call(world.clock))).close()
    assert stack.breaker.state == "ramping"
    world.clock.advance(after_s)
    share = 0.1 + 0.9 * after_s / 30
    states = {name: each.state() for name, each in world.stacks.items()}
    # Speeds as if all were alike: only the share is asked for here.
    even = {name: _even(state) for name, state in states.items()}
    features = RequestFeatures(100, 10, 100, frozenset({"chat"}))
    rng = random.Random(9)
    got = 0
    rounds = 24_000
    for turn in range(rounds):
        decision = decide(world.policy, "r", features, world.deployments, even, rng, turn)
        got += decision.candidates[0].deployment.name == "back"
    assert got / rounds == pytest.approx(share / 3, rel=0.05, abs=0.003)


def _even(state: DeploymentState) -> DeploymentState:
    return replace(state, ttft_s=0.2, per_token_s=0.01, samples=9, penalty_s=0.0)
