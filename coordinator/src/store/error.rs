//! What can go wrong with a store, in words that say what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The batch is certainly not stored, no part of it.
    #[error("nothing of the last batch is stored in {}: {trouble}", path.display())]
    NotCommitted {
        /// The database file.
        path: PathBuf,
        /// What is wrong.
        trouble: Trouble,
        /// SQLite's words, where it refused.
        #[source]
        source: Option<Box<rusqlite::Error>>,
    },
    /// The batch is stored whole or not at all; nobody knows which.
    #[error("the last batch may or may not be stored in {}: {trouble}", path.display())]
    Unknown {
        /// The database file.
        path: PathBuf,
        /// What is wrong.
        trouble: Trouble,
        /// SQLite's words.
        #[source]
        source: Box<rusqlite::Error>,
    },
    /// A step of opening the file, or of starting from it, failed.
    #[error("cannot {step} {}: {trouble}", path.display())]
    Open {
        /// The step.
        step: &'static str,
        /// The database file.
        path: PathBuf,
        /// What is wrong.
        trouble: Trouble,
        /// SQLite's words.
        #[source]
        source: Box<rusqlite::Error>,
    },
    /// The state directory cannot be made.
    #[error("cannot make the state directory {}; give another with --state", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// A newer program wrote the file.
    #[error(
        "{} has schema version {found}, this program knows up to {known}; use the newer program \
         or another --state directory",
        path.display()
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Version of the file.
        found: i64,
        /// Newest known version.
        known: i64,
    },
    /// An SQLite database of something else.
    #[error(
        "{} is a database of another program; move it away or give another --state directory",
        path.display()
    )]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// Stored rows cannot be read.
    #[error("cannot read {what} from {}: {trouble}", path.display())]
    Read {
        /// What was read.
        what: &'static str,
        /// The database file.
        path: PathBuf,
        /// What is wrong.
        trouble: Trouble,
        /// SQLite's words.
        #[source]
        source: Box<rusqlite::Error>,
    },
    /// A stored value is not one that this program writes.
    #[error("{} has {what} that cannot be: restore the file from a copy", path.display())]
    Content {
        /// The database file.
        path: PathBuf,
        /// Which value.
        what: String,
        /// Why, where more is known.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// What is wrong with the file, and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// No space, or a quota.
    DiskFull,
    /// The file, its directory or its disk cannot be written.
    ReadOnly,
    /// Another program holds it.
    Locked,
    /// Its content is damaged.
    Corrupt,
    /// It is something else than a database.
    NotADatabase,
    /// It cannot be opened at all.
    CannotOpen,
    /// The disk gives errors.
    Io,
    /// The change contradicts what is stored: a bug of the scheduler, never of the user.
    Contradiction(String),
    /// Anything else.
    Other,
}

impl Trouble {
    /// What SQLite's error means to the user.
    pub(crate) fn of(error: &rusqlite::Error) -> Trouble {
        const TABLE: [(ErrorCode, Trouble); 9] = [
            (ErrorCode::DiskFull, Trouble::DiskFull),
            (ErrorCode::ReadOnly, Trouble::ReadOnly),
            (ErrorCode::PermissionDenied, Trouble::ReadOnly),
            (ErrorCode::DatabaseBusy, Trouble::Locked),
            (ErrorCode::DatabaseLocked, Trouble::Locked),
            (ErrorCode::DatabaseCorrupt, Trouble::Corrupt),
            (ErrorCode::NotADatabase, Trouble::NotADatabase),
            (ErrorCode::CannotOpen, Trouble::CannotOpen),
            (ErrorCode::SystemIoFailure, Trouble::Io),
        ];
        let Some(code) = error.sqlite_error_code() else { return Trouble::Other };
        let found = TABLE.into_iter().find(|(known, _)| *known == code);
        found.map_or(Trouble::Other, |(_, trouble)| trouble)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::DiskFull => "the disk is full; free some of it",
            Trouble::ReadOnly => {
                "it cannot be written; check the permissions and that its disk is not mounted \
                 read-only"
            }
            Trouble::Locked => {
                "another program holds it; close what has it open (an SQLite shell?) and start \
                 again"
            }
            Trouble::Corrupt => {
                "it is damaged; restore it from a copy, or move it away to start afresh"
            }
            Trouble::NotADatabase => {
                "it is not an SQLite database; move it away or give another --state directory"
            }
            Trouble::CannotOpen => {
                "it cannot be opened; check that it is a file and that its directory can be \
                 written"
            }
            Trouble::Io => "its disk gives errors; check the disk and start again",
            Trouble::Contradiction(what) => {
                return write!(f, "{what} contradicts what is stored; please report this bug");
            }
            Trouble::Other => "SQLite refused",
        })
    }
}

impl StoreError {
    pub(crate) fn open(step: &'static str, path: &Path, source: rusqlite::Error) -> StoreError {
        StoreError::Open {
            step,
            path: path.into(),
            trouble: Trouble::of(&source),
            source: source.into(),
        }
    }

    pub(crate) fn read(what: &'static str, path: &Path, source: rusqlite::Error) -> StoreError {
        StoreError::Read {
            what,
            path: path.into(),
            trouble: Trouble::of(&source),
            source: source.into(),
        }
    }
}
