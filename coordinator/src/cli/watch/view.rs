//! What the screen shows, and how it is laid out. Draws into whatever terminal it is given.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::wire::{ActiveTrial, Summary, SweepProgress, Worker};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph};
use serde_json::Value;
use tokio::time::Instant;

use super::columns::{self, Column};
use super::spark;
use crate::render::{Unit, duration, printable};

/// Digits of a trial's id: enough for the other commands to find it.
const ID_DIGITS: usize = 10;
/// Characters of a value that somebody chose.
const VALUE_MAX: usize = 20;
const NAME_MAX: usize = 24;
/// Fewer blocks tell nothing.
const SPARK_MIN: usize = 6;
/// Lines of the counts, of the best configs and of the workers.
const COUNTS_MAX: usize = 2;
const CONFIGS_MAX: usize = 5;
const WORKERS_MAX: usize = 6;
/// Trials come before what else there is: their head and two rows.
const TRIALS_MIN: u16 = 3;
/// A smaller screen has no room for frames.
const FRAMED_WIDTH: u16 = 60;
const FRAMED_HEIGHT: u16 = 18;
/// Silence that is worth a word: twice the time in which an answer is due.
const SILENCE: Duration = Duration::from_secs(6);

/// A config with its mean validation error.
pub(super) struct BestConfig {
    /// Those that vary, with their values.
    pub params: Vec<(String, String)>,
    /// Over its trials.
    pub val_error: Summary,
}

/// The validation errors of a trial.
pub(super) struct History {
    /// By epoch.
    pub errors: Vec<f64>,
    /// The newest that they hold.
    pub epoch: u32,
    /// When it was asked for.
    pub is_running: bool,
}

/// How it stands with the coordinator.
#[derive(Default)]
pub(super) struct Contact {
    /// When it said something last; none where it is not asked.
    pub heard: Option<Instant>,
    /// Why it is away, where it is.
    pub away: Option<String>,
}

impl Contact {
    /// What there is to say where nothing is heard.
    fn complaint(&self, now: Instant) -> Option<String> {
        let silence = now.saturating_duration_since(self.heard?);
        let text = format!("no news for {} s", silence.as_secs());
        match &self.away {
            Some(why) => Some(format!("{text}, trying again: {why}")),
            None if silence >= SILENCE => Some(text),
            None => None,
        }
    }
}

/// Everything that is shown.
#[derive(Default)]
pub(super) struct View {
    /// The newest picture.
    pub progress: SweepProgress,
    /// By trial.
    pub histories: BTreeMap<String, History>,
    /// The best first.
    pub configs: Vec<BestConfig>,
    /// Every worker.
    pub workers: Vec<Worker>,
    /// Whether all that is of now.
    pub contact: Contact,
}

/// Where a sweep stands, in one line.
pub(super) fn line(progress: &SweepProgress) -> String {
    let Some(sweep) = &progress.sweep else { return String::new() };
    let (counts, forecast) = (counts(progress), forecast(progress));
    let text = [counts, forecast].concat().join(", ");
    match is_notable(&sweep.state) {
        true => format!("{}: {text} - {}", sweep.name, printable(&sweep.state)),
        false => format!("{}: {text}", sweep.name),
    }
}

fn is_notable(state: &str) -> bool {
    !["running", "idle"].contains(&state)
}

/// Trials that ended, but for cancelled ones; and all.
fn done_of(progress: &SweepProgress) -> (u64, u64) {
    let counts = progress.sweep.as_ref().and_then(|sweep| sweep.trials).unwrap_or_default();
    let done = counts.completed + counts.diverged + counts.failed;
    (done, done + counts.cancelled + counts.pending + counts.running)
}

/// The first is how many are done.
fn counts(progress: &SweepProgress) -> Vec<String> {
    let counts = progress.sweep.as_ref().and_then(|sweep| sweep.trials).unwrap_or_default();
    let (done, all) = done_of(progress);
    let mut texts = vec![
        format!("{done}/{all} done"),
        format!("{} running", counts.running),
        format!("{} failed", counts.failed),
        format!("{} diverged", counts.diverged),
    ];
    if counts.cancelled > 0 {
        texts.push(format!("{} cancelled", counts.cancelled));
    }
    texts
}

