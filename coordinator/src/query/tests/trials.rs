//! Sweeps, trials, logs and workers, with and without a coordinator.

use common::ids::TrialId;
use scheduler::event::Hold;

use super::*;

fn closed(trial: TrialId, reason: &str) -> Change {
    let (trials, reason) = (vec![trial], reason.to_owned());
    Change::TrialsClosed { trials, kind: OutcomeKind::Cancelled, reason }
}

#[test]
fn trial_is_found_without_a_look_at_its_sweep() {
    let bench = Bench::new(YAML);
    let plan = format!("EXPLAIN QUERY PLAN {}", trial::MATCHES);
    let reader = Reader::open(bench.dir.path()).unwrap();
    let mut statement = reader.connection.prepare(&plan).unwrap();
    let steps = statement.query_map((1, 0, 0, 1), |row| row.get::<_, String>(3)).unwrap();
    let steps: Vec<String> = steps.map(Result::unwrap).collect();
    assert!(steps[0].starts_with("SEARCH t USING COVERING INDEX"), "{steps:?}");
    assert!(steps[1].starts_with("SEARCH m USING PRIMARY KEY"), "{steps:?}");
    assert_eq!(steps.len(), 2, "{steps:?}");
}

#[test]
fn sweep_counts_its_trials() {
    let mut bench = Bench::new(YAML);
    bench.run(0, OutcomeKind::Completed, 0.3, 0.2);
    bench.run(1, OutcomeKind::Completed, 0.2, 0.1);
    bench.run(2, OutcomeKind::Diverged, 0.0, 0.0);
    bench.run(4, OutcomeKind::Failed, 0.0, 0.0);
    bench.start(5, 1);
    bench.end(5, 1, AttemptEnd::WorkerLost);
    bench.start(5, 2);
    bench.epochs(5, 2, 1..=3);
    bench.commit([
        Change::MembersRemoved("depths".parse().unwrap(), vec![bench.trials[7].id]),
        closed(bench.trials[8].id, "unwanted"),
    ]);
    let sweep = bench.reader().sweep("depths").unwrap();
    let counts = sweep.trials.unwrap();
    let expected = wire::TrialCounts {
        pending: 9,
        running: 1,
        completed: 2,
        diverged: 1,
        failed: 1,
        cancelled: 1,
        removed: 1,
    };
    assert_eq!(counts, expected);
    assert_eq!((sweep.configs, sweep.configs_done), (8, 1));
    assert_eq!(sweep.best_val_error, Some(0.1));
    assert_eq!(sweep.best_trial, bench.trials[1].id.to_string());
    assert_eq!(sweep.epochs, 4 * 8 + 3);
    assert_eq!((sweep.created_unix_ms, sweep.completed_unix_ms), (AT, 0));
    assert_eq!((sweep.state.as_str(), sweep.model.as_str()), ("running", "mlp"));
    assert_eq!(sweep.failures, [format!("{}: because", bench.trials[4].id)]);
    let lost = wire::EndCount { end: "worker lost".into(), attempts: 1 };
    assert_eq!(sweep.lost_attempts, [lost]);
    let listed = bench.reader().sweeps().unwrap();
    assert!(sweep.yaml.contains("name: depths"), "{}", sweep.yaml);
    let (failures, lost_attempts, yaml) = Default::default();
    let brief = wire::Sweep { failures, lost_attempts, yaml, ..sweep };
    assert_eq!(listed, [brief]);
}

#[test]
fn sweep_tells_whether_anything_runs() {
    let mut bench = Bench::new("name: depths\nmodel: mlp\ndata: strokes\n");
    let state = |bench: &Bench| bench.reader().sweep("depths").unwrap().state;
    assert_eq!(state(&bench), "idle");
    bench.run(0, OutcomeKind::Completed, 0.3, 0.2);
    bench.commit([Change::SweepCompleted("depths".parse().unwrap())]);
    assert_eq!(state(&bench), "completed");
    assert_eq!(bench.reader().sweep("depths").unwrap().completed_unix_ms, AT);
}

#[test]
fn sweep_tells_what_holds_it_back() {
    let mut bench = Bench::new("name: depths\nmodel: mlp\ndata: strokes\n");
    let broken = Hold::Broken { reason: "all died".into() };
    for (hold, state) in [
        (Some(Hold::Paused), "paused"),
        (Some(broken), "all died"),
        (None, "idle"),
        (Some(Hold::Cancelled), "cancelled"),
    ] {
        bench.commit([Change::SweepHeld("depths".parse().unwrap(), hold)]);
        assert_eq!(bench.reader().sweep("depths").unwrap().state, state);
    }
}

