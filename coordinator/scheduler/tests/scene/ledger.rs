//! A store for tests that accepts only what may follow from what it holds. `simulation` has it
//! from here.

use std::collections::{BTreeMap, BTreeSet};

use common::ids::{AttemptId, CohortId, SweepName, TrialId, WorkerId};
use scheduler::event::{
    AttemptEnd, Change, EpochMetrics, Event, Hold, Outcome, OutcomeKind, StoredState, StoredTrial,
    SweepHeader, Trial,
};
use scheduler::overview::{Counts, Overview};

#[derive(Clone, Debug)]
struct Sweep {
    header: SweepHeader,
    expanded: bool,
    completed: bool,
    hold: Option<Hold>,
    /// Place and whether it was removed.
    members: BTreeMap<TrialId, (u64, bool)>,
}

#[derive(Clone, PartialEq, Debug)]
struct Attempt {
    worker: WorkerId,
    cohort: CohortId,
    cohort_size: u32,
    end: Option<AttemptEnd>,
    /// Epochs and their seconds.
    epochs: BTreeMap<u32, f64>,
}

#[derive(Clone, Debug, Default)]
pub struct Ledger {
    sweeps: Vec<Sweep>,
    trials: BTreeMap<TrialId, StoredTrial>,
    attempts: BTreeMap<AttemptId, Attempt>,
    outcomes: BTreeMap<TrialId, Outcome>,
    /// Cancelled, without an attempt's outcome.
    closed: BTreeSet<TrialId>,
    attached: BTreeSet<WorkerId>,
}

impl Ledger {
    pub fn commit(&mut self, changes: &[Change]) {
        for change in changes {
            self.take(change);
        }
    }

    pub fn outcome(&self, trial: u64) -> Option<&Outcome> {
        self.outcomes.get(&TrialId(trial))
    }

    pub fn end(&self, attempt: AttemptId) -> Option<&AttemptEnd> {
        self.attempts[&attempt].end.as_ref()
    }

    pub fn epochs(&self, attempt: AttemptId) -> Vec<u32> {
        self.attempts[&attempt].epochs.keys().copied().collect()
    }

    pub fn trial(&self, trial: u64) -> &StoredTrial {
        &self.trials[&TrialId(trial)]
    }

    pub fn trial_count(&self) -> usize {
        self.trials.len()
    }

    pub fn digest(&self, sweep: &str) -> Option<&str> {
        let sweep = self.sweeps.iter().find(|stored| stored.header.name.as_str() == sweep);
        sweep.unwrap().header.data_digest.as_deref()
    }

    /// Members in order, removed ones left out.
    pub fn members(&self, sweep: &str) -> Vec<u64> {
        let sweep = self.sweeps.iter().find(|stored| stored.header.name.as_str() == sweep);
        let members = sweep.unwrap().members.iter().filter(|(_, (_, removed))| !removed);
        let mut members: Vec<_> = members.map(|(trial, (place, _))| (*place, trial.0)).collect();
        members.sort_unstable();
        members.into_iter().map(|(_, trial)| trial).collect()
    }

    /// Name and file of the sweeps whose expansion was cut off, oldest first.
    pub fn unexpanded(&self) -> Vec<(SweepName, String)> {
        let sweeps = self.sweeps.iter().filter(|sweep| !sweep.expanded);
        sweeps.map(|sweep| (sweep.header.name.clone(), sweep.header.yaml.clone())).collect()
    }

    pub fn trials(&self) -> impl Iterator<Item = &StoredTrial> {
        self.trials.values()
    }

    /// The worker of an attempt and whether it has ended; none of one that is not stored.
    pub fn attempt(&self, attempt: AttemptId) -> Option<(&WorkerId, bool)> {
        let attempt = self.attempts.get(&attempt)?;
        Some((&attempt.worker, attempt.end.is_some()))
    }

