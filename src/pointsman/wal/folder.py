"""Whose log is whose: a directory for each worker, locked for as long as the worker lives.

Theory. The lock is `flock` on the file `owner`: the kernel lets go of it when its process ends,
however it ends, and at no other time. A stopped process keeps it, so nobody settles for one that
may wake up. Whoever can take the lock of a directory that is not its own has found a dead worker's
log, and is the only one to have found it.

A directory is made under a hidden name and locked before it gets its own, so that nobody sees it
unlocked. A lock is of the file and not of its name: after locking we look whether the name still
leads to the same file, since another may have settled and removed everything meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from pointsman.wal.segment import files_of

OWNER: Final = "owner"
_NEW: Final = ".new-"
_TRIES: Final = 5


class Owner(msgspec.Struct, frozen=True):
    """Who wrote a log, and for which store. boot: see `boot_id`. epoch: the worker's first."""

    worker: str
    store: str
    boot: str
    host: str
    pid: int
    started: float
    epoch: int = 1


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Owner).decode


def boot_id() -> str:
    """Which start of this machine it is; "" where the system does not say.

    After another start what a log held last may be gone: the file was written, but not synced.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def new_worker_id(host: str) -> str:
    """Unique over all machines and times."""
    plain = "".join(c if c.isalnum() or c == "-" else "-" for c in host)[:48]
    return f"{plain or 'worker'}-{os.getpid()}-{secrets.token_hex(5)}"


@dataclass(frozen=True, slots=True)
class Claim:
    """A log's directory that is locked by us."""

    path: Path
    owner: Owner
    _lock: int

    def release(self) -> None:
        """Let others have it, with all that is in it."""
        os.close(self._lock)

    def remove(self) -> None:
        """Delete the log and let go of it: all of it is in the store."""
        for file in files_of(self.path):
            file.unlink(missing_ok=True)
        (self.path / OWNER).unlink(missing_ok=True)
        try:
            self.path.rmdir()
        finally:
            os.close(self._lock)


def make(root: Path, owner: Owner) -> Claim:
    """Make a worker's directory, locked. Raises OSError."""
    root.mkdir(parents=True, exist_ok=True)
    for attempt in range(_TRIES):
        hidden = root / f"{_NEW}{owner.worker}"
        hidden.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(hidden / OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(lock, _encode(owner), 0)
            os.fsync(lock)
            path = root / owner.worker
            hidden.rename(path)
            sync_directory(root)
            return Claim(path, owner, lock)
        except (BlockingIOError, FileNotFoundError):
            # Somebody has taken it for what a dying worker left behind.
            os.close(lock)
            if attempt == _TRIES - 1:
                raise
        except BaseException:
            os.close(lock)
            raise
    raise AssertionError("unreachable")


def orphans(root: Path, store: str) -> Iterator[Claim]:
    """Lock, one by one, the logs for `store` whose workers are dead. Raises OSError."""
    if not root.is_dir():
        return
    for path in sorted(root.iterdir()):
        claim = _claimed(path)
        if claim is None:
            continue
        if path.name.startswith(_NEW):
            claim.remove()  # It died before anything was written.
        elif claim.owner.store != store:
            claim.release()
        else:
            yield claim


def _claimed(path: Path) -> Claim | None:
    """Lock a directory if its worker is dead and it is still there."""
    try:
        lock = os.open(path / OWNER, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_ino != (path / OWNER).stat().st_ino:
            raise FileNotFoundError
        said = os.pread(lock, 65_536, 0)
        owner = _decode(said) if said else _nobody(path)
    except (BlockingIOError, FileNotFoundError):
        os.close(lock)
        return None
    except BaseException:
        os.close(lock)
        raise
    return Claim(path, owner, lock)


def _nobody(path: Path) -> Owner:
    """An owner that died, or had no room, before it could write its name."""
    return Owner(path.name, "", "", "", 0, 0.0)


def sync_directory(path: Path) -> None:
    """Bring names made or removed in a directory to the disk. Raises OSError."""
    found = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(found)
    finally:
        os.close(found)
