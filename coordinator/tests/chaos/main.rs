//! Real processes: coordinator, workers and trainers are killed, stopped, cut off and started
//! again, and at the end every trial is there exactly once and equal to that of an undisturbed run.
//!
//! `CHAOS_SECONDS=n` sets the length of the storms, `CHAOS_SEED=n` repeats the plan of one; what
//! the plan meets is repeated only as far as the system runs the processes the same way.

mod partition;
mod processes;
mod storm;
mod stub_trainer;
mod tables;

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use processes::{Host, Training, wait_for};
use rustix::process::Signal;
use serde_json::Value;
use storm::{Storm, Sweep, worker_name};
use tables::{Tables, check_attempts};

/// From a worker's death until its trials run elsewhere: a lease of 8 s, and what a busy machine
/// adds.
const TAKEOVER_MAX: Duration = Duration::from_secs(12);

/// Longer than a lease, which ends after 8 s of silence.
const HELD: Duration = Duration::from_secs(10);

/// The tests of this file wait for each other: each has the machine for itself.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Past the test harness, which keeps what a passing test prints.
fn tell(line: &str) {
    // A closed stderr is no failure of what is tested.
    let _ = writeln!(io::stderr(), "chaos: {line}");
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn seed() -> u64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    variable("CHAOS_SEED").unwrap_or(u64::from(now.subsec_nanos()))
}

/// Three sweeps that differ in priority and in the size of cohorts.
const STUB_SWEEPS: [(&str, &str); 3] = [
    ("solo", "priority: 1\nfusion: 1\nbase: {epochs: 40}\ngrid: {depth: [2, 3, 4, 5, 6, 7, 8]}\n"),
    ("edited", "fusion: 4\nbase: {epochs: 30}\ngrid: {depth: [2, 3, 4, 5, 6, 7, 8, 9]}\n"),
    ("stacked", "fusion: 16\nbase: {epochs: 50}\ngrid: {depth: [2, 3, 4, 5, 6, 7, 8, 9]}\n"),
];
/// Another version of the second: points less, and one more.
const EDITED: &str = "fusion: 4\nbase: {epochs: 30}\ngrid: {depth: [2, 3, 4, 5, 6, 10]}\n";

/// A sweep file for the stub; each point with 12 seeds, unless the rest says otherwise.
fn stub_yaml(name: &str, rest: &str) -> String {
    let seeds = if rest.contains("seeds: ") { "" } else { "seeds: 12\n" };
    let head = format!("name: {name}\nmodel: mlp\ndata: strokes\nbudget: {{same_error: null}}\n");
    // Every epoch may be the best, and the last is trained.
    let rest = rest.replace("base: {", "base: {select: any, patience: null, ");
    format!("{head}{rest}{seeds}")
}

/// The results of a store whose sweeps run to their end, with nothing in their way.
fn undisturbed(host: &Host, slots: u32, sweeps: &[Sweep]) -> Vec<Tables> {
    let mut storm = Storm::start(host, "undisturbed", slots, 2, 0);
    apply_all(host, sweeps);
    settle(host, "undisturbed", sweeps);
    storm.stop_all();
    let tables = sweeps.iter().map(|sweep| host.tables("undisturbed", sweep.name));
    let tables = tables.collect::<Vec<_>>();
    for tables in &tables {
        tables.check_histories();
        assert_eq!(tables.attempts(), tables.trials.len() as u64, "nothing was trained twice");
    }
    tables
}

/// Waits for the coordinator with the first.
fn apply_all(host: &Host, sweeps: &[Sweep]) {
    for sweep in sweeps {
        let file = sweep.file.display().to_string();
        wait_for("the coordinator to take a sweep", || host.ask(&["apply", &file]).is_ok());
    }
}

/// Waits until every sweep is done, and tries what failed by a kill again until none has.
fn settle(host: &Host, state: &str, sweeps: &[Sweep]) {
    for sweep in sweeps {
        wait_for(&format!("the end of sweep {}", sweep.name), || {
            let status = host.read(state, &["status", sweep.name]);
            let count = |of: &str| status["trials"][of].as_u64().unwrap_or(1);
            if count("pending") + count("running") > 0 {
                return false;
            }
            if count("failed") + count("cancelled") == 0 {
                return true;
            }
            check_failures(host, state, sweep.name);
            host.ask(&["retry", sweep.name]).expect("what failed can be tried again");
            false
        });
    }
}

