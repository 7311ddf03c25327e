"""The close rule: one Outcome, told to every layer, innermost first."""

from __future__ import annotations

import pytest

from pointsman.domain.outcome import Outcome
from pointsman.errors import DeadlineExceeded, ProviderFailure
from pointsman.pipeline.service import Reply
from pointsman.testing.clock import FakeClock
from pointsman.testing.services import ScriptedStream, make_deployment


def stream(clock: FakeClock, *pieces: bytes | ProviderFailure | None) -> Reply:
    body = ScriptedStream(pieces)
    return Reply(make_deployment(), clock, clock.now(), wire="openai", stream=body, ttft_s=0.1)


async def test_a_stream_read_to_its_end_is_ok_and_tells_each_layer_once(clock: FakeClock) -> None:
    reply = stream(clock, b"a", b"b")
    told: list[tuple[str, Outcome]] = []
    reply.on_close(lambda outcome: told.append(("inner", outcome)))
    reply.on_close(lambda outcome: told.append(("outer", outcome)))
    async with reply:
        assert [piece async for piece in reply] == [b"a", b"b"]
    reply.close()
    assert [name for name, _ in told] == ["inner", "outer"]
    assert told[0][1] is told[1][1]
    assert (told[0][1].kind, told[0][1].usage.output, told[0][1].finish) == ("ok", 5, "stop")


async def test_a_stream_left_in_the_middle_is_abandoned_and_its_tokens_are_counted(
    clock: FakeClock,
) -> None:
    reply = stream(clock, b"a" * 40, b"b", b"c")
    async with reply:
        async for _ in reply:
            break
    assert reply.outcome is not None
    assert reply.outcome.kind == "abandoned"
    assert reply.outcome.usage.output == 10
    assert reply.outcome.usage.estimated


async def test_a_failure_after_content_is_raised_to_the_reader_and_is_the_outcome(
    clock: FakeClock,
) -> None:
    reply = stream(clock, b"a", ProviderFailure("malformed", "cut"))
    with pytest.raises(ProviderFailure, match="cut"):
        async with reply:
            assert await reply.__anext__() == b"a"
            await reply.__anext__()
    assert reply.outcome is not None and reply.outcome.kind == "malformed"


async def test_a_stream_that_is_failed_wakes_its_waiting_reader_with_that_error(
    clock: FakeClock,
) -> None:
    reply = stream(clock, b"a", None)
    assert await reply.__anext__() == b"a"
    reply.fail(DeadlineExceeded("late"))
    with pytest.raises(DeadlineExceeded, match="late"):
        await reply.__anext__()
    reply.close()
    assert reply.outcome is not None and reply.outcome.kind == "abandoned"


async def test_pings_do_not_count_as_progress_but_a_slow_reader_is_not_blamed(
    clock: FakeClock,
) -> None:
    reply = stream(clock, b"a", b"ping", b"ping", b"b")
    await reply.__anext__()
    clock.advance(100)  # The reader takes its time.
    await reply.__anext__()
    assert reply.quiet_s() == 0
    clock.advance(50)
    assert reply.quiet_s() == 0  # The reader's time again: nobody waits for the provider.
    await reply.__anext__()
    assert reply.quiet_s() == 0
    await reply.__anext__()
    assert reply.quiet_s() == 0
    reply.close()
