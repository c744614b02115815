//! A disk in memory that tells what was synced from what was only written: after a power cut it
//! holds the first and a random part of the second. Single operations can be refused. It knows
//! nothing of SQLite.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// The share of unsynced writes that outlives a power cut, in eighths, by the seed: none and all
/// are the likeliest in practice, and each finds faults that the others hide.
const KEPT_OF_EIGHT: [u64; 5] = [0, 8, 4, 6, 2];

/// Number of a file on the disk, whatever its name.
pub type Inode = usize;

/// What goes wrong, and at which operation: writes, truncations, syncs and deletions count.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    None,
    /// This operation and everything after it fails until `Disk::restart`.
    PowerCut {
        at: u64,
    },
    /// These operations fail.
    Refusal {
        from: u64,
        until: u64,
        why: Refusal,
    },
}

/// Why an operation failed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Refusal {
    PowerOff,
    /// No space: refuses writes alone.
    Full,
    /// An error of the device.
    Device,
    /// There is no such file.
    Missing,
}

#[derive(Clone)]
pub struct Disk {
    files: Vec<File>,
    names: BTreeMap<String, Inode>,
    names_synced: BTreeMap<String, Inode>,
    fault: Fault,
    operations: u64,
    has_power: bool,
    random: Random,
}

#[derive(Clone, Default)]
struct File {
    synced: Vec<u8>,
    /// What programs read.
    seen: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

impl Disk {
    pub fn new(seed: u64) -> Disk {
        Disk {
            files: Vec::new(),
            names: BTreeMap::new(),
            names_synced: BTreeMap::new(),
            fault: Fault::None,
            operations: 0,
            has_power: true,
            random: Random(seed),
        }
    }

    /// From now on, counting operations from 0 again.
    pub fn fail(&mut self, fault: Fault) {
        (self.fault, self.operations) = (fault, 0);
    }

    /// Operations since `fail`.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    pub fn has_power(&self) -> bool {
        self.has_power
    }

    /// The power goes, where it is still there, and comes back.
    pub fn restart(&mut self, seed: u64) {
        self.random = Random(seed);
        let kept_of_eight = KEPT_OF_EIGHT[usize::try_from(seed % 5).expect("below 5")];
        for file in &mut self.files {
            file.restart(&mut self.random, kept_of_eight);
        }
        let known = self.names.keys().chain(self.names_synced.keys());
        for name in known.cloned().collect::<BTreeSet<String>>() {
            let kept = self.random.below(8) < kept_of_eight;
            let names = if kept { &self.names } else { &self.names_synced };
            match names.get(&name).copied() {
                Some(inode) => self.names_synced.insert(name, inode),
                None => self.names_synced.remove(&name),
            };
        }
        self.names.clone_from(&self.names_synced);
        self.has_power = true;
        self.fail(Fault::None);
    }

    pub fn find(&self, name: &str) -> Result<Option<Inode>, Refusal> {
        if self.has_power { Ok(self.names.get(name).copied()) } else { Err(Refusal::PowerOff) }
    }

    pub fn create(&mut self, name: &str) -> Result<Inode, Refusal> {
        if !self.has_power {
            return Err(Refusal::PowerOff);
        }
        let inode = self.files.len();
        self.files.push(File::default());
        self.names.insert(name.into(), inode);
        Ok(inode)
    }

    pub fn bytes(&self, inode: Inode) -> Result<&[u8], Refusal> {
        if self.has_power { Ok(&self.files[inode].seen) } else { Err(Refusal::PowerOff) }
    }

    pub fn write(&mut self, inode: Inode, at: usize, bytes: &[u8]) -> Result<(), Refusal> {
        let had_power = self.has_power;
        let admitted = self.admit(true);
        let file = &mut self.files[inode];
        match admitted {
            Ok(()) => file.change(Change::Write { at, bytes: bytes.into() }),
            // It may be on the disk, whole or torn.
            Err(Refusal::PowerOff) if had_power => {
                file.unsynced.push(Change::Write { at, bytes: bytes.into() });
            }
            Err(Refusal::PowerOff) => {}
            Err(_) => {
                let sectors = self.random.below((bytes.len() / SECTOR + 1) as u64);
                let written = usize::try_from(sectors).expect("within the bytes") * SECTOR;
                file.change(Change::Write { at, bytes: bytes[..written].into() });
            }
        }
        admitted
    }

    pub fn truncate(&mut self, inode: Inode, length: usize) -> Result<(), Refusal> {
        let had_power = self.has_power;
        let admitted = self.admit(false);
        let file = &mut self.files[inode];
        match admitted {
            Ok(()) => file.change(Change::Truncate(length)),
            Err(_) if had_power && !self.has_power => file.unsynced.push(Change::Truncate(length)),
            Err(_) => {}
        }
        admitted
    }

    /// Makes a file's content outlive a power cut; with its directory, also which files there are.
    pub fn sync(&mut self, inode: Inode, with_directory: bool) -> Result<(), Refusal> {
        let admitted = self.admit(false);
        match admitted {
            Ok(()) => {
                self.files[inode].sync();
                if with_directory {
                    self.names_synced.clone_from(&self.names);
                }
            }
            Err(Refusal::PowerOff) => {}
            Err(_) => self.files[inode].lose_writes(&mut self.random),
        }
        admitted
    }

