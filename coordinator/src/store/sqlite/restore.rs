//! Reads the whole store back as the scheduler's first events.

use std::collections::HashMap;
use std::mem;
use std::path::Path;
use std::sync::Arc;

use common::config::Config;
use common::ids::{CohortId, SweepName, TrialId, WorkerId};
use rusqlite::{Connection, Row, Statement};
use scheduler::Event;
use scheduler::event::{StoredState, StoredTrial, SweepHeader, Trial};

use crate::store::{RESTORE_ROWS_MAX, StoreError, text};

type Sink<'s> = &'s mut dyn FnMut(Event);

/// Sends everything, in one snapshot.
pub fn run(connection: &mut Connection, path: &Path, sink: Sink) -> Result<(), StoreError> {
    connection
        .execute("UPDATE workers SET attached = 0 WHERE attached = 1", ())
        .map_err(|source| StoreError::open("write to", path, source))?;
    let snapshot =
        connection.transaction().map_err(|source| StoreError::read("the sweeps", path, source))?;
    let sweeps = sweeps(&snapshot, path, sink)?;
    trials(&snapshot, path, sink)?;
    for (id, name) in &sweeps {
        members(&snapshot, path, *id, name, sink)?;
    }
    let cohort_max = snapshot
        .query_row("SELECT coalesce(max(cohort), 0) FROM attempts", (), |row| row.get(0))
        .map(|max: i64| CohortId(max.cast_unsigned()))
        .map_err(|source| StoreError::read("the attempts", path, source))?;
    sink(Event::Restored { cohort_max });
    Ok(())
}

/// Sweeps whose expansion was cut off.
pub fn unexpanded(connection: &Connection, path: &Path) -> Result<Vec<SweepName>, StoreError> {
    let wrong = |source| StoreError::read("the sweeps", path, source);
    let mut names = Vec::new();
    let mut statement = connection
        .prepare("SELECT name FROM sweeps WHERE expanded = 0 ORDER BY id")
        .map_err(wrong)?;
    let mut rows = statement.query(()).map_err(wrong)?;
    while let Some(row) = rows.next().map_err(wrong)? {
        let name: String = row.get(0).map_err(wrong)?;
        names.push(name.parse().map_err(|source| content(path, "a sweep's name", source))?);
    }
    Ok(names)
}

fn content(
    path: &Path,
    what: impl Into<String>,
    source: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::Content { path: path.into(), what: what.into(), source: Some(Box::new(source)) }
}

fn impossible(path: &Path, what: impl Into<String>) -> StoreError {
    StoreError::Content { path: path.into(), what: what.into(), source: None }
}

fn sweeps(
    snapshot: &Connection,
    path: &Path,
    sink: Sink,
) -> Result<Vec<(i64, SweepName)>, StoreError> {
    let wrong = |source| StoreError::read("the sweeps", path, source);
    let mut found = Vec::new();
    let mut statement = snapshot
        .prepare(
            "SELECT name, yaml, model, data, fusion, priority, failures_max, slot_seconds_max,
                data_digest, id, expanded, completed_unix_ms IS NOT NULL, same_error_max, hold
             FROM sweeps ORDER BY id",
        )
        .map_err(wrong)?;
    let mut rows = statement.query(()).map_err(wrong)?;
    while let Some(row) = rows.next().map_err(wrong)? {
        let texts = |at| row.get::<_, String>(at).map_err(wrong);
        let name = texts(0)?;
        let header = SweepHeader {
            name: name.parse().map_err(|source| content(path, "a sweep's name", source))?,
            yaml: texts(1)?,
            model: text::model(&texts(2)?)
                .ok_or_else(|| impossible(path, format!("a model of sweep `{name}`")))?,
            data: text::data(&texts(3)?)
                .ok_or_else(|| impossible(path, format!("a data set of sweep `{name}`")))?,
            fusion: text::fusion(&texts(4)?)
                .ok_or_else(|| impossible(path, format!("a fusion of sweep `{name}`")))?,
            priority: row.get(5).map_err(wrong)?,
            failures_max: row.get::<_, Option<i64>>(6).map_err(wrong)?.map(i64::cast_unsigned),
            slot_seconds_max: row.get(7).map_err(wrong)?,
            same_error_max: row.get::<_, Option<i64>>(12).map_err(wrong)?.map(i64::cast_unsigned),
            data_digest: row.get(8).map_err(wrong)?,
        };
        let hold: Option<String> = row.get(13).map_err(wrong)?;
        let id = row.get(9).map_err(wrong)?;
        let standing = Event::SweepStandingRestored {
            sweep: header.name.clone(),
            expanded: row.get(10).map_err(wrong)?,
            completed: row.get(11).map_err(wrong)?,
            hold: match hold {
                Some(hold) => Some(
                    text::hold(&hold)
                        .ok_or_else(|| impossible(path, format!("a hold of sweep `{name}`")))?,
                ),
                None => None,
            },
            slot_seconds: match header.slot_seconds_max {
                Some(_) => slot_seconds(snapshot, id).map_err(wrong)?,
                None => 0.0,
            },
        };
        found.push((id, header.name.clone()));
        sink(Event::SweepRestored(header));
        sink(standing);
    }
    Ok(found)
}

