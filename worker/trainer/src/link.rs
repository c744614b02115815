//! What connects a trainer with whoever gave it the cohort: reports out, commands in.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use common::wire::{self, from_trainer, to_trainer};
use prost::Message;

/// Commands read ahead: a cohort runs for seconds, stops and pauses are rare.
const COMMANDS_WAITING_MAX: usize = 64;

/// A broken pipe: the agent is gone, so there is nobody to train for.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to the agent")]
pub struct LinkError(#[source] std::io::Error);

impl LinkError {
    /// What the operating system said.
    pub fn new(source: std::io::Error) -> LinkError {
        LinkError(source)
    }
}

/// Commands that arrived while a cohort trains.
#[derive(Debug, Default)]
pub struct Commands {
    /// Attempts to end at once.
    pub stops: Vec<wire::AttemptId>,
    /// Hand everything back at the next epoch boundary.
    pub hand_back: bool,
    /// Hold at the next epoch boundary while true.
    pub paused: bool,
    next: Option<wire::TrainCohort>,
}

/// Reports out, commands in.
pub trait Link {
    /// Sends a report.
    fn send(&mut self, message: from_trainer::Message) -> Result<(), LinkError>;

    /// The commands so far, with those that arrived since added; waits for one where `wait`.
    fn commands(&mut self, wait: bool) -> &mut Commands;
}

/// The pipe to an agent: length-delimited protobuf.
pub struct Pipe<W> {
    output: W,
    input: Receiver<wire::ToTrainer>,
    commands: Commands,
}

impl<W: Write> Pipe<W> {
    /// A pipe that reads commands on a thread of its own, which ends the process when the input
    /// ends: without its agent a trainer has no reason to go on.
    pub fn new(input: impl Read + Send + 'static, output: W) -> Pipe<W> {
        let (sender, receiver) = sync_channel(COMMANDS_WAITING_MAX);
        std::thread::spawn(move || read_commands(input, &sender));
        Pipe { output, input: receiver, commands: Commands::default() }
    }

    /// The next cohort to train; waits for it.
    pub fn next_cohort(&mut self) -> wire::TrainCohort {
        loop {
            if let Some(cohort) = self.commands.next.take() {
                return cohort;
            }
            self.commands(true);
        }
    }

    fn take(&mut self, command: wire::ToTrainer) {
        match command.message {
            // Commands before this one were for the cohort before; those behind it are for it.
            Some(to_trainer::Message::Train(cohort)) => {
                let paused = self.commands.paused;
                self.commands = Commands { paused, next: Some(cohort), ..Commands::default() };
            }
            Some(to_trainer::Message::Stop(stop)) => self.commands.stops.extend(stop.attempt),
            Some(to_trainer::Message::HandBack(_)) => self.commands.hand_back = true,
            Some(to_trainer::Message::Pause(pause)) => self.commands.paused = pause.paused,
            None => tracing::warn!("a command of a newer agent is ignored"),
        }
    }
}

impl<W: Write> Link for Pipe<W> {
    fn send(&mut self, message: from_trainer::Message) -> Result<(), LinkError> {
        let bytes = wire::FromTrainer { message: Some(message) }.encode_length_delimited_to_vec();
        self.output.write_all(&bytes).and_then(|()| self.output.flush()).map_err(LinkError)
    }

    fn commands(&mut self, wait: bool) -> &mut Commands {
        // The reading thread ends the process, so a closed channel only means a moment to wait.
        let patience = if wait { Duration::from_secs(3600) } else { Duration::ZERO };
        match self.input.recv_timeout(patience) {
            Ok(command) => self.take(command),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        while let Ok(command) = self.input.try_recv() {
            self.take(command);
        }
        &mut self.commands
    }
}

fn read_commands(mut input: impl Read, sender: &SyncSender<wire::ToTrainer>) {
    loop {
        match read_command(&mut input) {
            Ok(Some(command)) => {
                if sender.send(command).is_err() {
                    return;
                }
            }
            Ok(None) => end_at_once(0),
            Err(error) => {
                tracing::error!("cannot read the agent's commands: {error}");
                end_at_once(1);
            }
        }
    }
}

/// Ends the process without running destructors: libtorch's must not run on this thread while the
/// other one computes. Nothing is buffered that would be lost.
fn end_at_once(status: i32) -> ! {
    // SAFETY: ends the process; no memory is touched afterwards.
    unsafe { libc::_exit(status) }
}

/// One length-delimited command; none at the end of the input.
fn read_command(input: &mut impl Read) -> std::io::Result<Option<wire::ToTrainer>> {
    let invalid = |text: String| std::io::Error::new(std::io::ErrorKind::InvalidData, text);
    let mut length = 0usize;
    let mut shift = 0;
    loop {
        let mut byte = [0];
        match input.read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        length |= usize::from(byte[0] & 0x7f) << shift;
        if length > wire::MESSAGE_BYTES_MAX || shift > 21 {
            return Err(invalid(format!("a command is longer than {}", wire::MESSAGE_BYTES_MAX)));
        }
        if byte[0] & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes)?;
    let command = wire::ToTrainer::decode(bytes.as_slice());
    command.map(Some).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(trial: &str) -> wire::ToTrainer {
        let attempt = Some(wire::AttemptId { trial: trial.into(), attempt: 1 });
        let message = Some(to_trainer::Message::Stop(wire::StopAttempt { attempt }));
        wire::ToTrainer { message }
    }

    #[test]
    fn commands_read_back_and_the_end_is_seen() {
        let mut bytes = stop("a").encode_length_delimited_to_vec();
        bytes.extend(stop(&"b".repeat(300)).encode_length_delimited_to_vec());
        let mut input = bytes.as_slice();
        assert_eq!(read_command(&mut input).expect("whole"), Some(stop("a")));
        assert_eq!(read_command(&mut input).expect("whole"), Some(stop(&"b".repeat(300))));
        assert_eq!(read_command(&mut input).expect("the end"), None);
    }

    #[test]
    fn commands_right_behind_a_cohort_are_for_that_cohort() {
        let train = wire::TrainCohort { cohort: 7, trials: Vec::new() };
        let commands = [
            stop("of the cohort before"),
            wire::ToTrainer { message: Some(to_trainer::Message::Train(train)) },
            stop("a"),
            wire::ToTrainer { message: Some(to_trainer::Message::HandBack(wire::HandBack {})) },
        ];
        let (_sender, input) = sync_channel(1);
        let mut pipe = Pipe { output: Vec::new(), input, commands: Commands::default() };
        commands.into_iter().for_each(|command| pipe.take(command));
        assert_eq!(pipe.next_cohort().cohort, 7);
        let commands = pipe.commands(false);
        assert!(commands.hand_back);
        let stops = commands.stops.iter().map(|attempt| attempt.trial.as_str());
        assert_eq!(stops.collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_cut_off_overlong_or_garbled_command_is_an_error() {
        let bytes = stop("abc").encode_length_delimited_to_vec();
        assert!(read_command(&mut &bytes[..bytes.len() - 1]).is_err());
        assert!(read_command(&mut [0xff, 0xff, 0xff, 0xff, 0xff, 0x7f].as_slice()).is_err());
        assert!(read_command(&mut [0x02, 0x0a, 0x7f].as_slice()).is_err());
    }
}
