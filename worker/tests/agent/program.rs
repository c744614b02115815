//! The worker program itself: exit status and messages.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use common::wire::report;
use rustix::process::{Pid, Signal, kill_process};

use crate::coordinator::{Coordinator, STORE};
use crate::{FOR_EVER, Host, broken_trainer, is_end, running};

/// Nobody listens on this port.
const NOBODY: &str = "http://127.0.0.1:1";

fn worker(host: &Host) -> Command {
    worker_of(host, NOBODY)
}

fn worker_of(host: &Host, coordinator: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
    command
        .args(["--coordinator", coordinator, "--devices", "cpu", "--slots-per-device", "2"])
        .arg("--state")
        .arg(host.state())
        .arg("--trainer")
        .arg(host.trainer())
        .env("LIBTORCH", host.libtorch())
        .env_remove("GRADSWEEP_LOG")
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Exit status and stderr.
fn end(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().expect("it starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Started, and its trainers hold their devices: it looks for the coordinator.
fn started(mut command: Command) -> Child {
    let mut child = command.spawn().expect("it starts");
    let stderr = child.stderr.take().expect("piped");
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("not attached, trying again: cannot connect")));
    // Read on, or the worker would break on a closed pipe.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

#[test]
fn a_device_that_is_not_there_is_a_mistake_before_anything_starts() {
    let host = Host::prepared();
    let mut command = worker(&host);
    command.args(["--devices", "cuda:0"]).env("CUDA_VISIBLE_DEVICES", "");
    // Given twice, the list is both.
    let (status, stderr) = end(command);
    assert_eq!(status, Some(2), "{stderr}");
    assert!(stderr.contains("--devices `cuda:0`: this host has no CUDA device"), "{stderr}");
    assert!(!host.state().exists());
}

#[test]
fn a_mistake_names_the_option_and_what_is_accepted() {
    let host = Host::prepared();
    let cases: [(&[&str], &str); 3] = [
        (&["--slots-per-device", "0"], "--slots-per-device 0: 1 to 1024 slots"),
        (&["--coordinator", "ftp://x"], "http://HOST:PORT is accepted"),
        (&["--frobnicate"], "unexpected argument '--frobnicate'"),
    ];
    for (arguments, expected) in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
        command.arg("--trainer").arg(host.trainer()).env("LIBTORCH", host.libtorch());
        command.env("GRADSWEEP_COORDINATOR", NOBODY).arg("--state").arg(host.state());
        command.args(arguments);
        let (status, stderr) = end(command);
        assert_eq!(status, Some(2), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn a_broken_set_up_is_a_failure_that_says_what_is_missing() {
    let host = Host::prepared();
    let mut command = worker(&host);
    command.env("LIBTORCH", host.state());
    let (status, stderr) = end(command);
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("has no lib/libtorch_cpu.so"), "{stderr}");
    broken_trainer(&host.trainer());
    let (status, stderr) = end(worker(&host));
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("libtorch_cpu.so: cannot open shared object file"), "{stderr}");
}

#[test]
fn a_signal_drains_and_shows_in_the_exit_status() {
    let host = Host::prepared();
    let mut child = started(worker(&host));
    let (status, stderr) = end(worker(&host));
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("is in use by another worker"), "{stderr}");
    assert!(stderr.contains(&format!("(process {})", child.id())), "{stderr}");
    let id = Pid::from_child(&child);
    kill_process(id, Signal::TERM).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(143));
}

#[test]
fn a_second_signal_leaves_at_once() {
    let host = Host::prepared();
    let mut child = started(worker(&host));
    let id = Pid::from_child(&child);
    kill_process(id, Signal::INT).expect("it runs");
    kill_process(id, Signal::TERM).expect("it runs");
    let status = child.wait().expect("it ends").code();
    assert!(status == Some(130) || status == Some(143), "{status:?}");
}

#[test]
fn the_end_of_the_parent_is_no_failure() {
    let host = Host::prepared();
    let mut command = worker(&host);
    command.arg("--exit-with-parent").stdin(Stdio::piped());
    let mut child = started(command);
    drop(child.stdin.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn artifacts_that_cannot_be_kept_are_a_mistake_before_anything_starts() {
    let host = Host::prepared();
    // Nobody, root included, makes a folder below a file.
    let folder = host.trainer().join("shared");
    let mut command = worker(&host);
    command.env("GRADSWEEP_ARTIFACTS", &folder);
    let (status, stderr) = end(command);
    assert_eq!(status, Some(2), "{stderr}");
    let expected = format!("--artifacts `{}`: no checkpoint can be kept there: ", folder.display());
    assert!(stderr.contains(&expected), "{stderr}");
    assert!(!host.state().exists());
}

/// A worker that is killed, however the test ends.
struct Killed(Child);

impl Killed {
    fn start(host: &Host, coordinator: &Coordinator) -> Killed {
        let mut command = worker_of(host, &format!("http://{}", coordinator.address));
        Killed(command.stderr(Stdio::null()).spawn().expect("it starts"))
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_signal_said_twice_still_drains() {
    let (host, mut coordinator) = (Host::prepared(), Coordinator::start().await);
    let mut worker = Killed::start(&host, &coordinator);
    let (mut session, _) = coordinator.session().await;
    session.welcome(Vec::new()).await;
    session.lease(0, 1, &[(1, FOR_EVER, 1)]).await;
    session.reports_until(|_| true).await;
    // So many that some are told apart.
    for _ in 0..50 {
        kill_process(Pid::from_child(&worker.0), Signal::TERM).expect("it runs");
    }
    let reports = session.reports_until(is_end).await;
    let last = reports.last().and_then(|last| last.report.clone());
    assert!(matches!(last, Some(report::Report::Returned(_))), "{last:?}");
    session.acknowledge(&reports).await;
    assert_eq!(worker.0.wait().expect("it ends").code(), Some(143));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_acknowledged_comes_once_after_the_agent_was_killed() {
    let (host, mut coordinator) = (Host::prepared(), Coordinator::start().await);
    let killed = Killed::start(&host, &coordinator);
    let (mut session, hello) = coordinator.session().await;
    session.welcome(Vec::new()).await;
    session.lease(0, 1, &[(1, 0, 5)]).await;
    let first = session.reports_until_ended(1).await;
    assert_eq!(first.len(), 6, "five epochs and an outcome");
    drop(killed);
    drop(session);

    let _successor = Killed::start(&host, &coordinator);
    let (mut session, again) = coordinator.session().await;
    assert_eq!((again.worker.as_str(), again.store.as_str()), (hello.worker.as_str(), STORE));
    assert_eq!(running(&again), []);
    session.welcome(Vec::new()).await;
    let reports = session.reports_until_ended(1).await;
    assert_eq!(reports, first);
    session.acknowledge(&reports).await;
    session.lease(0, 2, &[(2, 0, 1)]).await;
    let next = session.reports_until_ended(1).await;
    assert_eq!(next.len(), 2, "nothing of the first trial comes again: {next:?}");
    assert!(next[0].sequence > first[5].sequence);
}
