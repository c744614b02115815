//! Rendering of handmade answers, as whole texts.

use std::collections::HashMap;

use common::wire::{
    Attempt, AttemptId, AttemptOutcome, Cell, EndCount, EpochReport, EpochsRepeated, Expectation,
    ExpectationSide, OutcomeKind, ProbeConfig, ProbePoint, Provenance, Setting, Summary, Sweep,
    TableColumn, TablePart, TableRow, Trial, TrialCounts, Verdict, Worker, WorkerSlot, cell::Value,
};

use super::*;

const DAY_MS: u64 = 1_732_449_903_000;

fn text(text: &str) -> Cell {
    Cell { value: Some(Value::Text(text.into())) }
}

fn number(number: f64) -> Cell {
    Cell { value: Some(Value::Number(number)) }
}

fn integer(integer: i64) -> Cell {
    Cell { value: Some(Value::Integer(integer)) }
}

fn cell(summary: Summary) -> Cell {
    Cell { value: Some(Value::Summary(summary)) }
}

/// A summary of values that differ by `std` from their mean.
fn summary(n: u64, mean: f64, std: f64) -> Summary {
    let (min, max) = (mean - std, mean + std);
    let std = (n > 1).then_some(std);
    Summary { n, mean, std, min, max, median: mean, ..Summary::default() }
}

fn column(name: &str) -> TableColumn {
    let mut key = HashMap::new();
    for (param, value) in name.split(' ').filter_map(|part| part.split_once('=')) {
        key.insert(param.to_owned(), value.to_owned());
    }
    TableColumn { name: name.into(), key, ..TableColumn::default() }
}

fn part(metric: &str, columns: &[&str], rows: Vec<Vec<Cell>>) -> TablePart {
    let rows = rows.into_iter().map(|cells| TableRow { cells }).collect();
    TablePart {
        columns: columns.iter().map(|name| column(name)).collect(),
        metric: metric.into(),
        rows,
        ..TablePart::default()
    }
}

fn written(format: Format, style: Style, parts: Vec<TablePart>) -> String {
    let mut out = Vec::new();
    let mut table = TableWriter::new(format, style, &mut out);
    for part in parts {
        table.part(part).unwrap();
    }
    table.finish().unwrap();
    String::from_utf8(out).unwrap()
}

fn plain(format: Format, parts: Vec<TablePart>) -> String {
    written(format, Style::default(), parts)
}

/// By depth and activation, in two parts.
fn pivoted() -> Vec<TablePart> {
    let columns = [
        "depth",
        "activation=relu init_gain=1",
        "activation=relu init_gain=1.4142135624",
        "activation=grelu init_gain=",
    ];
    let best = Summary { best: true, ..summary(3, 0.041, 0.002) };
    let diverged = Summary { diverged: 1, ..summary(2, 0.0725, 0.001) };
    let none = Summary { diverged: 2, unfinished: 4, ..Summary::default() };
    vec![
        part(
            "test_error",
            &columns,
            vec![vec![
                integer(2),
                cell(best),
                cell(summary(1, 0.043, 0.0)),
                cell(summary(3, 0.051, 0.011)),
            ]],
        ),
        TablePart {
            rows: vec![TableRow {
                cells: vec![integer(80), cell(diverged), cell(none), Cell { value: None }],
            }],
            ..TablePart::default()
        },
    ]
}

