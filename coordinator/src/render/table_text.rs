//! Tables for reading: aligned columns, errors in percent, the best of a column marked.

use std::io::{self, Write};

use common::wire::{EpochsRepeated, Summary, TablePart, TableRow, cell::Value};

use super::columns::{Column, Role};
use super::grid::{self, GridColumn};
use super::number::{Unit, shortest};
use super::style::Style;
use super::table::check_row;

/// Rows that are laid out together; longer tables repeat the header.
const PAGE_ROWS: usize = 5_000;

/// A page of a table.
pub(super) struct TextTable {
    columns: Vec<Column>,
    metric: String,
    style: Style,
    page: Vec<TableRow>,
    pages: usize,
    epochs_repeated: Option<EpochsRepeated>,
}

impl TextTable {
    /// Before the first row.
    pub fn new(columns: Vec<Column>, metric: &str, style: Style) -> TextTable {
        TextTable {
            columns,
            metric: metric.into(),
            style,
            page: Vec::new(),
            pages: 0,
            epochs_repeated: None,
        }
    }

    /// Takes rows; writes full pages.
    pub fn part(&mut self, part: TablePart, out: &mut dyn Write) -> io::Result<()> {
        self.epochs_repeated = part.epochs_repeated.or(self.epochs_repeated);
        for row in part.rows {
            check_row(&self.columns, row.cells.len())?;
            self.page.push(row);
            if self.page.len() == PAGE_ROWS {
                self.write_page(out)?;
            }
        }
        Ok(())
    }

    /// Writes what is left.
    pub fn finish(mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.pages == 0 || !self.page.is_empty() {
            self.write_page(out)?;
        }
        if let Some(repeated) = self.epochs_repeated {
            writeln!(out, "\n{}", epochs_repeated(&repeated))?;
        }
        Ok(())
    }

    fn write_page(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let page = std::mem::take(&mut self.page);
        if self.pages == 0 && !self.metric.is_empty() {
            writeln!(out, "{}", caption(&self.metric, &page))?;
        }
        if self.pages > 0 {
            writeln!(out)?;
        }
        self.pages += 1;
        if self.columns.is_empty() {
            return Ok(());
        }
        let mut texts = Vec::with_capacity(self.columns.len());
        for (at, column) in self.columns.iter().enumerate() {
            texts.push(match column.role {
                Role::Key | Role::Value => values(&page, at, column.unit),
                Role::Summary => summaries(&page, at, column.unit, self.style),
            });
        }
        let mut rows = vec![Vec::with_capacity(texts.len()); page.len()];
        for column in texts {
            for (row, text) in rows.iter_mut().zip(column) {
                row.push(text);
            }
        }
        let mut columns = self.header(&page);
        if columns.len() > self.columns.len() {
            // Labels of a pivot without row parameters have a column of their own.
            for row in &mut rows {
                row.insert(0, String::new());
            }
        }
        if let [.., last] = columns.as_mut_slice() {
            last.header.iter_mut().for_each(|line| *line = line.trim_end().to_owned());
        }
        grid::write(&columns, &rows, self.style, out)
    }

    /// A pivoted parameter is a line of the header, its label above the last row parameter.
    fn header(&self, page: &[TableRow]) -> Vec<GridColumn> {
        let labels: Vec<String> = match self.columns.iter().find(|it| !it.pivot.is_empty()) {
            Some(pivoted) => pivoted.pivot.iter().map(|(param, _)| param.clone()).collect(),
            None => Vec::new(),
        };
        let last_key = self.columns.iter().rposition(|column| column.role == Role::Key);
        let mut header = Vec::with_capacity(self.columns.len() + 1);
        if !labels.is_empty() && last_key.is_none() {
            header.push(GridColumn { header: labels.clone(), right: false, key: true });
        }
        for (at, column) in self.columns.iter().enumerate() {
            let mut lines = match (column.pivot.is_empty(), Some(at) == last_key) {
                (false, _) => column.pivot.iter().map(|(_, value)| dash(value)).collect(),
                (true, true) => labels.clone(),
                (true, false) => vec![String::new(); labels.len()],
            };
            match column.role {
                Role::Key | Role::Value => lines.push(column.unit.header(&column.name)),
                Role::Summary if column.pivot.is_empty() => {
                    lines.push(column.unit.header(&column.name));
                }
                Role::Summary => {}
            }
            let right = column.role != Role::Summary && is_numeric(page, at);
            header.push(GridColumn { header: lines, right, key: column.role == Role::Key });
        }
        header
    }
}

