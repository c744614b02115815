//! The log of a run: a line per event, kept only where somebody will read it. A failing seed is run
//! again to write it.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};

/// Lines of a run, or nothing.
#[derive(Debug, Default)]
pub(crate) struct Log {
    lines: Option<Vec<String>>,
}

impl Log {
    /// Keeps its lines where `kept`.
    pub fn new(kept: bool) -> Log {
        Log { lines: kept.then(Vec::new) }
    }

    /// Adds a line; the arguments are not formatted where it is not kept.
    pub fn add(&mut self, now: u64, line: fmt::Arguments<'_>) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>9}.{:03} {line}", now / 1_000, now % 1_000));
        }
    }

    pub fn is_kept(&self) -> bool {
        self.lines.is_some()
    }

    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for line in self.lines.iter().flatten() {
            hasher.write(line.as_bytes());
        }
        hasher.finish()
    }

    pub fn text(&self) -> String {
        let mut text = self.lines.as_ref().map(|lines| lines.join("\n")).unwrap_or_default();
        text.push('\n');
        text
    }
}
