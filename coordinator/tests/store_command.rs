//! `store check` and `store backup` as processes, on stores that are right, damaged and written.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use common::ids::{AttemptId, CohortId};
use common::spec::{self, Sweep};
use coordinator::store::{SqliteStore, Store};
use rusqlite::{Connection, Row};
use scheduler::Change;
use scheduler::event::{
    AttemptEnd, EpochMetrics, Fusion, Outcome, OutcomeKind, Provenance, SweepHeader, Trial,
};

const YAML: &str = "name: tiny\nmodel: mlp\ndata: strokes\ngrid: {depth: [2, 3, 4, 5]}\nseeds: 2\n";

fn sweep() -> Sweep {
    spec::load(YAML, "tiny.yaml", &spec::Options::default()).unwrap().0
}

fn trials() -> Vec<Trial> {
    sweep().expand().map(|(config, id, seed)| Trial { id, config, seed }).collect()
}

fn applied() -> Vec<Change> {
    let sweep = sweep();
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
    let ids = trials().iter().map(|trial| trial.id).collect();
    vec![
        Change::SweepApplied(header),
        Change::TrialsAdded(trials()),
        Change::MembersAdded { sweep: sweep.name.clone(), first_index: 0, trials: ids },
        Change::SweepExpanded(sweep.name),
    ]
}

fn epoch(attempt: AttemptId, epoch: u32) -> Change {
    let metrics = EpochMetrics {
        epoch,
        train_loss: 0.5,
        train_error: 0.5,
        val_loss: 0.5,
        val_error: 0.5,
        gate: 1.0,
        lr: 0.1,
        grad_norm: 1.0,
        examples_per_second: 1.0,
        seconds: 1.0,
        examples: 1,
    };
    Change::EpochRecorded(attempt, metrics)
}

fn started(attempt: AttemptId) -> Change {
    let worker = "w1".parse().unwrap();
    Change::AttemptStarted { attempt, worker, cohort: CohortId(1), cohort_size: 1 }
}

fn ended(attempt: AttemptId, end: AttemptEnd) -> Change {
    Change::AttemptEnded { attempt, end, deaths: 0, cohort_size_max: None }
}

/// Two attempts with epochs and an outcome.
fn completed(trial: &Trial) -> Vec<Change> {
    let [first, second] = [1, 2].map(|number| AttemptId { trial: trial.id, number });
    let outcome = Outcome {
        kind: OutcomeKind::Completed,
        epochs: 3,
        seconds: 1.0,
        best_epoch: Some(1),
        test_error: Some(0.5),
        test_loss: None,
        val_error: Some(0.5),
        val_loss: None,
        train_loss: None,
        reason: "the last epoch".into(),
        provenance: Provenance::default(),
    };
    vec![
        started(first),
        epoch(first, 1),
        epoch(first, 2),
        ended(first, AttemptEnd::WorkerLost),
        started(second),
        epoch(second, 2),
        epoch(second, 3),
        ended(second, AttemptEnd::Outcome(OutcomeKind::Completed)),
        Change::OutcomeRecorded(second, outcome),
    ]
}

/// A store in which three trials completed and one runs.
fn filled(state: &Path) -> SqliteStore {
    let mut store = SqliteStore::open(state).unwrap();
    store.commit(&applied(), 1).unwrap();
    let trials = trials();
    for trial in &trials[..3] {
        store.commit(&completed(trial), 2).unwrap();
    }
    let attempt = AttemptId { trial: trials[3].id, number: 1 };
    store.commit(&[started(attempt), epoch(attempt, 1)], 3).unwrap();
    store
}

/// Exit status, stdout and stderr of `coordinator store …`.
fn run(state: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coordinator"));
    let output = command.arg("store").args(arguments).arg("--state").arg(state).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_store_that_is_right_is_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    // Its coordinator goes on to hold it.
    let _store = filled(folder.path());
    let (status, stdout, stderr) = run(folder.path(), &["check"]);
    let rows = "1 sweeps, 8 members, 4 configs, 8 trials, 7 attempts, 13 epochs, 3 outcomes\n";
    let expected = format!("the store is whole: schema version 3, {rows}");
    assert_eq!((status, stdout.as_str(), stderr.as_str()), (Some(0), expected.as_str(), ""));
    let (status, _, stderr) = run(&folder.path().join("nowhere"), &["check"]);
    assert_eq!(status, Some(2), "{stderr}");
}

