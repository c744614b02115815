//! The table by config: mean and spread of a metric over seeds, in rows and columns by parameter.

use std::collections::{BTreeMap, HashMap};

use common::config::Param;
use common::wire::{self, ColumnType, TableRequest, cell};

use super::space::{self, Points, Setting, Survey};
use super::{
    Parts, Sink, column, integer_cell, metric, metric_column, named_params, param_cell,
    param_column,
};
use crate::query::group::{self, Ranked};
use crate::query::statistics::{self, Pivot, Place, pivot};
use crate::query::{Ended, Known, Metric, QueryError, Reader, Shown};

/// Columns of a table: its first part and each row stay under a message's size.
const COLUMNS_MAX: usize = 2_000;

/// What a request means for a sweep.
struct Layout {
    rows: Vec<Param>,
    columns: Vec<Param>,
    /// Varying parameters on neither axis that are no replicates: `best_by` chooses.
    choice: Vec<Param>,
    shown: Shown,
    best_by: Option<Metric>,
}

impl Reader {
    pub(super) fn table_of_configs(
        &self,
        sweep: &Known,
        request: &TableRequest,
        sink: Sink,
    ) -> Result<(), QueryError> {
        let snapshot = self.snapshot()?;
        let survey = self.survey(sweep, request.removed)?;
        let layout = self.layout(sweep, request, &survey)?;
        let mut params = layout.rows.clone();
        params.extend(&layout.columns);
        params.extend(&layout.choice);
        let points = self.points(sweep, request.removed, &params)?;
        let settings = ranked_settings(&params, &points);
        let groups = self.groups(sweep, request.removed, layout.metrics(), |config| {
            let point = &points[&config];
            let mut ranks = Vec::with_capacity(params.len());
            for (at, param) in params.iter().enumerate() {
                ranks.push(space::rank(*param, &settings[at], &point[at]));
            }
            Some(ranks.into())
        })?;
        let epochs_repeated = self.epochs_repeated(sweep, request.removed)?;
        drop(snapshot);
        send(&layout, &settings, &groups, epochs_repeated, sink)
    }

    fn layout(
        &self,
        sweep: &Known,
        request: &TableRequest,
        survey: &Survey,
    ) -> Result<Layout, QueryError> {
        let mut rows = named_params("--rows", &request.rows, survey)?;
        let mut columns = named_params("--columns", &request.columns, survey)?;
        let pool = named_params("--pool", &request.pool, survey)?;
        let mut metric_name = request.metric.clone();
        if columns.is_empty() || metric_name.is_empty() {
            let own = self.file(sweep)?.table;
            let taken = [pool.as_slice(), &rows].concat();
            let fits = |param: &Param| survey.has(*param) && !taken.contains(param);
            // A choice is asked for to leave parameters out of a table.
            if columns.is_empty() && (rows.is_empty() || request.best_by.is_empty()) {
                columns = own.columns.into_iter().filter(fits).collect();
                if rows.is_empty() {
                    rows = own.rows.into_iter().filter(fits).collect();
                }
            }
            if metric_name.is_empty() {
                metric_name = own.metric.unwrap_or_else(|| Metric::TestError.name().into());
            }
        }
        refuse_twice(&[("--rows", &rows), ("--columns", &columns), ("--pool", &pool)])?;
        let shown = metric("--metric", &metric_name, &Shown::ALL, Shown::name)?;
        let best_by = best_by(&request.best_by)?;
        let is_free = |param: &Param| !columns.contains(param) && !pool.contains(param);
        let free = survey.varying.iter().copied().filter(is_free);
        if rows.is_empty() {
            rows = free.collect();
            return Ok(Layout { rows, columns, choice: Vec::new(), shown, best_by });
        }
        let choice: Vec<Param> = free.filter(|param| !rows.contains(param)).collect();
        if !choice.is_empty() && best_by.is_none() {
            return Err(QueryError::NoAxis { params: choice });
        }
        Ok(Layout { rows, columns, choice, shown, best_by })
    }
}

fn best_by(name: &str) -> Result<Option<Metric>, QueryError> {
    if name.is_empty() {
        return Ok(None);
    }
    let choosing = Metric::ALL.into_iter().filter(|metric| metric.lower_is_better());
    metric("--best-by", name, &choosing.collect::<Vec<Metric>>(), Metric::name).map(Some)
}

