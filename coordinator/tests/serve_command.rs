//! The program `coordinator` as it is called: mistakes, ports and signals.
#![allow(clippy::unwrap_used, reason = "a test says by its panic what is wrong")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
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

/// A server whose first words were read.
struct Server(Child);

impl Server {
    fn start(state: &Path, sweep: &Path) -> Server {
        let mut command = coordinator(state);
        command.args(["--listen", "127.0.0.1:0", "--sweep"]).arg(sweep);
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("serving") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended before it served");
        }
        // Read on, so that a full pipe never holds the server up.
        std::thread::spawn(move || drop(std::io::copy(&mut stderr, &mut std::io::sink())));
        Server(child)
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
        assert_eq!(server.signal(signal).code(), Some(status));
        assert_eq!(endpoint::read(&state).unwrap(), None);
    }
}
