//! A copy of a store while it is written.
//!
//! `VACUUM INTO` reads one snapshot and holds nobody up: the writer's log only grows meanwhile.
//! Copying page by page would start over with every commit of the coordinator.
//!
//! The copy is a store of its own, with another identity: once it is served, attempts that were
//! leased after the copy was made must not be taken for its own of the same number.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{StoreError, Trouble};

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something is there already.
    #[error("{} exists; --force replaces it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It would replace what it is a copy of, or a part of it.
    #[error("{} is in the store's own directory; name a file elsewhere", path.display())]
    Inside {
        /// The file.
        path: PathBuf,
    },
    /// What belonged to an earlier database of that name would be read as a part of the copy.
    #[error(
        "{} is there, of a database that is or was at that place: end who uses it, or move it away",
        path.display()
    )]
    Leftover {
        /// The log or journal.
        path: PathBuf,
    },
    /// There is no such folder.
    #[error("cannot write into {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be made.
    #[error("cannot {step} {}", path.display())]
    File {
        /// What was tried.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The store cannot be read, or the copy not written.
    #[error("cannot copy the store")]
    Copy(#[source] StoreError),
}

/// Copies the store of a connection into a file, which appears when it is whole and on the disk.
/// Returns its size in bytes.
pub fn backup(
    connection: &Connection,
    store: &Path,
    to: &Path,
    force: bool,
) -> Result<u64, BackupError> {
    let folder = match to.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    check_place(store, to, folder)?;
    if !force && to.exists() {
        return Err(BackupError::Exists { path: to.into() });
    }
    let partial = beside(to, ".partial");
    let error = |step, path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::File { step, path, source }
    };
    remove(&partial).map_err(error("replace", &partial))?;
    let bytes = write(connection, store, &partial).inspect_err(|_| {
        // What is left of it is of no use, and in the way where the disk is full.
        drop(remove(&partial));
    })?;
    fs::rename(&partial, to).map_err(error("write", to))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(error("sync", folder))?;
    Ok(bytes)
}

/// A copy must not become a part of the store, nor anything else a part of the copy.
fn check_place(store: &Path, to: &Path, folder: &Path) -> Result<(), BackupError> {
    let wrong = |source| BackupError::Folder { path: folder.into(), source };
    let real = folder.canonicalize().map_err(wrong)?;
    let is_own = |folder: &Path| {
        let own = store.canonicalize().ok();
        own.is_some_and(|store| store.parent() == Some(folder))
    };
    let target = to.canonicalize().ok();
    if is_own(&real) || target.as_deref().and_then(Path::parent).is_some_and(is_own) {
        return Err(BackupError::Inside { path: to.into() });
    }
    let leftovers = ["-wal", "-shm", "-journal"].map(|end| beside(to, end));
    match leftovers.into_iter().find(|path| path.exists()) {
        Some(path) => Err(BackupError::Leftover { path }),
        None => Ok(()),
    }
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(source),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes and syncs the copy; how long it is in bytes.
fn write(connection: &Connection, store: &Path, copy: &Path) -> Result<u64, BackupError> {
    let error = |step| move |source| BackupError::File { step, path: copy.into(), source };
    let text = copy.to_str().ok_or_else(|| {
        error("name")(io::Error::new(io::ErrorKind::InvalidInput, "it is not UTF-8"))
    })?;
    let of_copy = |source| BackupError::Copy(StoreError::open("write", copy, source));
    connection.execute("VACUUM INTO ?", [text]).map_err(|source| match Trouble::of(&source) {
        // What SQLite says of reading is of the store.
        Trouble::Corrupt | Trouble::NotADatabase | Trouble::Locked => {
            BackupError::Copy(StoreError::read("the store", store, source))
        }
        _ => of_copy(source),
    })?;
    renew_identity(copy).map_err(of_copy)?;
    let file = File::open(copy).map_err(error("read"))?;
    file.sync_all().map_err(error("sync"))?;
    Ok(file.metadata().map_err(error("read"))?.len())
}

fn renew_identity(copy: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(copy)?;
    connection.execute("UPDATE store SET id = lower(hex(randomblob(16)))", ())?;
    connection.close().map_err(|(_, source)| source)
}
