//! Live progress on stderr: a bar per sweep on a terminal, a line every ten seconds elsewhere; and
//! the table of each sweep that completes. It shows the driver's picture and decides nothing but
//! when everything that was asked for is done.

mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use common::ids::SweepName;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use scheduler::Overview;
use scheduler::overview::{SweepOverview, SweepState};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::driver::{Driven, Health, Inbox};

/// How often a line is written where stderr is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The bars; also the way for logs past them.
#[derive(Clone, Debug)]
pub struct Bars {
    bars: MultiProgress,
    terminal: bool,
}

impl Bars {
    /// On stderr, where that is a terminal.
    pub fn new() -> Bars {
        Bars { bars: MultiProgress::new(), terminal: io::stderr().is_terminal() }
    }

    /// A writer to stderr that never tears a bar.
    pub fn writer(&self) -> StderrWriter {
        StderrWriter(self.bars.clone())
    }
}

impl Default for Bars {
    fn default() -> Bars {
        Bars::new()
    }
}

/// Writes to stderr with the bars out of the way.
#[derive(Clone, Debug)]
pub struct StderrWriter(MultiProgress);

impl Write for StderrWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is said of a sweep that is over.
pub struct Announcement {
    /// Its table, and what became of its claims.
    pub text: String,
    /// Claims that its results contradict.
    pub contradicted: u64,
}

/// Makes the announcement of a sweep; blocks.
pub type Tables = Arc<dyn Fn(&SweepName) -> Result<Announcement, String> + Send + Sync>;

/// What progress is made of.
pub struct Progress {
    /// Where it is shown.
    pub bars: Bars,
    /// What is shown.
    pub driven: Driven,
    /// For waiting until what is shown is stored.
    pub inbox: Inbox,
    /// The tables of completed sweeps.
    pub tables: Tables,
    /// Where the tables go.
    pub output: Box<dyn Write + Send>,
    /// The sweeps that this run was given.
    pub given: Vec<SweepName>,
    /// Ends when all of them are done.
    pub until_done: bool,
    /// Cancelled where the run ends because it was asked to.
    pub stop: CancellationToken,
}

/// The sweeps that were given are done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AllDone {
    /// Trials of theirs that failed.
    pub failed: u64,
    /// Those of them that ended before they were complete: cancelled, or stopped.
    pub incomplete: u64,
    /// Claims of theirs that the results contradict.
    pub contradicted: u64,
}

