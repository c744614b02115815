//! The weights of best epochs: whose are wanted, why some are not there, and their bytes.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;

use common::ids::{AttemptId, TrialId};
use common::spec::{Keep, keep_of};
use common::wire::{self, model_part};
use rusqlite::{Connection, OptionalExtension, Row};
use scheduler::event::OutcomeKind;

use super::{Known, QueryError, Reader};
use crate::keep::{Completed, Keeper};
use crate::store::text;
use crate::weights;

/// Of a file in one message.
const CHUNK_BYTES: usize = 512 << 10;

/// What becomes of the weights of an attempt.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fate {
    /// Some sweep keeps them; this is what they must be of.
    Wanted(Tested),
    /// No sweep does, or another attempt has the outcome.
    Unwanted,
    /// The attempt may still have an outcome.
    Open,
}

/// The result that weights belong to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tested {
    /// The best epoch.
    pub best_epoch: Option<u32>,
    /// There.
    pub val_error: Option<f64>,
    /// With its weights.
    pub test_error: Option<f64>,
}

type Answer<T> = Result<T, QueryError>;

/// A sweep that names a trial.
struct Wish {
    sweep: i64,
    name: String,
    keep: Keep,
    /// Of the trial among the members.
    place: i64,
}

/// A completed trial of the store.
struct Done {
    row: i64,
    completed: Completed,
    attempt: Option<u32>,
    result: Tested,
}

impl Reader {
    /// Whether some sweep keeps the weights of this attempt.
    pub fn fate(&self, attempt: AttemptId) -> Answer<Fate> {
        let snapshot = self.snapshot()?;
        let wrong = self.wrong("the trial");
        if let Some(done) = done(&snapshot, attempt.trial).map_err(wrong)? {
            let is_wanted =
                done.attempt == Some(attempt.number) && self.is_wanted(&snapshot, &done)?;
            return Ok(if is_wanted { Fate::Wanted(done.result) } else { Fate::Unwanted });
        }
        let is_open = snapshot
            .prepare_cached(
                "SELECT 1 FROM trials WHERE hash = ?1 AND attempts = ?2 AND fenced = 0
                 AND state IN ('pending', 'running')",
            )
            .and_then(|mut open| open.exists((attempt.trial.0.cast_signed(), attempt.number)));
        Ok(if is_open.map_err(wrong)? { Fate::Open } else { Fate::Unwanted })
    }

