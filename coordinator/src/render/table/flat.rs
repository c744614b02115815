//! A table with one value per field, for programs: a summary becomes a column per statistic. What
//! csv and parquet have in common.

use common::wire::{Cell, ColumnType, Summary, cell::Value};

use super::columns::{Column, Role};

/// The statistics of a summary, in the order of their columns.
const STATISTICS: [(&str, ColumnType); 10] = [
    ("mean", ColumnType::Number),
    ("std", ColumnType::Number),
    ("n", ColumnType::Integer),
    ("min", ColumnType::Number),
    ("max", ColumnType::Number),
    ("median", ColumnType::Number),
    ("diverged", ColumnType::Integer),
    ("failed", ColumnType::Integer),
    ("unfinished", ColumnType::Integer),
    ("best", ColumnType::Boolean),
];

/// A column with one value per row.
pub(super) struct FlatColumn {
    /// Unique in its table.
    pub name: String,
    /// What its values are.
    pub kind: ColumnType,
}

/// A value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Flat<'c> {
    /// No value: a parameter without effect, a cell without trials, a mean of none.
    None,
    /// A word, or digits.
    Text(&'c str),
    /// A number.
    Number(f64),
    /// A whole number.
    Integer(i64),
}

/// The columns of a table: `test_error_mean`, `test_error_std`, …; of a pivoted column
/// `test_error_mean[depth=2 tau=5]`.
pub(super) fn columns(columns: &[Column], metric: &str) -> Vec<FlatColumn> {
    let mut flat = Vec::new();
    for column in columns {
        match (column.role, column.pivot.is_empty()) {
            (Role::Key | Role::Value, true) => {
                flat.push(FlatColumn { name: column.name.clone(), kind: column.kind });
            }
            (Role::Key | Role::Value, false) => {
                let name = format!("{metric}[{}]", column.name);
                flat.push(FlatColumn { name, kind: column.kind });
            }
            (Role::Summary, is_alone) => {
                let key = if is_alone { String::new() } else { format!("[{}]", column.name) };
                for (statistic, kind) in STATISTICS {
                    flat.push(FlatColumn { name: format!("{metric}_{statistic}{key}"), kind });
                }
            }
        }
    }
    flat
}

/// The values of a row, in the order of `columns`.
pub(super) fn values<'c>(
    columns: &[Column],
    cells: &'c [Cell],
    mut each: impl FnMut(Flat<'c>) -> std::io::Result<()>,
) -> std::io::Result<()> {
    for (column, cell) in columns.iter().zip(cells) {
        match column.role {
            Role::Key | Role::Value => each(value(cell))?,
            Role::Summary => {
                for value in statistics(cell) {
                    each(value)?;
                }
            }
        }
    }
    Ok(())
}

fn value(cell: &Cell) -> Flat<'_> {
    match &cell.value {
        None => Flat::None,
        Some(Value::Text(text)) if text.is_empty() => Flat::None,
        Some(Value::Text(text)) => Flat::Text(text),
        Some(Value::Number(number)) => Flat::Number(*number),
        Some(Value::Integer(integer)) => Flat::Integer(*integer),
        Some(Value::Summary(summary)) => Flat::Number(summary.mean),
    }
}

fn statistics(cell: &Cell) -> [Flat<'static>; STATISTICS.len()] {
    let Some(Value::Summary(summary)) = &cell.value else {
        return STATISTICS.map(|_| Flat::None);
    };
    let Summary { n, mean, std, min, max, median, diverged, failed, unfinished, best } = *summary;
    let number = |value: f64| if n > 0 { Flat::Number(value) } else { Flat::None };
    let count = |count: u64| Flat::Integer(i64::try_from(count).unwrap_or(i64::MAX));
    [
        number(mean),
        std.map_or(Flat::None, Flat::Number),
        count(n),
        number(min),
        number(max),
        number(median),
        count(diverged),
        count(failed),
        count(unfinished),
        Flat::Text(if best { "true" } else { "false" }),
    ]
}
