//! What people do to sweeps and workers while they run: pause, resume, cancel, retry, prune, drain.
//!
//! A hold stays until somebody lifts it: applying a file again, or a restart, does not.

use common::ids::{SweepName, WorkerId};

use crate::event::{AttemptEnd, Change, Hold, Message, OutcomeKind};
use crate::scheduler::{Acted, Scheduler};
use crate::sweep::{Expansion, SweepIndex};
use crate::trial::{State, TrialIndex};

impl Scheduler {
    pub(crate) fn on_sweep_paused(&mut self, name: &SweepName) {
        self.act(name, |scheduler, index| {
            let sweep = scheduler.sweep(index);
            match &sweep.hold {
                Some(Hold::Cancelled) => return Acted::Refused("it is cancelled".into()),
                Some(Hold::Broken { reason }) => {
                    return Acted::Refused(format!("it stopped: {reason}"));
                }
                None if sweep.is_finished() => return Acted::Refused("it has ended".into()),
                Some(Hold::Paused) | None => {}
            }
            let (pending, running) = (sweep.counts().pending, sweep.counts().running);
            scheduler.hold(index, Some(Hold::Paused));
            Acted::Done { pending, running }
        });
    }

    pub(crate) fn on_sweep_resumed(&mut self, name: &SweepName) {
        self.act(name, |scheduler, index| {
            let sweep = scheduler.sweep(index);
            match (&sweep.hold, &sweep.stopped) {
                (Some(Hold::Cancelled), _) => {
                    let retry = format!("it is cancelled; `coordinator retry {name}` reopens it");
                    return Acted::Refused(retry);
                }
                (None, Some(stopped)) => return Acted::Refused(raise(stopped)),
                (None, None) => return Acted::Refused("it is not paused".into()),
                (Some(Hold::Paused | Hold::Broken { .. }), _) => {}
            }
            let (pending, running) = (sweep.counts().pending, sweep.counts().running);
            scheduler.hold(index, None);
            Acted::Done { pending, running }
        });
    }

    pub(crate) fn on_sweep_cancelled(&mut self, name: &SweepName) {
        self.act(name, |scheduler, index| {
            if scheduler.sweep(index).is_done() {
                return Acted::Refused("it has ended".into());
            }
            scheduler.hold(index, Some(Hold::Cancelled));
            let (pending, running) = scheduler.cancel_members(index);
            Acted::Done { pending, running }
        });
    }

    pub(crate) fn on_sweep_retried(&mut self, name: &SweepName) {
        self.act(name, |scheduler, index| {
            let mut reopened = Vec::new();
            for &trial in &scheduler.sweep(index).members {
                let record = scheduler.trial(trial);
                let of = record.memberships.of(index);
                let is_member = of.is_some_and(|member| !member.removed);
                if is_member && may_reopen(record.state) {
                    reopened.push(trial);
                }
            }
            let pending = reopened.len() as u64;
            let sweep = scheduler.sweep(index);
            if pending == 0 && sweep.hold.is_none() {
                return Acted::Refused(match &sweep.stopped {
                    Some(stopped) => raise(stopped),
                    None => "none of its trials failed or was cancelled".into(),
                });
            }
            scheduler.hold(index, None);
            let sweep = scheduler.sweep_mut(index);
            sweep.stopped = None;
            sweep.announced = false;
            scheduler.reopen(reopened);
            Acted::Done { pending, running: 0 }
        });
    }

    pub(crate) fn on_sweep_pruned(&mut self, name: &SweepName) {
        self.act(name, |scheduler, index| {
            let mut running = 0;
            for trial in scheduler.sweep(index).members.clone() {
                let record = scheduler.trial(trial);
                let runs = matches!(record.state, State::Running { .. });
                let of = record.memberships.of(index);
                let is_removed = of.is_some_and(|member| member.removed);
                if runs && is_removed && !scheduler.is_wanted(trial) {
                    running += 1;
                    scheduler.stop(trial);
                    scheduler.end_attempt(trial, AttemptEnd::Cancelled);
                }
            }
            Acted::Done { pending: 0, running }
        });
    }

    pub(crate) fn on_worker_drained(&mut self, id: &WorkerId) {
        let acted = match self.workers.get_mut(id) {
            None => Acted::Unknown,
            Some(worker) if worker.is_lost() => Acted::Refused("it is not attached".into()),
            Some(worker) => {
                worker.drain_asked = true;
                let (session, cohorts) = (worker.live_session(), &worker.cohorts);
                let held = cohorts.iter().map(|cohort| self.cohorts[cohort].runners.len() as u64);
                let running = held.sum();
                if let Some(session) = session {
                    self.send(Message::Drain { worker: id.clone(), session });
                }
                // What avoided another worker for this one need not any more.
                self.lease_due = true;
                Acted::Done { pending: 0, running }
            }
        };
        self.effects.acted = Some(acted);
    }

    fn act(&mut self, name: &SweepName, action: impl FnOnce(&mut Self, SweepIndex) -> Acted) {
        let acted = match self.sweep_index.get(name) {
            Some(&index) => {
                self.touched.insert(index);
                self.lease_due = true;
                action(self, index)
            }
            None => Acted::Unknown,
        };
        self.effects.acted = Some(acted);
    }

