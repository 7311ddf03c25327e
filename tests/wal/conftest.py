"""Logs in a temporary directory, on a disk that a test may fill."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pointsman.wal.folder import Owner, boot_id, make
from pointsman.wal.log import Disk, Log
from pointsman.wal.record import ENTRY, encode


def owner(worker: str = "w-1", **fields: Any) -> Owner:
    stated: dict[str, Any] = {"store": "s", "boot": boot_id(), "host": "h", "pid": 1}
    return Owner(**{"worker": worker, "started": 0.0, **stated, **fields})


def record(seq: int, tail: bytes = b"x" * 50, attempt_id: str = "") -> bytes:
    return encode(ENTRY, 1, seq, 1.5, 7, attempt_id, tail)


class SmallDisk:
    """System calls on a disk with `room` bytes left; None for plenty."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.syncs = 0
        self.sync_error: OSError | None = None
        self.ended: list[int] = []
        self.disk = Disk(self._write, os.ftruncate, self._sync, self.ended.append)

    def _write(self, file: int, data: bytes, at: int) -> int:
        if self.room is None:
            return os.pwrite(file, data, at)
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = os.pwrite(file, data[: self.room], at)
        self.room -= written
        return written

    def _sync(self, file: int) -> None:
        self.syncs += 1
        if self.sync_error is not None:
            raise self.sync_error


@pytest.fixture
def small_disk() -> SmallDisk:
    return SmallDisk()


Open = Callable[..., Log]


@pytest.fixture
def opened(tmp_path: Path, small_disk: SmallDisk) -> Iterator[Open]:
    """Open logs under `tmp_path`, and close them after the test."""
    logs: list[Log] = []

    def make_one(worker: str = "w-1", **settings: Any) -> Log:
        claim = make(tmp_path, owner(worker))
        log = Log(claim, **{"sync_s": 0.001, "disk": small_disk.disk, **settings})
        logs.append(log)
        return log

    yield make_one
    for log in logs:
        log.close(is_shipped=False)
