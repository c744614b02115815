//! One trial: parameters, attempts, the history that counts, and what its trainers left behind.

use common::wire;
use rusqlite::{Connection, OptionalExtension, Row};

use super::history::{self, Recorded};
use super::{Elsewhere, Known, KnownTrial, QueryError, Reader};
use crate::store::text;

/// Epochs of an answer, the newest: with all else it stays under a message's size. A table of
/// epochs has them all.
pub const EPOCHS_MAX: u32 = 5_000;
/// Attempts of an answer, the newest.
pub const ATTEMPTS_MAX: u32 = 200;
/// An attempt's message is cut here.
const MESSAGE_CHARS_MAX: usize = 500;
/// Attempts whose logs an answer has, the newest: each log is at most 16 KiB.
const LOGS_MAX: u32 = 16;
/// Digits of a trial's id, and the fewest that are taken for its start.
const DIGITS: usize = 16;
const DIGITS_MIN: usize = 4;
/// Trials that an ambiguous start names.
const MATCHES_MAX: u32 = 6;

/// From the few trials that begin so: the sweep may have a million.
pub(super) const MATCHES: &str = "SELECT t.id, t.hash FROM trials t
    CROSS JOIN members m ON m.sweep = ?1 AND m.trial = t.id
    WHERE t.hash BETWEEN ?2 AND ?3 ORDER BY t.hash LIMIT ?4";

impl Reader {
    /// A trial of a sweep by its id or at least four digits of its start. Has its newest
    /// `ATTEMPTS_MAX` attempts and `EPOCHS_MAX` epochs.
    pub fn trial(&self, sweep: &str, trial: &str) -> Result<wire::Trial, QueryError> {
        let snapshot = self.snapshot()?;
        let trial = self.resolve(&self.known(sweep)?, trial)?;
        let wrong = self.wrong("the trial");
        let mut answer = head(&snapshot, trial).map_err(wrong)?;
        let recorded = recorded(&snapshot, trial).map_err(wrong)?;
        answer.attempts = attempts(&snapshot, trial, &recorded).map_err(wrong)?;
        answer.pending_reason = pending_reason(&answer);
        answer.outcome = outcome(&snapshot, trial).map_err(wrong)?;
        answer.epochs = newest_epochs(&snapshot, trial, &recorded).map_err(wrong)?;
        match self.weights_of(&snapshot, trial.id, &answer.state)? {
            Ok(bytes) => answer.weights_bytes = Some(bytes),
            Err(why) => answer.weights_note = why,
        }
        Ok(answer)
    }

    /// What the trainers of a trial's attempts wrote to stderr last, oldest first; of those whose
    /// cohort failed, since the others leave nothing behind.
    pub fn log(&self, sweep: &str, trial: &str) -> Result<wire::GetLogResponse, QueryError> {
        let snapshot = self.snapshot()?;
        let trial = self.resolve(&self.known(sweep)?, trial)?;
        let mut logs = logs(&snapshot, trial).map_err(self.wrong("the logs"))?;
        logs.reverse();
        let mut text = String::new();
        let is_alone = logs.len() == 1;
        for log in &logs {
            if !is_alone {
                text.push_str(&format!("== attempt {} ({}) ==\n", log.attempt, log.ended));
            }
            text.push_str(log.stderr_tail.trim_end());
            text.push('\n');
        }
        let numbers: Vec<String> = logs.iter().map(|log| log.attempt.to_string()).collect();
        let source = match (logs.is_empty(), is_alone) {
            (true, _) => "no attempt has left a log".into(),
            (false, true) => format!("attempt {}", numbers[0]),
            (false, false) => format!("attempts {}", numbers.join(", ")),
        };
        Ok(wire::GetLogResponse { text, source })
    }

    pub(super) fn resolve(&self, sweep: &Known, start: &str) -> Result<KnownTrial, QueryError> {
        let start = start.to_ascii_lowercase();
        let range = range(&start)
            .ok_or_else(|| QueryError::TrialText { trial: start.chars().take(80).collect() })?;
        let wrong = self.wrong("the members");
        let matches: Vec<KnownTrial> = self
            .connection
            .prepare_cached(MATCHES)
            .and_then(|mut statement| {
                statement
                    .query_map((sweep.id, range.0, range.1, MATCHES_MAX), |row| {
                        KnownTrial::read(row, 0, 1)
                    })?
                    .collect()
            })
            .map_err(wrong)?;
        match matches.as_slice() {
            [one] => Ok(*one),
            [] => Err(self.unknown_trial(sweep, start, range).unwrap_or_else(wrong)),
            several => Err(QueryError::AmbiguousTrial {
                trial: start,
                matches: several.iter().map(|trial| trial.id.to_string()).collect(),
            }),
        }
    }

