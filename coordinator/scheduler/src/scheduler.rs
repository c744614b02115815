//! The state, the one door to it (`apply`), and the few steps that every handler shares.
//!
//! The handlers `on_<event>` are in the files of their subject: `application` (sweeps as files),
//! `actions` (what people do to them), `attachment` (workers), `reports`, `restoration`; `health`
//! is about whose fault deaths are; `leases` hands out work after each of them.

use std::collections::{BTreeMap, BTreeSet};

use common::ids::{AttemptId, CohortId, SweepName, TrialId, WorkerId};

use crate::catalog::{Catalog, Entry};
use crate::event::{AttemptEnd, Change, Event, FailureCause, Message, OutcomeKind, Time};
use crate::health::Death;
use crate::overview::Counters;
use crate::settings::Settings;
use crate::sweep::{Sweep, SweepIndex};
use crate::trial::{Record, State, TrialIndex};
use crate::worker::{Runner, Worker};

/// What one event leads to.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Effects {
    /// To commit together, in order.
    pub changes: Vec<Change>,
    /// To send once the changes are committed, in order.
    pub messages: Vec<Message>,
    /// Of an event in which somebody acts on a sweep or a worker: what came of it.
    pub acted: Option<Acted>,
}

/// What came of acting on a sweep or a worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Acted {
    /// There is none of this name.
    Unknown,
    /// It cannot be done: why, and what can.
    Refused(String),
    /// It was done, to so many trials.
    Done {
        /// That waited.
        pending: u64,
        /// That ran.
        running: u64,
    },
}

/// Trials that train together, and where.
#[derive(Debug)]
pub(crate) struct Cohort {
    pub worker: WorkerId,
    /// Whose share of the slots it is; none where no sweep wants it any more.
    pub sweep: Option<SweepIndex>,
    /// None until the worker said where it is.
    pub slot: Option<u32>,
    /// Those that have not ended.
    pub runners: Vec<Runner>,
}

/// The scheduler: see the crate's documentation.
#[derive(Debug)]
pub struct Scheduler {
    pub(crate) settings: Settings,
    pub(crate) catalog: Catalog,
    pub(crate) trials: Vec<Record>,
    pub(crate) trial_index: BTreeMap<TrialId, TrialIndex>,
    pub(crate) sweeps: Vec<Sweep>,
    pub(crate) sweep_index: BTreeMap<SweepName, SweepIndex>,
    /// In the order in which they are served.
    pub(crate) sweep_order: Vec<SweepIndex>,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) cohorts: BTreeMap<CohortId, Cohort>,
    /// The highest id that was ever given.
    pub(crate) cohort_last: CohortId,
    pub(crate) counters: Counters,
    /// Trials that died and may again.
    pub(crate) died_on: BTreeMap<TrialIndex, Death>,
    /// Trials that rest, by when that ends. Some have been taken out of it meanwhile.
    pub(crate) resting: BTreeSet<(Time, TrialIndex)>,
    /// Between the first restored row and `Restored`: nothing is decided.
    pub(crate) restoring: bool,
    pub(crate) closing: bool,
    /// Sweeps whose members changed during this event.
    pub(crate) touched: BTreeSet<SweepIndex>,
    /// A slot, a trial or a permission became free during this event.
    pub(crate) lease_due: bool,
    pub(crate) effects: Effects,
}

impl Scheduler {
    /// A scheduler that knows of nothing.
    pub fn new(settings: Settings) -> Scheduler {
        Scheduler {
            settings,
            catalog: Catalog::default(),
            trials: Vec::new(),
            trial_index: BTreeMap::new(),
            sweeps: Vec::new(),
            sweep_index: BTreeMap::new(),
            sweep_order: Vec::new(),
            workers: BTreeMap::new(),
            cohorts: BTreeMap::new(),
            cohort_last: CohortId(0),
            counters: Counters::default(),
            died_on: BTreeMap::new(),
            resting: BTreeSet::new(),
            restoring: false,
            closing: false,
            touched: BTreeSet::new(),
            lease_due: false,
            effects: Effects::default(),
        }
    }

