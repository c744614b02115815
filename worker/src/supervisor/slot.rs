//! One slot: the life of its trainer process and the cohorts it holds.

use std::collections::BTreeSet;

use common::ids::{AttemptId, CohortId};

use super::{
    Action, AttemptReport, Cohort, CohortFailure, Exit, FINISH_MS_MAX, FailureCause, Order,
    PREPARE_MS_MAX, Report, Run, RunningCohort, SILENCE_MS_MAX, START_BACKOFF_MS, Time, hand_back,
};

/// The trainer process of a slot.
#[derive(Debug)]
pub(super) enum Trainer {
    /// There is none; the next one is started then.
    Down { start_at: Time },
    /// It does not hold its device yet.
    Starting { run: Run, ready_by: Time },
    /// It waits for a cohort.
    Idle { run: Run },
    /// It trains.
    Busy { run: Run, job: Job },
    /// It is being killed because it said nothing; what it held fails with its end.
    Hung { run: Run, job: Job },
    /// It is being killed; nothing that it held is wanted.
    Killed { run: Run },
}

/// The cohort that a trainer works on.
#[derive(Clone, Debug)]
pub(super) struct Job {
    cohort: CohortId,
    /// Attempts that are wanted and have not ended.
    live: BTreeSet<AttemptId>,
    /// Attempts that were stopped. Nothing says when the trainer leaves them, so where it dies it
    /// may have had them still: then those that are live were not alone.
    stopped: BTreeSet<AttemptId>,
    /// Set when none is left: the trainer is to say that it finished.
    finish_by: Option<Time>,
    /// When its silence began.
    silent_since: Time,
    silence_ms_max: u64,
}

impl Job {
    fn new(now: Time, cohort: &Cohort) -> Job {
        Job {
            cohort: cohort.id,
            live: cohort.trials.iter().map(|trial| trial.attempt).collect(),
            stopped: BTreeSet::new(),
            finish_by: None,
            silent_since: now,
            silence_ms_max: PREPARE_MS_MAX,
        }
    }

    /// It ends with its trainer: what has not ended fails.
    fn fail(&self, cause: FailureCause, message: String, exit: &Exit, actions: &mut Vec<Action>) {
        if self.live.is_empty() {
            return;
        }
        actions.push(Action::Report(Report::CohortFailed(CohortFailure {
            cohort: self.cohort,
            attempts: self.live.union(&self.stopped).copied().collect(),
            cause,
            message,
            stderr_tail: exit.stderr_tail.clone(),
        })));
    }

    /// Takes an attempt out; false where it was not in.
    fn end(&mut self, now: Time, attempt: AttemptId) -> bool {
        let was_live = self.live.remove(&attempt);
        if was_live && self.live.is_empty() {
            self.finish_by = Some(now.after_ms(FINISH_MS_MAX));
        }
        was_live
    }

    /// Takes an attempt out that is not wanted any more; false where it was not in.
    fn stop(&mut self, now: Time, attempt: AttemptId) -> bool {
        let was_live = self.end(now, attempt);
        if was_live {
            self.stopped.insert(attempt);
        }
        was_live
    }
}

/// A slot.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) trainer: Trainer,
    /// Leased and not begun: the trainer is not ready, or has still to leave its last cohort. As
    /// long as there is one, the trainer's own job has no live attempt.
    next: Option<Cohort>,
    /// Trainers in a row that ended without having done any work.
    pub(super) failures: u32,
}

impl Default for Slot {
    fn default() -> Slot {
        Slot { trainer: Trainer::Down { start_at: Time(0) }, next: None, failures: 0 }
    }
}

impl Slot {
    pub(super) fn run(&self) -> Option<Run> {
        match &self.trainer {
            Trainer::Down { .. } => None,
            Trainer::Starting { run, .. }
            | Trainer::Idle { run }
            | Trainer::Busy { run, .. }
            | Trainer::Hung { run, .. }
            | Trainer::Killed { run } => Some(*run),
        }
    }

    pub(super) fn running(&self, index: usize) -> Option<RunningCohort> {
        if let Some(next) = &self.next {
            let attempts = next.trials.iter().map(|trial| trial.attempt).collect();
            return Some(RunningCohort { cohort: next.id, slot: index, attempts });
        }
        match &self.trainer {
            Trainer::Busy { job, .. } | Trainer::Hung { job, .. } if !job.live.is_empty() => {
                let attempts = job.live.iter().copied().collect();
                Some(RunningCohort { cohort: job.cohort, slot: index, attempts })
            }
            Trainer::Busy { .. }
            | Trainer::Hung { .. }
            | Trainer::Down { .. }
            | Trainer::Starting { .. }
            | Trainer::Idle { .. }
            | Trainer::Killed { .. } => None,
        }
    }

