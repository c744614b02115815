//! Why a command did not do what was asked, and the exit status that follows.

use std::io::{self, Write};

use common::access::AccessError;
use common::telemetry::chain;

use crate::query::{Class, QueryError};
use crate::store::backup::BackupError;

/// Exit status of a mistake in what was asked.
const STATUS_MISTAKE: u8 = 2;

/// Why a command ended early.
#[derive(Debug)]
pub(super) enum Failure {
    /// A mistake in what was asked; the text is shown as it is.
    Mistake(String),
    /// Mistakes that a report shows with their places.
    Report(String),
    /// The answer could not be written.
    Output(io::Error),
    /// What was asked for is right and could not be done.
    Failed(anyhow::Error),
    /// A signal, or the key that stands for one, ended it: the exit status, and nothing is said.
    Stopped(u8),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(unwrapped(error))
    }
}

/// The csv writer wraps what the system says, and the kind is lost in its wrapping.
fn unwrapped(error: io::Error) -> io::Error {
    let kind = match error.downcast::<csv::Error>() {
        Ok(error) => error.into_kind(),
        Err(error) => return error,
    };
    match kind {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("csv: {other:?}")),
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Failure {
        Failure::Mistake(chain(&error))
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Failure {
        match error.class() {
            Class::NotFound | Class::Invalid => Failure::Mistake(chain(&error)),
            Class::Internal => Failure::Failed(error.into()),
        }
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Failure {
        match error {
            BackupError::Exists { .. }
            | BackupError::Inside { .. }
            | BackupError::Leftover { .. }
            | BackupError::Folder { .. } => Failure::Mistake(chain(&error)),
            BackupError::File { .. } | BackupError::Copy(_) => Failure::Failed(error.into()),
        }
    }
}

/// The exit status, with a mistake said on stderr; fails with what is no mistake.
pub(super) fn status(done: Result<(), Failure>) -> anyhow::Result<u8> {
    match done {
        Ok(()) => Ok(0),
        Err(Failure::Mistake(text)) => {
            say(&format!("error: {text}\n"))?;
            Ok(STATUS_MISTAKE)
        }
        Err(Failure::Report(text)) => {
            say(&text)?;
            Ok(STATUS_MISTAKE)
        }
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(Failure::Output(error)) => {
            Err(anyhow::Error::new(error).context("cannot write the answer"))
        }
        Err(Failure::Failed(error)) => Err(error),
        Err(Failure::Stopped(status)) => Ok(status),
    }
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(io::stderr().lock().write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe whose reader has gone.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    /// Longer than the csv writer's buffer, so that a record meets the pipe.
    fn record_into(out: impl Write) -> io::Result<()> {
        Ok(csv::Writer::from_writer(out).write_record(["x".repeat(1 << 20)])?)
    }

    #[test]
    fn csv_into_a_closed_pipe_ends_quietly() {
        let error = record_into(Closed).expect_err("closed");
        assert_ne!(error.kind(), io::ErrorKind::BrokenPipe, "csv hides the kind");
        assert_eq!(status(Err(error.into())).expect("quiet"), 0);
    }

    #[test]
    fn other_errors_of_the_output_are_told() {
        let full = io::Error::from(csv::Error::from(io::Error::from(io::ErrorKind::StorageFull)));
        let error = status(Err(full.into())).expect_err("told");
        assert!(format!("{error:#}").contains("cannot write the answer: no storage"), "{error:#}");
    }
}