/// What is left, and the best so far.
fn forecast(progress: &SweepProgress) -> Vec<String> {
    let Some(sweep) = &progress.sweep else { return Vec::new() };
    let eta = sweep.eta_seconds.map(|seconds| format!("about {} left", duration(seconds)));
    let best = sweep.best_val_error.map(|error| format!("best {} %", Unit::Percent.value(error)));
    eta.into_iter().chain(best).collect()
}

/// Texts in lines of this width, a text that is longer on a line of its own.
fn wrapped(texts: &[String], width: u16) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for text in texts {
        match lines.last_mut() {
            Some(line) if Span::raw(format!("{line}, {text}")).width() <= width.into() => {
                line.push_str(", ");
                line.push_str(text);
            }
            Some(_) | None => lines.push(text.clone()),
        }
    }
    lines
}

/// At most so many characters; where some are cut off, the last of them says so.
fn clipped(text: &str, width: usize) -> String {
    let text = printable(text);
    match text.chars().count() > width {
        true => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => text,
    }
}

/// Lines of each section; 0: there is no room for it.
struct Heights {
    configs: u16,
    workers: u16,
}

impl View {
    /// Trials in the order in which they are shown: running ones, then the best.
    pub fn trials(&self) -> impl Iterator<Item = &ActiveTrial> {
        let of =
            |running: bool| self.progress.active.iter().filter(move |it| it.running == running);
        of(true).chain(of(false))
    }

    /// Takes the next picture, and continues the histories that it has the next epoch of.
    pub fn go_on(&mut self, progress: SweepProgress) {
        self.progress = progress;
        let active = &self.progress.active;
        self.histories.retain(|trial, _| active.iter().any(|it| it.trial == *trial));
        for trial in active.iter().filter(|trial| trial.running) {
            if let (Some(history), Some(error)) =
                (self.histories.get_mut(&trial.trial), trial.val_error)
                && history.epoch + 1 == trial.epoch
            {
                history.errors.push(error);
                history.epoch = trial.epoch;
            }
        }
    }

    /// Of the first trials those whose history is not the newest.
    pub fn lacking(&self, trials: usize) -> Vec<ActiveTrial> {
        let lacks = |trial: &&ActiveTrial| {
            let history = self.histories.get(&trial.trial);
            history.is_none_or(|it| it.epoch < trial.epoch || it.is_running != trial.running)
        };
        self.trials().take(trials).filter(lacks).cloned().collect()
    }

    /// Draws what there is room for: progress, trials, configs and workers in this order.
    pub fn draw(&self, frame: &mut Frame<'_>, now: Instant) {
        let area = frame.area();
        let is_framed = area.width >= FRAMED_WIDTH && area.height >= FRAMED_HEIGHT;
        let inside = area.width.saturating_sub(if is_framed { 2 } else { 0 });
        let words = self.words(inside);
        let lines = u16::try_from(words.len()).unwrap_or(0);
        let head = lines + if is_framed { 3 } else { 1 };
        let Heights { configs, workers } =
            self.heights(area.height.saturating_sub(head + 1), is_framed);
        let [head, trials, best, hosts, foot] = Layout::vertical([
            Constraint::Length(head),
            Constraint::Fill(1),
            Constraint::Length(configs),
            Constraint::Length(workers),
            Constraint::Length(1),
        ])
        .areas(area);
        self.draw_head(frame, head, words, is_framed);
        self.draw_trials(frame, trials, is_framed);
        self.draw_configs(frame, best, is_framed);
        self.draw_workers(frame, hosts, is_framed);
        self.draw_foot(frame, foot, now);
    }

    /// Shares out the lines that head and foot leave.
    fn heights(&self, lines: u16, is_framed: bool) -> Heights {
        let frame = if is_framed { 2 } else { 0 };
        let mut left = lines.saturating_sub(TRIALS_MIN + frame);
        // A section without a row is none.
        let mut share = |rows: usize, around: u16| {
            if rows == 0 || left <= around {
                return 0;
            }
            let height = left.min(u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(around));
            left -= height;
            height
        };
        let configs = share(self.configs.len().min(CONFIGS_MAX), frame + 1);
        let workers = share(self.workers.len().min(WORKERS_MAX), frame.max(1));
        Heights { configs, workers }
    }

