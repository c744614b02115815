//! The store in one SQLite file: write-ahead log, `synchronous=FULL`, one writer.
//!
//! Meant for a local disk: the write-ahead log needs memory that the processes of one host
//! share. `changes` writes rows, `restore` reads them back for the scheduler.

mod changes;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod migrations;
mod restore;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::ids::SweepName;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, ffi};
use scheduler::{Change, Event};

use super::{Store, StoreError, Trouble};

/// The database in the state directory.
pub const FILE_NAME: &str = "gradsweep.db";

/// Schema steps; the file's version is the number of those that it went through. A released
/// step never changes.
const MIGRATIONS: [&str; 3] = [
    include_str!("sqlite/schema/001.sql"),
    include_str!("sqlite/schema/002.sql"),
    include_str!("sqlite/schema/003.sql"),
];
/// Newest schema version, that of this program.
pub(crate) const VERSION: i64 = MIGRATIONS.len().cast_signed() as i64;
/// Marks the file as ours: "grad" in ASCII.
pub(crate) const APPLICATION_ID: i64 = 0x6772_6164;
/// A program that only looks is done within this time; one that holds on longer is an error.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// One connection on one thread: SQLite need not lock it.
const OPEN_FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE
    .union(OpenFlags::SQLITE_OPEN_CREATE)
    .union(OpenFlags::SQLITE_OPEN_NO_MUTEX);
/// Each kind of change has a few statements; all stay prepared.
const STATEMENTS_CACHED: usize = 64;
/// Interior pages and the hot leaves of hundreds of running trials.
const CACHE_KIB: i64 = 64 << 10;
/// Pages of the log before they go to the database: epochs of many running trials touch a page
/// each, and a page that is written often is then moved once.
const LOG_PAGES: i64 = 8_192;
/// The log is cut back to this size once readers let it.
const LOG_BYTES_MAX: i64 = 64 << 20;

/// What readers and the writer have in common.
pub(crate) fn set_up_connection(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    // Else a prepared statement is compiled again whenever its parameters change.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// A store in a state directory. The caller holds the directory's lock (`store::lock`).
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
}

impl SqliteStore {
    /// Opens or makes the database of `state_dir` and brings its schema up to date.
    pub fn open(state_dir: &Path) -> Result<SqliteStore, StoreError> {
        fs::create_dir_all(state_dir)
            .map_err(|source| StoreError::Directory { path: state_dir.into(), source })?;
        warn_of_network_disk(state_dir);
        let path = state_dir.join(FILE_NAME);
        let connection = Connection::open_with_flags(&path, OPEN_FLAGS)
            .map_err(|source| StoreError::open("open", &path, source))?;
        SqliteStore::set_up(connection, path)
    }

    /// Takes an open file, whatever file system it is on.
    fn set_up(connection: Connection, path: PathBuf) -> Result<SqliteStore, StoreError> {
        let mut store = SqliteStore { connection, path };
        store.check_owner()?;
        store.configure().map_err(|source| StoreError::open("set up", &store.path, source))?;
        store.migrate()?;
        Ok(store)
    }

    /// What tells this store from every other one, drawn when it was made: attempt numbers mean
    /// nothing elsewhere.
    pub fn id(&self) -> Result<String, StoreError> {
        let id = self.connection.query_row("SELECT id FROM store", [], |row| row.get(0));
        id.map_err(|source| StoreError::open("read the identity of", &self.path, source))
    }

    /// Refuses what is not ours before anything is written.
    fn check_owner(&self) -> Result<(), StoreError> {
        let found = identify(&self.connection)
            .map_err(|source| StoreError::open("open", &self.path, source))?;
        check_identity(&found, &self.path)
    }

    fn configure(&self) -> rusqlite::Result<()> {
        let connection = &self.connection;
        set_up_connection(connection)?;
        use_write_ahead_log(connection)?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
        connection.pragma_update(None, "journal_size_limit", LOG_BYTES_MAX)
    }

    fn migrate(&mut self) -> Result<(), StoreError> {
        let path = &self.path;
        let wrong = |source| StoreError::open("bring up to date", path, source);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(wrong)?;
        let found = identify(&transaction).map_err(wrong)?;
        check_identity(&found, path)?;
        let done = usize::try_from(found.version).expect("a version is never negative");
        if (1..VERSION).contains(&found.version) {
            tracing::info!(
                from = found.version,
                to = VERSION,
                "bringing {} up to date, which takes a while where it is large",
                path.display()
            );
        }
        for step in &MIGRATIONS[done..] {
            transaction.execute_batch(step).map_err(wrong)?;
        }
        if found.version < VERSION {
            transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(wrong)?;
            transaction.pragma_update(None, "user_version", VERSION).map_err(wrong)?;
        }
        transaction.commit().map_err(wrong)
    }
}

