//! Tables as json: an array of one object per row, fractions at full precision.

use std::io::{self, Write};

use common::wire::{Cell, Summary, TableRow, cell};
use serde_json::{Map, Value, json};

use super::columns::Column;
use super::table::check_row;

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
            let mut object = Map::new();
            for (column, cell) in self.columns.iter().zip(&row.cells) {
                object.insert(column.name.clone(), value(cell));
            }
            let separator = if self.is_empty { "[\n" } else { ",\n" };
            self.is_empty = false;
            out.write_all(separator.as_bytes())?;
            serde_json::to_writer(&mut *out, &Value::Object(object))?;
        }
        Ok(())
    }

    /// Closes the array.
    pub fn finish(self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(if self.is_empty { b"[]\n" } else { b"\n]\n" })
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
        Some(cell::Value::Summary(summary)) => of_summary(summary),
    }
}

fn of_summary(summary: &Summary) -> Value {
    let number = |value: f64| if summary.n > 0 { Value::from(value) } else { Value::Null };
    json!({
        "mean": number(summary.mean),
        "std": summary.std,
        "n": summary.n,
        "min": number(summary.min),
        "max": number(summary.max),
        "median": number(summary.median),
        "diverged": summary.diverged,
        "failed": summary.failed,
        "unfinished": summary.unfinished,
        "best": summary.best,
    })
}
