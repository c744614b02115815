//! The spool of `worker/src/spool.rs` on a disk that can lose its unsynced tail: the same order of
//! appending, sending, acknowledging, compacting and opening again.

use std::collections::VecDeque;

use common::wire::report;

/// As in the real one: records that were lost may have been acknowledged.
const SEQUENCE_SKIP: u64 = 1 << 32;
/// Acknowledged records that the file may hold; they come again after a restart.
const IDLE_RECORDS_MAX: usize = 64;

/// A report with its number.
pub(crate) type Entry = (u64, report::Report);

/// The spool and its file.
#[derive(Debug)]
pub(crate) struct Spool {
    entries: VecDeque<Entry>,
    /// Entries at the front that the present stream has been given.
    sent: usize,
    next_sequence: u64,
    /// What is in the file.
    file: Vec<Entry>,
    /// Records of the file that a power cut leaves.
    synced: usize,
    /// The file lacks reports that are in memory: the disk refused them.
    is_behind: bool,
}

impl Spool {
    pub fn new() -> Spool {
        let (entries, file) = (VecDeque::new(), Vec::new());
        Spool { entries, sent: 0, next_sequence: 1, file, synced: 0, is_behind: false }
    }

    pub fn append(&mut self, report: report::Report, is_disk_full: bool) {
        let is_end = !matches!(report, report::Report::Epoch(_));
        let entry = (self.next_sequence, report);
        self.next_sequence += 1;
        self.is_behind |= is_disk_full;
        if !self.is_behind {
            self.file.push(entry.clone());
            if is_end {
                self.synced = self.file.len();
            }
        }
        self.entries.push_back(entry);
    }

    /// Forgets the reports up to this one; gives them back.
    pub fn acknowledge(&mut self, through: u64) -> Vec<Entry> {
        let mut forgotten = Vec::new();
        while self.sent > 0
            && let Some(entry) = self.entries.pop_front_if(|entry| entry.0 <= through)
        {
            self.sent -= 1;
            forgotten.push(entry);
        }
        let idle = self.file.len().saturating_sub(self.entries.len());
        if !self.is_behind && idle > IDLE_RECORDS_MAX.max(self.entries.len()) {
            self.rewrite();
        }
        forgotten
    }

    pub fn discard(&mut self) {
        self.entries.clear();
        self.sent = 0;
        self.rewrite();
    }

    /// A new stream has been given nothing yet.
    pub fn rewind(&mut self) {
        self.sent = 0;
    }

    pub fn next_batch(&mut self, reports_max: usize) -> Vec<Entry> {
        let batch: Vec<Entry> =
            self.entries.range(self.sent..).take(reports_max).cloned().collect();
        self.sent += batch.len();
        batch
    }

    /// What is not acknowledged.
    pub fn reports(&self) -> impl Iterator<Item = &report::Report> {
        self.entries.iter().map(|(_, report)| report)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Records that a power cut may take.
    pub fn unsynced(&self) -> usize {
        self.file.len() - self.synced
    }

    /// The process is gone, and so many of the last records with it; the next process opens what
    /// is left.
    pub fn open_again(&mut self, lost: usize) {
        self.file.truncate(self.file.len() - lost);
        self.entries = self.file.iter().cloned().collect();
        self.sent = 0;
        self.next_sequence += SEQUENCE_SKIP;
        self.rewrite();
    }

    /// Writes the file anew with what is not acknowledged.
    pub fn rewrite(&mut self) {
        self.is_behind = false;
        self.file = self.entries.iter().cloned().collect();
        self.synced = self.file.len();
    }
}