/// What a sweep used of its budget: a cohort's members share the seconds of its slot.
fn slot_seconds(snapshot: &Connection, sweep: i64) -> rusqlite::Result<f64> {
    snapshot.query_row(
        "WITH sizes AS MATERIALIZED (
            SELECT DISTINCT a.cohort, a.cohort_size
            FROM members m JOIN attempts a ON a.trial = m.trial WHERE m.sweep = ?1
         )
         SELECT total(e.seconds / s.cohort_size)
         FROM sizes s CROSS JOIN epochs e ON e.cohort = s.cohort
         JOIN members m ON m.sweep = ?1 AND m.trial = e.trial
         WHERE m.removed = 0 AND e.seconds >= 0 AND e.seconds < 9e999",
        [sweep],
        |row| row.get(0),
    )
}

fn configs(snapshot: &Connection, path: &Path) -> Result<HashMap<i64, Arc<Config>>, StoreError> {
    let wrong = |source| StoreError::read("the configs", path, source);
    let mut found = HashMap::new();
    let mut statement =
        snapshot.prepare("SELECT id, model, data, params, hash FROM configs").map_err(wrong)?;
    let mut rows = statement.query(()).map_err(wrong)?;
    while let Some(row) = rows.next().map_err(wrong)? {
        let id: i64 = row.get(0).map_err(wrong)?;
        let texts = |at| row.get_ref(at).and_then(|value| Ok(value.as_str()?)).map_err(wrong);
        let config = Config::from_stored(texts(1)?, texts(2)?, texts(3)?).map_err(|source| {
            let hash = row.get(4).map_or(0, i64::cast_unsigned);
            content(path, format!("a config ({hash:016x})"), source)
        })?;
        found.insert(id, Arc::new(config));
    }
    Ok(found)
}

fn trials(snapshot: &Connection, path: &Path, sink: Sink) -> Result<(), StoreError> {
    let wrong = |source| StoreError::read("the trials", path, source);
    let configs = configs(snapshot, path)?;
    let mut statement = snapshot
        .prepare(
            "SELECT t.id, t.config, t.seed, t.state, t.attempts, t.deaths, t.cohort_size_max,
                o.attempt, o.val_error, a.worker, a.cohort, t.fenced, t.hash
             FROM trials t LEFT JOIN outcomes o ON o.trial = t.id
             LEFT JOIN attempts a
                ON t.state = 'running' AND a.trial = t.id AND a.number = t.attempts
             ORDER BY t.id",
        )
        .map_err(wrong)?;
    let mut latest = snapshot.prepare(LATEST_EPOCH).map_err(wrong)?;
    let mut rows = statement.query(()).map_err(wrong)?;
    let mut page = Vec::new();
    while let Some(row) = rows.next().map_err(wrong)? {
        page.push(trial(&mut latest, path, row, &configs)?);
        if page.len() == RESTORE_ROWS_MAX {
            sink(Event::TrialsRestored(mem::take(&mut page)));
        }
    }
    if !page.is_empty() {
        sink(Event::TrialsRestored(page));
    }
    Ok(())
}

