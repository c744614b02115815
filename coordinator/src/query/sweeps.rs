//! Sweeps at a glance: counts by state, the best trial, the newest failures.

use std::collections::HashMap;

use common::ids::TrialId;
use common::wire;
use rusqlite::{Connection, Row};
use scheduler::event::Hold;

use super::{KnownTrial, QueryError, Reader};
use crate::store::text;

/// Failures that a sweep's answer has.
const FAILURES_MAX: u32 = 5;
/// A failure's reason is cut here: the trial's own answer has all of it.
const REASON_CHARS_MAX: usize = 300;

impl Reader {
    /// Every sweep, oldest first, without its failures.
    pub fn sweeps(&self) -> Result<Vec<wire::Sweep>, QueryError> {
        let snapshot = self.snapshot()?;
        let wrong = self.wrong("the sweeps");
        let names = self.names().map_err(wrong)?;
        let mut sweeps = Vec::with_capacity(names.len());
        for name in names {
            sweeps.push(overview(&snapshot, &name).map_err(wrong)?);
        }
        Ok(sweeps)
    }

    /// One sweep. `eta_seconds`, and the reason where nothing runs, only a running coordinator
    /// knows.
    pub fn sweep(&self, name: &str) -> Result<wire::Sweep, QueryError> {
        let snapshot = self.snapshot()?;
        let known = self.known(name)?;
        let wrong = self.wrong("the sweeps");
        let mut sweep = overview(&snapshot, name).map_err(wrong)?;
        sweep.failures = failures(&snapshot, known.id).map_err(wrong)?;
        sweep.lost_attempts = lost_attempts(&snapshot, known.id).map_err(wrong)?;
        sweep.yaml = snapshot
            .query_row("SELECT yaml FROM sweeps WHERE id = ?", [known.id], |row| row.get(0))
            .map_err(wrong)?;
        Ok(sweep)
    }
}

/// What one pass over the members gathers.
#[derive(Default)]
struct Tally {
    trials: wire::TrialCounts,
    epochs: u64,
    best: Option<(f64, TrialId)>,
    /// By config: it has a member without outcome.
    configs: HashMap<i64, bool>,
}

impl Tally {
    fn add(&mut self, connection: &Connection, row: &Row<'_>) -> rusqlite::Result<()> {
        let trial = KnownTrial::read(row, 0, 7)?;
        if row.get(3)? {
            self.trials.removed += 1;
            return Ok(());
        }
        let state = row.get_ref(2)?.as_str()?;
        let count = match state {
            "pending" => &mut self.trials.pending,
            "running" => &mut self.trials.running,
            "completed" => &mut self.trials.completed,
            "diverged" => &mut self.trials.diverged,
            "failed" => &mut self.trials.failed,
            _ => &mut self.trials.cancelled,
        };
        *count += 1;
        let is_open = text::kind(state).is_none();
        *self.configs.entry(row.get(1)?).or_default() |= is_open;
        let attempts: u32 = row.get(4)?;
        self.epochs += match row.get::<_, Option<u32>>(5)? {
            Some(epochs) => epochs.into(),
            None if attempts == 0 => 0,
            None => epochs_so_far(connection, trial.row)?.into(),
        };
        let val_error: Option<f64> = row.get(6)?;
        if let Some(error) = val_error.filter(|error| state == "completed" && error.is_finite())
            && self.best.is_none_or(|(least, _)| error < least)
        {
            self.best = Some((error, trial.id));
        }
        Ok(())
    }
}

