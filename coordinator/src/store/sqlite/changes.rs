//! Row changes, one function for each kind. Whatever contradicts the stored rows is refused:
//! a second outcome, an epoch twice, an attempt of a trial that ended.

use std::path::Path;
use std::sync::Arc;

use common::config::Config;
use common::ids::{AttemptId, CohortId, SweepName, TrialId, WorkerId};
use rusqlite::{CachedStatement, Connection, ErrorCode, Params, params};
use scheduler::Change;
use scheduler::event::{
    AttemptEnd, EpochMetrics, Outcome, OutcomeKind, SweepHeader, Trial, WorkerHello,
};

use crate::store::{StoreError, Trouble, text};

/// Why a change was not written.
pub enum Refusal {
    /// By SQLite.
    Sqlite(rusqlite::Error),
    /// The rows that it changes are not there or not in the state that it changes.
    NoSuchRow,
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Refusal {
        Refusal::Sqlite(error)
    }
}

impl Refusal {
    /// The error of the whole commit.
    pub fn of_change(self, change: &Change, path: &Path) -> StoreError {
        let path = path.into();
        match self {
            Refusal::NoSuchRow => {
                let trouble = Trouble::Contradiction(text::of_change(change));
                StoreError::NotCommitted { path, trouble, source: None }
            }
            Refusal::Sqlite(source) => {
                let contradicts =
                    source.sqlite_error_code() == Some(ErrorCode::ConstraintViolation);
                let trouble = match contradicts {
                    true => Trouble::Contradiction(text::of_change(change)),
                    false => Trouble::of(&source),
                };
                StoreError::NotCommitted { path, trouble, source: Some(source.into()) }
            }
        }
    }
}

type Done = Result<(), Refusal>;

/// Writes the rows of one transaction.
pub struct Rows<'c> {
    connection: &'c Connection,
    at_unix_ms: i64,
}

impl<'c> Rows<'c> {
    /// Within the transaction that is open on `connection`.
    pub fn new(connection: &'c Connection, at_unix_ms: u64) -> Rows<'c> {
        Rows { connection, at_unix_ms: at_unix_ms.cast_signed() }
    }

    /// Writes the first of the changes that are left, or the first two where they are the end of
    /// an attempt and its outcome: then the trial's row is written once. Returns how many.
    pub fn apply(&mut self, changes: &[Change]) -> Result<usize, Refusal> {
        if let [
            Change::AttemptEnded { attempt, end, deaths, cohort_size_max },
            Change::OutcomeRecorded(of, outcome),
            ..,
        ] = changes
            && attempt == of
        {
            let state = text::of_kind(outcome.kind);
            let trial = self.trial_row(attempt.trial)?;
            self.attempt_ended((trial, attempt.number), end, *deaths, *cohort_size_max, state)?;
            self.outcome_added((trial, attempt.number), outcome)?;
            return Ok(2);
        }
        let change = changes.first().expect("changes are left");
        self.apply_one(change).map(|()| 1)
    }

    fn apply_one(&mut self, change: &Change) -> Done {
        match change {
            Change::SweepApplied(header) => self.sweep_applied(header),
            Change::TrialsAdded(trials) => self.trials_added(trials),
            Change::MembersAdded { sweep, first_index, trials } => {
                self.members_added(sweep, *first_index, trials)
            }
            Change::MembersRemoved(sweep, trials) => self.members_removed(sweep, trials),
            Change::SweepExpanded(sweep) => {
                self.one("UPDATE sweeps SET expanded = 1 WHERE name = ?", [sweep.as_str()])
            }
            Change::SweepCompleted(sweep) => self.one(
                "UPDATE sweeps SET completed_unix_ms = ?2 WHERE name = ?1",
                params![sweep.as_str(), self.at_unix_ms],
            ),
            Change::SweepReopened(sweep) => self
                .one("UPDATE sweeps SET completed_unix_ms = NULL WHERE name = ?", [sweep.as_str()]),
            Change::DataPinned(sweep, digest) => self.one(
                "UPDATE sweeps SET data_digest = ?2 WHERE name = ?1",
                [sweep.as_str(), digest],
            ),
            Change::WorkerAttached(hello) => self.worker_attached(hello),
            Change::WorkerDetached(worker) => self.worker_detached(worker),
            Change::AttemptStarted { attempt, worker, cohort, cohort_size } => {
                self.attempt_started(*attempt, worker, *cohort, *cohort_size)
            }
            Change::AttemptAdopted(attempt) => self.attempt_adopted(*attempt),
            Change::AttemptEnded { attempt, end, deaths, cohort_size_max } => {
                let attempt = (self.trial_row(attempt.trial)?, attempt.number);
                self.attempt_ended(attempt, end, *deaths, *cohort_size_max, text::PENDING)
            }
            Change::EpochRecorded(attempt, metrics) => self.epoch_recorded(*attempt, metrics),
            Change::OutcomeRecorded(attempt, outcome) => self.outcome_recorded(*attempt, outcome),
            Change::SweepHeld(sweep, hold) => self.one(
                "UPDATE sweeps SET hold = ?2 WHERE name = ?1",
                params![sweep.as_str(), hold.as_ref().map(text::of_hold)],
            ),
            Change::TrialsClosed { trials, kind, reason } => {
                self.trials_closed(trials, *kind, reason)
            }
            Change::TrialsReopened(trials) => self.trials_reopened(trials),
            Change::TrialPardoned { trial, deaths, cohort_size_max } => self.one(
                "UPDATE trials SET deaths = ?2, cohort_size_max = ?3
                 WHERE hash = ?1 AND state IN ('pending', 'running')",
                params![hash(*trial), deaths, cohort_size_max],
            ),
        }
    }

    fn prepare(&self, sql: &str) -> rusqlite::Result<CachedStatement<'c>> {
        self.connection.prepare_cached(sql)
    }

