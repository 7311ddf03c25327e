"""Local servers are asked for their load: when, how, and what comes of silence."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest

from pointsman.config.load import loads
from pointsman.config.settings import Settings
from pointsman.domain.deployment import Deployment
from pointsman.providers.local_load import COLD_S, LocalLoad
from pointsman.providers.transport import HttpRequest
from pointsman.routing.signals import LoadReport
from pointsman.testing import FakeClock, FakeTransport, Scripted
from pointsman.testing.scripted import Break, Forever

VLLM = b'vllm:num_requests_running{model_name="m"} 2\nvllm:num_requests_waiting{model_name="m"} 5\n'
LLAMACPP = b"llamacpp:requests_processing 1\nllamacpp:requests_deferred 3\n"


@dataclass
class Attempts:
    begun: int = 0
    in_flight: int = 0

    def fresh_report(self, now: float) -> LoadReport:
        return LoadReport(running=0, waiting=0, memory_used=0.0, at=float("-inf"))


@dataclass
class Stack:
    deployment: Deployment
    meter: Attempts = field(default_factory=Attempts)
    reports: list[LoadReport] = field(default_factory=list)

    def told(self, report: LoadReport) -> None:
        self.reports.append(report)


def settings_of(kind: str, *, more: str = "", models: tuple[str, ...] = ("m",)) -> Settings:
    deployments = ", ".join(f"{{provider: house, model: '{model}'}}" for model in models)
    text = f"""
providers: {{house: {{kind: {kind}, url: 'http://127.0.0.1:9/v1'{more}}}}}
deployments: [{deployments}]
"""
    return loads(text, "test", {"KEY": "secret-of-the-house-123"}, Path.cwd())


class House:
    """A server whose answers a test sets, watched over a clock that stands still."""

    def __init__(self, settings: Settings) -> None:
        self.clock = FakeClock()
        self.answer: Callable[[HttpRequest], Scripted] = lambda _: Scripted(chunks=(VLLM,))
        self.transport = FakeTransport(responder=lambda r: self.answer(r), clock=self.clock)
        self.load = LocalLoad(self.transport, self.clock)
        self.stacks = {each.name: Stack(each) for each in settings.deployments}
        self.load.follow(settings, self.stacks)

    @property
    def stack(self) -> Stack:
        return next(iter(self.stacks.values()))

    @property
    def asked(self) -> list[str]:
        return [each.path for each in self.transport.requests]


@pytest.fixture
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    made = House(settings_of(request.param))
    await made.load.start()
    yield made
    await made.load.close()
    assert not made.transport.unsettled


vllm = pytest.mark.parametrize("house", ["vllm"], indirect=True)
llamacpp = pytest.mark.parametrize("house", ["llamacpp"], indirect=True)
ollama = pytest.mark.parametrize("house", ["ollama"], indirect=True)


@vllm
async def test_with_traffic_the_load_is_asked_every_second_at_the_servers_root(
    house: House,
) -> None:
    house.stack.meter.in_flight = 1
    await house.clock.run_for(5.0)
    assert house.asked == ["/metrics"] * 5
    assert house.transport.requests[0].endpoint.base_url == "http://127.0.0.1:9"
    assert house.transport.requests[0].method == "GET"
    assert [report.at for report in house.stack.reports] == [1001.0, 1002.0, 1003.0, 1004.0, 1005.0]
    assert house.stack.reports[-1] == LoadReport(
        running=2, waiting=5, memory_used=0.0, at=house.clock.now()
    )


@vllm
async def test_without_traffic_it_is_asked_every_half_minute(house: House) -> None:
    await house.clock.run_for(61.0)
    assert len(house.asked) == 3  # after 1, 31 and 61 seconds


@vllm
async def test_a_minute_after_the_last_attempt_the_traffic_is_over(house: House) -> None:
    await house.clock.run_for(1.0)
    house.stack.meter.begun += 1  # came and went between two looks
    await house.clock.run_for(60.0)
    busy = len(house.asked)
    assert 58 <= busy <= 62
    await house.clock.run_for(60.0)
    assert len(house.asked) - busy <= 4


async def test_traffic_anywhere_counts_since_a_full_queue_keeps_it_away() -> None:
    text = """
