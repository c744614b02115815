//! Names of things: one type each, so that a trial is never taken for a sweep.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Number of characters that a sweep's name may have.
pub const SWEEP_NAME_LENGTH_MAX: usize = 63;

/// Text that is not a valid id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct IdError {
    text: String,
    expected: &'static str,
}

/// A trial: the first 16 hexadecimal digits of the hash of what it is (design, section 4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrialId(pub u64);

impl fmt::Display for TrialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TrialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for TrialId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let error =
            || IdError { text: text.into(), expected: "a trial id: 16 digits of 0-9 and a-f" };
        if text.len() != 16 || !text.chars().all(hex) {
            return Err(error());
        }
        u64::from_str_radix(text, 16).map(TrialId).map_err(|_| error())
    }
}

/// One execution of a trial, numbered from 1 per trial: the fencing token of every report.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttemptId {
    /// The trial that is executed.
    pub trial: TrialId,
    /// 1, 2, … per trial.
    pub number: u32,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.trial, self.number)
    }
}

/// A cohort: trials trained together under one lease. Unique in a state directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CohortId(pub u64);

impl fmt::Display for CohortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A sweep's name: `[a-z0-9-]{1,63}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SweepName(Arc<str>);

impl SweepName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SweepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SweepName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > SWEEP_NAME_LENGTH_MAX || !text.chars().all(allowed) {
            return Err(IdError {
                text: text.into(),
                expected: "a sweep name: 1 to 63 of a-z, 0-9 and -",
            });
        }
        Ok(SweepName(text.into()))
    }
}

/// A worker: stays the same over restarts of its agent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WorkerId(Arc<str>);

impl WorkerId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for WorkerId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.is_empty() || text.len() > 128 || !text.chars().all(allowed) {
            return Err(IdError {
                text: text.into(),
                expected: "a worker id: 1 to 128 letters, digits, `-`, `_` or `.`",
            });
        }
        Ok(WorkerId(text.into()))
    }
}
