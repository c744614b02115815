//! Why a command did not do what was asked, and the exit status that follows.

use std::io::{self, Write};

use common::telemetry::chain;

use crate::query::{Class, QueryError};

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
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
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
    }
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(io::stderr().lock().write_all(text.as_bytes())?)
}