providers: {house: {kind: vllm, url: 'http://127.0.0.1:9/v1'}}
deployments: [{provider: house, model: m}, {model: openai/gpt-4.1}]
"""
    house = House(loads(text, "test", {"OPENAI_API_KEY": "k" * 20}, Path.cwd()))
    await house.load.start()
    house.stacks["openai/gpt-4.1"].meter.in_flight = 1
    await house.clock.run_for(5.0)
    await house.load.close()
    assert len(house.asked) == 5


@llamacpp
async def test_llamacpp_started_without_metrics_is_asked_for_its_slots(house: House) -> None:
    def answer(request: HttpRequest) -> Scripted:
        if request.path == "/metrics":
            return Scripted(501, chunks=(b"{}",))
        return Scripted(chunks=(b'[{"is_processing":true},{"is_processing":false}]',))

    house.answer = answer
    house.stack.meter.in_flight = 1
    await house.clock.run_for(3.0)
    assert house.asked == ["/metrics", "/slots", "/slots", "/slots"]
    assert house.stack.reports[-1].running == 1
    assert house.stack.reports[-1].slots == 2
    assert house.load.failures == {}


@llamacpp
async def test_llamacpp_is_asked_once_how_much_it_works_on_at_once(house: House) -> None:
    def answer(request: HttpRequest) -> Scripted:
        if request.path == "/metrics":
            return Scripted(chunks=(LLAMACPP,))
        return Scripted(chunks=(b'[{"is_processing":true},{"is_processing":false}]',))

    house.answer = answer
    house.stack.meter.in_flight = 1
    await house.clock.run_for(3.0)
    assert house.asked == ["/metrics", "/slots", "/metrics", "/metrics"]
    assert house.stack.reports[-1] == LoadReport(
        running=1, waiting=3, memory_used=0.0, slots=2, at=house.clock.now()
    )


@vllm
async def test_a_server_without_such_a_page_is_asked_once_a_minute(house: House) -> None:
    house.answer = lambda _: Scripted(404, chunks=(b"{}",))
    house.stack.meter.in_flight = 1
    await house.clock.run_for(122.0)
    assert len(house.asked) == 3
    assert house.load.failures == {"house": 3}
    assert house.stack.reports == []


@vllm
@pytest.mark.parametrize(
    "answer",
    [
        Scripted(500, chunks=(b"oh",)),
        Scripted(chunks=(b"<html>",)),
        Scripted(chunks=(b"x" * 300_000,)),
        Scripted(chunks=(VLLM, Break())),
        Scripted(before=(Break("refused"),)),
        Scripted(before=(Forever(),)),
        Scripted(chunks=(VLLM, Forever())),
    ],
    ids=["500", "html", "too much", "cut", "refused", "silent", "endless"],
)
async def test_silence_is_counted_said_once_and_ends(
    house: House, answer: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pointsman")
    good = house.answer
    house.answer = lambda _: answer
    house.stack.meter.in_flight = 1
    await house.clock.run_for(20.0)
    assert 3 <= house.load.failures["house"] <= 4
    assert house.stack.reports == []
    house.answer = good
    await house.clock.run_for(8.0)
    assert house.stack.reports
    told = [record.message.split()[0] for record in caplog.records]
    assert told == ["load.unknown", "load.known"]


@ollama
async def test_a_model_that_is_not_in_memory_costs_its_loading(house: House) -> None:
    loaded: list[dict[str, str]] = []
    house.answer = lambda _: Scripted(chunks=(orjson.dumps({"models": loaded}),))
    await house.clock.run_for(1.0)
    assert house.asked == ["/api/ps"]
    assert house.stack.reports[-1].cold_s == COLD_S
    loaded.append({"name": "m:latest", "model": "m:latest"})
    await house.clock.run_for(8.0)
    assert house.stack.reports[-1].cold_s == 0.0


async def test_every_deployment_of_a_server_is_told_its_own_model() -> None:
    house = House(settings_of("vllm", models=("a", "b", "c")))
    house.answer = lambda _: Scripted(
        chunks=(
            b'vllm:num_requests_waiting{model_name="a"} 1\n',
            b'vllm:num_requests_waiting{model_name="b"} 2\n',
        )
    )
    await house.load.start()
    await house.clock.run_for(1.0)
    await house.load.close()
    said = {stack.deployment.model: stack.reports for stack in house.stacks.values()}
    assert [said["a"][0].waiting, said["b"][0].waiting] == [1, 2]
    assert said["c"] == []


@pytest.mark.parametrize(
    ("kind", "more"), [("vllm", ", load_s: 0"), ("hosted", ", key: none, dialect: openai")]
)
async def test_who_is_not_to_be_asked_is_not(kind: str, more: str) -> None:
    house = House(
        loads(
            f"""
providers: {{house: {{kind: {kind}, url: 'http://127.0.0.1:9/v1'{more}}}}}
deployments: [{{provider: house, model: m, price: free, tier: local}}]
""",
            "test",
            {},
            Path.cwd(),
        )
    )
    await house.load.start()
    await house.clock.run_for(100.0)
    await house.load.close()
    assert house.asked == []


async def test_a_key_goes_with_the_question() -> None:
    house = House(settings_of("vllm", more=", key: 'env:KEY'"))
    await house.load.start()
    await house.clock.run_for(1.0)
    await house.load.close()
    headers: Mapping[str, str] = house.transport.requests[0].headers
    assert headers["authorization"] == "Bearer secret-of-the-house-123"


async def test_after_a_reload_the_new_servers_are_asked_and_the_old_are_not() -> None:
    house = House(settings_of("vllm"))
    await house.load.start()
    await house.clock.run_for(1.0)
    other = settings_of("llamacpp", models=("x",))
    stacks = {each.name: Stack(each) for each in other.deployments}
    house.answer = lambda _: Scripted(chunks=(LLAMACPP,))
    house.load.follow(other, stacks)
    told = len(house.stack.reports)
    await house.clock.run_for(40.0)
    await house.load.close()
    assert len(house.stack.reports) == told
    assert [report.waiting for report in stacks["house/x"].reports] == [3, 3]
    assert house.clock.pending == ()


async def test_closing_leaves_nothing_behind_and_nothing_asked_again() -> None:
    house = House(settings_of("vllm"))
    await house.load.start()
    house.answer = lambda _: Scripted(before=(Forever(),))
    await house.clock.run_for(1.5)
    await house.load.close()
    asked = len(house.asked)
    await house.clock.run_for(100.0)
    assert len(house.asked) == asked == 1
    assert house.clock.pending == ()
    assert not house.transport.unsettled
