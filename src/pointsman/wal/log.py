"""A worker's log: records appended to segments, synced in groups, deleted when shipped.

Theory. What survives what? A record that `write` has returned from is the kernel's: `kill -9` of
the process does not touch it. Only a loss of power does, until the disk has it; a thread sees to
that every `sync_s`, for all records of that time at once (group commit), and whoever must not go
on before waits for `synced`.

`put` only lays a record beside, for the next `write` or the thread to take along: for records
without which a reader of the log has to be less exact, never wrong.

Where the file cannot be written (disk full, I/O error), what was begun is cut off again, `write`
raises, and the next one tries anew; the thread tries too, so that `fault` ends by itself, also
where nobody sends requests to a worker with a fault. Where a *sync* fails nobody
knows what the disk has, and trying again would only tell that the kernel has forgotten: the
process ends, and the log is read by another.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from pointsman.store.errors import StorageUnavailable
from pointsman.wal.folder import Claim, sync_directory
from pointsman.wal.record import FRAME_BYTES, Record, records
from pointsman.wal.segment import Header, encode_header, name_of, read_segment

log = logging.getLogger("pointsman.wal")

SEGMENT_BYTES: Final = 64 * 1024 * 1024
EXIT_UNSYNCED: Final = 74
"""The process' exit status after a failed sync: EX_IOERR."""
_QUIET: Final = 40
"""So many times nothing to sync, then the thread sleeps until it is woken."""
PROBE_S: Final = 0.25
"""Between tries whether a file that could not be written can be."""
_PROBE: Final = bytes(4096)
"""Zeros are no record: whoever finds them finds a torn end."""


@dataclass(frozen=True, slots=True)
class Disk:
    """The system calls, as arguments: tests fill the disk with them."""

    write: Callable[[int, bytes, int], int] = os.pwrite
    cut: Callable[[int, int], None] = os.ftruncate
    sync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
    end: Callable[[int], None] = os._exit


class _Piece:
    """A segment as its writer knows it. `open`: dispatched attempts whose entry is not written."""

    __slots__ = ("last_seq", "number", "open", "path")

    def __init__(self, number: int, path: Path) -> None:
        self.number = number
        self.path = path
        self.last_seq = 0
        self.open = 0