#[test]
fn trial_has_parameters_attempts_and_one_history() {
    let mut bench = Bench::new(YAML);
    bench.start(3, 1);
    bench.epochs(3, 1, 1..=5);
    bench.end(3, 1, AttemptEnd::WorkerLost);
    let id = bench.trials[3].id.to_string();
    let waiting = bench.reader().trial("depths", &id[..6]).unwrap();
    assert_eq!(waiting.state, "pending");
    assert!(waiting.pending_reason.contains("attempt 1: worker lost"), "{waiting:?}");
    bench.start(3, 2);
    bench.epochs(3, 2, 4..=7);
    bench.end(3, 2, AttemptEnd::Outcome(OutcomeKind::Completed));
    let done = outcome(OutcomeKind::Completed, 0.3, 0.2);
    bench.commit([Change::OutcomeRecorded(bench.attempt(3, 2), done)]);
    let trial = bench.reader().trial("depths", &id.to_uppercase()).unwrap();
    assert_eq!((trial.id, trial.sweeps), (id, vec!["depths".to_owned()]));
    assert_eq!(trial.params, bench.trials[3].config.to_json());
    assert_eq!((trial.seed, trial.state.as_str()), (1, "completed"));
    let attempts: Vec<(u32, &str, u32, u32)> = trial
        .attempts
        .iter()
        .map(|a| (a.attempt, a.state.as_str(), a.first_epoch, a.last_epoch))
        .collect();
    assert_eq!(attempts, [(1, "worker lost", 1, 5), (2, "completed", 4, 7)]);
    let epochs: Vec<(u32, u32)> = trial
        .epochs
        .iter()
        .map(|epoch| (epoch.attempt.as_ref().unwrap().attempt, epoch.epoch))
        .collect();
    assert_eq!(epochs, [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6), (2, 7)]);
    let outcome = trial.outcome.unwrap();
    assert_eq!((outcome.kind(), outcome.best_epoch), (wire::OutcomeKind::Completed, Some(5)));
    assert_eq!(outcome.provenance.unwrap().device, "cpu");
    assert_eq!(trial.pending_reason, "");
}

#[test]
fn trial_with_a_long_history_has_its_end() {
    let mut bench = Bench::new(YAML);
    bench.start(0, 1);
    bench.epochs(0, 1, 1..=4_000);
    bench.end(0, 1, AttemptEnd::Returned);
    bench.start(0, 2);
    bench.epochs(0, 2, 3_001..=6_000);
    let id = bench.trials[0].id.to_string();
    let trial = bench.reader().trial("depths", &id).unwrap();
    let found: Vec<u32> = trial.epochs.iter().map(|epoch| epoch.epoch).collect();
    assert_eq!(found, (6_001 - EPOCHS_MAX..=6_000).collect::<Vec<u32>>());
    assert!(prost::Message::encoded_len(&trial) < common::wire::MESSAGE_BYTES_MAX);
}

#[test]
fn trial_closed_without_attempt_has_an_outcome() {
    let mut bench = Bench::new(YAML);
    let id = bench.trials[0].id;
    bench.commit([closed(id, "no sweep wants it")]);
    let outcome = bench.reader().trial("depths", &id.to_string()).unwrap().outcome.unwrap();
    assert_eq!(outcome.kind(), wire::OutcomeKind::Cancelled);
    assert_eq!((outcome.attempt, outcome.reason.as_str()), (None, "no sweep wants it"));
}

