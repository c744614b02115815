//! One trial for reading.

use std::io::{self, Write};

use common::wire::{Attempt, AttemptOutcome, EpochReport, OutcomeKind, Trial};

use super::grid::{self, Grid, GridColumn};
use super::number::{Unit, duration, duration_ms, shortest, utc};
use super::style::Style;
use super::view::{Facts, facts};
use crate::query::history::{self, Recorded};
use crate::query::{EPOCH_METRICS, epoch_metrics};

/// Parameters, state, attempts, outcome with its provenance, and the history.
pub fn trial(trial: &Trial, style: Style, out: &mut dyn Write) -> io::Result<()> {
    facts(&trial_facts(trial), style, out)?;
    if !trial.attempts.is_empty() {
        writeln!(out, "\nattempts")?;
        attempts_grid(&trial.attempts).write(style, out)?;
    }
    if !trial.epochs.is_empty() {
        let first = trial.epochs.first().map_or(1, |epoch| epoch.epoch);
        let note = match first {
            0 | 1 => String::new(),
            _ => format!(" from {first} on (`table SWEEP --epochs` has all)"),
        };
        writeln!(out, "\nepochs{note}")?;
        epochs(&trial.epochs, style, out)?;
    }
    Ok(())
}

/// What a trial is, where it stands, its outcome and what that is from.
pub fn trial_facts(trial: &Trial) -> Facts {
    let mut lines = vec![
        ("trial", trial.id.clone()),
        ("sweeps", trial.sweeps.join(", ")),
        ("state", trial.state.clone()),
        ("why pending", trial.pending_reason.clone()),
        ("model", trial.model.clone()),
        ("data", trial.data.clone()),
        ("seed", trial.seed.to_string()),
        ("parameters", params(&trial.params)),
    ];
    if let Some(outcome) = &trial.outcome {
        lines.extend(outcome_lines(outcome));
    }
    lines.push(("weights", weights(trial)));
    if let repeated @ 1.. = epochs_repeated(&trial.attempts) {
        lines.push(("epochs repeated", repeated.to_string()));
    }
    lines
}

fn weights(trial: &Trial) -> String {
    match trial.weights_bytes {
        Some(bytes) => format!("kept, {bytes} bytes"),
        // Before its end nobody looks for them.
        None if trial.weights_note.is_empty() || trial.outcome.is_none() => String::new(),
        None => format!("not kept: {}", trial.weights_note),
    }
}

/// Epochs of these attempts that a later one of them trained again.
pub(super) fn epochs_repeated(attempts: &[Attempt]) -> u64 {
    let mut recorded = Vec::with_capacity(attempts.len());
    for attempt in attempts.iter().filter(|attempt| attempt.first_epoch > 0) {
        let (first, last) = (attempt.first_epoch, attempt.last_epoch);
        recorded.push(Recorded { attempt: attempt.attempt, first, last });
    }
    history::repeated(&recorded)
}

/// `depth 2, tau 5` of a JSON object; as it is where it is none.
fn params(json: &str) -> String {
    let Ok(serde_json::Value::Object(object)) = serde_json::from_str(json) else {
        return json.to_owned();
    };
    let mut params = Vec::with_capacity(object.len());
    for (name, value) in &object {
        let value = match value {
            serde_json::Value::String(word) => word.clone(),
            other => other.to_string(),
        };
        params.push(format!("{name} {value}"));
    }
    params.join(", ")
}