    /// Takes one event; returns what to store and, once that is committed, to send.
    ///
    /// Panics where the driver breaks the contract of `Event`: members of a sweep that was not
    /// applied, or restored rows that name others that were not restored. What a worker says
    /// never panics.
    pub fn apply(&mut self, now: Time, event: Event) -> Effects {
        match event {
            Event::SweepRestored(header) => self.on_sweep_restored(header),
            Event::SweepStandingRestored { sweep, expanded, completed, hold, slot_seconds } => {
                self.on_sweep_standing_restored(&sweep, expanded, completed, hold, slot_seconds);
            }
            Event::TrialsRestored(trials) => self.on_trials_restored(now, trials),
            Event::MembersRestored(sweep, members) => self.on_members_restored(&sweep, members),
            Event::Restored { cohort_max } => self.on_restored(now, cohort_max),
            Event::SweepApplied(header) => self.on_sweep_applied(header),
            Event::TrialsAdded(sweep, trials) => self.on_trials_added(&sweep, trials),
            Event::SweepExpanded(sweep) => self.on_sweep_expanded(&sweep),
            Event::SweepPruned(sweep) => self.on_sweep_pruned(&sweep),
            Event::SweepPaused(sweep) => self.on_sweep_paused(&sweep),
            Event::SweepResumed(sweep) => self.on_sweep_resumed(&sweep),
            Event::SweepCancelled(sweep) => self.on_sweep_cancelled(&sweep),
            Event::SweepRetried(sweep) => self.on_sweep_retried(&sweep),
            Event::WorkerDrained(worker) => self.on_worker_drained(&worker),
            Event::WorkerAttached(session, hello) => self.on_worker_attached(now, session, hello),
            Event::WorkerDetached(worker, session) => {
                self.on_worker_detached(now, &worker, session);
            }
            Event::Heartbeat { worker, session, draining } => {
                self.on_heartbeat(now, &worker, session, draining);
            }
            Event::Reported { worker, session, through, reports } => {
                self.on_reported(now, &worker, session, through, reports);
            }
            Event::Closing => self.closing = true,
            Event::Stalled => self.on_stalled(now),
            Event::Tick => self.on_tick(now),
        }
        if !self.restoring {
            self.settle_sweeps();
            self.lease();
        }
        std::mem::take(&mut self.effects)
    }

    /// When the next lease expires or the next wait ends, so that a tick then is not late.
    pub fn next_deadline(&self) -> Option<Time> {
        let alive = self.workers.values().filter(|worker| !worker.is_lost());
        let leases = alive.map(|worker| Time(worker.last_seen.0 + self.settings.lease_ms));
        let waits = self.workers.values().filter_map(|worker| worker.health.deadline());
        let rests = self.resting.first().map(|(until, _)| *until);
        leases.chain(waits).chain(rests).min()
    }

    pub(crate) fn trial(&self, trial: TrialIndex) -> &Record {
        &self.trials[trial.place()]
    }

    pub(crate) fn entry(&self, trial: TrialIndex) -> &Entry {
        self.catalog.entry(self.trial(trial).config)
    }

    pub(crate) fn sweep(&self, sweep: SweepIndex) -> &Sweep {
        &self.sweeps[sweep.place()]
    }

    pub(crate) fn sweep_mut(&mut self, sweep: SweepIndex) -> &mut Sweep {
        &mut self.sweeps[sweep.place()]
    }

    pub(crate) fn sweep_of(&self, name: &SweepName) -> SweepIndex {
        *self.sweep_index.get(name).expect("a sweep's members follow the sweep")
    }

    pub(crate) fn store(&mut self, change: Change) {
        self.effects.changes.push(change);
    }

    pub(crate) fn send(&mut self, message: Message) {
        self.effects.messages.push(message);
    }

    /// Changes a trial; the tallies and queues of the sweeps that want it follow.
    pub(crate) fn update(&mut self, trial: TrialIndex, change: impl FnOnce(&mut Record)) {
        let record = &mut self.trials[trial.place()];
        let entry = self.catalog.entry(record.config);
        for membership in record.memberships.as_slice() {
            if !membership.removed {
                let sweep = &mut self.sweeps[membership.sweep.place()];
                sweep.unlist(trial, record, entry, membership.rank);
            }
        }
        change(record);
        for membership in record.memberships.as_slice() {
            if !membership.removed {
                let sweep = &mut self.sweeps[membership.sweep.place()];
                sweep.list(trial, record, entry, membership.rank);
                self.touched.insert(membership.sweep);
            }
        }
        self.lease_due |= record.state == State::Pending;
    }

    /// Ends an attempt without an outcome: its trial is pending again, before all others.
    pub(crate) fn end_attempt(&mut self, trial: TrialIndex, end: AttemptEnd) {
        self.end_attempt_as(trial, end, State::Pending);
    }

    /// As `end_attempt`, of a trial that waits for a while.
    pub(crate) fn end_attempt_to_rest(&mut self, trial: TrialIndex, end: AttemptEnd, until: Time) {
        self.resting.insert((until, trial));
        self.end_attempt_as(trial, end, State::Resting { until });
    }

