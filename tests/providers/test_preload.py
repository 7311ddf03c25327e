"""What is made ready before requests come, and when; over a clock that stands still."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from pointsman.config.load import loads
from pointsman.config.settings import Settings
from pointsman.domain.deployment import Deployment
from pointsman.errors import ConfigError
from pointsman.providers.preload import FIRST_S, Preload
from pointsman.providers.transport import Endpoint, HttpRequest
from pointsman.testing import FakeClock, FakeTransport, Scripted
from pointsman.testing.clock import settle
from pointsman.testing.scripted import Break, Forever, Pause

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 6, 1, 6, 0, tzinfo=BERLIN)
HOUR = 3600.0

ANSWER = orjson.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "H"},
                "finish_reason": "length",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
    }
)


@dataclass
class Attempts:
    begun: int = 0


@dataclass
class Stack:
    deployment: Deployment
    meter: Attempts = field(default_factory=Attempts)


def settings_of(preload: str, kind: str = "ollama", *, more: str = "") -> Settings:
    text = f"""
providers: {{house: {{kind: {kind}, url: 'http://127.0.0.1:9/v1'}}}}
deployments:
  - {{provider: house, model: m, preload: {preload}}}
{more}
"""
    return loads(text, "test", {"OPENAI_API_KEY": "k" * 20}, Path.cwd())


class Warming(FakeTransport):
    """Keeps when connections were warmed; `fault` happens to the next ones."""

    def __init__(self, clock: FakeClock, answer: Callable[[HttpRequest], Scripted]) -> None:
        super().__init__(responder=answer, clock=clock)
        self.clock = clock
        self.times: list[float] = []
        self.fault: Break | Forever | None = None

    async def warm(self, endpoint: Endpoint) -> None:
        self.times.append(self.clock.now())
        await super().warm(endpoint)
        if self.fault is not None:
            await self.spend(self.fault)


class House:
    def __init__(
        self,
        preload: str,
        kind: str = "ollama",
        *,
        at: datetime = MONDAY,
        history: Sequence[tuple[str, float, int]] | ConfigError = (),
        more: str = "",
    ) -> None:
        self.clock = FakeClock(0.0, epoch=at.timestamp())
        self.answer: Callable[[HttpRequest], Scripted] = lambda _: Scripted(
            chunks=(b"{}" if kind == "ollama" else ANSWER,)
        )
        self.transport = Warming(self.clock, lambda request: self.answer(request))
        self.history_asked: list[tuple[Collection[str], float]] = []
        self.history = history
        self.preload = Preload(self.transport, self.clock, zone=BERLIN, history=self.remembered)
        self.settings = settings_of(preload, kind, more=more)
        self.stacks = {each.name: Stack(each) for each in self.settings.deployments}
        self.preload.follow(self.settings, self.stacks)

    def remembered(self, names: Collection[str], since: float) -> Sequence[tuple[str, float, int]]:
        self.history_asked.append((set(names), since))
        if isinstance(self.history, ConfigError):
            raise self.history
        return self.history

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [orjson.loads(each.body) for each in self.transport.requests]

    async def __aenter__(self) -> House:
        await self.preload.start()
        await settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.preload.close()
        assert not self.transport.unsettled
        assert self.clock.pending == ()

    async def until(self, hours: float) -> None:
        """Let time pass up to `hours` after the beginning, on the clock."""
        await self.clock.run_for(hours * HOUR - self.clock.now(), turns=6)

    @property
    def told(self) -> list[str]:
        """When models were asked for, as Berlin's clocks tell."""
        return [at.strftime("%a %H:%M") for at in self._times]

    _times: list[datetime]

    def record(self) -> House:
        """Write down when models are asked for."""
        self._times = []
        good = self.answer

        def answer(request: HttpRequest) -> Scripted:
            self._times.append(datetime.fromtimestamp(self.clock.wall(), BERLIN))
            return good(request)

        self.answer = answer
        return self


# Connections.


async def test_a_connection_is_open_before_the_start_is_over_and_is_kept_open() -> None:
    async with House("{}") as house:
        assert house.transport.times == [0.0]
        assert house.transport.warmed[0].base_url == "http://127.0.0.1:9/v1"
        await house.clock.run_for(120.0)
    assert house.transport.times == [0.0, 30.0, 60.0, 90.0, 120.0]
    assert house.transport.requests == ()


async def test_deployments_of_a_server_share_the_connection() -> None:
    more = "  - {provider: house, model: n, preload: {}}"
    async with House("{}", more=more) as house:
        assert len(house.transport.warmed) == 1


