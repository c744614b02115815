//! The model of a store: maps in memory. Small enough to be seen to be right, it passes the same
//! suite, and random changes are compared against it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use common::ids::{AttemptId, CohortId, SweepName, TrialId};
use scheduler::event::{EpochMetrics, Hold, OutcomeKind, StoredState, StoredTrial, SweepHeader};
use scheduler::{Change, Event};

use super::Place;
use crate::store::{RESTORE_ROWS_MAX, Store, StoreError, Trouble, text};

#[derive(Clone, Default)]
struct Rows {
    sweeps: Vec<Sweep>,
    trials: BTreeMap<TrialId, StoredTrial>,
    attempts: BTreeMap<AttemptId, Attempt>,
    epochs: BTreeMap<(AttemptId, u32), EpochMetrics>,
    /// With the validation error, where an attempt ended with it.
    outcomes: BTreeMap<TrialId, Option<Option<f64>>>,
}

#[derive(Clone)]
struct Sweep {
    header: SweepHeader,
    expanded: bool,
    completed: bool,
    hold: Option<Hold>,
    members: BTreeMap<TrialId, (u64, bool)>,
}

#[derive(Clone)]
struct Attempt {
    cohort: CohortId,
    cohort_size: u32,
    worker: common::ids::WorkerId,
}

/// What is committed, shared by every store that is opened on it.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Rows>>);

impl Place for Memory {
    fn open(&self) -> Box<dyn Store> {
        Box::new(self.clone())
    }
}

impl Store for Memory {
    fn commit(&mut self, changes: &[Change], _at_unix_ms: u64) -> Result<(), StoreError> {
        let mut rows = self.0.lock().unwrap();
        let mut changed = rows.clone();
        for change in changes {
            changed.apply(change).ok_or_else(|| StoreError::NotCommitted {
                path: PathBuf::from("memory"),
                trouble: Trouble::Contradiction(text::of_change(change)),
                source: None,
            })?;
        }
        *rows = changed;
        Ok(())
    }

    fn restore(&mut self, sink: &mut dyn FnMut(Event)) -> Result<(), StoreError> {
        let rows = self.0.lock().unwrap();
        for sweep in &rows.sweeps {
            sink(Event::SweepRestored(sweep.header.clone()));
            sink(Event::SweepStandingRestored {
                sweep: sweep.header.name.clone(),
                expanded: sweep.expanded,
                completed: sweep.completed,
                hold: sweep.hold.clone(),
                slot_seconds: rows.slot_seconds(sweep),
            });
        }
        let trials: Vec<StoredTrial> =
            rows.trials.values().map(|trial| rows.stored(trial)).collect();
        for page in trials.chunks(RESTORE_ROWS_MAX) {
            sink(Event::TrialsRestored(page.into()));
        }
        for sweep in &rows.sweeps {
            let place = |(trial, (place, removed)): (&TrialId, &(u64, bool))| {
                // Stored ids are ordered as signed numbers.
                (*place, trial.0.cast_signed(), *removed)
            };
            let mut members: Vec<(u64, i64, bool)> = sweep.members.iter().map(place).collect();
            members.sort_unstable();
            for page in members.chunks(RESTORE_ROWS_MAX) {
                let member =
                    |&(_, id, removed): &(u64, i64, bool)| (TrialId(id.cast_unsigned()), removed);
                let page = page.iter().map(member).collect();
                sink(Event::MembersRestored(sweep.header.name.clone(), page));
            }
        }
        let cohorts = rows.attempts.values().map(|attempt| attempt.cohort);
        sink(Event::Restored { cohort_max: cohorts.max().unwrap_or(CohortId(0)) });
        Ok(())
    }

    fn unexpanded(&mut self) -> Result<Vec<SweepName>, StoreError> {
        let rows = self.0.lock().unwrap();
        let open = rows.sweeps.iter().filter(|sweep| !sweep.expanded);
        Ok(open.map(|sweep| sweep.header.name.clone()).collect())
    }
}

