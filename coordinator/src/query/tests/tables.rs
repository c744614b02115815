//! Tables of configs, trials and epochs.

use super::*;

/// Every config: relu at depth 10 has a diverged and an unfinished trial.
fn filled() -> Bench {
    let mut bench = Bench::new(YAML);
    for depth in ["10", "2"] {
        for activation in ["relu", "grelu"] {
            for lr in ["0.001", "0.0003"] {
                for seed in [0, 1] {
                    let settings =
                        [(Param::Depth, depth), (Param::Activation, activation), (Param::Lr, lr)];
                    let trial = bench.find(&settings, seed);
                    let base = if depth == "2" { 0.1 } else { 0.3 };
                    let base = base + if activation == "relu" { 0.05 } else { 0.0 };
                    // The larger rate has the lower test error, the smaller validates better.
                    let (test, val) = if lr == "0.001" { (0.0, 0.02) } else { (0.01, 0.0) };
                    let spread = if seed == 1 { 0.02 } else { 0.0 };
                    let (test, val) = (base + test + spread, base + val + spread);
                    match (depth, activation, lr, seed) {
                        ("10", "relu", "0.001", 0) => {
                            bench.run(trial, OutcomeKind::Diverged, test, val);
                        }
                        ("10", "relu", "0.001", 1) => bench.start(trial, 1),
                        ("2", "relu", "0.0003", 1) => {
                            bench.run(trial, OutcomeKind::Failed, test, val);
                        }
                        _ => bench.run(trial, OutcomeKind::Completed, test, val),
                    }
                }
            }
        }
    }
    bench
}

#[test]
fn table_takes_the_layout_of_the_sweep_file() {
    let table = filled().table(&request(|_| {}));
    assert_eq!(table.metric, "val_error");
    assert_eq!(
        table.columns,
        [
            "depth",
            "activation=relu lr=0.0003",
            "activation=relu lr=0.001",
            "activation=grelu lr=0.0003",
            "activation=grelu lr=0.001"
        ]
    );
    let expected = [
        [
            "2",
            "0.1500 n1 d0 f1 u0 *",
            "0.1800±0.0141 n2 d0 f0 u0 *",
            "0.1100±0.0141 n2 d0 f0 u0 *",
            "0.1300±0.0141 n2 d0 f0 u0 *",
        ],
        [
            "10",
            "0.3600±0.0141 n2 d0 f0 u0",
            "0.0000 n0 d1 f0 u1",
            "0.3100±0.0141 n2 d0 f0 u0",
            "0.3300±0.0141 n2 d0 f0 u0",
        ],
    ];
    assert_eq!(table.rows, expected);
    assert_eq!(table.parts, 1);
}