#[test]
fn pivoted_table_as_text() {
    let expected = "\
test_error in %: mean ± standard deviation (trials); * best of its column

activation  relu                         relu                                grelu
 init_gain  1                            1.4142135624                        -
     depth
────────────────────────────────────────────────────────────────────────────────────────────
         2  4.10 ± 0.20 (3)*             4.30 (1)                            5.10 ± 1.10 (3)
        80  7.25 ± 0.10 (2, 1 diverged)     - (0, 2 diverged, 4 unfinished)
";
    let text = plain(Format::Text, pivoted());
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn pivoted_table_on_a_narrow_terminal_comes_in_blocks() {
    let style = Style { bold: true, width: Some(60) };
    let expected = "\
test_error in %: mean ± standard deviation (trials); * best of its column

activation  relu
 init_gain  1
     depth
───────────────────────────────────────
         2  \u{1b}[1m4.10 ± 0.20 (3)*\u{1b}[0m
        80  7.25 ± 0.10 (2, 1 diverged)

activation  relu
 init_gain  1.4142135624
     depth
──────────────────────────────────────────────
         2  4.30 (1)
        80     - (0, 2 diverged, 4 unfinished)

activation  grelu
 init_gain  -
     depth
───────────────────────────
         2  5.10 ± 1.10 (3)
        80
";
    let text = written(Format::Text, style, pivoted());
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn table_without_row_parameters_labels_its_columns() {
    let rows = vec![vec![cell(summary(2, 12.0, 0.5)), cell(summary(2, 8.5, 1.5))]];
    let table = part("best_epoch", &["depth=2", "depth=10"], rows);
    let expected = "\
best_epoch: mean ± standard deviation (trials)

depth  2               10
────────────────────────────────────
       12.0 ± 0.5 (2)  8.5 ± 1.5 (2)
";
    assert_eq!(plain(Format::Text, vec![table]), expected);
}

#[test]
fn table_of_configs_as_text_aligns_at_the_deviation() {
    let rows = vec![
        vec![number(0.1), text("relu"), cell(summary(2, 0.9, 0.0))],
        vec![number(1e-5), text(""), cell(summary(4, 0.105, 0.144))],
    ];
    let table = part("val_error", &["lr", "activation", "val_error"], rows);
    let expected = "\
val_error in %: mean ± standard deviation (trials)

  lr  activation  val_error %
─────────────────────────────────
 0.1  relu        90.0 ± 0.0  (2)
1e-5  -           10.5 ± 14.4 (4)
";
    assert_eq!(plain(Format::Text, vec![table]), expected);
}

fn trials() -> TablePart {
    let columns = [
        "trial",
        "epochs",
        "seed",
        "state",
        "test_error",
        "best_epoch",
        "train_loss",
        "epochs",
        "attempts",
    ];
    let rows = vec![
        vec![
            text("00c0ffee00c0ffee"),
            integer(6),
            integer(0),
            text("completed"),
            number(0.0425),
            integer(5),
            number(0.123_456_789),
            integer(6),
            integer(1),
        ],
        vec![
            text("1234567812345678"),
            integer(60),
            text("18446744073709551615"),
            text("running"),
            text(""),
            text(""),
            text(""),
            integer(2),
            integer(3),
        ],
    ];
    part("", &columns, rows)
}

#[test]
fn table_of_trials_as_text() {
    let expected = "\
trial             param.epochs  seed                  state      test_error %  best_epoch
─────────────────────────────────────────────────────────────────────────────────────────
00c0ffee00c0ffee             6  0                     completed          4.25           5
1234567812345678            60  18446744073709551615  running               -           -

trial             train_loss  epochs  attempts
──────────────────────────────────────────────
00c0ffee00c0ffee      0.1235       6         1
1234567812345678           -       2         3
";
    let text = written(Format::Text, Style { bold: false, width: Some(100) }, vec![trials()]);
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn epochs_that_were_repeated_stand_below_the_text_alone() {
    let repeated = |epochs, in_trials, of_trials| {
        let epochs_repeated = Some(EpochsRepeated { epochs, trials: in_trials, of_trials });
        vec![trials(), TablePart { epochs_repeated, ..TablePart::default() }]
    };
    for (part, line) in [
        (repeated(12, 3, 24), ("12 epochs were", "3 of 24 trials")),
        (repeated(1, 1, 1), ("1 epoch was", "1 of 1 trial")),
    ] {
        let (were, of) = line;
        let line = format!("{were} trained again after an attempt ended early: {of}");
        let text = plain(Format::Text, part.clone());
        assert_eq!(text, format!("{}\n{line}\n", plain(Format::Text, part[..1].to_vec())));
        for format in [Format::Csv, Format::Json] {
            assert_eq!(plain(format, part.clone()), plain(format, part[..1].to_vec()));
        }
    }
}

#[test]
fn table_of_trials_as_json_has_a_key_per_column() {
    let rows: serde_json::Value =
        serde_json::from_str(&plain(Format::Json, vec![trials()])).unwrap();
    let expected = serde_json::json!([
        {
            "trial": "00c0ffee00c0ffee", "param.epochs": 6, "seed": 0, "state": "completed",
            "test_error": 0.0425, "best_epoch": 5, "train_loss": 0.123_456_789, "epochs": 6,
            "attempts": 1,
        },
        {
            "trial": "1234567812345678", "param.epochs": 60, "seed": "18446744073709551615",
            "state": "running", "test_error": null, "best_epoch": null, "train_loss": null,
            "epochs": 2, "attempts": 3,
        },
    ]);
    assert_eq!(rows, expected);
}

#[test]
fn table_of_configs_as_json_has_objects_for_summaries() {
    let rows: Vec<serde_json::Value> =
        serde_json::from_str(&plain(Format::Json, pivoted())).unwrap();
    assert_eq!(rows.len(), 2);
    let best = &rows[0]["activation=relu init_gain=1"];
    let expected = serde_json::json!({
        "mean": 0.041, "std": 0.002, "n": 3, "min": 0.039, "max": 0.043, "median": 0.041,
        "diverged": 0, "failed": 0, "unfinished": 0, "best": true,
    });
    assert_eq!(best, &expected);
    let none = &rows[1]["activation=relu init_gain=1.4142135624"];
    assert_eq!(
        (&none["mean"], &none["n"], &none["diverged"]),
        (&serde_json::Value::Null, &0.into(), &2.into())
    );
    assert_eq!(rows[1]["activation=grelu init_gain="], serde_json::Value::Null);
}

#[test]
fn table_as_csv_reads_back() {
    let text = plain(Format::Csv, pivoted());
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    assert_eq!(header.len(), 1 + 3 * 10);
    assert_eq!(&header[0], "depth");
    let at = |name: &str| header.iter().position(|column| column == name).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2);
    let mean = at("test_error_mean[activation=relu init_gain=1]");
    assert_eq!(rows[0][mean].parse::<f64>().unwrap().to_bits(), 0.041_f64.to_bits());
    assert_eq!(&rows[0][at("test_error_std[activation=relu init_gain=1.4142135624]")], "");
    let none =
        |name: &str| at(&format!("test_error_{name}[activation=relu init_gain=1.4142135624]"));
    let counts = ["n", "diverged", "failed", "unfinished", "mean"].map(|name| &rows[1][none(name)]);
    assert_eq!(counts, ["0", "2", "0", "4", ""]);
    let best = ["1", "1.4142135624"]
        .map(|gain| &rows[0][at(&format!("test_error_best[activation=relu init_gain={gain}]"))]);
    assert_eq!(best, ["true", "false"]);
    assert_eq!(&rows[1][at("test_error_n[activation=grelu init_gain=]")], "");
    let text = plain(Format::Csv, vec![trials()]);
    assert!(text.starts_with("trial,param.epochs,seed,state,test_error,best_epoch"), "{text}");
    assert!(text.contains("\n1234567812345678,60,18446744073709551615,running,,,,2,3\n"), "{text}");
}

#[test]
fn csv_keeps_awkward_words() {
    let awkward = "a \"b\", c\nd";
    let written = plain(Format::Csv, vec![part("", &["state"], vec![vec![text(awkward)]])]);
    let mut reader = csv::Reader::from_reader(written.as_bytes());
    assert_eq!(&reader.records().next().unwrap().unwrap()[0], awkward);
}

#[test]
fn tables_without_rows_are_still_tables() {
    let empty = || vec![part("", &["trial", "seed"], Vec::new())];
    assert_eq!(plain(Format::Json, empty()), "[]\n");
    assert_eq!(plain(Format::Csv, empty()), "trial,seed\n");
    assert!(plain(Format::Text, empty()).starts_with("trial  seed\n"));
    assert_eq!(plain(Format::Json, Vec::new()), "[]\n");
    assert_eq!(plain(Format::Csv, Vec::new()), "");
}

#[test]
fn long_tables_are_written_page_by_page() {
    let row = |at| vec![text("t"), integer(at)];
    let rows = (0..12_000).map(row).collect();
    let text = plain(Format::Text, vec![part("", &["trial", "seed"], rows)]);
    assert_eq!(text.lines().filter(|line| line.starts_with("trial ")).count(), 3);
    assert_eq!(text.lines().filter(|line| line.starts_with("t  ")).count(), 12_000);
}

#[test]
fn a_row_that_does_not_fit_is_refused() {
    for format in [Format::Text, Format::Csv, Format::Json] {
        let mut out = Vec::new();
        let mut table = TableWriter::new(format, Style::default(), &mut out);
        let error = table.part(part("", &["a", "b"], vec![vec![text("x")]])).unwrap_err();
        assert!(error.to_string().contains("1 cells in a table of 2 columns"), "{error}");
    }
}

fn some_sweep() -> Sweep {
    Sweep {
        name: "depth".into(),
        model: "mlp".into(),
        data: "mnist".into(),
        trials: Some(TrialCounts {
            pending: 3,
            running: 2,
            completed: 15,
            diverged: 1,
            failed: 1,
            cancelled: 0,
            removed: 4,
        }),
        configs: 8,
        configs_done: 5,
        best_val_error: Some(0.0213),
        best_trial: "00c0ffee00c0ffee".into(),
        created_unix_ms: DAY_MS,
        completed_unix_ms: 0,
        epochs: 321,
        state: "running".into(),
        failures: vec!["1234567812345678: out of memory\nin layer 3".into()],
        eta_seconds: Some(200.0),
        yaml: String::new(),
        lost_attempts: vec![
            EndCount { end: "worker lost".into(), attempts: 12 },
            EndCount { end: "trainer died".into(), attempts: 3 },
        ],
    }
}

#[test]
fn sweep_that_completed_is_shown_with_its_table() {
    let sweep = Sweep {
        trials: Some(TrialCounts { completed: 7, diverged: 3, ..TrialCounts::default() }),
        ..some_sweep()
    };
    let text = sweep_table(&sweep, pivoted(), &[], Style::default()).unwrap();
    let expected = "sweep depth, trials: 7 completed, 3 diverged\ntest_error in %: mean";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.ends_with(&plain(Format::Text, pivoted())), "{text}");
}

#[test]
fn sweeps_as_text() {
    let other = Sweep { name: "q".into(), state: "idle".into(), ..Sweep::default() };
    let mut out = Vec::new();
    sweeps(&[some_sweep(), other], Style::default(), &mut out).unwrap();
    let expected = "\
sweep  trials done  running  diverged  failed  cancelled  best val_error %  state
───────────────────────────────────────────────────────────────────────────────────
depth     17 of 22        2         1       1          0              2.13  running
q           0 of 0        0         0       0          0                 -  idle
";
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text, expected, "\n{text}");
    let mut out = Vec::new();
    sweeps(&[], Style::default(), &mut out).unwrap();
    assert_eq!(out, b"no sweeps; `coordinator --sweep FILE` applies one\n");
}

#[test]
fn sweep_as_text_and_json() {
    let mut out = Vec::new();
    sweep(&some_sweep(), Style::default(), &mut out).unwrap();
    let expected = "\
sweep      depth
model      mlp
data       mnist
state      running
trials     22: 15 completed, 2 running, 3 pending, 1 diverged, 1 failed, 4 removed
configs    5 of 8 done
epochs     321
best       val_error 2.13 %, trial 00c0ffee00c0ffee
time left  about 3 min 20 s
created    2024-11-24 12:05:03 UTC

attempts without an outcome
    12  worker lost
     3  trainer died

newest failures (`trial depth TRIAL` has more)
  1234567812345678: out of memory in layer 3
";
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text, expected, "\n{text}");
    let value = sweep_json(&some_sweep());
    assert_eq!(value["trials"]["completed"], 15);
    assert_eq!(value["best_val_error"], 0.0213);
    assert_eq!(value["lost_attempts"]["worker lost"], 12);
    assert_eq!(value["completed_unix_ms"], serde_json::Value::Null);
    assert_eq!(sweeps_json(&[some_sweep()])[0], value);
}

fn some_worker() -> Worker {
    let slot = |device: &str, attempts: u32| WorkerSlot {
        device: device.into(),
        state: if attempts > 0 { "busy" } else { "free" }.into(),
        cohort: 7,
        attempts,
    };
    Worker {
        worker: "gpu1-aa".into(),
        host: "gpu1".into(),
        state: "connected".into(),
        slots: vec![slot("cuda:0", 16), slot("cuda:0", 4), slot("cuda:1", 0)],
        program_version: env!("CARGO_PKG_VERSION").into(),
        libtorch_version: "2.11.0".into(),
        data_digests: HashMap::from([("mnist".into(), "ab12".into())]),
        last_seen_unix_ms: DAY_MS,
        reason: String::new(),
        gpus: Vec::new(),
    }
}

#[test]
fn workers_as_text_and_json() {
    let shown = |all: &[Worker]| {
        let mut out = Vec::new();
        workers(all, DAY_MS + 2_000, Style::default(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let expected = "\
worker   host  state      devices         busy slots  trials  seen       libtorch
─────────────────────────────────────────────────────────────────────────────────
gpu1-aa  gpu1  connected  cuda:0, cuda:1      2 of 3      20  2.0 s ago  2.11.0
";
    let text = shown(&[some_worker()]);
    assert_eq!(text, expected, "\n{text}");
    let other = Worker {
        host: "evil\u{1b}[2J".into(),
        program_version: "9.9.9".into(),
        reason: "other bytes of mnist".into(),
        ..some_worker()
    };
    let text = shown(&[other]);
    assert!(text.contains("libtorch  program  why it gets no cohort\n"), "{text}");
    assert!(text.contains("9.9.9    other bytes of mnist"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let value = workers_json(&[some_worker()]);
    assert_eq!(value[0]["slots"][0]["cohort"], 7);
    assert_eq!(value[0]["slots"][2]["cohort"], serde_json::Value::Null);
    assert_eq!(value[0]["data_digests"]["mnist"], "ab12");
}

fn some_trial() -> Trial {
    let id = AttemptId { trial: "00c0ffee00c0ffee".into(), attempt: 2 };
    let attempt = |attempt, state: &str, first_epoch, last_epoch| Attempt {
        attempt,
        worker: "gpu1-aa".into(),
        cohort: 40 + u64::from(attempt),
        cohort_size: 16,
        started_unix_ms: DAY_MS,
        ended_unix_ms: DAY_MS + 61_000,
        state: state.into(),
        message: String::new(),
        first_epoch,
        last_epoch,
    };
    let epoch = EpochReport {
        attempt: Some(id.clone()),
        epoch: 1,
        train_loss: 2.25,
        train_error: 0.5,
        val_loss: f64::NAN,
        val_error: 0.25,
        gate: 0.5,
        lr: 3e-4,
        grad_norm: 1.5,
        examples_per_second: 12_345.6,
        seconds: 0.81,
        examples: 10_000,
    };
    Trial {
        id: id.trial.clone(),
        sweeps: vec!["depth".into(), "small".into()],
        model: "mlp".into(),
        data: "mnist".into(),
        params: "{\"depth\": 2, \"activation\": \"relu\", \"patience\": null}".into(),
        seed: 4,
        state: "completed".into(),
        pending_reason: String::new(),
        outcome: Some(AttemptOutcome {
            attempt: Some(id),
            kind: OutcomeKind::Completed.into(),
            epochs: 1,
            seconds: 61.25,
            best_epoch: Some(1),
            test_error: Some(0.04),
            test_loss: Some(0.1),
            val_error: Some(0.25),
            val_loss: None,
            train_loss: Some(2.25),
            reason: "trained 1 epoch".into(),
            provenance: Some(Provenance {
                program_version: "0.1.0".into(),
                libtorch_version: "2.11.0".into(),
                device: "cuda:0".into(),
                precision: "fp32".into(),
                cohort_size: 16,
                data_digest: "ab12".into(),
                threads: 0,
            }),
        }),
        attempts: vec![attempt(1, "worker lost", 0, 0), attempt(2, "completed", 1, 1)],
        epochs: vec![epoch],
        weights_bytes: Some(1_234),
        weights_note: String::new(),
    }
}

#[test]
fn trial_as_text() {
    let mut out = Vec::new();
    trial(&some_trial(), Style { bold: false, width: Some(90) }, &mut out).unwrap();
    let expected = "\
trial        00c0ffee00c0ffee
sweeps       depth, small
state        completed
model        mlp
data         mnist
seed         4
parameters   activation relu, depth 2, patience null
outcome      completed in attempt 2
reason       trained 1 epoch
test_error   4.00 %
val_error    25.00 %
best_epoch   1
test_loss    0.1000
train_loss   2.2500
epochs       1
trained for  61 s
device       cuda:0, fp32
cohort size  16
program      0.1.0, libtorch 2.11.0
data digest  ab12
weights      kept, 1234 bytes

attempts
attempt  worker   cohort  size  started (UTC)        took  epochs  state
──────────────────────────────────────────────────────────────────────────────
      1  gpu1-aa      41    16  2024-11-24 12:05:03  61 s  -       worker lost
      2  gpu1-aa      42    16  2024-11-24 12:05:03  61 s  1       completed

epochs
epoch  train_loss  train_error %  val_loss  val_error %   gate      lr  grad_norm
─────────────────────────────────────────────────────────────────────────────────
    1      2.2500          50.00       NaN        25.00  0.500  0.0003     1.5000

epoch  examples/s  seconds  attempt
───────────────────────────────────
    1       12346      0.8        2
";
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn trial_that_waits_says_why() {
    let waits = Trial {
        weights_bytes: None,
        state: "pending".into(),
        pending_reason: "waits for a worker with mnist".into(),
        outcome: None,
        attempts: Vec::new(),
        epochs: Vec::new(),
        weights_note: "the trial is pending".into(),
        ..some_trial()
    };
    let mut out = Vec::new();
    trial(&waits, Style { bold: false, width: Some(40) }, &mut out).unwrap();
    let expected = "\
trial        00c0ffee00c0ffee
sweeps       depth, small
state        pending
why pending  waits for a worker with
             mnist
model        mlp
data         mnist
seed         4
parameters   activation relu, depth 2,
             patience null
";
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text, expected, "\n{text}");
    assert_eq!(trial_json(&waits)["pending_reason"], "waits for a worker with mnist");
}

#[test]
fn trial_as_json() {
    let value = trial_json(&some_trial());
    assert_eq!(value["params"]["depth"], 2);
    assert_eq!(value["attempts"][0]["first_epoch"], serde_json::Value::Null);
    assert_eq!(value["attempts"][1]["state"], "completed");
    assert_eq!(value["epochs_repeated"], 0);
    assert_eq!((&value["weights_bytes"], &value["weights_note"]), (&1_234.into(), &().into()));
    let mut lost = some_trial();
    (lost.weights_bytes, lost.weights_note) = (None, "they are on their way".into());
    assert_eq!(trial_json(&lost)["weights_note"], "they are on their way");
    let mut out = Vec::new();
    trial(&lost, Style::default(), &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains("not kept: they are on their way"));
    (lost.attempts[0].first_epoch, lost.attempts[0].last_epoch) = (1, 7);
    (lost.attempts[1].first_epoch, lost.attempts[1].last_epoch) = (4, 5);
    assert_eq!(trial_json(&lost)["epochs_repeated"], 4);
    let mut out = Vec::new();
    trial(&lost, Style { bold: false, width: Some(90) }, &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains("\nepochs repeated  4\n"));
    assert_eq!(value["outcome"]["kind"], "completed");
    assert_eq!(value["outcome"]["test_error"], 0.04);
    assert_eq!(value["outcome"]["provenance"]["device"], "cuda:0");
    assert_eq!(value["epochs"][0]["val_loss"], serde_json::Value::Null, "NaN is none");
    assert_eq!(value["epochs"][0]["lr"], 3e-4);
    let broken = Trial { params: "not json".into(), ..some_trial() };
    assert_eq!(trial_json(&broken)["params"], "not json");
}

#[test]
fn logs_cannot_steer_a_terminal() {
    assert_eq!(printable("a\n\tb\u{1b}[1m\r\n"), "a\n\tb\u{fffd}[1m\u{fffd}\n");
}

fn setting(param: &str, values: &[&str]) -> Setting {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Setting { param: param.into(), values }
}

fn claims() -> Vec<Expectation> {
    let side = |name: &str, stated: Vec<Setting>, summary| {
        let chosen = Vec::new();
        Some(ExpectationSide { name: name.into(), stated, chosen, summary: Some(summary) })
    };
    let relu = vec![setting("activation", &["relu"]), setting("init_gain", &["1"])];
    let deeper = Expectation {
        claim: "GReLU trains deeper\u{1b} than ReLU".into(),
        metric: "test_error".into(),
        common: vec![setting("depth", &["40", "80"])],
        first: side("less", vec![setting("activation", &["grelu"])], summary(3, 0.058, 0.002)),
        second: side("than", relu, Summary { diverged: 1, ..summary(2, 0.31, 0.02) }),
        confidence: 0.95,
        verdict: Verdict::Supported.into(),
        difference: Some(-0.252),
        low: Some(-0.4),
        high: Some(-0.1),
        t: Some(-15.0),
        degrees_of_freedom: Some(1.0),
        ..Expectation::default()
    };
    let mut best = side("similar", vec![setting("dropout", &["gradual"])], summary(3, 0.5, 0.0));
    best.as_mut().unwrap().chosen = vec![setting("p", &["0.8"])];
    let none = Summary { unfinished: 2, ..summary(1, 1.0, 0.0) };
    let similar = Expectation {
        claim: "as often".into(),
        metric: "diverged".into(),
        first: best,
        second: side("to", vec![setting("dropout", &["static"])], none),
        within: Some(0.1),
        best_by: "val_error".into(),
        confidence: 0.999,
        verdict: Verdict::Undecided.into(),
        note: "`to` has 1 value, 2 are needed".into(),
        ..Expectation::default()
    };
    vec![deeper, similar]
}

#[test]
fn claims_are_shown_with_what_they_rest_on() {
    let mut out = Vec::new();
    expectations("depths", &claims(), Style::default(), &mut out).unwrap();
    let expected = "\
sweep depths, claims: 1 supported, 1 undecided

supported: GReLU trains deeper\u{fffd} than ReLU
  where       depth 40 or 80
  less        activation grelu: test_error 5.80 ± 0.20 % (3)
  than        activation relu, init_gain 1: test_error 31.00 ± 2.00 % (2, 1 diverged)
  difference  -25.20 percentage points, 95 % interval -40.00 to -10.00

undecided: as often
  similar  dropout gradual (best by val_error: p 0.8): diverged 50.00 ± 0.00 % (3)
  to       dropout static: diverged 100.00 % (1, 2 unfinished)
  note     `to` has 1 value, 2 are needed
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    let json = expectations_json(&claims());
    assert_eq!(
        (&json[0]["verdict"], &json[0]["difference"]),
        (&"supported".into(), &(-0.252).into())
    );
    assert_eq!(json[0]["where"]["depth"][1], "80");
    assert_eq!(json[1]["sides"][0]["chosen"]["p"][0], "0.8");
    assert_eq!(json[1]["low"], serde_json::Value::Null);
    let mut out = Vec::new();
    expectations("depths", &[], Style::default(), &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains("sweep depths expects nothing"));
}

#[test]
fn probes_are_shown_with_their_curves() {
    let point = ProbePoint { epoch: 3, rate: 0.27, val_error: 0.051, n: 2 };
    let risen = ProbeConfig {
        config: vec![setting("depth", &["2"])],
        rate: Some(Summary { diverged: 1, ..summary(2, 0.27, 0.03) }),
        val_error: Some(summary(2, 0.05, 0.001)),
        curve: vec![point],
        ..ProbeConfig::default()
    };
    let level = ProbeConfig {
        config: vec![setting("depth", &["10"])],
        level: 2,
        level_rate: Some(0.9),
        ..ProbeConfig::default()
    };
    let mut out = Vec::new();
    probe(&[risen.clone(), level], Style::default(), &mut out).unwrap();
    let expected = "\
dropout rate from which on val_error rises: mean ± standard deviation (trials)

config    rate                         val_error there     did not rise
───────────────────────────────────────────────────────────────────────
depth 2   0.270 ± 0.030 (2, 1 diverged)  5.00 ± 0.10 % (2)  -
depth 10  - (0)                        - (0)              2 up to 0.900

depth 2
epoch   rate  val_error %  trials
─────────────────────────────────
    3  0.270         5.10       2
";
    let text = String::from_utf8(out).unwrap();
    let words = |text: &str| -> Vec<String> {
        let rules = |word: &&str| !word.starts_with('─');
        text.split_whitespace().filter(rules).map(str::to_owned).collect()
    };
    assert_eq!(words(&text), words(expected), "{text}");
    let json = probe_json(&[risen]);
    assert_eq!(json[0]["rate"]["mean"], 0.27);
    assert_eq!((&json[0]["curve"][0]["epoch"], &json[0]["did_not_rise"]), (&3.into(), &0.into()));
}
