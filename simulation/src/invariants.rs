//! What must hold after every happening, and what at the end: each is a sentence. The strict
//! ledger (`Ledger::commit`) and the scheduler's own `check_invariants` hold the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use common::ids::{AttemptId, SweepName, TrialId, WorkerId};
use common::wire::report;
use scheduler::event::{AttemptEnd, Event, Hold, OutcomeKind, Report, StoredState, Time};
use scheduler::overview::{Counters, SweepOverview, SweepState};
use scheduler::{Change, Message};

use crate::network::StreamId;
use crate::trainer::Work;
use crate::trials::val_error;
use crate::world::World;

/// After this time in a healed world no trainer trains what another one may: the lease, the
/// longest wait for a connection, and the way of a message.
const ZOMBIE_MS_MAX: u64 = 60_000;

/// While its worker is well connected, a trainer is told sooner to leave an attempt that is not
/// current any more: both ways of a stream that stalls twice for a minute.
const UNTOLD_MS_MAX: u64 = 180_000;

/// What is a matter of minutes is looked at this often.
const LOOK_EVERY_MS: u64 = 5_000;

/// What the world remembers for the invariants.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// How often a trial was alone in a trainer that died.
    pub solo_deaths: BTreeMap<TrialId, u32>,
    /// Since when a trainer of a well connected worker trains an attempt that is not current.
    untold: BTreeMap<(usize, AttemptId), u64>,
    looked_at: u64,
    /// How often what a simulation is for happened.
    pub seen: BTreeMap<&'static str, u64>,
}

impl Audit {
    pub fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    pub fn see_changes(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::AttemptAdopted(_) => self.see("an attempt is adopted"),
                Change::SweepReopened(_) => self.see("a sweep is reopened"),
                Change::MembersRemoved(..) => self.see("members are removed"),
                Change::SweepHeld(_, Some(Hold::Paused)) => self.see("a sweep is paused"),
                Change::SweepHeld(_, Some(Hold::Cancelled)) => self.see("a sweep is cancelled"),
                Change::SweepHeld(_, Some(Hold::Broken { .. })) => self.see("a sweep breaks"),
                Change::TrialsClosed { .. } => self.see("trials are cancelled"),
                Change::TrialsReopened(_) => self.see("trials are reopened"),
                Change::TrialPardoned { .. } => self.see("a worker is set aside"),
                Change::AttemptEnded { end, .. } => match end {
                    AttemptEnd::WorkerLost => self.see("a worker is lost with attempts"),
                    AttemptEnd::Returned => self.see("an attempt is handed back"),
                    AttemptEnd::CohortFailed { counted: true, .. } => self.see("a death counts"),
                    AttemptEnd::CohortFailed { .. } => self.see("a cohort fails without blame"),
                    AttemptEnd::Cancelled => self.see("an attempt is cancelled"),
                    AttemptEnd::Outcome(_) => {}
                },
                Change::SweepApplied(_)
                | Change::TrialsAdded(_)
                | Change::MembersAdded { .. }
                | Change::SweepExpanded(_)
                | Change::SweepCompleted(_)
                | Change::DataPinned(..)
                | Change::WorkerAttached(_)
                | Change::WorkerDetached(_)
                | Change::AttemptStarted { .. }
                | Change::EpochRecorded(..)
                | Change::OutcomeRecorded(..)
                | Change::SweepHeld(_, None) => {}
            }
        }
    }

    /// What a scheduler counted, before it is dropped.
    pub fn see_counters(&mut self, counters: &Counters) {
        for (what, count) in [
            ("a report is stale", counters.stale_reports),
            ("an epoch comes again", counters.duplicate_reports),
            ("a lease expires", counters.lease_expirations),
        ] {
            *self.seen.entry(what).or_default() += count;
        }
    }
}

fn holds(is_true: bool, sentence: &str, what: impl FnOnce() -> String) {
    assert!(is_true, "violated: {sentence}: {}", what());
}

impl World {
    pub(crate) fn check(&mut self) {
        if std::mem::take(&mut self.is_decided)
            && let Some(serving) = self.coordinator.serving()
        {
            serving.scheduler.check_invariants();
            let time = Time(self.now);
            serving.decided.check_counts(&serving.scheduler.overview(time));
            self.check_deaths_are_counted_only_where_alone();
        }
        if self.now >= self.audit.looked_at + LOOK_EVERY_MS {
            self.audit.looked_at = self.now;
            self.check_the_connected_are_told();
        }
        self.check_every_agent_holds_an_attempt_once();
        if self.is_healed && self.now > self.healed_at + ZOMBIE_MS_MAX {
            self.check_trainers_train_current_attempts();
        }
    }

