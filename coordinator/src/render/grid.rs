//! Aligned columns of text.

use std::io::{self, Write};

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

use super::style::{Style, printable};

/// Encloses what is bold until the table is laid out: a character that takes no room and that
/// `printable` text in a cell cannot bring along unnoticed, since `cell` drops it.
const MARK: char = '\u{2060}';
const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";
/// Blanks between two columns.
const GAP: u16 = 2;
/// Of which the table's style gives this one.
const JUNCTION: u16 = 1;

/// A column of a grid.
#[derive(Clone, Debug, Default)]
pub struct GridColumn {
    /// Lines of its header.
    pub header: Vec<String>,
    /// Aligned to the right.
    pub right: bool,
    /// Repeated in every block.
    pub key: bool,
}

impl GridColumn {
    /// A column with a header of one line.
    pub fn new(header: impl Into<String>) -> GridColumn {
        GridColumn { header: vec![header.into()], right: false, key: false }
    }

    /// Aligned to the right.
    pub fn right(self) -> GridColumn {
        GridColumn { right: true, ..self }
    }

    /// Repeated in every block.
    pub fn key(self) -> GridColumn {
        GridColumn { key: true, ..self }
    }
}

/// Rows under their header: the content of a table, however it is shown.
#[derive(Clone, Debug, Default)]
pub struct Grid {
    /// The columns.
    pub columns: Vec<GridColumn>,
    /// Cells by row, as many as there are columns.
    pub rows: Vec<Vec<String>>,
}

impl Grid {
    /// As aligned columns.
    pub(super) fn write(&self, style: Style, out: &mut dyn Write) -> io::Result<()> {
        write(&self.columns, &self.rows, style, out)
    }
}

/// Text for a cell: one line, nothing that steers a terminal.
pub(super) fn cell(text: &str) -> String {
    let plain = |c: char| if c == '\n' || c == '\t' { ' ' } else { c };
    printable(text).trim().chars().filter(|c| *c != MARK).map(plain).collect()
}

/// The text, bold where the style has it. Only whole cells can be.
pub(super) fn bold(text: &str, style: Style) -> String {
    if style.bold { format!("{MARK}{text}{MARK}") } else { text.to_owned() }
}

/// The text outside of a grid, bold where the style has it.
pub(super) fn emphasised(text: &str, style: Style) -> String {
    if style.bold { format!("{BOLD}{text}{PLAIN}") } else { text.to_owned() }
}

/// Writes rows under a header and a rule; where they are wider than the terminal, in blocks of
/// columns that fit, each with the key columns.
pub(super) fn write(
    columns: &[GridColumn],
    rows: &[Vec<String>],
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let all: Vec<usize> = (0..columns.len()).collect();
    let whole = table(columns, rows, &all);
    let widths: Vec<usize> = whole
        .column_max_content_widths()
        .iter()
        .map(|width| usize::from(*width) + usize::from(GAP))
        .collect();
    let blocks = blocks(columns, &widths, style.width);
    if blocks.len() == 1 {
        return lines(&whole, style, out);
    }
    for (at, block) in blocks.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        lines(&table(columns, rows, block), style, out)?;
    }
    Ok(())
}

fn table(columns: &[GridColumn], rows: &[Vec<String>], block: &[usize]) -> Table {
    const LOOK: TableStyle =
        TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
    let mut table = Table::new();
    table.load_style(LOOK);
    table.set_header(block.iter().map(|at| columns[*at].header.join("\n")));
    for row in rows {
        table.add_row(block.iter().map(|at| &row[*at]));
    }
    for (at, column) in block.iter().enumerate() {
        let padding = if at + 1 == block.len() { 0 } else { GAP - JUNCTION };
        let shown = table.column_mut(at).expect("the header has every column");
        shown.set_padding((0, padding));
        if columns[*column].right {
            shown.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The columns of each block: all in one where they fit.
fn blocks(columns: &[GridColumn], widths: &[usize], width: Option<usize>) -> Vec<Vec<usize>> {
    let total: usize = widths.iter().sum();
    let gap = usize::from(GAP);
    let Some(width) = width.filter(|width| total > width + gap) else {
        return vec![(0..columns.len()).collect()];
    };
    let keys_width: usize =
        (0..columns.len()).filter(|at| columns[*at].key).map(|at| widths[at]).sum();
    let mut blocks: Vec<Vec<usize>> = Vec::new();
    let mut block: Vec<usize> = Vec::new();
    let mut used = keys_width;
    for at in (0..columns.len()).filter(|at| !columns[*at].key) {
        if used + widths[at] > width + gap && !block.is_empty() {
            blocks.push(std::mem::take(&mut block));
            used = keys_width;
        }
        used += widths[at];
        block.push(at);
    }
    blocks.push(block);
    for block in &mut blocks {
        block.extend((0..columns.len()).filter(|at| columns[*at].key));
        block.sort_unstable();
    }
    blocks
}

fn lines(table: &Table, style: Style, out: &mut dyn Write) -> io::Result<()> {
    for line in table.lines() {
        let line = line.trim_end();
        if style.bold {
            let mut is_bold = false;
            for part in line.split_inclusive(MARK) {
                let text = part.strip_suffix(MARK);
                out.write_all(text.unwrap_or(part).as_bytes())?;
                if text.is_some() {
                    is_bold = !is_bold;
                    out.write_all(if is_bold { BOLD } else { PLAIN }.as_bytes())?;
                }
            }
            writeln!(out)?;
        } else {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(columns: &[GridColumn], rows: &[&[&str]], style: Style) -> String {
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|text| (*text).to_owned()).collect()).collect();
        let mut out = Vec::new();
        write(columns, &rows, style, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn columns() -> Vec<GridColumn> {
        vec![
            GridColumn::new("key").key(),
            GridColumn::new("number").right(),
            GridColumn::new("words"),
            GridColumn::new("τ").right(),
        ]
    }

    #[test]
    fn grid_is_aligned_without_trailing_blanks() {
        let text = written(
            &columns(),
            &[&["a", "1", "one", "5"], &["bb", "22", "", "10"]],
            Style::default(),
        );
        let expected = "\
key  number  words   τ
──────────────────────
a         1  one     5
bb       22         10
";
        assert_eq!(text, expected);
    }

    #[test]
    fn grid_wider_than_the_terminal_comes_in_blocks_with_the_keys() {
        let style = Style { bold: false, width: Some(13) };
        let text = written(&columns(), &[&["a", "1", "one", "5"]], style);
        let expected = "\
key  number
───────────
a         1

key  words  τ
─────────────
a    one    5
";
        assert_eq!(text, expected);
    }

    #[test]
    fn grid_without_rows_is_its_header() {
        assert!(written(&columns(), &[], Style::default()).starts_with("key  number"));
        let narrow = Style { bold: false, width: Some(1) };
        assert_eq!(written(&columns(), &[], narrow).matches("key").count(), 3);
    }

    #[test]
    fn bold_cells_are_enclosed_and_take_no_room() {
        let style = Style { bold: true, width: None };
        let best = bold("22", style);
        let text = written(&columns(), &[&["a", &best, "x", "1"], &["b", "333", "x", "1"]], style);
        assert!(text.contains("a        \u{1b}[1m22\u{1b}[0m  x"), "{text:?}");
        assert!(text.contains("b       333  x"), "{text:?}");
    }

    #[test]
    fn cells_cannot_steer_a_terminal() {
        assert_eq!(cell(" a\nb\u{1b}[31m\u{2060}c\t"), "a b\u{fffd}[31mc");
    }
}
