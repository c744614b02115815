//! Answers on a real store: a sweep of its own file, run by hand through changes.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use common::config::Param;
use common::spec;
use common::telemetry::chain;
use common::wire::{self, TableLevel, TablePart, TableRequest, TableRow, cell};
use scheduler::Change;
use scheduler::event::{
    AttemptEnd, EpochMetrics, FailureCause, Fusion, Outcome, OutcomeKind, Provenance, SweepHeader,
    Trial, WorkerHello,
};

use super::*;
use crate::store::{SqliteStore, Store, lock};

const AT: u64 = 1_700_000_000_000;
const YAML: &str = "\
name: depths
model: mlp
data: strokes
base: {tau: 3, epochs: 8}
grid:
  depth: [10, 2]
  activation: [relu, grelu]
  lr: [0.001, 0.0003]
seeds: 2
table: {rows: depth, columns: [activation, lr], metric: val_error}
";

struct Bench {
    dir: tempfile::TempDir,
    store: SqliteStore,
    trials: Vec<Trial>,
    cohort: u64,
}

impl Bench {
    fn new(yaml: &str) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path()).unwrap();
        let mut bench = Bench { dir, store, trials: Vec::new(), cohort: 0 };
        bench.apply(yaml);
        bench
    }

    /// Applies a sweep file; the trials are its own from here on.
    fn apply(&mut self, yaml: &str) {
        let (sweep, _) = spec::load(yaml, "test.yaml", &spec::Options::default()).unwrap();
        self.trials = sweep.expand().map(|(config, id, seed)| Trial { id, config, seed }).collect();
        let header = SweepHeader {
            name: sweep.name.clone(),
            yaml: sweep.yaml.clone(),
            model: sweep.model,
            data: sweep.data,
            fusion: Fusion::Auto,
            priority: 0,
            failures_max: None,
            same_error_max: None,
            slot_seconds_max: None,
            data_digest: None,
        };
        let trials = self.trials.iter().map(|trial| trial.id).collect();
        self.commit([
            Change::SweepApplied(header),
            Change::TrialsAdded(self.trials.clone()),
            Change::MembersAdded { sweep: sweep.name.clone(), first_index: 0, trials },
            Change::SweepExpanded(sweep.name.clone()),
        ]);
    }

    fn commit(&mut self, changes: impl IntoIterator<Item = Change>) {
        let changes: Vec<Change> = changes.into_iter().collect();
        self.store.commit(&changes, AT).unwrap();
    }

    fn attempt(&self, trial: usize, number: u32) -> common::ids::AttemptId {
        common::ids::AttemptId { trial: self.trials[trial].id, number }
    }

    fn start(&mut self, trial: usize, number: u32) {
        self.cohort += 1;
        self.commit([Change::AttemptStarted {
            attempt: self.attempt(trial, number),
            worker: "w1".parse().unwrap(),
            cohort: common::ids::CohortId(self.cohort),
            cohort_size: 1,
        }]);
    }

    fn epochs(&mut self, trial: usize, number: u32, epochs: std::ops::RangeInclusive<u32>) {
        let attempt = self.attempt(trial, number);
        self.commit(epochs.map(|epoch| Change::EpochRecorded(attempt, metrics(number, epoch))));
    }

    fn end(&mut self, trial: usize, number: u32, end: AttemptEnd) {
        let attempt = self.attempt(trial, number);
        self.commit([Change::AttemptEnded { attempt, end, deaths: 0, cohort_size_max: None }]);
    }

    /// Runs a trial to its end in one attempt.
    fn run(&mut self, trial: usize, kind: OutcomeKind, test_error: f64, val_error: f64) {
        self.start(trial, 1);
        self.end(trial, 1, AttemptEnd::Outcome(kind));
        let attempt = self.attempt(trial, 1);
        let outcome = outcome(kind, test_error, val_error);
        self.commit([Change::OutcomeRecorded(attempt, outcome)]);
    }

    fn find(&self, settings: &[(Param, &str)], seed: u64) -> usize {
        let matches = |trial: &Trial| {
            trial.seed == seed
                && settings.iter().all(|(param, value)| {
                    trial.config.get(*param).map(|v| v.to_string()).as_deref() == Some(value)
                })
        };
        self.trials.iter().position(matches).expect("a trial of the sweep")
    }

    fn reader(&self) -> Reader {
        Reader::open(self.dir.path()).unwrap()
    }

    fn table(&self, request: &TableRequest) -> Table {
        let mut parts = Vec::new();
        self.reader()
            .table(request, &mut |part| {
                parts.push(part);
                ControlFlow::Continue(())
            })
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
        Table::of(parts)
    }

    fn refusal(&self, request: &TableRequest) -> (Class, String) {
        let mut sink = |_| panic!("nothing is sent before the request is understood");
        let error = self.reader().table(request, &mut sink).expect_err("refused");
        (error.class(), chain(&error))
    }
}

