//! A trainer without libtorch: this test program itself, started through a small script. It speaks
//! the protocol on descriptor 3, because the test harness prints on 1.
//!
//! What it reports of an epoch follows from the trial and from what it computed an epoch before, so
//! that a trial that is resumed from the wrong state tells other numbers.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use common::wire::{self, from_trainer, to_trainer};
use prost::Message;

const CHECKPOINTS: &str = "GRADSWEEP_STUB_CHECKPOINTS";
const PACE: &str = "GRADSWEEP_STUB_PACE";
/// Epochs between two checkpoints.
const CHECKPOINT_EPOCHS: u32 = 4;

/// Writes the script that starts this program as a trainer whose epochs take as many milliseconds
/// as the file `pace` says. Written by another process: a descriptor that is open for writing here
/// could be inherited by what this program starts, and the system refuses to run a program that is
/// written to.
pub fn script(path: &Path, pace: &Path) {
    let program = std::env::current_exe().expect("this program");
    let text = format!(
        "#!/bin/sh\n\
         while [ $# -gt 0 ]; do [ \"$1\" = --checkpoints ] && export {CHECKPOINTS}=\"$2\"; \
         shift; done\n\
         {PACE}='{}' exec '{}' stub_trainer::process --exact --nocapture 3>&1 1>&2\n",
        pace.display(),
        program.display()
    );
    let write = "printf '%s' \"$1\" > \"$2\" && chmod 755 \"$2\"";
    let status = Command::new("sh").args(["-c", write, "sh", &text]).arg(path).status();
    assert!(status.expect("a shell").success());
}

/// The process; nothing where it is run as a test.
#[test]
fn process() {
    if let Some(checkpoints) = std::env::var_os(CHECKPOINTS) {
        let pace = std::env::var_os(PACE).expect("the script sets both");
        serve(checkpoints.into(), pace.into());
    }
}

struct Trainer {
    output: File,
    orders: Receiver<to_trainer::Message>,
    checkpoints: PathBuf,
    pace: PathBuf,
}

/// A trial in training.
struct Member {
    attempt: wire::AttemptId,
    params: serde_json::Value,
    seed: u64,
    epoch: u32,
    /// What the next epoch follows from.
    state: u64,
    best: Option<Best>,
}

/// Epoch and error.
type Best = (u32, f64);

/// A checkpoint: epoch, state and best; of its error the bits, since a reader of JSON may round.
type Saved = (u32, u64, Option<(u32, u64)>);

