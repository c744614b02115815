//! The program `coordinator` as it is called: mistakes, ports and signals.
#![allow(clippy::unwrap_used, reason = "a test says by its panic what is wrong")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use coordinator::store::endpoint;
use rustix::process::{Pid, Signal, kill_process};

const DEADLINE: Duration = Duration::from_secs(30);

const SWEEP: &str = "\
name: tiny
model: mlp
data: strokes
base: {width: 16, epochs: 2, tau: 1, depth: 2}
";

fn coordinator(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coordinator"));
    command.arg("--state").arg(state).args(["--http", "127.0.0.1:0"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A server that serves, and what it says on stderr.
struct Server(Child, Receiver<String>);

impl Server {
    fn start(state: &Path, sweep: &Path) -> Server {
        let mut command = coordinator(state);
        command.args(["--listen", "127.0.0.1:0", "--sweep"]).arg(sweep);
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // Read on, so that a full pipe never holds the server up.
        std::thread::spawn(move || {
            for line in stderr.lines() {
                drop(sender.send(line.unwrap()));
            }
        });
        let server = Server(child, lines);
        server.says("serving");
        server
    }

    /// Waits until it says something.
    fn says(&self, words: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let line = self.1.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("it does not say `{words}`"));
            if line.contains(words) {
                return;
            }
        }
    }

    fn signal(&mut self, signal: Signal) -> ExitStatus {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Exit status and stderr of a call that ends by itself.
fn ended(command: &mut Command) -> (Option<i32>, String) {
    let mut child = command.spawn().unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code(), text)
}

#[test]
fn mistakes_are_told_together_before_anything_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let (state, sweep) = (folder.path().join("state"), folder.path().join("bad.yaml"));
    fs::write(&sweep, "name: bad\nmodel: mlp\ndata: strokes\nbase: {lr: fast, wdith: 3}\n")
        .unwrap();
    // A port that is taken: had it been bound, that would have been the error.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = coordinator(&state);
    command.arg("--listen").arg(taken.local_addr().unwrap().to_string());
    command.arg("--sweep").arg(&sweep).arg("--sweep").arg("/nowhere.yaml");
    let (status, text) = ended(&mut command);
    assert_eq!(status, Some(2), "{text}");
    for expected in ["bad.yaml:4", "wdith", "did you mean `width`", "cannot read `/nowhere.yaml`"] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    assert!(!state.exists(), "no state directory is made");
    let (status, text) = ended(coordinator(&state).args(["--listen", "nowhere"]));
    assert_eq!(status, Some(2), "{text}");
}

#[test]
fn local_data_that_is_missing_or_broken_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let (state, sweep) = (folder.path().join("state"), folder.path().join("tiny.yaml"));
    fs::write(&sweep, SWEEP.replace("strokes", "mnist")).unwrap();
    let data = folder.path().join("data");
    let serve = || {
        let mut command = coordinator(&state);
        command.args(["--listen", "127.0.0.1:0", "--local", "--exit-when-done", "--sweep"]);
        let (status, text) = ended(command.arg(&sweep).arg("--data").arg(&data));
        assert_eq!(status, Some(2), "{text}");
        assert!(!state.exists(), "no state directory is made");
        text
    };
    let text = serve();
    assert!(text.contains("no `train-images-idx3-ubyte` or"), "{text}");
    assert!(text.contains("`coordinator data fetch mnist` downloads it"), "{text}");
    fs::create_dir_all(data.join("mnist")).unwrap();
    let file = data.join("mnist/train-images-idx3-ubyte");
    fs::write(&file, [0, 0, 8, 3, 0, 0, 234, 96, 0, 0, 0, 28, 0, 0, 0, 28, 1]).unwrap();
    let expected =
        format!("error: {} is truncated: 17 bytes of content, expected 47040016", file.display());
    let text = serve();
    assert!(text.contains(&expected), "{expected} in {text}");
}

#[test]
fn a_port_in_use_names_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let mut command = coordinator(folder.path());
    let (status, text) = ended(command.args(["--listen", &taken.to_string()]));
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains(&format!("cannot listen on --listen {taken}")), "{text}");
    assert!(text.contains("another program uses the port"), "{text}");
}

#[test]
fn signals_stop_cleanly_and_the_same_command_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = folder.path().join("tiny.yaml");
    fs::write(&sweep, SWEEP).unwrap();
    let state = folder.path().join("state");
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut server = Server::start(&state, &sweep);
        let bound = endpoint::read(&state).unwrap().expect("the ports are told");
        assert_eq!(bound.pid, server.0.id());
        let (refused, text) = ended(coordinator(&state).args(["--listen", "127.0.0.1:0"]));
        assert_eq!(refused, Some(1));
        assert!(text.contains(&format!("in use by process {}", bound.pid)), "{text}");
        server.says(match signal {
            Signal::INT => "sweep tiny: 1 trial",
            _ => "sweep tiny: 0 trials added, 0 removed, 1 unchanged",
        });
        assert_eq!(server.signal(signal).code(), Some(status));
        server.says("nothing more is handed out");
        server.says("sweep tiny: 0 of 1 done; the same command continues");
        assert_eq!(endpoint::read(&state).unwrap(), None);
    }
}

#[test]
fn overrides_that_change_a_stored_sweep_need_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let (state, sweep) = (folder.path().join("state"), folder.path().join("tiny.yaml"));
    fs::write(&sweep, SWEEP).unwrap();
    let mut server = Server::start(&state, &sweep);
    server.says("sweep tiny: 1 trial");
    server.signal(Signal::TERM);
    // Whoever passes the check meets a port that is taken.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let given = |sets: &[&str]| {
        let mut command = coordinator(&state);
        command.args(["--listen", &listen]).arg("--sweep").arg(&sweep);
        for set in sets {
            command.args(["--set", set]);
        }
        ended(&mut command)
    };
    let (status, text) = given(&["base.depth=3"]);
    assert_eq!(status, Some(2), "{text}");
    let expected = "error: --set changes the points of the sweep `tiny` that the state directory \
                    has: 1 would be added and 1 removed of 1; `--set name=NEW` makes them a sweep \
                    of their own";
    assert!(text.contains(expected), "{text}");
    let allowed: [&[&str]; 4] =
        [&["base.depth=2"], &["priority=3"], &["base.depth=3", "name=other"], &[]];
    for sets in allowed {
        let (status, text) = given(sets);
        assert_eq!(status, Some(1), "{sets:?}: {text}");
        assert!(text.contains("cannot listen on"), "{text}");
    }
    fs::write(&sweep, SWEEP.replace("depth: 2", "depth: 4")).unwrap();
    assert_eq!(given(&[]).0, Some(1), "an edited file is applied");
    assert_eq!(given(&["priority=3"]).0, Some(1), "the file changes the points, not the flag");
}