impl Progress {
    /// Shows progress until `end`, or until every sweep given is done where that is asked.
    pub async fn run(mut self, end: CancellationToken) -> Option<AllDone> {
        let mut shown = Shown::default();
        let mut line = tokio::time::interval_at(Instant::now() + LINE_EVERY, LINE_EVERY);
        line.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let overview = Arc::clone(&self.driven.overview.borrow_and_update());
            if *self.driven.applied.borrow_and_update() {
                self.announce(&overview, &mut shown).await;
                let done = all_done(&overview, &self.given, &shown);
                if self.until_done && done.is_some() {
                    shown.clear();
                    for sweep in &overview.sweeps {
                        if self.given.contains(&sweep.name) {
                            self.write_failures(sweep);
                        }
                    }
                    return done;
                }
            }
            let trouble = trouble(&self.driven.health.borrow_and_update());
            if self.bars.terminal {
                shown.draw(&self.bars.bars, &overview, trouble.as_deref());
            }
            tokio::select! {
                () = self.changed() => {}
                _ = line.tick() => self.write_lines(&overview, trouble.as_deref()),
                () = end.cancelled() => {
                    shown.clear();
                    self.write_stop();
                    return None;
                }
            }
        }
    }

    /// Waits for news. After the driver's end there are none.
    async fn changed(&mut self) {
        let changed = tokio::select! {
            changed = self.driven.overview.changed() => changed,
            changed = self.driven.applied.changed() => changed,
            changed = self.driven.health.changed() => changed,
        };
        if changed.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn write_lines(&self, overview: &Overview, trouble: Option<&str>) {
        if self.bars.terminal {
            return;
        }
        for sweep in overview.sweeps.iter().filter(|sweep| !over(sweep)) {
            self.write_line(&text::line(sweep, trouble));
        }
    }

    /// Where the sweeps stand that a stop asked for cut off; after an error the error is told.
    fn write_stop(&self) {
        if !self.stop.is_cancelled() {
            return;
        }
        let overview = Arc::clone(&self.driven.overview.borrow());
        for sweep in overview.sweeps.iter().filter(|sweep| !over(sweep)) {
            self.write_failures(sweep);
            self.write_line(&text::stopped(sweep));
        }
    }

    fn write_failures(&self, sweep: &SweepOverview) {
        if let Some(line) = text::failures(sweep) {
            self.write_line(&line);
        }
    }

    fn write_line(&self, line: &str) {
        // A closed stderr is no reason to stop training.
        drop(self.bars.writer().write_all(format!("{line}\n").as_bytes()));
    }

    /// Prints the table of every sweep that is over since the last time, once what it shows is
    /// stored.
    async fn announce(&mut self, overview: &Overview, shown: &mut Shown) {
        for sweep in &overview.sweeps {
            let known = shown.over.contains_key(&sweep.name);
            if !over(sweep) {
                shown.over.remove(&sweep.name);
                shown.begun.insert(sweep.name.clone());
                continue;
            }
            let wanted = shown.begun.contains(&sweep.name) || self.given.contains(&sweep.name);
            if known || !wanted || self.inbox.flush().await.is_err() {
                continue;
            }
            shown.over.insert(sweep.name.clone(), 0);
            shown.finish(&sweep.name);
            self.write_line(&text::line(sweep, None));
            let (tables, name) = (Arc::clone(&self.tables), sweep.name.clone());
            let table = tokio::task::spawn_blocking(move || tables(&name)).await;
            match table.unwrap_or_else(|panic| Err(panic.to_string())) {
                Ok(said) => {
                    shown.over.insert(sweep.name.clone(), said.contradicted);
                    self.print(&said.text);
                }
                Err(error) => {
                    // Claims that were not judged are no claims that held.
                    shown.over.insert(sweep.name.clone(), 1);
                    tracing::error!(sweep = %sweep.name, "no table and no claims: {error}");
                }
            }
            // At the end of a run the failures of all its sweeps stand together.
            if !self.until_done {
                self.write_failures(sweep);
            }
        }
    }

    fn print(&mut self, table: &str) {
        let output = &mut self.output;
        let written = self.bars.bars.suspend(|| {
            output.write_all(table.as_bytes())?;
            output.flush()
        });
        if let Err(error) = written {
            tracing::warn!(%error, "the table cannot be written to the standard output");
        }
    }
}

/// What is on the screen.
#[derive(Default)]
struct Shown {
    bars: BTreeMap<SweepName, Bar>,
    /// Sweeps that were seen with work left.
    begun: BTreeSet<SweepName>,
    /// Sweeps whose end was shown, with their contradicted claims; 1 where none could be judged.
    over: BTreeMap<SweepName, u64>,
}

/// The two lines of a sweep: all of it on one would be cut off on a terminal of 80 columns.
struct Bar {
    bar: ProgressBar,
    below: ProgressBar,
}

impl Bar {
    fn new(bars: &MultiProgress, sweep: &SweepOverview) -> Bar {
        let line = |template| {
            let style = ProgressStyle::with_template(template);
            let style = style.expect("the template is well formed").progress_chars("=> ");
            let bar = ProgressBar::new(sweep.counts.wanted()).with_style(style);
            bars.add(bar.with_prefix(sweep.name.to_string()))
        };
        let bar = line(text::BAR);
        Bar { bar, below: line(text::BELOW) }
    }

