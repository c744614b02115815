//! What goes into the scheduler and what comes out: the contract with driver and store.

mod change;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use change::{AttemptEnd, Change};
use common::config::{Config, Data};
use common::ids::{AttemptId, CohortId, SweepName, TrialId, WorkerId};
pub use common::report::{CohortFailure, FailureCause};

/// Milliseconds on the driver's monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub u64);

/// One attached stream of a worker. A message of an older session is ignored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Session(pub u64);

/// A config with a seed.
#[derive(Clone, PartialEq, Debug)]
pub struct Trial {
    /// Hash of what the trial is.
    pub id: TrialId,
    /// Shared by the trials that differ in their seed alone.
    pub config: Arc<Config>,
    /// The replicate.
    pub seed: u64,
}

/// How many trials of a fusion key train together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fusion {
    /// By device: 1 on a CPU, 16 on a GPU.
    Auto,
    /// Every trial alone.
    Off,
    /// At most this many.
    Size(u32),
}

/// A sweep without its members.
#[derive(Clone, PartialEq, Debug)]
pub struct SweepHeader {
    /// Its name.
    pub name: SweepName,
    /// The resolved sweep file (overlay and overrides applied), as text.
    pub yaml: String,
    /// Model family's name and data set.
    pub model: common::config::Model,
    /// Data set.
    pub data: Data,
    /// Cohort size.
    pub fusion: Fusion,
    /// Higher goes first.
    pub priority: i32,
    /// Stops the sweep after this many failed trials.
    pub failures_max: Option<u64>,
    /// Stops the sweep after this much training time, all slots added.
    pub slot_seconds_max: Option<f64>,
    /// Stops the sweep after this many trials in a row died of the same error.
    pub same_error_max: Option<u64>,
    /// Content digest that every worker must have; pinned by the first lease.
    pub data_digest: Option<String>,
}

/// What a worker says when it attaches.
#[derive(Clone, PartialEq, Debug)]
pub struct WorkerHello {
    /// Stays the same over restarts of its agent.
    pub id: WorkerId,
    /// Host name.
    pub host: String,
    /// Version of the program.
    pub program_version: String,
    /// Version of libtorch; empty where no trainer has started yet.
    pub libtorch_version: String,
    /// Device by slot.
    pub slots: Vec<Device>,
    /// Content digest by data set, for those it has.
    pub data_digests: BTreeMap<Data, String>,
    /// What its slots hold: attempts that have not ended.
    pub running: Vec<RunningCohort>,
    /// Takes no more leases.
    pub draining: bool,
}

/// A device of a slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Device {
    /// The host's processor.
    Cpu,
    /// A CUDA device by ordinal.
    Cuda(u32),
}

/// A cohort that a reconnecting worker still runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunningCohort {
    /// The cohort.
    pub cohort: CohortId,
    /// Index into the worker's slots.
    pub slot: u32,
    /// Its attempts that have not ended.
    pub attempts: Vec<AttemptId>,
}

/// Metrics of one epoch; errors are fractions, epochs count from 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct EpochMetrics {
    /// Epoch, from 1.
    pub epoch: u32,
    /// Mean training loss over the epoch.
    pub train_loss: f64,
    /// Mean training error over the epoch.
    pub train_error: f64,
    /// Validation loss after the epoch.
    pub val_loss: f64,
    /// Validation error after the epoch.
    pub val_error: f64,
    /// Gate of the evaluation.
    pub gate: f64,
    /// Learning rate.
    pub lr: f64,
    /// Mean norm of the gradients before clipping.
    pub grad_norm: f64,
    /// Training examples per second of this trial.
    pub examples_per_second: f64,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Training examples seen.
    pub examples: u64,
}

/// How a trial ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum OutcomeKind {
    /// Trained to its last epoch or stopped early.
    Completed,
    /// The loss became NaN or infinite.
    Diverged,
    /// Every attempt that counts died, or the trial cannot run.
    Failed,
    /// No sweep wants it any more.
    Cancelled,
}

