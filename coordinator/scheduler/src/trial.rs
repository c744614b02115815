//! A trial as the scheduler holds it: small, since there may be a million.

use common::ids::{AttemptId, CohortId, TrialId};

use crate::catalog::ConfigIndex;
use crate::event::{OutcomeKind, Time};
use crate::sweep::SweepIndex;

/// Place of a trial in the scheduler.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TrialIndex(u32);

impl TrialIndex {
    /// The trial at this place.
    pub fn new(place: usize) -> TrialIndex {
        TrialIndex(u32::try_from(place).expect("fewer than 2^32 trials"))
    }

    /// The place.
    pub fn place(self) -> usize {
        self.0 as usize
    }
}

/// A trial and where it stands.
#[derive(Debug)]
pub(crate) struct Record {
    pub id: TrialId,
    pub seed: u64,
    pub config: ConfigIndex,
    /// Number of the latest attempt; 0 before the first.
    pub attempts: u32,
    /// The last epoch that the latest attempt reported; 0 before the first.
    pub attempt_epoch: u32,
    /// Solo deaths that counted.
    pub deaths: u32,
    /// Largest cohort that it may join.
    pub cohort_size_max: Option<u32>,
    /// It was reopened since its latest attempt: what comes of that one is stale.
    pub is_fenced: bool,
    /// Epochs of its history.
    pub epochs: u32,
    /// Of the last evaluation.
    pub gate: Option<f32>,
    /// Of the last evaluation, or at the best epoch once the trial completed.
    pub val_error: Option<f64>,
    pub state: State,
    pub memberships: Memberships,
}

impl Record {
    /// Its latest attempt.
    pub fn attempt(&self) -> AttemptId {
        AttemptId { trial: self.id, number: self.attempts }
    }

    /// The validation error, where the trial completed with one that can be compared.
    pub fn completed_error(&self) -> Option<f64> {
        match self.state {
            State::Ended(OutcomeKind::Completed) => self.val_error.and_then(comparable),
            State::Ended(_) | State::Pending | State::Resting { .. } | State::Running { .. } => {
                None
            }
        }
    }
}

/// A measured number that can be ordered and added: finite and not negative.
pub(crate) fn comparable(number: f64) -> Option<f64> {
    // Adding zero turns a negative zero into zero, whose bits order as the numbers do.
    (number.is_finite() && number >= 0.0).then_some(number + 0.0)
}

/// Where a trial stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Waits in the queue of each sweep that wants it.
    Pending,
    /// It died and waits until then for its next turn.
    Resting { until: Time },
    /// Its latest attempt runs in this cohort.
    Running { cohort: CohortId },
    /// It has an outcome.
    Ended(OutcomeKind),
}

/// A sweep's claim to a trial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Membership {
    pub sweep: SweepIndex,
    /// The expansion that named it last.
    pub expansion: u32,
    /// Place in that expansion; none where the store alone knows.
    pub place: Option<u32>,
    /// Order in the sweep's queue.
    pub rank: i64,
    pub removed: bool,
}

/// Nearly every trial is a member of exactly one sweep.
#[derive(Debug)]
pub(crate) enum Memberships {
    One(Membership),
    Several(Vec<Membership>),
}

impl Memberships {
    /// Of no sweep.
    pub fn none() -> Memberships {
        Memberships::Several(Vec::new())
    }

    pub fn as_slice(&self) -> &[Membership] {
        match self {
            Memberships::One(membership) => std::slice::from_ref(membership),
            Memberships::Several(memberships) => memberships,
        }
    }

    /// The claim of this sweep.
    pub fn of(&self, sweep: SweepIndex) -> Option<&Membership> {
        self.as_slice().iter().find(|membership| membership.sweep == sweep)
    }

    /// The claim of this sweep.
    pub fn of_mut(&mut self, sweep: SweepIndex) -> Option<&mut Membership> {
        self.as_mut_slice().iter_mut().find(|membership| membership.sweep == sweep)
    }

    pub fn as_mut_slice(&mut self) -> &mut [Membership] {
        match self {
            Memberships::One(membership) => std::slice::from_mut(membership),
            Memberships::Several(memberships) => memberships,
        }
    }

    pub fn push(&mut self, added: Membership) {
        match self {
            Memberships::One(first) => *self = Memberships::Several(vec![*first, added]),
            Memberships::Several(memberships) if memberships.is_empty() => {
                *self = Memberships::One(added);
            }
            Memberships::Several(memberships) => memberships.push(added),
        }
    }
}
