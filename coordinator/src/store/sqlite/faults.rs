//! A store on a machine whose disk fails on purpose: SQLite runs unchanged on a file system of
//! its own, so that every write, truncation, sync and deletion is a point where the power can go.

mod disk;
mod machine;
mod vfs;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::Connection;

pub use disk::{Disk, Fault, Refusal};
use machine::Machine;

use super::{FILE_NAME, OPEN_FLAGS, SqliteStore};
use crate::store::suite::Place;
use crate::store::{Store, StoreError};

/// A machine with one database.
pub struct Faulty {
    machine: Arc<Mutex<Machine>>,
    id: u64,
}

impl Faulty {
    pub fn new(disk: Disk) -> Faulty {
        let machine = Arc::new(Mutex::new(Machine::new(disk)));
        Faulty { id: vfs::add(Arc::clone(&machine)), machine }
    }

    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/{}/{FILE_NAME}", self.id))
    }

    /// A connection without any setting.
    pub fn connect(&self) -> rusqlite::Result<Connection> {
        let vfs = vfs::NAME;
        Connection::open_with_flags_and_vfs(self.path(), OPEN_FLAGS, vfs)
    }

    pub fn store(&self) -> Result<SqliteStore, StoreError> {
        let path = self.path();
        let connection =
            self.connect().map_err(|source| StoreError::open("open", &path, source))?;
        SqliteStore::set_up(connection, path)
    }

    pub fn fail(&self, fault: Fault) {
        self.machine().disk.fail(fault);
    }

    /// Operations since `fail`.
    pub fn operations(&self) -> u64 {
        self.machine().disk.operations()
    }

    pub fn has_power(&self) -> bool {
        self.machine().disk.has_power()
    }

    /// What the disk is like now.
    pub fn disk(&self) -> Disk {
        self.machine().disk.clone()
    }

    /// A machine with this disk, after a power cut.
    pub fn restarted(&self, seed: u64) -> Faulty {
        let other = Faulty::new(self.disk());
        other.machine().restart(seed);
        other
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        vfs::remove(self.id);
    }
}

impl Place for Faulty {
    fn open(&self) -> Box<dyn Store> {
        Box::new(self.store().unwrap())
    }
}

#[test]
fn sqlite_passes_the_suite_on_the_faulty_disk() {
    crate::store::suite::check(&|| Box::new(Faulty::new(Disk::new(1))));
}