    fn check_deaths_are_counted_only_where_alone(&self) {
        let Some(serving) = self.coordinator.serving() else { return };
        for trial in serving.decided.trials() {
            let alone = self.audit.solo_deaths.get(&trial.trial.id).copied().unwrap_or(0);
            holds(trial.deaths <= alone, "a death counts only where it was alone", || {
                format!("{} has {} deaths, {alone} alone", trial.trial.id, trial.deaths)
            });
        }
    }

    fn check_every_agent_holds_an_attempt_once(&self) {
        for agent in &self.agents {
            let Some(process) = &agent.process else { continue };
            let mut seen = BTreeSet::new();
            for running in process.supervisor.running() {
                for attempt in running.attempts {
                    holds(seen.insert(attempt), "an agent holds an attempt in one slot", || {
                        format!("{attempt} on {}", agent.id)
                    });
                }
            }
        }
    }

    fn check_trainers_train_current_attempts(&self) {
        for agent in &self.agents {
            let trainers = agent.process.iter().flat_map(|process| process.trainers.iter());
            for trainer in trainers.flatten().filter(|trainer| !trainer.is_hung) {
                let Work::Training(training) = &trainer.work else { continue };
                for member in &training.members {
                    let attempt = member.attempt;
                    let stored = self.stored_attempts(attempt.trial);
                    holds(stored <= attempt.number, "no trainer trains an old attempt", || {
                        format!("{attempt} on {}, while {stored} is stored", agent.id)
                    });
                }
            }
        }
    }

    fn check_the_connected_are_told(&mut self) {
        let mut untold = BTreeMap::new();
        for (index, agent) in self.agents.iter().enumerate() {
            if agent.pause.is_some() || !self.is_well_connected(index) {
                continue;
            }
            let trainers = agent.process.iter().flat_map(|process| process.trainers.iter());
            for trainer in trainers.flatten().filter(|trainer| !trainer.is_hung) {
                let Work::Training(training) = &trainer.work else { continue };
                for attempt in training.members.iter().map(|member| member.attempt) {
                    if self.stored_attempts(attempt.trial) > attempt.number {
                        let since = self.audit.untold.get(&(index, attempt));
                        untold.insert((index, attempt), *since.unwrap_or(&self.now));
                    }
                }
            }
        }
        for ((index, attempt), since) in &untold {
            let is_told_in_time = self.now - since <= UNTOLD_MS_MAX;
            holds(is_told_in_time, "the connected are told what is not theirs any more", || {
                format!("{attempt} on {} since {since}", self.agents[*index].id)
            });
        }
        self.audit.untold = untold;
    }

    fn is_well_connected(&self, agent: usize) -> bool {
        let Some(serving) = self.coordinator.serving() else { return false };
        let current = serving.streams.get(&self.agents[agent].id);
        self.agents[agent].stream().is_some_and(|stream| {
            let is_current = current.is_some_and(|(_, current)| *current == stream);
            is_current && self.streams[stream.0].is_welcome && !self.streams[stream.0].is_cut()
        })
    }

    /// The attempts of a hello that may go on: the latest of trials that wait, or run right there.
    pub(crate) fn adoptable(&self, event: &Event) -> Vec<AttemptId> {
        let (Event::WorkerAttached(_, hello), Some(serving)) = (event, self.coordinator.serving())
        else {
            return Vec::new();
        };
        let overview = serving.scheduler.overview(Time(self.now));
        let is_cancelled = |name: &SweepName| {
            let mut cancelled = overview.sweeps.iter();
            cancelled.any(|sweep| sweep.name == *name && sweep.state == SweepState::Cancelled)
        };
        let mut adoptable = Vec::new();
        for claim in &hello.running {
            for &attempt in &claim.attempts {
                let trials = &mut serving.decided.trials();
                let stored = trials.find(|stored| stored.trial.id == attempt.trial);
                let goes_on = stored.is_some_and(|stored| match &stored.state {
                    StoredState::Pending => {
                        let sweeps = serving.scheduler.sweeps_of(attempt.trial);
                        let is_wanted = !sweeps.iter().all(is_cancelled);
                        stored.attempts == attempt.number && is_wanted && !stored.is_fenced
                    }
                    StoredState::Running { worker, cohort } => {
                        let is_there = *worker == hello.id && *cohort == claim.cohort;
                        stored.attempts == attempt.number && is_there
                    }
                    StoredState::Ended(_) => false,
                });
                if goes_on {
                    adoptable.push(attempt);
                }
            }
        }
        adoptable
    }