    /// Changes what holds a sweep back.
    pub(crate) fn hold(&mut self, index: SweepIndex, hold: Option<Hold>) {
        let sweep = self.sweep_mut(index);
        if sweep.hold == hold {
            return;
        }
        sweep.hold.clone_from(&hold);
        sweep.announced = false;
        let name = sweep.header.name.clone();
        self.touched.insert(index);
        self.store(Change::SweepHeld(name, hold));
    }

    /// What holds a sweep back, in words.
    pub fn held(&self, name: &SweepName) -> Option<String> {
        match self.sweep(*self.sweep_index.get(name)?).hold.as_ref()? {
            Hold::Paused => Some(format!("it is paused: `coordinator resume {name}`")),
            Hold::Cancelled => Some(format!("it is cancelled: `coordinator retry {name}`")),
            Hold::Broken { reason } => Some(format!("it stopped: {reason}")),
        }
    }

    /// Some sweep that is not cancelled names the trial.
    pub(crate) fn is_wanted(&self, trial: TrialIndex) -> bool {
        let members = self.trial(trial).memberships.as_slice();
        members.iter().any(|member| !member.removed && !self.sweep(member.sweep).is_cancelled())
    }

    /// Ends what no sweep wants of a cancelled one; how many waited and ran.
    pub(crate) fn cancel_members(&mut self, index: SweepIndex) -> (u64, u64) {
        let (mut waiting, mut running) = (Vec::new(), 0);
        for trial in self.sweep(index).members.clone() {
            match self.trial(trial).state {
                State::Running { .. } if !self.is_wanted(trial) => {
                    running += 1;
                    self.stop(trial);
                    self.end_attempt(trial, AttemptEnd::Cancelled);
                }
                State::Pending | State::Resting { .. } => waiting.push(trial),
                State::Running { .. } | State::Ended(_) => {}
            }
        }
        (self.close_cancelled(&waiting), running)
    }

    /// Of trials that do not run, ends those that only cancelled sweeps name; how many.
    pub(crate) fn close_cancelled(&mut self, trials: &[TrialIndex]) -> u64 {
        let (mut closed, mut of) = (Vec::new(), None);
        for &trial in trials {
            let record = self.trial(trial);
            let waits = matches!(record.state, State::Pending | State::Resting { .. });
            // Whether one that is between two chunks still names it is not known yet.
            let named = record.memberships.as_slice().iter().find(|member| {
                !member.removed && self.sweep(member.sweep).expansion == Expansion::Done
            });
            let (true, Some(sweep), false) =
                (waits, named.map(|member| member.sweep), self.is_wanted(trial))
            else {
                continue;
            };
            of.get_or_insert(sweep);
            self.update(trial, |record| record.state = State::Ended(OutcomeKind::Cancelled));
            self.died_on.remove(&trial);
            closed.push(self.trial(trial).id);
        }
        let count = closed.len() as u64;
        if let Some(sweep) = of {
            let reason = format!("sweep {} was cancelled", self.sweep(sweep).header.name);
            let kind = OutcomeKind::Cancelled;
            self.store(Change::TrialsClosed { trials: closed, kind, reason });
        }
        count
    }

    /// Failed and cancelled trials are pending again. Their attempts stay over, those that were
    /// away when they were cancelled too: reports of theirs may have been dropped meanwhile.
    pub(crate) fn reopen(&mut self, trials: Vec<TrialIndex>) {
        if trials.is_empty() {
            return;
        }
        let mut ids = Vec::with_capacity(trials.len());
        for trial in trials {
            self.update(trial, |record| {
                record.is_fenced = true;
                record.state = State::Pending;
                record.deaths = 0;
                record.cohort_size_max = None;
            });
            ids.push(self.trial(trial).id);
        }
        self.store(Change::TrialsReopened(ids));
    }

    /// Tells the worker of a running trial to end it.
    fn stop(&mut self, trial: TrialIndex) {
        let record = self.trial(trial);
        let State::Running { cohort } = record.state else { return };
        let (id, attempt) = (&self.cohorts[&cohort].worker, record.attempt());
        // One that is away is told by its next welcome.
        if let Some(session) = self.workers[id].live_session() {
            let worker = id.clone();
            self.send(Message::Stop { worker, session, attempt });
        }
    }

    /// A cancelled trial that a sweep names again runs again.
    pub(crate) fn is_to_reopen(&self, sweep: SweepIndex, trial: TrialIndex) -> bool {
        let is_cancelled = self.trial(trial).state == State::Ended(OutcomeKind::Cancelled);
        is_cancelled && !self.sweep(sweep).is_cancelled()
    }
}

/// What helps where a budget is used up.
fn raise(stopped: impl std::fmt::Display) -> String {
    format!("{stopped}; raise the budget in its file and apply it")
}

fn may_reopen(state: State) -> bool {
    match state {
        State::Ended(OutcomeKind::Failed | OutcomeKind::Cancelled) => true,
        State::Ended(OutcomeKind::Completed | OutcomeKind::Diverged)
        | State::Pending
        | State::Resting { .. }
        | State::Running { .. } => false,
    }
}
