//! A machine with a faulty disk: which connections have a file open, the locks that they hold on
//! it and the memory that they share, as SQLite asks for them of an operating system.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::disk::{Disk, Inode, Refusal};

/// A file that a connection has open.
pub type Handle = u64;

/// Another connection holds what was asked for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Busy;

/// How strongly a connection holds a database file, weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    None,
    Shared,
    Reserved,
    Pending,
    Exclusive,
}

/// A part of the memory that connections share; its address stays.
pub type Region = Arc<[AtomicU64]>;

pub struct Machine {
    pub disk: Disk,
    opened: BTreeMap<Handle, Opened>,
    shared: BTreeMap<Inode, Shared>,
    handles: u64,
}

struct Opened {
    inode: Inode,
    level: Level,
    /// Its next sync also makes the file's name outlive a power cut.
    syncs_directory: bool,
}

/// The memory that the connections of a file share, and its locks.
#[derive(Default)]
struct Shared {
    users: BTreeSet<Handle>,
    regions: Vec<Region>,
    slots: [Slot; 8],
}

#[derive(Default)]
struct Slot {
    readers: BTreeSet<Handle>,
    writer: Option<Handle>,
}

impl Machine {
    pub fn new(disk: Disk) -> Machine {
        Machine { disk, opened: BTreeMap::new(), shared: BTreeMap::new(), handles: 0 }
    }

    /// Cuts the power where it is still there and starts again.
    pub fn restart(&mut self, seed: u64) {
        assert!(self.opened.is_empty(), "connections do not outlive a power cut: drop them before");
        self.disk.restart(seed);
    }

    pub fn open(&mut self, inode: Inode, syncs_directory: bool) -> Handle {
        self.handles += 1;
        let opened = Opened { inode, level: Level::None, syncs_directory };
        self.opened.insert(self.handles, opened);
        self.handles
    }

    pub fn close(&mut self, handle: Handle) {
        self.leave(handle);
        self.opened.remove(&handle);
    }

    pub fn inode(&self, handle: Handle) -> Inode {
        self.opened[&handle].inode
    }

    pub fn sync(&mut self, handle: Handle) -> Result<(), Refusal> {
        let opened = self.opened.get_mut(&handle).expect("an open file");
        self.disk.sync(opened.inode, opened.syncs_directory)?;
        opened.syncs_directory = false;
        Ok(())
    }

    pub fn lock(&mut self, handle: Handle, wanted: Level) -> Result<(), Busy> {
        let others = self.strongest_but(handle);
        let opened = self.opened.get_mut(&handle).expect("an open file");
        if opened.level >= wanted {
            return Ok(());
        }
        match wanted {
            Level::None => {}
            Level::Shared if others >= Level::Pending => return Err(Busy),
            Level::Reserved if others >= Level::Reserved => return Err(Busy),
            Level::Pending | Level::Exclusive if others >= Level::Reserved => return Err(Busy),
            Level::Exclusive if others == Level::Shared => {
                // Keeps new readers away until the present ones are done.
                opened.level = Level::Pending;
                return Err(Busy);
            }
            Level::Shared | Level::Reserved | Level::Pending | Level::Exclusive => {}
        }
        opened.level = wanted;
        Ok(())
    }

    pub fn unlock(&mut self, handle: Handle, kept: Level) {
        let opened = self.opened.get_mut(&handle).expect("an open file");
        opened.level = opened.level.min(kept);
    }

    /// Whether any connection is about to write.
    pub fn is_reserved(&self, handle: Handle) -> bool {
        self.opened[&handle].level.max(self.strongest_but(handle)) >= Level::Reserved
    }

    fn strongest_but(&self, handle: Handle) -> Level {
        let inode = self.inode(handle);
        let others =
            self.opened.iter().filter(|(other, opened)| **other != handle && opened.inode == inode);
        others.map(|(_, opened)| opened.level).max().unwrap_or(Level::None)
    }

    /// Region `index` of the memory, made where it is not there and `extend` says so.
    pub fn map(
        &mut self,
        handle: Handle,
        index: usize,
        bytes: usize,
        extend: bool,
    ) -> Option<Region> {
        let shared = self.shared.entry(self.inode(handle)).or_default();
        shared.users.insert(handle);
        while extend && shared.regions.len() <= index {
            shared.regions.push((0..bytes.div_ceil(8)).map(|_| AtomicU64::new(0)).collect());
        }
        shared.regions.get(index).cloned()
    }

    /// A connection that leaves has no lock; the memory goes with the last one.
    pub fn leave(&mut self, handle: Handle) {
        let inode = self.inode(handle);
        let Some(shared) = self.shared.get_mut(&inode) else { return };
        shared.unlock(handle, 0..shared.slots.len());
        shared.users.remove(&handle);
        if shared.users.is_empty() {
            self.shared.remove(&inode);
        }
    }

    pub fn lock_shared(
        &mut self,
        handle: Handle,
        slots: Range<usize>,
        exclusive: bool,
    ) -> Result<(), Busy> {
        self.shared.entry(self.inode(handle)).or_default().lock(handle, slots, exclusive)
    }

    pub fn unlock_shared(&mut self, handle: Handle, slots: Range<usize>) {
        self.shared.entry(self.inode(handle)).or_default().unlock(handle, slots);
    }
}

impl Shared {
    fn lock(&mut self, handle: Handle, slots: Range<usize>, exclusive: bool) -> Result<(), Busy> {
        let slots = &mut self.slots[slots];
        for slot in slots.iter() {
            let is_written = slot.writer.is_some_and(|writer| writer != handle);
            let is_read = slot.readers.iter().any(|reader| *reader != handle);
            if is_written || exclusive && is_read {
                return Err(Busy);
            }
        }
        for slot in slots {
            if exclusive {
                slot.writer = Some(handle);
            } else {
                slot.readers.insert(handle);
            }
        }
        Ok(())
    }

    fn unlock(&mut self, handle: Handle, slots: Range<usize>) {
        for slot in &mut self.slots[slots] {
            slot.readers.remove(&handle);
            slot.writer = slot.writer.filter(|writer| *writer != handle);
        }
    }
}
