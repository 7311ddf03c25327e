-- Sums of the ledger by hour, day and month in UTC, so that a report need not read its entries.
-- What is here follows from `entry`, `attempt`, `tag` and `adjustment`, up to the numbers that
-- `rollup_mark` says, exactly: it is changed only together with the mark, in one transaction.

CREATE TABLE rollup_mark (
    id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    entry      INTEGER NOT NULL,
    adjustment INTEGER NOT NULL
) STRICT;
INSERT INTO rollup_mark (id, entry, adjustment) VALUES (1, 0, 0);

-- A combination of values that occurred together; `digest` is of all of them and of the tags.
CREATE TABLE rollup_combo (
    id         INTEGER NOT NULL PRIMARY KEY,
    digest     TEXT    NOT NULL UNIQUE,
    tenant     TEXT,
    team       TEXT,
    app        TEXT,
    "user"     TEXT,
    key        TEXT,
    route      TEXT,
    operation  TEXT,
    outcome    TEXT,
    model      TEXT,
    provider   TEXT,
    deployment TEXT,
    tier       TEXT
) STRICT;
CREATE INDEX rollup_combo_tenant ON rollup_combo (tenant);

CREATE TABLE rollup_tag (
    combo INTEGER NOT NULL REFERENCES rollup_combo (id),
    name  TEXT    NOT NULL,
    value TEXT    NOT NULL,
    PRIMARY KEY (combo, name)
) STRICT, WITHOUT ROWID;

-- grain 0: hours, 1: days, 2: months; slot: their number since 1970, months since the year 0.
CREATE TABLE rollup (
    grain           INTEGER NOT NULL,
    slot            INTEGER NOT NULL,
    combo           INTEGER NOT NULL REFERENCES rollup_combo (id),
    requests        INTEGER NOT NULL,
    errors          INTEGER NOT NULL,
    fallbacks       INTEGER NOT NULL,
    cache_hits      INTEGER NOT NULL,
    hits_saved_nano INTEGER NOT NULL,
    baseline_nano   INTEGER NOT NULL,
    saved_nano      INTEGER NOT NULL,
    asked_input     INTEGER NOT NULL,
    asked_output    INTEGER NOT NULL,
    asked_cached    INTEGER NOT NULL,
    asked_write     INTEGER NOT NULL,
    asked_write_1h  INTEGER NOT NULL,
    timed           INTEGER NOT NULL,
    seconds_us      INTEGER NOT NULL,
    ttft_timed      INTEGER NOT NULL,
    ttft_us         INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    hedges          INTEGER NOT NULL,
    input           INTEGER NOT NULL,
    output          INTEGER NOT NULL,
    cached          INTEGER NOT NULL,
    cache_write     INTEGER NOT NULL,
    cache_write_1h  INTEGER NOT NULL,
    reasoning       INTEGER NOT NULL,
    estimated       INTEGER NOT NULL,
    cost_nano       INTEGER NOT NULL,
    unpriced        INTEGER NOT NULL,
    uncertain_nano  INTEGER NOT NULL,
    adjusted_nano   INTEGER NOT NULL,
    PRIMARY KEY (grain, slot, combo)
) STRICT, WITHOUT ROWID;

-- Histograms of the same cells, apart so that sums are not slowed down by them.
CREATE TABLE rollup_latency (
    grain   INTEGER NOT NULL,
    slot    INTEGER NOT NULL,
    combo   INTEGER NOT NULL REFERENCES rollup_combo (id),
    seconds BLOB    NOT NULL,
    ttft    BLOB    NOT NULL,
    PRIMARY KEY (grain, slot, combo)
) STRICT, WITHOUT ROWID;

-- What an invoice says otherwise than the ledger: added to it, never written over it. `entry` and
-- `n` name the attempt where the invoice does; else `provider` and `model` are all that is known.
-- `reference` is unique in its source, so that the same invoice is booked once. uncertain_nano: what
-- budgets had counted for the attempt on top of its cost, and is not uncertain any more.
CREATE TABLE adjustment (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    source      TEXT    NOT NULL,
    reference   TEXT    NOT NULL,
    at          REAL    NOT NULL,
    entry       INTEGER,
    n           INTEGER,
    provider    TEXT,
    model       TEXT,
    amount_nano INTEGER NOT NULL,
    uncertain_nano INTEGER NOT NULL DEFAULT 0,
    reason      TEXT    NOT NULL,
    booked      REAL    NOT NULL,
    UNIQUE (source, reference)
) STRICT;
-- append-only: adjustment
CREATE INDEX adjustment_at ON adjustment (at);
