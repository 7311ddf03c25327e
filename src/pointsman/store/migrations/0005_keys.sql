-- Who may call and who may not: keys, their secrets, stored budgets, tenants' bounds, and who did
-- what to them. Times are seconds since the Unix epoch. Records are JSON of the structures in
-- pointsman/access.

-- Every change takes the next number here, which also puts changes in a row: a worker that has
-- seen everything up to a number asks for what came after it.
CREATE TABLE access_change (
    one    INTEGER NOT NULL CHECK (one = 1),
    number INTEGER NOT NULL CHECK (number >= 0),
    PRIMARY KEY (one)
) STRICT;

INSERT INTO access_change (one, number) VALUES (1, 0);

-- What secrets are hashed with, where the environment brings none; a row is made at first use.
-- proof tells a pepper that is not the one the hashes were made with.
CREATE TABLE access_pepper (
    one    INTEGER NOT NULL CHECK (one = 1),
    pepper BLOB,
    proof  BLOB    NOT NULL,
    PRIMARY KEY (one)
) STRICT;

-- A tenant's keys have the tenant in their name: `acme/web`. Names are never used again, so that
-- the ledger means one key by each.
CREATE TABLE access_key (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    tenant     TEXT,
    record     TEXT    NOT NULL,
    made_at    REAL    NOT NULL,
    made_by    TEXT    NOT NULL,
    expires_at REAL,
    revoked_at REAL,
    used_at    REAL,
    change     INTEGER NOT NULL
) STRICT;

CREATE INDEX access_key_change ON access_key (change);
CREATE INDEX access_key_tenant ON access_key (tenant, name);

-- A key has one secret, and two while it is rotated. The id is the part of it that is shown.
CREATE TABLE access_secret (
    id      TEXT NOT NULL PRIMARY KEY,
    key     TEXT NOT NULL REFERENCES access_key (id),
    digest  BLOB NOT NULL,
    made_at REAL NOT NULL,
    ends_at REAL
) STRICT;

CREATE INDEX access_secret_key ON access_secret (key);

-- Budgets and rates beside those of the file. own: made by the tenant itself, which may then
-- change it too.
CREATE TABLE access_rule (
    name    TEXT    NOT NULL PRIMARY KEY,
    tenant  TEXT,
    own     INTEGER NOT NULL CHECK (own IN (0, 1)),
    record  TEXT    NOT NULL,
    made_at REAL    NOT NULL,
    made_by TEXT    NOT NULL
) STRICT;

-- What a tenant's keys may do at most, whoever makes them.
CREATE TABLE access_tenant (
    name   TEXT NOT NULL PRIMARY KEY,
    record TEXT NOT NULL
) STRICT;

-- Who did what. hash is the SHA-256 of the row before it and of this one.
CREATE TABLE access_audit (
    seq        INTEGER NOT NULL,
    at         REAL    NOT NULL,
    who        TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    tenant     TEXT,
    action     TEXT    NOT NULL,
    object     TEXT    NOT NULL,
    was        TEXT    NOT NULL,
    became     TEXT    NOT NULL,
    hash       BLOB    NOT NULL,
    PRIMARY KEY (seq)
) STRICT;

-- append-only: access_audit
