//! Wire reports into the scheduler's, as the coordinator's `rpc/convert.rs` makes them.

use common::ids::{AttemptId, CohortId};
use common::wire::{self, report};
use scheduler::event::{
    CohortFailure, EpochMetrics, FailureCause, Outcome, OutcomeKind, Provenance, Report,
};

pub(crate) fn report(report: &report::Report) -> Report {
    match report {
        report::Report::Epoch(epoch) => Report::Epoch(attempt(&epoch.attempt), metrics(epoch)),
        report::Report::Outcome(ended) => Report::Ended(attempt(&ended.attempt), outcome(ended)),
        report::Report::Returned(returned) => {
            Report::Returned(attempt(&returned.attempt), returned.epochs)
        }
        report::Report::Failed(failed) => Report::CohortFailed(CohortFailure {
            cohort: CohortId(failed.cohort),
            attempts: failed.attempts.iter().map(attempt_id).collect(),
            cause: cause(failed.cause()),
            message: failed.message.clone(),
            stderr_tail: failed.stderr_tail.clone(),
        }),
    }
}

fn attempt(attempt: &Option<wire::AttemptId>) -> AttemptId {
    attempt_id(attempt.as_ref().expect("a report names its attempt"))
}

fn attempt_id(attempt: &wire::AttemptId) -> AttemptId {
    let trial = attempt.trial.parse().expect("an attempt names its trial");
    AttemptId { trial, number: attempt.attempt }
}

fn cause(cause: wire::FailureCause) -> FailureCause {
    match cause {
        wire::FailureCause::OutOfMemory => FailureCause::OutOfMemory,
        wire::FailureCause::TrainerDied => FailureCause::TrainerDied,
        wire::FailureCause::Data => FailureCause::Data,
        wire::FailureCause::Bug | wire::FailureCause::Unspecified => FailureCause::Bug,
    }
}

fn metrics(epoch: &wire::EpochReport) -> EpochMetrics {
    EpochMetrics {
        epoch: epoch.epoch,
        train_loss: epoch.train_loss,
        train_error: epoch.train_error,
        val_loss: epoch.val_loss,
        val_error: epoch.val_error,
        gate: epoch.gate,
        lr: epoch.lr,
        grad_norm: epoch.grad_norm,
        examples_per_second: epoch.examples_per_second,
        seconds: epoch.seconds,
        examples: epoch.examples,
    }
}

fn outcome(outcome: &wire::AttemptOutcome) -> Outcome {
    Outcome {
        kind: match outcome.kind() {
            wire::OutcomeKind::Completed => OutcomeKind::Completed,
            wire::OutcomeKind::Diverged => OutcomeKind::Diverged,
            wire::OutcomeKind::Failed => OutcomeKind::Failed,
            wire::OutcomeKind::Cancelled => OutcomeKind::Cancelled,
            wire::OutcomeKind::Unspecified => panic!("an outcome says how its trial ended"),
        },
        epochs: outcome.epochs,
        seconds: outcome.seconds,
        best_epoch: outcome.best_epoch,
        test_error: outcome.test_error,
        test_loss: outcome.test_loss,
        val_error: outcome.val_error,
        val_loss: outcome.val_loss,
        train_loss: outcome.train_loss,
        reason: outcome.reason.clone(),
        provenance: Provenance::default(),
    }
}
