//! Workers: attached, heard of, detached, lost and back again.
//!
//! A hello is the truth about what a worker runs, but not about what it ran: outcomes may follow
//! from its spool. So attempts that a hello leaves out stay current, in no slot, until the first
//! heartbeat after it.

use std::collections::BTreeSet;

use common::ids::{AttemptId, CohortId, WorkerId};

use crate::event::{AttemptEnd, Change, Message, RunningCohort, Session, Time, WorkerHello};
use crate::scheduler::{Cohort, Scheduler, Standing};
use crate::sweep::SweepIndex;
use crate::trial::{State, TrialIndex};
use crate::worker::{Held, Link, Runner, Worker};

impl Scheduler {
    pub(crate) fn on_worker_attached(
        &mut self,
        now: Time,
        session: Session,
        mut hello: WorkerHello,
    ) {
        let id = hello.id.clone();
        if self.workers.get(&id).is_some_and(|known| known.session >= Some(session)) {
            return;
        }
        self.store(Change::WorkerAttached(hello.clone()));
        let running = std::mem::take(&mut hello.running);
        let worker = self.workers.entry(id.clone()).or_insert_with(|| Worker::awaited(now));
        let held = match std::mem::replace(&mut worker.link, Link::Attached { session }) {
            Link::Lost { held, .. } => held,
            Link::Awaited | Link::Attached { .. } | Link::Detached => Vec::new(),
        };
        worker.session = Some(session);
        worker.draining = hello.draining;
        worker.last_seen = now;
        worker.slots = vec![None; hello.slots.len()];
        worker.data_faults.clear();
        worker.health.clear();
        worker.hello = Some(hello);
        let cohorts = worker.cohorts.clone();
        for cohort in cohorts {
            self.cohorts.get_mut(&cohort).expect("a worker's cohort is known").slot = None;
        }
        let mut adopted = BTreeSet::new();
        for claim in &running {
            adopted.extend(self.place_running(&id, claim));
        }
        self.adopt_held(&id, &held);
        self.find_unconfirmed(&id, &adopted);
        self.lease_due = true;
        let adopted = adopted.into_iter().collect();
        self.send(Message::Welcome { worker: id.clone(), session, adopted });
        let worker = &self.workers[&id];
        if worker.drain_asked && !worker.draining {
            self.send(Message::Drain { worker: id, session });
        }
    }

    /// Takes over a cohort that a worker runs, as far as it may go on. Returns the attempts that
    /// do.
    fn place_running(&mut self, id: &WorkerId, claim: &RunningCohort) -> BTreeSet<AttemptId> {
        let mut adopted = BTreeSet::new();
        let free = self.workers[id].slots.get(claim.slot as usize) == Some(&None);
        if !free || !self.may_hold(id, claim.cohort) {
            return adopted;
        }
        for &attempt in &claim.attempts {
            let goes_on = match self.standing(id, attempt) {
                Standing::Current(_, cohort) => cohort == claim.cohort,
                Standing::Adoptable(trial) => self.adopt(id, claim.cohort, trial),
                Standing::Stale => false,
            };
            if goes_on {
                adopted.insert(attempt);
            }
        }
        if !adopted.is_empty() {
            let worker = self.workers.get_mut(id).expect("the worker was just seen");
            worker.slots[claim.slot as usize] = Some(claim.cohort);
            let cohort = self.cohorts.get_mut(&claim.cohort).expect("its attempts go on");
            cohort.slot = Some(claim.slot);
        }
        adopted
    }

    /// A worker may claim a cohort that was given once, and to no other worker that still has it.
    fn may_hold(&self, id: &WorkerId, cohort: CohortId) -> bool {
        let known = self.cohorts.get(&cohort);
        cohort <= self.cohort_last
            && known.is_none_or(|known| known.worker == *id && known.slot.is_none())
    }

