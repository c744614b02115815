//! What the columns of a table are, from its first part.

use std::io;

use common::wire::{self, ColumnType, TablePart};

use crate::query::Metric;
use crate::render::number::Unit;

/// What a column is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// Names the row; repeated where a table is shown in blocks.
    Key,
    /// One value per row.
    Value,
    /// A metric over the trials of a config.
    Summary,
}

/// A column of a table.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Column {
    /// Unique in its table.
    pub name: String,
    /// Parameters and values that a pivoted column stands for, in the order of the request.
    pub pivot: Vec<(String, String)>,
    /// What it is for.
    pub role: Role,
    /// What its numbers are.
    pub unit: Unit,
    /// What its values are, those of summaries aside.
    pub kind: ColumnType,
}

/// The columns of a table whose first part this is.
///
/// A parameter may be named like a metric (`epochs`, `lr`); then the parameter's column, which
/// comes first, is named `param.epochs`.
pub(super) fn of(part: &TablePart) -> Vec<Column> {
    let of_configs = !part.metric.is_empty();
    let last = part.columns.len().saturating_sub(1);
    let mut columns: Vec<Column> = Vec::with_capacity(part.columns.len());
    for (at, column) in part.columns.iter().enumerate() {
        let is_metric = at == last && column.name == part.metric;
        let of_metric = of_configs && (is_metric || !column.key.is_empty());
        // Counts of trials are values as they are.
        let is_summary = of_metric && Metric::ALL.iter().any(|it| it.name() == part.metric);
        let is_key = of_configs && !of_metric || ["trial", "epoch"].contains(&column.name.as_str());
        let (role, unit) = match (is_summary, is_key) {
            (true, _) => (Role::Summary, Unit::of(&part.metric)),
            (false, false) if of_metric => (Role::Value, Unit::Count),
            (false, true) => (Role::Key, Unit::of(&column.name)),
            (false, false) => (Role::Value, Unit::of(&column.name)),
        };
        if let Some(earlier) = columns.iter_mut().find(|earlier| earlier.name == column.name) {
            earlier.name = format!("param.{}", earlier.name);
        }
        let (name, kind) = (column.name.clone(), column.r#type());
        columns.push(Column { name, pivot: pivot(column), role, unit, kind });
    }
    columns
}

/// The column's name has the order of the parameters, its key their values.
fn pivot(column: &wire::TableColumn) -> Vec<(String, String)> {
    let mut pivot: Vec<(String, String)> = Vec::with_capacity(column.key.len());
    for (param, value) in &column.key {
        pivot.push((param.clone(), value.clone()));
    }
    let place = |param: &str| {
        let names = column.name.split(' ').map(|part| part.split_once('=').map_or(part, |it| it.0));
        names.into_iter().position(|name| name == param)
    };
    pivot.sort_by(|a, b| place(&a.0).cmp(&place(&b.0)).then_with(|| a.0.cmp(&b.0)));
    pivot
}

/// A row of another length than the header would put values under wrong names.
pub(super) fn check_row(columns: &[Column], cells: usize) -> io::Result<()> {
    if cells == columns.len() {
        return Ok(());
    }
    let text = format!("a row of {cells} cells in a table of {} columns", columns.len());
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}
