//! A folder with a sweep file and the state of its run, and commands in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use common::ids::{AttemptId, CohortId};
use common::spec;
use coordinator::store::{SqliteStore, Store};
use scheduler::Change;
use scheduler::event::{
    AttemptEnd, Device, EpochMetrics, FailureCause, Fusion, Outcome, OutcomeKind, Provenance,
    SweepHeader, Trial, WorkerHello,
};

pub const AT: u64 = 1_732_449_903_000;
pub const YAML: &str = "\
name: tiny
model: mlp
data: strokes
base: {tau: 2, epochs: 4}
grid: {depth: [2, 30], activation: [relu, grelu]}
seeds: 2
table: {rows: depth, columns: activation, metric: test_error}
expect:
- {claim: shallow relu wins, where: {depth: 2}, less: {activation: relu},
   than: {activation: grelu}, confidence: 0.8}
- {claim: deep relu wins, where: {depth: 30}, less: {activation: grelu}, than: {activation: relu}}
";

/// A folder with a sweep file and the state of its run: of eight trials five completed, one
/// diverged, one failed, and one waits.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub trials: Vec<Trial>,
}

impl Bench {
    pub fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tiny.yaml"), YAML).unwrap();
        let (sweep, _) = spec::load(YAML, "tiny.yaml", &spec::Options::default()).unwrap();
        let trials: Vec<Trial> =
            sweep.expand().map(|(config, id, seed)| Trial { id, config, seed }).collect();
        let mut changes = vec![
            Change::SweepApplied(SweepHeader {
                same_error_max: None,
                name: sweep.name.clone(),
                yaml: sweep.yaml.clone(),
                model: sweep.model,
                data: sweep.data,
                fusion: Fusion::Auto,
                priority: 0,
                failures_max: None,
                slot_seconds_max: None,
                data_digest: None,
            }),
            Change::TrialsAdded(trials.clone()),
            Change::MembersAdded {
                sweep: sweep.name.clone(),
                first_index: 0,
                trials: trials.iter().map(|trial| trial.id).collect(),
            },
            Change::SweepExpanded(sweep.name),
            Change::WorkerAttached(worker()),
        ];
        for (at, trial) in trials.iter().enumerate().take(7) {
            let kind = match at {
                5 => OutcomeKind::Diverged,
                6 => OutcomeKind::Failed,
                _ => OutcomeKind::Completed,
            };
            changes.extend(run(trial, at, kind));
        }
        SqliteStore::open(&folder.path().join("state")).unwrap().commit(&changes, AT).unwrap();
        Bench { folder, trials }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn trial(&self, at: usize) -> String {
        self.trials[at].id.to_string()
    }

    /// A command in the folder, without the variables of whoever runs the tests.
    pub fn run(&self, arguments: &[&str]) -> Assert {
        run_in(self.folder.path(), arguments)
    }

    /// A command on the state directory.
    pub fn read(&self, arguments: &[&str]) -> Assert {
        self.run(&[arguments, &["--state", "state"]].concat())
    }
}

pub fn run_in(folder: &Path, arguments: &[&str]) -> Assert {
    Command::from_std(command(folder, arguments)).assert()
}

pub fn command(folder: &Path, arguments: &[&str]) -> process::Command {
    let mut command = process::Command::new(env!("CARGO_BIN_EXE_coordinator"));
    command.current_dir(folder).args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GRADSWEEP_") {
            command.env_remove(name);
        }
    }
    command
}

pub fn worker() -> WorkerHello {
    WorkerHello {
        id: "w1".parse().unwrap(),
        host: "host1".into(),
        program_version: env!("CARGO_PKG_VERSION").into(),
        libtorch_version: "2.11.0".into(),
        slots: vec![Device::Cpu, Device::Cpu],
        data_digests: Default::default(),
        running: Vec::new(),
        draining: false,
    }
}

/// The changes of a trial that ends in its first attempt.
pub fn run(trial: &Trial, at: usize, kind: OutcomeKind) -> Vec<Change> {
    let attempt = AttemptId { trial: trial.id, number: 1 };
    let error = 0.05 + f64::from(u8::try_from(at).unwrap()) / 100.0;
    let of_completed = (kind == OutcomeKind::Completed).then_some(error);
    let outcome = Outcome {
        kind,
        epochs: 1,
        seconds: 4.5,
        best_epoch: of_completed.map(|_| 1),
        test_error: of_completed,
        test_loss: of_completed,
        val_error: of_completed.map(|error| error / 2.0),
        val_loss: of_completed,
        train_loss: of_completed,
        reason: "as the test says".into(),
        provenance: Provenance { device: "cpu".into(), threads: 1, ..Provenance::default() },
    };
    let epoch = EpochMetrics {
        epoch: 1,
        train_loss: 2.0,
        train_error: 0.5,
        val_loss: 1.5,
        val_error: 0.25,
        gate: 0.5,
        lr: 1e-3,
        grad_norm: 3.0,
        examples_per_second: 1000.0,
        seconds: 4.5,
        examples: 4500,
    };
    let end = match kind {
        OutcomeKind::Failed => AttemptEnd::CohortFailed {
            cause: FailureCause::TrainerDied,
            counted: true,
            message: "signal 11".into(),
            stderr_tail: "the last line\n".into(),
        },
        OutcomeKind::Completed | OutcomeKind::Diverged | OutcomeKind::Cancelled => {
            AttemptEnd::Outcome(kind)
        }
    };
    vec![
        Change::AttemptStarted {
            attempt,
            worker: "w1".parse().unwrap(),
            cohort: CohortId(at as u64 + 1),
            cohort_size: 1,
        },
        Change::EpochRecorded(attempt, epoch),
        Change::AttemptEnded { attempt, end, deaths: 0, cohort_size_max: None },
        Change::OutcomeRecorded(attempt, outcome),
    ]
}

/// What a command that succeeds prints; it says nothing on stderr.
pub fn printed(done: Assert) -> String {
    let done = done.code(0);
    let output = done.get_output();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command that is refused says on stderr; it prints nothing.
pub fn refused(done: Assert, status: i32) -> String {
    let done = done.code(status);
    let output = done.get_output();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn json(done: Assert) -> serde_json::Value {
    serde_json::from_str(&printed(done)).unwrap()
}
