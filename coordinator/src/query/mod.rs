//! Answers for readers, from a connection of their own that only reads.
//!
//! Works beside a running coordinator, without one, and on what a killed one left. A snapshot is
//! held for one read, never while an answer is sent. Queries are an edge: answers are wire types.
//! What only the running coordinator knows (why nothing runs, an estimate of the time left) it
//! adds itself.

mod error;
pub mod history;
pub mod metric;
pub mod statistics;
mod sweeps;
mod table;
mod trial;
mod workers;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use common::wire;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction};

use crate::store::StoreError;
use crate::store::sqlite::{self, BUSY_TIMEOUT, STATEMENTS_CACHED};

pub use error::{Class, Elsewhere, QueryError};
pub use metric::Metric;
pub use table::Sink;
pub use trial::{ATTEMPTS_MAX, EPOCHS_MAX};

/// Connections that are kept for later questions. More questions at once open more.
const IDLE_MAX: usize = 4;

/// A reader of a state directory, shared by threads. Its calls block on the disk.
pub struct Reader {
    state_dir: PathBuf,
    idle: Mutex<Vec<Session>>,
}

impl Reader {
    /// Opens the store of a state directory for reading.
    pub fn open(state_dir: &Path) -> Result<Reader, QueryError> {
        let first = Session::open(state_dir)?;
        Ok(Reader { state_dir: state_dir.into(), idle: Mutex::new(vec![first]) })
    }

    /// Every sweep, oldest first, without its failures.
    pub fn sweeps(&self) -> Result<Vec<wire::Sweep>, QueryError> {
        self.with(Session::sweeps)
    }

    /// One sweep. `eta_seconds`, and the reason where nothing runs, only a running coordinator
    /// knows.
    pub fn sweep(&self, name: &str) -> Result<wire::Sweep, QueryError> {
        self.with(|session| session.sweep(name))
    }

    /// A trial of a sweep by its id or at least four digits of its start. Has its newest
    /// `ATTEMPTS_MAX` attempts and `EPOCHS_MAX` epochs.
    pub fn trial(&self, sweep: &str, trial: &str) -> Result<wire::Trial, QueryError> {
        self.with(|session| session.trial(sweep, trial))
    }

    /// What the trainers of a trial's attempts wrote to stderr last, oldest first; of those whose
    /// cohort failed, since the others leave nothing behind.
    pub fn log(&self, sweep: &str, trial: &str) -> Result<wire::GetLogResponse, QueryError> {
        self.with(|session| session.log(sweep, trial))
    }

    /// Every worker that ever attached, by id. Without a running coordinator all of them are
    /// lost. The store knows how many cohorts a worker runs and not in which of its slots: they
    /// are listed from the first slot on.
    pub fn workers(&self) -> Result<Vec<wire::Worker>, QueryError> {
        self.with(Session::workers)
    }

    /// Answers a table request in parts of bounded size; the first has the columns.
    ///
    /// No snapshot is held while `sink` runs, so a long table may mix the states of different
    /// moments, each row being of one. By config, a cell's `unfinished` counts pending, running
    /// and cancelled trials, and a combination of parameters that the sweep does not have is a
    /// cell without value. A number that is missing or not finite is empty text.
    pub fn table(&self, request: &wire::TableRequest, sink: Sink) -> Result<(), QueryError> {
        self.with(|session| session.table(request, sink))
    }

    fn with<T>(
        &self,
        ask: impl FnOnce(&Session) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle().pop();
        let session = match waiting {
            Some(session) => session,
            None => Session::open(&self.state_dir)?,
        };
        let answer = ask(&session);
        let mut idle = idle();
        if idle.len() < IDLE_MAX {
            idle.push(session);
        }
        answer
    }
}

/// A connection that answers one question at a time.
struct Session {
    connection: Connection,
    path: PathBuf,
    state_dir: PathBuf,
}

/// A sweep that exists.
struct Known {
    id: i64,
    name: String,
}

impl Session {
    fn open(state_dir: &Path) -> Result<Session, QueryError> {
        let path = state_dir.join(sqlite::FILE_NAME);
        if !path.exists() {
            return Err(QueryError::NoStore { state_dir: state_dir.into() });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let wrong = |source| store_error(StoreError::open("open", &path, source));
        let connection = Connection::open_with_flags(&path, flags).map_err(wrong)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(wrong)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        let found = sqlite::identify(&connection).map_err(wrong)?;
        sqlite::check_identity(&found, &path).map_err(store_error)?;
        match found.version {
            0 => Err(QueryError::NoStore { state_dir: state_dir.into() }),
            sqlite::VERSION => Ok(Session { connection, path, state_dir: state_dir.into() }),
            found => Err(QueryError::Older { path, found, known: sqlite::VERSION }),
        }
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

    /// Every sweep's name, oldest first.
    fn names(&self) -> rusqlite::Result<Vec<String>> {
        let mut statement = self.connection.prepare("SELECT name FROM sweeps ORDER BY id")?;
        statement.query_map((), |row| row.get(0))?.collect()
    }
}

fn store_error(error: StoreError) -> QueryError {
    QueryError::Store(Box::new(error))
}
