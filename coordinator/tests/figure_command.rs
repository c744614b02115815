//! `plot` and `curves` as processes, on a state directory that no coordinator serves.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::ids::{AttemptId, CohortId};
use common::spec;
use coordinator::store::{SqliteStore, Store};
use roxmltree::Document;
use scheduler::Change;
use scheduler::event::{
    AttemptEnd, EpochMetrics, Fusion, Outcome, OutcomeKind, Provenance, SweepHeader, Trial,
};

/// The table has depth in its rows, which vary by a factor of 40.
const YAML: &str = "\
name: tiny
model: mlp
data: strokes
base: {tau: 2, epochs: 4}
grid: {depth: [2, 10, 80], activation: [relu, grelu]}
seeds: 2
table: {rows: depth, columns: activation, metric: val_error}
";

/// A folder with the state of a sweep: of twelve trials ten completed, one diverged, one waits.
struct Bench {
    folder: tempfile::TempDir,
    trials: Vec<Trial>,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let (sweep, _) = spec::load(YAML, "tiny.yaml", &spec::Options::default()).unwrap();
        let trials: Vec<Trial> =
            sweep.expand().map(|(config, id, seed)| Trial { id, config, seed }).collect();
        let header = SweepHeader {
            name: sweep.name.clone(),
            yaml: sweep.yaml.clone(),
            model: sweep.model,
            data: sweep.data,
            fusion: Fusion::Auto,
            priority: 0,
            failures_max: None,
            slot_seconds_max: None,
            same_error_max: None,
            data_digest: None,
        };
        let ids = trials.iter().map(|trial| trial.id).collect();
        let mut changes = vec![
            Change::SweepApplied(header),
            Change::TrialsAdded(trials.clone()),
            Change::MembersAdded { sweep: sweep.name.clone(), first_index: 0, trials: ids },
            Change::SweepExpanded(sweep.name),
        ];
        for (at, trial) in trials.iter().enumerate().take(11) {
            let kind = if at == 10 { OutcomeKind::Diverged } else { OutcomeKind::Completed };
            changes.extend(run(trial, at as f64, kind));
        }
        SqliteStore::open(&folder.path().join("state")).unwrap().commit(&changes, 1).unwrap();
        Bench { folder, trials }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coordinator"));
        command.current_dir(self.folder.path()).args(arguments).args(["--state", "state"]);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GRADSWEEP_") {
                command.env_remove(name);
            }
        }
        command.output().unwrap()
    }

    /// What a command that succeeds prints.
    fn printed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command that is refused says.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        String::from_utf8(output.stderr).unwrap()
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

/// The changes of a trial that trains three epochs.
fn run(trial: &Trial, at: f64, kind: OutcomeKind) -> Vec<Change> {
    let attempt = AttemptId { trial: trial.id, number: 1 };
    let worker = "w1".parse().unwrap();
    let mut changes =
        vec![Change::AttemptStarted { attempt, worker, cohort: CohortId(1), cohort_size: 1 }];
    for epoch in 1..=3u32 {
        let metrics = EpochMetrics {
            epoch,
            train_loss: 2.0 / f64::from(epoch),
            train_error: 0.5,
            val_loss: 2.5 / f64::from(epoch),
            val_error: 0.3 + at / 100.0,
            gate: f64::from(epoch - 1) / 2.0,
            lr: 1e-3,
            grad_norm: 1.0,
            examples_per_second: 1.0,
            seconds: 1.0,
            examples: 1,
        };
        changes.push(Change::EpochRecorded(attempt, metrics));
    }
    let of_completed = (kind == OutcomeKind::Completed).then_some(0.1 + at / 100.0);
    let outcome = Outcome {
        kind,
        epochs: 3,
        seconds: 1.0,
        best_epoch: of_completed.map(|_| 3),
        test_error: of_completed,
        test_loss: of_completed,
        val_error: of_completed,
        val_loss: of_completed,
        train_loss: of_completed,
        reason: "the last epoch".into(),
        provenance: Provenance::default(),
    };
    let end = AttemptEnd::Outcome(kind);
    changes.push(Change::AttemptEnded { attempt, end, deaths: 0, cohort_size_max: None });
    changes.push(Change::OutcomeRecorded(attempt, outcome));
    changes
}

fn texts(svg: &str, class: &str) -> Vec<String> {
    let document = Document::parse(svg).unwrap();
    let of_class = document.descendants().filter(|node| node.attribute("class") == Some(class));
    of_class.map(|node| node.text().unwrap_or_default().to_owned()).collect()
}

