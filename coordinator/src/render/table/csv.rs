//! Tables as csv: fractions at full precision, one column per statistic of a summary.

use std::io::{self, Write};

use common::wire::TableRow;

use super::columns::{Column, check_row};
use super::flat::{self, Flat};

/// A table whose header is written.
pub(super) struct CsvTable {
    columns: Vec<Column>,
}

impl CsvTable {
    /// Writes the header.
    pub fn start(columns: Vec<Column>, metric: &str, out: &mut dyn Write) -> io::Result<CsvTable> {
        let header = flat::columns(&columns, metric);
        if !header.is_empty() {
            writer(out).write_record(header.iter().map(|column| &column.name))?;
        }
        Ok(CsvTable { columns })
    }

    /// Writes rows.
    pub fn rows(&mut self, rows: &[TableRow], out: &mut dyn Write) -> io::Result<()> {
        let mut writer = writer(out);
        for row in rows {
            check_row(&self.columns, row.cells.len())?;
            flat::values(&self.columns, &row.cells, |value| {
                let written = match value {
                    Flat::None => writer.write_field(""),
                    Flat::Text(text) => writer.write_field(text),
                    Flat::Number(number) => writer.write_field(number.to_string()),
                    Flat::Integer(integer) => writer.write_field(integer.to_string()),
                };
                Ok(written?)
            })?;
            writer.write_record(None::<&[u8]>)?;
        }
        writer.flush()
    }
}

fn writer(out: &mut dyn Write) -> csv::Writer<&mut dyn Write> {
    csv::Writer::from_writer(out)
}