    fn unknown_trial(
        &self,
        sweep: &Known,
        trial: String,
        range: (i64, i64),
    ) -> rusqlite::Result<QueryError> {
        let members = self.connection.query_row(
            "SELECT count(*) FROM members WHERE sweep = ?",
            [sweep.id],
            |row| row.get::<_, i64>(0).map(i64::cast_unsigned),
        )?;
        let mut statement = self.connection.prepare_cached(
            "SELECT name FROM sweeps WHERE EXISTS (
                SELECT 1 FROM trials t
                CROSS JOIN members m ON m.sweep = sweeps.id AND m.trial = t.id
                WHERE t.hash BETWEEN ?1 AND ?2
             ) ORDER BY id",
        )?;
        let elsewhere: Vec<String> =
            statement.query_map(range, |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(QueryError::UnknownTrial {
            sweep: sweep.name.clone(),
            trial,
            members,
            elsewhere: Elsewhere(elsewhere),
        })
    }
}

/// First and last stored id that start with these digits. Four digits or more never straddle the
/// change of sign, so the order of the signed numbers is that of the ids.
fn range(start: &str) -> Option<(i64, i64)> {
    let is_hex = start.bytes().all(|c| c.is_ascii_hexdigit());
    if !(DIGITS_MIN..=DIGITS).contains(&start.len()) || !is_hex {
        return None;
    }
    let first = u64::from_str_radix(&format!("{start:0<DIGITS$}"), 16).ok()?;
    let last = u64::from_str_radix(&format!("{start:f<DIGITS$}"), 16).ok()?;
    Some((first.cast_signed(), last.cast_signed()))
}

fn head(connection: &Connection, trial: KnownTrial) -> rusqlite::Result<wire::Trial> {
    let mut sweeps = connection.prepare_cached(
        "SELECT name FROM sweeps WHERE EXISTS (
            SELECT 1 FROM members WHERE sweep = sweeps.id AND trial = ?
         ) ORDER BY id",
    )?;
    let sweeps = sweeps.query_map([trial.row], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut statement = connection.prepare_cached(
        "SELECT c.model, c.data, c.params, t.seed, t.state
         FROM trials t JOIN configs c ON c.id = t.config WHERE t.id = ?",
    )?;
    statement.query_row([trial.row], |row| {
        Ok(wire::Trial {
            id: trial.id.to_string(),
            sweeps,
            model: row.get(0)?,
            data: row.get(1)?,
            params: row.get(2)?,
            seed: row.get::<_, i64>(3)?.cast_unsigned(),
            state: row.get(4)?,
            ..wire::Trial::default()
        })
    })
}

/// Why a pending trial waits, as far as the store knows.
fn pending_reason(trial: &wire::Trial) -> String {
    if trial.state != text::PENDING {
        return String::new();
    }
    match trial.attempts.last() {
        None => "waits for a free slot".into(),
        Some(last) => {
            format!("waits for a free slot to run again; attempt {}: {}", last.attempt, last.state)
        }
    }
}

/// First and last epoch by attempt, for attempts that have epochs.
pub(super) fn recorded(
    connection: &Connection,
    trial: KnownTrial,
) -> rusqlite::Result<Vec<Recorded>> {
    let mut statement = connection.prepare_cached(
        "SELECT attempt, first, last FROM recorded WHERE trial = ? AND first IS NOT NULL
         ORDER BY attempt",
    )?;
    let read = |row: &Row<'_>| {
        Ok(Recorded { attempt: row.get(0)?, first: row.get(1)?, last: row.get(2)? })
    };
    statement.query_map([trial.row], read)?.collect()
}

fn attempts(
    connection: &Connection,
    trial: KnownTrial,
    recorded: &[Recorded],
) -> rusqlite::Result<Vec<wire::Attempt>> {
    let mut statement = connection.prepare_cached(
        "SELECT number, worker, cohort, cohort_size, started_unix_ms, ended_unix_ms, ended,
            message
         FROM attempts WHERE trial = ? ORDER BY number DESC LIMIT ?",
    )?;
    let mut rows = statement.query((trial.row, ATTEMPTS_MAX))?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        let number: u32 = row.get(0)?;
        let epochs = recorded.iter().find(|epochs| epochs.attempt == number);
        let ended: Option<String> = row.get(6)?;
        let message: String = row.get(7)?;
        attempts.push(wire::Attempt {
            attempt: number,
            worker: row.get(1)?,
            cohort: row.get::<_, i64>(2)?.cast_unsigned(),
            cohort_size: row.get(3)?,
            started_unix_ms: row.get::<_, i64>(4)?.cast_unsigned(),
            ended_unix_ms: row.get::<_, Option<i64>>(5)?.unwrap_or(0).cast_unsigned(),
            state: ended.unwrap_or_else(|| text::RUNNING.into()),
            message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
            first_epoch: epochs.map_or(0, |epochs| epochs.first),
            last_epoch: epochs.map_or(0, |epochs| epochs.last),
        });
    }
    attempts.reverse();
    Ok(attempts)
}