/// Nothing but a kill lets a trial fail.
fn check_failures(host: &Host, state: &str, sweep: &str) {
    for (trial, row) in host.tables(state, sweep).trials {
        if row["state"] == "failed" {
            let told = host.trial(state, sweep, &trial);
            let reason = told["outcome"]["reason"].as_str().expect("a reason");
            assert!(reason.contains("SIGKILL"), "trial {trial} failed: {reason}");
        }
    }
}

/// Every trial exactly once, as in the undisturbed run; gives the attempts beyond the first, and
/// how many of them went on from a checkpoint.
fn check(host: &Host, state: &str, sweep: &Sweep, expected: &Tables) -> (u64, u64) {
    let found = host.tables(state, sweep.name);
    found.check_histories();
    if sweep.is_exact {
        found.check_equal(expected);
    } else {
        found.check_close(expected);
    }
    let mut resumed = 0;
    for trial in found.trials.keys() {
        let trial = host.trial(state, sweep.name, trial);
        check_attempts(&trial);
        let attempts = trial["attempts"].as_array().expect("attempts").iter();
        resumed += attempts.filter(|attempt| attempt["first_epoch"].as_u64() > Some(1)).count();
    }
    (found.attempts() - found.trials.len() as u64, resumed as u64)
}

#[test]
fn a_storm_over_three_sweeps_of_a_stub_trainer_loses_nothing() {
    let _turn = turn();
    let host = Host::new("stub", Training::Stub);
    let mut sweeps = Vec::new();
    for (name, rest) in STUB_SWEEPS {
        let file = host.write(name, &stub_yaml(name, rest));
        let edited = (name == "edited").then(|| host.write("edits", &stub_yaml(name, EDITED)));
        sweeps.push(Sweep { name, file, edited, is_exact: true });
    }
    // Two of the three resume what the other began.
    host.share_checkpoints(&worker_name(0));
    host.share_checkpoints(&worker_name(1));
    host.set_pace(1);
    let expected = undisturbed(&host, 3, &sweeps);
    let diverged = expected[0].trials.values().filter(|row| row["state"] == "diverged").count();
    assert!(diverged > 0, "the stub's trials of some seeds diverge");
    let seconds = variable("CHAOS_SECONDS").unwrap_or(90);
    // So slow that six slots are busy for three storms: it is ended by `set_pace` afterwards.
    host.set_pace(4 * seconds.max(60));
    let cost = storm(&host, &sweeps, &expected, Plan { seconds, workers: 3, slots: 2 });
    assert!(cost.left > 0, "the storm had work until its end");
    assert!(cost.again > 0, "the storm costs attempts");
    assert!(cost.resumed > 0, "some attempt goes on from a checkpoint");
}

#[test]
fn a_storm_over_real_training_changes_no_number() {
    let _turn = turn();
    let host = Host::new("real", Training::Real);
    let yaml = |name: &str, rest: &str| {
        let base = "width: 64, batch_size: 50, lr: 1e-3, tau: 2, patience: null";
        format!(
            "name: {name}\nmodel: mlp\ndata: strokes\nbudget: {{same_error: null}}\n\
             base: {{{base}, epochs: 30, train_examples: 8000}}\n{rest}"
        )
    };
    let solo =
        yaml("solo", "fusion: 1\ngrid: {depth: [3, 12], activation: [relu, grelu]}\nseeds: 2\n");
    let stacked =
        yaml("stacked", "fusion: 3\ngrid: {depth: [2, 5], activation: [grelu]}\nseeds: 3\n");
    let sweeps = [
        Sweep { name: "solo", file: host.write("solo", &solo), edited: None, is_exact: true },
        Sweep {
            name: "stacked",
            file: host.write("stacked", &stacked),
            edited: None,
            is_exact: false,
        },
    ];
    let begun = Instant::now();
    let expected = undisturbed(&host, 1, &sweeps);
    // Two workers train it in half the time: until then there is something to disturb. How much of
    // it the blows hit is up to the machine, so what it costs is no matter here.
    let work = (begun.elapsed().as_secs() / 2).clamp(15, 45);
    let seconds = variable("CHAOS_SECONDS").map_or(work, |seconds| seconds.div_ceil(2));
    storm(&host, &sweeps, &expected, Plan { seconds, workers: 2, slots: 1 });
}

