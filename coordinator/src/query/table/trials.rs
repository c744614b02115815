//! The table by trial, in the order of expansion.

use common::config::Param;
use common::wire::{self, ColumnType, TableRequest};
use rusqlite::Row;

use super::repeated::Repeated;
use super::space::Points;
use super::{
    Parts, Sink, column, integer_cell, metric_column, number_cell, param_cell, param_column,
    text_cell,
};
use crate::query::sweeps::epochs_so_far;
use crate::query::{Known, KnownTrial, Metric, QueryError, Reader, history, trial};

/// Trials that are read at a time.
const PAGE_TRIALS: u32 = 500;

/// A member of a sweep.
pub struct Member {
    /// Place in the order of expansion.
    place: i64,
    /// Which trial it is.
    pub trial: KnownTrial,
    config: i64,
    seed: u64,
    attempts: u32,
    epochs_repeated: u64,
    state: String,
    is_removed: bool,
    /// By `Metric::ALL`.
    metrics: [Option<f64>; Metric::ALL.len()],
    /// By `PROVENANCE`; without values, parameters aside, where it has no outcome.
    provenance: [wire::Cell; PROVENANCE.len()],
}

/// Where a result is from: every parameter of its config, as a JSON object, and columns of the
/// store's table of outcomes.
const PROVENANCE: [(&str, ColumnType); 8] = [
    ("params", ColumnType::Text),
    ("program_version", ColumnType::Text),
    ("libtorch_version", ColumnType::Text),
    ("device", ColumnType::Text),
    ("precision", ColumnType::Text),
    ("cohort_size", ColumnType::Integer),
    ("threads", ColumnType::Integer),
    ("data_digest", ColumnType::Text),
];

/// What every row of a table of trials or epochs begins with.
pub struct Identity<'r> {
    reader: &'r Reader,
    sweep: &'r Known,
    removed: bool,
    params: Vec<Param>,
    points: Points,
}

impl<'r> Identity<'r> {
    /// Looks at the sweep's configs.
    pub fn new(
        reader: &'r Reader,
        sweep: &'r Known,
        removed: bool,
    ) -> Result<Identity<'r>, QueryError> {
        let _snapshot = reader.snapshot()?;
        let params = reader.survey(sweep, removed)?.varying;
        let points = reader.points(sweep, removed, &params)?;
        Ok(Identity { reader, sweep, removed, params, points })
    }

    /// Trial, the parameters that vary, seed; with removed trials, whether it is.
    pub fn columns(&self) -> Vec<wire::TableColumn> {
        let mut columns = vec![column("trial", ColumnType::Text)];
        columns.extend(self.params.iter().map(|param| param_column(*param)));
        columns.push(column("seed", ColumnType::Unsigned));
        if self.removed {
            columns.push(column("removed", ColumnType::Boolean));
        }
        columns
    }

    /// The cells of `columns`.
    pub fn cells(&mut self, member: &Member) -> Result<Vec<wire::Cell>, QueryError> {
        let mut cells = vec![text_cell(member.trial.id.to_string())];
        if !self.points.contains_key(&member.config) {
            // Added to the sweep since the table began.
            let point = self.reader.point(self.sweep, member.config, &self.params)?;
            self.points.insert(member.config, point);
        }
        cells.extend(self.points[&member.config].iter().map(|setting| param_cell(*setting)));
        cells.push(match i64::try_from(member.seed) {
            Ok(seed) => integer_cell(seed),
            Err(_) => text_cell(member.seed.to_string()),
        });
        if self.removed {
            cells.push(text_cell(if member.is_removed { "true" } else { "false" }));
        }
        Ok(cells)
    }

    /// The members after `last`, a page of them.
    pub fn page(
        &self,
        last: Option<&Member>,
        with_params: bool,
    ) -> Result<Vec<Member>, QueryError> {
        let after = last.map_or((-1, i64::MIN), |member| (member.place, member.trial.row));
        let snapshot = self.reader.snapshot()?;
        let metrics = Metric::ALL.map(|metric| format!("o.{}", metric.name())).join(", ");
        let provenance = PROVENANCE.map(|(name, _)| match name {
            // Long, and most tables have no place for it.
            "params" => "CASE WHEN ?6 THEN c.params END".into(),
            name => format!("o.{name}"),
        });
        let provenance = provenance.join(", ");
        let sql = format!(
            "SELECT m.place, m.trial, t.config, t.seed, t.attempts, t.state, m.removed, t.hash,
                {metrics}, {provenance}
             FROM members m JOIN trials t ON t.id = m.trial JOIN configs c ON c.id = t.config
                LEFT JOIN outcomes o ON o.trial = t.id
             WHERE m.sweep = ?1 AND (m.place, m.trial) > (?2, ?3) AND (?4 OR m.removed = 0)
             ORDER BY m.place, m.trial LIMIT ?5"
        );
        let wrong = self.reader.wrong("the trials");
        let mut statement = snapshot.prepare_cached(&sql).map_err(wrong)?;
        let mut rows = statement
            .query((self.sweep.id, after.0, after.1, self.removed, PAGE_TRIALS, with_params))
            .map_err(wrong)?;
        let mut page = Vec::new();
        while let Some(row) = rows.next().map_err(wrong)? {
            let mut member = member(row).map_err(wrong)?;
            let epochs = Metric::ALL.iter().position(|metric| *metric == Metric::Epochs);
            let epochs = &mut member.metrics[epochs.expect("one of all")];
            if epochs.is_none_or(|epochs| epochs == 0.0) && member.attempts > 0 {
                *epochs = Some(epochs_so_far(&snapshot, member.trial.row).map_err(wrong)?.into());
            }
            if member.attempts > 1 {
                let recorded = trial::recorded(&snapshot, member.trial).map_err(wrong)?;
                member.epochs_repeated = history::repeated(&recorded);
            }
            let seconds = Metric::ALL.iter().position(|metric| *metric == Metric::Seconds);
            let seconds = &mut member.metrics[seconds.expect("one of all")];
            if member.state == "failed" && *seconds == Some(0.0) {
                // Its trainer died with the count.
                *seconds = None;
            }
            page.push(member);
        }
        Ok(page)
    }
}

