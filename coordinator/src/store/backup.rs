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

use super::StoreError;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something is there already.
    #[error("{} exists; --force replaces it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It would replace what it is a copy of.
    #[error("{} is the store itself; name another file", path.display())]
    Itself {
        /// The file.
        path: PathBuf,
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
    if to.canonicalize().is_ok_and(|to| store.canonicalize().is_ok_and(|store| to == store)) {
        return Err(BackupError::Itself { path: to.into() });
    }
    if !force && to.exists() {
        return Err(BackupError::Exists { path: to.into() });
    }
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let error = |step, path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::File { step, path, source }
    };
    match fs::remove_file(&partial) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(error("replace", &partial)(source));
        }
        Ok(()) | Err(_) => {}
    }
    let text = partial.to_str().ok_or_else(|| {
        error("name", &partial)(io::Error::new(io::ErrorKind::InvalidInput, "it is not UTF-8"))
    })?;
    connection
        .execute("VACUUM INTO ?", [text])
        .map_err(|source| BackupError::Copy(StoreError::read("the store", store, source)))?;
    renew_identity(&partial)
        .map_err(|source| BackupError::Copy(StoreError::open("write to", &partial, source)))?;
    let file = File::open(&partial).map_err(error("read", &partial))?;
    file.sync_all().map_err(error("sync", &partial))?;
    let bytes = file.metadata().map_err(error("read", &partial))?.len();
    fs::rename(&partial, to).map_err(error("write", to))?;
    let folder = match to.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(error("sync", folder))?;
    Ok(bytes)
}

fn renew_identity(copy: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(copy)?;
    connection.execute("UPDATE store SET id = lower(hex(randomblob(16)))", ())?;
    connection.close().map_err(|(_, source)| source)
}
