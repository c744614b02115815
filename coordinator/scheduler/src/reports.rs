//! What workers report about attempts: recorded once, and only of attempts that count.

use common::ids::{AttemptId, WorkerId};

use crate::event::{
    AttemptEnd, Change, CohortFailure, EpochMetrics, FailureCause, Message, Outcome, OutcomeKind,
    Provenance, Report, Session, Time,
};
use crate::scheduler::{Scheduler, Standing};
use crate::trial::{TrialIndex, comparable};

impl Scheduler {
    pub(crate) fn on_reported(
        &mut self,
        now: Time,
        worker: &WorkerId,
        session: Session,
        through: u64,
        reports: Vec<Report>,
    ) {
        // On an older stream: the worker sends it again on its new one.
        if !self.hear(now, worker, session) {
            return;
        }
        for report in reports {
            match report {
                Report::Epoch(attempt, metrics) => self.on_epoch(now, worker, attempt, metrics),
                Report::Ended(attempt, outcome) => self.on_ended(now, worker, attempt, outcome),
                Report::Returned(attempt, _) => self.on_returned(worker, attempt),
                Report::CohortFailed(failure) => self.on_cohort_failed(now, worker, failure),
            }
        }
        self.send(Message::Acknowledge { worker: worker.clone(), session, through });
    }

    fn on_epoch(
        &mut self,
        now: Time,
        worker: &WorkerId,
        attempt: AttemptId,
        metrics: EpochMetrics,
    ) {
        let (trial, cohort) = match self.standing(worker, attempt) {
            Standing::Current(trial, cohort) => (trial, Some(cohort)),
            Standing::Adoptable(trial) => (trial, None),
            Standing::Stale => {
                self.counters.stale_reports += 1;
                return;
            }
        };
        let record = self.trial(trial);
        // An attempt starts anywhere in the stored history, which it replaces from there on, and
        // goes on without a gap.
        let expected = match record.attempt_epoch {
            0 => metrics.epoch >= 1 && metrics.epoch <= record.epochs.saturating_add(1),
            last => metrics.epoch == last.saturating_add(1),
        };
        if !expected {
            self.counters.duplicate_reports += 1;
            return;
        }
        #[expect(clippy::cast_possible_truncation, reason = "for display")]
        let gate = metrics.gate as f32;
        self.update(trial, |record| {
            record.attempt_epoch = metrics.epoch;
            record.epochs = metrics.epoch;
            record.gate = Some(gate);
            record.val_error = Some(metrics.val_error);
        });
        let entry = self.catalog.entry(self.trials[trial.place()].config);
        let mut cohort_size = 1;
        if let Some(cohort) = cohort {
            let cohort = self.cohorts.get_mut(&cohort).expect("a current attempt's cohort");
            cohort_size = cohort.runners.len();
            let runner = cohort.runners.iter_mut().find(|runner| runner.trial == trial);
            let runner = runner.expect("a running trial is in its cohort");
            runner.examples_per_second = comparable(metrics.examples_per_second).unwrap_or(0.0);
            let eligible = entry.selects_any || metrics.gate >= 1.0;
            if let (true, Some(error)) = (eligible, comparable(metrics.val_error)) {
                runner.best_error = Some(runner.best_error.map_or(error, |best| best.min(error)));
            }
        }
        for membership in self.trials[trial.place()].memberships.as_slice() {
            if !membership.removed {
                let sweep = &mut self.sweeps[membership.sweep.place()];
                sweep.count_epoch(entry, metrics.seconds, cohort_size, metrics.examples);
            }
        }
        self.store(Change::EpochRecorded(attempt, metrics));
        self.count_epoch_of(now, worker, trial);
    }

    fn on_ended(&mut self, now: Time, worker: &WorkerId, attempt: AttemptId, outcome: Outcome) {
        let trial = match self.standing(worker, attempt) {
            Standing::Current(trial, _) => trial,
            Standing::Adoptable(trial) => {
                self.store(Change::AttemptAdopted(attempt));
                trial
            }
            Standing::Stale => {
                self.counters.stale_reports += 1;
                return;
            }
        };
        match outcome.kind {
            OutcomeKind::Completed | OutcomeKind::Diverged => self.count_end(now, worker, trial),
            OutcomeKind::Failed | OutcomeKind::Cancelled => {}
        }
        let end = AttemptEnd::Outcome(outcome.kind);
        self.end_last_attempt(trial, end, outcome.kind, outcome.val_error);
        self.store(Change::OutcomeRecorded(attempt, outcome));
    }

    fn on_returned(&mut self, worker: &WorkerId, attempt: AttemptId) {
        match self.standing(worker, attempt) {
            Standing::Current(trial, _) => self.end_attempt(trial, AttemptEnd::Returned),
            // It already counts as ended, and its trial waits.
            Standing::Adoptable(_) | Standing::Stale => self.counters.stale_reports += 1,
        }
    }