fn outcome(
    connection: &Connection,
    trial: KnownTrial,
) -> rusqlite::Result<Option<wire::AttemptOutcome>> {
    let mut statement = connection.prepare_cached(
        "SELECT attempt, kind, epochs, seconds, best_epoch, test_error, test_loss, val_error,
            val_loss, train_loss, reason, program_version, libtorch_version, device, precision,
            cohort_size, data_digest, threads
         FROM outcomes WHERE trial = ?",
    )?;
    let read = |row: &Row<'_>| {
        let attempt: Option<u32> = row.get(0)?;
        let kind = text::kind(row.get_ref(1)?.as_str()?);
        Ok(wire::AttemptOutcome {
            attempt: attempt.map(|attempt| trial.attempt(attempt)),
            kind: kind.map_or(wire::OutcomeKind::Unspecified, wire_kind).into(),
            epochs: row.get(2)?,
            seconds: row.get::<_, Option<f64>>(3)?.unwrap_or(0.0),
            best_epoch: row.get(4)?,
            test_error: row.get(5)?,
            test_loss: row.get(6)?,
            val_error: row.get(7)?,
            val_loss: row.get(8)?,
            train_loss: row.get(9)?,
            reason: row.get(10)?,
            provenance: Some(wire::Provenance {
                program_version: row.get(11)?,
                libtorch_version: row.get(12)?,
                device: row.get(13)?,
                precision: row.get(14)?,
                cohort_size: row.get(15)?,
                data_digest: row.get(16)?,
                threads: row.get(17)?,
            })
            .filter(|_| attempt.is_some()),
        })
    };
    statement.query_row([trial.row], read).optional()
}

fn wire_kind(kind: scheduler::event::OutcomeKind) -> wire::OutcomeKind {
    use scheduler::event::OutcomeKind;
    match kind {
        OutcomeKind::Completed => wire::OutcomeKind::Completed,
        OutcomeKind::Diverged => wire::OutcomeKind::Diverged,
        OutcomeKind::Failed => wire::OutcomeKind::Failed,
        OutcomeKind::Cancelled => wire::OutcomeKind::Cancelled,
    }
}

/// The end of the history that counts, in order.
fn newest_epochs(
    connection: &Connection,
    trial: KnownTrial,
    recorded: &[Recorded],
) -> rusqlite::Result<Vec<wire::EpochReport>> {
    let mut epochs = Vec::new();
    let mut room = EPOCHS_MAX;
    for part in history::parts(recorded).into_iter().rev() {
        if room == 0 {
            break;
        }
        let first = part.first.max(part.last.saturating_sub(room - 1));
        let mut page = epochs_of(connection, trial, Recorded { first, ..part }, room)?;
        room = room.saturating_sub(part.last - first + 1);
        page.reverse();
        epochs.append(&mut page);
    }
    epochs.reverse();
    Ok(epochs)
}

/// At most `rows_max` epochs of an attempt, from `part.first` on.
pub(super) fn epochs_of(
    connection: &Connection,
    trial: KnownTrial,
    part: Recorded,
    rows_max: u32,
) -> rusqlite::Result<Vec<wire::EpochReport>> {
    let mut statement = connection.prepare_cached(
        "SELECT e.epoch, train_loss, train_error, val_loss, val_error, gate, lr, grad_norm,
            examples_per_second, seconds, examples
         FROM attempts a JOIN epochs e
            ON e.cohort = a.cohort AND e.epoch = ?3 AND e.trial = a.trial AND e.attempt = a.number
         WHERE a.trial = ?1 AND a.number = ?2",
    )?;
    let number =
        |row: &Row<'_>, at| row.get(at).map(|value: Option<f64>| value.unwrap_or(f64::NAN));
    let read = |row: &Row<'_>| {
        Ok(wire::EpochReport {
            attempt: Some(trial.attempt(part.attempt)),
            epoch: row.get(0)?,
            train_loss: number(row, 1)?,
            train_error: number(row, 2)?,
            val_loss: number(row, 3)?,
            val_error: number(row, 4)?,
            gate: number(row, 5)?,
            lr: number(row, 6)?,
            grad_norm: number(row, 7)?,
            examples_per_second: number(row, 8)?,
            seconds: number(row, 9)?,
            examples: row.get::<_, i64>(10)?.cast_unsigned(),
        })
    };
    // One by one: between two epochs of a trial lie those of its companions.
    let last = part.last.min(part.first.saturating_add(rows_max - 1));
    let mut found = Vec::new();
    for epoch in part.first..=last {
        found.extend(statement.query_row((trial.row, part.attempt, epoch), read).optional()?);
    }
    Ok(found)
}

struct Log {
    attempt: u32,
    ended: String,
    stderr_tail: String,
}

/// Newest first.
fn logs(connection: &Connection, trial: KnownTrial) -> rusqlite::Result<Vec<Log>> {
    let mut statement = connection.prepare_cached(
        "SELECT a.number, coalesce(a.ended, 'running'), l.stderr_tail
         FROM attempts a JOIN cohort_logs l ON l.cohort = a.cohort
         WHERE a.trial = ? ORDER BY a.number DESC LIMIT ?",
    )?;
    let read = |row: &Row<'_>| {
        Ok(Log { attempt: row.get(0)?, ended: row.get(1)?, stderr_tail: row.get(2)? })
    };
    statement.query_map((trial.row, LOGS_MAX), read)?.collect()
}
