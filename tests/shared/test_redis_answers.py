"""Answers in a real Valkey: shared by who shares our secrets, and nobody else's word is taken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from pointsman.cache.kept import Kept
from pointsman.clock import SystemClock
from pointsman.config.settings_money import RedisSettings
from pointsman.domain.content import Text
from pointsman.domain.reply import ChatReply
from pointsman.shared.answers import RedisAnswers
from pointsman.testing.servers import ValkeyServer

pytestmark = pytest.mark.real

KEY, OTHER = b"k" * 32, b"o" * 32


def answer(text: str = "four", lasts_s: float = 60.0) -> Kept:
    now = SystemClock().wall()
    return Kept(ChatReply("c", "m", (Text(text),)), "d0", 12_345, now, now + lasts_s)


@pytest.fixture
async def pair(settings: RedisSettings) -> AsyncIterator[tuple[RedisAnswers, RedisAnswers]]:
    """Of two workers."""
    both = RedisAnswers(settings, SystemClock()), RedisAnswers(settings, SystemClock())
    yield both
    for each in both:
        await each.close()


Pair = tuple[RedisAnswers, RedisAnswers]


async def kept(answers: RedisAnswers, key: bytes, what: Kept) -> None:
    answers.keep(key, what)
    async with asyncio.timeout(5):
        while await answers.take(key) is None:
            await asyncio.sleep(0.002)


def name_of(valkey: ValkeyServer) -> str:
    return next(w for w in valkey.say("KEYS", "*").decode().split("\r\n") if w.startswith("{"))


async def test_one_workers_answer_is_anothers(pair: Pair) -> None:
    one, two = pair
    await kept(one, KEY, answer())
    found = await two.take(KEY)
    assert found is not None and found.chat.text == "four" and found.cost_nano == 12_345
    assert await two.take(OTHER) is None


async def test_it_is_kept_no_longer_than_it_serves(pair: Pair, valkey: ValkeyServer) -> None:
    one, _ = pair
    await kept(one, KEY, answer(lasts_s=30.0))
    assert 25 < int(valkey.say("TTL", name_of(valkey)).strip(b":\r\n")) <= 30
    one.keep(OTHER, answer(lasts_s=0.0))
    assert await one.take(OTHER) is None


@pytest.mark.parametrize("how", ["changed", "cut", "made up", "renamed", "empty", "another type"])
async def test_what_somebody_else_put_there_is_not_there(
    pair: Pair, valkey: ValkeyServer, settings: RedisSettings, how: str
) -> None:
    import redis

    one, two = pair
    await kept(one, KEY, answer())
    name = name_of(valkey)
    with redis.Redis.from_url(settings.url.reveal(), protocol=2) as there:
        value = there.get(name)
        assert isinstance(value, bytes)
        if how == "renamed":
            await kept(one, OTHER, answer("eight"))
            (other,) = [n for n in there.keys("*") if n != name.encode()]
            there.set(name, there.get(other))
        elif how == "another type":
            there.delete(name)
            there.lpush(name, "x")
        else:
            there.set(
                name,
                {
                    "changed": value.replace(b"four", b"five"),
                    "cut": value[:-3],
                    "made up": b"\0" * 32 + value[32:],
                    "empty": b"",
                }[how],
            )
    assert await two.take(KEY) is None


async def test_neither_question_nor_key_can_be_read_there(pair: Pair, valkey: ValkeyServer) -> None:
    one, _ = pair
    await kept(one, KEY, answer())
    assert KEY.hex() not in name_of(valkey) and "k" * 8 not in name_of(valkey)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_a_server_that_is_gone_is_an_empty_cache(
    settings: RedisSettings, valkey: ValkeyServer, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "pointsman")
    answers = RedisAnswers(replace(settings, timeout_s=0.05), SystemClock())
    await kept(answers, KEY, answer())
    getattr(valkey, how)()
    loop = asyncio.get_running_loop()
    waits = []
    for _ in range(200):
        began = loop.time()
        assert await answers.take(KEY) is None
        answers.keep(OTHER, answer())
        waits.append(loop.time() - began)
    assert max(waits) < 0.15
    assert sorted(waits)[-4] < 0.02  # After three it is left alone.
    if how == "kill":
        await asyncio.to_thread(valkey.start)
    else:
        valkey.thaw()
    async with asyncio.timeout(10):
        while not answers.is_well:
            await answers.take(KEY)
            await asyncio.sleep(0.05)
    await kept(answers, KEY, answer())
    await answers.close()
    told = [each.getMessage().split()[0] for each in caplog.records]
    assert told == ["redis.lost", "redis.back"]
