//! A trainer without libtorch: this test program itself, started through a small script. It speaks
//! the protocol on descriptor 3, because the test harness prints on 1.
//!
//! A trial's seed says how it behaves; `epochs` of its parameters how long it trains.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use common::wire::{self, from_trainer, to_trainer};
use prost::Message;

/// After an epoch the process kills itself.
pub const DIE: u64 = 666;
/// After an epoch it does nothing any more, whatever it is told.
pub const HANG: u64 = 667;
/// It trains until it is told otherwise.
pub const FOR_EVER: u64 = 668;
/// It ends as C++ does without memory.
pub const NO_MEMORY: u64 = 669;
/// It catches an error and lives on.
pub const CATCH: u64 = 670;
/// It sends what is no message.
pub const GARBAGE: u64 = 671;

const MARK: &str = "GRADSWEEP_FAKE_TRAINER";

/// Writes the script that starts this program as a trainer.
pub fn script(path: &Path) {
    let program = std::env::current_exe().expect("this program");
    let text = format!(
        "#!/bin/sh\n{MARK}=1 exec '{}' fake_trainer::process --exact --nocapture 3>&1 1>&2\n",
        program.display()
    );
    executable(path, &text);
}

/// Written by another process: a descriptor that is open for writing here could be inherited by
/// what another test starts, and the system refuses to run a program that is written to.
pub fn executable(path: &Path, text: &str) {
    let write = "printf '%s' \"$1\" > \"$2\" && chmod 755 \"$2\"";
    let status = Command::new("sh").args(["-c", write, "sh", text]).arg(path).status();
    assert!(status.expect("a shell").success());
}

/// The process; nothing where it is run as a test.
#[test]
fn process() {
    if std::env::var_os(MARK).is_some() {
        serve();
    }
}

struct Trainer {
    output: File,
    orders: Receiver<to_trainer::Message>,
}

fn serve() {
    let output = File::options().write(true).open("/dev/fd/3").expect("descriptor 3");
    let (sender, orders) = channel();
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        while let Some(order) = read(&mut input) {
            sender.send(order).expect("the trainer listens");
        }
        std::process::exit(0);
    });
    eprintln!("fake trainer {} starts", std::process::id());
    let mut trainer = Trainer { output, orders };
    trainer.send(from_trainer::Message::Ready(wire::TrainerReady {
        program_version: "test".into(),
        libtorch_version: "2.11.0".into(),
        device: "cpu".into(),
        device_name: "fake".into(),
    }));
    loop {
        if let Ok(to_trainer::Message::Train(cohort)) = trainer.orders.recv() {
            let id = cohort.cohort;
            trainer.train(cohort);
            trainer.send(from_trainer::Message::Finished(wire::CohortFinished { cohort: id }));
        }
    }
}

fn read(input: &mut impl Read) -> Option<to_trainer::Message> {
    let mut prefix = Vec::new();
    while prefix.last().is_none_or(|byte| byte & 0x80 != 0) {
        let mut byte = [0];
        input.read_exact(&mut byte).ok()?;
        prefix.push(byte[0]);
    }
    let length = prost::decode_length_delimiter(prefix.as_slice()).expect("a length");
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes).ok()?;
    wire::ToTrainer::decode(bytes.as_slice()).expect("a message").message
}

impl Trainer {
    fn send(&mut self, message: from_trainer::Message) {
        let bytes = wire::FromTrainer { message: Some(message) }.encode_length_delimited_to_vec();
        self.output.write_all(&bytes).expect("the agent reads");
    }

    /// Trains the trials one epoch after the other, all of them in each.
    fn train(&mut self, cohort: wire::TrainCohort) {
        let mut trials = cohort.trials;
        let all = trials.iter().filter_map(|trial| trial.attempt.clone()).collect::<Vec<_>>();
        let mut is_paused = false;
        for epoch in 1.. {
            let mut left = Vec::new();
            for trial in trials {
                if self.train_epoch(cohort.cohort, &trial, epoch, &all) {
                    left.push(trial);
                }
            }
            trials = left;
            // An epoch takes this long, and a pause until the next order.
            let mut wait = Duration::from_millis(5);
            loop {
                match self.orders.recv_timeout(wait) {
                    Ok(to_trainer::Message::Stop(stop)) => {
                        trials.retain(|trial| trial.attempt != stop.attempt);
                    }
                    Ok(to_trainer::Message::HandBack(_)) => {
                        for trial in std::mem::take(&mut trials) {
                            let attempt = trial.attempt;
                            let returned = wire::AttemptReturned { attempt, epochs: epoch };
                            self.send(from_trainer::Message::Returned(returned));
                        }
                    }
                    Ok(to_trainer::Message::Pause(pause)) => is_paused = pause.paused,
                    Ok(to_trainer::Message::Train(_)) => panic!("one cohort at a time"),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                if !is_paused {
                    break;
                }
                wait = Duration::from_secs(600);
            }
            if trials.is_empty() {
                return;
            }
        }
    }

    /// One epoch of a trial; false when it is over.
    fn train_epoch(
        &mut self,
        cohort: u64,
        trial: &wire::LeasedTrial,
        epoch: u32,
        all: &[wire::AttemptId],
    ) -> bool {
        let attempt = trial.attempt.clone();
        let report = wire::EpochReport { attempt: attempt.clone(), epoch, ..Default::default() };
        self.send(from_trainer::Message::Epoch(report));
        let params = serde_json::from_str::<serde_json::Value>(&trial.params).expect("JSON");
        let epochs = params["epochs"].as_u64().expect("a number of epochs");
        match trial.seed {
            FOR_EVER => return true,
            _ if u64::from(epoch) < epochs => return true,
            DIE => {
                eprintln!("about to die");
                let this = rustix::process::getpid();
                rustix::process::kill_process(this, rustix::process::Signal::KILL).expect("killed");
            }
            HANG => loop {
                std::thread::park();
            },
            NO_MEMORY => {
                eprintln!("terminate called after throwing an instance of 'std::bad_alloc'");
                std::process::abort();
            }
            CATCH => {
                let cause = wire::FailureCause::Data.into();
                let (attempts, message) = (all.to_vec(), "no such data".to_owned());
                let stderr_tail = String::new();
                self.send(from_trainer::Message::Failed(wire::CohortFailed {
                    cohort,
                    attempts,
                    cause,
                    message,
                    stderr_tail,
                }));
                return false;
            }
            GARBAGE => self.output.write_all(&[0xff; 32]).expect("the agent reads"),
            _ => {}
        }
        self.send(from_trainer::Message::Outcome(wire::AttemptOutcome {
            attempt,
            kind: wire::OutcomeKind::Completed.into(),
            epochs: epoch,
            // Which process it was.
            reason: std::process::id().to_string(),
            ..Default::default()
        }));
        false
    }
}
