-- Version 1. Ids that are 64 bits without sign are stored as the signed number of the same bits.
-- Times are milliseconds since 1970 by the coordinator's clock. A number that is NaN is NULL.

-- One row: what tells this store from every other one.
CREATE TABLE store (id TEXT NOT NULL) STRICT;
INSERT INTO store (id) VALUES (lower(hex(randomblob(16))));

CREATE TABLE sweeps (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    yaml TEXT NOT NULL,
    model TEXT NOT NULL,
    data TEXT NOT NULL,
    fusion TEXT NOT NULL,               -- 'auto', 'off' or the size
    priority INTEGER NOT NULL,
    failures_max INTEGER,
    slot_seconds_max REAL,
    data_digest TEXT,
    expanded INTEGER NOT NULL,          -- 0 until every member is stored
    created_unix_ms INTEGER NOT NULL,
    completed_unix_ms INTEGER           -- NULL while members are pending or running
) STRICT;

-- Shared by the trials that differ in their seed alone. The id is that of the trial with seed 0.
CREATE TABLE configs (
    id INTEGER PRIMARY KEY,
    model TEXT NOT NULL,
    data TEXT NOT NULL,
    params TEXT NOT NULL                -- JSON object
) STRICT;

CREATE TABLE trials (
    id INTEGER PRIMARY KEY,
    config INTEGER NOT NULL REFERENCES configs (id),
    seed INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (
        state IN ('pending', 'running', 'completed', 'diverged', 'failed', 'cancelled')
    ),
    attempts INTEGER NOT NULL,          -- number of the latest; 0 before the first
    deaths INTEGER NOT NULL,            -- that count against it
    cohort_size_max INTEGER
) STRICT;

CREATE TABLE members (
    sweep INTEGER NOT NULL REFERENCES sweeps (id),
    trial INTEGER NOT NULL REFERENCES trials (id),
    place INTEGER NOT NULL,             -- in the order of expansion; removed members keep theirs
    removed INTEGER NOT NULL,
    PRIMARY KEY (sweep, trial)
) STRICT, WITHOUT ROWID;

CREATE INDEX members_by_place ON members (sweep, place);

CREATE TABLE attempts (
    trial INTEGER NOT NULL REFERENCES trials (id),
    number INTEGER NOT NULL,
    worker TEXT NOT NULL,
    cohort INTEGER NOT NULL,
    cohort_size INTEGER NOT NULL,
    started_unix_ms INTEGER NOT NULL,
    ended_unix_ms INTEGER,
    ended TEXT,                         -- how, in words; NULL while it runs
    counted INTEGER NOT NULL,           -- its end counts against the trial
    message TEXT NOT NULL,
    PRIMARY KEY (trial, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX attempts_running ON attempts (worker, cohort) WHERE ended IS NULL;

-- What the trainer of a failed cohort wrote last, once for all its attempts.
CREATE TABLE cohort_logs (
    cohort INTEGER PRIMARY KEY,
    stderr_tail TEXT NOT NULL
) STRICT;

CREATE TABLE epochs (
    trial INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    train_loss REAL,
    train_error REAL,
    val_loss REAL,
    val_error REAL,
    gate REAL,
    lr REAL,
    grad_norm REAL,
    examples_per_second REAL,
    seconds REAL,
    examples INTEGER NOT NULL,
    PRIMARY KEY (trial, attempt, epoch),
    FOREIGN KEY (trial, attempt) REFERENCES attempts (trial, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE outcomes (
    trial INTEGER PRIMARY KEY REFERENCES trials (id),
    attempt INTEGER,                    -- NULL where the trial was closed without one
    kind TEXT NOT NULL CHECK (kind IN ('completed', 'diverged', 'failed', 'cancelled')),
    epochs INTEGER NOT NULL,
    seconds REAL,
    best_epoch INTEGER,
    test_error REAL,
    test_loss REAL,
    val_error REAL,
    val_loss REAL,
    train_loss REAL,
    reason TEXT NOT NULL,
    program_version TEXT NOT NULL,
    libtorch_version TEXT NOT NULL,
    device TEXT NOT NULL,
    precision TEXT NOT NULL,
    cohort_size INTEGER NOT NULL,
    data_digest TEXT NOT NULL,
    threads INTEGER NOT NULL,
    ended_unix_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX outcomes_failed ON outcomes (ended_unix_ms) WHERE kind = 'failed';

CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    program_version TEXT NOT NULL,
    libtorch_version TEXT NOT NULL,
    slots TEXT NOT NULL,                -- JSON list of devices
    data_digests TEXT NOT NULL,         -- JSON object: digest by data set
    draining INTEGER NOT NULL,
    attached INTEGER NOT NULL,
    last_seen_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
