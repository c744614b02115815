//! The writer: a thread that owns the store and commits what the driver decided, everything that
//! waits at a time. The driver goes on meanwhile; nobody waits for the disk but this thread.
//!
//! Batches are committed in the order in which they were sent, and their payloads come back in
//! that order once they are on the disk, so a message that is a payload never outruns its rows.

use std::time::Instant;
use std::{io, mem, panic, thread};

use scheduler::Change;
use tokio::sync::mpsc;

use super::{Store, StoreError, lock};

/// Batches that wait before `send` waits too: one from each worker of a large cluster, so that a
/// commit can take them together.
pub const BATCHES_WAITING_MAX: usize = 4_096;
/// Rows of a commit. The rows of different trials are on pages of their own, and a page is written
/// once a commit: fewer rows than trials that run write each page many times, and many more keep
/// acknowledgements waiting.
pub const COMMIT_ROWS_MAX: usize = 16_384;

/// What one `apply` of the scheduler gave. Without changes it only keeps its place in the order.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch<P> {
    /// Committed together, in order.
    pub changes: Vec<Change>,
    /// Given back once they are.
    pub payload: P,
}

/// What the writer tells, on its own thread.
pub enum Written<P> {
    /// These batches are on the disk.
    Committed {
        /// Their payloads, in the order in which they were sent.
        payloads: Vec<P>,
        /// Rows that were written; 0 where nothing had to be.
        rows: usize,
        /// How long the commit took: one observation of the histogram, where `rows` is not 0.
        seconds: f64,
    },
    /// The writer has stopped. Comes once, as the last.
    Failed {
        /// Why; tells whether the first batches may be stored after all.
        error: StoreError,
        /// Every batch that was sent and not reported as committed, in order.
        uncommitted: Vec<Batch<P>>,
        /// For `restore`, and to go on with in a new writer.
        store: Box<dyn Store>,
    },
}

/// The driver's end of the writer.
pub struct Writer<P> {
    batches: mpsc::Sender<Batch<P>>,
    thread: thread::JoinHandle<Option<Box<dyn Store>>>,
}

impl<P: Send + 'static> Writer<P> {
    /// Starts the thread. It calls `written` after every commit; a call that blocks holds up the
    /// commits, so a channel that it fills must not be emptied by whoever waits in `send`.
    pub fn spawn(
        store: Box<dyn Store>,
        written: impl FnMut(Written<P>) + Send + 'static,
    ) -> io::Result<Writer<P>> {
        let (batches, waiting) = mpsc::channel(BATCHES_WAITING_MAX);
        let thread = thread::Builder::new()
            .name("store writer".into())
            .spawn(move || run(store, waiting, written))?;
        Ok(Writer { batches, thread })
    }

    /// Sends a batch; waits while `BATCHES_WAITING_MAX` do. Gives it back where the writer has
    /// stopped.
    pub async fn send(&self, batch: Batch<P>) -> Result<(), Batch<P>> {
        self.batches.send(batch).await.map_err(|refused| refused.0)
    }

    /// As `send`, outside of a runtime.
    pub fn blocking_send(&self, batch: Batch<P>) -> Result<(), Batch<P>> {
        self.batches.blocking_send(batch).map_err(|refused| refused.0)
    }

    /// Commits what was sent and ends the thread; blocks until then. Gives the store back, or
    /// none where `Written::Failed` did.
    pub fn close(self) -> Option<Box<dyn Store>> {
        drop(self.batches);
        self.thread.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    }
}

fn run<P>(
    mut store: Box<dyn Store>,
    mut waiting: mpsc::Receiver<Batch<P>>,
    mut written: impl FnMut(Written<P>),
) -> Option<Box<dyn Store>> {
    while let Some(first) = waiting.blocking_recv() {
        let mut group = Group::default();
        group.add(first);
        while group.rows < COMMIT_ROWS_MAX {
            let Ok(next) = waiting.try_recv() else { break };
            group.add(next);
        }
        let started = Instant::now();
        match group.commit(store.as_mut()) {
            Ok(()) => written(Written::Committed {
                rows: group.rows,
                seconds: started.elapsed().as_secs_f64(),
                payloads: group.payloads,
            }),
            Err(error) => {
                let mut uncommitted = group.split();
                waiting.close();
                while let Some(batch) = waiting.blocking_recv() {
                    uncommitted.push(batch);
                }
                written(Written::Failed { error, uncommitted, store });
                return None;
            }
        }
    }
    Some(store)
}

/// Batches of one commit.
struct Group<P> {
    changes: Vec<Change>,
    /// Number of changes by batch.
    lengths: Vec<usize>,
    payloads: Vec<P>,
    rows: usize,
}

impl<P> Default for Group<P> {
    fn default() -> Group<P> {
        Group { changes: Vec::new(), lengths: Vec::new(), payloads: Vec::new(), rows: 0 }
    }
}

impl<P> Group<P> {
    fn add(&mut self, batch: Batch<P>) {
        self.rows += batch.changes.iter().map(rows_of).sum::<usize>();
        self.lengths.push(batch.changes.len());
        self.changes.extend(batch.changes);
        self.payloads.push(batch.payload);
    }

    fn commit(&self, store: &mut dyn Store) -> Result<(), StoreError> {
        if self.changes.is_empty() {
            return Ok(());
        }
        store.commit(&self.changes, lock::unix_ms())
    }

    /// The batches as they were sent.
    fn split(mut self) -> Vec<Batch<P>> {
        let mut batches = Vec::with_capacity(self.lengths.len());
        for (length, payload) in self.lengths.into_iter().zip(self.payloads) {
            let rest = self.changes.split_off(length);
            let changes = mem::replace(&mut self.changes, rest);
            batches.push(Batch { changes, payload });
        }
        batches
    }
}

/// Rows that a change writes, near enough to bound a commit.
pub fn rows_of(change: &Change) -> usize {
    match change {
        Change::TrialsAdded(trials) => trials.len(),
        Change::MembersAdded { trials, .. }
        | Change::MembersRemoved(_, trials)
        | Change::TrialsClosed { trials, .. }
        | Change::TrialsReopened(trials) => trials.len(),
        Change::SweepApplied(_)
        | Change::SweepExpanded(_)
        | Change::SweepCompleted(_)
        | Change::SweepReopened(_)
        | Change::DataPinned(..)
        | Change::WorkerAttached(_)
        | Change::WorkerDetached(_)
        | Change::AttemptStarted { .. }
        | Change::AttemptAdopted(_)
        | Change::AttemptEnded { .. }
        | Change::EpochRecorded(..)
        | Change::OutcomeRecorded(..)
        | Change::SweepHeld(..)
        | Change::TrialPardoned { .. } => 1,
    }
}

#[cfg(test)]
mod tests;
