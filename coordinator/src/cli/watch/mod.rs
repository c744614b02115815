//! `watch`: a sweep's progress as it goes on. A full screen on a terminal, lines elsewhere.

mod screen;
mod spark;
mod view;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use common::wire::{self, SweepProgress};
use tokio::time::{Instant, MissedTickBehavior};
use tonic::Streaming;

use super::source::{Source, failure};
use super::{Failure, WatchArgs};
use crate::options::Global;

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// `watch`.
pub(super) async fn watch(args: &WatchArgs, global: &Global) -> Result<(), Failure> {
    let mut source = Source::open(args.place.coordinator.as_deref(), global).await?;
    let mut feed = Feed::open(&mut source, &args.sweep).await?;
    let is_screen = !args.lines && io::stdout().is_terminal();
    let ended = if is_screen {
        screen::run(&mut source, &mut feed).await?
    } else {
        lines(&mut feed).await?
    };
    match ended {
        Some(progress) => at_the_end(&progress, is_screen),
        None => Ok(()),
    }
}

/// What comes of a sweep.
enum Feed {
    /// A running coordinator.
    Server(Box<Streaming<SweepProgress>>),
    /// What one left: once, then nothing more.
    Files(Option<Box<SweepProgress>>),
}

impl Feed {
    async fn open(source: &mut Source, sweep: &str) -> Result<Feed, Failure> {
        if let Source::Server(client) = source {
            let request = wire::GetSweepRequest { sweep: sweep.into() };
            let stream = client.watch_sweep(request).await.map_err(failure)?;
            return Ok(Feed::Server(Box::new(stream.into_inner())));
        }
        let sweep = source.sweep(sweep).await?;
        let once = SweepProgress { sweep: Some(sweep), ..SweepProgress::default() };
        Ok(Feed::Files(Some(Box::new(once))))
    }

    /// The next picture; none where there will be no other.
    async fn next(&mut self) -> Result<Option<SweepProgress>, Failure> {
        match self {
            Feed::Server(stream) => stream.message().await.map_err(failure),
            Feed::Files(once) => Ok(once.take().map(|progress| *progress)),
        }
    }
}

/// Nothing more will happen by itself.
fn is_over(progress: &SweepProgress) -> bool {
    let state = progress.sweep.as_ref().map_or("", |sweep| sweep.state.as_str());
    ["completed", "cancelled"].contains(&state)
}

/// Writes lines; gives the last picture where the sweep is over.
async fn lines(feed: &mut Feed) -> Result<Option<SweepProgress>, Failure> {
    let mut tick = tokio::time::interval_at(Instant::now() + LINE_EVERY, LINE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let Some(mut newest) = feed.next().await? else { return Ok(None) };
    write_line(&newest)?;
    let mut is_written = true;
    loop {
        if is_over(&newest) {
            if !is_written {
                write_line(&newest)?;
            }
            return Ok(Some(newest));
        }
        tokio::select! {
            next = feed.next() => match next? {
                Some(progress) => {
                    newest = progress;
                    is_written = false;
                }
                None => return Ok(None),
            },
            _ = tick.tick() => {
                write_line(&newest)?;
                is_written = true;
            }
        }
    }
}

fn write_line(progress: &SweepProgress) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{}", view::line(progress))
}

/// The screen has gone; what it showed last stays, and failed trials are a failure.
fn at_the_end(progress: &SweepProgress, was_screen: bool) -> Result<(), Failure> {
    if was_screen {
        write_line(progress)?;
    }
    let sweep = progress.sweep.as_ref();
    let failed = sweep.and_then(|sweep| sweep.trials).map_or(0, |trials| trials.failed);
    if failed == 0 || !is_over(progress) {
        return Ok(());
    }
    let name = sweep.map_or("", |sweep| sweep.name.as_str());
    let trials = if failed == 1 { "1 trial".to_owned() } else { format!("{failed} trials") };
    Err(Failure::Failed(anyhow::anyhow!("{trials} failed; `coordinator status {name}` says why")))
}