    /// Runs a statement that must change one row.
    fn one(&self, sql: &str, params: impl Params) -> Done {
        match self.prepare(sql)?.execute(params)? {
            1 => Ok(()),
            _ => Err(Refusal::NoSuchRow),
        }
    }

    fn sweep_applied(&self, header: &SweepHeader) -> Done {
        self.one(
            "INSERT INTO sweeps (name, yaml, model, data, fusion, priority, failures_max,
                slot_seconds_max, data_digest, expanded, created_unix_ms, same_error_max)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, ?10, ?11)
             ON CONFLICT (name) DO UPDATE SET yaml = excluded.yaml, model = excluded.model,
                data = excluded.data, fusion = excluded.fusion, priority = excluded.priority,
                failures_max = excluded.failures_max,
                slot_seconds_max = excluded.slot_seconds_max,
                data_digest = excluded.data_digest, expanded = 0,
                same_error_max = excluded.same_error_max",
            params![
                header.name.as_str(),
                header.yaml,
                header.model.name(),
                header.data.name(),
                text::of_fusion(header.fusion),
                header.priority,
                header.failures_max.map(u64::cast_signed),
                header.slot_seconds_max,
                header.data_digest,
                self.at_unix_ms,
                header.same_error_max.map(u64::cast_signed),
            ],
        )
    }

    /// A trial that is stored already stays as it is: its id says that it is the same one.
    fn trials_added(&self, trials: &[Trial]) -> Done {
        let mut insert = self.prepare(
            "INSERT INTO trials (hash, config, seed, state, attempts, deaths)
             VALUES (?1, ?2, ?3, 'pending', 0, 0) ON CONFLICT (hash) DO NOTHING",
        )?;
        let mut last: Option<(&Arc<Config>, i64)> = None;
        for trial in trials {
            let config = match last {
                Some((config, id)) if Arc::ptr_eq(config, &trial.config) => id,
                Some(_) | None => self.config_added(&trial.config)?,
            };
            last = Some((&trial.config, config));
            insert.execute((hash(trial.id), config, trial.seed.cast_signed()))?;
        }
        Ok(())
    }

    fn config_added(&self, config: &Config) -> Result<i64, Refusal> {
        let hash = hash(config.trial_id(0));
        let params = params![hash, config.model.name(), config.data.name(), config.to_json()];
        self.prepare(
            "INSERT INTO configs (hash, model, data, params) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (hash) DO NOTHING",
        )?
        .execute(params)?;
        self.row("SELECT id FROM configs WHERE hash = ?", [hash])
    }

    /// The id of the row that a statement selects.
    fn row(&self, sql: &str, params: impl Params) -> Result<i64, Refusal> {
        let mut find = self.prepare(sql)?;
        let mut rows = find.query(params)?;
        Ok(rows.next()?.ok_or(Refusal::NoSuchRow)?.get(0)?)
    }

    fn sweep_row(&self, sweep: &SweepName) -> Result<i64, Refusal> {
        self.row("SELECT id FROM sweeps WHERE name = ?", [sweep.as_str()])
    }

    fn trial_row(&self, trial: TrialId) -> Result<i64, Refusal> {
        self.row("SELECT id FROM trials WHERE hash = ?", [hash(trial)])
    }

    fn members_added(&self, sweep: &SweepName, first: u64, trials: &[TrialId]) -> Done {
        let sweep = self.sweep_row(sweep)?;
        for (&trial, place) in trials.iter().zip(first..) {
            self.one(
                "INSERT INTO members (sweep, trial, place, removed) VALUES (?1, ?2, ?3, 0)
                 ON CONFLICT (sweep, trial) DO UPDATE SET place = excluded.place, removed = 0",
                params![sweep, self.trial_row(trial)?, place.cast_signed()],
            )?;
        }
        Ok(())
    }

    fn members_removed(&self, sweep: &SweepName, trials: &[TrialId]) -> Done {
        let sweep = self.sweep_row(sweep)?;
        for &trial in trials {
            self.one(
                "UPDATE members SET removed = 1 WHERE sweep = ?1 AND trial = ?2",
                [sweep, self.trial_row(trial)?],
            )?;
        }
        Ok(())
    }

    fn worker_attached(&self, hello: &WorkerHello) -> Done {
        self.one(
            "INSERT INTO workers (id, host, program_version, libtorch_version, slots,
                data_digests, draining, attached, last_seen_unix_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8)
             ON CONFLICT (id) DO UPDATE SET host = excluded.host,
                program_version = excluded.program_version,
                libtorch_version = excluded.libtorch_version, slots = excluded.slots,
                data_digests = excluded.data_digests, draining = excluded.draining,
                attached = 1, last_seen_unix_ms = excluded.last_seen_unix_ms",
            params![
                hello.id.as_str(),
                hello.host,
                hello.program_version,
                hello.libtorch_version,
                text::of_slots(&hello.slots),
                text::of_digests(&hello.data_digests),
                hello.draining,
                self.at_unix_ms,
            ],
        )
    }

    /// A worker that is not stored leaves no row to change.
    fn worker_detached(&self, worker: &WorkerId) -> Done {
        self.prepare("UPDATE workers SET attached = 0, last_seen_unix_ms = ?2 WHERE id = ?1")?
            .execute(params![worker.as_str(), self.at_unix_ms])?;
        Ok(())
    }

    fn attempt_started(
        &self,
        attempt: AttemptId,
        worker: &WorkerId,
        cohort: CohortId,
        cohort_size: u32,
    ) -> Done {
        let trial = self.trial_row(attempt.trial)?;
        self.one(
            "UPDATE trials SET state = 'running', attempts = ?2, fenced = 0
             WHERE id = ?1 AND state = 'pending' AND attempts < ?2",
            params![trial, attempt.number],
        )?;
        self.one(
            "INSERT INTO attempts (trial, number, worker, cohort, cohort_size, started_unix_ms,
                counted, message)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, '')",
            params![
                trial,
                attempt.number,
                worker.as_str(),
                cohort.0.cast_signed(),
                cohort_size,
                self.at_unix_ms,
            ],
        )
    }

    fn attempt_adopted(&self, attempt: AttemptId) -> Done {
        let trial = self.trial_row(attempt.trial)?;
        self.one(
            "UPDATE trials SET state = 'running'
             WHERE id = ?1 AND state = 'pending' AND attempts = ?2",
            params![trial, attempt.number],
        )?;
        self.one(
            "UPDATE attempts SET ended = NULL, ended_unix_ms = NULL, counted = 0, message = '',
                first_epoch = NULL, last_epoch = NULL
             WHERE trial = ?1 AND number = ?2",
            params![trial, attempt.number],
        )
    }

    fn attempt_ended(
        &self,
        (trial, number): (i64, u32),
        end: &AttemptEnd,
        deaths: u32,
        cohort_size_max: Option<u32>,
        state: &str,
    ) -> Done {
        let (counted, message, stderr_tail) = match end {
            AttemptEnd::CohortFailed { counted, message, stderr_tail, .. } => {
                (*counted, message.as_str(), stderr_tail.as_str())
            }
            AttemptEnd::Outcome(_)
            | AttemptEnd::WorkerLost
            | AttemptEnd::Returned
            | AttemptEnd::Cancelled => (false, "", ""),
        };
        self.one(
            "UPDATE attempts SET ended = ?3, ended_unix_ms = ?4, counted = ?5, message = ?6,
                (first_epoch, last_epoch) = (
                    SELECT first, last FROM recorded WHERE trial = ?1 AND attempt = ?2
                )
             WHERE trial = ?1 AND number = ?2",
            params![trial, number, text::of_end(end), self.at_unix_ms, counted, message],
        )?;
        if !stderr_tail.is_empty() {
            self.prepare(
                "INSERT INTO cohort_logs (cohort, stderr_tail)
                 SELECT cohort, ?3 FROM attempts WHERE trial = ?1 AND number = ?2
                 ON CONFLICT (cohort) DO NOTHING",
            )?
            .execute(params![trial, number, stderr_tail])?;
        }
        self.one(
            "UPDATE trials SET deaths = ?3, cohort_size_max = ?4, state = ?5
             WHERE id = ?1 AND state = 'running' AND attempts = ?2",
            params![trial, number, deaths, cohort_size_max, state],
        )
    }

    fn epoch_recorded(&self, attempt: AttemptId, metrics: &EpochMetrics) -> Done {
        let trial = self.trial_row(attempt.trial)?;
        self.one(
            "INSERT INTO epochs (cohort, trial, attempt, epoch, train_loss, train_error, val_loss,
                val_error, gate, lr, grad_norm, examples_per_second, seconds, examples)
             SELECT cohort, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13
             FROM attempts WHERE trial = ?1 AND number = ?2",
            params![
                trial,
                attempt.number,
                metrics.epoch,
                metrics.train_loss,
                metrics.train_error,
                metrics.val_loss,
                metrics.val_error,
                metrics.gate,
                metrics.lr,
                metrics.grad_norm,
                metrics.examples_per_second,
                metrics.seconds,
                metrics.examples.cast_signed(),
            ],
        )?;
        // Late, from a worker that was lost and came back. One look-up of both tables before the
        // insertion was measured to be slower.
        self.prepare(
            "UPDATE attempts SET first_epoch = min(coalesce(first_epoch, ?3), ?3),
                last_epoch = max(coalesce(last_epoch, ?3), ?3)
             WHERE trial = ?1 AND number = ?2 AND ended IS NOT NULL",
        )?
        .execute(params![trial, attempt.number, metrics.epoch])?;
        Ok(())
    }

    fn outcome_recorded(&self, attempt: AttemptId, outcome: &Outcome) -> Done {
        let trial = self.trial_row(attempt.trial)?;
        self.outcome_added((trial, attempt.number), outcome)?;
        self.state_ended(trial, outcome.kind)
    }

    fn outcome_added(&self, (trial, number): (i64, u32), outcome: &Outcome) -> Done {
        let provenance = &outcome.provenance;
        self.one(
            "INSERT INTO outcomes (trial, attempt, kind, epochs, seconds, best_epoch, test_error,
                test_loss, val_error, val_loss, train_loss, reason, program_version,
                libtorch_version, device, precision, cohort_size, data_digest, threads,
                ended_unix_ms)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                ?18, ?19, ?20
             WHERE EXISTS (SELECT 1 FROM trials WHERE id = ?1 AND attempts = ?2)",
            params![
                trial,
                number,
                text::of_kind(outcome.kind),
                outcome.epochs,
                outcome.seconds,
                outcome.best_epoch,
                outcome.test_error,
                outcome.test_loss,
                outcome.val_error,
                outcome.val_loss,
                outcome.train_loss,
                outcome.reason,
                provenance.program_version,
                provenance.libtorch_version,
                provenance.device,
                provenance.precision,
                provenance.cohort_size,
                provenance.data_digest,
                provenance.threads,
                self.at_unix_ms,
            ],
        )
    }

    fn trials_closed(&self, trials: &[TrialId], kind: OutcomeKind, reason: &str) -> Done {
        for &id in trials {
            let trial = self.trial_row(id)?;
            self.one(
                "INSERT INTO outcomes (trial, kind, epochs, reason, program_version,
                    libtorch_version, device, precision, cohort_size, data_digest, threads,
                    ended_unix_ms)
                 VALUES (?1, ?2, 0, ?3, '', '', '', '', 0, '', 0, ?4)",
                params![trial, text::of_kind(kind), reason, self.at_unix_ms],
            )?;
            self.state_ended(trial, kind)?;
        }
        Ok(())
    }

    fn trials_reopened(&self, trials: &[TrialId]) -> Done {
        for &id in trials {
            let trial = self.trial_row(id)?;
            self.one(
                "UPDATE trials SET fenced = 1, state = 'pending', deaths = 0, cohort_size_max = NULL
                 WHERE id = ? AND state IN ('failed', 'cancelled')",
                [trial],
            )?;
            self.one("DELETE FROM outcomes WHERE trial = ?", [trial])?;
        }
        Ok(())
    }

    fn state_ended(&self, trial: i64, kind: OutcomeKind) -> Done {
        self.one(
            "UPDATE trials SET state = ?2 WHERE id = ?1 AND state = 'pending'",
            params![trial, text::of_kind(kind)],
        )
    }
}

/// A trial's id as SQLite holds it: the signed number of the same bits.
fn hash(trial: TrialId) -> i64 {
    trial.0.cast_signed()
}