    fn is_wanted(&self, connection: &Connection, done: &Done) -> Answer<bool> {
        let wrong = self.wrong("the members");
        for wish in wishes(connection, done.row).map_err(wrong)? {
            let kept = kept_near(connection, &wish, &done.completed).map_err(wrong)?;
            if kept.contains(&done.completed.trial) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Those of these trials whose weights some sweep keeps, by everything that is stored.
    pub fn wanted_among(&self, trials: &BTreeSet<TrialId>) -> Answer<BTreeSet<TrialId>> {
        let snapshot = self.snapshot()?;
        let wrong = self.wrong("the members");
        let mut wanted = BTreeSet::new();
        for (sweep, keep) in sweeps(&snapshot).map_err(wrong)? {
            let kept = kept_of(&snapshot, sweep, keep).map_err(wrong)?;
            wanted.extend(kept.intersection(trials).copied());
        }
        Ok(wanted)
    }

    /// Bytes of a trial's weights that are kept, or why none are.
    pub(super) fn weights_of(
        &self,
        connection: &Connection,
        trial: TrialId,
        state: &str,
    ) -> Answer<Result<u64, String>> {
        if let Some(bytes) = weights::kept_bytes(&self.state_dir, trial) {
            return Ok(Ok(bytes));
        }
        let wrong = self.wrong("the members");
        let Some(done) = done(connection, trial).map_err(wrong)? else {
            return Ok(Err(format!("the trial is {state}, and completed ones alone leave some")));
        };
        let mut why = Vec::new();
        for wish in wishes(connection, done.row).map_err(wrong)? {
            let kept = kept_near(connection, &wish, &done.completed).map_err(wrong)?;
            let name = &wish.name;
            if kept.contains(&trial) {
                return Ok(Err(format!(
                    "`{name}` keeps them and they are not here: they are on their way, or their \
                     worker lost them"
                )));
            }
            why.push(match (wish.keep, kept.first()) {
                (Keep::Best, Some(best)) => {
                    format!("`{name}` keeps those of the best trial of each config, here {best}")
                }
                (keep, _) => format!("`{name}` does not keep them (`keep: {keep}`)"),
            });
        }
        if why.is_empty() {
            why.push("no sweep names the trial any more".into());
        }
        Ok(Err(why.join("; ")))
    }

    /// The weights that are kept of a trial of a sweep, or of its best one that has some.
    pub fn model(
        &self,
        request: &wire::GetModelRequest,
        send: &mut dyn FnMut(wire::ModelPart) -> ControlFlow<()>,
    ) -> Answer<()> {
        let header = self.model_header(request)?;
        let trial = header.trial.parse().expect("written here");
        let path = weights::path(&self.state_dir, trial);
        let wrong = |source| QueryError::Weights { path: path.clone(), source };
        let mut file = File::open(&path).map_err(wrong)?;
        let bytes = file.metadata().map_err(wrong)?.len();
        let mut part = |part| send(wire::ModelPart { part: Some(part) });
        let mut next = part(model_part::Part::Header(wire::ModelHeader { bytes, ..header }));
        while next.is_continue() {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk).map_err(wrong)?;
            if chunk.is_empty() {
                break;
            }
            next = part(model_part::Part::Chunk(chunk));
        }
        Ok(())
    }

    fn model_header(&self, request: &wire::GetModelRequest) -> Answer<wire::ModelHeader> {
        let snapshot = self.snapshot()?;
        let sweep = self.known(&request.sweep)?;
        if request.trial.is_empty() {
            return self.best_header(&snapshot, &sweep);
        }
        let trial = self.resolve(&sweep, &request.trial)?;
        let wrong = self.wrong("the trial");
        let state: String = snapshot
            .query_row("SELECT state FROM trials WHERE id = ?", [trial.row], |row| row.get(0))
            .map_err(wrong)?;
        let what = format!("trial {}", trial.id);
        match self.weights_of(&snapshot, trial.id, &state)? {
            Err(why) => Err(QueryError::NoWeights { what, why }),
            Ok(_) => match done(&snapshot, trial.id).map_err(wrong)? {
                Some(done) => Ok(header(&done, String::new())),
                None => {
                    let why = format!("the trial is {state}");
                    Err(QueryError::NoWeights { what, why })
                }
            },
        }
    }

    fn best_header(&self, connection: &Connection, sweep: &Known) -> Answer<wire::ModelHeader> {
        let there = weights::kept(&self.state_dir).map_err(|source| QueryError::Weights {
            path: weights::folder(&self.state_dir),
            source,
        })?;
        let wrong = self.wrong("the members");
        let (best, passed_over) = best_among(connection, sweep.id, &there).map_err(wrong)?;
        let what = format!("sweep `{}`", sweep.name);
        let Some(best) = best else {
            let keep = keep(connection, sweep.id).map_err(wrong)?;
            let why = match (keep, passed_over) {
                (Keep::None, _) => "it keeps none (`keep: none`)".into(),
                (_, 0) => "none of its trials has completed".into(),
                (_, count) => format!(
                    "none of its {count} completed trials has left some here yet; `trial` says why"
                ),
            };
            return Err(QueryError::NoWeights { what, why });
        };
        let note = match passed_over {
            0 => String::new(),
            1 => "1 trial with a lower val_error has no weights here".into(),
            count => format!("{count} trials with a lower val_error have no weights here"),
        };
        let done = done(connection, best).map_err(wrong)?.expect("in the same snapshot");
        Ok(header(&done, note))
    }
}

fn header(done: &Done, note: String) -> wire::ModelHeader {
    wire::ModelHeader {
        trial: done.completed.trial.to_string(),
        attempt: done.attempt.unwrap_or(0),
        bytes: 0,
        val_error: done.result.val_error,
        test_error: done.result.test_error,
        note,
    }
}

fn done(connection: &Connection, trial: TrialId) -> rusqlite::Result<Option<Done>> {
    let mut statement = connection.prepare_cached(
        "SELECT t.id, t.config, o.attempt, o.best_epoch, o.val_error, o.test_error,
            o.ended_unix_ms
         FROM trials t JOIN outcomes o ON o.trial = t.id
         WHERE t.hash = ?1 AND o.kind = 'completed'",
    )?;
    let read = |row: &Row<'_>| {
        let (config, val_error) = (row.get(1)?, row.get(4)?);
        let ended_unix_ms = row.get::<_, i64>(6)?.cast_unsigned();
        Ok(Done {
            row: row.get(0)?,
            completed: Completed { trial, config, val_error, ended_unix_ms },
            attempt: row.get(2)?,
            result: Tested { best_epoch: row.get(3)?, val_error, test_error: row.get(5)? },
        })
    };
    statement.query_row([trial.0.cast_signed()], read).optional()
}