@pytest.mark.parametrize("fault", [Break("tls"), Break("refused"), Forever()])
async def test_a_connection_that_fails_holds_nothing_up(
    fault: Break | Forever, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pointsman")
    house = House("{}")
    house.transport.fault = fault
    if isinstance(fault, Forever):
        task = asyncio.get_running_loop().create_task(house.preload.start())
        await settle()
        assert not task.done()
        await house.clock.run_for(FIRST_S)
        assert task.done()
    else:
        await house.preload.start()
    assert [record.message.split()[0] for record in caplog.records] == ["preload.no_connection"]
    await house.preload.close()


async def test_without_a_block_nothing_is_made_ready_and_nothing_runs() -> None:
    house = House("{}")
    house.preload.follow(settings_of("null"), house.stacks)
    async with house:
        await house.until(1)
    assert house.transport.times == []


# Models.


async def test_ollama_is_told_to_load_and_how_long_to_keep_and_again_in_time() -> None:
    async with House("{model: true, keep_s: 600}") as house:
        assert house.bodies == [{"model": "m", "keep_alive": "600s", "stream": False}]
        request = house.transport.requests[0]
        assert (request.method, request.path) == ("POST", "/api/generate")
        assert request.endpoint.base_url == "http://127.0.0.1:9"
        await house.clock.run_for(539.0)
        assert len(house.bodies) == 1
        await house.clock.run_for(16.0)
        assert len(house.bodies) == 2


@pytest.mark.parametrize("kind", ["vllm", "llamacpp"])
async def test_other_servers_answer_one_token(kind: str) -> None:
    async with House("{model: true}", kind) as house:
        request = house.transport.requests[0]
        assert request.path == "/chat/completions"
        body = house.bodies[0]
        assert body["max_tokens"] == 1
        assert body["model"] == "m"
        assert not body.get("stream")


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("vllm", "/embeddings", {"model": "m", "input": "Hello"}),
        ("ollama", "/api/embed", {"model": "m", "input": "", "keep_alive": "1800s"}),
    ],
)
async def test_a_model_that_only_embeds_is_warmed_up_by_embedding(
    kind: str, path: str, expected: dict[str, Any]
) -> None:
    more = "  - {provider: house, model: chats}"
    house = House("{model: true}, capabilities: [embeddings]", kind, more=more)
    vector = orjson.dumps({"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 1}})
    house.answer = lambda _: Scripted(chunks=(vector,))
    async with house:
        assert house.transport.requests[0].path == path
        assert house.bodies[0] == expected
        await house.clock.run_for(60.0)
        assert len(house.bodies) == 1


async def test_one_in_use_needs_no_warm_up_but_ollama_is_told_all_the_same() -> None:
    for kind, expected in (("vllm", 1), ("ollama", 3)):
        async with House("{model: true, keep_s: 600}", kind) as house:
            for _ in range(24):
                house.stacks["house/m"].meter.begun += 1
                await house.clock.run_for(50.0)
        assert len(house.bodies) == expected, kind


async def test_a_hosted_model_is_not_loaded() -> None:
    more = "  - {model: openai/gpt-4.1, preload: {model: true}}"
    async with House("{connection: false}", more=more) as house:
        await house.until(1)
        assert house.transport.requests == ()


async def test_a_model_that_does_not_load_is_tried_again_ever_more_seldom(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "pointsman")
    house = House("{model: true, connection: false}")
    house.answer = lambda _: Scripted(404, chunks=(b'{"error":"model not found"}',))
    async with house.record():
        await house.clock.run_for(600.0)
        assert [(each - house._times[0]).seconds for each in house._times] == [
            *(0, 15, 45, 105, 225, 465),
        ]
        house.answer = lambda _: Scripted(chunks=(b"{}",))
        await house.clock.run_for(300.0)
    assert [record.message.split()[0] for record in caplog.records] == [
        "preload.failed",
        "preload.ready",
    ]


async def test_a_slow_model_holds_up_no_other() -> None:
    more = "  - {provider: house, model: n, preload: {model: true}}"
    house = House("{model: true}", more=more)
    house.answer = lambda request: Scripted(
        before=(Forever(),) if b'"m"' in request.body else (), chunks=(b"{}",)
    )
    async with house:
        assert [body["model"] for body in house.bodies] == ["m", "n"]
        await house.clock.run_for(45.0)
        assert len(house.transport.times) == 2


async def test_a_server_that_fails_a_warm_up_is_not_asked_as_traffic() -> None:
    house = House("{model: true}", "vllm")
    house.answer = lambda _: Scripted(before=(Pause(1.0), Break("reset")))
    async with house:
        await house.clock.run_for(30.0)
        assert house.stacks["house/m"].meter.begun == 0


# Hours.


@pytest.mark.slow
async def test_within_its_hours_and_a_little_before_it_is_ready_and_then_let_go() -> None:
    house = House("{model: true, hours: ['mon-fri 08:00-18:00'], keep_s: 14400}")
    async with house.record():
        assert house.transport.times == []
        await house.until(30)
    # Loaded before eight, kept through the day (again after four hours less a minute), not after.
    assert house.told == ["Mon 07:55", "Mon 11:54", "Mon 15:53", "Tue 07:55", "Tue 11:54"]


@pytest.mark.parametrize(
    ("at", "ready"),
    [
        ("2026-03-28 07:54", False),
        ("2026-03-28 07:55", True),
        # On the 29th summer time begins in Berlin: 08:00 is an hour sooner than a day later.
        ("2026-03-29 07:54", False),
        ("2026-03-29 07:55", True),
        ("2026-03-29 17:59", True),
        ("2026-03-29 18:00", False),
        # On the 25th of October it ends.
        ("2026-10-25 07:54", False),
        ("2026-10-25 07:55", True),
        ("2026-10-25 18:00", False),
    ],
)
def test_hours_are_those_of_the_wall_clock_also_when_it_is_changed(at: str, ready: bool) -> None:
    house = House("{hours: ['08:00-18:00']}")
    wall = datetime.fromisoformat(at).replace(tzinfo=BERLIN).timestamp()
    assert house.preload.is_wanted(house.preload._plans["house/m"], wall) is ready


def test_the_night_of_the_change_is_as_long_as_it_is() -> None:
    """From 01:55 to 03:00 it is ready for 65 minutes; in spring there is no such hour, and what
    counts is that it will be `03:00` in five minutes; in autumn the hour comes twice."""
    house = House("{hours: ['02:00-03:00']}")
    plan = house.preload._plans["house/m"]

    def minutes(day: datetime) -> int:
        first = day.replace(tzinfo=BERLIN).timestamp()
        return sum(house.preload.is_wanted(plan, first + 60.0 * each) for each in range(8 * 60))

    assert minutes(datetime(2026, 6, 1)) == 65
    assert minutes(datetime(2026, 3, 29)) == 0
    assert minutes(datetime(2026, 10, 25)) == 125


# Prediction.


@pytest.mark.slow
async def test_an_hour_that_had_traffic_is_prepared_for_the_next_day_and_week() -> None:
    house = House("{model: true, connection: false, predict: true, keep_s: 7200}")
    async with house.record():
        await house.until(3)
        assert house.told == []  # nothing is known yet
        house.stacks["house/m"].meter.begun += 5  # Monday, 09:00
        await house.until(26)
        assert house.told == ["Mon 09:00"]
        await house.until(27)
        assert house.told[1:] == ["Tue 08:55"]
        await house.until(7 * 24 + 4)
        # Within the first week any day's; the second Monday is known, the second Tuesday not.
        assert house.told[-1] == "Mon 08:55"
        await house.until(8 * 24 + 4)
    assert house.told[-1] == "Mon 08:55"


async def test_what_the_ledger_knows_is_learnt_at_the_start() -> None:
    a_week_before = MONDAY.timestamp() - 7 * 24 * HOUR + 3 * HOUR
    house = House(
        "{model: true, connection: false, predict: true}", history=[("house/m", a_week_before, 9)]
    )
    async with house.record():
        for _ in range(100):  # the thread that reads the ledger
            if house.history_asked:
                break
            await asyncio.sleep(0.01)
        await settle()
        await house.until(3)
    assert house.history_asked == [({"house/m"}, MONDAY.timestamp() - 28 * 24 * HOUR)]
    assert house.told == ["Mon 08:55"]


@pytest.mark.slow
async def test_a_ledger_that_cannot_be_read_is_no_obstacle() -> None:
    house = House("{predict: true}", history=ConfigError("no such file"))
    async with house:
        house.stacks["house/m"].meter.begun += 5
        await house.until(24)
    assert house.preload.is_wanted(house.preload._plans["house/m"], MONDAY.timestamp() + 24 * HOUR)


# Reloads.


async def test_a_reload_keeps_what_is_ready_and_prepares_what_is_new() -> None:
    async with House("{model: true}") as house:
        assert len(house.bodies) == 1
        house.preload.follow(house.settings, house.stacks)
        await house.clock.run_for(20.0)
        assert len(house.bodies) == 1
        changed = settings_of("{model: true, keep_s: 60}")
        house.preload.follow(changed, house.stacks)
        await house.clock.run_for(20.0)
        assert [body["keep_alive"] for body in house.bodies] == ["1800s", "60s"]
        house.preload.follow(settings_of("null"), house.stacks)
        await house.until(1)
        assert len(house.bodies) == 2


def test_a_moment_in_utc_is_no_hour_of_ours() -> None:
    house = House("{hours: ['08:00-09:00']}")
    plan = house.preload._plans["house/m"]
    eight_in_utc = datetime(2026, 6, 1, 8, 30, tzinfo=UTC).timestamp()
    assert not house.preload.is_wanted(plan, eight_in_utc)
    assert house.preload.is_wanted(plan, eight_in_utc - 2 * HOUR)
