//! What is drawn on screens of several sizes, and which terminals get lines.

use std::ffi::OsStr;
use std::time::Duration;

use common::wire::{ActiveTrial, Summary, Sweep, SweepProgress, TrialCounts, Worker, WorkerSlot};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use tokio::time::Instant;

use super::draws;
use super::view::{BestConfig, Contact, History, View, line};

fn active(trial: &str, depth: u32, running: bool) -> ActiveTrial {
    ActiveTrial {
        trial: trial.into(),
        params: format!("{{\"depth\":{depth},\"width\":64,\"activation\":\"grelu\"}}"),
        running,
        epoch: 3,
        gate: Some(0.5),
        val_error: Some(0.04),
        ..Default::default()
    }
}

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
    let progress = SweepProgress {
        sweep: Some(sweep),
        active: vec![active("aaaaaaaaaaaaaaaa", 2, false), active("bbbbbbbbbbbbbbbb", 40, true)],
        examples_per_second: 12_345.6,
        ..Default::default()
    };
    let config = |depth: u32| BestConfig {
        params: vec![("depth".into(), depth.to_string())],
        val_error: Summary { n: 2, mean: 0.03, std: Some(0.001), ..Default::default() },
    };
    let slot = WorkerSlot { state: "busy".into(), ..Default::default() };
    let history = History { errors: vec![0.9, 0.5, 0.1], epoch: 3, is_running: true };
    View {
        progress,
        histories: [("bbbbbbbbbbbbbbbb".into(), history)].into(),
        configs: [2, 4, 8].map(config).into(),
        workers: vec![Worker {
            worker: "host1".into(),
            state: "lost".into(),
            slots: vec![slot],
            ..Default::default()
        }],
        contact: Contact::default(),
    }
}

fn drawn_at(view: &View, width: u16, height: u16, now: Instant) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| view.draw(frame, now)).expect("drawn");
    terminal.backend().to_string()
}

fn drawn(view: &View, width: u16, height: u16) -> String {
    drawn_at(view, width, height, Instant::now())
}