    /// Makes the latest attempt of a pending trial current again; not where no sweep wants it.
    fn adopt(&mut self, id: &WorkerId, cohort: CohortId, trial: TrialIndex) -> bool {
        if !self.is_wanted(trial) {
            return false;
        }
        let sweep = self.share_of(trial);
        let worker = self.workers.get_mut(id).expect("an adopting worker is known");
        worker.cohorts.insert(cohort);
        let sweeps = &mut self.sweeps;
        let home = self.cohorts.entry(cohort).or_insert_with(|| {
            if let Some(sweep) = sweep {
                sweeps[sweep.place()].cohorts_running += 1;
            }
            Cohort { worker: id.clone(), sweep, slot: None, runners: Vec::new() }
        });
        home.runners.push(Runner::new(trial));
        self.update(trial, |record| record.state = State::Running { cohort });
        self.store(Change::AttemptAdopted(self.trial(trial).attempt()));
        true
    }

    /// A worker that was lost may have finished meanwhile what it held: its spool will tell.
    fn adopt_held(&mut self, id: &WorkerId, held: &[Held]) {
        for held in held {
            let home = self.cohorts.get(&held.cohort);
            if home.is_some_and(|home| home.worker != *id) {
                continue;
            }
            if let Standing::Adoptable(trial) = self.standing(id, held.attempt) {
                self.adopt(id, held.cohort, trial);
            }
        }
    }

    fn find_unconfirmed(&mut self, id: &WorkerId, adopted: &BTreeSet<AttemptId>) {
        let mut unconfirmed = Vec::new();
        for cohort in &self.workers[id].cohorts {
            for runner in &self.cohorts[cohort].runners {
                let attempt = self.trial(runner.trial).attempt();
                if !adopted.contains(&attempt) {
                    unconfirmed.push(attempt);
                }
            }
        }
        self.workers.get_mut(id).expect("the worker attached").unconfirmed = unconfirmed;
    }

    pub(crate) fn on_heartbeat(
        &mut self,
        now: Time,
        id: &WorkerId,
        session: Session,
        draining: bool,
    ) {
        if !self.hear(now, id, session) {
            return;
        }
        let worker = self.workers.get_mut(id).expect("the worker was just heard");
        // A worker that drains no longer counts among those for whom others leave work.
        self.lease_due |= worker.draining != draining;
        worker.draining = draining;
        // Its spool came before this heartbeat, so what it did not mention is gone.
        for attempt in std::mem::take(&mut worker.unconfirmed) {
            if let Standing::Current(trial, _) = self.standing(id, attempt) {
                self.end_attempt(trial, AttemptEnd::WorkerLost);
            }
        }
    }

    /// Takes a sign of life. False where it came on a stream that does not count any more.
    pub(crate) fn hear(&mut self, now: Time, id: &WorkerId, session: Session) -> bool {
        let Some(worker) = self.workers.get_mut(id) else { return false };
        match &worker.link {
            Link::Attached { session: live } if *live == session => {
                worker.last_seen = now;
                true
            }
            Link::Lost { silent: Some(silent), .. } if *silent == session => {
                worker.last_seen = now;
                self.revive(id, session);
                true
            }
            Link::Awaited | Link::Attached { .. } | Link::Detached | Link::Lost { .. } => false,
        }
    }

    /// A worker that only was silent is heard again. It does not know that it was lost, so it is
    /// told what it may not go on with.
    fn revive(&mut self, id: &WorkerId, session: Session) {
        let worker = self.workers.get_mut(id).expect("the worker was just heard");
        let hello = worker.hello.clone().expect("a worker with a session said hello");
        let link = std::mem::replace(&mut worker.link, Link::Attached { session });
        let Link::Lost { held, .. } = link else {
            panic!("only a lost worker is revived");
        };
        self.store(Change::WorkerAttached(hello));
        let mut adopted = BTreeSet::new();
        for claim in claims(&held) {
            adopted.extend(self.place_running(id, &claim));
        }
        for Held { attempt, .. } in held {
            if !adopted.contains(&attempt) {
                self.send(Message::Stop { worker: id.clone(), session, attempt });
            }
        }
        self.lease_due = true;
    }

