//! Why a question has no answer: a mistake in it, or a store that cannot be read.

use std::fmt;
use std::path::PathBuf;

use common::config::{ConfigError, Param};
use common::spec::SpecErrors;

use crate::store::StoreError;

/// Longest list of names in a message.
const NAMES_MAX: usize = 20;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No coordinator has written here.
    #[error(
        "no results in {}: it has no {}; give the coordinator's --state directory",
        state_dir.display(),
        crate::store::sqlite::FILE_NAME
    )]
    NoStore {
        /// The state directory.
        state_dir: PathBuf,
    },
    /// An older program wrote the file.
    #[error(
        "{} has schema version {found}, older than this program's {known}; start the coordinator \
         on it once, which brings it up to date",
        path.display()
    )]
    Older {
        /// The database file.
        path: PathBuf,
        /// Version of the file.
        found: i64,
        /// This program's version.
        known: i64,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// A stored config is not one that this program knows.
    #[error("cannot read a config of sweep `{sweep}`")]
    Config {
        /// The sweep.
        sweep: String,
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// A stored sweep file is not one that this program reads.
    #[error(
        "cannot read the stored file of sweep `{sweep}`, which has its table and what it expects; \
         a table can do without: give --rows and --metric"
    )]
    SweepFile {
        /// The sweep.
        sweep: String,
        /// Why.
        #[source]
        source: Box<SpecErrors>,
    },
    /// No such sweep.
    #[error("unknown sweep `{name}`{}; {}", hint(suggestion), there_are("sweeps", known))]
    UnknownSweep {
        /// As asked.
        name: String,
        /// Sweeps that there are.
        known: Vec<String>,
        /// A near one.
        suggestion: Option<String>,
    },
    /// No such trial in the sweep.
    #[error(
        "no trial `{trial}` in sweep `{sweep}`, which has {members} trials{elsewhere}; \
        `table {sweep} --trials` lists them"
    )]
    UnknownTrial {
        /// The sweep.
        sweep: String,
        /// As asked.
        trial: String,
        /// Members of the sweep.
        members: u64,
        /// Where there is such a trial.
        elsewhere: Elsewhere,
    },
    /// Several trials start like this.
    #[error("trial `{trial}` could be any of {}; give more digits", list(matches))]
    AmbiguousTrial {
        /// As asked.
        trial: String,
        /// Those that it could be, not all where they are many.
        matches: Vec<String>,
    },
    /// Not the start of a trial's id.
    #[error("`{trial}` is not a trial id; accepted: 4 to 16 of the digits 0-9 and a-f")]
    TrialText {
        /// As asked.
        trial: String,
    },
    /// No such parameter in the sweep.
    #[error(
        "{field}: unknown parameter `{name}`{}; {} in this sweep{}",
        hint(suggestion),
        vary(varying),
        constants(constant)
    )]
    UnknownParam {
        /// The field of the request.
        field: &'static str,
        /// As asked.
        name: String,
        /// Parameters that vary.
        varying: Vec<Param>,
        /// Parameters that do not.
        constant: Vec<Param>,
        /// A near one.
        suggestion: Option<String>,
    },
    /// No such metric, or none that can choose.
    #[error("{field}: unknown metric `{name}`{}; accepted: {}", hint(suggestion), list(accepted))]
    UnknownMetric {
        /// The field of the request.
        field: &'static str,
        /// As asked.
        name: String,
        /// Metrics that do.
        accepted: Vec<&'static str>,
        /// A near one.
        suggestion: Option<String>,
    },
    /// A parameter in two places.
    #[error("parameter `{param}` is in {first} and in {second}; leave it in one")]
    TwoPlaces {
        /// The parameter.
        param: Param,
        /// Field of the request.
        first: &'static str,
        /// Field of the request.
        second: &'static str,
    },
    /// A varying parameter that the table has no place for.
    #[error(
        "{} on neither axis: add to --rows or --columns, or give {} (as replicates) or \
         --best-by val_error (the best config of each cell)",
        vary(params),
        pools(params)
    )]
    NoAxis {
        /// The parameters.
        params: Vec<Param>,
    },
    /// Nothing to read a rate from.
    #[error("sweep `{sweep}` has no probe trials; `dropout: probe` in a sweep file makes them")]
    NoProbe {
        /// The sweep.
        sweep: String,
    },
    /// A field that only a table of configs has.
    #[error("{field} belongs to a table of configs, not to one of {level}; leave it out")]
    FieldOfConfigs {
        /// The field of the request.
        field: &'static str,
        /// The level that was asked for.
        level: &'static str,
    },
    /// A field that only a table of trials has.
    #[error("{field} belongs to a table of trials; leave it out, or ask for --trials")]
    FieldOfTrials {
        /// The field of the request.
        field: &'static str,
    },
    /// No weights are kept.
    #[error("no weights of {what}: {why}")]
    NoWeights {
        /// Of what.
        what: String,
        /// Why there are none.
        why: String,
    },
    /// Weights that are kept cannot be read.
    #[error("cannot read the weights `{}`", path.display())]
    Weights {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A row cannot be written: a fault of the program, or of who takes it.
    #[error("cannot write a row of the table")]
    Row(#[source] std::io::Error),
    /// A level that does not exist.
    #[error("unknown table level {level}; accepted: 0 (configs), 1 (trials), 2 (epochs)")]
    UnknownLevel {
        /// As asked.
        level: i32,
    },
    /// Too wide.
    #[error(
        "the table has {columns} columns, at most {columns_max} are shown; move a parameter \
        from --columns to --rows"
    )]
    TooWide {
        /// Its columns.
        columns: usize,
        /// The limit.
        columns_max: usize,
    },
}

