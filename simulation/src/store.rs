//! The store: the strict ledger, and how a commit may end.

use crate::ledger::Ledger;

/// What is on the disk.
#[derive(Debug)]
pub(crate) struct Store {
    pub ledger: Ledger,
    /// Attempt numbers mean something within one store.
    pub identity: u64,
    /// Every commit is refused until then (the disk is full).
    pub refuses_until: u64,
    /// Every commit takes this much longer until then.
    pub slow_until: u64,
    /// The next commit's fate is not told.
    pub fails_next: Option<Fate>,
}

/// What became of a commit of which the coordinator hears only that it failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Stored,
    NotStored,
}

/// How a commit ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Committed {
    Yes,
    /// `StoreError::NotCommitted`.
    No,
    /// `StoreError::Unknown`.
    Unknown,
}

impl Store {
    pub fn new(identity: u64) -> Store {
        let ledger = Ledger::default();
        Store { ledger, identity, refuses_until: 0, slow_until: 0, fails_next: None }
    }

    pub fn commit<'a>(
        &mut self,
        now: u64,
        batches: impl Iterator<Item = &'a [scheduler::Change]>,
    ) -> Committed {
        if now < self.refuses_until {
            return Committed::No;
        }
        let fate = self.fails_next.take();
        if fate != Some(Fate::NotStored) {
            for changes in batches {
                self.ledger.commit(changes);
            }
        }
        if fate.is_some() { Committed::Unknown } else { Committed::Yes }
    }
}
