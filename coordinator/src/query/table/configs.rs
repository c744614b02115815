//! The table by config: mean and spread of a metric over seeds, in rows and columns by parameter.

use std::collections::{BTreeMap, HashMap};

use common::config::Param;
use common::wire::{self, TableRequest, cell};

use super::space::{self, Points, Setting, Survey};
use super::{Parts, Sink, column, metric, param_cell, params};
use crate::query::group::{self, Ranked};
use crate::query::statistics::{self, Place, pivot};
use crate::query::{Known, Metric, QueryError, Reader};

/// Columns of a table: its first part and each row stay under a message's size.
const COLUMNS_MAX: usize = 2_000;

/// What a request means for a sweep.
struct Layout {
    rows: Vec<Param>,
    columns: Vec<Param>,
    /// Varying parameters on neither axis that are no replicates: `best_by` chooses.
    choice: Vec<Param>,
    metric: Metric,
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
        let metrics = (layout.metric, layout.best_by.unwrap_or(layout.metric));
        let groups = self.groups(sweep, request.removed, metrics, |config| {
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
        let mut rows = params("--rows", &request.rows, survey)?;
        let mut columns = params("--columns", &request.columns, survey)?;
        let pool = params("--pool", &request.pool, survey)?;
        let mut metric_name = request.metric.clone();
        let axes_are_given = !rows.is_empty() || !columns.is_empty();
        if !axes_are_given || metric_name.is_empty() {
            let own = self.file(sweep)?.table;
            if !axes_are_given {
                let fits = |param: &Param| survey.has(*param) && !pool.contains(param);
                rows = own.rows.into_iter().filter(fits).collect();
                columns = own.columns.into_iter().filter(fits).collect();
            }
            if metric_name.is_empty() {
                metric_name = own.metric.unwrap_or_else(|| Metric::TestError.name().into());
            }
        }
        refuse_twice(&[("--rows", &rows), ("--columns", &columns), ("--pool", &pool)])?;
        let metric = metric("--metric", &metric_name, &Metric::ALL)?;
        let best_by = best_by(&request.best_by)?;
        let is_free = |param: &Param| !columns.contains(param) && !pool.contains(param);
        let free = survey.varying.iter().copied().filter(is_free);
        if rows.is_empty() {
            rows = free.collect();
            return Ok(Layout { rows, columns, choice: Vec::new(), metric, best_by });
        }
        let choice: Vec<Param> = free.filter(|param| !rows.contains(param)).collect();
        if !choice.is_empty() && best_by.is_none() {
            return Err(QueryError::NoAxis { params: choice });
        }
        Ok(Layout { rows, columns, choice, metric, best_by })
    }
}

fn best_by(name: &str) -> Result<Option<Metric>, QueryError> {
    if name.is_empty() {
        return Ok(None);
    }
    let choosing = Metric::ALL.into_iter().filter(|metric| metric.lower_is_better());
    metric("--best-by", name, &choosing.collect::<Vec<Metric>>()).map(Some)
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
    let mut cells: BTreeMap<(usize, usize), wire::Summary> = BTreeMap::new();
    for (at, candidates) in &pivot.cells {
        let chosen = group::chosen(groups, candidates);
        cells.insert(*at, groups[chosen].1.summary());
    }
    if layout.metric.lower_is_better() {
        mark_best(&mut cells, pivot.rows.len(), pivot.columns.len());
    }
    let mut head: Vec<wire::TableColumn> =
        layout.rows.iter().map(|param| column(param.name())).collect();
    if column_count == 0 {
        head.push(column(layout.metric.name()));
    } else {
        let of_columns = &settings[row_count..row_count + column_count];
        for ranks in &pivot.columns {
            head.push(pivoted_column(&layout.columns, of_columns, ranks));
        }
    }
    let mut parts = Parts::new(head, layout.metric.name(), sink);
    for (row, ranks) in pivot.rows.iter().enumerate() {
        let mut line: Vec<wire::Cell> = Vec::with_capacity(columns_all);
        for (at, rank) in ranks.iter().enumerate() {
            line.push(param_cell(settings[at][*rank]));
        }
        for column in 0..pivot.columns.len() {
            let value = cells.get(&(row, column)).copied().map(cell::Value::Summary);
            line.push(wire::Cell { value });
        }
        if parts.row(line).is_break() {
            return Ok(());
        }
    }
    parts.finish(epochs_repeated);
    Ok(())
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
    wire::TableColumn { name: names.join(" "), key }
}
