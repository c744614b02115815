//! Tables as json: an array of one object per row, fractions at full precision.

use std::io::{self, Write};

use common::wire::{Cell, Summary, TableRow, cell};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::columns::{Column, check_row};

/// A table of which some rows may be written.
pub(super) struct JsonTable {
    columns: Vec<Column>,
    is_empty: bool,
}

impl JsonTable {
    /// Before the first row.
    pub fn new(columns: Vec<Column>) -> JsonTable {
        JsonTable { columns, is_empty: true }
    }

    /// Writes rows, one line each.
    pub fn rows(&mut self, rows: &[TableRow], out: &mut dyn Write) -> io::Result<()> {
        for row in rows {
            check_row(&self.columns, row.cells.len())?;
            out.write_all(if self.is_empty { b"[\n" } else { b",\n" })?;
            self.is_empty = false;
            serde_json::to_writer(&mut *out, &Row { columns: &self.columns, cells: &row.cells })?;
        }
        Ok(())
    }

    /// Closes the array.
    pub fn finish(self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(if self.is_empty { b"[]\n" } else { b"\n]\n" })
    }
}

/// An object whose keys are in the order of the columns.
struct Row<'t> {
    columns: &'t [Column],
    cells: &'t [Cell],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.columns.len()))?;
        for (column, cell) in self.columns.iter().zip(self.cells) {
            if let Some(cell::Value::Summary(summary)) = &cell.value {
                object.serialize_entry(&column.name, &Statistics::of(summary))?;
            } else {
                object.serialize_entry(&column.name, &value(cell))?;
            }
        }
        object.end()
    }
}

/// An empty text stands for a parameter without effect or a metric that there is not.
fn value(cell: &Cell) -> Value {
    match &cell.value {
        None => Value::Null,
        Some(cell::Value::Text(text)) => match text.as_str() {
            "" => Value::Null,
            "true" => true.into(),
            "false" => false.into(),
            text => text.into(),
        },
        Some(cell::Value::Number(number)) => (*number).into(),
        Some(cell::Value::Integer(integer)) => (*integer).into(),
        Some(cell::Value::Summary(summary)) => summary.mean.into(),
    }
}

/// A summary; numbers of no trials are null.
#[derive(Serialize)]
struct Statistics {
    mean: Option<f64>,
    std: Option<f64>,
    n: u64,
    min: Option<f64>,
    max: Option<f64>,
    median: Option<f64>,
    diverged: u64,
    failed: u64,
    unfinished: u64,
    best: bool,
}

impl Statistics {
    fn of(summary: &Summary) -> Statistics {
        let Summary { n, mean, std, min, max, median, diverged, failed, unfinished, best } =
            *summary;
        let number = |value: f64| (n > 0).then_some(value);
        Statistics {
            mean: number(mean),
            std,
            n,
            min: number(min),
            max: number(max),
            median: number(median),
            diverged,
            failed,
            unfinished,
            best,
        }
    }
}
