//! Tables as csv: fractions at full precision, one column per statistic of a summary.

use std::io::{self, Write};

use common::wire::{Cell, Summary, TableRow, cell::Value};

use super::columns::{Column, Role};
use super::table::check_row;

/// The statistics of a summary, in the order of their columns.
const STATISTICS: [&str; 9] =
    ["mean", "std", "n", "min", "max", "median", "diverged", "failed", "unfinished"];

/// A table whose header is written.
pub(super) struct CsvTable {
    columns: Vec<Column>,
}

impl CsvTable {
    /// Writes the header: `test_error_mean`, `test_error_std`, …; of a pivoted column
    /// `test_error_mean[depth=2 tau=5]`.
    pub fn start(columns: Vec<Column>, metric: &str, out: &mut dyn Write) -> io::Result<CsvTable> {
        let mut header = Vec::new();
        for column in &columns {
            match (column.role, column.pivot.is_empty()) {
                (Role::Key | Role::Value, _) => header.push(column.name.clone()),
                (Role::Summary, true) => {
                    header.extend(STATISTICS.map(|name| format!("{metric}_{name}")));
                }
                (Role::Summary, false) => {
                    let key = &column.name;
                    header.extend(STATISTICS.map(|name| format!("{metric}_{name}[{key}]")));
                }
            }
        }
        if !header.is_empty() {
            writer(out).write_record(&header)?;
        }
        Ok(CsvTable { columns })
    }

    /// Writes rows.
    pub fn rows(&mut self, rows: &[TableRow], out: &mut dyn Write) -> io::Result<()> {
        let mut writer = writer(out);
        for row in rows {
            check_row(&self.columns, row.cells.len())?;
            for (column, cell) in self.columns.iter().zip(&row.cells) {
                match column.role {
                    Role::Key | Role::Value => writer.write_field(value(cell))?,
                    Role::Summary => {
                        for field in statistics(cell) {
                            writer.write_field(field)?;
                        }
                    }
                }
            }
            writer.write_record(None::<&[u8]>)?;
        }
        writer.flush()
    }
}

fn writer(out: &mut dyn Write) -> csv::Writer<&mut dyn Write> {
    csv::Writer::from_writer(out)
}

fn value(cell: &Cell) -> String {
    match &cell.value {
        None => String::new(),
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Integer(integer)) => integer.to_string(),
        Some(Value::Summary(summary)) => summary.mean.to_string(),
    }
}

/// Empty fields where there is no such number: a cell without trials, a mean of none.
fn statistics(cell: &Cell) -> [String; STATISTICS.len()] {
    let Some(Value::Summary(summary)) = &cell.value else {
        return STATISTICS.map(|_| String::new());
    };
    let Summary { n, mean, std, min, max, median, diverged, failed, unfinished, best: _ } = summary;
    let number = |value: f64| if *n > 0 { value.to_string() } else { String::new() };
    [
        number(*mean),
        std.map_or(String::new(), |std| std.to_string()),
        n.to_string(),
        number(*min),
        number(*max),
        number(*median),
        diverged.to_string(),
        failed.to_string(),
        unfinished.to_string(),
    ]
}
