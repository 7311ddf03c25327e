"""A process that is started for a while: told ready by a line it prints, ended by its pid."""

from __future__ import annotations

import re
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

KEPT_LINES = 200


class ChildFailed(RuntimeError):
    """A child that ended, or said nothing, before it was ready; holds its last lines."""


class Child:
    """Run `command` between `__enter__` and `__exit__`.

    Entering returns when a line of its output matches `ready` (a regular expression) and raises
    `ChildFailed` when it ends before, or after `patience_s` seconds. Leaving terminates it, and
    kills it when it has not gone within `grace_s` seconds. Its standard input stays open until
    then, so a child that watches it also ends when this process is killed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        ready: str,
        patience_s: float = 60.0,
        grace_s: float = 5.0,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._ready = re.compile(ready)
        self._patience_s = patience_s
        self._grace_s = grace_s
        self._env = dict(env) if env is not None else None
        self._settled = threading.Event()
        self._match: re.Match[str] | None = None
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def match(self) -> re.Match[str]:
        """The match of the line that said ready."""
        if self._match is None:
            raise ChildFailed(f"{self.name}: not started")
        return self._match

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ChildFailed(f"{self.name}: not started")
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended, None while it runs."""
        return None if self._process is None else self._process.poll()

    def begin(self) -> Self:
        """Start the process without waiting for it; `wait_ready` or `stop` must follow."""
        self._process = subprocess.Popen(  # noqa: S603 - our own command lines
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=self._env,
        )
        # A thread, not a wait for the first line: the pipe must be drained until the end.
        self._reader = threading.Thread(target=self._read, name=f"read {self.name}", daemon=True)
        self._reader.start()
        return self

    def wait_ready(self) -> Self:
        """Return when its line has come. Raises ChildFailed, and then it is ended."""
        self._settled.wait(self._patience_s)
        if self._match is None:
            code = self.returncode
            how = f"ended with {code}" if code is not None else f"not ready in {self._patience_s} s"
            self.stop()
            said = "\n".join(f"  {line}" for line in list(self.lines)[-20:])
            raise ChildFailed(f"{self.name}: {how}; it said:\n{said}")
        return self

    def start(self) -> Self:
        return self.begin().wait_ready()

    def stop(self) -> int | None:
        """End it and return how it ended; harmless when it has ended already."""
        process = self._process
        if process is None:
            return None
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(self._grace_s)
            except subprocess.TimeoutExpired:
                process.kill()
        code = process.wait()
        if self._reader is not None:
            self._reader.join(1.0)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        return code

    def _read(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        for raw in process.stdout:
            line = raw.rstrip("\n")
            self.lines.append(line)
            if self._match is None and (found := self._ready.search(line)):
                self._match = found
                self._settled.set()
        process.wait()
        self._settled.set()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "new" if self._process is None else f"pid {self._process.pid}"
        return f"Child({self.name!r}, {state})"