impl Rows {
    fn slot_seconds(&self, sweep: &Sweep) -> f64 {
        let mut total = 0.0;
        if sweep.header.slot_seconds_max.is_some() {
            for ((attempt, _), epoch) in &self.epochs {
                if sweep.members.get(&attempt.trial).is_some_and(|(_, removed)| !removed) {
                    total += epoch.seconds / f64::from(self.attempts[attempt].cohort_size);
                }
            }
        }
        total
    }

    /// A trial with what follows from its epochs and its outcome.
    fn stored(&self, trial: &StoredTrial) -> StoredTrial {
        let mut stored = trial.clone();
        let of_trial = |number| (AttemptId { trial: trial.trial.id, number }, 0);
        let mut epochs = self.epochs.range(of_trial(0)..of_trial(u32::MAX));
        if let Some(((attempt, epoch), metrics)) = epochs.next_back() {
            stored.epochs = *epoch;
            stored.attempt_epoch = if attempt.number == trial.attempts { *epoch } else { 0 };
            stored.val_error = Some(metrics.val_error).filter(|error| !error.is_nan());
        }
        if let Some(Some(val_error)) = self.outcomes.get(&trial.trial.id) {
            stored.val_error = *val_error;
        }
        stored
    }

    fn sweep(&mut self, name: &SweepName) -> Option<&mut Sweep> {
        self.sweeps.iter_mut().find(|sweep| sweep.header.name == *name)
    }

    /// The trial of an attempt that is its latest.
    fn latest(&mut self, attempt: AttemptId) -> Option<&mut StoredTrial> {
        let trial = self.trials.get_mut(&attempt.trial)?;
        (attempt.number > 0 && trial.attempts == attempt.number).then_some(trial)
    }

    /// None where the change contradicts the rows.
    fn apply(&mut self, change: &Change) -> Option<()> {
        match change {
            Change::SweepApplied(header) => self.sweep_applied(header),
            Change::TrialsAdded(trials) => {
                for trial in trials {
                    self.trials.entry(trial.id).or_insert_with(|| StoredTrial {
                        trial: trial.clone(),
                        attempts: 0,
                        deaths: 0,
                        cohort_size_max: None,
                        is_fenced: false,
                        epochs: 0,
                        attempt_epoch: 0,
                        val_error: None,
                        state: StoredState::Pending,
                    });
                }
                Some(())
            }
            Change::MembersAdded { sweep, first_index, trials } => {
                let known = trials.iter().all(|trial| self.trials.contains_key(trial));
                let sweep = self.sweep(sweep)?;
                for (place, trial) in (*first_index..).zip(trials) {
                    sweep.members.insert(*trial, (place, false));
                }
                known.then_some(())
            }
            Change::MembersRemoved(sweep, trials) => {
                let sweep = self.sweep(sweep)?;
                for trial in trials {
                    sweep.members.get_mut(trial)?.1 = true;
                }
                Some(())
            }
            Change::SweepExpanded(sweep) => self.sweep(sweep).map(|sweep| sweep.expanded = true),
            Change::SweepCompleted(sweep) => self.sweep(sweep).map(|sweep| sweep.completed = true),
            Change::SweepReopened(sweep) => self.sweep(sweep).map(|sweep| sweep.completed = false),
            Change::DataPinned(sweep, digest) => {
                self.sweep(sweep).map(|sweep| sweep.header.data_digest = Some(digest.clone()))
            }
            Change::WorkerAttached(_) | Change::WorkerDetached(_) => Some(()),
            Change::AttemptStarted { .. }
            | Change::AttemptAdopted(_)
            | Change::AttemptEnded { .. }
            | Change::EpochRecorded(..) => self.apply_to_attempt(change),
            Change::OutcomeRecorded(attempt, outcome) => {
                self.latest(*attempt)?;
                self.end(attempt.trial, outcome.kind, Some(outcome.val_error))
            }
            Change::SweepHeld(sweep, hold) => {
                self.sweep(sweep).map(|sweep| sweep.hold.clone_from(hold))
            }
            Change::TrialsClosed { trials, kind, reason: _ } => {
                trials.iter().try_for_each(|trial| self.end(*trial, *kind, None))
            }
            Change::TrialsReopened(trials) => {
                trials.iter().try_for_each(|trial| self.reopen(*trial))
            }
            Change::TrialPardoned { trial, deaths, cohort_size_max } => {
                let trial = self.trials.get_mut(trial)?;
                (trial.deaths, trial.cohort_size_max) = (*deaths, *cohort_size_max);
                (!matches!(trial.state, StoredState::Ended(_))).then_some(())
            }
        }
    }