class Log:
    """The log in a claimed directory. `write` and `put` are the event loop's, `items_after` and
    `forget` the shipping thread's.

    sync_s: how long records wait for the disk. segment_bytes: when a new file is begun.
    """

    def __init__(
        self,
        claim: Claim,
        *,
        sync_s: float = 0.005,
        segment_bytes: int = SEGMENT_BYTES,
        disk: Disk | None = None,
    ) -> None:
        self.appended = 0
        """Records, ever growing; `bytes_written` too."""
        self.bytes_written = 0
        self._claim = claim
        self._sync_s = sync_s
        self._segment_bytes = segment_bytes
        self._disk = disk if disk is not None else Disk()
        self._lock = threading.Lock()
        self._beside: list[tuple[int, bytes]] = []
        self._pieces: deque[_Piece] = deque()
        self._holders: dict[str, _Piece] = {}
        self._file = -1
        self._end = 0
        self._digest = sha256()
        self._retired: list[int] = []
        self._is_failing = False
        self._is_closed = False
        self._is_dirty = False
        self._is_idle = False
        self._waiting: list[asyncio.Future[None]] = []
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._begin_segment()
        self._syncer = threading.Thread(target=self._run, name="pointsman-wal", daemon=True)
        self._syncer.start()

    # On the event loop.

    def write(self, seq: int, record: bytes, holds: str = "") -> None:
        """Append a record, and what was put beside. Raises StorageUnavailable: then it is not
        there, and what was put beside waits on.

        holds: an attempt for which its segment is kept until `let_go` is called.
        """
        with self._lock:
            self._append([*self._beside, (seq, record)] if self._beside else [(seq, record)])
            self._beside.clear()
            if holds:
                piece = self._pieces[-1]
                piece.open += 1
                self._holders[holds] = piece
        self._soil()

    def put(self, seq: int, record: bytes) -> None:
        """Append a record with the next one, or within `sync_s`."""
        with self._lock:
            self._beside.append((seq, record))
        self._soil()

    def let_go(self, attempt_id: str) -> None:
        """Its entry is written, or there is nothing to tell of it."""
        piece = self._holders.pop(attempt_id, None)
        if piece is not None:
            piece.open -= 1

    def synced(self) -> asyncio.Future[None]:
        """Done when all that was written so far is on the disk."""
        done = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.append(done)
        self._hurry.set()
        self._soil()
        return done

    @property
    def open_attempts(self) -> int:
        """Dispatched attempts whose entry is not written yet."""
        return len(self._holders)

    @property
    def fault(self) -> str:
        """Why nothing can be written just now; "" where all is well."""
        return "cannot be written" if self._is_failing else ""

    def _soil(self) -> None:
        self._is_dirty = True
        if self._is_idle:
            self._is_idle = False
            self._wake.set()

    # With the lock held.

    def _append(self, what: list[tuple[int, bytes]]) -> None:
        data = what[0][1] if len(what) == 1 else b"".join([record for _, record in what])
        if self._is_closed:
            raise StorageUnavailable(f"{self._claim.path}: the log is closed")
        try:
            if self._end + len(data) > self._segment_bytes and self._pieces[-1].last_seq:
                self._begin_segment()
            self._write_at(self._file, self._end, data)
        except OSError as error:
            self._tell_failure(error)
            raise StorageUnavailable(f"{self._claim.path}: {error}") from error
        self._end += len(data)
        self._pieces[-1].last_seq = what[-1][0]
        for _, record in what:
            self._digest.update(record[:FRAME_BYTES])
        self.appended += len(what)
        self.bytes_written += len(data)
        self._tell_recovery()

    def _write_at(self, file: int, start: int, data: bytes) -> None:
        """Write all of it, or leave the file as it was."""
        at = start
        try:
            while rest := data[at - start :]:
                written = self._disk.write(file, rest, at)
                if written <= 0:
                    raise OSError(f"only {at - start} of {len(data)} bytes could be written")
                at += written
        except OSError:
            if at > start:
                self._disk.cut(file, start)
            raise

    def _begin_segment(self) -> None:
        number = self._pieces[-1].number + 1 if self._pieces else 1
        path = self._claim.path / name_of(number)
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        file = os.open(path, flags, 0o600)
        previous = self._digest.digest() if self._pieces else b""
        owner = self._claim.owner
        head = encode_header(Header(owner.worker, owner.boot, number, previous))
        try:
            self._write_at(file, 0, head)
        except OSError:
            os.close(file)
            path.unlink()
            raise
        if self._file >= 0:
            self._retired.append(self._file)
        self._file, self._end, self._digest = file, len(head), sha256()
        self._pieces.append(_Piece(number, path))

    def _tell_failure(self, error: OSError) -> None:
        if not self._is_failing:
            self._is_failing = True
            log.error("wal.stalled path=%s error=%r", self._claim.path, str(error))
            self._soil()

    def _tell_recovery(self) -> None:
        if self._is_failing:
            self._is_failing = False
            log.warning("wal.recovered path=%s", self._claim.path)

    # On the syncing thread.

    def _run(self) -> None:
        """Sync every `sync_s` while there is something to, then sleep until somebody writes.

        `_is_idle` is raised before `_is_dirty` is looked at a last time: whoever writes without
        waking us is then seen here.
        """
        quiet, known = 0, 0
        while not self._is_closed:
            if quiet >= _QUIET and not self._is_failing:
                self._is_idle = True
                if not self._is_dirty and not self._is_closed:
                    self._wake.wait()
                self._is_idle = False
                self._wake.clear()
                quiet = 0
            if self._hurry.wait(self._sync_s):
                self._hurry.clear()
            if self._is_dirty:
                known = self._sync(known)
                quiet = 0
            else:
                quiet += 1
                if self._is_failing and quiet % math.ceil(PROBE_S / self._sync_s) == 0:
                    self._probe()

    def _probe(self) -> None:
        """See whether there is room again."""
        with self._lock:
            try:
                self._write_at(self._file, self._end, _PROBE)
                self._disk.cut(self._file, self._end)
            except OSError as error:
                log.debug("wal.still_stalled path=%s error=%r", self._claim.path, str(error))
            else:
                self._tell_recovery()

    def _sync(self, known: int) -> int:
        """Bring everything to the disk. `known`: the last segment whose name is on it."""
        with self._lock:
            self._is_dirty = False
            if not self._is_closed:
                self._take_along()
            file, retired, waiting = self._file, self._retired, self._waiting
            number = self._pieces[-1].number
            self._retired, self._waiting = [], []
        try:
            for old in retired:
                self._disk.sync(old)
                os.close(old)
            self._disk.sync(file)
            if number != known:
                sync_directory(self._claim.path)
        except OSError as error:
            log.critical("wal.unsynced path=%s error=%r", self._claim.path, str(error))
            self._disk.end(EXIT_UNSYNCED)
        for done in waiting:
            _wake(done)
        return number

    def _take_along(self) -> None:
        if not self._beside:
            return
        try:
            self._append(self._beside)
        except StorageUnavailable:
            self._is_dirty = True  # Told already; it is tried again.
        else:
            self._beside = []

    # On the shipping thread.

    def flush(self) -> None:
        """Write what was put beside, if there is room: the store must not know more than the log,
        or who reads the log of a dead worker would guess at what was said already."""
        if self._beside:
            with self._lock:
                self._take_along()

    def items_after(self, seq: int) -> Iterator[Record]:
        """Every record above `seq` that was written before this was called, and maybe later ones.

        Raises OSError.
        """
        with self._lock:
            self._take_along()
            beside = b"".join([record for _, record in self._beside])
            pieces = list(self._pieces)
        for piece in pieces:
            if piece.last_seq > seq or piece is pieces[-1]:
                for record in read_segment(piece.path).records:
                    if record.seq > seq:
                        seq = record.seq
                        yield record
        yield from (record for record in records(beside) if record.seq > seq)

    def forget(self, seq: int) -> None:
        """Delete segments in which nothing is above `seq` and no attempt is open, oldest first."""
        while len(self._pieces) > 1:
            oldest = self._pieces[0]
            if oldest.open or oldest.last_seq > seq:
                return
            oldest.path.unlink(missing_ok=True)
            self._pieces.popleft()

    def close(self, *, is_shipped: bool) -> None:
        """Sync and let go: of everything where it `is_shipped`, else others find it as it is."""
        if self._is_closed:
            return
        with self._lock:
            self._take_along()
            self._is_closed = True
        self._hurry.set()
        self._wake.set()
        self._syncer.join()
        self._sync(0)
        os.close(self._file)
        if is_shipped:
            self._claim.remove()
        else:
            self._claim.release()

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "stalled" if self._is_failing else "open"
        return f"Log({str(self._claim.path)!r}, {state}, records={self.appended})"


def _wake(done: asyncio.Future[None]) -> None:
    def tell() -> None:
        if not done.done():
            done.set_result(None)

    try:
        done.get_loop().call_soon_threadsafe(tell)
    except RuntimeError as error:  # Its loop is closed: nobody waits any more.
        log.debug("wal.waiter_gone error=%r", str(error))
