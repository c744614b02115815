//! Tables as Markdown's pipe tables, errors in percent, the best of a column in bold.

use std::io::{self, Write};

use super::page::{Page, PageCell};

/// Writes the header: of several lines the last, with the pivoted settings in front of it.
pub(super) fn start(page: &Page, out: &mut dyn Write) -> io::Result<()> {
    for column in &page.columns {
        let lines = column.header.iter().filter(|line| !line.is_empty()).map(|line| escaped(line));
        // The label of a pivoted parameter stands for the settings to its right.
        let separator = if column.is_pivoted { ", " } else { " \\ " };
        write!(out, "| {} ", lines.collect::<Vec<_>>().join(separator))?;
    }
    writeln!(out, "|")?;
    for column in &page.columns {
        let right = column.is_numeric || column.is_pivoted;
        out.write_all(if right { b"| ---: " } else { b"| --- " })?;
    }
    writeln!(out, "|")
}

/// Writes the rows.
pub(super) fn rows(page: &Page, out: &mut dyn Write) -> io::Result<()> {
    for row in &page.rows {
        for cell in row {
            write!(out, "| {} ", text(cell))?;
        }
        writeln!(out, "|")?;
    }
    Ok(())
}

fn text(cell: &PageCell) -> String {
    match cell {
        PageCell::Plain(text) => escaped(text),
        PageCell::Summary { mean, std, trials, best } => {
            let std = std.as_ref().map_or(String::new(), |std| format!(" ± {std}"));
            if *best {
                format!("**{mean}{std}** ({trials})")
            } else {
                format!("{mean}{std} ({trials})")
            }
        }
    }
}

/// What Markdown would take for its own.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '|' | '\\' | '*' | '_' | '`' | '<' | '[' | '&' | '~') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
