"""A worker's log: what is written is there, what is not has not half happened."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.wal.conftest import Open, SmallDisk, record

from pointsman.store.errors import StorageUnavailable
from pointsman.wal.folder import boot_id
from pointsman.wal.log import EXIT_UNSYNCED
from pointsman.wal.segment import SEARCH_BYTES, files_of, read_all, read_segment


def seqs(folder: Path) -> list[int]:
    return [each.seq for segment in read_all(folder) for each in segment.records]


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait until something holds, for at most two seconds."""
    pause = threading.Event()
    for _ in range(400):
        if holds():
            return
        pause.wait(0.005)
    raise AssertionError("it never came to hold")


def test_what_was_written_is_in_the_file_at_once(opened: Open, tmp_path: Path) -> None:
    log = opened(sync_s=10.0)
    for seq in (1, 2, 3):
        log.write(seq, record(seq))
    assert seqs(tmp_path / "w-1") == [1, 2, 3]
    [segment] = read_all(tmp_path / "w-1")
    assert segment.header is not None
    assert (segment.header.worker, segment.header.boot) == ("w-1", boot_id())
    assert not segment.is_torn
    assert not segment.is_damaged


def test_what_was_put_beside_goes_along_in_its_order(opened: Open, tmp_path: Path) -> None:
    log = opened(sync_s=10.0)
    log.write(1, record(1))
    log.put(2, record(2))
    assert seqs(tmp_path / "w-1") == [1]
    log.write(3, record(3))
    assert seqs(tmp_path / "w-1") == [1, 2, 3]


def test_what_was_put_beside_is_written_soon_by_itself(opened: Open, tmp_path: Path) -> None:
    log = opened()
    log.put(1, record(1))
    wait_for(lambda: seqs(tmp_path / "w-1") == [1])


def test_a_group_is_synced_together_and_an_idle_log_not_at_all(
    opened: Open, small_disk: SmallDisk
) -> None:
    log = opened()
    for seq in range(1, 201):
        log.write(seq, record(seq))
    wait_for(lambda: log._is_idle)
    before = small_disk.syncs
    assert 1 <= before < 100
    assert log._is_idle
    log.write(201, record(201))
    wait_for(lambda: small_disk.syncs > before)


async def test_whoever_waits_is_told_after_the_sync(opened: Open, small_disk: SmallDisk) -> None:
    log = opened(sync_s=5.0)
    log.write(1, record(1))
    waiting = [log.synced() for _ in range(3)]
    await asyncio.wait_for(asyncio.gather(*waiting), 2.0)
    assert small_disk.syncs >= 1


# Segments.


def test_segments_follow_each_other_and_each_tells_of_the_one_before(
    opened: Open, tmp_path: Path
) -> None:
    log = opened(segment_bytes=1_000)
    for seq in range(1, 51):
        log.write(seq, record(seq))
    segments = list(read_all(tmp_path / "w-1"))
    assert len(segments) > 4
    assert seqs(tmp_path / "w-1") == list(range(1, 51))
    headers = [segment.header for segment in segments]
    assert [each.number for each in headers if each] == list(range(1, len(segments) + 1))
    assert [each.previous for each in headers if each] == [
        b"",
        *(segment.digest for segment in segments[:-1]),
    ]
    assert all(segment.path.stat().st_size <= 1_000 for segment in segments)


def test_a_record_larger_than_a_segment_has_one_of_its_own(opened: Open, tmp_path: Path) -> None:
    log = opened(segment_bytes=500)
    for seq in (1, 2, 3):
        log.write(seq, record(seq, b"y" * 2_000))
    assert seqs(tmp_path / "w-1") == [1, 2, 3]
    assert len(files_of(tmp_path / "w-1")) == 3


def test_shipped_segments_are_deleted_but_for_the_last(opened: Open, tmp_path: Path) -> None:
    log = opened(segment_bytes=1_000)
    for seq in range(1, 51):
        log.write(seq, record(seq))
    log.forget(25)
    assert seqs(tmp_path / "w-1")[0] in range(15, 27)
    assert [each.seq for each in log.items_after(25)] == list(range(26, 51))
    log.forget(50)
    assert len(files_of(tmp_path / "w-1")) == 1


def test_a_segment_with_an_open_attempt_is_kept(opened: Open, tmp_path: Path) -> None:
    log = opened(segment_bytes=1_000)
    log.write(1, record(1), holds="a-1")
    for seq in range(2, 51):
        log.write(seq, record(seq))
    log.forget(50)
    assert seqs(tmp_path / "w-1")[0] == 1
    assert log.open_attempts == 1
    log.let_go("a-1")
    log.let_go("a-1")
    log.forget(50)
    assert log.open_attempts == 0
    assert len(files_of(tmp_path / "w-1")) == 1


def test_what_still_waits_beside_is_read_too(opened: Open, small_disk: SmallDisk) -> None:
    log = opened()
    log.write(1, record(1))
    small_disk.room = 0
    log.put(2, record(2))
    assert [each.seq for each in log.items_after(0)] == [1, 2]


# A disk without room.


@pytest.mark.parametrize("room", [0, 1, 30, 80])
def test_a_full_disk_refuses_and_leaves_nothing_half_written(
    opened: Open, small_disk: SmallDisk, tmp_path: Path, room: int, caplog: pytest.LogCaptureFixture
) -> None:
    log = opened()
    log.write(1, record(1))
    whole = files_of(tmp_path / "w-1")[0].read_bytes()
    small_disk.room = room
    with caplog.at_level(logging.INFO, "pointsman.wal"):
        for seq in (2, 3):
            with pytest.raises(StorageUnavailable):
                log.write(seq, record(seq))
        assert files_of(tmp_path / "w-1")[0].read_bytes() == whole
        assert log.fault == "cannot be written"
        small_disk.room = None
        log.write(4, record(4))
    assert log.fault == ""
    assert seqs(tmp_path / "w-1") == [1, 4]
    said = [each.getMessage().split()[0] for each in caplog.records]
    assert said == ["wal.stalled", "wal.recovered"]


