//! The full screen: what comes from the coordinator goes into the view, keys end it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use common::wire::{SweepProgress, TablePart, TableRequest, cell::Value};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::view::{BestConfig, View};
use super::{Feed, is_over};
use crate::cli::Failure;
use crate::cli::source::Source;
use crate::render;

/// How often workers and configs are asked for.
const ASK_EVERY: Duration = Duration::from_secs(3);
/// Trials whose history is shown.
const HISTORIES_MAX: usize = 30;
/// How soon a key is seen.
const KEY_WAIT: Duration = Duration::from_millis(100);

/// Shows a sweep until it is over or somebody leaves; gives the last picture where it is over.
pub(super) async fn run(
    source: &mut Source,
    feed: &mut Feed,
) -> Result<Option<SweepProgress>, Failure> {
    let Some(progress) = feed.next().await? else { return Ok(None) };
    let mut terminal = ratatui::try_init()?;
    let shown = show(source, feed, progress, &mut terminal).await;
    ratatui::restore();
    shown
}

async fn show(
    source: &mut Source,
    feed: &mut Feed,
    progress: SweepProgress,
    terminal: &mut DefaultTerminal,
) -> Result<Option<SweepProgress>, Failure> {
    let mut keys = keys();
    let mut ask: Interval = tokio::time::interval_at(Instant::now(), ASK_EVERY);
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut view = View { progress, ..View::default() };
    let mut epochs = BTreeMap::new();
    let mut is_live = true;
    loop {
        update_histories(&mut view, &mut epochs, source).await;
        terminal.draw(|frame| view.draw(frame))?;
        if is_over(&view.progress) && is_live {
            return Ok(Some(view.progress));
        }
        tokio::select! {
            key = keys.recv() => match key {
                Some(Key::Leave) | None => return Ok(None),
                Some(Key::Other) => {}
            },
            next = feed.next(), if is_live => match next? {
                Some(progress) => view.progress = progress,
                // What is in files does not change: it stays on the screen.
                None => is_live = false,
            },
            _ = ask.tick() => {
                view.workers = source.workers().await?;
                view.configs = best_configs(&view.progress, source).await;
            }
        }
    }
}

enum Key {
    Leave,
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
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Leave,
            _ => Key::Other,
        },
        _ => Key::Other,
    }))
}

/// Asks for the histories of the trials that went on; what cannot be had is left out.
async fn update_histories(
    view: &mut View,
    epochs: &mut BTreeMap<String, u32>,
    source: &mut Source,
) {
    let name = view.progress.sweep.as_ref().map_or(String::new(), |sweep| sweep.name.clone());
    let shown: Vec<(String, u32)> =
        view.trials().take(HISTORIES_MAX).map(|it| (it.trial.clone(), it.epoch)).collect();
    view.histories.retain(|trial, _| shown.iter().any(|(it, _)| it == trial));
    epochs.retain(|trial, _| shown.iter().any(|(it, _)| it == trial));
    for (trial, epoch) in shown {
        if epochs.get(&trial) == Some(&epoch) {
            continue;
        }
        if let Ok(found) = source.trial(&name, &trial).await {
            let errors = found.epochs.iter().map(|epoch| epoch.val_error).collect();
            view.histories.insert(trial.clone(), errors);
            epochs.insert(trial, epoch);
        }
    }
}

/// The configs with the lowest mean validation error.
async fn best_configs(progress: &SweepProgress, source: &mut Source) -> Vec<BestConfig> {
    let Some(sweep) = &progress.sweep else { return Vec::new() };
    let request = TableRequest {
        sweep: sweep.name.clone(),
        metric: "val_error".into(),
        ..TableRequest::default()
    };
    let mut parts: Vec<TablePart> = Vec::new();
    let mut take = |part| {
        parts.push(part);
        Ok(())
    };
    if source.table(request, &mut take).await.is_err() {
        return Vec::new();
    }
    let columns = parts.first().map_or(Vec::new(), |part| part.columns.clone());
    let mut configs = Vec::new();
    for row in parts.iter().flat_map(|part| &part.rows) {
        let mut keys = Vec::new();
        for (column, cell) in columns.iter().zip(&row.cells) {
            match &cell.value {
                Some(Value::Summary(summary)) if summary.n > 0 => {
                    let mut params = keys.clone();
                    if !column.key.is_empty() {
                        params.push(column.name.replace('=', " "));
                    }
                    let params = params.join(", ");
                    configs.push(BestConfig { params, val_error: *summary });
                }
                Some(Value::Summary(_)) | None => {}
                Some(_) => match render::plain(cell) {
                    value if value.is_empty() => {}
                    value => keys.push(format!("{} {value}", column.name)),
                },
            }
        }
    }
    configs.sort_by(|a, b| a.val_error.mean.total_cmp(&b.val_error.mean));
    configs
}
