//! What the columns of a table are, from its first part.

use common::wire::{self, TablePart};

use super::number::Unit;

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
        let is_summary = of_configs && (is_metric || !column.key.is_empty());
        let is_key = of_configs || ["trial", "epoch"].contains(&column.name.as_str());
        let (role, unit) = match (is_summary, is_key) {
            (true, _) => (Role::Summary, Unit::of(&part.metric)),
            (false, true) => (Role::Key, Unit::of(&column.name)),
            (false, false) => (Role::Value, Unit::of(&column.name)),
        };
        if let Some(earlier) = columns.iter_mut().find(|earlier| earlier.name == column.name) {
            earlier.name = format!("param.{}", earlier.name);
        }
        columns.push(Column { name: column.name.clone(), pivot: pivot(column), role, unit });
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
