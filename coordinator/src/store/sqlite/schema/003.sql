-- Version 3. The epochs of a cohort lie together, as they arrive, and not by trial: one message
-- of a worker then writes one page, not one of each member.

-- Its first and last epoch: NULL while it runs, and where it has none.
ALTER TABLE attempts ADD COLUMN first_epoch INTEGER;
ALTER TABLE attempts ADD COLUMN last_epoch INTEGER;
UPDATE attempts SET (first_epoch, last_epoch) = (
    SELECT min(epoch), max(epoch) FROM epochs e
    WHERE e.trial = attempts.trial AND e.attempt = attempts.number
) WHERE ended IS NOT NULL;

-- An attempt is of one cohort, which has a trial once: so a row is unique by trial, attempt and
-- epoch as well.
CREATE TABLE epochs_by_cohort (
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
    PRIMARY KEY (cohort, epoch, trial)
) STRICT, WITHOUT ROWID;
INSERT INTO epochs_by_cohort
SELECT a.cohort, e.epoch, e.trial, e.attempt, e.train_loss, e.train_error, e.val_loss,
    e.val_error, e.gate, e.lr, e.grad_norm, e.examples_per_second, e.seconds, e.examples
FROM epochs e JOIN attempts a ON a.trial = e.trial AND a.number = e.attempt
ORDER BY a.cohort, e.epoch, e.trial;
DROP TABLE epochs;
ALTER TABLE epochs_by_cohort RENAME TO epochs;

-- First and last epoch of every attempt. One that runs is read from its cohort's ends, where it
-- is met soon: its members go on together.
CREATE VIEW recorded AS
SELECT trial, number AS attempt, cohort,
    iif(ended IS NOT NULL, first_epoch, (
        SELECT epoch FROM epochs e WHERE e.cohort = a.cohort AND e.trial = a.trial
        ORDER BY epoch LIMIT 1
    )) AS first,
    iif(ended IS NOT NULL, last_epoch, (
        SELECT epoch FROM epochs e WHERE e.cohort = a.cohort AND e.trial = a.trial
        ORDER BY epoch DESC LIMIT 1
    )) AS last
FROM attempts a;
