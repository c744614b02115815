//! What progress, gauges and client answers show: a snapshot of the scheduler.
//!
//! Building one costs as much as there are sweeps, workers and running trials, never as many as
//! there are trials.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::config::{Config, Data, Model};
use common::ids::{CohortId, SweepName, TrialId, WorkerId};

use crate::event::{Device, Time};

/// Most trials that `SweepOverview::active` lists: each becomes a few gauge series.
pub const ACTIVE_TRIALS_MAX: usize = 100;

/// Finished trials that are listed among the active ones: the best by validation error.
pub const FINISHED_TRIALS_MAX: usize = 10;

/// Everything, at one moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Overview {
    /// In the order in which they are served: by priority, then by their first application.
    pub sweeps: Vec<SweepOverview>,
    /// By id. Workers that were lost long ago are left out.
    pub workers: Vec<WorkerOverview>,
    /// Since the coordinator started.
    pub counters: Counters,
}

/// Members of a sweep by state; a removed member counts as removed alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Wait for a slot.
    pub pending: u64,
    /// Have a running attempt.
    pub running: u64,
    /// Trained to the end.
    pub completed: u64,
    /// The loss became NaN or infinite.
    pub diverged: u64,
    /// Could not be trained.
    pub failed: u64,
    /// Were cancelled.
    pub cancelled: u64,
    /// The sweep file names them no more.
    pub removed: u64,
}

impl Counts {
    /// Members that the sweep file names.
    pub fn wanted(&self) -> u64 {
        self.open() + self.ended()
    }

    /// Members without an outcome.
    pub fn open(&self) -> u64 {
        self.pending + self.running
    }

    /// Members with an outcome.
    pub fn ended(&self) -> u64 {
        self.done() + self.cancelled
    }

    /// Members that ended by themselves.
    pub fn done(&self) -> u64 {
        self.completed + self.diverged + self.failed
    }
}

/// A sweep's progress.
#[derive(Clone, PartialEq, Debug)]
pub struct SweepOverview {
    /// Its name.
    pub name: SweepName,
    /// Model family.
    pub model: Model,
    /// Data set.
    pub data: Data,
    /// Its members by state.
    pub counts: Counts,
    /// Distinct configs among its members.
    pub configs: u64,
    /// Configs of which every seed has an outcome.
    pub configs_done: u64,
    /// The lowest validation error, as a fraction: of completed trials at their best epoch, and
    /// of running ones at their eligible epochs in this attempt.
    pub best: Option<(TrialId, f64)>,
    /// Epochs trained, those before a restart of the coordinator included.
    pub epochs_total: u64,
    /// Training examples seen since the coordinator started.
    pub examples_total: u64,
    /// Training examples per second, the running trials added.
    pub examples_per_second: f64,
    /// Time until its last trial ends, were the slots that it holds to go on as measured. None
    /// where nothing was measured or nothing runs.
    pub eta_seconds: Option<f64>,
    /// Running trials, then the best finished ones; at most `ACTIVE_TRIALS_MAX`.
    pub active: Vec<ActiveTrial>,
    /// Some running trials are not in `active`.
    pub active_truncated: bool,
    /// Where it stands.
    pub state: SweepState,
}

/// A trial worth a line of its own.
#[derive(Clone, PartialEq, Debug)]
pub struct ActiveTrial {
    /// The trial.
    pub id: TrialId,
    /// Its config.
    pub config: Arc<Config>,
    /// Its seed.
    pub seed: u64,
    /// Runs now; a finished one is among the best.
    pub running: bool,
    /// Epochs of its history.
    pub epoch: u32,
    /// Gate of the last evaluation; none before the first that this coordinator saw.
    pub gate: Option<f64>,
    /// Validation error as a fraction: of the last epoch, or of the best one once it finished.
    pub val_error: Option<f64>,
}

/// Where a sweep stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SweepState {
    /// Trials run, or may run as soon as a slot is free.
    Running,
    /// Every member has an outcome.
    Completed,
    /// Its budget is used up, or too many trials died of the same error: no more leases.
    Stopped {
        /// Which of them.
        reason: String,
    },
    /// Somebody paused it: no more leases.
    Paused,
    /// Somebody cancelled it; some of its members may run for other sweeps.
    Cancelled,
    /// Members are pending and none can be leased.
    Waiting {
        /// Why.
        reason: String,
    },
}

/// What is known of a worker.
#[derive(Clone, PartialEq, Debug)]
pub struct WorkerOverview {
    /// The worker.
    pub id: WorkerId,
    /// Host name; empty before it attached to this coordinator.
    pub host: String,
    /// Version of the program.
    pub program_version: String,
    /// Version of libtorch; empty where no trainer had started when it attached.
    pub libtorch_version: String,
    /// Content digest by data set.
    pub data_digests: BTreeMap<Data, String>,
    /// Where it stands.
    pub state: WorkerState,
    /// It is lost because it left: nobody has to look for it.
    pub has_left: bool,
    /// Its slots.
    pub slots: Vec<SlotOverview>,
    /// Why it gets no lease although it has a free slot, or what is wrong with it.
    pub reason: Option<String>,
    /// Its last sign of life.
    pub last_seen: Time,
}

/// Where a worker stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum WorkerState {
    /// Attached, or its stream broke and its lease has not expired.
    Connected,
    /// Takes no more leases.
    Draining,
    /// Gets no leases for a while, because trials died there that went on elsewhere.
    SetAside,
    /// No sign of life for the length of a lease, or it left.
    Lost,
}

impl WorkerState {
    /// Every one.
    pub const ALL: [WorkerState; 4] =
        [WorkerState::Connected, WorkerState::Draining, WorkerState::SetAside, WorkerState::Lost];

    /// The word in tables and labels.
    pub const fn name(self) -> &'static str {
        match self {
            WorkerState::Connected => "connected",
            WorkerState::Draining => "draining",
            WorkerState::SetAside => "set_aside",
            WorkerState::Lost => "lost",
        }
    }
}

/// A slot of a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotOverview {
    /// Its device.
    pub device: Device,
    /// What it holds.
    pub cohort: Option<CohortId>,
    /// Attempts of that cohort that have not ended.
    pub attempts: u32,
}

/// How an attempt can end, as `Counters::attempts` calls it.
pub const ATTEMPT_ENDS: [&str; 10] = [
    "completed",
    "diverged",
    "failed",
    "cancelled",
    "worker_lost",
    "returned",
    "out_of_memory",
    "trainer_died",
    "data",
    "bug",
];

/// Events counted since the coordinator started.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Cohort leases that expired with their worker.
    pub lease_expirations: u64,
    /// Reports that named an attempt that was no longer current.
    pub stale_reports: u64,
    /// Epoch reports of a current attempt that came again, or out of order.
    pub duplicate_reports: u64,
    /// Attempts that ended, by how: one of `ATTEMPT_ENDS`.
    pub attempts: BTreeMap<&'static str, u64>,
}