    pub(crate) fn check_adopted(&self, adoptable: &[AttemptId], messages: &[Message]) {
        for attempt in adoptable {
            let goes_on = messages.iter().any(|message| {
                matches!(message, Message::Welcome { adopted, .. } if adopted.contains(attempt))
            });
            holds(goes_on, "what a worker still runs goes on", || format!("{attempt}"));
        }
    }

    /// A heartbeat follows the spool: what it shows to be gone must not be in there.
    pub(crate) fn check_ended_by_heartbeat(&self, worker: &WorkerId, changes: &[Change]) {
        let agent = self.agents.iter().find(|agent| agent.id == *worker);
        let agent = agent.expect("a worker is an agent");
        for change in changes {
            let Change::AttemptEnded { attempt, end: AttemptEnd::WorkerLost, .. } = change else {
                continue;
            };
            let mut reports = agent.spool.reports().map(crate::convert::report);
            let is_gone =
                !reports.any(|report| matches!(report, Report::Ended(of, _) if of == *attempt));
            holds(is_gone, "no outcome in a spool is given up", || format!("{attempt}"));
        }
    }

    fn stored_attempts(&self, trial: TrialId) -> u32 {
        let trials = &mut self.store.ledger.trials();
        trials.find(|stored| stored.trial.id == trial).map_or(0, |stored| stored.attempts)
    }

    /// A message that goes out speaks of what is stored.
    pub(crate) fn check_message(&self, message: &Message) {
        let ledger = &self.store.ledger;
        let is_stored = |attempt: AttemptId| ledger.attempt(attempt).is_some();
        let stored = match message {
            Message::Welcome { adopted, .. } => adopted.iter().all(|attempt| is_stored(*attempt)),
            Message::Lease { worker, trials, .. } => trials.iter().all(|leased| {
                ledger.attempt(leased.attempt).is_some_and(|(holder, _)| holder == worker)
            }),
            // What they say is looked at where it is heard, or may have changed again since.
            Message::Stop { .. }
            | Message::Drain { .. }
            | Message::Acknowledge { .. }
            | Message::SweepCompleted(_) => true,
        };
        holds(stored, "a message never outruns its commit", || format!("{message:?}"));
    }

    /// The agent forgets a report: it must be stored, or mean nothing any more.
    pub(crate) fn check_acknowledged(&self, stream: StreamId, report: &report::Report) {
        // An acknowledgement of an older store was right for that one.
        if self.streams[stream.0].store != self.store.identity {
            return;
        }
        let report = crate::convert::report(report);
        let is_kept = match &report {
            Report::Epoch(attempt, metrics) => {
                !self.counts(*attempt)
                    || self.store.ledger.epochs(*attempt).contains(&metrics.epoch)
            }
            Report::Ended(attempt, _) => !self.counts(*attempt),
            Report::Returned(attempt, _) => self.is_over(*attempt),
            Report::CohortFailed(failure) => {
                failure.attempts.iter().all(|attempt| self.is_over(*attempt))
            }
        };
        holds(is_kept, "no acknowledged report is missing", || format!("{report:?}"));
    }

    /// It is its trial's latest attempt, and the trial has no outcome, nor had one.
    fn counts(&self, attempt: AttemptId) -> bool {
        let trials = &mut self.store.ledger.trials();
        trials.any(|stored| {
            stored.trial.id == attempt.trial
                && stored.attempts == attempt.number
                && !stored.is_fenced
                && !matches!(stored.state, StoredState::Ended(_))
        })
    }

    fn is_over(&self, attempt: AttemptId) -> bool {
        !self.counts(attempt)
            || self.store.ledger.attempt(attempt).is_some_and(|(_, has_ended)| has_ended)
    }

    pub(crate) fn see_counters(&mut self) {
        if let Some(serving) = self.coordinator.serving() {
            self.audit.see_counters(&serving.scheduler.overview(Time(self.now)).counters);
        }
    }

    /// Nothing is left to do.
    pub(crate) fn is_finished(&self) -> bool {
        let Some(serving) = self.coordinator.serving() else { return false };
        if !serving.is_settled() || !self.agents.iter().all(|agent| agent.is_idle()) {
            return false;
        }
        let overview = serving.scheduler.overview(Time(self.now));
        let workers = &mut overview.workers.iter();
        overview.sweeps.len() == self.files.len()
            && overview.sweeps.iter().all(is_over)
            && workers.all(|worker| worker.slots.iter().all(|slot| slot.cohort.is_none()))
    }