    /// The attempt whose epoch counts, by epoch: each attempt replaces the history from the epoch
    /// it began with.
    pub fn history(&self, trial: TrialId) -> BTreeMap<u32, u32> {
        let mut history = BTreeMap::new();
        let attempts = AttemptId { trial, number: 0 }..=AttemptId { trial, number: u32::MAX };
        for (id, attempt) in self.attempts.range(attempts) {
            if let Some((first, _)) = attempt.epochs.first_key_value() {
                history.split_off(first);
            }
            history.extend(attempt.epochs.keys().map(|epoch| (*epoch, id.number)));
        }
        history
    }

    fn sweep(&mut self, name: &SweepName) -> &mut Sweep {
        let found = self.sweeps.iter_mut().find(|sweep| sweep.header.name == *name);
        found.expect("a change names a stored sweep")
    }

    fn take(&mut self, change: &Change) {
        match change {
            Change::SweepApplied(header) => self.apply_sweep(header),
            Change::TrialsAdded(trials) => self.add_trials(trials),
            Change::MembersAdded { sweep, first_index, trials } => {
                for (place, trial) in (*first_index..).zip(trials) {
                    assert!(self.trials.contains_key(trial), "a member is a stored trial");
                    self.sweep(sweep).members.insert(*trial, (place, false));
                }
            }
            Change::MembersRemoved(sweep, trials) => {
                for trial in trials {
                    let member = self.sweep(sweep).members.get_mut(trial).expect("a member");
                    assert!(!member.1, "a member is removed once");
                    member.1 = true;
                }
            }
            Change::SweepExpanded(sweep) => self.sweep(sweep).expanded = true,
            Change::SweepCompleted(sweep) => {
                let sweep = self.sweep(sweep);
                assert!(sweep.expanded && !sweep.completed, "a sweep completes once");
                sweep.completed = true;
            }
            Change::SweepReopened(sweep) => {
                assert!(self.sweep(sweep).completed, "a completed sweep is reopened");
                self.sweep(sweep).completed = false;
            }
            Change::DataPinned(sweep, digest) => {
                let pinned = self.sweep(sweep).header.data_digest.replace(digest.clone());
                assert_eq!(pinned, None, "data is pinned once");
            }
            Change::WorkerAttached(hello) => _ = self.attached.insert(hello.id.clone()),
            Change::WorkerDetached(worker) => _ = self.attached.remove(worker),
            Change::AttemptStarted { attempt, worker, cohort, cohort_size } => {
                self.start(*attempt, worker, *cohort, *cohort_size);
            }
            Change::AttemptAdopted(attempt) => self.adopt(*attempt),
            Change::AttemptEnded { attempt, end, deaths, cohort_size_max } => {
                self.end_attempt(*attempt, end, *deaths, *cohort_size_max);
            }
            Change::EpochRecorded(attempt, metrics) => self.record_epoch(*attempt, metrics),
            Change::OutcomeRecorded(attempt, outcome) => {
                let trial = self.latest(*attempt);
                assert_eq!(trial.state, StoredState::Pending, "its attempt ended before");
                trial.state = StoredState::Ended(outcome.kind);
                trial.val_error = outcome.val_error;
                let known = self.outcomes.insert(attempt.trial, outcome.clone());
                assert_eq!(known, None, "a trial has one outcome");
            }
            Change::SweepHeld(sweep, hold) => {
                let sweep = self.sweep(sweep);
                assert_ne!(sweep.hold, *hold, "a hold that is stored is not stored again");
                sweep.hold.clone_from(hold);
            }
            Change::TrialsClosed { trials, kind, .. } => self.close(trials, *kind),
            Change::TrialsReopened(trials) => {
                for id in trials {
                    self.reopen(*id);
                }
            }
            Change::TrialPardoned { trial, deaths, cohort_size_max } => {
                let trial = self.trials.get_mut(trial).expect("a stored trial");
                assert!(!matches!(trial.state, StoredState::Ended(_)), "an open trial is pardoned");
                (trial.deaths, trial.cohort_size_max) = (*deaths, *cohort_size_max);
            }
        }
    }