impl Store for SqliteStore {
    fn commit(&mut self, changes: &[Change], at_unix_ms: u64) -> Result<(), StoreError> {
        let path = &self.path;
        let not_committed = |source: rusqlite::Error| StoreError::NotCommitted {
            path: path.clone(),
            trouble: Trouble::of(&source),
            source: Some(source.into()),
        };
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(not_committed)?;
        let mut rows = changes::Rows::new(&transaction, at_unix_ms);
        let mut left = changes;
        while let Some(change) = left.first() {
            let written = rows.apply(left).map_err(|refusal| refusal.of_change(change, path))?;
            left = &left[written..];
        }
        // A failure from here on may come after the log's last frame reached the disk.
        transaction.commit().map_err(|source| StoreError::Unknown {
            path: path.clone(),
            trouble: Trouble::of(&source),
            source: source.into(),
        })
    }

    fn restore(&mut self, sink: &mut dyn FnMut(Event)) -> Result<(), StoreError> {
        restore::run(&mut self.connection, &self.path, sink)
    }

    fn unexpanded(&mut self) -> Result<Vec<SweepName>, StoreError> {
        restore::unexpanded(&self.connection, &self.path)
    }
}

/// SQLite answers with the new mode before it writes the mode to the file: only the end of the
/// answer says that it did. In any other mode a power cut can undo the last commit.
fn use_write_ahead_log(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("PRAGMA journal_mode = wal")?;
    let mut rows = statement.query(())?;
    let mut mode = String::new();
    while let Some(row) = rows.next()? {
        mode = row.get(0)?;
    }
    if mode != "wal" {
        let error = ffi::Error::new(ffi::SQLITE_ERROR);
        let text = format!("the journal mode stays `{mode}`; the store needs `wal`");
        return Err(rusqlite::Error::SqliteFailure(error, Some(text)));
    }
    Ok(())
}

/// What a database says it is.
pub(crate) struct Identity {
    application_id: i64,
    pub(crate) version: i64,
    tables: i64,
}

/// Reads what a database says it is. The first read of a file: what is no database fails here.
pub(crate) fn identify(connection: &Connection) -> rusqlite::Result<Identity> {
    Ok(Identity {
        application_id: connection.pragma_query_value(None, "application_id", |row| row.get(0))?,
        version: connection.pragma_query_value(None, "user_version", |row| row.get(0))?,
        tables: connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?,
    })
}

/// Refuses a database of another program or of a newer version of this one.
pub(crate) fn check_identity(found: &Identity, path: &Path) -> Result<(), StoreError> {
    let empty = found.version == 0 && found.tables == 0;
    if !empty && (found.application_id != APPLICATION_ID || found.version < 1) {
        return Err(StoreError::Foreign { path: path.into() });
    }
    if found.version > VERSION {
        let (found, known) = (found.version, VERSION);
        return Err(StoreError::Newer { path: path.into(), found, known });
    }
    Ok(())
}

/// The write-ahead log's shared memory does not reach over hosts.
fn warn_of_network_disk(state_dir: &Path) {
    // As `stat --file-system` names them.
    const MAGICS: [(u64, &str); 7] = [
        (0x6969, "NFS"),
        (0x0BD0_0BD0, "Lustre"),
        (0x4750_4653, "GPFS"),
        (0x1983_0326, "BeeGFS"),
        (0x00C3_6400, "CephFS"),
        (0xFF53_4D42, "CIFS"),
        (0xFE53_4D42, "SMB"),
    ];
    let Ok(found) = rustix::fs::statfs(state_dir) else { return };
    let named = MAGICS.iter().find(|(magic, _)| u64::try_from(found.f_type) == Ok(*magic));
    if let Some((_, name)) = named {
        let dir = state_dir.display();
        tracing::warn!(
            "the state directory {dir} is on {name}: commands on other hosts cannot read it while \
             the coordinator runs; a local --state directory, with `store backup` into the shared \
             one, is safer"
        );
    }
}