    /// The counts, what matters most first.
    fn words(&self, width: u16) -> Vec<String> {
        let mut counts = counts(&self.progress).into_iter();
        let mut texts: Vec<String> = counts.next().into_iter().collect();
        texts.extend(forecast(&self.progress));
        let state = self.progress.sweep.as_ref().map_or("", |sweep| sweep.state.as_str());
        if !state.is_empty() && is_notable(state) {
            texts.push(printable(state));
        }
        texts.extend(counts.next());
        // That nothing failed or diverged goes without saying.
        texts.extend(counts.filter(|text| !text.starts_with("0 ")));
        let mut lines = wrapped(&texts, width);
        lines.truncate(COUNTS_MAX);
        lines.iter().map(|line| clipped(line, width.into())).collect()
    }

    fn draw_head(&self, frame: &mut Frame<'_>, area: Rect, words: Vec<String>, is_framed: bool) {
        let Some(sweep) = &self.progress.sweep else { return };
        let title = format!("{} · {} on {}", sweep.name, sweep.model, sweep.data);
        let inside = section(frame, area, &title, is_framed);
        let lines = u16::try_from(words.len()).unwrap_or(0);
        let [text, bar] =
            Layout::vertical([Constraint::Length(lines), Constraint::Fill(1)]).areas(inside);
        frame.render_widget(Paragraph::new(words.join("\n")), text);
        let (done, all) = done_of(&self.progress);
        let ended = done + sweep.trials.map_or(0, |counts| counts.cancelled);
        #[expect(clippy::cast_precision_loss, reason = "for a bar")]
        let ratio = if all == 0 { 0.0 } else { ended as f64 / all as f64 };
        let ratio = ratio.clamp(0.0, 1.0);
        let words = Style::new().fg(Color::White).bold();
        let percent = Span::styled(format!("{:.0} %", 100.0 * ratio), words);
        // The words turn these round where the bar is below them.
        let style = Style::new().fg(Color::LightBlue).bg(Color::Black);
        frame.render_widget(Gauge::default().gauge_style(style).label(percent).ratio(ratio), bar);
    }

    fn draw_trials(&self, frame: &mut Frame<'_>, area: Rect, is_framed: bool) {
        let more = if self.progress.active_truncated { ", some of them" } else { "" };
        let title = format!("▶ running{more}, ✓ the best so far");
        // Without a frame the head of the table is title enough.
        let inside = if is_framed { section(frame, area, &title, true) } else { area };
        let (mut kept, left) = columns::fitting(self.trial_columns(), inside.width);
        if left >= SPARK_MIN {
            let history = |trial: &ActiveTrial| {
                let history = self.histories.get(&trial.trial);
                spark::line(history.map_or(&[][..], |it| &it.errors), left)
            };
            kept.push(Column::new(u8::MAX, "trend", self.trials().map(history)));
        }
        columns::draw(frame, inside, &kept);
    }

    fn trial_columns(&self) -> Vec<Column> {
        let column = |rank, head: &str, cell: &dyn Fn(&ActiveTrial) -> String| {
            Column::new(rank, &clipped(head, VALUE_MAX), self.trials().map(cell))
        };
        let mark = |trial: &ActiveTrial| if trial.running { "▶" } else { "✓" }.to_owned();
        let id = |trial: &ActiveTrial| printable(&trial.trial).chars().take(ID_DIGITS).collect();
        let mut columns = vec![column(0, "", &mark), column(4, "trial", &id)];
        for name in varying(&self.progress.active) {
            columns.push(column(3, &name, &|trial| {
                let value = values(trial).remove(&name);
                clipped(&value.unwrap_or_else(|| "-".into()), VALUE_MAX)
            }));
        }
        columns.extend([
            column(6, "seed", &|trial| trial.seed.to_string()),
            column(2, "epoch", &|trial| trial.epoch.to_string()),
            column(5, "gate", &|it| it.gate.map_or("-".into(), |gate| format!("{gate:.2}"))),
            column(1, "val_error %", &|it| {
                it.val_error.map_or("-".into(), |error| Unit::Percent.value(error))
            }),
        ]);
        columns
    }