    fn on_cohort_failed(&mut self, now: Time, worker: &WorkerId, failure: CohortFailure) {
        let mut trials = Vec::new();
        for &attempt in &failure.attempts {
            match self.standing(worker, attempt) {
                Standing::Current(trial, cohort) => {
                    // The trainer ended with all of them, named or not.
                    let runners = self.cohorts[&cohort].runners.iter();
                    trials.extend(runners.map(|runner| runner.trial));
                    trials.push(trial);
                }
                Standing::Adoptable(_) | Standing::Stale => self.counters.stale_reports += 1,
            }
        }
        trials.sort();
        trials.dedup();
        let count = failure.attempts.len().max(trials.len());
        match failure.cause {
            FailureCause::Data => self.blame_data(worker, trials, failure),
            FailureCause::OutOfMemory | FailureCause::TrainerDied | FailureCause::Bug => {
                match trials.as_slice() {
                    [] => {}
                    &[trial] if count == 1 => self.blame_trial(now, worker, trial, failure),
                    _ => self.split(trials, count, failure),
                }
            }
        }
    }

    /// The worker's bytes are at fault, not the trials. A failure from before its hello says
    /// nothing about the bytes of now: whoever repairs them starts the worker again.
    fn blame_data(&mut self, worker: &WorkerId, trials: Vec<TrialIndex>, failure: CohortFailure) {
        let worker = self.workers.get_mut(worker).expect("a heard worker");
        for &trial in &trials {
            let record = &self.trials[trial.place()];
            if !worker.unconfirmed.contains(&record.attempt()) {
                let data = self.catalog.entry(record.config).config.data;
                worker.data_faults.insert(data, failure.message.clone());
            }
        }
        self.end_attempts(trials, &failed(failure, false));
    }

    /// Any of them may be to blame: each half is tried without the other.
    fn split(&mut self, trials: Vec<TrialIndex>, count: usize, failure: CohortFailure) {
        let half = u32::try_from(count.div_ceil(2)).unwrap_or(u32::MAX);
        for &trial in &trials {
            self.update(trial, |record| {
                let max = record.cohort_size_max.unwrap_or(half);
                record.cohort_size_max = Some(max.min(half));
            });
        }
        self.end_attempts(trials, &failed(failure, false));
    }

    /// It died alone: nothing else can be to blame.
    fn blame_trial(
        &mut self,
        now: Time,
        worker: &WorkerId,
        trial: TrialIndex,
        failure: CohortFailure,
    ) {
        let deaths = self.trial(trial).deaths.saturating_add(1);
        self.update(trial, |record| record.deaths = deaths);
        self.count_death(now, worker, trial, &failure);
        let exhausted = deaths >= self.settings.deaths_max;
        if !exhausted && failure.cause != FailureCause::OutOfMemory {
            let rest_ms = self.settings.rest_ms.saturating_mul(1 << (deaths - 1).min(30));
            let until = Time(now.0.saturating_add(rest_ms));
            return self.end_attempt_to_rest(trial, failed(failure, true), until);
        }
        self.died_on.remove(&trial);
        let attempt = self.trial(trial).attempt();
        // Earlier deaths may have had other causes: their number is told apart from this one's.
        let failed_again = format!("failed alone for the {} time", ordinal(deaths));
        let (what, how) = match failure.cause {
            FailureCause::OutOfMemory => ("out of memory, alone".into(), ""),
            FailureCause::TrainerDied => (failed_again, "its trainer died: "),
            FailureCause::Bug => (failed_again, "its trainer met an error: "),
            FailureCause::Data => (failed_again, "its data cannot be used: "),
        };
        let reason = format!("{what} (attempt {}): {how}{}", attempt.number, failure.message);
        let outcome = failed_outcome(self.trial(trial).epochs, reason);
        self.end_last_attempt(trial, failed(failure, true), OutcomeKind::Failed, None);
        self.store(Change::OutcomeRecorded(attempt, outcome));
    }
}

fn ordinal(number: u32) -> String {
    match number {
        1 => "first".into(),
        2 => "second".into(),
        3 => "third".into(),
        _ => format!("{number}th"),
    }
}

fn failed(failure: CohortFailure, counted: bool) -> AttemptEnd {
    AttemptEnd::CohortFailed {
        cause: failure.cause,
        counted,
        message: failure.message,
        stderr_tail: failure.stderr_tail,
    }
}

/// The outcome of a trial whose trainer could not report one.
fn failed_outcome(epochs: u32, reason: String) -> Outcome {
    Outcome {
        kind: OutcomeKind::Failed,
        epochs,
        seconds: 0.0,
        best_epoch: None,
        test_error: None,
        test_loss: None,
        val_error: None,
        val_loss: None,
        train_loss: None,
        reason,
        provenance: Provenance::default(),
    }
}
