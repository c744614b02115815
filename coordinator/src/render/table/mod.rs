//! Tables of a sweep: parts come in, rows go out in one of six formats.

mod columns;
mod csv;
mod flat;
mod json;
mod latex;
mod markdown;
mod page;
mod parquet;
mod text;

use std::io::{self, Write};

use common::wire::{
    Cell, EpochsRepeated, Expectation, Sweep, TablePart, TableRow, TrialCounts, cell::Value,
};

use self::csv::CsvTable;
use self::json::JsonTable;
use self::parquet::ParquetTable;
use super::expect::expectations;
use super::style::Style;
use columns::{Column, check_row};
use page::{PAGE_ROWS, Page};

pub use page::PageCell;

pub(super) use page::trials;

/// How a table is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for reading; errors in percent
    #[default]
    Text,
    /// A pipe table; errors in percent
    Markdown,
    /// A `tabular` with the rules of booktabs; errors in percent
    Latex,
    /// A header and one line per row; errors as fractions
    Csv,
    /// An array of one object per row; errors as fractions
    Json,
    /// Typed columns, for pandas and polars; errors as fractions
    Parquet,
}

impl Format {
    /// By the ending of a file's name, without the dot.
    pub fn of_ending(ending: &str) -> Option<Format> {
        match ending.to_ascii_lowercase().as_str() {
            "txt" => Some(Format::Text),
            "md" => Some(Format::Markdown),
            "tex" => Some(Format::Latex),
            "csv" => Some(Format::Csv),
            "json" => Some(Format::Json),
            "parquet" => Some(Format::Parquet),
            _ => None,
        }
    }
}

/// A table on its way out. Rows are written as they come; text, Markdown and LaTeX hold a page of
/// them, parquet a group.
pub struct TableWriter<'w> {
    out: &'w mut dyn Write,
    format: Format,
    style: Style,
    body: Option<Body>,
}

enum Body {
    Paged(Paged),
    Csv(CsvTable),
    Json(JsonTable),
    Parquet(Box<ParquetTable>),
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
            Body::Paged(table) => table.part(part, self.out),
            Body::Csv(table) => table.rows(&part.rows, self.out),
            Body::Json(table) => table.rows(&part.rows, self.out),
            Body::Parquet(table) => table.rows(&part.rows, self.out),
        };
        self.body = Some(body);
        written
    }

    fn start(&mut self, part: &TablePart) -> io::Result<Body> {
        let columns = columns::of(part);
        let paged = |notation| Body::Paged(Paged::new(columns.clone(), &part.metric, notation));
        Ok(match self.format {
            Format::Text => paged(Notation::Text(self.style)),
            Format::Markdown => paged(Notation::Markdown),
            Format::Latex => paged(Notation::Latex),
            Format::Csv => Body::Csv(CsvTable::start(columns, &part.metric, self.out)?),
            Format::Json => Body::Json(JsonTable::new(columns)),
            Format::Parquet => Body::Parquet(Box::new(ParquetTable::start(columns, &part.metric)?)),
        })
    }

    /// The end of the table.
    pub fn finish(mut self) -> io::Result<()> {
        let body = match self.body.take() {
            Some(body) => body,
            None => self.start(&TablePart::default())?,
        };
        match body {
            Body::Paged(table) => table.finish(self.out)?,
            Body::Csv(_) => {}
            Body::Json(table) => table.finish(self.out)?,
            Body::Parquet(table) => table.finish(self.out)?,
        }
        self.out.flush()
    }
}

/// How a page is written.
#[derive(Clone, Copy)]
enum Notation {
    Text(Style),
    Markdown,
    Latex,
}

/// A table that is laid out page by page.
struct Paged {
    columns: Vec<Column>,
    metric: String,
    notation: Notation,
    rows: Vec<TableRow>,
    pages: usize,
    epochs_repeated: Option<EpochsRepeated>,
}

impl Paged {
    fn new(columns: Vec<Column>, metric: &str, notation: Notation) -> Paged {
        let (rows, metric) = (Vec::new(), metric.into());
        Paged { columns, metric, notation, rows, pages: 0, epochs_repeated: None }
    }

    fn part(&mut self, part: TablePart, out: &mut dyn Write) -> io::Result<()> {
        self.epochs_repeated = part.epochs_repeated.or(self.epochs_repeated);
        for row in part.rows {
            check_row(&self.columns, row.cells.len())?;
            self.rows.push(row);
            if self.rows.len() == PAGE_ROWS {
                self.write_page(out)?;
            }
        }
        Ok(())
    }