fn metrics(attempt: u32, epoch: u32) -> EpochMetrics {
    EpochMetrics {
        epoch,
        train_loss: f64::from(attempt),
        train_error: 0.5,
        val_loss: f64::NAN,
        val_error: 0.25,
        gate: 1.0,
        lr: 0.1,
        grad_norm: f64::INFINITY,
        examples_per_second: 100.0,
        seconds: 2.0,
        examples: 10,
    }
}

fn outcome(kind: OutcomeKind, test_error: f64, val_error: f64) -> Outcome {
    let if_completed = |value| (kind == OutcomeKind::Completed).then_some(value);
    Outcome {
        kind,
        epochs: 8,
        seconds: 4.0,
        best_epoch: if_completed(5.0).map(|_| 5),
        test_error: if_completed(test_error),
        test_loss: if_completed(0.7),
        val_error: if_completed(val_error),
        val_loss: if_completed(0.6),
        train_loss: if_completed(0.5),
        reason: "because".into(),
        provenance: Provenance { device: "cpu".into(), ..Provenance::default() },
    }
}

/// A table as text: summaries as `mean±std (n) min max median d f u *`.
#[derive(Debug)]
struct Table {
    columns: Vec<String>,
    metric: String,
    rows: Vec<Vec<String>>,
    epochs_repeated: Option<wire::EpochsRepeated>,
    parts: usize,
}

impl Table {
    fn of(parts: Vec<TablePart>) -> Table {
        let columns = parts[0].columns.iter().map(|column| column.name.clone()).collect();
        let metric = parts[0].metric.clone();
        let count = parts.len();
        let epochs_repeated = parts.last().and_then(|last| last.epochs_repeated);
        let mut rows = Vec::new();
        for (at, part) in parts.into_iter().enumerate() {
            assert!(at == 0 || part.columns.is_empty(), "columns come once");
            assert!(prost::Message::encoded_len(&part) < common::wire::MESSAGE_BYTES_MAX);
            rows.extend(part.rows.iter().map(text));
        }
        Table { columns, metric, rows, epochs_repeated, parts: count }
    }

    /// Row keys and the shown value of the last column.
    fn row(&self, start: &[&str]) -> &[String] {
        let found = self.rows.iter().find(|row| row.iter().zip(start).all(|(a, b)| a == b));
        found.unwrap_or_else(|| panic!("no row {start:?} in {self:#?}"))
    }
}

fn text(row: &TableRow) -> Vec<String> {
    row.cells
        .iter()
        .map(|cell| match &cell.value {
            None => "-".into(),
            Some(cell::Value::Text(text)) => text.clone(),
            Some(cell::Value::Number(number)) => {
                assert!(number.is_finite());
                number.to_string()
            }
            Some(cell::Value::Integer(integer)) => integer.to_string(),
            Some(cell::Value::Summary(s)) => {
                let std = s.std.map_or(String::new(), |std| format!("±{std:.4}"));
                let best = if s.best { " *" } else { "" };
                let counts = format!("d{} f{} u{}", s.diverged, s.failed, s.unfinished);
                format!("{:.4}{std} n{} {counts}{best}", s.mean, s.n)
            }
        })
        .collect()
}

fn request(fields: impl FnOnce(&mut TableRequest)) -> TableRequest {
    let mut request = TableRequest { sweep: "depths".into(), ..TableRequest::default() };
    fields(&mut request);
    request
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

mod expect;
mod probe;
mod refusals;
mod tables;
mod trials;
mod weights;
