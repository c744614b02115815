//! Answers for readers, from a connection of their own that only reads.
//!
//! Works beside a running coordinator, without one, and on what a killed one left. A snapshot is
//! held for one read, never while an answer is sent. Queries are an edge: answers are wire types.
//! What only the running coordinator knows (why nothing runs, an estimate of the time left) it
//! adds itself.

mod error;
mod expect;
mod group;
pub mod history;
pub mod metric;
mod probe;
pub mod rise;
pub mod statistics;
mod sweeps;
mod table;
mod trial;
pub mod verdict;
mod weights;
mod workers;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use common::ids::TrialId;
use common::spec::{self, Sweep};
use common::wire;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction};

use crate::store::backup::{self, BackupError};
use crate::store::sqlite;
use crate::store::{StoreError, check};

pub use error::{Class, Elsewhere, QueryError, suggest};
pub use metric::{Ended, Metric, Shown};
pub use table::{EPOCH_METRICS, Sink, epoch_metrics};
pub use trial::{ATTEMPTS_MAX, EPOCHS_MAX};
pub use weights::{Fate, Tested};

/// A reader of a state directory: a connection that answers one question at a time. Opening one
/// takes a fraction of a millisecond; its calls block on the disk.
pub struct Reader {
    connection: Connection,
    path: PathBuf,
    state_dir: PathBuf,
}

/// A sweep that exists.
struct Known {
    id: i64,
    name: String,
}

/// A trial that exists.
#[derive(Clone, Copy)]
struct KnownTrial {
    row: i64,
    id: TrialId,
}

impl KnownTrial {
    /// From a row of `trials`: the places of its `id` and its `hash`.
    fn read(row: &Row<'_>, id: usize, hash: usize) -> rusqlite::Result<KnownTrial> {
        let hash: i64 = row.get(hash)?;
        Ok(KnownTrial { row: row.get(id)?, id: TrialId(hash.cast_unsigned()) })
    }

    fn attempt(self, number: u32) -> wire::AttemptId {
        wire::AttemptId { trial: self.id.to_string(), attempt: number }
    }
}

impl Reader {
    /// Opens the store of a state directory for reading.
    pub fn open(state_dir: &Path) -> Result<Reader, QueryError> {
        let path = state_dir.join(sqlite::FILE_NAME);
        if !path.exists() {
            return Err(QueryError::NoStore { state_dir: state_dir.into() });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let wrong = |source| store_error(StoreError::open("open", &path, source));
        let connection = Connection::open_with_flags(&path, flags).map_err(wrong)?;
        sqlite::set_up_connection(&connection).map_err(wrong)?;
        let found = sqlite::identify(&connection).map_err(wrong)?;
        sqlite::check_identity(&found, &path).map_err(store_error)?;
        match found.version {
            0 => Err(QueryError::NoStore { state_dir: state_dir.into() }),
            sqlite::VERSION => Ok(Reader { connection, path, state_dir: state_dir.into() }),
            found => Err(QueryError::Older { path, found, known: sqlite::VERSION }),
        }
    }

    /// Whether the store is whole.
    pub fn check(&self) -> Result<check::Report, QueryError> {
        check::check(&self.connection, &self.path).map_err(store_error)
    }

    /// Copies the store into a file.
    pub fn backup(&self, to: &Path, force: bool) -> Result<u64, BackupError> {
        backup::backup(&self.connection, &self.path, to, force)
    }

    /// A consistent view; drop it before anything slow.
    fn snapshot(&self) -> Result<Transaction<'_>, QueryError> {
        self.connection.unchecked_transaction().map_err(self.wrong("the store"))
    }

    /// Turns SQLite's errors while reading `what` into ours.
    fn wrong(&self, what: &'static str) -> impl Fn(rusqlite::Error) -> QueryError + Copy {
        let path = &self.path;
        move |source| store_error(StoreError::read(what, path, source))
    }

    fn known(&self, name: &str) -> Result<Known, QueryError> {
        let wrong = self.wrong("the sweeps");
        let id = self
            .connection
            .query_row("SELECT id FROM sweeps WHERE name = ?", [name], |row| row.get(0))
            .optional()
            .map_err(wrong)?;
        if let Some(id) = id {
            return Ok(Known { id, name: name.into() });
        }
        let known = self.names().map_err(wrong)?;
        let suggestion = error::suggest(name, known.iter().map(String::as_str));
        Err(QueryError::UnknownSweep { name: name.into(), known, suggestion })
    }

    /// The sweep's own file, as it was applied last.
    fn file(&self, sweep: &Known) -> Result<Sweep, QueryError> {
        let yaml: String = self
            .connection
            .query_row("SELECT yaml FROM sweeps WHERE id = ?", [sweep.id], |row| row.get(0))
            .map_err(self.wrong("the sweeps"))?;
        // Its size was accepted when it was applied.
        let options = spec::Options { trials_max: u64::MAX, ..spec::Options::default() };
        let (file, _warnings) = spec::load(&yaml, &sweep.name, &options).map_err(|source| {
            QueryError::SweepFile { sweep: sweep.name.clone(), source: Box::new(source) }
        })?;
        Ok(file)
    }

    /// Every sweep's name, oldest first.
    fn names(&self) -> rusqlite::Result<Vec<String>> {
        let mut statement = self.connection.prepare("SELECT name FROM sweeps ORDER BY id")?;
        statement.query_map((), |row| row.get(0))?.collect()
    }
}

fn store_error(error: StoreError) -> QueryError {
    QueryError::Store(Box::new(error))
}
