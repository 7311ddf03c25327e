"""Where the store is, and how to open connections to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pointsman.clock import Clock
from pointsman.errors import ConfigError
from pointsman.store.database import Database, Kind
from pointsman.store.migrate import migrate
from pointsman.store.sqlite import SqliteDatabase

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]+)://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Store:
    """Open connections, one for each thread, whose tables are brought up to date at first use.

    timeout_s: the longest that a statement may take, or a lock be waited for. connect_s: the
    longest that connecting may take. Both in seconds.
    """

    kind: Kind
    shown: str
    """Where it is, without a password."""
    clock: Clock = field(repr=False)
    timeout_s: float = 5.0
    connect_s: float = 2.0
    where: str = field(default="", repr=False)
    """The path or URL itself, with its password: not for messages."""

    @classmethod
    def of(
        cls,
        path_or_url: str | Path,
        clock: Clock,
        *,
        timeout_s: float = 5.0,
        connect_s: float = 2.0,
    ) -> Store:
        """A store by a SQLite file's path or by postgresql://user:password@host:port/database.

        Raises ConfigError for another kind of URL, and where PostgreSQL's driver is missing.
        """
        where = str(path_or_url)
        scheme = _SCHEME.match(where)
        if scheme is None:
            return cls("sqlite", where, clock, timeout_s, connect_s, where)
        if scheme[1].lower() not in ("postgresql", "postgres"):
            raise ConfigError(
                f"store {scheme[1]}://…: not known; name a SQLite file or postgresql://user@host/db"
            )
        from pointsman.store.postgres import shown

        try:
            if not urlsplit(where).path.strip("/") or urlsplit(where).port == 0:
                raise ValueError("no database is named")
        except ValueError as error:
            raise ConfigError(f"store {shown(where)}: {error}") from error
        return cls("postgresql", shown(where), clock, timeout_s, connect_s, where)

    def open(self) -> Database:
        """A connection for one thread; nothing is asked of the store before its first use."""
        if self.kind == "sqlite":
            return SqliteDatabase(
                Path(self.where), self.clock, busy_s=self.timeout_s, prepare=migrate
            )
        from pointsman.store.postgres import PostgresDatabase

        return PostgresDatabase(
            self.where, timeout_s=self.timeout_s, connect_s=self.connect_s, prepare=migrate
        )