/// What a table of configs shows.
fn caption(metric: &str, page: &[TableRow]) -> String {
    let unit = if Unit::of(metric) == Unit::Percent { " in %" } else { "" };
    let mut cells = page.iter().flat_map(|row| &row.cells);
    let has_best =
        cells.any(|cell| matches!(&cell.value, Some(Value::Summary(summary)) if summary.best));
    let best = if has_best { "; * best of its column" } else { "" };
    format!("{metric}{unit}: mean ± standard deviation (trials){best}\n")
}

/// What losses cost; not what was found, so it stands below.
fn epochs_repeated(repeated: &EpochsRepeated) -> String {
    let EpochsRepeated { epochs, trials, of_trials } = repeated;
    let were = if *epochs == 1 { "epoch was" } else { "epochs were" };
    let of = if *of_trials == 1 { "trial" } else { "trials" };
    format!(
        "{epochs} {were} trained again after an attempt ended early: {trials} of {of_trials} {of}"
    )
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-".into() } else { grid::cell(text) }
}

fn is_numeric(page: &[TableRow], at: usize) -> bool {
    let mut numbers = 0;
    for row in page {
        match &row.cells[at].value {
            Some(Value::Number(_) | Value::Integer(_)) => numbers += 1,
            None => {}
            Some(Value::Text(text)) if text.is_empty() || text == "null" => {}
            Some(Value::Text(_) | Value::Summary(_)) => return false,
        }
    }
    numbers > 0
}

fn values(page: &[TableRow], at: usize, unit: Unit) -> Vec<String> {
    let mut texts = Vec::with_capacity(page.len());
    for row in page {
        texts.push(match &row.cells[at].value {
            None => dash(""),
            Some(Value::Text(text)) => dash(text),
            Some(Value::Integer(integer)) => integer.to_string(),
            Some(Value::Number(number)) => unit.value(*number),
            Some(Value::Summary(summary)) => shortest(summary.mean),
        });
    }
    texts
}

/// The cells of a column, aligned at `±`.
fn summaries(page: &[TableRow], at: usize, unit: Unit, style: Style) -> Vec<String> {
    let summary = |row: &TableRow| match &row.cells[at].value {
        Some(Value::Summary(summary)) => Some(*summary),
        None | Some(Value::Text(_) | Value::Number(_) | Value::Integer(_)) => None,
    };
    let all: Vec<Option<Summary>> = page.iter().map(summary).collect();
    let decimals = unit.decimals(least_mean(page));
    let mut means = Vec::with_capacity(all.len());
    let mut deviations = Vec::with_capacity(all.len());
    for summary in &all {
        let mean = summary.filter(|it| it.n > 0).map(|it| unit.with_decimals(it.mean, decimals));
        let std = summary.and_then(|it| it.std).map(|std| unit.with_decimals(std, decimals));
        means.push(mean.unwrap_or_else(|| "-".into()));
        deviations.push(std.map_or(String::new(), |std| format!("± {std}")));
    }
    let width = |texts: &[String]| texts.iter().map(|text| text.chars().count()).max().unwrap_or(0);
    let (mean_width, std_width) = (width(&means), width(&deviations));
    let mut texts = Vec::with_capacity(all.len());
    for (at, summary) in all.iter().enumerate() {
        let Some(summary) = summary else {
            texts.push(String::new());
            continue;
        };
        let gap = if std_width > 0 { " " } else { "" };
        let (mean, std) = (&means[at], &deviations[at]);
        let std = format!("{std}{}", " ".repeat(std_width - std.chars().count()));
        let text = format!("{mean:>mean_width$}{gap}{std} ({})", trials(summary));
        texts.push(if summary.best { grid::bold(&format!("{text}*"), style) } else { text });
    }
    texts
}

/// Decimals are equal in the whole table, so that its numbers compare at a glance.
fn least_mean(page: &[TableRow]) -> f64 {
    let mut least = f64::INFINITY;
    for cell in page.iter().flat_map(|row| &row.cells) {
        if let Some(Value::Summary(summary)) = &cell.value
            && summary.n > 0
        {
            least = least.min(summary.mean);
        }
    }
    least
}

/// `3, 1 diverged, 2 unfinished`.
pub(super) fn trials(summary: &Summary) -> String {
    let mut text = summary.n.to_string();
    let others = [
        (summary.diverged, "diverged"),
        (summary.failed, "failed"),
        (summary.unfinished, "unfinished"),
    ];
    for (count, state) in others {
        if count > 0 {
            text.push_str(&format!(", {count} {state}"));
        }
    }
    text
}
