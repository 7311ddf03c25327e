-- The ledger's first form. Amounts are integer nano-USD, times are seconds, `at` is seconds since
-- the Unix epoch in UTC. Nothing is ever changed or deleted: a correction is a new entry.

-- One row a request. The final_* columns are the last attempt's, NULL where nobody was called.
-- billed_*, known_nano and unpriced are sums over the attempts, so that a report by caller, route
-- or tag reads this table alone: known_nano leaves out attempts of unknown price, unpriced counts
-- them. input … reasoning and cost_nano are what the entry itself says.
CREATE TABLE entry (
    seq              INTEGER PRIMARY KEY,
    request_id       TEXT    NOT NULL UNIQUE,
    decision_id      TEXT    NOT NULL,
    at               REAL    NOT NULL CHECK (at >= 0),
    day              TEXT    NOT NULL,
    operation        TEXT    NOT NULL,
    route            TEXT    NOT NULL,
    requested_model  TEXT    NOT NULL,
    key              TEXT    NOT NULL,
    "user"           TEXT,
    app              TEXT,
    team             TEXT,
    tenant           TEXT,
    stream           INTEGER NOT NULL CHECK (stream IN (0, 1)),
    status           INTEGER NOT NULL,
    outcome          TEXT    NOT NULL,
    error_code       TEXT    NOT NULL,
    final_deployment TEXT,
    final_provider   TEXT,
    final_model      TEXT,
    final_tier       TEXT,
    seconds          REAL    NOT NULL CHECK (seconds >= 0),
    ttft_s           REAL    CHECK (ttft_s >= 0),
    attempts         INTEGER NOT NULL CHECK (attempts >= 0),
    fallbacks        INTEGER NOT NULL CHECK (fallbacks >= 0),
    billed_input     INTEGER NOT NULL CHECK (billed_input >= 0),
    billed_output    INTEGER NOT NULL CHECK (billed_output >= 0),
    billed_cached    INTEGER NOT NULL CHECK (billed_cached >= 0),
    billed_reasoning INTEGER NOT NULL CHECK (billed_reasoning >= 0),
    known_nano       INTEGER NOT NULL CHECK (known_nano >= 0),
    unpriced         INTEGER NOT NULL CHECK (unpriced >= 0),
    baseline_nano    INTEGER CHECK (baseline_nano >= 0),
    cost_nano        INTEGER CHECK (cost_nano >= 0),
    input            INTEGER NOT NULL CHECK (input >= 0),
    output           INTEGER NOT NULL CHECK (output >= 0),
    cached           INTEGER NOT NULL CHECK (cached >= 0),
    cache_write      INTEGER NOT NULL CHECK (cache_write >= 0),
    cache_write_1h   INTEGER NOT NULL CHECK (cache_write_1h >= 0),
    reasoning        INTEGER NOT NULL CHECK (reasoning >= 0),
    estimated        INTEGER NOT NULL CHECK (estimated IN (0, 1))
) STRICT;

CREATE INDEX entry_at ON entry (at);
-- The few requests whose cost is shared by several models: reports by model join only these.
CREATE INDEX entry_repeated ON entry (at) WHERE attempts > 1;

-- One row an attempt, numbered from 1 within its request: (request_id, n) is unique because
-- request_id is. fallback: made on another deployment because the one before had failed.
CREATE TABLE attempt (
    entry          INTEGER NOT NULL REFERENCES entry (seq),
    n              INTEGER NOT NULL CHECK (n >= 1),
    deployment     TEXT    NOT NULL,
    provider       TEXT    NOT NULL,
    model          TEXT    NOT NULL,
    tier           TEXT    NOT NULL,
    outcome        TEXT    NOT NULL,
    fallback       INTEGER NOT NULL CHECK (fallback IN (0, 1)),
    input          INTEGER NOT NULL CHECK (input >= 0),
    output         INTEGER NOT NULL CHECK (output >= 0),
    cached         INTEGER NOT NULL CHECK (cached >= 0),
    cache_write    INTEGER NOT NULL CHECK (cache_write >= 0),
    cache_write_1h INTEGER NOT NULL CHECK (cache_write_1h >= 0),
    reasoning      INTEGER NOT NULL CHECK (reasoning >= 0),
    estimated      INTEGER NOT NULL CHECK (estimated IN (0, 1)),
    cost_nano      INTEGER CHECK (cost_nano >= 0),
    price_version  TEXT    NOT NULL,
    started_s      REAL    NOT NULL CHECK (started_s >= 0),
    seconds        REAL    NOT NULL CHECK (seconds >= 0),
    ttft_s         REAL    CHECK (ttft_s >= 0),
    http_status    INTEGER,
    detail         TEXT    NOT NULL,
    PRIMARY KEY (entry, n)
) STRICT, WITHOUT ROWID;

-- One value a name: a request counts once under a tag.
CREATE TABLE tag (
    entry INTEGER NOT NULL REFERENCES entry (seq),
    name  TEXT    NOT NULL,
    value TEXT    NOT NULL,
    PRIMARY KEY (entry, name)
) STRICT, WITHOUT ROWID;

-- Why the request went where it went, as JSON. Apart, so that reports never read past it.
CREATE TABLE decision (
    entry INTEGER PRIMARY KEY REFERENCES entry (seq),
    body  TEXT    NOT NULL
) STRICT;

-- append-only: entry, attempt, tag
