//! Real processes: one coordinator, two workers, real training. A worker is killed in the middle of
//! a trial, which goes on elsewhere: from its checkpoint where the folder is shared, else from the
//! start. `chaos` has everything else that can be killed.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The slowest wait: a debug machine that trains everything again.
const DEADLINE: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(50);

/// A process that is killed when the test ends, however it ends.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Process {
        Process(command.spawn().expect("the process starts"))
    }

    fn kill(&mut self) {
        self.0.kill().expect("SIGKILL is sent");
        self.0.wait().expect("the process is reaped");
    }

    fn wait(&mut self) -> i32 {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.0.try_wait().expect("a child") {
                return status.code().expect("ended by itself");
            }
            assert!(Instant::now() < deadline, "the process does not end");
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn coordinator() -> &'static str {
    env!("CARGO_BIN_EXE_coordinator")
}

/// A program beside the coordinator's: `make build` puts them there.
fn beside(name: &str) -> PathBuf {
    let path = Path::new(coordinator()).with_file_name(name);
    assert!(path.is_file(), "{} is missing: run `make build` first", path.display());
    path
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

fn serve_sweep(yaml: &str, folder: &Path, state: &str, port: u16, extra: &[&str]) -> Process {
    let sweep = folder.join("kills.yaml");
    fs::write(&sweep, yaml).expect("writable");
    let mut command = Command::new(coordinator());
    command.arg("--sweep").arg(&sweep).arg("--state").arg(folder.join(state));
    command.args(["--listen", &format!("127.0.0.1:{port}"), "--http", "127.0.0.1:0"]);
    command.arg("--exit-when-done").args(extra).stdout(Stdio::null());
    Process::start(&mut command)
}

fn worker_command(folder: &Path, name: &str, port: u16) -> Command {
    let mut command = Command::new(beside("worker"));
    command.args(["--coordinator", &format!("http://127.0.0.1:{port}")]);
    command.args(["--devices", "cpu", "--slots-per-device", "1"]);
    command.arg("--state").arg(folder.join(name));
    command
}

/// The rows of `table --trials`, by trial.
fn trials(folder: &Path, state: &str) -> BTreeMap<String, serde_json::Value> {
    let mut command = Command::new(coordinator());
    command.args(["table", "kills", "--trials", "--format", "json", "--state"]);
    let output = command.arg(folder.join(state)).output().expect("the table runs");
    if !output.status.success() {
        return BTreeMap::new();
    }
    let rows = serde_json::from_slice::<Vec<serde_json::Value>>(&output.stdout).expect("JSON rows");
    let count = rows.len();
    let by_trial = rows.into_iter().map(|row| {
        let trial = row["trial"].as_str().expect("a trial id").to_owned();
        (trial, row)
    });
    let by_trial = by_trial.collect::<BTreeMap<_, _>>();
    assert_eq!(by_trial.len(), count, "a trial is in the table twice");
    by_trial
}

fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !reached() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(POLL);
    }
}

/// Two trials that last long enough to be in the middle when their worker dies.
const LONG_SWEEP: &str = "\
name: kills
model: mlp
data: strokes
base: {width: 64, depth: 12, batch_size: 50, epochs: 15, lr: 1e-3, activation: grelu, tau: 2,
  patience: null, train_examples: 4000}
seeds: 2
";

/// Text that a command of the client prints.
fn printed(folder: &Path, state: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(coordinator());
    let output = command.args(arguments).arg("--state").arg(folder.join(state)).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Kills one of two workers in the middle of its trial, which the other one then takes over;
/// returns the trial as it ends.
fn taken_over(folder: &Path, state: &str, artifacts: Option<&Path>) -> serde_json::Value {
    let port = free_port();
    let mut server = serve_sweep(LONG_SWEEP, folder, state, port, &[]);
    let start = |name: &str| {
        let mut command = worker_command(folder, &format!("{state}-{name}"), port);
        if let Some(artifacts) = artifacts {
            command.arg("--artifacts").arg(artifacts);
        }
        Process::start(command.env("GRADSWEEP_CHECKPOINT_INTERVAL", "0"))
    };
    let (mut doomed, _heir) = (start("doomed"), start("heir"));
    wait_for("both trials to be in the middle", || {
        let rows = trials(folder, state);
        rows.len() == 2 && rows.values().all(|row| row["epochs"].as_u64() >= Some(3))
    });
    doomed.kill();
    assert_eq!(server.wait(), 0, "the sweep completes");
    let rows = trials(folder, state);
    let twice = rows.iter().filter(|(_, row)| row["attempts"] == 2).collect::<Vec<_>>();
    let [(trial, row)] = twice.as_slice() else { panic!("one trial lost its worker: {rows:?}") };
    let text = printed(folder, state, &["trial", "kills", trial, "--format", "json"]);
    let json = serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
    assert_eq!(json["attempts"][0]["state"], "worker lost");
    assert_ne!(json["attempts"][0]["worker"], json["attempts"][1]["worker"]);
    assert_eq!(json["epochs_repeated"], row["epochs_repeated"]);
    json
}

#[test]
fn a_dead_workers_trial_resumes_elsewhere_where_the_checkpoints_are_shared() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let mut undisturbed = serve_sweep(LONG_SWEEP, folder, "undisturbed", 0, &["--local", "2"]);
    assert_eq!(undisturbed.wait(), 0, "the undisturbed run completes");
    let expected = trials(folder, "undisturbed");
    assert!(expected.values().all(|row| row["epochs_repeated"] == 0));
    let again = "trained again after an attempt ended early: 1 of 2 trials";

    let shared = folder.join("shared");
    let resumed = taken_over(folder, "shared-run", Some(&shared));
    let first_epoch = resumed["attempts"][1]["first_epoch"].as_u64().expect("a number");
    assert!(first_epoch >= 3, "it goes on where it was: {}", resumed["attempts"]);
    // A checkpoint per epoch: at most the one that was being written is missing.
    assert!(resumed["epochs_repeated"].as_u64() <= Some(1), "{}", resumed["attempts"]);

    let anew = taken_over(folder, "own-run", None);
    assert_eq!(anew["attempts"][1]["first_epoch"], 1);
    assert_eq!(anew["epochs_repeated"], anew["attempts"][0]["last_epoch"]);
    assert!(anew["epochs_repeated"].as_u64() >= Some(3));
    let line = format!("{} epochs were {again}", anew["epochs_repeated"]);
    for arguments in [&["table", "kills"][..], &["table", "kills", "--trials"]] {
        let text = printed(folder, "own-run", arguments);
        assert!(text.ends_with(&format!("\n{line}\n")), "{text}");
        assert!(!printed(folder, "undisturbed", arguments).contains("trained again"));
    }

    for state in ["shared-run", "own-run"] {
        let found = trials(folder, state);
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (trial, row) in &found {
            for key in ["state", "test_error", "val_error", "best_epoch", "train_loss", "epochs"] {
                assert_eq!(row[key], expected[trial][key], "{state}: {key} of trial {trial}");
            }
        }
    }
    // The last acknowledgement may have been lost with the coordinator.
    let left = fs::read_dir(&shared).expect("readable").count();
    assert!(left <= 2, "{left} checkpoints are left of trials that ended");
}
