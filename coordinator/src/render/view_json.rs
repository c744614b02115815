//! Answers as JSON values: the fields of the wire with their names, errors as fractions, times in
//! milliseconds since 1970. What is absent, and a number that is none, is null.

use common::wire::{
    Attempt, AttemptOutcome, EpochReport, Provenance, Sweep, Trial, TrialCounts, Worker,
};
use serde_json::{Value, json};

use super::gpus::gpu_json;
use super::view_trial::{epochs_repeated, kind};

/// Every sweep, as `sweep_json`.
pub fn sweeps_json(sweeps: &[Sweep]) -> Value {
    sweeps.iter().map(sweep_json).collect()
}

/// One sweep.
pub fn sweep_json(sweep: &Sweep) -> Value {
    let counts = sweep.trials.unwrap_or_default();
    let lost = sweep.lost_attempts.iter();
    let lost_attempts: serde_json::Map<String, Value> =
        lost.map(|lost| (lost.end.clone(), lost.attempts.into())).collect();
    json!({
        "name": sweep.name,
        "model": sweep.model,
        "data": sweep.data,
        "state": sweep.state,
        "trials": counts_json(&counts),
        "configs": sweep.configs,
        "configs_done": sweep.configs_done,
        "best_val_error": sweep.best_val_error,
        "best_trial": text(&sweep.best_trial),
        "epochs": sweep.epochs,
        "created_unix_ms": sweep.created_unix_ms,
        "completed_unix_ms": nonzero(sweep.completed_unix_ms),
        "eta_seconds": sweep.eta_seconds,
        "failures": sweep.failures,
        "lost_attempts": lost_attempts,
    })
}

/// Trials by state.
pub fn counts_json(counts: &TrialCounts) -> Value {
    json!({
        "pending": counts.pending,
        "running": counts.running,
        "completed": counts.completed,
        "diverged": counts.diverged,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "removed": counts.removed,
    })
}

/// Every worker.
pub fn workers_json(workers: &[Worker]) -> Value {
    workers.iter().map(worker).collect()
}

fn worker(worker: &Worker) -> Value {
    let mut slots = Vec::with_capacity(worker.slots.len());
    for slot in &worker.slots {
        let busy = slot.state == "busy";
        slots.push(json!({
            "device": slot.device,
            "state": slot.state,
            "cohort": if busy { slot.cohort.into() } else { Value::Null },
            "attempts": slot.attempts,
        }));
    }
    let digests: serde_json::Map<String, Value> = worker
        .data_digests
        .iter()
        .map(|(data, digest)| (data.clone(), Value::from(digest.clone())))
        .collect();
    json!({
        "worker": worker.worker,
        "host": worker.host,
        "state": worker.state,
        "reason": text(&worker.reason),
        "slots": slots,
        "gpus": worker.gpus.iter().map(gpu_json).collect::<Value>(),
        "program_version": worker.program_version,
        "libtorch_version": worker.libtorch_version,
        "data_digests": digests,
        "last_seen_unix_ms": nonzero(worker.last_seen_unix_ms),
    })
}

/// One trial with its attempts, outcome and history.
pub fn trial_json(trial: &Trial) -> Value {
    let params = serde_json::from_str(&trial.params);
    json!({
        "trial": trial.id,
        "sweeps": trial.sweeps,
        "model": trial.model,
        "data": trial.data,
        "params": params.unwrap_or_else(|_| Value::from(trial.params.clone())),
        "seed": trial.seed,
        "state": trial.state,
        "pending_reason": text(&trial.pending_reason),
        "outcome": trial.outcome.as_ref().map(outcome),
        "weights_bytes": trial.weights_bytes,
        "weights_note": text(&trial.weights_note),
        "epochs_repeated": epochs_repeated(&trial.attempts),
        "attempts": trial.attempts.iter().map(attempt).collect::<Value>(),
        "epochs": trial.epochs.iter().map(epoch).collect::<Value>(),
    })
}

fn attempt(attempt: &Attempt) -> Value {
    json!({
        "attempt": attempt.attempt,
        "worker": attempt.worker,
        "cohort": attempt.cohort,
        "cohort_size": attempt.cohort_size,
        "started_unix_ms": attempt.started_unix_ms,
        "ended_unix_ms": nonzero(attempt.ended_unix_ms),
        "state": attempt.state,
        "message": text(&attempt.message),
        "first_epoch": nonzero(attempt.first_epoch.into()),
        "last_epoch": nonzero(attempt.last_epoch.into()),
    })
}

fn outcome(outcome: &AttemptOutcome) -> Value {
    json!({
        "attempt": outcome.attempt.as_ref().map(|id| id.attempt),
        "kind": kind(outcome.kind()),
        "reason": text(&outcome.reason),
        "epochs": outcome.epochs,
        "seconds": outcome.seconds,
        "best_epoch": outcome.best_epoch,
        "test_error": outcome.test_error,
        "test_loss": outcome.test_loss,
        "val_error": outcome.val_error,
        "val_loss": outcome.val_loss,
        "train_loss": outcome.train_loss,
        "provenance": outcome.provenance.as_ref().map(provenance),
    })
}

fn provenance(from: &Provenance) -> Value {
    json!({
        "program_version": from.program_version,
        "libtorch_version": from.libtorch_version,
        "device": from.device,
        "precision": from.precision,
        "cohort_size": from.cohort_size,
        "data_digest": from.data_digest,
        "threads": from.threads,
    })
}

fn epoch(epoch: &EpochReport) -> Value {
    json!({
        "attempt": epoch.attempt.as_ref().map(|id| id.attempt),
        "epoch": epoch.epoch,
        "train_loss": epoch.train_loss,
        "train_error": epoch.train_error,
        "val_loss": epoch.val_loss,
        "val_error": epoch.val_error,
        "gate": epoch.gate,
        "lr": epoch.lr,
        "grad_norm": epoch.grad_norm,
        "examples_per_second": epoch.examples_per_second,
        "seconds": epoch.seconds,
        "examples": epoch.examples,
    })
}

/// The wire has an empty text where there is none.
fn text(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

/// The wire has 0 where there is none.
fn nonzero(value: u64) -> Value {
    if value == 0 { Value::Null } else { value.into() }
}
