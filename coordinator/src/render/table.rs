//! Tables of a sweep: parts come in, rows go out in one of three formats.

use std::io::{self, Write};

use common::wire::{Expectation, Sweep, TablePart, TrialCounts};

use super::columns::{self, Column};
use super::expect::expectations;
use super::style::Style;
use super::table_csv::CsvTable;
use super::table_json::JsonTable;
use super::table_text::TextTable;

/// How a table is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for reading; errors in percent
    #[default]
    Text,
    /// A header and one line per row; errors as fractions
    Csv,
    /// An array of one object per row; errors as fractions
    Json,
}

/// A table on its way out. Rows are written as they come; text holds a page of them.
pub struct TableWriter<'w> {
    out: &'w mut dyn Write,
    format: Format,
    style: Style,
    body: Option<Body>,
}

enum Body {
    Text(TextTable),
    Csv(CsvTable),
    Json(JsonTable),
}

impl<'w> TableWriter<'w> {
    /// A table in a format; `style` is for text.
    pub fn new(format: Format, style: Style, out: &'w mut dyn Write) -> TableWriter<'w> {
        TableWriter { out, format, style, body: None }
    }

    /// The next part; the first one has the columns.
    ///
    /// Fails where the output does, and with `InvalidData` where a row does not fit the columns.
    pub fn part(&mut self, part: TablePart) -> io::Result<()> {
        let mut body = match self.body.take() {
            Some(body) => body,
            None => self.start(&part)?,
        };
        let written = match &mut body {
            Body::Text(table) => table.part(part, self.out),
            Body::Csv(table) => table.rows(&part.rows, self.out),
            Body::Json(table) => table.rows(&part.rows, self.out),
        };
        self.body = Some(body);
        written
    }

    fn start(&mut self, part: &TablePart) -> io::Result<Body> {
        let columns = columns::of(part);
        Ok(match self.format {
            Format::Text => Body::Text(TextTable::new(columns, &part.metric, self.style)),
            Format::Csv => Body::Csv(CsvTable::start(columns, &part.metric, self.out)?),
            Format::Json => Body::Json(JsonTable::new(columns)),
        })
    }

    /// The end of the table.
    pub fn finish(mut self) -> io::Result<()> {
        let body = match self.body.take() {
            Some(body) => body,
            None => self.start(&TablePart::default())?,
        };
        match body {
            Body::Text(table) => table.finish(self.out)?,
            Body::Csv(_) => {}
            Body::Json(table) => table.finish(self.out)?,
        }
        self.out.flush()
    }
}

/// A row of another length than the header would put values under wrong names.
pub(super) fn check_row(columns: &[Column], cells: usize) -> io::Result<()> {
    if cells == columns.len() {
        return Ok(());
    }
    let text = format!("a row of {cells} cells in a table of {} columns", columns.len());
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

/// What the server prints when a sweep has completed: a title, the table as text, then what
/// became of its claims where it has some.
pub fn sweep_table(
    sweep: &Sweep,
    parts: Vec<TablePart>,
    claims: &[Expectation],
    style: Style,
) -> io::Result<String> {
    let mut out = Vec::new();
    let counts = sweep.trials.unwrap_or_default();
    writeln!(out, "sweep {}, trials: {}", sweep.name, counts_in_words(&counts))?;
    let mut table = TableWriter::new(Format::Text, style, &mut out);
    for part in parts {
        table.part(part)?;
    }
    table.finish()?;
    if !claims.is_empty() {
        writeln!(out)?;
        expectations(&sweep.name, claims, style, &mut out)?;
    }
    Ok(String::from_utf8(out).expect("the table is written as UTF-8"))
}

/// `15 completed, 2 running, 1 pending`; `0` where there are none.
pub(super) fn counts_in_words(counts: &TrialCounts) -> String {
    let states = [
        (counts.completed, "completed"),
        (counts.running, "running"),
        (counts.pending, "pending"),
        (counts.diverged, "diverged"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
        (counts.removed, "removed"),
    ];
    let mut words = Vec::new();
    for (count, state) in states {
        if count > 0 {
            words.push(format!("{count} {state}"));
        }
    }
    if words.is_empty() { "0".into() } else { words.join(", ") }
}