#[test]
fn log_has_what_failed_attempts_left() {
    let mut bench = Bench::new(YAML);
    let id = bench.trials[0].id.to_string();
    let log = |bench: &Bench| bench.reader().log("depths", &id).unwrap();
    bench.start(0, 1);
    assert_eq!(log(&bench).source, "no attempt has left a log");
    let died = |message: &str, tail: &str| AttemptEnd::CohortFailed {
        cause: FailureCause::TrainerDied,
        counted: true,
        message: message.into(),
        stderr_tail: tail.into(),
    };
    bench.end(0, 1, died("signal 9", "one\ntwo\n"));
    let first = log(&bench);
    assert_eq!((first.text.as_str(), first.source.as_str()), ("one\ntwo\n", "attempt 1"));
    bench.start(0, 2);
    bench.end(0, 2, AttemptEnd::WorkerLost);
    bench.start(0, 3);
    bench.end(0, 3, died("signal 11", "three"));
    let both = log(&bench);
    let text = "== attempt 1 (trainer died) ==\none\ntwo\n== attempt 3 (trainer died) ==\nthree\n";
    assert_eq!((both.text.as_str(), both.source.as_str()), (text, "attempts 1, 3"));
    let attempts = bench.reader().trial("depths", &id).unwrap().attempts;
    assert_eq!(attempts[2].message, "signal 11");
}

#[test]
fn workers_are_lost_without_a_coordinator() {
    use scheduler::event::Device;
    let mut bench = Bench::new(YAML);
    let hello = |id: &str, draining| WorkerHello {
        id: id.parse().unwrap(),
        host: "node-7".into(),
        program_version: "0.1.0".into(),
        libtorch_version: "2.11.0".into(),
        slots: vec![Device::Cuda(0), Device::Cuda(1)],
        data_digests: [(common::config::Data::Strokes, "abc".to_owned())].into(),
        running: Vec::new(),
        draining,
    };
    bench.commit([
        Change::WorkerAttached(hello("w1", false)),
        Change::WorkerAttached(hello("w2", true)),
        Change::WorkerAttached(hello("w3", false)),
        Change::WorkerDetached("w3".parse().unwrap()),
    ]);
    bench.start(0, 1);
    let states = |bench: &Bench| {
        let workers = bench.reader().workers().unwrap();
        workers.into_iter().map(|worker| worker.state).collect::<Vec<String>>()
    };
    assert_eq!(states(&bench), ["lost", "lost", "lost"]);
    let held = lock::acquire(bench.dir.path()).unwrap();
    assert_eq!(states(&bench), ["connected", "draining", "lost"]);
    let first = bench.reader().workers().unwrap().remove(0);
    let slots: Vec<(&str, &str, u64)> =
        first.slots.iter().map(|s| (s.device.as_str(), s.state.as_str(), s.cohort)).collect();
    assert_eq!(slots, [("cuda:0", "busy", 1), ("cuda:1", "free", 0)]);
    assert_eq!(first.data_digests["strokes"], "abc");
    assert_eq!((first.host.as_str(), first.last_seen_unix_ms), ("node-7", AT));
    drop(held);
}

/// The files as a killed coordinator leaves them.
fn killed(state_dir: &Path, with_shared_memory: bool) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["gradsweep.db", "gradsweep.db-wal", "gradsweep.db-shm"] {
        if with_shared_memory || !name.ends_with("-shm") {
            fs::copy(state_dir.join(name), copy.path().join(name)).unwrap();
        }
    }
    copy
}

#[test]
fn reader_sees_what_a_killed_coordinator_committed() {
    let mut bench = Bench::new(YAML);
    bench.run(0, OutcomeKind::Completed, 0.3, 0.2);
    let expected = bench.reader().sweep("depths").unwrap();
    for with_shared_memory in [true, false] {
        let copy = killed(bench.dir.path(), with_shared_memory);
        assert_eq!(Reader::open(copy.path()).unwrap().sweep("depths").unwrap(), expected);
    }
    let path = bench.dir.path().to_owned();
    let kept = bench.dir.keep();
    drop(bench.store);
    assert_eq!(Reader::open(&path).unwrap().sweep("depths").unwrap(), expected);
    fs::remove_dir_all(kept).unwrap();
}

#[test]
fn readers_see_time_go_forward_beside_the_writer() {
    let mut bench = Bench::new(YAML);
    std::thread::scope(|scope| {
        let mut readers = Vec::new();
        for reader in [bench.reader(), bench.reader(), bench.reader()] {
            readers.push(scope.spawn(move || {
                let mut running = 0;
                while running < 16 {
                    let counts = reader.sweep("depths").unwrap().trials.unwrap();
                    assert_eq!(counts.pending + counts.running, 16);
                    assert!(counts.running >= running, "time goes forward");
                    running = counts.running;
                }
            }));
        }
        for trial in 0..16 {
            bench.start(trial, 1);
        }
        for thread in readers {
            thread.join().unwrap();
        }
    });
}
