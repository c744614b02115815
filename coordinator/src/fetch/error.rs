//! Why a data set could not be fetched.

use std::io;
use std::path::{Path, PathBuf};

use common::data::DataError;

/// A data set that was not fetched. What came of a download stays for the next attempt.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No mirror had the file.
    #[error(
        "no mirror gave `{name}`{}\nname others with --mirror or GRADSWEEP_MIRRORS, or {} it \
         yourself into {}", listed(.failures), placed(.name), .folder.display()
    )]
    Mirrors {
        /// The file.
        name: String,
        /// Where it would lie.
        folder: PathBuf,
        /// Each attempt.
        failures: Vec<Failure>,
    },
    /// A file is there and is wrong; it is not ours to replace.
    #[error("a file is there already and is wrong; move it away and fetch again")]
    Present(#[source] DataError),
    /// Some files of a data set that comes whole are there.
    #[error(
        "{} is of a subset or of an incomplete data set, which is left as it is; move its files \
         away, or fetch to another directory with --data", .path.display()
    )]
    Subset {
        /// One of the files.
        path: PathBuf,
    },
    /// A folder is there with other files.
    #[error("{} is there with other files in it; move it away and fetch again", .path.display())]
    InTheWay {
        /// The folder.
        path: PathBuf,
    },
    /// Another process downloads the same.
    #[error("another process is writing {}; wait for it", .path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The disk refused.
    #[error("cannot {doing} {}", .path.display())]
    Disk {
        /// `read`, `write`, `make` or `remove`.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl FetchError {
    /// For `map_err`.
    pub(super) fn disk(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> FetchError {
        let path = path.to_owned();
        move |source| FetchError::Disk { doing, path: path.clone(), source }
    }

    pub(super) fn present(source: DataError) -> FetchError {
        FetchError::Present(source)
    }
}

/// An attempt that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The address that was asked.
    pub url: String,
    /// What was wrong with what came of it.
    pub reason: String,
}

fn listed(failures: &[Failure]) -> String {
    failures.iter().map(|failure| format!("\n  {}: {}", failure.url, failure.reason)).collect()
}

/// How a file that came another way gets to its place.
fn placed(name: &str) -> &'static str {
    if name.ends_with(".tar.gz") { "unpack" } else { "put" }
}

/// Why downloaded bytes are not taken.
#[derive(Debug)]
pub(super) enum Refusal {
    /// They are wrong: another mirror may have the right ones.
    Content(String),
    /// They cannot be checked here.
    Failed(FetchError),
}

impl From<FetchError> for Refusal {
    fn from(error: FetchError) -> Refusal {
        Refusal::Failed(error)
    }
}