#[test]
fn table_names_what_its_columns_stand_for() {
    let bench = filled();
    let mut columns = Vec::new();
    let mut sink = |part: TablePart| {
        columns.extend(part.columns);
        ControlFlow::Continue(())
    };
    bench.reader().table(&request(|_| {}), &mut sink).unwrap();
    assert!(columns[0].key.is_empty());
    let key = [("activation", "relu"), ("lr", "0.0003")];
    assert_eq!(columns[1].key, key.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
}

#[test]
fn table_with_columns_alone_puts_the_rest_into_rows() {
    let table = filled().table(&request(|request| {
        request.columns = names(&["depth"]);
        request.metric = "test_error".into();
    }));
    assert_eq!(table.columns, ["activation", "lr", "depth=2", "depth=10"]);
    assert_eq!(table.rows.len(), 4);
    assert_eq!(table.row(&["relu", "0.001"])[3], "0.0000 n0 d1 f0 u1");
    assert_eq!(table.row(&["grelu", "0.001"])[2], "0.1100±0.0141 n2 d0 f0 u0 *");
}

#[test]
fn table_with_rows_alone_keeps_the_columns_of_the_file() {
    let bench = filled();
    let of_file = bench.table(&request(|_| {}));
    let rows = bench.table(&request(|request| request.rows = names(&["depth"])));
    assert_eq!((rows.columns, rows.rows), (of_file.columns, of_file.rows));
    let more = bench.table(&request(|request| request.rows = names(&["depth", "lr"])));
    assert_eq!(more.columns, ["depth", "lr", "activation=relu", "activation=grelu"]);
    let best = bench.table(&request(|request| {
        request.rows = names(&["depth"]);
        request.best_by = "val_error".into();
    }));
    assert_eq!(best.columns, ["depth", "val_error"], "the others are chosen");
}

#[test]
fn table_without_a_layout_has_every_varying_parameter_as_row() {
    let bare = "name: bare\nmodel: mlp\ndata: strokes\ngrid: {depth: [3, 1], width: [8, 16]}\n\
                seeds: 3\n";
    let bench = Bench::new(bare);
    let table = bench.table(&TableRequest { sweep: "bare".into(), ..TableRequest::default() });
    assert_eq!(table.columns, ["depth", "width", "test_error"]);
    let keys: Vec<&[String]> = table.rows.iter().map(|row| &row[..2]).collect();
    assert_eq!(keys, [["1", "8"], ["1", "16"], ["3", "8"], ["3", "16"]]);
    assert!(table.rows.iter().all(|row| row[2] == "0.0000 n0 d0 f0 u3"), "{table:?}");
}

#[test]
fn table_of_one_config_has_one_row() {
    let bench = Bench::new("name: one\nmodel: mlp\ndata: strokes\nseeds: 2\n");
    let table = bench.table(&TableRequest { sweep: "one".into(), ..TableRequest::default() });
    assert_eq!(table.columns, ["test_error"]);
    assert_eq!(table.rows, [["0.0000 n0 d0 f0 u2"]]);
}

#[test]
fn table_pools_a_parameter_as_replicates() {
    let table = filled().table(&request(|request| {
        request.rows = names(&["depth"]);
        request.columns = names(&["activation"]);
        request.pool = names(&["lr"]);
        request.metric = "test_error".into();
    }));
    assert_eq!(table.columns, ["depth", "activation=relu", "activation=grelu"]);
    assert_eq!(table.rows[0][2], "0.1150±0.0129 n4 d0 f0 u0 *");
    assert_eq!(table.rows[1][1], "0.3700±0.0141 n2 d1 f0 u1");
}

#[test]
fn table_shows_the_config_that_another_metric_chose() {
    let table = filled().table(&request(|request| {
        request.rows = names(&["depth"]);
        request.columns = names(&["activation"]);
        request.best_by = "val_error".into();
        request.metric = "test_error".into();
    }));
    // lr 0.0003 validates better, though 0.001 has the lower test error.
    assert_eq!(table.rows[0][2], "0.1200±0.0141 n2 d0 f0 u0 *");
    assert_eq!(table.rows[0][1], "0.1600 n1 d0 f1 u0 *");
    // Nothing of lr 0.001 completed, so it is not chosen.
    assert_eq!(table.rows[1][1], "0.3700±0.0141 n2 d0 f0 u0");
}

#[test]
fn table_marks_no_best_among_counts() {
    let table = filled().table(&request(|request| {
        request.rows = names(&["depth", "activation", "lr"]);
        request.metric = "best_epoch".into();
    }));
    assert_eq!(table.row(&["2", "grelu", "0.001"])[3], "5.0000±0.0000 n2 d0 f0 u0");
    assert!(table.rows.iter().all(|row| !row[3].contains('*')), "{table:?}");
}

#[test]
fn table_accepts_a_constant_parameter_as_row() {
    let table = filled().table(&request(|request| {
        request.rows = names(&["epochs", "depth", "lr", "activation"]);
    }));
    assert!(table.rows.iter().all(|row| row[0] == "8"), "{table:?}");
    assert_eq!(table.rows.len(), 8);
}

#[test]
fn table_shows_a_parameter_without_effect_as_empty() {
    let bench = Bench::new(
        "name: depths\nmodel: mlp\ndata: strokes\nbase: {select: any}\n\
         grid: {activation: [relu, grelu], tau: [1, 5]}\n",
    );
    let table = bench.table(&request(|_| {}));
    assert_eq!(table.columns, ["activation", "tau", "test_error"]);
    let keys: Vec<&[String]> = table.rows.iter().map(|row| &row[..2]).collect();
    assert_eq!(keys, [["relu", ""], ["grelu", "1"], ["grelu", "5"]]);
    let crossed = bench.table(&request(|request| {
        request.rows = names(&["activation"]);
        request.columns = names(&["tau"]);
    }));
    assert_eq!(crossed.columns, ["activation", "tau=", "tau=1", "tau=5"]);
    let shown: Vec<bool> = crossed.rows[1][1..].iter().map(|cell| cell != "-").collect();
    assert_eq!(shown, [false, true, true], "a combination that is not there is no cell");
}

#[test]
fn table_hides_removed_members_unless_asked() {
    let mut bench = filled();
    let gone: Vec<_> = bench
        .trials
        .iter()
        .filter(|trial| trial.config.number(Param::Depth) == Some(10.0))
        .map(|trial| trial.id)
        .collect();
    bench.commit([Change::MembersRemoved("depths".parse().unwrap(), gone)]);
    let depths = |removed| {
        let table = bench.table(&request(|request| {
            request.rows = names(&["depth"]);
            request.pool = names(&["lr", "activation"]);
            request.removed = removed;
        }));
        table.rows.iter().map(|row| row[0].clone()).collect::<Vec<String>>()
    };
    assert_eq!(depths(false), ["2"]);
    assert_eq!(depths(true), ["2", "10"]);
    let trials = |removed| {
        let level = TableLevel::Trials.into();
        bench.table(&request(|request| (request.level, request.removed) = (level, removed)))
    };
    assert_eq!(trials(false).rows.len(), 8);
    let all = trials(true);
    let removed = all.columns.iter().position(|name| name == "removed").unwrap();
    assert_eq!(all.rows.iter().filter(|row| row[removed] == "true").count(), 8);
}

#[test]
fn table_of_trials_has_one_row_each_in_order() {
    let bench = filled();
    let table = bench.table(&request(|request| request.level = TableLevel::Trials.into()));
    assert_eq!(
        table.columns,
        [
            "trial",
            "activation",
            "depth",
            "lr",
            "seed",
            "state",
            "test_error",
            "val_error",
            "best_epoch",
            "train_loss",
            "val_loss",
            "test_loss",
            "epochs",
            "seconds",
            "attempts",
            "epochs_repeated"
        ]
    );
    let ids: Vec<&str> = table.rows.iter().map(|row| row[0].as_str()).collect();
    let expected: Vec<String> = bench.trials.iter().map(|trial| trial.id.to_string()).collect();
    assert_eq!(ids, expected);
    let diverged = bench.trials[0].id.to_string();
    assert_eq!(
        table.row(&[&diverged])[1..],
        ["relu", "10", "0.001", "0", "diverged", "", "", "", "", "", "", "8", "4", "1", "0"]
    );
    let running = bench.trials[1].id.to_string();
    let expected = ["1", "running", "", "", "", "", "", "", "0", "", "1", "0"];
    assert_eq!(table.row(&[&running])[4..], expected);
    assert_eq!(table.epochs_repeated, None);
}

#[test]
fn tables_say_how_many_epochs_were_trained_again() {
    let mut bench = Bench::new(YAML);
    let lost = AttemptEnd::WorkerLost;
    // Started over, resumed, resumed twice with a loss in between, and still to be resumed.
    let histories: [(usize, &[std::ops::RangeInclusive<u32>], &str); 4] = [
        (5, &[1..=4, 1..=8], "4"),
        (6, &[1..=4, 5..=8], "0"),
        (7, &[1..=4, 3..=6, 7..=8], "2"),
        (8, &[1..=4], "0"),
    ];
    for (trial, attempts, _) in &histories {
        for (number, epochs) in (1..).zip(attempts.iter().cloned()) {
            bench.start(*trial, number);
            bench.epochs(*trial, number, epochs);
            bench.end(*trial, number, lost.clone());
        }
    }
    let expected = wire::EpochsRepeated { epochs: 6, trials: 2, of_trials: 16 };
    let trials = bench.table(&request(|request| request.level = TableLevel::Trials.into()));
    assert_eq!(trials.epochs_repeated, Some(expected));
    for (trial, _, repeated) in &histories {
        assert_eq!(trials.rows[*trial].last().unwrap(), repeated, "trial {trial}");
    }
    assert_eq!(bench.table(&request(|_| {})).epochs_repeated, Some(expected));
    // A removed trial counts where it is shown.
    bench.commit([Change::MembersRemoved("depths".parse().unwrap(), vec![bench.trials[5].id])]);
    let fewer = wire::EpochsRepeated { epochs: 2, trials: 1, of_trials: 15 };
    assert_eq!(bench.table(&request(|_| {})).epochs_repeated, Some(fewer));
    let all = bench.table(&request(|request| request.removed = true));
    assert_eq!(all.epochs_repeated, Some(expected));
}

#[test]
fn seconds_that_nobody_counted_are_absent() {
    let mut bench = Bench::new(YAML);
    bench.run(0, OutcomeKind::Failed, 0.0, 0.0);
    bench.start(1, 1);
    bench.end(1, 1, AttemptEnd::Outcome(OutcomeKind::Failed));
    let uncounted = Outcome { seconds: 0.0, ..outcome(OutcomeKind::Failed, 0.0, 0.0) };
    bench.commit([Change::OutcomeRecorded(bench.attempt(1, 1), uncounted)]);
    let table = bench.table(&request(|request| request.level = TableLevel::Trials.into()));
    let at = table.columns.iter().position(|column| column == "seconds").unwrap();
    assert_eq!((table.rows[0][at].as_str(), table.rows[1][at].as_str()), ("4", ""));
}

#[test]
fn table_of_epochs_follows_the_history_over_attempts() {
    let mut bench = Bench::new(YAML);
    bench.start(3, 1);
    bench.epochs(3, 1, 1..=5);
    bench.end(3, 1, AttemptEnd::WorkerLost);
    bench.start(3, 2);
    bench.epochs(3, 2, 4..=6);
    let table = bench.table(&request(|request| request.level = TableLevel::Epochs.into()));
    assert_eq!(table.columns[4..6], ["seed", "epoch"]);
    let id = bench.trials[3].id.to_string();
    let found: Vec<(&str, &str)> = table
        .rows
        .iter()
        .map(|row| {
            assert_eq!(row[0], id);
            (row[5].as_str(), row[6].as_str())
        })
        .collect();
    let expected = [("1", "1"), ("2", "1"), ("3", "1"), ("4", "2"), ("5", "2"), ("6", "2")];
    assert_eq!(found, expected, "epoch and the attempt that wrote it");
    let (val_loss, grad_norm) = (8, 12);
    assert_eq!((&*table.columns[val_loss], &*table.columns[grad_norm]), ("val_loss", "grad_norm"));
    assert_eq!((&*table.rows[0][val_loss], &*table.rows[0][grad_norm]), ("", ""));
}

#[test]
fn table_of_epochs_comes_in_parts() {
    let mut bench = Bench::new(YAML);
    bench.start(0, 1);
    bench.epochs(0, 1, 1..=2_500);
    bench.start(1, 1);
    bench.epochs(1, 1, 1..=10);
    let epochs = request(|request| request.level = TableLevel::Epochs.into());
    let table = bench.table(&epochs);
    assert!(table.parts > 2, "{} parts", table.parts);
    let found: Vec<&str> = table.rows.iter().map(|row| row[5].as_str()).collect();
    let expected: Vec<String> = (1..=2_500).chain(1..=10).map(|e| e.to_string()).collect();
    assert_eq!(found, expected);
    let mut parts = 0;
    let mut sink = |_| {
        parts += 1;
        ControlFlow::Break(())
    };
    bench.reader().table(&epochs, &mut sink).unwrap();
    assert_eq!(parts, 1, "it ends when nobody listens");
}

#[test]
fn table_of_many_trials_comes_in_pages() {
    let bench = Bench::new("name: depths\nmodel: mlp\ndata: strokes\nseeds: 1203\n");
    let table = bench.table(&request(|request| request.level = TableLevel::Trials.into()));
    let seeds: Vec<String> = table.rows.iter().map(|row| row[1].clone()).collect();
    assert_eq!(seeds, (0..1203).map(|seed| seed.to_string()).collect::<Vec<String>>());
}

#[test]
fn table_holds_no_snapshot_while_it_is_sent() {
    let mut bench = filled();
    let reader = bench.reader();
    let all = request(|request| request.level = TableLevel::Trials.into());
    let mut rows = 0;
    let mut sink = |part: TablePart| {
        rows += part.rows.len();
        bench.end(1, 1, AttemptEnd::WorkerLost);
        // A log that a reader still needs cannot be cut.
        let log = rusqlite::Connection::open(bench.dir.path().join("gradsweep.db")).unwrap();
        let busy: i64 =
            log.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0)).unwrap();
        assert_eq!(busy, 0);
        ControlFlow::Continue(())
    };
    reader.table(&all, &mut sink).unwrap();
    assert_eq!(rows, 16);
}
