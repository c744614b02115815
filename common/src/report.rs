//! What a worker says of a cohort that failed: the same to its agent and to the scheduler.

use crate::ids::{AttemptId, CohortId};

/// Why a cohort ended without outcomes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FailureCause {
    /// The device's or the host's memory did not suffice.
    OutOfMemory,
    /// The trainer process ended by itself or by a signal.
    TrainerDied,
    /// The data set is missing or wrong on that worker.
    Data,
    /// An error that the trainer caught.
    Bug,
}

/// A cohort ended without outcomes for these attempts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CohortFailure {
    /// The cohort.
    pub cohort: CohortId,
    /// Its attempts that had not ended. Stopped ones are among them: the trainer may have had them
    /// still, and a trial is only to blame for a death where it was alone.
    pub attempts: Vec<AttemptId>,
    /// Kind of failure.
    pub cause: FailureCause,
    /// What happened.
    pub message: String,
    /// The newest lines of the trainer's stderr.
    pub stderr_tail: String,
}
