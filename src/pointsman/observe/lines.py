"""Lines to standard error that nobody has to read: a bounded queue and a thread that writes.

Theory. A pipe that nobody empties is full after 64 KiB; the next write to it stands still, and
with it the event loop and every request. So logging only appends to a queue here; a thread of
its own does the writing and may stand still for as long as it likes. What the queue cannot hold
is counted and told in the metrics and in a line of its own when there is room again. The thread
gathers for a moment before it writes: fewer writes than lines, fewer switches between threads.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

MOST_LINES = 10_000
"""Some 2 MB; at 1,000 requests a second ten seconds of a collector that hangs."""
GATHER_S = 0.02
"""How long a line may wait for company, in seconds."""
FLUSH_S = 1.0
"""How long the end of the process waits for the last lines, in seconds."""

Write = Callable[[bytes], object]


class LineQueue(logging.Handler):
    """A logging handler that never blocks. `write` takes whole lines and may take its time.

    `lost` counts the lines that were dropped. The thread is started by the first line, so a
    process may fork before it.
    """

    def __init__(self, write: Write, *, most: int = MOST_LINES) -> None:
        super().__init__()
        self._write = write
        self._most = most
        self._lines: deque[str] = deque()
        self._come = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._thread: threading.Thread | None = None
        self._ended = False
        self._gave_up = False
        self._told = 0
        self.lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._lines) >= self._most or self._ended:
            self.lost += 1
            return
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  a line that cannot be written harms no request
            self.lost += 1
            return
        self._lines.append(line)
        if self._idle.is_set():
            self._idle.clear()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="write log", daemon=True)
                self._thread.start()
            self._come.set()

    def flush(self) -> None:
        """Wait until all is written, `FLUSH_S` seconds at most and once in vain."""
        if not self._gave_up and self._thread is not None and self._thread.is_alive():
            self._gave_up = not self._idle.wait(FLUSH_S)

    def close(self) -> None:
        """Write what is left as `flush` does; later lines are dropped."""
        if not self._ended:
            self.flush()
            self._ended = True
            self._come.set()
        super().close()

    def _run(self) -> None:
        while not self._ended:
            self._come.wait()
            self._come.clear()
            if not self._ended:
                time.sleep(GATHER_S)
            while self._lines:
                self._write_all()
            self._idle.set()
            # A line that came just before is not left behind: whoever appends after this sees
            # that we are idle, whoever appended before it left its line where we look.
            if self._lines:
                self._idle.clear()
                self._come.set()

    def _write_all(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if self.lost > self._told:
            lines.append(f"WARNING log.lines_lost count={self.lost - self._told}")
            self._told = self.lost
        try:
            self._write(("\n".join(lines) + "\n").encode("utf-8", "backslashreplace"))
        except OSError:
            self.lost += len(lines)  # The reader is gone for good, or the disk is full.

    def __repr__(self) -> str:
        return f"LineQueue({len(self._lines)} waiting, {self.lost} lost)"


def to_descriptor(descriptor: int) -> Write:
    """Write to a file descriptor past Python's own buffers: a thread that hangs in them would
    keep their lock, and the interpreter could not end."""

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(descriptor, view) :]
            except BlockingIOError:  # Who started us made it non-blocking; we may wait.
                room = select.poll()
                room.register(descriptor, select.POLLOUT)
                room.poll()

    return write