/// The sweeps that name a trial, oldest first.
fn wishes(connection: &Connection, trial: i64) -> rusqlite::Result<Vec<Wish>> {
    let mut statement = connection.prepare_cached(
        "SELECT s.id, s.name, s.yaml, m.place FROM sweeps s
         CROSS JOIN members m ON m.sweep = s.id AND m.trial = ?1 AND m.removed = 0
         ORDER BY s.id",
    )?;
    let read = |row: &Row<'_>| {
        let keep = keep_of(row.get_ref(2)?.as_str()?);
        Ok(Wish { sweep: row.get(0)?, name: row.get(1)?, keep, place: row.get(3)? })
    };
    statement.query_map([trial], read)?.collect()
}

fn sweeps(connection: &Connection) -> rusqlite::Result<Vec<(i64, Keep)>> {
    let mut statement = connection.prepare_cached("SELECT id, yaml FROM sweeps")?;
    let read = |row: &Row<'_>| Ok((row.get(0)?, keep_of(row.get_ref(1)?.as_str()?)));
    statement.query_map((), read)?.collect()
}

fn keep(connection: &Connection, sweep: i64) -> rusqlite::Result<Keep> {
    let mut statement = connection.prepare_cached("SELECT yaml FROM sweeps WHERE id = ?")?;
    statement.query_row([sweep], |row| Ok(keep_of(row.get_ref(0)?.as_str()?)))
}

/// What a sweep keeps of those that are as good as this trial or better, or share its config: all
/// that decides about this one.
fn kept_near(
    connection: &Connection,
    wish: &Wish,
    completed: &Completed,
) -> rusqlite::Result<BTreeSet<TrialId>> {
    let mut keeper = Keeper::new(wish.keep);
    keeper.add(*completed);
    match wish.keep {
        Keep::All | Keep::None => {}
        Keep::Best => {
            add_neighbours(connection, UPWARDS, wish, completed.config, &mut keeper)?;
            add_neighbours(connection, DOWNWARDS, wish, completed.config, &mut keeper)?;
        }
        Keep::Top(_) => {
            let mut statement = connection.prepare_cached(
                "SELECT t.hash, t.config, o.val_error, o.ended_unix_ms FROM members m
                 CROSS JOIN outcomes o ON o.trial = m.trial
                 CROSS JOIN trials t ON t.id = m.trial
                 WHERE m.sweep = ?1 AND m.removed = 0 AND o.kind = 'completed'
                    AND o.val_error <= ?2 AND t.hash <> ?3",
            )?;
            let own = completed.trial.0.cast_signed();
            let mut rows = statement.query((wish.sweep, completed.val_error, own))?;
            while let Some(row) = rows.next()? {
                keeper.add(read_completed(row)?);
            }
        }
    }
    Ok(keeper.kept())
}