#[test]
fn each_damage_is_found_and_told() {
    let damages = [
        ("UPDATE attempts SET ended = 'returned' WHERE ended IS NULL", "one open attempt"),
        ("UPDATE trials SET state = 'pending' WHERE state = 'running'", "only a running trial"),
        ("UPDATE trials SET attempts = 3 WHERE attempts = 2", "numbered from 1"),
        ("DELETE FROM outcomes", "one outcome of its kind"),
        ("UPDATE trials SET state = 'pending' WHERE state = 'completed'", "has no outcome"),
        ("UPDATE outcomes SET attempt = 1", "its trial's latest attempt"),
        ("DELETE FROM epochs WHERE attempt = 1 AND epoch = 1", "starts within"),
        ("UPDATE epochs SET epoch = 9 WHERE attempt = 2 AND epoch = 3", "follow each other"),
        ("UPDATE epochs SET cohort = cohort + 99", "an attempt's cohort"),
        ("UPDATE attempts SET last_epoch = last_epoch + 1", "first and last epoch"),
        ("UPDATE trials SET seed = 0", "config and seed"),
        ("UPDATE members SET place = 1", "places of their own"),
        ("UPDATE sweeps SET completed_unix_ms = 4", "no open member"),
        ("PRAGMA foreign_keys = 0; DELETE FROM configs", "foreign_key_check"),
    ];
    for (damage, sentence) in damages {
        let folder = tempfile::tempdir().unwrap();
        drop(filled(folder.path()));
        let connection = Connection::open(folder.path().join("gradsweep.db")).unwrap();
        connection.execute_batch(damage).unwrap();
        drop(connection);
        let (status, stdout, stderr) = run(folder.path(), &["check"]);
        assert_eq!(status, Some(1), "{damage}: {stdout}{stderr}");
        let told =
            stdout.lines().any(|line| line.starts_with("violated") && line.contains(sentence));
        assert!(told, "{damage}: {stdout}");
        assert!(stderr.contains("go on from the newest backup"), "{stderr}");
    }
}

#[test]
fn a_page_that_was_overwritten_is_found() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()));
    let file = folder.path().join("gradsweep.db");
    let connection = Connection::open(&file).unwrap();
    let sql = "SELECT rootpage, page_size FROM sqlite_schema, pragma_page_size
        WHERE name = 'outcomes'";
    let read = |row: &Row<'_>| Ok((row.get::<_, u32>(0)? as usize, row.get::<_, u32>(1)? as usize));
    let (page, size) = connection.query_row(sql, (), read).unwrap();
    drop(connection);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[(page - 1) * size..page * size].fill(0xa5);
    std::fs::write(&file, bytes).unwrap();
    let (status, stdout, stderr) = run(folder.path(), &["check"]);
    assert_eq!(status, Some(1), "{stdout}{stderr}");
}

#[test]
fn a_backup_is_a_whole_store_of_one_moment_while_another_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut store = filled(&state);
    let id = store.id().unwrap();
    let attempt = AttemptId { trial: trials()[3].id, number: 1 };
    let done = AtomicBool::new(false);
    let copy = folder.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    let file = copy.join("gradsweep.db");
    let file_text = file.to_str().unwrap();
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut number = 1;
            while !done.load(Ordering::Relaxed) {
                number += 1;
                store.commit(&[epoch(attempt, number)], 4).unwrap();
            }
            number
        });
        let (status, stdout, stderr) = run(&state, &["backup", file_text]);
        done.store(true, Ordering::Relaxed);
        assert_eq!(status, Some(0), "{stderr}");
        assert!(stdout.ends_with(" bytes, as the store was a moment ago\n"), "{stdout}");
        writer.join().unwrap()
    });
    let (status, stdout, _) = run(&copy, &["check"]);
    assert_eq!(status, Some(0), "{stdout}");
    let epochs = stdout.split(", ").find_map(|part| part.strip_suffix(" epochs")).unwrap();
    let epochs: u32 = epochs.parse().unwrap();
    assert!((13..=12 + written).contains(&epochs), "{epochs} of {written}");
    let names = std::fs::read_dir(&copy).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["gradsweep.db"], "one file");
    let restored = SqliteStore::open(&copy).unwrap();
    assert_ne!(restored.id().unwrap(), id, "attempts of the other store mean nothing here");
    drop(restored);

    let (status, _, stderr) = run(&state, &["backup", file_text]);
    assert_eq!(status, Some(2));
    assert!(stderr.contains("exists; --force replaces it"), "{stderr}");
    let weights = state.join("weights");
    std::fs::create_dir(&weights).unwrap();
    std::fs::write(weights.join(format!("{}.safetensors", trials()[0].id)), "of a trial").unwrap();
    let (status, stdout, stderr) = run(&state, &["backup", file_text, "--force"]);
    assert_eq!(status, Some(0), "{stderr}");
    let line = format!("\nnot in it: the kept weights; copy {} as well\n", weights.display());
    assert!(stdout.ends_with(&line), "{stdout}");
}

#[test]
fn a_backup_harms_no_store_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let store = filled(&state);
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(state.join("gradsweep.db"), &link).unwrap();
    let other = folder.path().join("other.db");
    let log = folder.path().join("other.db-wal");
    std::fs::write(&log, "of another database").unwrap();
    let refusals = [
        (state.join("gradsweep.db"), "the store's own directory"),
        (state.join("gradsweep.db-wal"), "the store's own directory"),
        (state.join("anything"), "the store's own directory"),
        (link, "the store's own directory"),
        (other, "other.db-wal is there"),
        (folder.path().join("nowhere/copy"), "cannot write into"),
    ];
    for (file, why) in refusals {
        let (status, _, stderr) = run(&state, &["backup", file.to_str().unwrap(), "--force"]);
        assert_eq!(status, Some(2), "{}: {stderr}", file.display());
        assert!(stderr.contains(why), "{}: {stderr}", file.display());
    }
    drop(store);
    let (status, stdout, _) = run(&state, &["check"]);
    assert_eq!(status, Some(0), "{stdout}");
    assert_eq!(std::fs::read(&log).unwrap(), b"of another database");
}