fn assert_shows(text: &str, expected: &[&str]) {
    for line in expected {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
}

#[test]
fn screen_shows_progress_trials_configs_and_workers() {
    let text = drawn(&view(), 110, 20);
    let expected = [
        "depth · mlp on mnist",
        "6/10 done, about 75 s left, best 2.13 %, 1 running, 1 failed",
        "▶ bbbbbbbbbb 40    0    3     0.50 4.00        █▅▁",
        "mean % std  trials depth",
        "3.00   0.10 2      2",
        "host1 lost 1 of 1 slots busy",
        "12346 examples/s",
    ];
    assert_shows(&text, &expected);
    // Equal in all that is shown.
    assert!(!text.contains("width"), "{text}");
    let place = |trial: &str| text.find(trial).expect("shown");
    assert!(place("bbbb") < place("aaaa"), "running ones stand first\n{text}");
}

#[test]
fn trends_end_with_the_newest_value_in_a_terminal_of_the_usual_size() {
    let mut view = view();
    // Names that leave the trend little room.
    for (at, trial) in view.progress.active.iter_mut().enumerate() {
        trial.params = format!("{{\"activation\":\"relu{at}\",\"init_gain\":\"1.414213562{at}\"}}");
    }
    let errors = (0..200).map(|epoch| if epoch < 190 { 0.1 } else { 0.9 }).collect();
    let history = History { errors, epoch: 200, is_running: true };
    view.histories.insert("bbbbbbbbbbbbbbbb".into(), history);
    let text = drawn(&view, 80, 24);
    let row = text.lines().find(|line| line.contains("bbbb")).expect("its row");
    let blocks = row.trim_end_matches(['"', '│', ' ']);
    assert!(blocks.ends_with('█'), "the last value is the highest\n{text}");
    assert_shows(&text, &["val_error %", "trend"]);
}

#[test]
fn small_screens_show_the_most_important_whole() {
    let text = drawn(&view(), 40, 10);
    let expected = [
        "\"depth · mlp on mnist                    \"",
        "\"6/10 done, about 75 s left, best 2.13 % \"",
        "\"1 running, 1 failed                     \"",
        "  trial      depth epoch val_error %",
        "▶ bbbbbbbbbb 40    3     4.00",
        "best % std  trials depth",
        "3.00   0.10 2      4",
        "q leaves  12346 examples/s",
    ];
    assert_shows(&text, &expected);
    assert!(!text.contains("host1") && !text.contains('│'), "{text}");
    assert_shows(&drawn(&view(), 40, 14), &["host1 lost 1 of 1 slots busy"]);
    // No name of a column is cut.
    let text = drawn(&view(), 20, 10);
    assert_shows(&text, &["val_error %"]);
    assert!(!text.contains("trial  ") && !text.contains("tr "), "{text}");
}

#[test]
fn counts_that_are_too_long_lose_the_least_important() {
    let mut view = view();
    let sweep = view.progress.sweep.as_mut().expect("a sweep");
    sweep.trials.as_mut().expect("counts").pending = 12_000;
    assert_shows(
        &drawn(&view, 40, 10),
        &["6/12007 done, about 75 s left", "best 2.13 %, 1 running"],
    );
    let sweep = view.progress.sweep.as_mut().expect("a sweep");
    sweep.eta_seconds = None;
    sweep.state = "no worker that is connected has the data set".into();
    let expected = ["6/12007 done, best 2.13 %", "no worker that is connected has the dat…"];
    assert_shows(&drawn(&view, 40, 10), &expected);
}

#[test]
fn silence_is_told_and_why() {
    let start = Instant::now();
    let mut view = view();
    let told = |view: &View, seconds, width| {
        drawn_at(view, width, 20, start + Duration::from_secs(seconds))
    };
    view.contact.heard = Some(start);
    assert_shows(&told(&view, 5, 80), &["12346 examples/s"]);
    assert_shows(&told(&view, 12, 80), &["q leaves  no news for 12 s"]);
    view.contact.away = Some("the connection broke".into());
    assert_shows(&told(&view, 1, 80), &["no news for 1 s, trying again: the connection broke"]);
    assert_shows(&told(&view, 12, 40), &["q leaves  no news for 12 s, trying agai…"]);
}

#[test]
fn pictures_continue_histories_that_have_the_epoch_before() {
    let mut view = view();
    let mut progress = view.progress.clone();
    progress.active[1].epoch = 4;
    view.go_on(progress.clone());
    assert_eq!(view.histories["bbbbbbbbbbbbbbbb"].errors, [0.9, 0.5, 0.1, 0.04]);
    let lacking = |view: &View| -> Vec<String> {
        view.lacking(30).into_iter().map(|trial| trial.trial.chars().take(1).collect()).collect()
    };
    assert_eq!(lacking(&view), ["a"], "the one without a history");
    progress.active[1].epoch = 6;
    view.go_on(progress.clone());
    assert_eq!(view.histories["bbbbbbbbbbbbbbbb"].errors.len(), 4, "a gap is not bridged");
    assert_eq!(lacking(&view), ["b", "a"]);
    progress.active.truncate(1);
    view.go_on(progress);
    assert!(view.histories.is_empty(), "of trials that are not shown");
}

#[test]
fn screens_of_any_size_are_drawn() {
    for (width, height) in [(1, 1), (5, 3), (20, 6), (60, 18), (300, 4), (10, 100), (300, 100)] {
        drawn(&view(), width, height);
        drawn(&View::default(), width, height);
    }
}

#[test]
fn what_others_wrote_cannot_steer_the_terminal() {
    let mut view = view();
    view.workers[0].state = "\u{1b}[2J".into();
    view.workers[0].worker = "\u{1b}[2J".into();
    view.progress.active[0].params = "{\"depth\":\"\u{1b}[31m\"}".into();
    assert!(!drawn(&view, 110, 20).contains('\u{1b}'));
}

#[test]
fn lines_tell_the_same() {
    let mut progress = view().progress;
    let expected =
        "depth: 6/10 done, 1 running, 1 failed, 0 diverged, about 75 s left, best 2.13 %";
    assert_eq!(line(&progress), expected);
    progress.sweep.as_mut().expect("a sweep").state = "paused".into();
    assert_eq!(line(&progress), format!("{expected} - paused"));
}

#[test]
fn terminals_that_cannot_be_drawn_on_get_lines() {
    let cases = [(None, false), (Some(""), false), (Some("dumb"), false), (Some("xterm"), true)];
    for (term, expected) in cases {
        assert_eq!(draws(term.map(OsStr::new)), expected, "{term:?}");
    }
}
