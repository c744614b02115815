//! `watch`: a sweep's progress as it goes on. A full screen on a terminal, lines elsewhere.

mod best;
mod columns;
mod fetch;
mod screen;
mod spark;
#[cfg(test)]
mod tests;
mod view;

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::time::Duration;

use common::wire::SweepProgress;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Failure, WatchArgs};
use crate::options::Global;
use fetch::{End, Fetch};
use view::View;

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// `watch`.
pub(super) async fn watch(args: &WatchArgs, global: &Global) -> Result<(), Failure> {
    let has_screen = io::stdout().is_terminal() && draws(std::env::var_os("TERM").as_deref());
    let is_screen = !args.lines && has_screen;
    let view = watch::Sender::new(View::default());
    let fetch = Fetch { args, global, with_details: is_screen, view };
    let ended = if is_screen { screen::run(&fetch).await? } else { lines(&fetch).await? };
    match ended {
        Some(progress) => at_the_end(&progress, is_screen),
        None => Ok(()),
    }
}

/// Whether a terminal of this kind can be drawn on.
fn draws(term: Option<&OsStr>) -> bool {
    term.is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// Nothing more will happen by itself.
fn is_over(progress: &SweepProgress) -> bool {
    let state = progress.sweep.as_ref().map_or("", |sweep| sweep.state.as_str());
    ["completed", "cancelled"].contains(&state)
}

/// Writes lines; gives the last picture where the sweep is over.
async fn lines(fetch: &Fetch<'_>) -> Result<Option<SweepProgress>, Failure> {
    let mut news = fetch.view.subscribe();
    let mut fetching = pin!(fetch.run());
    let mut tick = tokio::time::interval_at(Instant::now() + LINE_EVERY, LINE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written = None;
    let mut is_away = false;
    loop {
        let end = tokio::select! {
            biased;
            end = &mut fetching => Some(end?),
            _ = news.changed() => None,
            _ = tick.tick() => {
                // What is shown while nothing is heard would look like news.
                if !is_away {
                    written = None;
                }
                None
            }
        };
        let View { progress, contact, .. } = &*news.borrow_and_update();
        if progress.sweep.is_none() {
            continue;
        }
        match (&contact.away, is_away) {
            (Some(why), false) => say(progress, &format!("no news, trying again: {why}"))?,
            (None, true) if end.is_none() => say(progress, "the coordinator is back")?,
            (Some(_), true) | (None, true | false) => {}
        }
        is_away = contact.away.is_some();
        if written.is_none() || (end.is_some() && written.as_ref() != Some(progress)) {
            write_line(progress)?;
            written = Some(progress.clone());
        }
        match end {
            Some(End::Over) => return Ok(Some(progress.clone())),
            Some(End::Left) => return Ok(None),
            None => {}
        }
    }
}

fn write_line(progress: &SweepProgress) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{}", view::line(progress))
}

/// A line about the sweep that is not its progress.
fn say(progress: &SweepProgress, what: &str) -> io::Result<()> {
    let name = progress.sweep.as_ref().map_or("", |sweep| sweep.name.as_str());
    writeln!(io::stdout().lock(), "{name}: {what}")
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