    fn record_epoch(&mut self, attempt: AttemptId, metrics: &EpochMetrics) {
        let trial = self.latest(attempt);
        assert!(metrics.epoch <= trial.epochs + 1, "history has no gap");
        trial.epochs = metrics.epoch;
        trial.attempt_epoch = metrics.epoch;
        trial.val_error = Some(metrics.val_error);
        let epochs = &mut self.attempts.get_mut(&attempt).unwrap().epochs;
        let known = epochs.insert(metrics.epoch, metrics.seconds);
        assert_eq!(known, None, "an epoch is recorded once");
    }

    fn close(&mut self, trials: &[TrialId], kind: OutcomeKind) {
        for id in trials {
            let trial = self.trials.get_mut(id).expect("a stored trial");
            assert_eq!(trial.state, StoredState::Pending, "a pending trial is closed");
            trial.state = StoredState::Ended(kind);
            self.closed.insert(*id);
        }
    }

    fn reopen(&mut self, id: TrialId) {
        let trial = self.trials.get_mut(&id).expect("a stored trial");
        let ended = StoredState::Ended(OutcomeKind::Failed);
        let cancelled = StoredState::Ended(OutcomeKind::Cancelled);
        assert!(trial.state == ended || trial.state == cancelled, "it failed or was cancelled");
        let had_outcome = self.outcomes.remove(&id).is_some();
        assert_ne!(had_outcome, self.closed.remove(&id), "one of both ended it");
        trial.is_fenced = true;
        trial.state = StoredState::Pending;
        (trial.deaths, trial.cohort_size_max) = (0, None);
    }

    fn apply_sweep(&mut self, header: &SweepHeader) {
        let known = self.sweeps.iter_mut().find(|sweep| sweep.header.name == header.name);
        let header = header.clone();
        match known {
            Some(sweep) => (sweep.header, sweep.expanded) = (header, false),
            None => self.sweeps.push(Sweep {
                header,
                expanded: false,
                completed: false,
                hold: None,
                members: BTreeMap::new(),
            }),
        }
    }

    fn add_trials(&mut self, trials: &[Trial]) {
        for trial in trials {
            let stored = StoredTrial {
                trial: trial.clone(),
                attempts: 0,
                deaths: 0,
                cohort_size_max: None,
                is_fenced: false,
                epochs: 0,
                attempt_epoch: 0,
                val_error: None,
                state: StoredState::Pending,
            };
            let known = self.trials.insert(trial.id, stored);
            assert_eq!(known, None, "a trial is added once");
        }
    }

    /// The trial of its latest attempt, which has no outcome.
    fn latest(&mut self, attempt: AttemptId) -> &mut StoredTrial {
        let trial = self.trials.get_mut(&attempt.trial).expect("a stored trial");
        assert_eq!(trial.attempts, attempt.number, "the latest attempt");
        assert!(!matches!(trial.state, StoredState::Ended(_)), "no outcome yet");
        trial
    }

    fn start(&mut self, id: AttemptId, worker: &WorkerId, cohort: CohortId, cohort_size: u32) {
        assert!(self.attached.contains(worker), "an attached worker gets leases");
        let trial = self.trials.get_mut(&id.trial).expect("a stored trial");
        assert_eq!(trial.state, StoredState::Pending, "a pending trial is leased");
        assert_eq!(trial.attempts + 1, id.number, "attempts count up");
        trial.attempts = id.number;
        trial.attempt_epoch = 0;
        trial.is_fenced = false;
        trial.state = StoredState::Running { worker: worker.clone(), cohort };
        let worker = worker.clone();
        let epochs = BTreeMap::new();
        let attempt = Attempt { worker, cohort, cohort_size, end: None, epochs };
        assert_eq!(self.attempts.insert(id, attempt), None);
    }

