-- Budgets: who may still use how much. Amounts are in the account's own unit, money in nano-USD.

-- One row a budget and subject. unit says what is counted.
CREATE TABLE budget_account (
    id      INTEGER PRIMARY KEY,
    budget  TEXT NOT NULL,
    subject TEXT NOT NULL,
    unit    TEXT NOT NULL CHECK (unit IN ('nano_usd', 'requests', 'tokens', 'at_once')),
    UNIQUE (budget, subject)
) STRICT;

-- An account in one slice of its window. leased: what workers hold and may still use. over: what
-- stands above the limit, for whatever reason: an estimate that was too small, a limit that was
-- lowered, a budget that only alerts. Nothing else may exceed it.
CREATE TABLE budget_slice (
    account INTEGER NOT NULL REFERENCES budget_account (id),
    start   REAL    NOT NULL,
    until   REAL    NOT NULL,
    lim     INTEGER NOT NULL CHECK (lim >= 0),
    spent   INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0),
    leased  INTEGER NOT NULL DEFAULT 0 CHECK (leased >= 0),
    over    INTEGER NOT NULL DEFAULT 0 CHECK (over >= 0),
    PRIMARY KEY (account, start),
    CHECK (spent + leased <= lim + over)
) STRICT, WITHOUT ROWID;

-- A process that leases. epoch rises each time it begins anew after it was declared dead.
-- shipped_seq: the number up to which its log was told.
CREATE TABLE worker (
    id          TEXT    NOT NULL PRIMARY KEY,
    epoch       INTEGER NOT NULL CHECK (epoch >= 1),
    host        TEXT    NOT NULL,
    boot        TEXT    NOT NULL,
    started     REAL    NOT NULL,
    expires     REAL    NOT NULL,
    shipped_seq INTEGER NOT NULL DEFAULT 0 CHECK (shipped_seq >= 0),
    state       TEXT    NOT NULL CHECK (state IN ('live', 'fenced', 'gone'))
) STRICT;

CREATE INDEX worker_expires ON worker (expires) WHERE state = 'live';

-- A worker's part of a slice. granted, spent and returned are sums; the difference is what the
-- worker still has. closed: nothing more is granted to it, though some of it may be under way.
-- suspense: its worker was declared dead, and its log was not read yet.
CREATE TABLE lease (
    id       INTEGER PRIMARY KEY,
    account  INTEGER NOT NULL REFERENCES budget_account (id),
    start    REAL    NOT NULL,
    worker   TEXT    NOT NULL,
    epoch    INTEGER NOT NULL,
    granted  INTEGER NOT NULL CHECK (granted >= 0),
    spent    INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0),
    returned INTEGER NOT NULL DEFAULT 0 CHECK (returned >= 0),
    state    TEXT    NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'suspense', 'closed')),
    expires  REAL    NOT NULL,
    CHECK (spent + returned <= granted)
) STRICT;

CREATE UNIQUE INDEX lease_open ON lease (worker, epoch, account, start) WHERE state = 'live';
CREATE INDEX lease_account ON lease (account, start);
CREATE INDEX lease_worker ON lease (worker) WHERE granted > spent + returned;

-- What each attempt has cost, in each account. A correction is another row, of kind adjust.
-- seq: its number in the worker's log, 0 without one. shipment: what it was told with.
CREATE TABLE posting (
    attempt_id TEXT    NOT NULL,
    account    INTEGER NOT NULL,
    start      REAL    NOT NULL,
    kind       TEXT    NOT NULL CHECK (kind IN ('charge', 'adjust')),
    amount     INTEGER NOT NULL CHECK (amount >= 0 OR kind = 'adjust'),
    exact      INTEGER NOT NULL CHECK (exact IN (0, 1)),
    at         REAL    NOT NULL,
    lease      INTEGER NOT NULL,
    worker     TEXT    NOT NULL,
    seq        INTEGER NOT NULL,
    shipment   INTEGER NOT NULL,
    PRIMARY KEY (attempt_id, account, kind)
) STRICT, WITHOUT ROWID;

-- Each worker's postings in the order in which they were told. hash: SHA-256 of the hash before it
-- and of the postings.
CREATE TABLE shipment (
    worker   TEXT    NOT NULL,
    n        INTEGER NOT NULL CHECK (n >= 1),
    from_seq INTEGER NOT NULL,
    to_seq   INTEGER NOT NULL,
    postings INTEGER NOT NULL CHECK (postings >= 1),
    hash     BLOB    NOT NULL,
    PRIMARY KEY (worker, n)
) STRICT, WITHOUT ROWID;

-- append-only: posting, shipment
CREATE INDEX posting_shipment ON posting (worker, shipment);
