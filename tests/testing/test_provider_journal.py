"""The provider's books tell the truth, whoever leaves and whenever."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pointsman.domain.usage import Usage
from pointsman.testing import (
    Answer,
    Cut,
    FakeClock,
    FaultProvider,
    Hang,
    Journal,
    Slow,
    read_journal,
    settle,
)
from pointsman.testing.journal import JournalEntry, key_hash

if TYPE_CHECKING:
    from tests.testing.conftest import Raw

FIELDS: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "a b c"}]}
TEN = Answer("a b c d e f g h i j")


async def leave_after(
    provider: FaultProvider, raw: Raw, seconds: float, clock: FakeClock, **fields: Any
) -> JournalEntry:
    """Ask for ten tokens, one a second, and hang up after so many seconds."""
    provider.script((TEN, Slow(first_token_s=0.0, tokens_per_second=1.0)))
    _, writer = await raw.open()
    writer.write(raw.request({**FIELDS, **fields}))
    await writer.drain()
    while not provider.journal.open:
        await asyncio.sleep(0)
    await clock.run_for(seconds)
    writer.close()
    await provider.journal.settled()
    return provider.journal.entries[-1]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("seconds", "tokens"), [(0.0, 1), (3.0, 4), (6.5, 7)])
async def test_who_leaves_pays_for_the_tokens_made_until_then(
    raw_of: type[Raw], seconds: float, tokens: int, stream: bool
) -> None:
    clock = FakeClock()
    async with FaultProvider(clock=clock) as provider:
        entry = await leave_after(provider, raw_of(provider), seconds, clock, stream=stream)
        # A stream's first token is there at once; a whole answer takes a second for each.
        made = tokens if stream else int(seconds)
        assert entry.ended == "client_left"
        assert entry.generated == made and entry.billed == Usage(input=6, output=made)
        assert entry.cancelled_at == pytest.approx(entry.arrived_at + seconds)
        assert entry.status == (200 if stream else 0)


async def test_a_provider_that_bills_anyway_bills_the_whole(raw_of: type[Raw]) -> None:
    clock = FakeClock()
    async with FaultProvider(clock=clock, cancel_billing="all") as provider:
        entry = await leave_after(provider, raw_of(provider), 2.0, clock, stream=True)
        assert entry.generated == 3 and entry.billed == Usage(input=6, output=10)


async def test_a_hung_request_is_billed_its_input_and_what_was_made_of_it(raw: Raw) -> None:
    raw.provider.script(Hang(), (TEN, Hang(at_wire_byte=0)))
    for made in (0, 10):
        await raw.send(FIELDS)
        await raw.provider.journal.settled()
        entry = raw.provider.journal.entries[-1]
        assert (entry.ended, entry.status, entry.bytes_sent) == ("client_left", 0, 0)
        assert entry.billed == Usage(input=6, output=made)


async def test_a_cut_stream_is_billed_what_was_made(raw: Raw) -> None:
    raw.provider.script((TEN, Cut("rst", after_tokens=4)))
    seen = await raw.send({**FIELDS, "stream": True})
    (entry,) = raw.provider.journal.entries
    assert (entry.ended, entry.billed) == ("done", Usage(input=6, output=4))
    assert entry.bytes_sent == len(seen.wire)
    assert entry.plays[1] == {"cut": {"after_tokens": 4}}


async def test_bytes_sent_are_those_that_came(raw: Raw) -> None:
    for fields in (FIELDS, {**FIELDS, "stream": True}):
        seen = await raw.send(fields)
        assert raw.provider.journal.entries[-1].bytes_sent == len(seen.wire)


async def test_a_slow_reader_holds_the_provider_back(raw: Raw) -> None:
    """Nothing is buffered without bound, and what was not sent is not said to have been."""
    raw.provider.script(Answer("word " * 10_000))
    reader, writer = await raw.open()
    # Every event repeats the model's name, so this stream is of 40 MB.
    writer.write(raw.request({**FIELDS, "stream": True, "model": "m" * 4000}))
    await reader.readexactly(100)
    await settle()
    assert len(raw.provider.journal.open) == 1
    writer.transport.abort()
    await raw.provider.journal.settled()
    (entry,) = raw.provider.journal.entries
    assert entry.ended == "client_left" and entry.bytes_sent < 30_000_000
    assert entry.billed.output == entry.generated < 10_000


async def test_a_request_that_never_comes_whole_is_in_the_books(raw: Raw) -> None:
    _, writer = await raw.open()
    whole = raw.request(FIELDS, x_pointsman_attempt_id="att-1")
    writer.write(whole[:-10])
    await writer.drain()
    writer.close()
    await raw.provider.journal.settled(1)
    (entry,) = raw.provider.journal.of_attempt("att-1")
    assert entry.ended == "request_cut" and entry.billed == Usage()
    assert entry.body_bytes == len(json.dumps(FIELDS)) - 10


async def test_ids_headers_and_bodies_are_kept_and_keys_are_not(raw: Raw) -> None:
    await raw.send(
        FIELDS,
        authorization="Bearer sk-secret",
        x_api_key="sk-other",
        x_pointsman_attempt_id="att-7",
        x_request_id="req-7",
        x_extra="kept",
    )
    (entry,) = raw.provider.journal.of_attempt("att-7")
    assert entry.request_id == "req-7" and entry.headers["x-extra"] == "kept"
    assert entry.headers["authorization"] == f"Bearer {key_hash('sk-secret')}"
    assert entry.headers["x-api-key"] == key_hash("sk-other")
    assert "secret" not in repr(entry) and entry.json() == FIELDS
    assert raw.provider.journal.of_model("m") == (entry,)


async def test_the_file_says_what_the_memory_says(raw_of: type[Raw], tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    async with FaultProvider(journal=path) as provider:
        provider.script(TEN, (TEN, Cut("rst", after_tokens=4)))
        for _ in range(2):
            await raw_of(provider).send({**FIELDS, "stream": True})
        assert tuple(read_journal(path)) == provider.journal.entries
    assert path.stat().st_mode & 0o777 == 0o600


async def test_the_file_of_a_killed_provider_shows_what_was_open(
    raw_of: type[Raw], tmp_path: Path
) -> None:
    path = tmp_path / "journal.jsonl"
    async with FaultProvider(journal=path) as provider:
        raw = raw_of(provider)
        await raw.send(FIELDS)
        provider.script(Hang())
        reader, writer = await raw.open()
        writer.write(raw.request(FIELDS, x_pointsman_attempt_id="open"))
        while not provider.journal.open:
            await asyncio.sleep(0)
        so_far = tmp_path / "killed.jsonl"
        so_far.write_bytes(path.read_bytes() + b'{"event":"end')
        writer.close()
        assert not await reader.read()
    done, lost = read_journal(so_far)
    assert (done.ended, lost.ended, lost.attempt_id) == ("done", "lost", "open")


async def test_a_journal_is_appended_to_and_never_rewritten(
    raw_of: type[Raw], tmp_path: Path
) -> None:
    path = tmp_path / "journal.jsonl"
    for runs in (1, 2):
        async with FaultProvider(journal=path) as provider:
            await raw_of(provider).send(FIELDS)
        assert len(read_journal(path)) == runs


async def test_shutting_down_ends_what_is_open(raw_of: type[Raw]) -> None:
    provider = FaultProvider()
    await provider.start()
    raw = raw_of(provider)
    provider.script(Hang(after_head=True))
    reader, writer = await raw.open()
    writer.write(raw.request({**FIELDS, "stream": True}))
    await reader.readuntil(b"\r\n\r\n")
    await provider.close()
    assert [entry.ended for entry in provider.journal.entries] == ["shutdown"]
    assert provider.connections == 0
    writer.close()


async def test_memory_can_be_bounded_and_bodies_left_out(raw_of: type[Raw]) -> None:
    journal = Journal(keep=2, bodies=False)
    async with FaultProvider(journal=journal) as provider:
        for _ in range(3):
            await raw_of(provider).send(FIELDS)
    assert [entry.number for entry in journal.entries] == [2, 3] and journal.arrived == 3
    assert journal.entries[0].body == b""


async def test_waiting_for_what_does_not_come_is_an_error(raw: Raw) -> None:
    with pytest.raises(TimeoutError):
        await raw.provider.journal.settled(1, within_s=0.02)