    pub(crate) fn unfinished(&self) -> String {
        let mut text = String::new();
        if let Some(serving) = self.coordinator.serving() {
            let overview = serving.scheduler.overview(Time(self.now));
            for sweep in &overview.sweeps {
                writeln!(text, "{} {:?} {:?}", sweep.name, sweep.state, sweep.counts)
                    .expect("a string takes all");
            }
            writeln!(text, "{:#?}", overview.workers).expect("a string takes all");
        }
        for agent in &self.agents {
            let process = agent.process.as_ref();
            writeln!(text, "{} {} unsent {process:#?}", agent.id, agent.spool.len())
                .expect("a string takes all");
        }
        text
    }

    /// Once everything has finished.
    pub(crate) fn check_results(&mut self) {
        self.see_counters();
        let ledger = &self.store.ledger;
        let serving = self.coordinator.serving().expect("it is finished");
        let overview = serving.scheduler.overview(Time(self.now));
        for file in &self.files {
            let members = ledger.members(file.name.as_str());
            holds(members == file.latest().trials, "a sweep has the trials of its file", || {
                format!("{} has {members:?}", file.name)
            });
            let shown = overview.sweeps.iter().find(|sweep| sweep.name == file.name);
            let is_completed = shown.is_some_and(|sweep| sweep.state == SweepState::Completed);
            let how = if is_completed { "a sweep completes" } else { "a budget ends a sweep" };
            self.audit.see(how);
            for &trial in &file.latest().trials {
                let has_outcome = ledger.outcome(trial).is_some();
                holds(has_outcome || !is_completed, "each wanted trial has an outcome", || {
                    format!("trial {trial} of {}", file.name)
                });
            }
        }
        for stored in ledger.trials() {
            match stored.state {
                // By a sweep whose file had it then; whoever names it now has it run again.
                StoredState::Ended(OutcomeKind::Cancelled) => self.check_unwanted(stored.trial.id),
                StoredState::Ended(_) => self.check_outcome(stored.trial.id),
                StoredState::Pending | StoredState::Running { .. } => {}
            }
        }
    }

    fn check_unwanted(&self, trial: TrialId) {
        let mut files = self.files.iter();
        let named = files.find(|file| file.latest().trials.contains(&trial.0));
        holds(named.is_none(), "a cancelled trial is in no file", || format!("{trial}"));
    }

    /// It is the undisturbed run's.
    fn check_outcome(&self, trial: TrialId) {
        let fate = self.trials.fate(trial);
        let outcome = self.store.ledger.outcome(trial.0).expect("an ended trial has an outcome");
        let history = self.store.ledger.history(trial);
        let last = u32::try_from(history.len()).expect("few epochs");
        let is_whole = history.keys().copied().eq(1..=last);
        holds(is_whole, "a history has neither gap nor duplicate", || {
            format!("{trial} has {history:?}")
        });
        if outcome.kind == OutcomeKind::Failed && self.trials.expected(trial) != outcome.kind {
            let alone = self.audit.solo_deaths.get(&trial).copied().unwrap_or(0);
            let is_disturbed = alone >= self.swarm.settings.deaths_max;
            return holds(is_disturbed, "a healthy trial fails only of its deaths alone", || {
                format!("{trial}: {}", outcome.reason)
            });
        }
        let expected = self.trials.expected(trial);
        holds(outcome.kind == expected, "each outcome is the undisturbed run's", || {
            format!("{trial} is {:?}, not {expected:?}", outcome.kind)
        });
        if expected != OutcomeKind::Failed {
            let best = (expected == OutcomeKind::Completed).then(|| val_error(trial, fate.epochs));
            let is_equal =
                (outcome.epochs, last, outcome.val_error) == (fate.epochs, fate.epochs, best);
            holds(is_equal, "each result is the undisturbed run's", || {
                format!("{trial}: {outcome:?}, {last} epochs of {}", fate.epochs)
            });
        }
    }
}

/// Every member has an outcome, or a budget ended it and nothing runs.
fn is_over(sweep: &SweepOverview) -> bool {
    match sweep.state {
        SweepState::Completed => true,
        SweepState::Stopped { .. } => sweep.counts.running == 0,
        SweepState::Running
        | SweepState::Paused
        | SweepState::Cancelled
        | SweepState::Waiting { .. } => false,
    }
}