    pub(super) fn is_start_due(&self, now: Time) -> bool {
        match self.trainer {
            Trainer::Down { start_at } => start_at <= now,
            Trainer::Starting { .. }
            | Trainer::Idle { .. }
            | Trainer::Busy { .. }
            | Trainer::Hung { .. }
            | Trainer::Killed { .. } => false,
        }
    }

    /// To a trainer that holds its device; there is no other to hear it.
    pub(super) fn order(&self, index: usize, order: Order, actions: &mut Vec<Action>) {
        match &self.trainer {
            Trainer::Idle { run } | Trainer::Busy { run, .. } => {
                actions.push(Action::Order { slot: index, run: *run, order });
            }
            Trainer::Down { .. }
            | Trainer::Starting { .. }
            | Trainer::Hung { .. }
            | Trainer::Killed { .. } => {}
        }
    }

    pub(super) fn lease(
        &mut self,
        now: Time,
        index: usize,
        cohort: Cohort,
        actions: &mut Vec<Action>,
    ) {
        let held = self.running(index);
        if cohort.trials.is_empty() || held.as_ref().is_some_and(|held| held.cohort == cohort.id) {
            return;
        }
        // The coordinator gives the slot away, so what it held is not wanted any more.
        for attempt in held.into_iter().flat_map(|held| held.attempts) {
            self.stop(now, index, attempt, actions);
        }
        self.next = Some(cohort);
        self.begin_next(now, index, actions);
    }

    pub(super) fn stop(
        &mut self,
        now: Time,
        index: usize,
        attempt: AttemptId,
        actions: &mut Vec<Action>,
    ) {
        if let Some(next) = &mut self.next {
            next.trials.retain(|trial| trial.attempt != attempt);
            if next.trials.is_empty() {
                self.next = None;
            }
        }
        let stopped = match &mut self.trainer {
            Trainer::Busy { job, .. } | Trainer::Hung { job, .. } => job.stop(now, attempt),
            Trainer::Down { .. }
            | Trainer::Starting { .. }
            | Trainer::Idle { .. }
            | Trainer::Killed { .. } => false,
        };
        if stopped {
            self.order(index, Order::Stop(attempt), actions);
        }
    }

    pub(super) fn drain(&mut self, index: usize, actions: &mut Vec<Action>) {
        if let Some(next) = self.next.take() {
            hand_back(next, actions);
        }
        if self.running(index).is_some() {
            self.order(index, Order::HandBack, actions);
        }
    }

    /// The trainer of this slot said something.
    pub(super) fn hear(&mut self, now: Time) {
        if let Some(job) = self.job() {
            job.silent_since = now;
            job.silence_ms_max = SILENCE_MS_MAX;
        }
    }

    /// Its silence so far means nothing.
    pub(super) fn excuse_silence(&mut self, now: Time) {
        if let Some(job) = self.job() {
            job.silent_since = now;
        }
    }

    pub(super) fn kill_overdue(&mut self, now: Time, index: usize, actions: &mut Vec<Action>) {
        let (run, reason, next) = match &self.trainer {
            Trainer::Starting { run, ready_by } if *ready_by <= now => {
                // It counts as a start that led to nothing.
                self.failures += 1;
                (*run, "it does not come to hold its device", Trainer::Killed { run: *run })
            }
            Trainer::Busy { run, job } if job.finish_by.is_some_and(|by| by <= now) => {
                (*run, "it does not leave a cohort that is over", Trainer::Killed { run: *run })
            }
            Trainer::Busy { run, job } if job.silent_since.after_ms(job.silence_ms_max) <= now => {
                let hung = Trainer::Hung { run: *run, job: job.clone() };
                (*run, "it has said nothing for too long", hung)
            }
            Trainer::Down { .. }
            | Trainer::Starting { .. }
            | Trainer::Idle { .. }
            | Trainer::Busy { .. }
            | Trainer::Hung { .. }
            | Trainer::Killed { .. } => return,
        };
        self.trainer = next;
        actions.push(Action::Kill { slot: index, run, reason });
    }

