"""A file that changes: the good is live, the bad is refused aloud and once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from pointsman.config.source import Contents, Source
from pointsman.gateway import Gateway
from pointsman.ledger.memory import MemoryLedger
from pointsman.server.reload import Reloader, needs_restart
from pointsman.testing import FakeClock
from pointsman.testing.scripted import FakeTransport

GOOD = """\
server: {keys: [{key: 'file:caller'}]}
providers:
  oa: {url: 'http://127.0.0.1:9/v1', dialect: openai, keys: ['file:key']}
deployments:
  - {name: a, provider: oa, model: m, tier: workhorse, price: free}
"""


async def nobody(url: str) -> list[str] | None:
    return None


class House:
    """A gateway over a file in `folder`, and its reloader."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "p.yaml"
        self.key = folder / "key"
        self.key.write_text("sk-one")
        (folder / "caller").write_text("sk-caller")
        self.path.write_text(GOOD)
        self.clock = FakeClock()
        self.source = Source(str(self.path), None, {}, nobody)
        self.gateway = Gateway(
            self.source.read(),
            transport=FakeTransport(clock=self.clock),
            clock=self.clock,
            ledger=MemoryLedger(),
        )
        self.reloader = Reloader(self.gateway, self.source, self.clock)

    def counted(self, result: str) -> int:
        text = self.gateway.metrics.exposition().decode()
        name = f'pointsman_config_reloads_total{{result="{result}"}} '
        return next((int(float(x[len(name) :])) for x in text.splitlines() if name in x), 0)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not happened():
            await asyncio.sleep(0.002)


async def test_a_good_file_is_live_with_another_digest(house: House) -> None:
    before = house.gateway.generation
    house.path.write_text(GOOD.replace("name: a", "name: b"))
    assert house.source.has_changed()
    assert await house.reloader.reload()
    assert list(house.gateway.stacks) == ["b"]
    assert house.gateway.generation != before
    assert house.counted("ok") == 1
    assert not house.source.has_changed()


async def test_a_bad_file_changes_nothing_and_is_told_once_with_its_line(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    before = house.gateway.generation
    house.path.write_text(GOOD.replace("tier: workhorse", "tier: workhors"))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert not await house.reloader.reload()
    assert house.gateway.generation == before
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"{house.path}:5: deployments[0].tier:" in said
    assert "workhorse" in said and before in said
    assert house.counted("rejected") == 3


async def test_what_was_refused_is_in_the_health_and_the_process_stays_ready(house: House) -> None:
    await house.gateway.start()
    house.path.write_text("nonsense: [")
    await house.reloader.reload()
    told = house.gateway.health()
    assert told["ready"] is True
    assert told["config"]["rejected_since"] == house.clock.wall()  # type: ignore[index,call-overload]
    house.path.write_text(GOOD)
    await house.reloader.reload()
    told = house.gateway.health()
    assert told["config"]["rejected_since"] is None  # type: ignore[index,call-overload]


async def test_a_file_that_is_gone_is_refused_and_taken_when_it_is_back(house: House) -> None:
    house.path.unlink()
    assert house.source.has_changed()
    assert not await house.reloader.reload()
    assert not house.source.has_changed()
    house.path.write_text(GOOD)
    assert house.source.has_changed()
    assert await house.reloader.reload()


async def test_a_secret_s_file_counts(house: House) -> None:
    house.key.write_text("sk-two")
    assert house.source.has_changed()
    await house.reloader.reload()
    key = house.gateway.current.keys["oa"].take()
    assert key is not None and key.secret.reveal() == "sk-two"


async def test_a_secret_s_file_that_was_missing_is_noticed_when_it_comes(house: House) -> None:
    house.path.write_text(GOOD.replace("file:key", "file:later"))
    assert not await house.reloader.reload()
    (house.path.parent / "later").write_text("sk-later")
    assert house.source.has_changed()
    assert await house.reloader.reload()


async def test_a_link_that_is_turned_counts(tmp_path: Path) -> None:
    """As Kubernetes does: p.yaml -> ..data/p.yaml, ..data -> ..1 and then -> ..2."""
    house = House(tmp_path)
    for name, text in (("..1", GOOD), ("..2", GOOD.replace("name: a", "name: b"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "p.yaml").write_text(text)
    house.path.unlink()
    (tmp_path / "..data").symlink_to("..1")
    house.path.symlink_to("..data/p.yaml")
    assert not house.source.has_changed()
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert house.source.has_changed()
    assert await house.reloader.reload()
    assert list(house.gateway.stacks) == ["b"]


def test_a_touch_is_no_change(house: House) -> None:
    house.path.touch()
    assert not house.source.has_changed()


def test_a_write_that_leaves_every_stamp_alone_is_seen_when_asked_afresh(tmp_path: Path) -> None:
    path, contents = tmp_path / "x", Contents()
    path.write_text("one")
    first = contents.look([path])
    stamp, digest = contents._known[path]
    path.write_text("two")
    contents._known[path] = (_stamp_of(path), digest)
    assert contents.look([path]) == first
    assert contents.look([path], afresh=True) != first
    assert stamp != contents._known[path][0]


def _stamp_of(path: Path) -> tuple[int, int, int, int, int]:
    stat = path.stat()
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


async def test_it_looks_every_reload_s_and_only_then(house: House) -> None:
    running = asyncio.create_task(house.reloader.run())
    try:
        await until(lambda: bool(house.clock.pending))
        house.path.write_text(GOOD.replace("name: a", "name: b"))
        house.clock.advance(0.9)
        assert list(house.gateway.stacks) == ["a"]
        house.clock.advance(0.1)
        await until(lambda: bool(house.clock.pending))  # it lets the writer finish
        house.clock.advance(0.05)
        await until(lambda: list(house.gateway.stacks) == ["b"])
    finally:
        running.cancel()


async def test_a_storm_of_signals_is_a_reload_or_two(house: House) -> None:
    running = asyncio.create_task(house.reloader.run())
    try:
        for _ in range(200):
            house.reloader.hurry()
        await until(lambda: house.counted("ok") >= 1)
        for _ in range(200):
            house.reloader.hurry()
        await until(lambda: house.counted("ok") >= 2)
        assert house.counted("ok") <= 3
    finally:
        running.cancel()


async def test_what_a_restart_must_bring_is_named_and_the_rest_is_taken(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.path.write_text(
        GOOD.replace("server: {", "server: {port: 4444, workers: 2, body_mb: 3, ")
        + "ledger: {path: other.db}\n"
    )
    with caplog.at_level(logging.WARNING):
        assert await house.reloader.reload()
    assert house.gateway.settings.server.body_bytes == 3 * 1024 * 1024
    told = house.gateway.health()["config"]
    waits = ["server.port", "server.workers", "ledger.path"]
    assert told["needs_restart"] == waits  # type: ignore[index,call-overload]
    assert caplog.text.count("config.needs_restart fields=" + ",".join(waits)) == 1


def test_nothing_needs_a_restart_where_nothing_changed(house: House) -> None:
    assert needs_restart(house.gateway.settings, house.source.read()) == ()


async def test_a_mistake_of_ours_keeps_the_last_good(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    before = house.gateway.generation
    monkeypatch.setattr("pointsman.generation.Generation.rehearse", broken)
    assert not await house.reloader.reload()
    assert house.gateway.generation == before
    assert "config.crashed" in caplog.text