fn overview(connection: &Connection, name: &str) -> rusqlite::Result<wire::Sweep> {
    let mut header = connection.prepare_cached(
        "SELECT model, data, created_unix_ms, completed_unix_ms, expanded, id, hold FROM sweeps
         WHERE name = ?",
    )?;
    let mut sweep = wire::Sweep { name: name.into(), ..wire::Sweep::default() };
    let (expanded, id, hold): (bool, i64, Option<String>) = header.query_row([name], |row| {
        sweep.model = row.get(0)?;
        sweep.data = row.get(1)?;
        sweep.created_unix_ms = row.get::<_, i64>(2)?.cast_unsigned();
        sweep.completed_unix_ms = row.get::<_, Option<i64>>(3)?.unwrap_or(0).cast_unsigned();
        Ok((row.get(4)?, row.get(5)?, row.get(6)?))
    })?;
    let mut tally = Tally::default();
    let mut members = connection.prepare_cached(
        "SELECT t.id, t.config, t.state, m.removed, t.attempts, iif(o.attempt, o.epochs, NULL),
            o.val_error, t.hash
         FROM members m JOIN trials t ON t.id = m.trial LEFT JOIN outcomes o ON o.trial = t.id
         WHERE m.sweep = ?",
    )?;
    let mut rows = members.query([id])?;
    while let Some(row) = rows.next()? {
        tally.add(connection, row)?;
    }
    let hold = hold.as_deref().and_then(text::hold);
    sweep.state = state(expanded, hold.as_ref(), &tally.trials);
    sweep.configs = tally.configs.len() as u64;
    sweep.configs_done = tally.configs.values().filter(|is_open| !**is_open).count() as u64;
    sweep.epochs = tally.epochs;
    sweep.best_val_error = tally.best.map(|(error, _)| error);
    sweep.best_trial = tally.best.map_or(String::new(), |(_, trial)| trial.to_string());
    sweep.trials = Some(tally.trials);
    Ok(sweep)
}

fn state(expanded: bool, hold: Option<&Hold>, trials: &wire::TrialCounts) -> String {
    let is_open = trials.running > 0 || trials.pending > 0;
    match hold {
        Some(Hold::Cancelled) => return "cancelled".into(),
        Some(Hold::Paused) if is_open => return "paused".into(),
        Some(Hold::Broken { reason }) if is_open => return reason.clone(),
        Some(Hold::Paused | Hold::Broken { .. }) | None => {}
    }
    let word = if !expanded {
        "expanding"
    } else if trials.running > 0 {
        "running"
    } else if trials.pending > 0 {
        "idle"
    } else {
        "completed"
    };
    word.into()
}

/// Length of the history of a trial without outcome.
pub(super) fn epochs_so_far(connection: &Connection, trial: i64) -> rusqlite::Result<u32> {
    let mut statement = connection.prepare_cached(
        "SELECT last FROM recorded WHERE trial = ? AND last IS NOT NULL
         ORDER BY attempt DESC LIMIT 1",
    )?;
    let mut rows = statement.query([trial])?;
    rows.next()?.map_or(Ok(0), |row| row.get(0))
}

/// The most frequent first.
fn lost_attempts(connection: &Connection, sweep: i64) -> rusqlite::Result<Vec<wire::EndCount>> {
    let mut statement = connection.prepare_cached(
        "SELECT a.ended, count(*) AS attempts FROM members m JOIN attempts a ON a.trial = m.trial
         WHERE m.sweep = ?1 AND m.removed = 0 AND a.ended NOT IN ('completed', 'diverged', 'failed')
         GROUP BY a.ended ORDER BY attempts DESC, a.ended",
    )?;
    let rows = statement.query_map([sweep], |row| {
        let attempts = row.get::<_, i64>(1)?.cast_unsigned();
        Ok(wire::EndCount { end: row.get(0)?, attempts })
    })?;
    rows.collect()
}

fn failures(connection: &Connection, sweep: i64) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached(
        "SELECT t.hash, o.reason FROM outcomes o JOIN members m
            ON m.sweep = ?1 AND m.trial = o.trial AND m.removed = 0
         JOIN trials t ON t.id = o.trial
         WHERE o.kind = 'failed' ORDER BY o.ended_unix_ms DESC, o.trial LIMIT ?2",
    )?;
    let mut found = Vec::new();
    let mut rows = statement.query((sweep, FAILURES_MAX))?;
    while let Some(row) = rows.next()? {
        let trial = TrialId(row.get::<_, i64>(0)?.cast_unsigned());
        let reason: String = row.get(1)?;
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        found.push(format!("{trial}: {reason}"));
    }
    Ok(found)
}
