//! What the place that text goes to can show.

use std::env;
use std::io::{self, IsTerminal};

/// How text is laid out and marked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Style {
    /// The best is bold, by an ANSI sequence.
    pub bold: bool,
    /// Columns of the terminal: wider tables are shown in blocks. None: as wide as need be.
    pub width: Option<usize>,
}

impl Style {
    /// For standard output: plain and unlimited unless it is a terminal. `NO_COLOR` is heeded.
    pub fn of_stdout() -> Style {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return Style::default();
        }
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
        let size = rustix::termios::tcgetwinsize(&stdout);
        let width = size.ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
        Style { bold: !no_color && !dumb, width }
    }
}

/// The text without control characters but newlines and tabs: what a worker or a trainer wrote
/// must not steer the terminal that shows it.
pub fn printable(text: &str) -> String {
    let keep = |c: char| !c.is_control() || c == '\n' || c == '\t';
    text.chars().map(|c| if keep(c) { c } else { '\u{fffd}' }).collect()
}