    fn end_attempt_as(&mut self, trial: TrialIndex, end: AttemptEnd, state: State) {
        self.leave_cohort(trial);
        self.count_attempt(&end);
        let (sweeps, record) = (&mut self.sweeps, &self.trials[trial.place()]);
        let mut ranks = Vec::with_capacity(record.memberships.as_slice().len());
        for membership in record.memberships.as_slice() {
            ranks.push(sweeps[membership.sweep.place()].take_front_rank());
        }
        self.update(trial, |record| {
            record.state = state;
            for (membership, rank) in record.memberships.as_mut_slice().iter_mut().zip(ranks) {
                membership.rank = rank;
            }
        });
        self.store_attempt_end(trial, end);
        self.close_cancelled(&[trial]);
    }

    /// Ends the latest attempt of a trial that gets its outcome in the same breath.
    pub(crate) fn end_last_attempt(
        &mut self,
        trial: TrialIndex,
        end: AttemptEnd,
        kind: OutcomeKind,
        val_error: Option<f64>,
    ) {
        self.leave_cohort(trial);
        self.count_attempt(&end);
        self.update(trial, |record| {
            record.state = State::Ended(kind);
            record.val_error = val_error;
        });
        self.store_attempt_end(trial, end);
    }

    fn store_attempt_end(&mut self, trial: TrialIndex, end: AttemptEnd) {
        let record = self.trial(trial);
        let change = Change::AttemptEnded {
            attempt: record.attempt(),
            end,
            deaths: record.deaths,
            cohort_size_max: record.cohort_size_max,
        };
        self.store(change);
    }

    /// A cohort ends with its last attempt, and its slot is free.
    fn leave_cohort(&mut self, trial: TrialIndex) {
        let id = match self.trial(trial).state {
            State::Running { cohort } => cohort,
            // Its outcome came after its worker was lost.
            State::Pending | State::Resting { .. } => return,
            State::Ended(_) => panic!("an ended trial has no attempt that could end"),
        };
        let cohort = self.cohorts.get_mut(&id).expect("a running trial's cohort is known");
        cohort.runners.retain(|runner| runner.trial != trial);
        if !cohort.runners.is_empty() {
            return;
        }
        let cohort = self.cohorts.remove(&id).expect("the cohort was just found");
        if let Some(sweep) = cohort.sweep {
            self.sweep_mut(sweep).cohorts_running -= 1;
        }
        let worker = self.workers.get_mut(&cohort.worker).expect("a cohort's worker is known");
        worker.cohorts.remove(&id);
        if let Some(slot) = cohort.slot {
            worker.slots[slot as usize] = None;
        }
        self.lease_due = true;
    }

    fn count_attempt(&mut self, end: &AttemptEnd) {
        let name = match end {
            AttemptEnd::Outcome(OutcomeKind::Completed) => "completed",
            AttemptEnd::Outcome(OutcomeKind::Diverged) => "diverged",
            AttemptEnd::Outcome(OutcomeKind::Failed) => "failed",
            AttemptEnd::Outcome(OutcomeKind::Cancelled) | AttemptEnd::Cancelled => "cancelled",
            AttemptEnd::WorkerLost => "worker_lost",
            AttemptEnd::Returned => "returned",
            AttemptEnd::CohortFailed { cause, .. } => match cause {
                FailureCause::OutOfMemory => "out_of_memory",
                FailureCause::TrainerDied => "trainer_died",
                FailureCause::Data => "data",
                FailureCause::Bug => "bug",
            },
        };
        *self.counters.attempts.entry(name).or_default() += 1;
    }

    /// How a worker may speak of an attempt: the one rule for hellos and for reports.
    ///
    /// An attempt whose trial was not leased again since is as good as one that never ended: its
    /// worker was silent for a while, and training it twice would be the only other choice.
    pub(crate) fn standing(&self, worker: &WorkerId, attempt: AttemptId) -> Standing {
        let Some(&trial) = self.trial_index.get(&attempt.trial) else {
            return Standing::Stale;
        };
        let record = self.trial(trial);
        if attempt.number == 0 || record.attempts != attempt.number || record.is_fenced {
            return Standing::Stale;
        }
        match record.state {
            State::Pending | State::Resting { .. } => Standing::Adoptable(trial),
            State::Running { cohort } if self.cohorts[&cohort].worker == *worker => {
                Standing::Current(trial, cohort)
            }
            State::Running { .. } | State::Ended(_) => Standing::Stale,
        }
    }
}

/// Where an attempt stands that a worker names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// It runs there, in this cohort.
    Current(TrialIndex, CohortId),
    /// It counts as ended, but is its trial's latest, and the trial waits.
    Adoptable(TrialIndex),
    /// Its trial is unknown, has an outcome or had one, or was leased again.
    Stale,
}