fn serve(checkpoints: PathBuf, pace: PathBuf) {
    let output = File::options().write(true).open("/dev/fd/3").expect("descriptor 3");
    let (sender, orders) = channel();
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        while let Some(order) = read(&mut input) {
            sender.send(order).expect("the trainer listens");
        }
        // The agent is gone: at once, whatever the other thread does.
        std::process::exit(0);
    });
    let mut trainer = Trainer { output, orders, checkpoints, pace };
    trainer.send(from_trainer::Message::Ready(wire::TrainerReady {
        program_version: "stub".into(),
        libtorch_version: "2.11.0".into(),
        device: "cpu".into(),
        device_name: "stub".into(),
    }));
    // What comes between two cohorts was meant for the one that has ended.
    while let Ok(order) = trainer.orders.recv() {
        if let to_trainer::Message::Train(cohort) = order {
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

    /// Trains the trials as a stack, all of them in each epoch.
    fn train(&mut self, cohort: wire::TrainCohort) {
        let mut members = Vec::new();
        for trial in cohort.trials {
            members.push(self.resume(trial));
        }
        while !members.is_empty() && self.wait_for_epoch(&mut members) {
            let mut left = Vec::new();
            for member in members {
                left.extend(self.train_epoch(member));
            }
            members = left;
        }
    }

    /// From its checkpoint where the coordinator has all of its epochs, else from the start.
    fn resume(&self, trial: wire::LeasedTrial) -> Member {
        let attempt = trial.attempt.expect("a lease names its attempts");
        let params = serde_json::from_str(&trial.params).expect("JSON");
        let seed = trial.seed;
        let fresh = mix(seed, u64::from_str_radix(&attempt.trial, 16).expect("a trial's id"));
        let mut member = Member { attempt, params, seed, epoch: 0, state: fresh, best: None };
        if let Ok(text) = fs::read_to_string(self.checkpoint(&member)) {
            let (epoch, state, best): Saved =
                serde_json::from_str(&text).expect("a checkpoint is whole or absent");
            let best = best.map(|(epoch, bits)| (epoch, f64::from_bits(bits)));
            if epoch <= trial.epochs_stored {
                (member.epoch, member.state, member.best) = (epoch, state, best);
            }
        }
        member
    }

    fn checkpoint(&self, member: &Member) -> PathBuf {
        self.checkpoints.join(format!("{}.safetensors", member.attempt.trial))
    }

    fn save(&self, member: &Member) {
        let path = self.checkpoint(member);
        let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
        let best = member.best.map(|(epoch, error)| (epoch, error.to_bits()));
        let saved: Saved = (member.epoch, member.state, best);
        let text = serde_json::to_string(&saved);
        let mut file = File::create(&temporary).expect("a folder of checkpoints");
        file.write_all(text.expect("numbers").as_bytes()).expect("written");
        file.sync_all().expect("synced");
        fs::rename(&temporary, &path).expect("renamed");
    }

    /// Takes orders for as long as an epoch takes; false where the agent is gone.
    fn wait_for_epoch(&mut self, members: &mut Vec<Member>) -> bool {
        let started = Instant::now();
        let mut is_paused = false;
        loop {
            let pace = fs::read_to_string(&self.pace).expect("the pace of this test");
            let pace = Duration::from_millis(pace.trim().parse().expect("milliseconds"));
            let left = pace.saturating_sub(started.elapsed());
            if left.is_zero() && !is_paused {
                return true;
            }
            // Short, so that another pace is taken soon.
            match self.orders.recv_timeout(left.clamp(Duration::ZERO, Duration::from_millis(50))) {
                Ok(to_trainer::Message::Stop(stop)) => {
                    members.retain(|member| Some(&member.attempt) != stop.attempt.as_ref());
                }
                Ok(to_trainer::Message::HandBack(_)) => {
                    for member in std::mem::take(members) {
                        self.save(&member);
                        let (attempt, epochs) = (Some(member.attempt), member.epoch);
                        let returned = wire::AttemptReturned { attempt, epochs };
                        self.send(from_trainer::Message::Returned(returned));
                    }
                }
                Ok(to_trainer::Message::Pause(pause)) => is_paused = pause.paused,
                Ok(to_trainer::Message::Train(_)) => panic!("one cohort at a time"),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// One epoch of a trial; none when it is over.
    fn train_epoch(&mut self, mut member: Member) -> Option<Member> {
        let epochs = member.params["epochs"].as_u64().expect("a number of epochs");
        // A resumed trial may have no epoch left.
        if u64::from(member.epoch) < epochs {
            member.epoch += 1;
            member.state = mix(member.state, member.epoch.into());
            if self.diverges(&member) {
                self.end(&member, wire::OutcomeKind::Diverged);
                return None;
            }
            let error = share(member.state);
            if member.best.is_none_or(|(_, best)| error < best) {
                member.best = Some((member.epoch, error));
            }
            self.send(from_trainer::Message::Epoch(epoch_report(&member)));
        }
        if u64::from(member.epoch) < epochs {
            if member.epoch.is_multiple_of(CHECKPOINT_EPOCHS) {
                self.save(&member);
            }
            return Some(member);
        }
        self.end(&member, wire::OutcomeKind::Completed);
        None
    }

    /// By design: every trial of a seed that leaves the rest 3 by 7, halfway.
    fn diverges(&self, member: &Member) -> bool {
        let epochs = member.params["epochs"].as_u64().expect("a number of epochs");
        member.seed % 7 == 3 && u64::from(member.epoch) > epochs / 2
    }

    fn end(&mut self, member: &Member, kind: wire::OutcomeKind) {
        let is_completed = kind == wire::OutcomeKind::Completed;
        let best = member.best.filter(|_| is_completed);
        let error = best.map(|(_, error)| error);
        // The epoch in which the loss is no number was not reported.
        let epochs = if is_completed { member.epoch } else { member.epoch - 1 };
        self.send(from_trainer::Message::Outcome(wire::AttemptOutcome {
            attempt: Some(member.attempt.clone()),
            kind: kind.into(),
            epochs,
            best_epoch: best.map(|(epoch, _)| epoch),
            test_error: error.map(|error| error / 2.0),
            test_loss: error.map(|error| error * 2.0),
            val_error: error,
            val_loss: error.map(|error| error * 3.0),
            train_loss: error.map(|error| error * 4.0),
            reason: "the stub's last epoch".into(),
            ..Default::default()
        }));
    }
}

fn epoch_report(member: &Member) -> wire::EpochReport {
    let error = share(member.state);
    wire::EpochReport {
        attempt: Some(member.attempt.clone()),
        epoch: member.epoch,
        train_loss: error * 4.0,
        train_error: error / 3.0,
        val_loss: error * 3.0,
        val_error: error,
        gate: 1.0,
        lr: 1e-3,
        grad_norm: share(mix(member.state, 1)),
        examples_per_second: 1000.0,
        seconds: 0.01,
        examples: 10,
    }
}

/// SplitMix64 of both.
pub fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// In [0, 1).
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
fn share(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}