/// Result of a trial.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// How it ended.
    pub kind: OutcomeKind,
    /// Epochs trained in all.
    pub epochs: u32,
    /// Seconds of training in the last attempt.
    pub seconds: f64,
    /// The epoch whose weights were tested.
    pub best_epoch: Option<u32>,
    /// Test error of the best epoch's weights.
    pub test_error: Option<f64>,
    /// Test loss of the best epoch's weights.
    pub test_loss: Option<f64>,
    /// Validation error at the best epoch.
    pub val_error: Option<f64>,
    /// Validation loss at the best epoch.
    pub val_loss: Option<f64>,
    /// Training loss at the best epoch.
    pub train_loss: Option<f64>,
    /// Why, in words.
    pub reason: String,
    /// Where the result came from.
    pub provenance: Provenance,
}

/// Where a result came from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Provenance {
    /// Version of the program.
    pub program_version: String,
    /// Version of libtorch.
    pub libtorch_version: String,
    /// Device name.
    pub device: String,
    /// Precision of the matrix products.
    pub precision: String,
    /// Trials trained together at the start of the attempt.
    pub cohort_size: u32,
    /// Digest of the data's content.
    pub data_digest: String,
    /// Threads of libtorch.
    pub threads: u32,
}

/// What a worker reports about its attempts.
#[derive(Clone, PartialEq, Debug)]
pub enum Report {
    /// An epoch ended.
    Epoch(AttemptId, EpochMetrics),
    /// A trial ended.
    Ended(AttemptId, Outcome),
    /// An attempt was handed back with a checkpoint at this epoch.
    Returned(AttemptId, u32),
    /// A cohort ended without outcomes.
    CohortFailed(CohortFailure),
}

/// A trial as the store holds it.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredTrial {
    /// The trial.
    pub trial: Trial,
    /// Number of the latest attempt; 0 before the first.
    pub attempts: u32,
    /// Solo deaths that counted against it.
    pub deaths: u32,
    /// Largest cohort that it may join, after blame split its cohorts.
    pub cohort_size_max: Option<u32>,
    /// Epochs of its history, contiguous from 1.
    pub epochs: u32,
    /// The last epoch that its latest attempt reported; 0 before the first.
    pub attempt_epoch: u32,
    /// It was reopened since its latest attempt: nothing more is taken from that one.
    pub is_fenced: bool,
    /// Best eligible or latest validation error seen, for progress.
    pub val_error: Option<f64>,
    /// Where it stands.
    pub state: StoredState,
}

/// Where a stored trial stands.
#[derive(Clone, PartialEq, Debug)]
pub enum StoredState {
    /// Waits for a slot.
    Pending,
    /// Its latest attempt runs, as far as the store knows.
    Running {
        /// On this worker.
        worker: WorkerId,
        /// In this cohort.
        cohort: CohortId,
    },
    /// It has an outcome.
    Ended(OutcomeKind),
}

/// Why nothing of a sweep is leased although members are pending. Stored: a restart lifts none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hold {
    /// Somebody paused it.
    Paused,
    /// Somebody cancelled it: its members are, but those that another sweep wants.
    Cancelled,
    /// Too many trials in a row died of the same error.
    Broken {
        /// What happened, and what to do.
        reason: String,
    },
}