/// Who has to do something about an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// What was named is not there.
    NotFound,
    /// The question has a mistake.
    Invalid,
    /// The store is at fault.
    Internal,
}

impl QueryError {
    /// Who has to do something about it.
    pub fn class(&self) -> Class {
        match self {
            QueryError::NoStore { .. }
            | QueryError::UnknownSweep { .. }
            | QueryError::UnknownTrial { .. }
            | QueryError::NoWeights { .. } => Class::NotFound,
            QueryError::AmbiguousTrial { .. }
            | QueryError::TrialText { .. }
            | QueryError::UnknownParam { .. }
            | QueryError::UnknownMetric { .. }
            | QueryError::TwoPlaces { .. }
            | QueryError::NoAxis { .. }
            | QueryError::NoProbe { .. }
            | QueryError::FieldOfConfigs { .. }
            | QueryError::FieldOfTrials { .. }
            | QueryError::UnknownLevel { .. }
            | QueryError::TooWide { .. } => Class::Invalid,
            QueryError::Older { .. }
            | QueryError::Store(_)
            | QueryError::Config { .. }
            | QueryError::Row(_)
            | QueryError::Weights { .. }
            | QueryError::SweepFile { .. } => Class::Internal,
        }
    }
}

/// Sweeps that have a trial which the asked one does not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Elsewhere(pub Vec<String>);

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.is_empty() {
            true => Ok(()),
            false => write!(f, "; it belongs to {}", list(&self.0)),
        }
    }
}

fn hint(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or(String::new(), |name| format!(" (did you mean `{name}`?)"))
}

fn there_are(what: &str, names: &[String]) -> String {
    if names.is_empty() {
        format!("there are no {what}")
    } else {
        format!("{what}: {}", list(names))
    }
}

fn list<T: fmt::Display>(names: &[T]) -> String {
    let shown: Vec<String> = names.iter().take(NAMES_MAX).map(|name| format!("`{name}`")).collect();
    let more = names.len() - shown.len();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &rest
}

fn vary(params: &[Param]) -> String {
    match params {
        [] => "no parameter varies".into(),
        [one] => format!("`{one}` varies"),
        several => format!("{} vary", list(several)),
    }
}

fn constants(params: &[Param]) -> String {
    if params.is_empty() { String::new() } else { format!(", constant are {}", list(params)) }
}

fn pools(params: &[Param]) -> String {
    let names = params.iter().map(|param| param.name());
    format!("--pool {}", names.collect::<Vec<&str>>().join(","))
}

/// The name that a misspelt one is likely to mean.
pub fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    const NAME_CHARS_MAX: usize = 64;
    let length = name.chars().count();
    if length > NAME_CHARS_MAX {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for candidate in known {
        let distance = strsim::damerau_levenshtein(name, candidate);
        let near = distance <= candidate.len().max(length) / 3;
        if near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate.to_owned())
}
