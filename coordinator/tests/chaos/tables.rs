//! What a store holds, read as a user reads it: with the command line, from the state directory.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::processes::{Host, led, program};

/// Columns that tell of time and not of the trial.
const OF_TIME: [&str; 4] = ["seconds", "examples_per_second", "attempts", "epochs_repeated"];

/// A sweep's rows by trial; a row of an epoch also by its place in the history.
#[derive(PartialEq, Debug, Default)]
pub struct Tables {
    pub trials: BTreeMap<String, Value>,
    pub epochs: BTreeMap<String, Vec<Value>>,
}

impl Host {
    /// Runs a client's command.
    pub fn client(&self, arguments: &[&str]) -> Output {
        let mut command = led(&self.before, Path::new(program()));
        self.mark(&mut command, "client");
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.output().expect("the command starts")
    }

    /// Asks the running coordinator for something and gives what it said, or why not.
    pub fn ask(&self, arguments: &[&str]) -> Result<String, String> {
        let url = self.url();
        let output = self.client(&[arguments, &["--coordinator", &url]].concat());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Reads the store of a state directory; null where there is nothing yet.
    pub fn read(&self, state: &str, arguments: &[&str]) -> Value {
        let folder = self.folder.join(state).display().to_string();
        let output = self.client(&[arguments, &["--format", "json", "--state", &folder]].concat());
        if !output.status.success() {
            return Value::Null;
        }
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    pub fn tables(&self, state: &str, sweep: &str) -> Tables {
        let mut tables = Tables::default();
        for row in rows(self.read(state, &["table", sweep, "--trials"])) {
            let twice = tables.trials.insert(trial(&row), row);
            assert_eq!(twice, None, "a trial is in the table of {sweep} twice");
        }
        for row in rows(self.read(state, &["table", sweep, "--epochs"])) {
            tables.epochs.entry(trial(&row)).or_default().push(row);
        }
        tables
    }

    /// Trials of a sweep in this state.
    pub fn count(&self, state: &str, sweep: &str, trials_in: &str) -> u64 {
        self.read(state, &["status", sweep])["trials"][trials_in].as_u64().unwrap_or(0)
    }

    /// A trial with its attempts.
    pub fn trial(&self, state: &str, sweep: &str, trial: &str) -> Value {
        self.read(state, &["trial", sweep, trial])
    }
}

fn rows(table: Value) -> Vec<Value> {
    match table {
        Value::Array(rows) => rows,
        other => panic!("instead of a table: {other}"),
    }
}

fn trial(row: &Value) -> String {
    row["trial"].as_str().expect("a trial's id").to_owned()
}

impl Tables {
    /// Every trial has ended by itself, with the epochs from 1 to its last, each once.
    pub fn check_histories(&self) {
        for (trial, row) in &self.trials {
            let state = row["state"].as_str().expect("a state");
            assert!(["completed", "diverged"].contains(&state), "trial {trial}: {row}");
            let empty = Vec::new();
            let epochs = self.epochs.get(trial).unwrap_or(&empty);
            let epochs = epochs.iter().map(|row| row["epoch"].as_u64().expect("an epoch"));
            let last = row["epochs"].as_u64().expect("a number of epochs");
            assert!(epochs.eq(1..=last), "trial {trial}: {last} epochs, {:#?}", self.epochs[trial]);
        }
        let strangers = self.epochs.keys().find(|trial| !self.trials.contains_key(*trial));
        assert_eq!(strangers, None, "epochs of a trial that is not in the table of trials");
    }

    /// Every number is the same but those of time.
    pub fn check_equal(&self, undisturbed: &Tables) {
        let names = |tables: &Tables| tables.trials.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(self), names(undisturbed));
        for (trial, row) in &self.trials {
            assert_eq!(timeless(row), timeless(&undisturbed.trials[trial]), "trial {trial}");
        }
        for (trial, rows) in &self.epochs {
            let of = |rows: &[Value]| rows.iter().map(timeless).collect::<Vec<_>>();
            assert_eq!(of(rows), of(&undisturbed.epochs[trial]), "epochs of trial {trial}");
        }
    }

    /// In a stack of other companions the last bits differ, and training makes more of them.
    pub fn check_close(&self, undisturbed: &Tables) {
        let names = |tables: &Tables| tables.trials.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(self), names(undisturbed));
        for (trial, row) in &self.trials {
            let expected = &undisturbed.trials[trial];
            assert_eq!(row["state"], expected["state"], "trial {trial}");
            assert_eq!(row["epochs"], expected["epochs"], "trial {trial}");
        }
        let rows = |tables: &Tables| tables.epochs.values().flatten().cloned().collect::<Vec<_>>();
        for (row, expected) in rows(self).iter().zip(rows(undisturbed)) {
            for column in ["gate", "lr"] {
                assert_eq!(row[column], expected[column], "{row}");
            }
            let error = |row: &Value| row["val_error"].as_f64().expect("a number");
            assert!((error(row) - error(&expected)).abs() < 0.1, "{row} against {expected}");
        }
    }

    pub fn attempts(&self) -> u64 {
        self.trials.values().map(|row| row["attempts"].as_u64().expect("a number")).sum()
    }
}

fn timeless(row: &Value) -> Value {
    let mut row = row.clone();
    let object = row.as_object_mut().expect("a row");
    object.retain(|column, _| !OF_TIME.contains(&column.as_str()));
    row
}

/// Attempts are numbered without a gap, and only the last has the outcome.
pub fn check_attempts(trial: &Value) {
    let attempts = trial["attempts"].as_array().expect("attempts");
    // The newest 200 are told, in either order.
    let mut numbers: Vec<u64> =
        attempts.iter().map(|attempt| attempt["attempt"].as_u64().expect("a number")).collect();
    numbers.sort_unstable();
    let last = *numbers.last().expect("an attempt");
    assert!(numbers.iter().copied().eq(last + 1 - numbers.len() as u64..=last), "{trial:#}");
    assert!(numbers.len() >= 200 || numbers[0] == 1, "{trial:#}");
    assert_eq!(trial["outcome"]["attempt"].as_u64(), Some(last), "{trial:#}");
    for attempt in attempts {
        let state = attempt["state"].as_str().expect("a state");
        let is_outcome = ["completed", "diverged"].contains(&state);
        assert_eq!(is_outcome, attempt["attempt"].as_u64() == Some(last), "{trial:#}");
        assert!(is_outcome || state != "running", "{trial:#}");
    }
}