/// What happened. `apply` takes one at a time.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// At start, before anything else: sweeps, oldest first.
    SweepRestored(SweepHeader),
    /// At start, right after its sweep: what the header does not say.
    SweepStandingRestored {
        /// The sweep.
        sweep: SweepName,
        /// `Change::SweepExpanded` was stored since it was applied.
        expanded: bool,
        /// `Change::SweepCompleted` was stored since it was reopened.
        completed: bool,
        /// The latest `Change::SweepHeld`.
        hold: Option<Hold>,
        /// Of its members' stored epochs, each one's seconds over the size of its cohort, added;
        /// matters only where the sweep has a budget of them.
        slot_seconds: f64,
    },
    /// At start: trials in pages.
    TrialsRestored(Vec<StoredTrial>),
    /// At start: members of a sweep in the order of their expansion, in pages; `true` = removed.
    MembersRestored(SweepName, Vec<(TrialId, bool)>),
    /// At start: the last event of a restoration, with the highest cohort id ever used.
    Restored {
        /// Highest cohort id in the store.
        cohort_max: CohortId,
    },
    /// A sweep file was applied; its members follow in chunks.
    SweepApplied(SweepHeader),
    /// A chunk of a sweep's members, in the order of expansion.
    TrialsAdded(SweepName, Vec<Trial>),
    /// The last chunk was sent: members that were not named again are removed.
    SweepExpanded(SweepName),
    /// Running attempts of removed members end, where no sweep wants them.
    SweepPruned(SweepName),
    /// Nothing more of a sweep is leased; what runs goes on.
    SweepPaused(SweepName),
    /// A sweep that was paused, or that broke, goes on.
    SweepResumed(SweepName),
    /// A sweep's membership ends: its open members are cancelled, unless another sweep wants them.
    SweepCancelled(SweepName),
    /// A sweep's failed and cancelled members are pending again, and no hold is left.
    SweepRetried(SweepName),
    /// A worker is to hand back what it runs and leave.
    WorkerDrained(WorkerId),
    /// A worker opened a stream.
    WorkerAttached(Session, WorkerHello),
    /// A stream ended: the worker's lease clock runs on.
    WorkerDetached(WorkerId, Session),
    /// A sign of life.
    Heartbeat {
        /// From this worker.
        worker: WorkerId,
        /// On this stream.
        session: Session,
        /// Takes no more leases.
        draining: bool,
    },
    /// Reports in the order of the worker's spool, up to this sequence number.
    Reported {
        /// From this worker.
        worker: WorkerId,
        /// On this stream.
        session: Session,
        /// Sequence number of the last report.
        through: u64,
        /// The reports.
        reports: Vec<Report>,
    },
    /// The coordinator stops: hand out nothing more.
    Closing,
    /// The coordinator itself did not run for a while (a stopped process, a suspended host): nobody
    /// could be heard, so all lease clocks start at now.
    Stalled,
    /// Time passed.
    Tick,
}

/// One trial of a lease.
#[derive(Clone, PartialEq, Debug)]
pub struct LeasedTrial {
    /// The trial.
    pub trial: Trial,
    /// Its attempt.
    pub attempt: AttemptId,
    /// Epochs of its history that are stored: a checkpoint beyond them is not resumed from.
    pub epochs_stored: u32,
}

/// A message to send once the changes of the same `apply` are committed.
#[derive(Clone, PartialEq, Debug)]
pub enum Message {
    /// First answer to a worker: the attempts that go on; it stops all others.
    Welcome {
        /// To this worker.
        worker: WorkerId,
        /// On this stream.
        session: Session,
        /// Attempts of its hello that go on.
        adopted: Vec<AttemptId>,
    },
    /// A cohort for a slot.
    Lease {
        /// To this worker.
        worker: WorkerId,
        /// On this stream.
        session: Session,
        /// Index into the worker's slots.
        slot: u32,
        /// The cohort.
        cohort: CohortId,
        /// Its trials, deepest first.
        trials: Vec<LeasedTrial>,
    },
    /// End an attempt.
    Stop {
        /// To this worker.
        worker: WorkerId,
        /// On this stream.
        session: Session,
        /// The attempt.
        attempt: AttemptId,
    },
    /// Hand back what runs and leave.
    Drain {
        /// To this worker.
        worker: WorkerId,
        /// On this stream.
        session: Session,
    },
    /// Reports up to this sequence number are committed or known to be stale.
    Acknowledge {
        /// To this worker.
        worker: WorkerId,
        /// On this stream.
        session: Session,
        /// Sequence number.
        through: u64,
    },
    /// Every member of a sweep has an outcome (again).
    SweepCompleted(SweepName),
}