    pub(crate) fn on_worker_detached(&mut self, now: Time, id: &WorkerId, session: Session) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        match &mut worker.link {
            Link::Attached { session: live } if *live == session => {
                worker.link = Link::Detached;
                worker.last_seen = now;
                // Others need not leave work to it any more.
                self.lease_due = true;
                if worker.drains() && worker.cohorts.is_empty() {
                    self.lose(id, true);
                }
            }
            Link::Lost { silent, .. } if *silent == Some(session) => *silent = None,
            Link::Awaited | Link::Attached { .. } | Link::Detached | Link::Lost { .. } => {}
        }
    }

    pub(crate) fn on_stalled(&mut self, now: Time) {
        for worker in self.workers.values_mut().filter(|worker| !worker.is_lost()) {
            worker.last_seen = now;
        }
    }

    pub(crate) fn on_tick(&mut self, now: Time) {
        self.wake(now);
        let (mut expired, mut forgotten) = (Vec::new(), Vec::new());
        for (id, worker) in &self.workers {
            let silent_ms = now.0.saturating_sub(worker.last_seen.0);
            match worker.link {
                Link::Awaited | Link::Attached { .. } | Link::Detached => {
                    if silent_ms >= self.settings.lease_ms {
                        expired.push(id.clone());
                    }
                }
                Link::Lost { silent: None, .. } => {
                    if silent_ms >= self.settings.lost_worker_kept_ms {
                        forgotten.push(id.clone());
                    }
                }
                // Its stream is still open: it may be heard again.
                Link::Lost { silent: Some(_), .. } => {}
            }
        }
        for id in expired {
            self.lose(&id, false);
        }
        for id in forgotten {
            self.workers.remove(&id);
        }
    }

    /// Ends the waits that are over, of trials and workers.
    fn wake(&mut self, now: Time) {
        while let Some(&(until, trial)) = self.resting.first()
            && until <= now
        {
            self.resting.pop_first();
            if self.trial(trial).state == (State::Resting { until }) {
                self.update(trial, |record| record.state = State::Pending);
            }
        }
        for worker in self.workers.values_mut() {
            self.lease_due |= worker.health.wake(now);
        }
    }

    /// The sweep whose share of the slots a trial takes that was not leased for one.
    pub(crate) fn share_of(&self, trial: TrialIndex) -> Option<SweepIndex> {
        let members = self.trial(trial).memberships.as_slice();
        members.iter().find(|member| !member.removed).map(|member| member.sweep)
    }

    /// The leases of a worker end; what it held is remembered in case that it comes back.
    fn lose(&mut self, id: &WorkerId, left: bool) {
        let worker = self.workers.get_mut(id).expect("a lost worker is known");
        let silent = worker.live_session();
        let unconfirmed: BTreeSet<AttemptId> = worker.unconfirmed.drain(..).collect();
        let (mut held, mut trials) = (Vec::new(), Vec::new());
        for &cohort in &worker.cohorts {
            self.counters.lease_expirations += 1;
            let home = &self.cohorts[&cohort];
            for runner in &home.runners {
                let attempt = self.trials[runner.trial.place()].attempt();
                let slot = home.slot.filter(|_| !unconfirmed.contains(&attempt));
                held.push(Held { attempt, cohort, slot });
                trials.push(runner.trial);
            }
        }
        worker.link = Link::Lost { silent, held, left };
        worker.drain_asked &= !left;
        self.lease_due = true;
        self.end_attempts(trials, &AttemptEnd::WorkerLost);
        self.store(Change::WorkerDetached(id.clone()));
    }

    /// Ends attempts without outcomes; the first of their trials is the next to be leased.
    pub(crate) fn end_attempts(&mut self, mut trials: Vec<TrialIndex>, end: &AttemptEnd) {
        trials.sort();
        for trial in trials.into_iter().rev() {
            self.end_attempt(trial, end.clone());
        }
    }
}

/// What a worker ran, by cohort.
fn claims(held: &[Held]) -> Vec<RunningCohort> {
    let mut claims: Vec<RunningCohort> = Vec::new();
    for held in held {
        let Some(slot) = held.slot else { continue };
        match claims.iter_mut().find(|claim| claim.cohort == held.cohort) {
            Some(claim) => claim.attempts.push(held.attempt),
            None => {
                let attempts = vec![held.attempt];
                claims.push(RunningCohort { cohort: held.cohort, slot, attempts });
            }
        }
    }
    claims
}