fn member(row: &Row<'_>) -> rusqlite::Result<Member> {
    let mut metrics = [None; Metric::ALL.len()];
    for (at, metric) in metrics.iter_mut().enumerate() {
        *metric = row.get(8 + at)?;
    }
    let mut provenance = PROVENANCE.map(|_| text_cell(""));
    for (at, (cell, (_, kind))) in provenance.iter_mut().zip(PROVENANCE).enumerate() {
        let at = 8 + Metric::ALL.len() + at;
        let known = match kind {
            ColumnType::Integer => row.get::<_, Option<i64>>(at)?.map(integer_cell),
            _ => row.get::<_, Option<String>>(at)?.map(text_cell),
        };
        *cell = known.unwrap_or_default();
    }
    Ok(Member {
        place: row.get(0)?,
        trial: KnownTrial::read(row, 1, 7)?,
        config: row.get(2)?,
        seed: row.get::<_, i64>(3)?.cast_unsigned(),
        attempts: row.get(4)?,
        epochs_repeated: 0,
        state: row.get(5)?,
        is_removed: row.get(6)?,
        metrics,
        provenance,
    })
}

impl Reader {
    pub(super) fn table_of_trials(
        &self,
        sweep: &Known,
        request: &TableRequest,
        sink: Sink,
    ) -> Result<(), QueryError> {
        let mut identity = Identity::new(self, sweep, request.removed)?;
        let mut columns = identity.columns();
        columns.push(column("state", ColumnType::Text));
        columns.extend(Metric::ALL.map(metric_column));
        let counts = ["attempts", "epochs_repeated"];
        columns.extend(counts.map(|name| column(name, ColumnType::Integer)));
        if request.provenance {
            columns.extend(PROVENANCE.map(|(name, kind)| column(name, kind)));
        }
        let mut parts = Parts::new(columns, "", sink);
        let mut repeated = Repeated::default();
        let mut page = identity.page(None, request.provenance)?;
        while let Some(last) = page.last() {
            let next = identity.page(Some(last), request.provenance)?;
            for member in &page {
                let mut cells = identity.cells(member)?;
                cells.push(text_cell(member.state.as_str()));
                for (metric, value) in Metric::ALL.into_iter().zip(member.metrics) {
                    cells.push(metric_cell(metric, value));
                }
                cells.push(integer_cell(member.attempts));
                cells.push(integer_cell(count(member.epochs_repeated)));
                if request.provenance {
                    cells.extend(member.provenance.iter().cloned());
                }
                repeated.add(member.epochs_repeated);
                if parts.row(cells).is_break() {
                    return Ok(());
                }
            }
            page = next;
        }
        parts.finish(repeated.of_table());
        Ok(())
    }
}

fn count(epochs: u64) -> i64 {
    i64::try_from(epochs).unwrap_or(i64::MAX)
}

fn metric_cell(metric: Metric, value: Option<f64>) -> wire::Cell {
    match value {
        #[expect(clippy::cast_possible_truncation, reason = "counts of at most 32 bits")]
        Some(count) if metric.is_count() => integer_cell(count as i64),
        Some(_) | None => number_cell(value),
    }
}
