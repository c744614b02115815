//! What the driver sends to one attached worker, and the bounded queue that it goes through.

use common::ids::{AttemptId, CohortId, TrialId};
use scheduler::event::LeasedTrial;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Messages that wait for one worker: a stop for every attempt of a large host, when its sweep is
/// cancelled. A worker that is further behind does not read its stream.
pub const OUTGOING_MAX: usize = 8_192;

/// A message for one worker, on the stream that it is sent on.
#[derive(Clone, PartialEq, Debug)]
pub enum Outgoing {
    /// First answer: the attempts that go on.
    Welcome {
        /// Attempts of its hello; it stops all others.
        adopted: Vec<AttemptId>,
    },
    /// A cohort for a slot.
    Lease {
        /// Index into the worker's slots.
        slot: u32,
        /// The cohort.
        cohort: CohortId,
        /// Its trials, deepest first.
        trials: Vec<Leased>,
    },
    /// End an attempt.
    Stop(AttemptId),
    /// Hand back what runs and leave.
    Drain,
    /// Reports up to this one are safe.
    Acknowledge {
        /// Its sequence number.
        through: u64,
    },
    /// Asks for the newest log lines of a trial that it runs.
    LogRequest {
        /// For the answer.
        request: u64,
        /// The trial.
        trial: TrialId,
    },
}

/// A trial of a lease.
#[derive(Clone, PartialEq, Debug)]
pub struct Leased {
    /// The trial.
    pub trial: LeasedTrial,
    /// Some sweep that names it keeps weights.
    pub keeps_weights: bool,
}

/// The driver's end of a worker's stream; dropping it closes the stream.
#[derive(Debug)]
pub struct Outlet {
    sender: mpsc::Sender<Outgoing>,
    _closes: DropGuard,
}

/// The stream's end.
#[derive(Debug)]
pub struct Inlet {
    /// What to send.
    pub receiver: mpsc::Receiver<Outgoing>,
    /// The driver closed the stream.
    pub closed: CancellationToken,
}

/// Both ends of a new stream's queue.
pub fn channel() -> (Outlet, Inlet) {
    let (sender, receiver) = mpsc::channel(OUTGOING_MAX);
    let closed = CancellationToken::new();
    let outlet = Outlet { sender, _closes: closed.clone().drop_guard() };
    (outlet, Inlet { receiver, closed })
}

impl Outlet {
    /// Queues a message; false where the worker is too far behind or gone.
    #[must_use]
    pub fn send(&self, message: Outgoing) -> bool {
        self.sender.try_send(message).is_ok()
    }
}