fn trial(
    latest: &mut Statement<'_>,
    path: &Path,
    row: &Row<'_>,
    configs: &HashMap<i64, Arc<Config>>,
) -> Result<StoredTrial, StoreError> {
    let wrong = |source| StoreError::read("the trials", path, source);
    let hash: i64 = row.get(12).map_err(wrong)?;
    let id = TrialId(hash.cast_unsigned());
    let config = configs
        .get(&row.get(1).map_err(wrong)?)
        .ok_or_else(|| impossible(path, format!("a trial ({id}) without config")))?;
    let attempts: u32 = row.get(4).map_err(wrong)?;
    let outcome_attempt: Option<u32> = row.get(7).map_err(wrong)?;
    let latest = match attempts {
        0 => Latest::default(),
        _ => latest_epoch(latest, row.get(0).map_err(wrong)?).map_err(wrong)?,
    };
    let val_error = match outcome_attempt {
        Some(_) => row.get(8).map_err(wrong)?,
        None => latest.val_error,
    };
    let seed: i64 = row.get(2).map_err(wrong)?;
    Ok(StoredTrial {
        trial: Trial { id, config: Arc::clone(config), seed: seed.cast_unsigned() },
        attempts,
        deaths: row.get(5).map_err(wrong)?,
        cohort_size_max: row.get(6).map_err(wrong)?,
        is_fenced: row.get(11).map_err(wrong)?,
        epochs: latest.epoch,
        attempt_epoch: if latest.attempt == attempts { latest.epoch } else { 0 },
        val_error,
        state: state(path, row, id)?,
    })
}

fn state(path: &Path, row: &Row<'_>, id: TrialId) -> Result<StoredState, StoreError> {
    let wrong = |source| StoreError::read("the trials", path, source);
    let word: String = row.get(3).map_err(wrong)?;
    if word == text::PENDING {
        return Ok(StoredState::Pending);
    }
    if word != text::RUNNING {
        let kind = text::kind(&word)
            .ok_or_else(|| impossible(path, format!("a state of trial {id} (`{word}`)")))?;
        return Ok(StoredState::Ended(kind));
    }
    let worker: Option<String> = row.get(9).map_err(wrong)?;
    let cohort: Option<i64> = row.get(10).map_err(wrong)?;
    let (Some(worker), Some(cohort)) = (worker, cohort) else {
        return Err(impossible(path, format!("a running trial ({id}) without attempt")));
    };
    let worker: WorkerId =
        worker.parse().map_err(|source| content(path, "a worker's id", source))?;
    Ok(StoredState::Running { worker, cohort: CohortId(cohort.cast_unsigned()) })
}

/// The last epoch of a trial's history, of the last attempt that has any; zeros where none has.
/// History is contiguous from 1, so its number is the history's length.
#[derive(Default)]
struct Latest {
    attempt: u32,
    epoch: u32,
    val_error: Option<f64>,
}

const LATEST_EPOCH: &str = "SELECT r.attempt, e.epoch, e.val_error FROM recorded r
    JOIN epochs e ON e.cohort = r.cohort AND e.epoch = r.last AND e.trial = r.trial
        AND e.attempt = r.attempt
    WHERE r.trial = ? ORDER BY r.attempt DESC LIMIT 1";

fn latest_epoch(statement: &mut Statement<'_>, trial: i64) -> rusqlite::Result<Latest> {
    let mut rows = statement.query([trial])?;
    let Some(row) = rows.next()? else { return Ok(Latest::default()) };
    Ok(Latest { attempt: row.get(0)?, epoch: row.get(1)?, val_error: row.get(2)? })
}

fn members(
    snapshot: &Connection,
    path: &Path,
    sweep: i64,
    name: &SweepName,
    sink: Sink,
) -> Result<(), StoreError> {
    let wrong = |source| StoreError::read("the members", path, source);
    // Read as they lie and sorted here: the index by place would look up every row elsewhere.
    let mut statement = snapshot
        .prepare_cached(
            "SELECT m.place, t.hash, m.removed FROM members m JOIN trials t ON t.id = m.trial
             WHERE m.sweep = ? ORDER BY m.trial",
        )
        .map_err(wrong)?;
    let mut rows = statement.query([sweep]).map_err(wrong)?;
    let mut members: Vec<(i64, i64, bool)> = Vec::new();
    while let Some(row) = rows.next().map_err(wrong)? {
        let place = row.get(0).map_err(wrong)?;
        members.push((place, row.get(1).map_err(wrong)?, row.get(2).map_err(wrong)?));
    }
    members.sort_unstable();
    for page in members.chunks(RESTORE_ROWS_MAX) {
        let trial =
            |(_, trial, removed): &(i64, i64, bool)| (TrialId(trial.cast_unsigned()), *removed);
        sink(Event::MembersRestored(name.clone(), page.iter().map(trial).collect()));
    }
    Ok(())
}