def test_what_was_put_beside_survives_a_full_disk(
    opened: Open, small_disk: SmallDisk, tmp_path: Path
) -> None:
    log = opened()
    small_disk.room = 0
    log.put(1, record(1))
    with pytest.raises(StorageUnavailable):
        log.write(2, record(2))
    small_disk.room = None
    wait_for(lambda: seqs(tmp_path / "w-1") == [1])


def test_room_is_noticed_where_nobody_writes(opened: Open, small_disk: SmallDisk) -> None:
    log = opened()
    log.write(1, record(1))
    small_disk.room = 10
    with pytest.raises(StorageUnavailable):
        log.write(2, record(2))
    assert log.fault
    small_disk.room = None
    wait_for(lambda: log.fault == "")
    log.write(3, record(3))
    assert [each.seq for each in log.items_after(0)] == [1, 3]


def test_no_room_for_a_new_segment_is_a_full_disk(
    opened: Open, small_disk: SmallDisk, tmp_path: Path
) -> None:
    log = opened(segment_bytes=300)
    log.write(1, record(1))
    log.write(2, record(2))
    for room in (0, 10):
        small_disk.room = room
        for _ in range(3):
            with pytest.raises(StorageUnavailable):
                log.write(3, record(3))
    small_disk.room = None
    log.write(4, record(4))
    assert seqs(tmp_path / "w-1") == [1, 2, 4]
    assert [each.is_torn for each in read_all(tmp_path / "w-1")].count(True) == 0


def test_a_sync_that_fails_ends_the_process(opened: Open, small_disk: SmallDisk) -> None:
    small_disk.sync_error = OSError(errno.EIO, "Input/output error")
    opened().write(1, record(1))
    wait_for(lambda: small_disk.ended[:1] == [EXIT_UNSYNCED])
    small_disk.sync_error = None


@pytest.mark.slow
@pytest.mark.real
def test_a_sync_that_fails_ends_a_real_process(tmp_path: Path) -> None:
    child = """
import errno, os, sys, threading
from pathlib import Path
from pointsman.wal.folder import Owner, make
from pointsman.wal.log import Disk, Log
from pointsman.wal.record import encode
def broken(file):
    raise OSError(errno.EIO, "Input/output error")
log = Log(make(Path(sys.argv[1]), Owner("w", "s", "", "h", 1, 0.0)), disk=Disk(sync=broken))
log.write(1, encode(1, 1, 1, 0.0, 0, "a", b""))
threading.Event().wait(10)
"""
    done = subprocess.run(
        [sys.executable, "-c", child, str(tmp_path)], timeout=20, capture_output=True, check=False
    )
    assert done.returncode == EXIT_UNSYNCED
    assert seqs(tmp_path / "w") == [1]


# Reading what is not whole.


@pytest.mark.slow
def test_a_segment_torn_at_any_byte_ends_with_its_last_whole_record(
    opened: Open, tmp_path: Path
) -> None:
    log = opened()
    for seq in (1, 2, 3):
        log.write(seq, record(seq))
    whole = files_of(tmp_path / "w-1")[0].read_bytes()
    last = len(record(3))
    copy = tmp_path / "copy.log"
    for cut in range(1, last + 1):
        copy.write_bytes(whole[:-cut])
        segment = read_segment(copy)
        assert [each.seq for each in segment.records] == [1, 2]
        assert segment.is_torn == (cut < last)
        assert not segment.is_damaged


def test_a_segment_torn_in_its_header_has_nothing(opened: Open, tmp_path: Path) -> None:
    opened()
    whole = files_of(tmp_path / "w-1")[0].read_bytes()
    copy = tmp_path / "copy.log"
    for cut in range(1, len(whole) + 1):
        copy.write_bytes(whole[:-cut])
        segment = read_segment(copy)
        assert (segment.header, segment.records, segment.is_damaged) == (None, (), False)


def test_damage_costs_only_what_is_damaged_and_is_told(opened: Open, tmp_path: Path) -> None:
    log = opened()
    for seq in range(1, 11):
        log.write(seq, record(seq))
    whole = files_of(tmp_path / "w-1")[0].read_bytes()
    start = len(whole) - 10 * len(record(1))
    copy = tmp_path / "copy.log"
    for at in range(start + 4 * len(record(1)), start + 5 * len(record(1))):
        flipped = bytearray(whole)
        flipped[at] ^= 0x10
        copy.write_bytes(bytes(flipped))
        segment = read_segment(copy)
        assert [each.seq for each in segment.records] == [1, 2, 3, 4, 6, 7, 8, 9, 10]
        assert segment.is_damaged
        assert segment.digest != read_segment(files_of(tmp_path / "w-1")[0]).digest


@pytest.mark.slow
def test_a_long_damage_is_given_up(opened: Open, tmp_path: Path) -> None:
    log = opened()
    log.write(1, record(1))
    path = tmp_path / "copy.log"
    whole = files_of(tmp_path / "w-1")[0].read_bytes()
    path.write_bytes(whole + os.urandom(SEARCH_BYTES + 100) + record(2))
    segment = read_segment(path)
    assert [each.seq for each in segment.records] == [1]
    assert segment.is_torn