fn refuse_twice(fields: &[(&'static str, &Vec<Param>)]) -> Result<(), QueryError> {
    for (at, (second, params)) in fields.iter().enumerate() {
        for (first, earlier) in &fields[..at] {
            if let Some(param) = params.iter().find(|param| earlier.contains(param)) {
                return Err(QueryError::TwoPlaces { param: *param, first, second });
            }
        }
    }
    Ok(())
}

/// By parameter, its settings in the order of the table.
fn ranked_settings(params: &[Param], points: &Points) -> Vec<Vec<Setting>> {
    let mut settings = Vec::with_capacity(params.len());
    for (at, param) in params.iter().enumerate() {
        settings.push(space::ranked(*param, points.values().map(|point| point[at])));
    }
    settings
}

fn send(
    layout: &Layout,
    settings: &[Vec<Setting>],
    groups: &[Ranked],
    epochs_repeated: Option<wire::EpochsRepeated>,
    sink: Sink,
) -> Result<(), QueryError> {
    let (row_count, column_count) = (layout.rows.len(), layout.columns.len());
    let mut places = Vec::with_capacity(groups.len());
    for (ranks, _) in groups {
        let (row, rest) = ranks.split_at(row_count);
        places.push(Place { row: row.into(), column: rest[..column_count].into() });
    }
    let pivot = pivot(&places);
    let columns_all = row_count + pivot.columns.len();
    if columns_all > COLUMNS_MAX {
        let columns_max = COLUMNS_MAX;
        return Err(QueryError::TooWide { columns: columns_all, columns_max });
    }
    let cells = cells(layout.shown, groups, &pivot);
    let mut head: Vec<wire::TableColumn> =
        layout.rows.iter().map(|param| param_column(*param)).collect();
    let of_metric = layout.shown.column();
    if column_count == 0 {
        head.push(of_metric);
    } else {
        let of_columns = &settings[row_count..row_count + column_count];
        for ranks in &pivot.columns {
            let pivoted = pivoted_column(&layout.columns, of_columns, ranks);
            head.push(wire::TableColumn { r#type: of_metric.r#type, ..pivoted });
        }
    }
    let mut parts = Parts::new(head, layout.shown.name(), sink);
    for (row, ranks) in pivot.rows.iter().enumerate() {
        let mut line: Vec<wire::Cell> = Vec::with_capacity(columns_all);
        for (at, rank) in ranks.iter().enumerate() {
            line.push(param_cell(settings[at][*rank]));
        }
        for column in 0..pivot.columns.len() {
            line.push(cells.get(&(row, column)).cloned().unwrap_or_default());
        }
        if parts.row(line).is_break() {
            return Ok(());
        }
    }
    parts.finish(epochs_repeated);
    Ok(())
}

impl Layout {
    /// The metric that is shown, and the one that chooses.
    fn metrics(&self) -> (Metric, Metric) {
        let shown = match self.shown {
            Shown::Metric(metric) => metric,
            // Counts need none: any will do.
            Shown::Count(_) => Metric::TestError,
        };
        (shown, self.best_by.unwrap_or(shown))
    }
}

impl Shown {
    fn column(self) -> wire::TableColumn {
        match self {
            Shown::Metric(metric) => metric_column(metric),
            Shown::Count(_) => column(self.name(), ColumnType::Integer),
        }
    }
}

/// The cells of a table by row and column.
type Cells = BTreeMap<(usize, usize), wire::Cell>;

fn cells(shown: Shown, groups: &[Ranked], pivot: &Pivot) -> Cells {
    let mut summaries: BTreeMap<(usize, usize), wire::Summary> = BTreeMap::new();
    let mut counts = Cells::new();
    for (at, candidates) in &pivot.cells {
        let (_, group) = &groups[group::chosen(groups, candidates)];
        let count = match shown {
            Shown::Metric(_) => {
                summaries.insert(*at, group.summary());
                continue;
            }
            Shown::Count(Ended::Completed) => group.completed,
            Shown::Count(Ended::Diverged) => group.diverged,
            Shown::Count(Ended::Failed) => group.failed,
        };
        counts.insert(*at, integer_cell(i64::try_from(count).unwrap_or(i64::MAX)));
    }
    if matches!(shown, Shown::Metric(metric) if metric.lower_is_better()) {
        mark_best(&mut summaries, pivot.rows.len(), pivot.columns.len());
    }
    counts.extend(
        summaries
            .into_iter()
            .map(|(at, summary)| (at, wire::Cell { value: Some(cell::Value::Summary(summary)) })),
    );
    counts
}

fn mark_best(cells: &mut BTreeMap<(usize, usize), wire::Summary>, rows: usize, columns: usize) {
    for column in 0..columns {
        let mean = |row| cells.get(&(row, column)).filter(|cell| cell.n > 0).map(|cell| cell.mean);
        let means: Vec<Option<f64>> = (0..rows).map(mean).collect();
        for (row, is_best) in statistics::lowest(&means).into_iter().enumerate() {
            if let Some(cell) = cells.get_mut(&(row, column)) {
                cell.best = is_best;
            }
        }
    }
}

fn pivoted_column(
    params: &[Param],
    settings: &[Vec<Setting>],
    ranks: &[usize],
) -> wire::TableColumn {
    let mut key = HashMap::new();
    let mut names = Vec::with_capacity(params.len());
    for (at, param) in params.iter().enumerate() {
        let setting = settings[at][ranks[at]];
        let value = setting.map_or(String::new(), |value| value.to_string());
        names.push(format!("{param}={value}"));
        key.insert(param.name().to_owned(), value);
    }
    wire::TableColumn { name: names.join(" "), key, ..wire::TableColumn::default() }
}
