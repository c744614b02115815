//! The workers that the store knows.

use common::wire;

use super::{QueryError, Reader};
use crate::store::lock;

impl Reader {
    /// Every worker that ever attached, by id. Without a running coordinator all of them are
    /// lost. The store knows how many cohorts a worker runs and not in which of its slots: they
    /// are listed from the first slot on.
    pub fn workers(&self) -> Result<Vec<wire::Worker>, QueryError> {
        // A directory whose lock cannot be looked at (another user's) may well be in use.
        let is_served = !matches!(lock::owner(&self.state_dir), Ok(None));
        let snapshot = self.snapshot()?;
        let wrong = self.wrong("the workers");
        let mut statement = snapshot
            .prepare_cached(
                "SELECT id, host, program_version, libtorch_version, slots, data_digests,
                    draining, attached, last_seen_unix_ms
                 FROM workers ORDER BY id",
            )
            .map_err(wrong)?;
        let mut cohorts = snapshot
            .prepare_cached(
                "SELECT cohort, count(*) FROM attempts WHERE worker = ? AND ended IS NULL
                 GROUP BY cohort",
            )
            .map_err(wrong)?;
        let mut found = Vec::new();
        let mut rows = statement.query(()).map_err(wrong)?;
        while let Some(row) = rows.next().map_err(wrong)? {
            let mut worker = worker(row, is_served).map_err(wrong)?;
            let running = cohorts
                .query_map([&worker.worker], |row| Ok((row.get(0)?, row.get(1)?)))
                .and_then(Iterator::collect::<rusqlite::Result<Vec<(i64, u32)>>>)
                .map_err(wrong)?;
            if is_served {
                for (slot, (cohort, attempts)) in worker.slots.iter_mut().zip(running) {
                    slot.state = "busy".into();
                    slot.cohort = cohort.cast_unsigned();
                    slot.attempts = attempts;
                }
            }
            found.push(worker);
        }
        Ok(found)
    }
}

fn worker(row: &rusqlite::Row<'_>, is_served: bool) -> rusqlite::Result<wire::Worker> {
    let json = |at: usize| -> rusqlite::Result<serde_json::Value> {
        let text: String = row.get(at)?;
        serde_json::from_str(&text).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, error.into())
        })
    };
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let slot = |device: &serde_json::Value| wire::WorkerSlot {
        device: text(device),
        state: "free".into(),
        cohort: 0,
        attempts: 0,
    };
    let (draining, attached): (bool, bool) = (row.get(6)?, row.get(7)?);
    let (state, reason) = match (is_served, attached, draining) {
        (false, ..) => ("lost", "no coordinator runs on this state directory"),
        (true, false, _) => ("lost", ""),
        (true, true, true) => ("draining", "it drains and takes no more cohorts"),
        (true, true, false) => ("connected", ""),
    };
    let digests = json(5)?;
    let digests = digests.as_object().into_iter().flatten();
    Ok(wire::Worker {
        worker: row.get(0)?,
        host: row.get(1)?,
        state: state.into(),
        slots: json(4)?.as_array().into_iter().flatten().map(slot).collect(),
        program_version: row.get(2)?,
        libtorch_version: row.get(3)?,
        data_digests: digests.map(|(data, digest)| (data.clone(), text(digest))).collect(),
        last_seen_unix_ms: row.get::<_, i64>(8)?.cast_unsigned(),
        reason: reason.into(),
        gpus: Vec::new(),
    })
}