fn outcome_lines(outcome: &AttemptOutcome) -> Facts {
    let attempt = outcome.attempt.as_ref();
    let of_attempt = attempt.map_or(String::new(), |id| format!(" in attempt {}", id.attempt));
    let percent = |value: Option<f64>| {
        value.map_or(String::new(), |value| format!("{} %", Unit::Percent.value(value)))
    };
    let loss = |value: Option<f64>| value.map_or(String::new(), |value| Unit::Loss.value(value));
    let mut lines = vec![
        ("outcome", format!("{}{of_attempt}", kind(outcome.kind()))),
        ("reason", outcome.reason.clone()),
        ("test_error", percent(outcome.test_error)),
        ("val_error", percent(outcome.val_error)),
        ("best_epoch", outcome.best_epoch.map_or(String::new(), |epoch| epoch.to_string())),
        ("test_loss", loss(outcome.test_loss)),
        ("val_loss", loss(outcome.val_loss)),
        ("train_loss", loss(outcome.train_loss)),
        ("epochs", outcome.epochs.to_string()),
        ("trained for", duration(outcome.seconds)),
    ];
    if let Some(from) = &outcome.provenance {
        let threads = match from.threads {
            0 => String::new(),
            1 => ", 1 thread".into(),
            threads => format!(", {threads} threads"),
        };
        lines.extend([
            ("device", format!("{}{threads}, {}", from.device, from.precision)),
            ("cohort size", from.cohort_size.to_string()),
            ("program", format!("{}, libtorch {}", from.program_version, from.libtorch_version)),
            ("data digest", from.data_digest.clone()),
        ]);
    }
    lines
}

/// How a trial ended, in the word of tables and states.
pub(super) fn kind(kind: OutcomeKind) -> &'static str {
    match kind {
        OutcomeKind::Unspecified => "unknown",
        OutcomeKind::Completed => "completed",
        OutcomeKind::Diverged => "diverged",
        OutcomeKind::Failed => "failed",
        OutcomeKind::Cancelled => "cancelled",
    }
}

/// The attempts of a trial, one per row.
pub fn attempts_grid(attempts: &[Attempt]) -> Grid {
    let with_message = attempts.iter().any(|attempt| !attempt.message.is_empty());
    let mut columns = vec![
        GridColumn::new("attempt").right().key(),
        GridColumn::new("worker"),
        GridColumn::new("cohort").right(),
        GridColumn::new("size").right(),
        GridColumn::new("started (UTC)"),
        GridColumn::new("took").right(),
        GridColumn::new("epochs"),
        GridColumn::new("state"),
    ];
    columns.extend(with_message.then(|| GridColumn::new("message")));
    let mut rows = Vec::with_capacity(attempts.len());
    for attempt in attempts {
        let (start, end) = (attempt.started_unix_ms, attempt.ended_unix_ms);
        let epochs = match (attempt.first_epoch, attempt.last_epoch) {
            (0, _) | (_, 0) => "-".into(),
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        let mut row = vec![
            attempt.attempt.to_string(),
            grid::cell(&attempt.worker),
            attempt.cohort.to_string(),
            attempt.cohort_size.to_string(),
            utc(start),
            if end == 0 { "-".into() } else { duration_ms(end.saturating_sub(start)) },
            epochs,
            grid::cell(&attempt.state),
        ];
        row.extend(with_message.then(|| grid::cell(&attempt.message)));
        rows.push(row);
    }
    Grid { columns, rows }
}

fn epochs(epochs: &[EpochReport], style: Style, out: &mut dyn Write) -> io::Result<()> {
    let mut columns = vec![GridColumn::new("epoch").right().key()];
    columns.extend(EPOCH_METRICS.map(|name| GridColumn::new(Unit::of(name).header(name)).right()));
    columns.push(GridColumn::new("attempt").right());
    let mut rows = Vec::with_capacity(epochs.len());
    for epoch in epochs {
        let mut row = vec![epoch.epoch.to_string()];
        for (name, value) in EPOCH_METRICS.into_iter().zip(epoch_metrics(epoch)) {
            row.push(if name == "lr" { shortest(value) } else { Unit::of(name).value(value) });
        }
        row.push(epoch.attempt.as_ref().map_or("-".into(), |id| id.attempt.to_string()));
        rows.push(row);
    }
    grid::write(&columns, &rows, style, out)
}