    fn sweep_applied(&mut self, header: &SweepHeader) -> Option<()> {
        let Some(sweep) = self.sweep(&header.name) else {
            self.sweeps.push(Sweep {
                header: header.clone(),
                expanded: false,
                completed: false,
                hold: None,
                members: BTreeMap::new(),
            });
            return Some(());
        };
        sweep.header = header.clone();
        sweep.expanded = false;
        Some(())
    }

    fn apply_to_attempt(&mut self, change: &Change) -> Option<()> {
        match change {
            Change::AttemptStarted { attempt, worker, cohort, cohort_size } => {
                let trial = self.trials.get_mut(&attempt.trial)?;
                let fits = trial.state == StoredState::Pending && trial.attempts < attempt.number;
                trial.attempts = attempt.number;
                trial.is_fenced = false;
                let (worker, cohort) = (worker.clone(), *cohort);
                trial.state = StoredState::Running { worker: worker.clone(), cohort };
                let row = Attempt { cohort, cohort_size: *cohort_size, worker };
                self.attempts.insert(*attempt, row);
                fits.then_some(())
            }
            Change::AttemptAdopted(attempt) => {
                let Attempt { cohort, worker, .. } = self.attempts.get(attempt)?.clone();
                let trial = self.latest(*attempt)?;
                let fits = trial.state == StoredState::Pending;
                trial.state = StoredState::Running { worker, cohort };
                fits.then_some(())
            }
            Change::AttemptEnded { attempt, deaths, cohort_size_max, end: _ } => {
                let trial = self.latest(*attempt)?;
                let fits = matches!(trial.state, StoredState::Running { .. });
                trial.deaths = *deaths;
                trial.cohort_size_max = *cohort_size_max;
                trial.state = StoredState::Pending;
                fits.then_some(())
            }
            Change::EpochRecorded(attempt, metrics) => {
                self.attempts.get(attempt)?;
                let twice = self.epochs.insert((*attempt, metrics.epoch), *metrics);
                twice.is_none().then_some(())
            }
            Change::SweepApplied(_)
            | Change::TrialsAdded(_)
            | Change::MembersAdded { .. }
            | Change::MembersRemoved(..)
            | Change::SweepExpanded(_)
            | Change::SweepCompleted(_)
            | Change::SweepReopened(_)
            | Change::DataPinned(..)
            | Change::WorkerAttached(_)
            | Change::WorkerDetached(_)
            | Change::OutcomeRecorded(..)
            | Change::SweepHeld(..)
            | Change::TrialsClosed { .. }
            | Change::TrialsReopened(_)
            | Change::TrialPardoned { .. } => panic!("{change:?} is no change of an attempt"),
        }
    }

    fn reopen(&mut self, id: TrialId) -> Option<()> {
        let trial = self.trials.get_mut(&id)?;
        let has_failed = trial.state == StoredState::Ended(OutcomeKind::Failed);
        let was_cancelled = trial.state == StoredState::Ended(OutcomeKind::Cancelled);
        trial.is_fenced = true;
        trial.state = StoredState::Pending;
        (trial.deaths, trial.cohort_size_max) = (0, None);
        self.outcomes.remove(&id);
        (has_failed || was_cancelled).then_some(())
    }

    fn end(
        &mut self,
        id: TrialId,
        kind: OutcomeKind,
        val_error: Option<Option<f64>>,
    ) -> Option<()> {
        let trial = self.trials.get_mut(&id)?;
        let fits = trial.state == StoredState::Pending;
        trial.state = StoredState::Ended(kind);
        let twice = self.outcomes.insert(id, val_error);
        (fits && twice.is_none()).then_some(())
    }
}

#[test]
fn model_passes_its_own_suite() {
    super::check(&|| Box::new(Memory::default()));
}
