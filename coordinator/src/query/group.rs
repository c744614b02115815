//! The trials of a config, or of several that count as one: their metric and their states.

use std::collections::{BTreeMap, HashMap};

use common::wire;

use super::statistics::{self, Summary};
use super::{Known, Metric, QueryError, Reader};
use crate::store::text;

/// Trials that count as one cell.
#[derive(Clone, Default)]
pub struct Group {
    /// The metric that is shown, of completed trials that have it.
    pub values: Vec<f64>,
    /// The metric that chooses, likewise.
    pub choosing: Vec<f64>,
    /// Completed trials.
    pub completed: u64,
    /// Diverged trials.
    pub diverged: u64,
    /// Failed trials.
    pub failed: u64,
    unfinished: u64,
}

/// A group with the ranks that tell it from the others.
pub type Ranked = (Box<[usize]>, Group);

impl Group {
    fn add(&mut self, row: &rusqlite::Row<'_>) -> rusqlite::Result<()> {
        let state: String = row.get(1)?;
        match state.as_str() {
            "completed" => {
                self.completed += 1;
                self.values.extend(row.get::<_, Option<f64>>(2)?);
                self.choosing.extend(row.get::<_, Option<f64>>(3)?);
            }
            "diverged" => self.diverged += 1,
            "failed" => self.failed += 1,
            _ => {
                debug_assert!(
                    [text::PENDING, text::RUNNING, "cancelled"].contains(&state.as_str()),
                    "the schema checks states"
                );
                self.unfinished += 1;
            }
        }
        Ok(())
    }

    /// The metric that is shown.
    pub fn summary(&self) -> wire::Summary {
        self.summary_of(&self.values)
    }

    /// Any values, beside the counts of trials that have none.
    pub fn summary_of(&self, values: &[f64]) -> wire::Summary {
        let counts = wire::Summary {
            diverged: self.diverged,
            failed: self.failed,
            unfinished: self.unfinished,
            ..wire::Summary::default()
        };
        match statistics::summarise(values) {
            None => counts,
            Some(Summary { n, mean, std, min, max, median }) => {
                wire::Summary { n: n as u64, mean, std, min, max, median, ..counts }
            }
        }
    }
}

impl Reader {
    /// The trials by the ranks of their config, in the order of expansion; those of a config
    /// without ranks are left out. `metrics` are the one that is shown and the one that chooses.
    pub(super) fn groups(
        &self,
        sweep: &Known,
        removed: bool,
        (shown, choosing): (Metric, Metric),
        mut ranks: impl FnMut(i64) -> Option<Box<[usize]>>,
    ) -> Result<Vec<Ranked>, QueryError> {
        let wrong = self.wrong("the trials");
        let (shown, choosing) = (shown.name(), choosing.name());
        let sql = format!(
            "SELECT t.config, t.state, o.{shown}, o.{choosing}
             FROM members m JOIN trials t ON t.id = m.trial LEFT JOIN outcomes o ON o.trial = t.id
             WHERE m.sweep = ?1 AND (?2 OR m.removed = 0) ORDER BY m.place, m.trial"
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(wrong)?;
        let mut rows = statement.query((sweep.id, removed)).map_err(wrong)?;
        let mut of_config: HashMap<i64, Option<usize>> = HashMap::new();
        let mut of_ranks: BTreeMap<Box<[usize]>, usize> = BTreeMap::new();
        let mut groups: Vec<Ranked> = Vec::new();
        while let Some(row) = rows.next().map_err(wrong)? {
            let config = row.get(0).map_err(wrong)?;
            let at = *of_config.entry(config).or_insert_with(|| {
                let at = of_ranks.entry(ranks(config)?).or_insert_with_key(|ranks| {
                    groups.push((ranks.clone(), Group::default()));
                    groups.len() - 1
                });
                Some(*at)
            });
            if let Some(at) = at {
                groups[at].1.add(row).map_err(wrong)?;
            }
        }
        Ok(groups)
    }
}

/// Of several groups the one whose mean of the choosing metric is the lowest; the first of them
/// where they tie or none has a value. There is at least one candidate.
pub fn chosen(groups: &[Ranked], candidates: &[usize]) -> usize {
    let mut best: Option<(f64, usize)> = None;
    for candidate in candidates {
        let Some(summary) = statistics::summarise(&groups[*candidate].1.choosing) else {
            continue;
        };
        if best.is_none_or(|(least, _)| summary.mean < least) {
            best = Some((summary.mean, *candidate));
        }
    }
    best.map_or(candidates[0], |(_, candidate)| candidate)
}
