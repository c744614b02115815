//! What the screen shows, and how it is laid out. Draws into whatever terminal it is given.

use std::collections::{BTreeMap, BTreeSet};

use common::wire::{ActiveTrial, Summary, SweepProgress, Worker};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph, Row, Table};
use serde_json::Value;

use super::spark;
use crate::render::{Unit, duration, printable};

/// Digits of a trial's id: enough for the other commands to find it.
const ID_DIGITS: u16 = 10;
/// Blocks of a trial's validation errors.
pub(super) const SPARK_WIDTH: usize = 24;
/// Lines of the best configs and of the workers.
const CONFIGS_MAX: usize = 5;
const WORKERS_MAX: usize = 6;

/// A config with its mean validation error.
pub(super) struct BestConfig {
    /// `depth 20, tau 5`.
    pub params: String,
    /// Over its trials.
    pub val_error: Summary,
}

/// Everything that is shown.
#[derive(Default)]
pub(super) struct View {
    /// The newest picture.
    pub progress: SweepProgress,
    /// Validation errors by trial.
    pub histories: BTreeMap<String, Vec<f64>>,
    /// The best first.
    pub configs: Vec<BestConfig>,
    /// Every worker.
    pub workers: Vec<Worker>,
}

/// Where a sweep stands, in one line.
pub(super) fn line(progress: &SweepProgress) -> String {
    let name = progress.sweep.as_ref().map_or("", |sweep| sweep.name.as_str());
    format!("{name}: {}", counts(progress))
}

fn counts(progress: &SweepProgress) -> String {
    let Some(sweep) = &progress.sweep else { return String::new() };
    let counts = sweep.trials.unwrap_or_default();
    let done = counts.completed + counts.diverged + counts.failed;
    let all = done + counts.cancelled + counts.pending + counts.running;
    let mut text = format!(
        "{done}/{all} done, {} running, {} failed, {} diverged",
        counts.running, counts.failed, counts.diverged
    );
    if counts.cancelled > 0 {
        text.push_str(&format!(", {} cancelled", counts.cancelled));
    }
    if let Some(seconds) = sweep.eta_seconds {
        text.push_str(&format!(", about {} left", duration(seconds)));
    }
    if let Some(error) = sweep.best_val_error {
        text.push_str(&format!(", best {} %", Unit::Percent.value(error)));
    }
    if !["running", "idle"].contains(&sweep.state.as_str()) {
        text.push_str(&format!(" - {}", printable(&sweep.state)));
    }
    text
}

impl View {
    /// Trials in the order in which they are shown: running ones, then the best.
    pub fn trials(&self) -> impl Iterator<Item = &ActiveTrial> {
        let of =
            |running: bool| self.progress.active.iter().filter(move |it| it.running == running);
        of(true).chain(of(false))
    }