    pub fn delete(&mut self, name: &str, with_directory: bool) -> Result<(), Refusal> {
        self.find(name)?.ok_or(Refusal::Missing)?;
        let admitted = self.admit(false);
        match admitted {
            Ok(()) => {
                self.names.remove(name);
                if with_directory {
                    self.names_synced.clone_from(&self.names);
                }
            }
            Err(Refusal::PowerOff) => _ = self.names.remove(name),
            Err(_) => {}
        }
        admitted
    }

    fn admit(&mut self, takes_space: bool) -> Result<(), Refusal> {
        if !self.has_power {
            return Err(Refusal::PowerOff);
        }
        let operation = self.operations;
        self.operations += 1;
        match self.fault {
            Fault::PowerCut { at } if operation == at => {
                self.has_power = false;
                Err(Refusal::PowerOff)
            }
            Fault::Refusal { from, until, why }
                if (from..until).contains(&operation) && (why != Refusal::Full || takes_space) =>
            {
                Err(why)
            }
            Fault::None | Fault::PowerCut { .. } | Fault::Refusal { .. } => Ok(()),
        }
    }
}

impl File {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.synced);
        }
    }

    /// After a sync that failed the system takes the writes for clean, though the disk has only
    /// some of them: a later sync that succeeds does not write them.
    fn lose_writes(&mut self, random: &mut Random) {
        for change in mem::take(&mut self.unsynced) {
            if random.below(2) == 0 {
                change.apply(&mut self.synced);
            }
        }
    }

    fn restart(&mut self, random: &mut Random, kept_of_eight: u64) {
        for change in mem::take(&mut self.unsynced) {
            if random.below(8) >= kept_of_eight {
                continue;
            }
            let is_torn = kept_of_eight < 8 && random.below(4) == 0;
            match change {
                Change::Write { at, bytes } if is_torn => {
                    for (at, bytes) in sectors(at, &bytes) {
                        if random.below(2) == 0 {
                            write(&mut self.synced, at, bytes);
                        }
                    }
                }
                Change::Write { .. } | Change::Truncate(_) => change.apply(&mut self.synced),
            }
        }
        self.seen.clone_from(&self.synced);
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write { at, bytes } => write(content, *at, bytes),
            Change::Truncate(length) => content.resize(*length, 0),
        }
    }
}

fn write(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

/// Cut where the sectors of the disk end.
fn sectors(mut at: usize, mut bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(bytes.len().min(SECTOR - at % SECTOR));
        pieces.push((at, piece));
        (at, bytes) = (at + piece.len(), rest);
    }
    pieces
}

/// SplitMix64: any seed will do, also 0 and its neighbours.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[test]
fn disk_keeps_what_was_synced_and_some_of_the_rest() {
    let mut disk = Disk::new(1);
    let inode = disk.create("file").unwrap();
    disk.write(inode, 0, &[1; 2 * SECTOR]).unwrap();
    disk.sync(inode, true).unwrap();
    disk.write(inode, 0, &[2; 2 * SECTOR]).unwrap();
    let lost = disk.create("lost").unwrap();
    disk.write(lost, 0, &[3]).unwrap();
    let mut outcomes = BTreeSet::new();
    for seed in 0..512 {
        let mut after = disk.clone();
        after.restart(seed);
        let bytes = after.bytes(inode).unwrap();
        let halves = [bytes[0], bytes[SECTOR]];
        assert_eq!(bytes, [[halves[0]; SECTOR], [halves[1]; SECTOR]].concat());
        outcomes.insert((halves, after.find("lost").unwrap().is_some()));
    }
    assert_eq!(
        outcomes.len(),
        8,
        "torn in every way, with and without its neighbour: {outcomes:?}"
    );
}

#[test]
fn disk_refuses_what_it_is_told_to() {
    let mut disk = Disk::new(1);
    let inode = disk.create("file").unwrap();
    disk.fail(Fault::Refusal { from: 1, until: 3, why: Refusal::Full });
    disk.write(inode, 0, b"one").unwrap();
    assert_eq!(disk.write(inode, 0, b"two"), Err(Refusal::Full));
    disk.sync(inode, true).unwrap();
    disk.write(inode, 0, b"two").unwrap();
    disk.fail(Fault::PowerCut { at: 1 });
    disk.write(inode, 0, b"six").unwrap();
    assert_eq!(disk.sync(inode, true), Err(Refusal::PowerOff));
    assert_eq!(disk.write(inode, 0, b"ten"), Err(Refusal::PowerOff));
    assert_eq!(disk.bytes(inode), Err(Refusal::PowerOff));
    disk.restart(0);
    assert_eq!(disk.bytes(inode), Ok(&b"one"[..]));
}

#[test]
fn disk_forgets_writes_whose_sync_failed() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..64 {
        let mut disk = Disk::new(seed);
        let inode = disk.create("file").unwrap();
        disk.sync(inode, true).unwrap();
        disk.fail(Fault::Refusal { from: 1, until: 2, why: Refusal::Device });
        disk.write(inode, 0, b"one").unwrap();
        assert_eq!(disk.sync(inode, true), Err(Refusal::Device));
        disk.sync(inode, true).unwrap();
        assert_eq!(disk.bytes(inode), Ok(&b"one"[..]));
        disk.restart(seed);
        outcomes.insert(disk.bytes(inode).unwrap().to_vec());
    }
    assert_eq!(outcomes, [b"one".to_vec(), Vec::new()].into());
}