    fn write_page(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let page = page::page(&self.columns, &rows);
        if self.pages == 0 {
            self.start(&page, page::has_best(&rows), out)?;
        }
        self.pages += 1;
        match self.notation {
            Notation::Text(style) => {
                if self.pages > 1 {
                    writeln!(out)?;
                }
                text::write(&page, style, out)
            }
            Notation::Markdown => markdown::rows(&page, out),
            Notation::Latex => latex::rows(&page, out),
        }
    }

    fn start(&self, page: &Page, has_best: bool, out: &mut dyn Write) -> io::Result<()> {
        let mark = match self.notation {
            _ if !has_best => "",
            Notation::Text(_) => "*",
            Notation::Markdown | Notation::Latex => "bold:",
        };
        let caption = page::caption(&self.columns, &self.metric, mark);
        match (self.notation, caption) {
            (Notation::Text(_), Some(caption)) => writeln!(out, "{caption}\n"),
            (Notation::Text(_), None) => Ok(()),
            (Notation::Markdown, caption) => {
                if let Some(caption) = caption {
                    writeln!(out, "{}\n", markdown::escaped(&caption))?;
                }
                markdown::start(page, out)
            }
            (Notation::Latex, caption) => {
                latex::start(page, caption.as_deref(), self.metric.is_empty(), out)
            }
        }
    }

    fn finish(mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.pages == 0 || !self.rows.is_empty() {
            self.write_page(out)?;
        }
        let repeated = self.epochs_repeated.map(|repeated| page::epochs_repeated(&repeated));
        match (self.notation, repeated) {
            (Notation::Text(_) | Notation::Markdown, None) => Ok(()),
            (Notation::Text(_) | Notation::Markdown, Some(text)) => writeln!(out, "\n{text}"),
            (Notation::Latex, repeated) => {
                latex::finish(self.metric.is_empty(), out)?;
                repeated.map_or(Ok(()), |text| writeln!(out, "% {text}"))
            }
        }
    }
}

/// A value at full precision; empty where there is none.
pub fn plain(cell: &Cell) -> String {
    match &cell.value {
        None => String::new(),
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Integer(integer)) => integer.to_string(),
        Some(Value::Summary(summary)) => summary.mean.to_string(),
    }
}

/// A table laid out for a page of another kind than those of `Format`.
pub struct LaidOut {
    /// What it shows.
    pub caption: Option<String>,
    /// Header and rows.
    pub page: Page,
    /// Rows that are left out.
    pub rows_left: usize,
    /// Columns that are left out.
    pub columns_left: usize,
    /// What is to be said below it.
    pub note: Option<String>,
}

/// The first rows and columns of a table, taken from its parts as they come.
pub struct Excerpt {
    rows_max: usize,
    columns_max: usize,
    head: Option<TablePart>,
    rows_left: usize,
    repeated: Option<EpochsRepeated>,
}

impl Excerpt {
    /// Of a table of which nothing has come yet.
    pub fn new(rows_max: usize, columns_max: usize) -> Excerpt {
        Excerpt { rows_max, columns_max, head: None, rows_left: 0, repeated: None }
    }

    /// The next part; the first one has the columns.
    pub fn part(&mut self, part: TablePart) {
        self.repeated = part.epochs_repeated.or(self.repeated);
        let came = part.rows.len();
        let kept = match &mut self.head {
            Some(head) => {
                let room = self.rows_max - head.rows.len();
                head.rows.extend(part.rows.into_iter().take(room));
                room.min(came)
            }
            None => {
                let head = self.head.insert(part);
                head.rows.truncate(self.rows_max);
                head.rows.len()
            }
        };
        self.rows_left += came - kept;
    }

    /// For reading.
    pub fn laid_out(self) -> LaidOut {
        let TablePart { mut rows, columns, metric, .. } = self.head.unwrap_or_default();
        let head = TablePart { columns, metric, ..TablePart::default() };
        let mut columns = columns::of(&head);
        rows.retain(|row| row.cells.len() == columns.len());
        let columns_left = columns.len().saturating_sub(self.columns_max);
        columns.truncate(self.columns_max);
        for row in &mut rows {
            row.cells.truncate(self.columns_max);
        }
        let mark = if page::has_best(&rows) { "bold:" } else { "" };
        LaidOut {
            caption: page::caption(&columns, &head.metric, mark),
            page: page::page(&columns, &rows),
            rows_left: self.rows_left,
            columns_left,
            note: self.repeated.map(|repeated| page::epochs_repeated(&repeated)),
        }
    }
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
