//! A page of a table laid out for reading: what text, Markdown and LaTeX have in common.

use common::wire::{EpochsRepeated, Summary, TableRow, cell::Value};

use super::columns::{Column, Role};
use crate::render::grid;
use crate::render::number::{Unit, shortest};

/// Rows that are laid out together.
pub(super) const PAGE_ROWS: usize = 5_000;

/// The columns of a table with some of its rows.
pub struct Page {
    /// One per column of the table; where a pivot has no row parameter, one more in front for its
    /// labels.
    pub columns: Vec<PageColumn>,
    /// Cells by row.
    pub rows: Vec<Vec<PageCell>>,
}

/// A column of a page.
pub struct PageColumn {
    /// Lines of its header, equally many in each column: a line per pivoted parameter, whose label
    /// stands above the last row parameter, then the name.
    pub header: Vec<String>,
    /// It stands for settings of pivoted parameters.
    pub is_pivoted: bool,
    /// Its cells are numbers.
    pub is_numeric: bool,
    /// It names the row.
    pub is_key: bool,
}

/// A cell of a page.
pub enum PageCell {
    /// A value.
    Plain(String),
    /// A metric over trials.
    Summary {
        /// `-` where no trial has a value.
        mean: String,
        /// Standard deviation; none below two values.
        std: Option<String>,
        /// `3, 1 diverged`.
        trials: String,
        /// Best of its column.
        best: bool,
    },
}

/// Lays out rows of a table.
pub(super) fn page(columns: &[Column], rows: &[TableRow]) -> Page {
    let decimals = least_mean(rows);
    let mut laid_out: Vec<Vec<PageCell>> = Vec::new();
    laid_out.resize_with(rows.len(), || Vec::with_capacity(columns.len() + 1));
    for (at, column) in columns.iter().enumerate() {
        for (row, laid_out) in rows.iter().zip(&mut laid_out) {
            laid_out.push(match (column.role, &row.cells[at].value) {
                (Role::Summary, Some(Value::Summary(it))) => summary(it, column.unit, decimals),
                (Role::Summary, None) => PageCell::Plain(String::new()),
                (_, value) => PageCell::Plain(plain(value.as_ref(), column.unit)),
            });
        }
    }
    let header = header(columns, rows);
    if header.len() > columns.len() {
        for row in &mut laid_out {
            row.insert(0, PageCell::Plain(String::new()));
        }
    }
    Page { columns: header, rows: laid_out }
}

fn header(columns: &[Column], rows: &[TableRow]) -> Vec<PageColumn> {
    let labels: Vec<String> = match columns.iter().find(|it| !it.pivot.is_empty()) {
        Some(pivoted) => pivoted.pivot.iter().map(|(param, _)| param.clone()).collect(),
        None => Vec::new(),
    };
    let last_key = columns.iter().rposition(|column| column.role == Role::Key);
    let mut header = Vec::with_capacity(columns.len() + 1);
    if !labels.is_empty() && last_key.is_none() {
        header.push(PageColumn {
            header: labels.clone(),
            is_pivoted: false,
            is_numeric: false,
            is_key: true,
        });
    }
    for (at, column) in columns.iter().enumerate() {
        let is_pivoted = !column.pivot.is_empty();
        let mut lines = match (is_pivoted, Some(at) == last_key) {
            (true, _) => column.pivot.iter().map(|(_, value)| dash(value)).collect(),
            (false, true) => labels.clone(),
            (false, false) => vec![String::new(); labels.len()],
        };
        if !is_pivoted {
            lines.push(column.unit.header(&column.name));
        }
        header.push(PageColumn {
            header: lines,
            is_pivoted,
            is_numeric: column.role != Role::Summary && is_numeric(rows, at),
            is_key: column.role == Role::Key,
        });
    }
    let height = header.iter().map(|column| column.header.len()).max().unwrap_or(0);
    for column in &mut header {
        column.header.resize(height, String::new());
    }
    header
}

/// What a table of configs shows, with what marks the best; none where the table is another.
pub(super) fn caption(columns: &[Column], metric: &str, mark: &str) -> Option<String> {
    let summaries = columns.iter().any(|column| column.role == Role::Summary);
    match (metric.is_empty(), summaries) {
        (true, _) => None,
        (false, false) => Some(format!("{metric}: number of trials")),
        (false, true) => {
            let unit = if Unit::of(metric) == Unit::Percent { " in %" } else { "" };
            let text = format!("{metric}{unit}: mean ± standard deviation (trials)");
            Some(if mark.is_empty() { text } else { format!("{text}; {mark} best of its column") })
        }
    }
}

/// Some cell is marked as the best of its column.
pub(super) fn has_best(rows: &[TableRow]) -> bool {
    let mut cells = rows.iter().flat_map(|row| &row.cells);
    cells.any(|cell| matches!(&cell.value, Some(Value::Summary(summary)) if summary.best))
}

/// What losses cost; not what was found, so it stands below.
pub(super) fn epochs_repeated(repeated: &EpochsRepeated) -> String {
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

fn is_numeric(rows: &[TableRow], at: usize) -> bool {
    let mut numbers = 0;
    for row in rows {
        match &row.cells[at].value {
            Some(Value::Number(_) | Value::Integer(_)) => numbers += 1,
            None => {}
            Some(Value::Text(text)) if text.is_empty() || text == "null" => {}
            Some(Value::Text(_) | Value::Summary(_)) => return false,
        }
    }
    numbers > 0
}

fn plain(value: Option<&Value>, unit: Unit) -> String {
    match value {
        None => dash(""),
        Some(Value::Text(text)) => dash(text),
        Some(Value::Integer(integer)) => integer.to_string(),
        Some(Value::Number(number)) => unit.value(*number),
        Some(Value::Summary(summary)) => shortest(summary.mean),
    }
}

fn summary(summary: &Summary, unit: Unit, least_mean: f64) -> PageCell {
    // Equal in the whole table, so that its numbers compare at a glance.
    let decimals = unit.decimals(least_mean);
    let mean = (summary.n > 0).then(|| unit.with_decimals(summary.mean, decimals));
    PageCell::Summary {
        mean: mean.unwrap_or_else(|| "-".into()),
        std: summary.std.map(|std| unit.with_decimals(std, decimals)),
        trials: trials(summary),
        best: summary.best,
    }
}

fn least_mean(rows: &[TableRow]) -> f64 {
    let mut least = f64::INFINITY;
    for cell in rows.iter().flat_map(|row| &row.cells) {
        if let Some(Value::Summary(summary)) = &cell.value
            && summary.n > 0
        {
            least = least.min(summary.mean);
        }
    }
    least
}

/// `3, 1 diverged, 2 unfinished`.
pub(in crate::render) fn trials(summary: &Summary) -> String {
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
