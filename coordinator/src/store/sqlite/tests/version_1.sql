-- A store of schema version 1 as its program left it, as SQL (`sqlite3 FILE .dump`).
PRAGMA foreign_keys = OFF;
PRAGMA application_id = 1735549284;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
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
INSERT INTO "attempts" VALUES(-4189805510695221700,1,'w1',9,4,1700000000000,NULL,NULL,0,'');
INSERT INTO "attempts" VALUES(-1130346527496672252,1,'w1',8,4,1700000000000,1700000000000,'trainer died',1,'signal 9');
INSERT INTO "attempts" VALUES(3515257865806337257,1,'w1',12,4,1700000000000,NULL,NULL,0,'');
INSERT INTO "attempts" VALUES(6763904409319364403,1,'w1',8,4,1700000000000,1700000000000,'worker lost',0,'');
INSERT INTO "attempts" VALUES(6763904409319364403,2,'w1',10,4,1700000000000,1700000000000,'completed',0,'');
CREATE TABLE cohort_logs (
    cohort INTEGER PRIMARY KEY,
    stderr_tail TEXT NOT NULL
) STRICT;
INSERT INTO "cohort_logs" VALUES(8,'last words');
CREATE TABLE configs (
    id INTEGER PRIMARY KEY,
    model TEXT NOT NULL,
    data TEXT NOT NULL,
    params TEXT NOT NULL                -- JSON object
) STRICT;
INSERT INTO "configs" VALUES(-4189805510695221700,'mlp','strokes','{"activation":"relu","batch_size":500,"clip_norm":null,"depth":3,"dropout":"none","epochs":100,"init":"orthogonal","init_gain":1.0,"lr":0.1234567890123456,"patience":10,"precision":"fp32","train_examples":null,"val_examples":null,"width":512}');
INSERT INTO "configs" VALUES(-1130346527496672252,'mlp','strokes','{"activation":"relu","batch_size":500,"clip_norm":null,"depth":2,"dropout":"none","epochs":100,"init":"orthogonal","init_gain":1.0,"lr":0.1234567890123456,"patience":10,"precision":"fp32","train_examples":null,"val_examples":null,"width":512}');
INSERT INTO "configs" VALUES(3515257865806337257,'mlp','strokes','{"activation":"relu","batch_size":500,"clip_norm":null,"depth":4,"dropout":"none","epochs":100,"init":"orthogonal","init_gain":1.0,"lr":0.1234567890123456,"patience":10,"precision":"fp32","train_examples":null,"val_examples":null,"width":512}');
INSERT INTO "configs" VALUES(4877182439034565467,'mlp','strokes','{"activation":"relu","batch_size":500,"clip_norm":null,"depth":5,"dropout":"none","epochs":100,"init":"orthogonal","init_gain":1.0,"lr":0.1234567890123456,"patience":10,"precision":"fp32","train_examples":null,"val_examples":null,"width":512}');
INSERT INTO "configs" VALUES(5541552451005099863,'mlp','strokes','{"activation":"relu","batch_size":500,"clip_norm":null,"depth":6,"dropout":"none","epochs":100,"init":"orthogonal","init_gain":1.0,"lr":0.1234567890123456,"patience":10,"precision":"fp32","train_examples":null,"val_examples":null,"width":512}');
INSERT INTO "configs" VALUES(6763904409319364403,'mlp','strokes','{"activation":"relu","batch_size":500,"clip_norm":null,"depth":1,"dropout":"none","epochs":100,"init":"orthogonal","init_gain":1.0,"lr":0.1234567890123456,"patience":10,"precision":"fp32","train_examples":null,"val_examples":null,"width":512}');
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
INSERT INTO "epochs" VALUES(-4189805510695221700,1,1,0.5,0.25,NULL,1.0,0.1,0.0003,9.0e+999,10000.0,1.5,10000);
INSERT INTO "epochs" VALUES(6763904409319364403,1,1,0.5,0.25,NULL,1.0,0.1,0.0003,9.0e+999,10000.0,1.5,10000);
INSERT INTO "epochs" VALUES(6763904409319364403,1,2,0.5,0.25,NULL,0.5,0.1,0.0003,9.0e+999,10000.0,1.5,10000);
INSERT INTO "epochs" VALUES(6763904409319364403,2,2,0.5,0.25,NULL,0.5,0.1,0.0003,9.0e+999,10000.0,1.5,10000);
CREATE TABLE members (
    sweep INTEGER NOT NULL REFERENCES sweeps (id),
    trial INTEGER NOT NULL REFERENCES trials (id),
    place INTEGER NOT NULL,             -- in the order of expansion; removed members keep theirs
    removed INTEGER NOT NULL,
    PRIMARY KEY (sweep, trial)
) STRICT, WITHOUT ROWID;
INSERT INTO "members" VALUES(1,-4189805510695221700,2,0);
INSERT INTO "members" VALUES(1,-1130346527496672252,1,0);
INSERT INTO "members" VALUES(1,3515257865806337257,3,0);
INSERT INTO "members" VALUES(1,4877182439034565467,4,0);
INSERT INTO "members" VALUES(1,5541552451005099863,5,1);
INSERT INTO "members" VALUES(1,6763904409319364403,0,0);
INSERT INTO "members" VALUES(2,-4189805510695221700,0,0);
INSERT INTO "members" VALUES(2,6763904409319364403,1,0);
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
INSERT INTO "outcomes" VALUES(4877182439034565467,NULL,'cancelled',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'no sweep wants it','','','','',0,'',0,1700000000000);
INSERT INTO "outcomes" VALUES(6763904409319364403,2,'completed',3,9.5,2,0.26,0.75,0.25,0.5,0.25,'patience exhausted at epoch 3','0.1.0','','','',0,'',0,1700000000000);
CREATE TABLE store (id TEXT NOT NULL) STRICT;
INSERT INTO "store" VALUES('0123456789abcdef0123456789abcdef');
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
INSERT INTO "sweeps" VALUES(1,'first','name: first
# τ
','mlp','strokes','16',-3,7,3600.5,'digest',1,1700000000000,1700000000000);
INSERT INTO "sweeps" VALUES(2,'second','name: second
# τ
','mlp','strokes','16',-3,7,3600.5,NULL,0,1700000000000,NULL);
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
INSERT INTO "trials" VALUES(-4189805510695221700,-4189805510695221700,0,'running',1,0,NULL);
INSERT INTO "trials" VALUES(-1130346527496672252,-1130346527496672252,0,'pending',1,1,2);
INSERT INTO "trials" VALUES(3515257865806337257,3515257865806337257,0,'running',1,0,NULL);
INSERT INTO "trials" VALUES(4877182439034565467,4877182439034565467,0,'cancelled',0,0,NULL);
INSERT INTO "trials" VALUES(5541552451005099863,5541552451005099863,0,'pending',0,0,NULL);
INSERT INTO "trials" VALUES(6763904409319364403,6763904409319364403,0,'completed',2,0,NULL);
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
INSERT INTO "workers" VALUES('w1','host','0.1.0','','["cuda:0","cpu"]','{"strokes":"abc"}',0,0,1700000000000);
CREATE INDEX members_by_place ON members (sweep, place);
CREATE INDEX attempts_running ON attempts (worker, cohort) WHERE ended IS NULL;
CREATE INDEX outcomes_failed ON outcomes (ended_unix_ms) WHERE kind = 'failed';
COMMIT;
