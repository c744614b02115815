//! Whether a store is whole: SQLite's own checks, then sentences of ours that must hold.
//!
//! One snapshot, read only: it works beside a running coordinator, whose log grows meanwhile.

use std::path::Path;

use rusqlite::Connection;

use super::StoreError;
use super::sqlite;

/// Examples that are told of a sentence that does not hold.
const EXAMPLES_MAX: usize = 5;

/// What must be true of the rows, and a query for whatever contradicts it.
const SENTENCES: [(&str, &str); 13] = [
    (
        "a running trial has one open attempt, its latest",
        "SELECT printf('trial %016x', t.hash) FROM trials t
         LEFT JOIN attempts a ON a.trial = t.id AND a.ended IS NULL
         WHERE t.state = 'running' GROUP BY t.id
         HAVING count(a.number) <> 1 OR max(a.number) <> t.attempts",
    ),
    (
        "only a running trial has an open attempt",
        "SELECT printf('trial %016x, attempt %d', t.hash, a.number) FROM attempts a
         JOIN trials t ON t.id = a.trial WHERE a.ended IS NULL AND t.state <> 'running'",
    ),
    (
        "attempts are numbered from 1 without a gap",
        "SELECT printf('trial %016x', t.hash) FROM trials t
         LEFT JOIN (SELECT trial, count(*) AS many, max(number) AS last FROM attempts
            GROUP BY trial) a ON a.trial = t.id
         WHERE coalesce(a.many, 0) <> t.attempts OR coalesce(a.last, 0) <> t.attempts",
    ),
    (
        "a trial that ended has one outcome of its kind",
        "SELECT printf('trial %016x', t.hash) FROM trials t LEFT JOIN outcomes o ON o.trial = t.id
         WHERE t.state NOT IN ('pending', 'running') AND o.kind IS NOT t.state",
    ),
    (
        "a trial that has not ended has no outcome",
        "SELECT printf('trial %016x', t.hash) FROM outcomes o JOIN trials t ON t.id = o.trial
         WHERE t.state IN ('pending', 'running')",
    ),
    (
        "an outcome is of its trial's latest attempt",
        "SELECT printf('trial %016x, attempt %d', t.hash, o.attempt) FROM outcomes o
         JOIN trials t ON t.id = o.trial WHERE o.attempt IS NOT NULL AND o.attempt <> t.attempts",
    ),
    (
        "an epoch is of an attempt's cohort",
        "SELECT printf('cohort %d, epoch %d, trial row %d', e.cohort, e.epoch, e.trial)
         FROM epochs e LEFT JOIN attempts a ON a.trial = e.trial AND a.number = e.attempt
         WHERE a.cohort IS NOT e.cohort",
    ),
    (
        "an attempt's epochs follow each other",
        "SELECT printf('trial %016x, attempt %d', t.hash, e.attempt)
         FROM epochs e JOIN trials t ON t.id = e.trial GROUP BY e.trial, e.attempt
         HAVING count(*) <> max(e.epoch) - min(e.epoch) + 1 OR min(e.epoch) < 1",
    ),
    (
        "an attempt that ended knows its first and last epoch, one that runs does not",
        "SELECT printf('trial %016x, attempt %d', t.hash, a.number)
         FROM attempts a JOIN trials t ON t.id = a.trial
         LEFT JOIN (SELECT trial, attempt, min(epoch) AS first, max(epoch) AS last FROM epochs
            GROUP BY trial, attempt) e ON e.trial = a.trial AND e.attempt = a.number
         WHERE a.first_epoch IS NOT iif(a.ended IS NULL, NULL, e.first)
            OR a.last_epoch IS NOT iif(a.ended IS NULL, NULL, e.last)",
    ),
    (
        "an attempt starts within its trial's history, or right after it",
        "SELECT printf('trial %016x, attempt %d', t.hash, e.attempt) FROM (
            SELECT trial, attempt, min(epoch) AS first,
                lag(max(epoch)) OVER (PARTITION BY trial ORDER BY attempt) AS before
            FROM epochs GROUP BY trial, attempt) e JOIN trials t ON t.id = e.trial
         WHERE e.first > coalesce(e.before, 0) + 1",
    ),
    (
        "a trial's id is that of its config and seed",
        // Not what the id is, which SQL cannot tell, but that no two trials say the same.
        "SELECT printf('config %016x, seed %d', c.hash, t.seed)
         FROM trials t JOIN configs c ON c.id = t.config
         GROUP BY t.config, t.seed HAVING count(*) > 1",
    ),
    (
        "a sweep's members have places of their own",
        "SELECT printf('sweep %s, place %d', s.name, m.place) FROM members m
         JOIN sweeps s ON s.id = m.sweep WHERE m.removed = 0 AND s.expanded = 1
         GROUP BY m.sweep, m.place HAVING count(*) > 1",
    ),
    (
        "a completed sweep has no open member",
        "SELECT printf('sweep %s, trial %016x', s.name, t.hash) FROM members m
         JOIN sweeps s ON s.id = m.sweep JOIN trials t ON t.id = m.trial
         WHERE s.completed_unix_ms IS NOT NULL AND m.removed = 0
            AND t.state IN ('pending', 'running')",
    ),
];