/// Width and height of a PNG file.
fn size_of_png(path: &Path) -> (u32, u32) {
    let bytes = fs::read(path).unwrap();
    assert_eq!(bytes[..8], *b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[test]
fn plot_draws_what_the_sweep_file_tabulates() {
    let bench = Bench::new();
    let svg = bench.printed(&["plot", "tiny"]);
    assert_eq!(texts(&svg, "title"), ["tiny: validation error against depth"]);
    assert_eq!(texts(&svg, "tick-x"), ["2", "10", "80"]);
    assert_eq!(texts(&svg, "legend-label"), ["relu", "grelu", "diverged or failed"]);
    let notes = texts(&svg, "note").join(" ");
    assert!(notes.contains("Not in the mean: 1 diverged and 1 unfinished trials."), "{notes}");
    let svg = bench.printed(&["plot", "tiny", "--x", "activation", "--y", "test_error"]);
    assert_eq!(texts(&svg, "title"), ["tiny: test error against activation"]);
    for (scale, label) in
        [("auto", "validation error (%)"), ("log", "validation error (%, log scale)")]
    {
        let svg = bench.printed(&["plot", "tiny", "--y-scale", scale]);
        assert_eq!(texts(&svg, "label-y"), [label]);
        let svg = bench.printed(&["curves", "tiny", "--y-scale", scale]);
        assert_eq!(texts(&svg, "label-y")[0], label);
    }
}

#[test]
fn plot_writes_svg_and_png_by_the_ending() {
    let bench = Bench::new();
    for (kind, title) in [
        ("line", "tiny: validation error against depth"),
        ("heat", "tiny: validation error by activation and depth"),
        ("parallel", "tiny: validation error by parameter"),
    ] {
        let written = bench.printed(&["plot", "tiny", "--kind", kind, "-o", "figure.svg"]);
        assert_eq!(written, "");
        let svg = fs::read_to_string(bench.folder.path().join("figure.svg")).unwrap();
        assert_eq!(texts(&svg, "title"), [title]);
        let dark = ["--theme", "dark", "--size", "300x300", "-o", "figure.PNG"];
        bench.printed(&[&["plot", "tiny", "--kind", kind], &dark[..]].concat());
        assert_eq!(size_of_png(&bench.folder.path().join("figure.PNG")), (600, 600));
    }
}

#[test]
fn curves_are_those_of_the_configs_or_of_one_trial() {
    let bench = Bench::new();
    let svg = bench.printed(&["curves", "tiny"]);
    assert_eq!(texts(&svg, "label-y"), ["validation error (%)", "loss", "gate"]);
    assert_eq!(texts(&svg, "legend-label").len(), 6 + 2);
    let svg = bench.printed(&["curves", "tiny", "--metric", "error", "--where", "activation=relu"]);
    assert_eq!(texts(&svg, "label-y"), ["error (%)", "gate"]);
    assert_eq!(texts(&svg, "legend-label"), ["2", "10", "80", "validation", "training"]);
    let id = bench.trials[0].id.to_string();
    let svg = bench.printed(&["curves", "tiny", "--trial", &id[..8]]);
    assert_eq!(texts(&svg, "title"), [format!("tiny, trial {id}: learning curves")]);
    let waiting = bench.trials[11].id.to_string();
    let svg = bench.printed(&["curves", "tiny", "--trial", &waiting]);
    assert_eq!(texts(&svg, "empty"), ["No epoch is recorded yet."]);
}

#[test]
fn figures_that_cannot_be_drawn_are_refused_and_leave_nothing() {
    let bench = Bench::new();
    let text = bench.refused(&["plot", "tiny", "-o", "figure.pdf"]);
    assert_eq!(text, "error: --output figure.pdf: a figure is written as .svg or .png\n");
    let text = bench.refused(&["curves", "tiny", "-o", "figure"]);
    assert!(text.contains("a figure is written as .svg or .png"), "{text}");
    let text = bench.refused(&["plot", "tyni", "-o", "figure.svg"]);
    assert!(text.contains("unknown sweep `tyni`"), "{text}");
    let text = bench.refused(&["plot", "tiny", "--x", "width", "-o", "figure.svg"]);
    let expected = "error: --x: `width` does not vary in this sweep; `activation`, `depth` vary\n";
    assert_eq!(text, expected);
    let text = bench.refused(&["plot", "tiny", "--x", "depth", "--by", "depth"]);
    assert!(text.contains("is in --x and in --by"), "{text}");
    let text = bench.refused(&["curves", "tiny", "--metric", "test_error"]);
    assert!(text.contains("--metric: unknown metric `test_error`"), "{text}");
    let text = bench.refused(&["plot", "tiny", "--size", "9x9"]);
    assert!(text.contains("280x200 to 4000x3000 is accepted"), "{text}");
    let text = bench.refused(&["curves", "tiny", "--size", "280x200", "-o", "figure.png"]);
    assert!(text.contains("a figure of 280x200 has no room for what it shows"), "{text}");
    let text = bench.refused(&["plot", "tiny", "--y-scale", "root"]);
    assert!(text.contains("[possible values: auto, linear, log]"), "{text}");
    let text = bench.refused(&["plot", "tiny", "--size", "large"]);
    assert!(text.contains("WIDTHxHEIGHT in pixels is accepted"), "{text}");
    let text = bench.refused(&["plot", "tiny", "--kind", "heat", "--where", "depth=80"]);
    assert!(text.contains("a heat map needs two parameters that vary; `activation` varies"));
    assert_eq!(bench.files(), [bench.folder.path().join("state")]);
}
