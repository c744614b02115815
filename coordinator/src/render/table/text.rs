//! Tables for reading on a terminal: aligned columns, errors in percent, the best of a column
//! marked.

use std::io::{self, Write};

use super::page::{Page, PageCell};
use crate::render::grid::{self, GridColumn};
use crate::render::style::Style;

/// Writes a page; every page has the header.
pub(super) fn write(page: &Page, style: Style, out: &mut dyn Write) -> io::Result<()> {
    if page.columns.is_empty() {
        return Ok(());
    }
    let mut rows = vec![Vec::with_capacity(page.columns.len()); page.rows.len()];
    for at in 0..page.columns.len() {
        for (row, text) in rows.iter_mut().zip(column(page, at, style)) {
            row.push(text);
        }
    }
    let mut columns = Vec::with_capacity(page.columns.len());
    for (at, column) in page.columns.iter().enumerate() {
        let mut header = column.header.clone();
        if at + 1 == page.columns.len() {
            header.iter_mut().for_each(|line| *line = line.trim_end().to_owned());
        }
        columns.push(GridColumn { header, right: column.is_numeric, key: column.is_key });
    }
    grid::write(&columns, &rows, style, out)
}

/// The cells of a column, aligned at `±`.
fn column(page: &Page, at: usize, style: Style) -> Vec<String> {
    let cells = || page.rows.iter().map(|row| &row[at]);
    let width = |text: &str| text.chars().count();
    let (mut mean_width, mut std_width) = (0, 0);
    for cell in cells() {
        if let PageCell::Summary { mean, std, .. } = cell {
            mean_width = mean_width.max(width(mean));
            std_width = std_width.max(std.as_ref().map_or(0, |std| width("± ") + width(std)));
        }
    }
    let gap = if std_width > 0 { " " } else { "" };
    let mut texts = Vec::with_capacity(page.rows.len());
    for cell in cells() {
        texts.push(match cell {
            PageCell::Plain(text) => text.clone(),
            PageCell::Summary { mean, std, trials, best } => {
                let std = std.as_ref().map_or(String::new(), |std| format!("± {std}"));
                let text = format!("{mean:>mean_width$}{gap}{std:<std_width$} ({trials})");
                if *best { grid::bold(&format!("{text}*"), style) } else { text }
            }
        });
    }
    texts
}
