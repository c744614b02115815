//! Columns that are shown whole or not at all: where there is no room, those go that matter least.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Span;
use ratatui::widgets::{Row, Table};

/// One column, with a cell for each row.
pub(super) struct Column {
    /// Empty: none.
    pub head: String,
    /// From above.
    pub cells: Vec<Span<'static>>,
    /// Those of higher ranks go first.
    pub rank: u8,
}

impl Column {
    /// One whose cells are plain text.
    pub fn new(rank: u8, head: &str, cells: impl Iterator<Item = String>) -> Column {
        Column { head: head.into(), cells: cells.map(Span::from).collect(), rank }
    }

    /// In cells of the terminal.
    pub fn width(&self) -> usize {
        let head = Span::raw(self.head.as_str()).width();
        self.cells.iter().map(Span::width).chain([head]).max().unwrap_or(0)
    }
}

/// Of those columns the ones that have room in this width, in their order; and the width that they
/// leave for another one.
pub(super) fn fitting(columns: Vec<Column>, width: u16) -> (Vec<Column>, usize) {
    let mut left = usize::from(width);
    let mut ranked: Vec<(usize, &Column)> = columns.iter().enumerate().collect();
    ranked.sort_by_key(|(_, column)| column.rank);
    let mut is_kept = vec![false; columns.len()];
    for (at, column) in ranked {
        // What matters less does not take the place of what had none.
        if column.width() > left {
            break;
        }
        left = left.saturating_sub(column.width() + 1);
        is_kept[at] = true;
    }
    let kept = columns
        .into_iter()
        .zip(is_kept)
        .filter_map(|(column, is_kept)| if is_kept { Some(column) } else { None });
    (kept.collect(), left)
}

/// Draws columns that fit.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, columns: &[Column]) {
    let rows = columns.iter().map(|column| column.cells.len()).max().unwrap_or(0);
    let cells = |row: usize| {
        Row::new(
            columns.iter().map(move |column| column.cells.get(row).cloned().unwrap_or_default()),
        )
    };
    let widths = columns
        .iter()
        .map(|column| Constraint::Length(u16::try_from(column.width()).unwrap_or(u16::MAX)));
    let mut table = Table::new((0..rows).map(cells), widths);
    if columns.iter().any(|column| !column.head.is_empty()) {
        let heads = columns.iter().map(|column| column.head.clone());
        table = table.header(Row::new(heads).style(Style::new().add_modifier(Modifier::BOLD)));
    }
    frame.render_widget(table, area);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn column(rank: u8, width: usize) -> Column {
        Column::new(rank, &"h".repeat(width), ["x".to_owned()].into_iter())
    }

    #[test]
    fn columns_go_by_rank_and_stay_in_order() {
        let columns = || vec![column(2, 4), column(0, 3), column(1, 6)];
        let kept = |width| -> (Vec<u8>, usize) {
            let (kept, left) = fitting(columns(), width);
            (kept.iter().map(|column| column.rank).collect(), left)
        };
        assert_eq!(kept(20), (vec![2, 0, 1], 4));
        assert_eq!(kept(15), (vec![2, 0, 1], 0));
        assert_eq!(kept(14), (vec![0, 1], 3));
        assert_eq!(kept(9), (vec![0], 5));
        assert_eq!(kept(2), (vec![], 2));
    }

    proptest! {
        #[test]
        fn columns_that_are_kept_are_whole(
            widths in prop::collection::vec(0..20usize, 0..9),
            width in 0..60u16,
        ) {
            let columns = (0..).zip(&widths).map(|(rank, width)| column(rank, *width)).collect();
            let (kept, _) = fitting(columns, width);
            let used: usize = kept.iter().map(|column| column.width() + 1).sum();
            prop_assert!(used <= usize::from(width) + 1);
        }
    }
}