    fn draw(&self, sweep: &SweepOverview, trouble: Option<&str>) {
        self.bar.set_length(sweep.counts.wanted());
        self.bar.set_position(sweep.counts.done());
        self.bar.set_message(text::counts(sweep));
        self.below.set_message(text::below(sweep, trouble));
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
        self.below.finish_and_clear();
    }
}

impl Shown {
    fn draw(&mut self, bars: &MultiProgress, overview: &Overview, trouble: Option<&str>) {
        for sweep in overview.sweeps.iter().filter(|sweep| !self.over.contains_key(&sweep.name)) {
            let is_old = over(sweep) && !self.begun.contains(&sweep.name);
            // A sweep that is about to be expanded would show as a full bar.
            if is_old || sweep.counts.wanted() == 0 {
                continue;
            }
            let new = || Bar::new(bars, sweep);
            self.bars.entry(sweep.name.clone()).or_insert_with(new).draw(sweep, trouble);
        }
    }

    fn finish(&mut self, sweep: &SweepName) {
        if let Some(bar) = self.bars.remove(sweep) {
            bar.clear();
        }
    }

    fn clear(&mut self) {
        for bar in self.bars.values() {
            bar.clear();
        }
        self.bars.clear();
    }
}

/// Whether nothing more will run: all done or cancelled, or stopped and the last trial back.
fn over(sweep: &SweepOverview) -> bool {
    match &sweep.state {
        SweepState::Completed | SweepState::Cancelled => true,
        SweepState::Stopped { .. } => sweep.counts.running == 0,
        SweepState::Running | SweepState::Paused | SweepState::Waiting { .. } => false,
    }
}

/// Every sweep given is over and was announced.
fn all_done(overview: &Overview, given: &[SweepName], shown: &Shown) -> Option<AllDone> {
    let mut done = AllDone::default();
    for name in given {
        let sweep = overview.sweeps.iter().find(|sweep| sweep.name == *name)?;
        done.contradicted += shown.over.get(name)?;
        done.failed += sweep.counts.failed;
        done.incomplete += u64::from(sweep.state != SweepState::Completed);
    }
    Some(done)
}

fn trouble(health: &Health) -> Option<String> {
    match health {
        Health::Serving => None,
        Health::Closing => Some("stopping".into()),
        Health::StoreFailed { reason } => Some(format!("the store failed: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use scheduler::overview::Counts;

    use super::text::tests::sweep;
    use super::*;

    #[test]
    fn a_stopped_sweep_is_over_when_its_last_trial_is_back() {
        let stopped = |running| {
            let counts = Counts { running, pending: 4, ..Counts::default() };
            over(&sweep(SweepState::Stopped { reason: "budget".into() }, counts))
        };
        assert!(!stopped(1));
        assert!(stopped(0));
        assert!(over(&sweep(SweepState::Completed, Counts::default())));
        assert!(!over(&sweep(SweepState::Running, Counts::default())));
    }

    #[test]
    fn all_is_done_when_every_sweep_given_is_over() {
        let counts = Counts { completed: 2, failed: 1, ..Counts::default() };
        let overview =
            Overview { sweeps: vec![sweep(SweepState::Completed, counts)], ..Overview::default() };
        let name = overview.sweeps[0].name.clone();
        let given = [name.clone()];
        let mut shown = Shown::default();
        assert_eq!(all_done(&overview, &given, &shown), None, "its table is not printed yet");
        shown.over.insert(name, 2);
        assert_eq!(
            all_done(&overview, &given, &shown),
            Some(AllDone { failed: 1, incomplete: 0, contradicted: 2 })
        );
        let mut cut_short = overview.clone();
        cut_short.sweeps[0].state = SweepState::Cancelled;
        let done = all_done(&cut_short, &given, &shown);
        assert_eq!(done, Some(AllDone { failed: 1, incomplete: 1, contradicted: 2 }));
        let more = [given[0].clone(), "other".parse().expect("a name")];
        assert_eq!(all_done(&overview, &more, &shown), None);
    }
}