/// What a store holds, and what is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Version of its schema.
    pub version: i64,
    /// Rows by table.
    pub rows: Vec<(&'static str, u64)>,
    /// What does not hold.
    pub violations: Vec<Violation>,
}

/// A sentence that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// What should be true.
    pub sentence: String,
    /// How often it is not.
    pub count: u64,
    /// Where, for a few of them.
    pub examples: Vec<String>,
}

const TABLES: [&str; 7] =
    ["sweeps", "members", "configs", "trials", "attempts", "epochs", "outcomes"];

/// Checks the store of a connection, in one snapshot.
pub fn check(connection: &Connection, path: &Path) -> Result<Report, StoreError> {
    let wrong = |source| StoreError::read("the store", path, source);
    let snapshot = connection.unchecked_transaction().map_err(wrong)?;
    let mut report = Report { version: sqlite::VERSION, ..Report::default() };
    let damage = examples(&snapshot, "SELECT integrity_check FROM pragma_integrity_check");
    let damage = damage.map_err(wrong)?;
    if damage.1 != ["ok"] {
        report.add("the file is whole (integrity_check)", damage);
        // What its pages say cannot be relied on.
        return Ok(report);
    }
    let foreign = "SELECT printf('%s, row %s', \"table\", rowid) FROM pragma_foreign_key_check";
    let foreign = examples(&snapshot, foreign).map_err(wrong)?;
    report.add("every row refers to rows that are there (foreign_key_check)", foreign);
    for (sentence, query) in SENTENCES {
        report.add(sentence, examples(&snapshot, query).map_err(wrong)?);
    }
    for table in TABLES {
        let count = format!("SELECT count(*) FROM {table}");
        let count: i64 = snapshot.query_row(&count, (), |row| row.get(0)).map_err(wrong)?;
        report.rows.push((table, count.cast_unsigned()));
    }
    Ok(report)
}

impl Report {
    fn add(&mut self, sentence: &str, (count, examples): (u64, Vec<String>)) {
        if count > 0 {
            let sentence = sentence.to_owned();
            self.violations.push(Violation { sentence, count, examples });
        }
    }
}

/// How many rows a query gives, and the first of them.
fn examples(connection: &Connection, query: &str) -> rusqlite::Result<(u64, Vec<String>)> {
    let mut statement = connection.prepare(query)?;
    let mut rows = statement.query(())?;
    let (mut count, mut examples) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        count += 1;
        if examples.len() < EXAMPLES_MAX {
            examples.push(row.get(0)?);
        }
    }
    Ok((count, examples))
}
