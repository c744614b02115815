-- Version 3. Rows that are written together lie together: trials and configs are numbered as they
-- are added, not by their hash, and the epochs of a cohort as they arrive, not by trial.

CREATE TABLE configs_new (
    id INTEGER PRIMARY KEY,
    hash INTEGER NOT NULL UNIQUE,       -- the id of its trial with seed 0
    model TEXT NOT NULL,
    data TEXT NOT NULL,
    params TEXT NOT NULL                -- JSON object
) STRICT;
INSERT INTO configs_new (hash, model, data, params)
SELECT id, model, data, params FROM configs ORDER BY id;

CREATE TABLE trials_new (
    id INTEGER PRIMARY KEY,             -- of its row; all other tables name a trial by it
    hash INTEGER NOT NULL UNIQUE,       -- the trial's id
    config INTEGER NOT NULL REFERENCES configs_new (id),
    seed INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (
        state IN ('pending', 'running', 'completed', 'diverged', 'failed', 'cancelled')
    ),
    attempts INTEGER NOT NULL,          -- number of the latest; 0 before the first
    deaths INTEGER NOT NULL,            -- that count against it
    cohort_size_max INTEGER,
    fenced INTEGER NOT NULL DEFAULT 0   -- 1: it was reopened since its latest attempt
) STRICT;
INSERT INTO trials_new (hash, config, seed, state, attempts, deaths, cohort_size_max, fenced)
SELECT t.id, c.id, t.seed, t.state, t.attempts, t.deaths, t.cohort_size_max, t.fenced
FROM trials t JOIN configs_new c ON c.hash = t.config
LEFT JOIN (SELECT trial, min(sweep) AS sweep, min(place) AS place FROM members GROUP BY trial) m
    ON m.trial = t.id
ORDER BY m.sweep, m.place, t.id;

CREATE TABLE members_new (
    sweep INTEGER NOT NULL REFERENCES sweeps (id),
    trial INTEGER NOT NULL REFERENCES trials_new (id),
    place INTEGER NOT NULL,             -- in the order of expansion; removed members keep theirs
    removed INTEGER NOT NULL,
    PRIMARY KEY (sweep, trial)
) STRICT, WITHOUT ROWID;
INSERT INTO members_new
SELECT m.sweep, t.id, m.place, m.removed FROM members m JOIN trials_new t ON t.hash = m.trial
ORDER BY m.sweep, t.id;

CREATE TABLE attempts_new (
    trial INTEGER NOT NULL REFERENCES trials_new (id),
    number INTEGER NOT NULL,
    worker TEXT NOT NULL,
    cohort INTEGER NOT NULL,
    cohort_size INTEGER NOT NULL,
    started_unix_ms INTEGER NOT NULL,
    ended_unix_ms INTEGER,
    ended TEXT,                         -- how, in words; NULL while it runs
    counted INTEGER NOT NULL,           -- its end counts against the trial
    message TEXT NOT NULL,
    first_epoch INTEGER,                -- NULL while it runs, and where it has none
    last_epoch INTEGER,
    PRIMARY KEY (trial, number)
) STRICT, WITHOUT ROWID;
INSERT INTO attempts_new
SELECT t.id, a.number, a.worker, a.cohort, a.cohort_size, a.started_unix_ms, a.ended_unix_ms,
    a.ended, a.counted, a.message,
    iif(a.ended IS NULL, NULL, (SELECT min(epoch) FROM epochs e
        WHERE e.trial = a.trial AND e.attempt = a.number)),
    iif(a.ended IS NULL, NULL, (SELECT max(epoch) FROM epochs e
        WHERE e.trial = a.trial AND e.attempt = a.number))
FROM attempts a JOIN trials_new t ON t.hash = a.trial ORDER BY t.id, a.number;

CREATE TABLE epochs_new (
    cohort INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    trial INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
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
    PRIMARY KEY (cohort, epoch, trial, attempt)
) STRICT, WITHOUT ROWID;
INSERT INTO epochs_new
SELECT a.cohort, e.epoch, t.id, e.attempt, e.train_loss, e.train_error, e.val_loss, e.val_error,
    e.gate, e.lr, e.grad_norm, e.examples_per_second, e.seconds, e.examples
FROM epochs e JOIN attempts a ON a.trial = e.trial AND a.number = e.attempt
JOIN trials_new t ON t.hash = e.trial
ORDER BY a.cohort, e.epoch, t.id, e.attempt;

CREATE TABLE outcomes_new (
    trial INTEGER PRIMARY KEY REFERENCES trials_new (id),
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
INSERT INTO outcomes_new
SELECT t.id, o.attempt, o.kind, o.epochs, o.seconds, o.best_epoch, o.test_error, o.test_loss,
    o.val_error, o.val_loss, o.train_loss, o.reason, o.program_version, o.libtorch_version,
    o.device, o.precision, o.cohort_size, o.data_digest, o.threads, o.ended_unix_ms
FROM outcomes o JOIN trials_new t ON t.hash = o.trial ORDER BY t.id;

-- A row that refers to nothing would be left behind without a word.
CREATE TABLE guard (kept INTEGER CONSTRAINT every_row_is_kept CHECK (kept)) STRICT;
INSERT INTO guard VALUES
    ((SELECT count(*) FROM configs) = (SELECT count(*) FROM configs_new)),
    ((SELECT count(*) FROM trials) = (SELECT count(*) FROM trials_new)),
    ((SELECT count(*) FROM members) = (SELECT count(*) FROM members_new)),
    ((SELECT count(*) FROM attempts) = (SELECT count(*) FROM attempts_new)),
    ((SELECT count(*) FROM epochs) = (SELECT count(*) FROM epochs_new)),
    ((SELECT count(*) FROM outcomes) = (SELECT count(*) FROM outcomes_new));
DROP TABLE guard;

DROP TABLE outcomes;
DROP TABLE epochs;
DROP TABLE attempts;
DROP TABLE members;
DROP TABLE trials;
DROP TABLE configs;
ALTER TABLE configs_new RENAME TO configs;
ALTER TABLE trials_new RENAME TO trials;
ALTER TABLE members_new RENAME TO members;
ALTER TABLE attempts_new RENAME TO attempts;
ALTER TABLE epochs_new RENAME TO epochs;
ALTER TABLE outcomes_new RENAME TO outcomes;
CREATE INDEX members_by_place ON members (sweep, place);
CREATE INDEX attempts_running ON attempts (worker, cohort) WHERE ended IS NULL;
CREATE INDEX outcomes_failed ON outcomes (ended_unix_ms) WHERE kind = 'failed';

-- First and last epoch of every attempt. One that runs is read from its cohort's ends, where it
-- is met soon: its members go on together.
CREATE VIEW recorded AS
SELECT trial, number AS attempt, cohort,
    iif(ended IS NOT NULL, first_epoch, (
        SELECT epoch FROM epochs e
        WHERE e.cohort = a.cohort AND e.trial = a.trial AND e.attempt = a.number
        ORDER BY epoch LIMIT 1
    )) AS first,
    iif(ended IS NOT NULL, last_epoch, (
        SELECT epoch FROM epochs e
        WHERE e.cohort = a.cohort AND e.trial = a.trial AND e.attempt = a.number
        ORDER BY epoch DESC LIMIT 1
    )) AS last
FROM attempts a;