    /// Draws everything; what does not fit is left out from below.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let configs = u16::try_from(self.configs.len().min(CONFIGS_MAX)).unwrap_or(0);
        let workers = u16::try_from(self.workers.len().min(WORKERS_MAX)).unwrap_or(0);
        let [head, trials, best, hosts, foot] = Layout::vertical([
            Constraint::Length(4),
            Constraint::Min(4),
            Constraint::Length(if configs > 0 { configs + 2 } else { 0 }),
            Constraint::Length(if workers > 0 { workers + 2 } else { 0 }),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        self.draw_head(frame, head);
        self.draw_trials(frame, trials);
        if configs > 0 {
            self.draw_configs(frame, best);
        }
        if workers > 0 {
            self.draw_workers(frame, hosts);
        }
        let pace = format!(" {:.0} examples/s", self.progress.examples_per_second);
        let keys = Span::styled(" q", Style::new().add_modifier(Modifier::BOLD));
        frame.render_widget(Line::from(vec![keys, " leaves  ".into(), pace.into()]), foot);
    }

    fn draw_head(&self, frame: &mut Frame<'_>, area: Rect) {
        let Some(sweep) = &self.progress.sweep else { return };
        let title = format!(" {} · {} on {} ", sweep.name, sweep.model, sweep.data);
        let trials = sweep.trials.unwrap_or_default();
        let ended = trials.completed + trials.diverged + trials.failed + trials.cancelled;
        let all = ended + trials.pending + trials.running;
        #[expect(clippy::cast_precision_loss, reason = "for a bar")]
        let ratio = if all == 0 { 0.0 } else { ended as f64 / all as f64 };
        let block = block(title);
        let inside = block.inner(area);
        frame.render_widget(block, area);
        let [words, bar] =
            Layout::vertical([Constraint::Length(1), Constraint::Length(1)]).areas(inside);
        frame.render_widget(Paragraph::new(counts(&self.progress)), words);
        let ratio = ratio.clamp(0.0, 1.0);
        let words = Style::new().fg(Color::White).bold();
        let percent = Span::styled(format!("{:.0} %", 100.0 * ratio), words);
        // The words turn these round where the bar is below them.
        let style = Style::new().fg(Color::LightBlue).bg(Color::Black);
        frame.render_widget(Gauge::default().gauge_style(style).label(percent).ratio(ratio), bar);
    }

    fn draw_trials(&self, frame: &mut Frame<'_>, area: Rect) {
        let params = varying(&self.progress.active);
        let mut header = vec!["".to_owned(), "trial".into()];
        header.extend(params.iter().cloned());
        header.extend(["seed", "epoch", "gate", "val_error %", "by epoch"].map(String::from));
        let mut rows = Vec::new();
        for trial in self.trials() {
            rows.push(self.row(trial, &params));
        }
        let mut widths = vec![Constraint::Length(2), Constraint::Length(ID_DIGITS)];
        for (at, name) in params.iter().enumerate() {
            let cells = rows.iter().map(|row| row[at + 2].chars().count());
            let width = cells.chain([name.chars().count()]).max().unwrap_or(0);
            widths.push(Constraint::Length(u16::try_from(width.min(20)).unwrap_or(20)));
        }
        widths.extend([4, 5, 5, 11].map(Constraint::Length));
        widths.push(Constraint::Min(10));
        let more = if self.progress.active_truncated { ", some of them" } else { "" };
        let title = format!(" ▶ running{more}, ✓ the best so far ");
        let table = Table::new(rows.into_iter().map(Row::new), widths)
            .header(Row::new(header).style(Style::new().add_modifier(Modifier::BOLD)))
            .block(block(title));
        frame.render_widget(table, area);
    }

    fn row(&self, trial: &ActiveTrial, params: &[String]) -> Vec<String> {
        let values = values(trial);
        let id = trial.trial.chars().take(ID_DIGITS.into()).collect();
        let mut row = vec![if trial.running { "▶" } else { "✓" }.to_owned(), id];
        for name in params {
            row.push(values.get(name).cloned().unwrap_or_else(|| "-".into()));
        }
        let history = self.histories.get(&trial.trial).map_or(&[][..], Vec::as_slice);
        row.extend([
            trial.seed.to_string(),
            trial.epoch.to_string(),
            trial.gate.map_or("-".into(), |gate| format!("{gate:.2}")),
            trial.val_error.map_or("-".into(), |error| Unit::Percent.value(error)),
            spark::line(history, SPARK_WIDTH),
        ]);
        row.iter().map(|text| printable(text)).collect()
    }

    fn draw_configs(&self, frame: &mut Frame<'_>, area: Rect) {
        let mut lines = Vec::new();
        for config in self.configs.iter().take(CONFIGS_MAX) {
            let Summary { mean, std, n, .. } = config.val_error;
            let std = std.map_or(String::new(), |std| format!(" ± {}", Unit::Percent.value(std)));
            let value = format!("{:>6}{std} ({n})  ", Unit::Percent.value(mean));
            lines.push(Line::from(format!("{value}{}", printable(&config.params))));
        }
        let title = " best configs: mean val_error % (trials) ";
        frame.render_widget(Paragraph::new(lines).block(block(title.into())), area);
    }

    fn draw_workers(&self, frame: &mut Frame<'_>, area: Rect) {
        let mut lines = Vec::new();
        for worker in self.workers.iter().take(WORKERS_MAX) {
            let busy = worker.slots.iter().filter(|slot| slot.state == "busy").count();
            let state = match worker.state.as_str() {
                "connected" => Span::raw("connected"),
                other => Span::styled(printable(other), Style::new().fg(Color::Red)),
            };
            let slots = format!("  {busy} of {} slots busy", worker.slots.len());
            let name = format!("{:<24} ", printable(&worker.worker));
            lines.push(Line::from(vec![name.into(), state, slots.into()]));
        }
        let left = self.workers.len().saturating_sub(WORKERS_MAX);
        let more = if left > 0 { format!(", {left} more not shown") } else { String::new() };
        let title = format!(" workers{more} ");
        frame.render_widget(Paragraph::new(lines).block(block(title)), area);
    }
}

fn block(title: String) -> Block<'static> {
    Block::bordered().title(printable(&title)).border_style(Style::new().fg(Color::DarkGray))
}