    fn draw_configs(&self, frame: &mut Frame<'_>, area: Rect, is_framed: bool) {
        let title = "best configs: mean val_error % of their trials";
        // Without a frame the head of the table is title enough.
        let inside = if is_framed { section(frame, area, title, true) } else { area };
        let shown = || self.configs.iter().take(CONFIGS_MAX);
        let column = |rank, head: &str, cell: &dyn Fn(&BestConfig) -> String| {
            Column::new(rank, &clipped(head, VALUE_MAX), shown().map(cell))
        };
        let percent = |share: f64| Unit::Percent.value(share);
        let mut columns = vec![
            column(0, if is_framed { "mean %" } else { "best %" }, &|it| {
                percent(it.val_error.mean)
            }),
            column(3, "std", &|it| it.val_error.std.map_or("-".into(), percent)),
            column(2, "trials", &|it| it.val_error.n.to_string()),
        ];
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in shown().flat_map(|config| &config.params) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        for name in names {
            columns.push(column(1, name, &|config| {
                let found = config.params.iter().find(|(it, _)| it == name);
                clipped(found.map_or("-", |(_, value)| value), VALUE_MAX)
            }));
        }
        columns::draw(frame, inside, &columns::fitting(columns, inside.width).0);
    }

    fn draw_workers(&self, frame: &mut Frame<'_>, area: Rect, is_framed: bool) {
        let around = if is_framed { 2 } else { 1 };
        let rows = usize::from(area.height.saturating_sub(around));
        let left = self.workers.len().saturating_sub(rows);
        let more = if left > 0 { format!(", {left} more not shown") } else { String::new() };
        let inside = section(frame, area, &format!("workers{more}"), is_framed);
        let shown = || self.workers.iter().take(rows);
        let state = |worker: &Worker| match worker.state.as_str() {
            "connected" => Span::raw("connected"),
            other => Span::styled(printable(other), Style::new().fg(Color::Red)),
        };
        let slots = |worker: &Worker| {
            let busy = worker.slots.iter().filter(|slot| slot.state == "busy").count();
            format!("{busy} of {} slots busy", worker.slots.len())
        };
        let names = shown().map(|worker| clipped(&worker.worker, NAME_MAX));
        let states = shown().map(state).collect();
        let columns = vec![
            Column::new(0, "", names),
            Column { head: String::new(), cells: states, rank: 1 },
            Column::new(2, "", shown().map(slots)),
        ];
        columns::draw(frame, inside, &columns::fitting(columns, inside.width).0);
    }

    fn draw_foot(&self, frame: &mut Frame<'_>, area: Rect, now: Instant) {
        let keys = Span::styled("q", Style::new().add_modifier(Modifier::BOLD));
        let left = usize::from(area.width).saturating_sub("q leaves  ".len());
        let news = match self.contact.complaint(now) {
            Some(complaint) => Span::raw(clipped(&complaint, left)).red().bold(),
            None => format!("{:.0} examples/s", self.progress.examples_per_second).into(),
        };
        frame.render_widget(Line::from(vec![keys, " leaves  ".into(), news]), area);
    }
}

/// A frame with this title, or the title alone; gives what is inside.
fn section(frame: &mut Frame<'_>, area: Rect, title: &str, is_framed: bool) -> Rect {
    if area.is_empty() {
        return area;
    }
    if is_framed {
        let title = format!(" {} ", clipped(title, usize::from(area.width).saturating_sub(4)));
        let block = Block::bordered().title(title).border_style(Style::new().fg(Color::DarkGray));
        let inside = block.inner(area);
        frame.render_widget(block, area);
        return inside;
    }
    let [top, inside] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Line::from(clipped(title, area.width.into())).bold(), top);
    inside
}

/// A trial's parameters as text.
fn values(trial: &ActiveTrial) -> BTreeMap<String, String> {
    let Ok(Value::Object(object)) = serde_json::from_str(&trial.params) else {
        return BTreeMap::new();
    };
    let text = |value: Value| match value {
        Value::String(word) => word,
        other => {
            let text = other.to_string();
            // As tables have whole numbers.
            text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
        }
    };
    object.into_iter().map(|(name, value)| (name, text(value))).collect()
}

/// The parameters in which those of these trials differ that have them.
fn varying(trials: &[ActiveTrial]) -> Vec<String> {
    let all: Vec<BTreeMap<String, String>> = trials.iter().map(values).collect();
    let names: BTreeSet<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    let differs = |name: &&String| {
        let mut values = all.iter().filter_map(|it| it.get(*name));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    names.into_iter().filter(differs).cloned().collect()
}
