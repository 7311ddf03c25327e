-- Alerts, who has been told of them, and what loops are counted by. Times are seconds since the
-- Unix epoch. Rows change and old ones are deleted: this is about what goes on, not about money.

-- until: when it no longer stands unless it is seen again. is_quiet: known, and told to nobody.
-- repeats: told again while it stands, and when it no longer does. told: how often it was.
CREATE TABLE alert (
    id          INTEGER PRIMARY KEY,
    key         TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    severity    TEXT    NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    tenant      TEXT,
    text        TEXT    NOT NULL,
    facts       TEXT    NOT NULL,
    is_quiet    INTEGER NOT NULL CHECK (is_quiet IN (0, 1)),
    repeats     INTEGER NOT NULL CHECK (repeats IN (0, 1)),
    raised_at   REAL    NOT NULL,
    until       REAL    NOT NULL,
    told        INTEGER NOT NULL CHECK (told >= 0),
    told_at     REAL    NOT NULL,
    acked_at    REAL,
    acked_by    TEXT,
    resolved_at REAL
) STRICT;

-- One at a time of each condition, over all workers.
CREATE UNIQUE INDEX alert_stands ON alert (key) WHERE resolved_at IS NULL;
CREATE INDEX alert_raised ON alert (raised_at);

-- What is to be told to whom. n: the how manieth telling of this alert.
CREATE TABLE alert_delivery (
    alert    INTEGER NOT NULL REFERENCES alert (id) ON DELETE CASCADE,
    sink     TEXT    NOT NULL,
    n        INTEGER NOT NULL,
    event    TEXT    NOT NULL CHECK (event IN ('raised', 'again', 'resolved')),
    state    TEXT    NOT NULL CHECK (state IN ('pending', 'done', 'failed')),
    tries    INTEGER NOT NULL CHECK (tries >= 0),
    since    REAL    NOT NULL,
    next_try REAL    NOT NULL,
    error    TEXT    NOT NULL,
    PRIMARY KEY (alert, sink, n)
) STRICT, WITHOUT ROWID;

CREATE INDEX alert_delivery_due ON alert_delivery (next_try) WHERE state = 'pending';

-- How often each worker has lately been asked nearly the same.
CREATE TABLE alert_loop (
    loop   TEXT    NOT NULL,
    worker TEXT    NOT NULL,
    asked  INTEGER NOT NULL CHECK (asked >= 0),
    at     REAL    NOT NULL,
    PRIMARY KEY (loop, worker)
) STRICT, WITHOUT ROWID;