    fn adopt(&mut self, id: AttemptId) {
        let attempt = self.attempts.get_mut(&id).expect("a stored attempt");
        let end = attempt.end.take();
        assert!(
            end.is_some_and(|end| !matches!(end, AttemptEnd::Outcome(_))),
            "an attempt is adopted that ended without outcome"
        );
        let (worker, cohort) = (attempt.worker.clone(), attempt.cohort);
        let trial = self.latest(id);
        assert_eq!(trial.state, StoredState::Pending, "its trial was not leased again");
        trial.state = StoredState::Running { worker, cohort };
    }

    fn end_attempt(
        &mut self,
        id: AttemptId,
        end: &AttemptEnd,
        deaths: u32,
        cohort_size_max: Option<u32>,
    ) {
        let trial = self.latest(id);
        assert!(matches!(trial.state, StoredState::Running { .. }), "a current attempt ends");
        trial.state = StoredState::Pending;
        assert!(deaths >= trial.deaths);
        trial.deaths = deaths;
        trial.cohort_size_max = cohort_size_max;
        let attempt = self.attempts.get_mut(&id).expect("a stored attempt");
        assert_eq!(attempt.end, None, "an attempt ends once");
        attempt.end = Some(end.clone());
    }

    /// The overview counts what is stored.
    pub fn check_counts(&self, overview: &Overview) {
        for sweep in &self.sweeps {
            let mut counts = Counts::default();
            for (trial, (_, removed)) in &sweep.members {
                let count = match self.trials[trial].state {
                    _ if *removed => &mut counts.removed,
                    StoredState::Pending => &mut counts.pending,
                    StoredState::Running { .. } => &mut counts.running,
                    StoredState::Ended(OutcomeKind::Completed) => &mut counts.completed,
                    StoredState::Ended(OutcomeKind::Diverged) => &mut counts.diverged,
                    StoredState::Ended(OutcomeKind::Failed) => &mut counts.failed,
                    StoredState::Ended(OutcomeKind::Cancelled) => &mut counts.cancelled,
                };
                *count += 1;
            }
            let shown = overview.sweeps.iter().find(|shown| shown.name == sweep.header.name);
            assert_eq!(shown.unwrap().counts, counts, "{}", sweep.header.name);
        }
        let running = self.attempts.values().filter(|attempt| attempt.end.is_none()).count();
        let states = self.trials.values().map(|trial| &trial.state);
        let trials = states.filter(|state| matches!(state, StoredState::Running { .. })).count();
        assert_eq!(running, trials, "a running trial has one open attempt");
    }

    fn slot_seconds(&self, sweep: &Sweep) -> f64 {
        let mut seconds = 0.0;
        for (id, attempt) in &self.attempts {
            if sweep.members.get(&id.trial).is_some_and(|(_, removed)| !removed) {
                let sum: f64 = attempt.epochs.values().sum();
                seconds += sum / f64::from(attempt.cohort_size);
            }
        }
        seconds
    }

    /// The events of a coordinator's start.
    pub fn restoration(&mut self) -> Vec<Event> {
        self.attached.clear();
        let mut events = Vec::new();
        for sweep in &self.sweeps {
            events.push(Event::SweepRestored(sweep.header.clone()));
            events.push(Event::SweepStandingRestored {
                sweep: sweep.header.name.clone(),
                expanded: sweep.expanded,
                completed: sweep.completed,
                hold: sweep.hold.clone(),
                slot_seconds: self.slot_seconds(sweep),
            });
        }
        let trials: Vec<StoredTrial> = self.trials.values().cloned().collect();
        for page in trials.chunks(4) {
            events.push(Event::TrialsRestored(page.to_vec()));
        }
        for sweep in &self.sweeps {
            let mut members: Vec<_> = sweep.members.iter().collect();
            members.sort_by_key(|(trial, (place, _))| (*place, **trial));
            let members = members.into_iter().map(|(trial, (_, removed))| (*trial, *removed));
            events.push(Event::MembersRestored(sweep.header.name.clone(), members.collect()));
        }
        let cohorts = self.attempts.values().map(|attempt| attempt.cohort);
        events.push(Event::Restored { cohort_max: cohorts.max().unwrap_or(CohortId(0)) });
        events
    }
}
