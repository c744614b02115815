//! `data check` and `data fetch`.

use std::io::{self, IsTerminal, Write};

use common::config::Data;
use common::data;
use indicatif::{ProgressBar, ProgressStyle};

use super::{CheckArgs, Failure, FetchArgs, output::Output};
use crate::fetch::{self, Fetched, Settings, Timeouts, Watch};

/// A line for each of these parts of a file, where no bar can be shown.
const LINES_PER_FILE: u64 = 10;

/// Reads a data set and says what it holds.
pub(super) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let data = named(&args.name)?;
    // Whatever is wrong with the files, the check has done what was asked: they are not right.
    let report = data::check(data, args.data.as_deref());
    let report = report.map_err(|error| Failure::Failed(error.into()))?;
    let mut out = Output::stdout();
    writeln!(out, "{report}")?;
    out.finish()
}

/// Downloads what is missing of a data set.
pub(super) async fn fetch(args: FetchArgs) -> Result<(), Failure> {
    let data = named(&args.set.name)?;
    for url in &args.mirror {
        if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(Failure::Mistake(format!(
                "--mirror `{url}` is not an address; accepted: http://… or https://…"
            )));
        }
    }
    let settings = Settings {
        directory: data::directory(args.set.data.as_deref()),
        mirrors: args.mirror,
        timeouts: Timeouts::default(),
    };
    // Downloading blocks.
    let fetching = tokio::task::spawn_blocking(move || {
        let mut shown = Shown::new();
        fetch::fetch(data, &settings, &mut shown)
    });
    let fetched = fetching.await.map_err(|error| Failure::Failed(error.into()))?;
    let text = match fetched.map_err(|error| Failure::Failed(error.into()))? {
        Fetched::Generated => format!("{} is drawn by the program: nothing to fetch", data.name()),
        Fetched::Present(folder) => {
            format!("{} is complete and right: nothing to fetch", folder.display())
        }
        Fetched::Downloaded(folder, files) => {
            format!("{}: downloaded and checked {}", folder.display(), files.join(", "))
        }
    };
    let mut out = Output::stdout();
    writeln!(out, "{text}")?;
    out.finish()
}

fn named(name: &str) -> Result<Data, Failure> {
    let known = Data::AVAILABLE.into_iter().find(|data| data.name() == name);
    known.ok_or_else(|| {
        let available = Data::AVAILABLE.map(|data| format!("`{}`", data.name())).join(", ");
        Failure::Mistake(format!("unknown data set `{name}`; accepted: {available}"))
    })
}

/// A download on stderr: a bar on a terminal, lines elsewhere.
struct Shown {
    terminal: bool,
    bar: ProgressBar,
    file: String,
    held: u64,
    length: Option<u64>,
}

impl Shown {
    fn new() -> Shown {
        let terminal = io::stderr().is_terminal();
        Shown { terminal, bar: ProgressBar::hidden(), file: String::new(), held: 0, length: None }
    }

    /// How many of the file's parts have come.
    fn parts(&self) -> u64 {
        match self.length {
            Some(length) if length > 0 => self.held * LINES_PER_FILE / length,
            Some(_) | None => 0,
        }
    }

    fn line(&self, text: &str) {
        // With a closed stderr there is nobody to tell.
        self.bar.suspend(|| drop(writeln!(io::stderr(), "{text}")));
    }
}

impl Watch for Shown {
    fn begin(&mut self, file: &str, held: u64, length: Option<u64>) {
        (self.file, self.held, self.length) = (file.to_owned(), held, length);
        if !self.terminal {
            return self.line(&started(file, held, length));
        }
        let bar = match length {
            Some(length) => ProgressBar::new(length).with_style(style(
                "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta}",
            )),
            None => ProgressBar::no_length().with_style(style("{msg} {bytes}, {bytes_per_sec}")),
        };
        self.bar = bar.with_message(file.to_owned());
        // The speed is that of now, so what was here does not count.
        self.bar.set_position(held);
        self.bar.reset_eta();
    }

    fn advance(&mut self, bytes: u64) {
        let parts = self.parts();
        self.held += bytes;
        self.bar.inc(bytes);
        if !self.terminal && self.parts() > parts {
            let percent = self.parts() * 100 / LINES_PER_FILE;
            self.line(&format!("{}: {percent} %", self.file));
        }
    }

    fn end(&mut self) {
        self.bar.finish_and_clear();
        self.bar = ProgressBar::hidden();
    }

    fn say(&mut self, line: &str) {
        self.line(line);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is right")
}

fn started(file: &str, held: u64, length: Option<u64>) -> String {
    match (held, length) {
        (0, Some(length)) => format!("{file}: downloading {length} bytes"),
        (0, None) => format!("{file}: downloading"),
        (held, Some(length)) => format!("{file}: going on after {held} of {length} bytes"),
        (held, None) => format!("{file}: going on after {held} bytes"),
    }
}
