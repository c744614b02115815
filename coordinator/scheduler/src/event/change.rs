//! What the store is to change.

use common::ids::{AttemptId, CohortId, SweepName, TrialId, WorkerId};

use super::{
    EpochMetrics, FailureCause, Hold, Outcome, OutcomeKind, SweepHeader, Trial, WorkerHello,
};

/// How an attempt ended, for its row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttemptEnd {
    /// With an outcome of its trial.
    Outcome(OutcomeKind),
    /// Its worker was lost.
    WorkerLost,
    /// Handed back at a drain.
    Returned,
    /// Its cohort failed; counted tells whether it counts against the trial.
    CohortFailed {
        /// Kind of failure.
        cause: FailureCause,
        /// Counts against the trial: it died alone.
        counted: bool,
        /// What happened.
        message: String,
        /// The newest lines of the trainer's stderr.
        stderr_tail: String,
    },
    /// Nobody wants it any more.
    Cancelled,
}

/// A row change. The changes of one `apply` are committed together, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// Insert or update a sweep; it is not expanded until `SweepExpanded`.
    SweepApplied(SweepHeader),
    /// Add trials that are not stored yet.
    TrialsAdded(Vec<Trial>),
    /// Add members, or restore removed ones, or move them; the first has this place in the
    /// expansion's order. After a restart applying a sweep again names all of them.
    MembersAdded {
        /// Of this sweep.
        sweep: SweepName,
        /// Place of the first.
        first_index: u64,
        /// The trials, in order.
        trials: Vec<TrialId>,
    },
    /// Mark members removed.
    MembersRemoved(SweepName, Vec<TrialId>),
    /// A sweep is held back, or not any more.
    SweepHeld(SweepName, Option<Hold>),
    /// The sweep has all its members.
    SweepExpanded(SweepName),
    /// Every member has an outcome.
    SweepCompleted(SweepName),
    /// Members became pending again after completion.
    SweepReopened(SweepName),
    /// The sweep's data digest.
    DataPinned(SweepName, String),
    /// A worker attached.
    WorkerAttached(WorkerHello),
    /// A worker was lost or left.
    WorkerDetached(WorkerId),
    /// An attempt was leased.
    AttemptStarted {
        /// The attempt.
        attempt: AttemptId,
        /// On this worker.
        worker: WorkerId,
        /// In this cohort.
        cohort: CohortId,
        /// Of this size.
        cohort_size: u32,
    },
    /// An attempt that had ended without outcome is current again, and its trial runs: its
    /// worker came back with it, or with its outcome.
    AttemptAdopted(AttemptId),
    /// A current attempt ended, and its trial is pending; where it has an outcome,
    /// `OutcomeRecorded` follows at once. `deaths` and `cohort_size_max` are the trial's new ones.
    AttemptEnded {
        /// The attempt.
        attempt: AttemptId,
        /// How.
        end: AttemptEnd,
        /// Solo deaths so far.
        deaths: u32,
        /// Largest cohort that the trial may join now.
        cohort_size_max: Option<u32>,
    },
    /// An epoch of its trial's latest attempt, once: the history goes on with it from here.
    EpochRecorded(AttemptId, EpochMetrics),
    /// A trial ended, with its latest attempt; at most once per trial.
    OutcomeRecorded(AttemptId, Outcome),
    /// Pending trials ended without an attempt's outcome: cancelled.
    TrialsClosed {
        /// The trials.
        trials: Vec<TrialId>,
        /// How they ended.
        kind: OutcomeKind,
        /// Why, in words.
        reason: String,
    },
    /// Failed or cancelled trials are pending again, as if they had never died; their outcomes go,
    /// their attempts stay.
    TrialsReopened(Vec<TrialId>),
    /// Deaths turned out not to count against an open trial: their number now, and the largest
    /// cohort that the trial may join.
    TrialPardoned {
        /// The trial.
        trial: TrialId,
        /// Solo deaths that are left.
        deaths: u32,
        /// Largest cohort that it may join now.
        cohort_size_max: Option<u32>,
    },
}