    pub(super) fn on_ready(
        &mut self,
        now: Time,
        index: usize,
        paused: bool,
        actions: &mut Vec<Action>,
    ) {
        match self.trainer {
            Trainer::Starting { run, .. } => self.trainer = Trainer::Idle { run },
            Trainer::Down { .. }
            | Trainer::Idle { .. }
            | Trainer::Busy { .. }
            | Trainer::Hung { .. }
            | Trainer::Killed { .. } => return,
        }
        if paused {
            self.order(index, Order::Pause(true), actions);
        }
        self.begin_next(now, index, actions);
    }

    pub(super) fn on_reported(
        &mut self,
        now: Time,
        attempt: AttemptId,
        report: AttemptReport,
        actions: &mut Vec<Action>,
    ) {
        let Some(job) = self.job() else { return };
        let wanted = match report {
            AttemptReport::Epoch(_) => job.live.contains(&attempt),
            AttemptReport::Ended(_) | AttemptReport::Returned { .. } => job.end(now, attempt),
        };
        // A report of a stopped attempt crossed the order to stop it.
        if wanted {
            self.failures = 0;
            actions.push(Action::Report(Report::Attempt(attempt, report)));
        }
    }

    pub(super) fn on_failed(
        &mut self,
        now: Time,
        mut failure: CohortFailure,
        actions: &mut Vec<Action>,
    ) {
        let Some(job) = self.job() else { return };
        if job.cohort != failure.cohort {
            return;
        }
        let has_live = failure.attempts.iter().any(|attempt| job.live.contains(attempt));
        failure.attempts.retain(|attempt| job.end(now, *attempt) || job.stopped.contains(attempt));
        if has_live {
            actions.push(Action::Report(Report::CohortFailed(failure)));
        }
    }

    pub(super) fn on_finished(
        &mut self,
        now: Time,
        index: usize,
        cohort: CohortId,
        actions: &mut Vec<Action>,
    ) {
        let Some(run) = self.run() else { return };
        let Some(job) = self.job() else { return };
        if job.cohort != cohort {
            return;
        }
        let attempts = job.live.iter().copied().collect::<Vec<_>>();
        if !attempts.is_empty() {
            actions.push(Action::Report(Report::CohortFailed(CohortFailure {
                cohort,
                attempts,
                cause: FailureCause::Bug,
                message: "the trainer finished the cohort without an outcome of these".into(),
                stderr_tail: String::new(),
            })));
        }
        self.failures = 0;
        self.trainer = Trainer::Idle { run };
        self.begin_next(now, index, actions);
    }

    /// The process is gone: what it held failed with it, and the slot gets another one.
    pub(super) fn on_exited(&mut self, now: Time, exit: &Exit, actions: &mut Vec<Action>) {
        match &self.trainer {
            Trainer::Busy { job, .. } => {
                job.fail(exit.cause, exit.message.clone(), exit, actions);
                self.trainer = Trainer::Down { start_at: now };
                return;
            }
            Trainer::Hung { job, .. } => {
                let silence_s = job.silence_ms_max / 1_000;
                let message = format!("the trainer said nothing for {silence_s} s and was killed");
                job.fail(FailureCause::TrainerDied, message, exit, actions);
                self.trainer = Trainer::Down { start_at: now };
                return;
            }
            Trainer::Starting { .. } | Trainer::Idle { .. } => self.failures += 1,
            Trainer::Killed { .. } => {}
            Trainer::Down { .. } => unreachable!("a slot without a process heard from none"),
        }
        let wait_ms = match self.failures {
            0 => 0,
            failures => START_BACKOFF_MS << (failures - 1).min(4),
        };
        self.trainer = Trainer::Down { start_at: now.after_ms(wait_ms) };
    }

    /// What the trainer works on; that of one that hung is not heard any more.
    fn job(&mut self) -> Option<&mut Job> {
        match &mut self.trainer {
            Trainer::Busy { job, .. } => Some(job),
            Trainer::Down { .. }
            | Trainer::Starting { .. }
            | Trainer::Idle { .. }
            | Trainer::Hung { .. }
            | Trainer::Killed { .. } => None,
        }
    }

    fn begin_next(&mut self, now: Time, index: usize, actions: &mut Vec<Action>) {
        let Trainer::Idle { run } = self.trainer else {
            return;
        };
        let Some(cohort) = self.next.take() else {
            return;
        };
        let job = Job::new(now, &cohort);
        self.trainer = Trainer::Busy { run, job };
        actions.push(Action::Order { slot: index, run, order: Order::Train(cohort) });
    }
}