/// A storm's size.
struct Plan {
    seconds: u64,
    workers: usize,
    slots: u32,
}

/// What a storm cost.
struct Cost {
    /// Trials that it left open.
    left: u64,
    /// Attempts beyond the first.
    again: u64,
    /// Of them those that went on from a checkpoint.
    resumed: u64,
}

/// Runs the sweeps through a storm and compares.
fn storm(host: &Host, sweeps: &[Sweep], expected: &[Tables], plan: Plan) -> Cost {
    let Plan { seconds, workers, slots } = plan;
    let seed = seed();
    tell(&format!("a storm of {seconds} s; CHAOS_SEED={seed} repeats its plan"));
    let mut storm = Storm::start(host, "disturbed", slots, workers, seed);
    apply_all(host, sweeps);
    storm.rage(Duration::from_secs(seconds), sweeps);
    // What is left is trained quickly.
    host.set_pace(2);
    storm.last_blow();
    apply_all(host, sweeps);
    let mut left = 0;
    for sweep in sweeps {
        // Paused where the storm ended; refused where not.
        let answer = host.ask(&["resume", sweep.name]);
        let trials = &host.read("disturbed", &["status", sweep.name])["trials"];
        left += trials["pending"].as_u64().unwrap_or(0);
        storm.log.say(&format!("resume {}: {answer:?}; {trials}", sweep.name));
    }
    settle(host, "disturbed", sweeps);
    storm.log.say("every sweep is done");
    let (mut again, mut resumed) = (0, 0);
    for (sweep, expected) in sweeps.iter().zip(expected) {
        let (more, of_them) = check(host, "disturbed", sweep, expected);
        again += more;
        resumed += of_them;
    }
    storm.stop_all();
    tell(&format!(
        "nothing lost; {again} attempts beyond the first, {resumed} of a checkpoint; {:?}",
        storm.log.faults
    ));
    Cost { left, again, resumed }
}

/// The coordinator is held for longer than a lease, which costs nothing; then a worker is killed.
/// Another has free slots all the time.
#[test]
fn the_trials_of_a_killed_worker_alone_soon_run_elsewhere() {
    let _turn = turn();
    let host = Host::new("takeover", Training::Stub);
    let yaml = stub_yaml("taken", "base: {epochs: 1000}\nseeds: [0, 1]\n");
    let sweep =
        Sweep { name: "taken", file: host.write("taken", &yaml), edited: None, is_exact: true };
    let sweeps = [sweep];
    let mut coordinator = host.coordinator("store");
    apply_all(&host, &sweeps);
    let mut doomed = host.worker("doomed", 2, &[], &host.url());
    wait_for("both trials to run", || host.count("store", "taken", "running") == 2);
    let mut heir = host.worker("heir", 2, &[], &host.url());
    wait_for("the other worker", || attached(&host) == 2);
    coordinator.signal(Signal::STOP);
    // The length of its absence is what is tested.
    std::thread::sleep(HELD);
    coordinator.signal(Signal::CONT);
    let epochs = || host.tables("store", "taken").epochs.values().map(Vec::len).sum::<usize>();
    let before = epochs();
    wait_for("more epochs", || epochs() > before);
    let trials = host.tables("store", "taken");
    assert_eq!(trials.attempts(), 2, "nothing was leased again: {:#?}", trials.trials);
    let trials = trials.trials;
    doomed.kill();
    let killed = Instant::now();
    wait_for("both trials to run elsewhere", || {
        trials.keys().all(|trial| {
            let trial = host.trial("store", "taken", trial);
            trial["state"] == "running" && trial["attempts"].as_array().map_or(0, Vec::len) == 2
        })
    });
    let took = killed.elapsed();
    tell(&format!("the trials of a killed worker ran elsewhere after {:.1} s", took.as_secs_f64()));
    assert!(took < TAKEOVER_MAX, "{took:?}");
    host.set_pace(0);
    settle(&host, "store", &sweeps);
    for process in [&mut heir, &mut coordinator] {
        process.signal(Signal::TERM);
        assert_eq!(process.wait(), Some(143), "{}", process.name);
    }
    host.expect_none_left();
}

/// Workers that the coordinator hears.
fn attached(host: &Host) -> usize {
    match host.read("store", &["workers"]) {
        Value::Array(workers) => {
            workers.iter().filter(|worker| worker["state"] == "connected").count()
        }
        _ => 0,
    }
}
