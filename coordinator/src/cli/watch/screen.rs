//! The full screen. Keys and signals are obeyed at once, whatever the coordinator does, and leave
//! the terminal as it was.

use std::io;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use common::wire::SweepProgress;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::fetch::{End, Fetch};
use super::view::View;
use crate::cli::Failure;

/// How soon a key is seen.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// Seconds without news are counted.
const DRAW_EVERY: Duration = Duration::from_secs(1);

/// Shows a sweep until it is over or somebody leaves; gives the last picture where it is over.
pub(super) async fn run(fetch: &Fetch<'_>) -> Result<Option<SweepProgress>, Failure> {
    let mut news = fetch.view.subscribe();
    let mut fetching = pin!(fetch.run());
    // A mistake, or a sweep that is over, needs no screen.
    let end = tokio::select! {
        biased;
        end = &mut fetching => Some(end?),
        _ = news.changed() => None,
    };
    let is_fetching = match end {
        Some(End::Over) => return Ok(Some(news.borrow().progress.clone())),
        Some(End::Left) => false,
        None => true,
    };
    let fetching = async {
        match is_fetching {
            true => fetching.await,
            false => Ok(End::Left),
        }
    };
    let signals = Signals::listen().context("cannot listen to signals").map_err(Failure::Failed)?;
    let mut terminal = ratatui::try_init().inspect_err(|_| drop(ratatui::try_restore()))?;
    let shown = show(fetching, news, signals, &mut terminal).await;
    close(terminal);
    shown
}

/// A terminal that has gone cannot be restored, and there is nobody to tell.
fn close(mut terminal: DefaultTerminal) {
    drop(terminal.show_cursor());
    drop(ratatui::try_restore());
    // Its end would complain on a standard error that may have gone too, which is a panic.
    std::mem::forget(terminal);
}

async fn show(
    fetching: impl Future<Output = Result<End, Failure>>,
    mut news: watch::Receiver<View>,
    mut signals: Signals,
    terminal: &mut DefaultTerminal,
) -> Result<Option<SweepProgress>, Failure> {
    let mut keys = keys();
    let mut fetching = pin!(fetching);
    let mut is_fetching = true;
    let mut tick = interval(DRAW_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let drawn = terminal.draw(|frame| news.borrow_and_update().draw(frame, Instant::now()));
        // A terminal that has gone is found by this or by the signal, whichever is first.
        drawn.map_err(|_| Failure::Stopped(status_of(SignalKind::hangup())))?;
        tokio::select! {
            biased;
            status = signals.recv() => return Err(Failure::Stopped(status)),
            // Where keys cannot be read, signals can still end it.
            Some(key) = keys.recv() => match key {
                Key::Leave => return Ok(None),
                Key::Interrupt => return Err(Failure::Stopped(status_of(SignalKind::interrupt()))),
                Key::Other => {}
            },
            end = &mut fetching, if is_fetching => match end? {
                End::Over => return Ok(Some(news.borrow().progress.clone())),
                // What is in files does not change: it stays on the screen.
                End::Left => is_fetching = false,
            },
            _ = news.changed() => {}
            _ = tick.tick() => {}
        }
    }
}

/// The signals that end it.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The exit status of the next one.
    async fn recv(&mut self) -> u8 {
        status_of(tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hangup.recv() => SignalKind::hangup(),
        })
    }
}

/// The exit status that tells of a signal, as shells have it.
fn status_of(signal: SignalKind) -> u8 {
    u8::try_from(128 + signal.as_raw_value()).unwrap_or(1)
}

enum Key {
    Leave,
    Interrupt,
    /// Also a change of the screen's size.
    Other,
}

/// Keys, read on a thread of their own: it ends with the process.
fn keys() -> mpsc::Receiver<Key> {
    let (sender, receiver) = mpsc::channel(8);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            let key = match read_key() {
                Ok(Some(key)) => key,
                Ok(None) => continue,
                Err(_) => return,
            };
            if sender.blocking_send(key).is_err() {
                return;
            }
        }
    });
    receiver
}

fn read_key() -> io::Result<Option<Key>> {
    if !event::poll(KEY_WAIT)? {
        return Ok(None);
    }
    Ok(Some(match event::read()? {
        Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
            KeyCode::Char('q') | KeyCode::Esc => Key::Leave,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Interrupt,
            _ => Key::Other,
        },
        _ => Key::Other,
    }))
}