/// A trial's parameters as text.
fn values(trial: &ActiveTrial) -> BTreeMap<String, String> {
    let Ok(Value::Object(object)) = serde_json::from_str(&trial.params) else {
        return BTreeMap::new();
    };
    let text = |value: Value| match value {
        Value::String(word) => word,
        other => other.to_string(),
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

#[cfg(test)]
mod tests {
    use common::wire::{Sweep, TrialCounts, WorkerSlot};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn view() -> View {
        let trials =
            TrialCounts { pending: 3, running: 1, completed: 5, failed: 1, ..Default::default() };
        let sweep = Sweep {
            name: "depth".into(),
            model: "mlp".into(),
            data: "mnist".into(),
            trials: Some(trials),
            state: "running".into(),
            eta_seconds: Some(75.0),
            best_val_error: Some(0.0213),
            ..Default::default()
        };
        let active = |trial: &str, depth: u32, running| ActiveTrial {
            trial: trial.into(),
            params: format!("{{\"depth\":{depth},\"width\":64,\"activation\":\"grelu\"}}"),
            running,
            epoch: 3,
            gate: Some(0.5),
            val_error: Some(0.04),
            ..Default::default()
        };
        let progress = SweepProgress {
            sweep: Some(sweep),
            active: vec![
                active("aaaaaaaaaaaaaaaa", 2, false),
                active("bbbbbbbbbbbbbbbb", 40, true),
            ],
            examples_per_second: 12_345.6,
            ..Default::default()
        };
        let slot = WorkerSlot { state: "busy".into(), ..Default::default() };
        View {
            progress,
            histories: [("bbbbbbbbbbbbbbbb".into(), vec![0.9, 0.5, 0.1])].into(),
            configs: vec![BestConfig {
                params: "depth 2".into(),
                val_error: Summary { n: 2, mean: 0.03, std: Some(0.001), ..Default::default() },
            }],
            workers: vec![Worker {
                worker: "host1".into(),
                state: "lost".into(),
                slots: vec![slot],
                ..Default::default()
            }],
        }
    }

    fn drawn(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal.draw(|frame| view.draw(frame)).expect("drawn");
        terminal.backend().to_string()
    }

    #[test]
    fn screen_shows_progress_trials_configs_and_workers() {
        let text = drawn(&view(), 110, 20);
        let expected = [
            "depth · mlp on mnist",
            "6/10 done, 1 running, 1 failed, 0 diverged, about 75 s left, best 2.13 %",
            "▶  bbbbbbbbbb 40    0    3     0.50  4.00        █▅▁",
            "3.00 ± 0.10 (2)  depth 2",
            "host1                    lost  1 of 1 slots busy",
            "12346 examples/s",
        ];
        for line in expected {
            assert!(text.contains(line), "no `{line}` in\n{text}");
        }
        // Equal in all that is shown.
        assert!(!text.contains("width"), "{text}");
        let place = |trial: &str| text.find(trial).expect("shown");
        assert!(place("bbbb") < place("aaaa"), "running ones stand first\n{text}");
    }

    #[test]
    fn screens_of_any_size_are_drawn() {
        for (width, height) in [(1, 1), (5, 3), (20, 6), (300, 4), (10, 100)] {
            drawn(&view(), width, height);
            drawn(&View::default(), width, height);
        }
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        let mut view = view();
        view.workers[0].state = "\u{1b}[2J".into();
        view.progress.active[0].params = "{\"depth\":\"\u{1b}[31m\"}".into();
        assert!(!drawn(&view, 110, 20).contains('\u{1b}'));
    }
}
