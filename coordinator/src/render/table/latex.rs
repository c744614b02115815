//! Tables for a paper: LaTeX with the rules of the package booktabs, errors in percent, the best
//! of a column in bold. A table of configs is a `tabular`; one of trials or epochs, which may be
//! longer than a page, a `longtable`.

use std::io::{self, Write};

use super::page::{Page, PageCell};

/// Writes everything above the first row.
pub(super) fn start(
    page: &Page,
    caption: Option<&str>,
    is_long: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let packages = if is_long { "booktabs, longtable" } else { "booktabs" };
    writeln!(out, "% \\usepackage{{{packages}}}")?;
    if let Some(caption) = caption {
        writeln!(out, "% {}", caption.replace('±', "+-"))?;
    }
    let mut alignment = String::new();
    for column in &page.columns {
        let right = column.is_numeric || column.is_pivoted;
        alignment.push(if right { 'r' } else { 'l' });
    }
    writeln!(out, "\\begin{{{}}}{{{alignment}}}", environment(is_long))?;
    writeln!(out, "\\toprule")?;
    let height = page.columns.first().map_or(0, |column| column.header.len());
    for line in 0..height {
        header_line(page, line, line + 1 == height, out)?;
    }
    writeln!(out, "\\midrule")?;
    if is_long {
        writeln!(out, "\\endhead")?;
    }
    Ok(())
}

/// Writes the rows.
pub(super) fn rows(page: &Page, out: &mut dyn Write) -> io::Result<()> {
    for row in &page.rows {
        let cells: Vec<String> = row.iter().map(text).collect();
        writeln!(out, "{} \\\\", cells.join(" & "))?;
    }
    Ok(())
}

/// Writes the end.
pub(super) fn finish(is_long: bool, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\\bottomrule\n\\end{{{}}}", environment(is_long))
}

fn environment(is_long: bool) -> &'static str {
    if is_long { "longtable" } else { "tabular" }
}

/// Neighbours that have the same settings down to this line share a heading with a rule under it.
fn header_line(page: &Page, line: usize, is_last: bool, out: &mut dyn Write) -> io::Result<()> {
    let columns = &page.columns;
    let mut cells = Vec::new();
    let mut rules = Vec::new();
    let mut at = 0;
    while at < columns.len() {
        let same = |other: usize| {
            columns[other].is_pivoted
                && columns[at].header[..=line] == columns[other].header[..=line]
        };
        let mut end = at + 1;
        while !is_last && columns[at].is_pivoted && end < columns.len() && same(end) {
            end += 1;
        }
        let text = escaped(&columns[at].header[line]);
        cells.push(match end - at {
            1 => text,
            span => format!("\\multicolumn{{{span}}}{{c}}{{{text}}}"),
        });
        if end - at > 1 {
            rules.push(format!("\\cmidrule(lr){{{}-{end}}}", at + 1));
        }
        at = end;
    }
    writeln!(out, "{} \\\\", cells.join(" & "))?;
    if !rules.is_empty() {
        writeln!(out, "{}", rules.join(" "))?;
    }
    Ok(())
}

fn text(cell: &PageCell) -> String {
    match cell {
        PageCell::Plain(text) => escaped(text),
        PageCell::Summary { mean, std, trials, best } => {
            let std = std.as_ref().map_or(String::new(), |std| format!(" \\pm {}", number(std)));
            let value = match mean.as_str() {
                "-" => "--".into(),
                mean if *best => format!("$\\mathbf{{{}{std}}}$", number(mean)),
                mean => format!("${}{std}$", number(mean)),
            };
            format!("{value} ({})", escaped(trials))
        }
    }
}

/// `1.5e-7` as a power of ten.
fn number(text: &str) -> String {
    match text.split_once('e') {
        Some((mantissa, exponent)) => format!("{mantissa} \\times 10^{{{exponent}}}"),
        None => text.to_owned(),
    }
}

/// What LaTeX would take for its own; what its fonts may lack is a question mark.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '<' => escaped.push_str("\\textless{}"),
            '>' => escaped.push_str("\\textgreater{}"),
            '|' => escaped.push_str("\\textbar{}"),
            ' '..='~' => escaped.push(c),
            _ => escaped.push('?'),
        }
    }
    escaped
}
