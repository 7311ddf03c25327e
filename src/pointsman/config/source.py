"""Where a running process has its configuration from, and whether it has changed there.

A file is looked at together with every secret and certificate that it names, since that is how
keys rotate. What counts is the content: `stat` says cheaply that nothing was touched, a hash says
whether what was touched is different. Paths are followed anew each time, so a file that is
replaced, or a link that is turned to another one (as in Kubernetes' volumes), is seen like one
that is written.

Everything here may wait for a disk: never on the event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from pointsman.config.discover import Probe, discover
from pointsman.config.load import read
from pointsman.config.settings import Settings
from pointsman.config.yaml_marks import MAX_BYTES

Stamp = tuple[int, int, int, int, int]
"""Of a file's inode: device, number, size, and when content and inode changed, in nanoseconds."""


class Contents:
    """Digests of files, read again only where their stamps differ from the last look."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Stamp, str]] = {}

    def look(self, paths: Iterable[Path], *, afresh: bool = False) -> Mapping[Path, str]:
        """A digest for each path, "" for what cannot be read. `afresh` trusts no stamp: a clock
        may be too coarse to tell two writes apart."""
        return {path: self._digest(path, afresh) for path in sorted(paths)}

    def _digest(self, path: Path, afresh: bool) -> str:
        try:
            stat = path.stat()
            stamp = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            known = self._known.get(path)
            if known is not None and known[0] == stamp and not afresh:
                return known[1]
            with path.open("rb") as file:
                digest = hashlib.sha256(file.read(MAX_BYTES + 1)).hexdigest()
        except OSError:
            self._known.pop(path, None)
            return ""
        self._known[path] = (stamp, digest)
        return digest


class Source:
    """A file at `config`, or, where that is None, what `discover` finds.

    `ledger` is a path that replaces the configuration's own; `found` are the lines that tell
    what was read last.
    """

    def __init__(
        self, config: str | None, ledger: str | None, env: Mapping[str, str], probe: Probe
    ) -> None:
        self.path = None if config is None else Path(config)
        self.found: list[str] = []
        self._ledger = None if ledger is None else Path(ledger)
        self._env = env
        self._probe = probe
        self._contents = Contents()
        self._files: set[Path] = set()
        self._seen: Mapping[Path, str] = {}

    def read(self) -> Settings:
        """The settings as they are now. Raises ConfigError."""
        if self.path is None:
            settings, self.found = asyncio.run(discover(self._env, self._probe))
        else:
            settings = self._read_file(self.path)
            self.found = [f"configuration {self.path}"]
        if self._ledger is not None:
            settings = replace(settings, ledger=replace(settings.ledger, path=self._ledger))
        return settings

    def _read_file(self, path: Path) -> Settings:
        # Contents are noted before they are read, so that a change in between is seen at the
        # next look. What else the file names is known only then: with new names, once more.
        while True:
            watched = self._files | {path}
            seen = self._contents.look(watched, afresh=True)
            named: set[Path] = set()
            try:
                loaded = read(path, self._env, files=named)
            finally:
                self._files = named
                self._seen = {each: seen[each] for each in seen if each in named | {path}}
            if named <= watched:
                return loaded.settings

    def has_changed(self) -> bool:
        """Is anything different from when it was last read, in vain or not?"""
        if self.path is None:
            return False
        return self._contents.look(self._files | {self.path}) != self._seen

    @property
    def content(self) -> str:
        """What was read last, as one digest."""
        return hashlib.sha256("".join(self._seen.values()).encode()).hexdigest()

    def __repr__(self) -> str:
        return f"Source({self.path or 'discovered'})"
