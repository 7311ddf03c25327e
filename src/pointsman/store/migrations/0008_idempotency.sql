-- Answers to requests with an Idempotency-Key, so that a repeated request is not made twice, on
-- whichever worker it arrives. scope is a digest of tenant, key, path and Idempotency-Key, body of
-- the request's bytes. until: of one that runs, when its worker is given up for dead; of one that
-- is done, when it is forgotten. answer is NULL where it was too long to be kept.
CREATE TABLE idempotency (
    scope  BLOB    NOT NULL PRIMARY KEY,
    body   BLOB    NOT NULL,
    state  TEXT    NOT NULL CHECK (state IN ('running', 'done')),
    owner  TEXT    NOT NULL,
    until  REAL    NOT NULL,
    status INTEGER,
    kind   BLOB,
    head   TEXT,
    answer BLOB,
    stream INTEGER NOT NULL DEFAULT 0 CHECK (stream IN (0, 1))
) STRICT;

CREATE INDEX idempotency_until ON idempotency (until);
