//! The trainer as a process behind its pipe, as an agent uses it.
#![allow(missing_docs)]

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use common::wire::{self, FailureCause, from_trainer, to_trainer};
use prost::Message;
use rustix::process::{Pid, Signal, kill_process};

struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
}

impl Process {
    fn start(arguments: &[&str]) -> Process {
        let folder = std::env::temp_dir();
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command.args(arguments).arg("--checkpoints").arg(folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the trainer starts");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("piped"));
        Process { child, input, output }
    }

    fn send(&mut self, message: to_trainer::Message) {
        let bytes = wire::ToTrainer { message: Some(message) }.encode_length_delimited_to_vec();
        self.input.as_mut().expect("open").write_all(&bytes).expect("the trainer reads");
    }

    fn receive(&mut self) -> from_trainer::Message {
        let mut length = 0;
        for shift in (0..).step_by(7) {
            let mut byte = [0];
            self.output.read_exact(&mut byte).expect("the trainer writes");
            length |= usize::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut bytes = vec![0; length];
        self.output.read_exact(&mut bytes).expect("the trainer writes");
        let message = wire::FromTrainer::decode(bytes.as_slice()).expect("its protocol");
        message.message.expect("a known message")
    }

    /// Gives it one trial.
    fn begin(&mut self, params: &str, data: &str) {
        let attempt = Some(wire::AttemptId { trial: "0".repeat(16), attempt: 1 });
        let trial = wire::LeasedTrial {
            attempt,
            model: "mlp".into(),
            data: data.into(),
            params: params.into(),
            seed: 1,
            epochs_stored: 0,
            keeps_weights: false,
        };
        self.send(to_trainer::Message::Train(wire::TrainCohort { cohort: 9, trials: vec![trial] }));
    }

    /// Trains one short trial to its end.
    fn train(&mut self, params: &str, data: &str) -> Vec<from_trainer::Message> {
        self.begin(params, data);
        let mut messages = Vec::new();
        loop {
            let message = self.receive();
            if let from_trainer::Message::Finished(finished) = &message {
                assert_eq!(finished.cohort, 9);
                return messages;
            }
            // One more or less, as the machine is busy.
            if !matches!(message, from_trainer::Message::Pulse(_)) {
                messages.push(message);
            }
        }
    }

    fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        let kib = line.split_whitespace().nth(1).expect("a number");
        kib.parse().expect("a number")
    }
}

const SHORT: &str =
    r#""width":64,"epochs":2,"batch_size":50,"train_examples":200,"val_examples":200"#;

#[test]
fn it_says_what_it_holds_trains_and_ends_with_its_agent() {
    let mut process = Process::start(&[]);
    let from_trainer::Message::Ready(ready) = process.receive() else { panic!("not ready") };
    assert_eq!((ready.device.as_str(), ready.libtorch_version.as_str()), ("cpu", "2.11.0"));
    let messages = process.train(&format!("{{{SHORT}}}"), "strokes");
    assert_eq!(messages.len(), 3, "two epochs and an outcome: {messages:?}");
    process.input = None;
    assert!(process.child.wait().expect("it ends").success());
}

/// The agent may be gone at any moment: libtorch's destructors must not run beside its kernels.
#[test]
fn it_ends_cleanly_when_its_agent_goes_in_the_middle_of_an_epoch() {
    for _ in 0..8 {
        let mut process = Process::start(&[]);
        process.receive();
        process.begin(r#"{"width":128,"depth":30,"epochs":100,"batch_size":100}"#, "strokes");
        process.receive();
        process.input = None;
        assert!(process.child.wait().expect("it ends").success());
    }
}

/// Slurm sends SIGTERM to every process of a step, a terminal SIGINT to every one of its job.
#[test]
fn signals_that_its_agent_gets_too_do_not_end_it() {
    let mut process = Process::start(&[]);
    process.receive();
    for signal in [Signal::INT, Signal::TERM] {
        kill_process(Pid::from_child(&process.child), signal).expect("it runs");
    }
    assert_eq!(process.train(&format!("{{{SHORT}}}"), "strokes").len(), 3);
    process.input = None;
    assert!(process.child.wait().expect("it ends").success());
}

#[test]
fn a_cohort_that_cannot_be_trained_leaves_the_process_alive() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("a plain path");
    let mut process = Process::start(&["--data", data]);
    process.receive();
    let messages = process.train(&format!("{{{SHORT}}}"), "mnist");
    let [from_trainer::Message::Failed(failed)] = messages.as_slice() else {
        panic!("not a failure: {messages:?}");
    };
    assert_eq!(failed.cause(), FailureCause::Data);
    assert_eq!(failed.attempts.len(), 1);
    assert!(failed.message.contains("mnist"), "{}", failed.message);
    let messages = process.train(r#"{"width":-1}"#, "strokes");
    assert!(matches!(&messages[..], [from_trainer::Message::Failed(failed)]
        if failed.cause() == FailureCause::Bug && failed.message.contains("width")));
    assert_eq!(process.train(&format!("{{{SHORT}}}"), "strokes").len(), 3);
}

#[test]
fn memory_does_not_grow_over_many_trials() {
    let mut process = Process::start(&[]);
    process.receive();
    let mut resident_at_50 = 0;
    for trial in 1..=200 {
        let depth = 1 + trial % 7;
        process.train(&format!("{{{SHORT},\"depth\":{depth}}}"), "strokes");
        if trial == 50 {
            resident_at_50 = process.resident_kib();
        }
    }
    let resident_at_200 = process.resident_kib();
    println!("resident: {resident_at_50} KiB at trial 50, {resident_at_200} KiB at trial 200");
    assert!(resident_at_200 * 100 <= resident_at_50 * 105);
}