/// The members of a config follow each other, seeds being innermost in the order of expansion.
const UPWARDS: &str = "SELECT t.hash, t.config, o.val_error, o.ended_unix_ms, o.kind
    FROM members m CROSS JOIN trials t ON t.id = m.trial LEFT JOIN outcomes o ON o.trial = t.id
    WHERE m.sweep = ?1 AND m.place > ?2 AND m.removed = 0 ORDER BY m.place";
const DOWNWARDS: &str = "SELECT t.hash, t.config, o.val_error, o.ended_unix_ms, o.kind
    FROM members m CROSS JOIN trials t ON t.id = m.trial LEFT JOIN outcomes o ON o.trial = t.id
    WHERE m.sweep = ?1 AND m.place < ?2 AND m.removed = 0 ORDER BY m.place DESC";

fn add_neighbours(
    connection: &Connection,
    direction: &str,
    wish: &Wish,
    config: i64,
    keeper: &mut Keeper,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(direction)?;
    let mut rows = statement.query((wish.sweep, wish.place))?;
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(1)? != config {
            break;
        }
        if row.get::<_, Option<String>>(4)?.as_deref()
            == Some(text::of_kind(OutcomeKind::Completed))
        {
            keeper.add(read_completed(row)?);
        }
    }
    Ok(())
}

/// Hash, config, error and end.
fn read_completed(row: &Row<'_>) -> rusqlite::Result<Completed> {
    Ok(Completed {
        trial: TrialId(row.get::<_, i64>(0)?.cast_unsigned()),
        config: row.get(1)?,
        val_error: row.get(2)?,
        ended_unix_ms: row.get::<_, i64>(3)?.cast_unsigned(),
    })
}

/// All that a sweep keeps.
fn kept_of(connection: &Connection, sweep: i64, keep: Keep) -> rusqlite::Result<BTreeSet<TrialId>> {
    let mut keeper = Keeper::new(keep);
    if keep != Keep::None {
        let mut statement = connection.prepare_cached(
            "SELECT t.hash, t.config, o.val_error, o.ended_unix_ms FROM members m
             CROSS JOIN outcomes o ON o.trial = m.trial
             CROSS JOIN trials t ON t.id = m.trial
             WHERE m.sweep = ?1 AND m.removed = 0 AND o.kind = 'completed'",
        )?;
        let mut rows = statement.query([sweep])?;
        while let Some(row) = rows.next()? {
            keeper.add(read_completed(row)?);
        }
    }
    Ok(keeper.kept())
}

/// The best completed trial of a sweep that is among these, and how many better ones are not.
fn best_among(
    connection: &Connection,
    sweep: i64,
    trials: &BTreeSet<TrialId>,
) -> rusqlite::Result<(Option<TrialId>, u64)> {
    let mut statement = connection.prepare_cached(
        "SELECT t.hash FROM members m
         CROSS JOIN outcomes o ON o.trial = m.trial
         CROSS JOIN trials t ON t.id = m.trial
         WHERE m.sweep = ?1 AND m.removed = 0 AND o.kind = 'completed'
         ORDER BY o.val_error IS NULL, o.val_error, o.ended_unix_ms, t.hash",
    )?;
    let mut rows = statement.query([sweep])?;
    let mut passed_over = 0;
    while let Some(row) = rows.next()? {
        let trial = TrialId(row.get::<_, i64>(0)?.cast_unsigned());
        if trials.contains(&trial) {
            return Ok((Some(trial), passed_over));
        }
        passed_over += 1;
    }
    Ok((None, passed_over))
}
