//! The files with the weights of a trial's best epoch by name: trainers write them in a folder
//! beside the checkpoints, and the agents of every host that shares it hand them to the
//! coordinator.
//!
//! A name has the attempt, as a checkpoint's has: an attempt that was superseded and does not know
//! it writes a file of its own, which nobody takes for another's.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::ids::AttemptId;

/// Of the metadata's key `format`.
pub const FORMAT: &str = "gradsweep-weights-1";

const FOLDER: &str = "weights";
const WHOLE: &str = "safetensors";
const PARTIAL: &str = "partial-";

/// Whose weights they are: `TRIAL-ATTEMPT.safetensors`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WeightsName(pub AttemptId);

impl fmt::Display for WeightsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{WHOLE}", self.stem())
    }
}

impl WeightsName {
    /// Its file, given the folder of the checkpoints.
    pub fn path(&self, checkpoints: &Path) -> PathBuf {
        folder(checkpoints).join(self.to_string())
    }

    /// Where this process writes it before it is whole.
    pub fn partial_path(&self, checkpoints: &Path) -> PathBuf {
        folder(checkpoints).join(format!("{}.{PARTIAL}{}", self.stem(), std::process::id()))
    }

    fn stem(&self) -> String {
        format!("{}-{}", self.0.trial, self.0.number)
    }
}

/// A file of the folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WeightsFile {
    /// Whose weights it has.
    pub name: WeightsName,
    /// It has its final name; else it is being written, or was when its writer died.
    pub is_whole: bool,
    /// Where it is.
    pub path: PathBuf,
}

impl WeightsFile {
    fn of(path: PathBuf) -> Option<WeightsFile> {
        let text = path.file_name()?.to_str()?;
        let (stem, ending) = text.split_once('.')?;
        let (trial, number) = stem.split_once('-')?;
        let (trial, number) = (trial.parse().ok()?, number.parse().ok()?);
        let name = WeightsName(AttemptId { trial, number });
        let is_whole = ending == WHOLE;
        let is_ours = is_whole || ending.starts_with(PARTIAL);
        // `+1` and `01` are numbers, and not how one is written here.
        (is_ours && stem == name.stem()).then_some(WeightsFile { name, is_whole, path })
    }
}

/// Where the weights lie, given the folder of the checkpoints.
pub fn folder(checkpoints: &Path) -> PathBuf {
    checkpoints.join(FOLDER)
}

/// The files that are there; none where there is no folder.
pub fn files(checkpoints: &Path) -> io::Result<Vec<WeightsFile>> {
    let entries = match std::fs::read_dir(folder(checkpoints)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        files.extend(WeightsFile::of(entry?.path()));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TrialId;

    #[test]
    fn a_name_reads_back_and_nothing_else_is_one() {
        let checkpoints = tempfile::tempdir().expect("a folder");
        let checkpoints = checkpoints.path();
        assert_eq!(files(checkpoints).expect("as if empty"), []);
        let name = WeightsName(AttemptId { trial: TrialId(0xff), number: 3 });
        assert_eq!(name.to_string(), "00000000000000ff-3.safetensors");
        std::fs::create_dir(folder(checkpoints)).expect("ours");
        let strangers = [
            "00000000000000ff.safetensors",
            "00000000000000ff-03.safetensors",
            "00000000000000ff-+3.safetensors",
            "00000000000000ff-3.safetensors.bak",
            "00000000000000FF-3.safetensors",
            "00000000000000ff-4294967296.safetensors",
            "notes.txt",
        ];
        for stranger in strangers {
            std::fs::write(folder(checkpoints).join(stranger), "").expect("writable");
        }
        assert_eq!(files(checkpoints).expect("readable"), []);
        std::fs::write(name.path(checkpoints), "").expect("writable");
        std::fs::write(name.partial_path(checkpoints), "").expect("writable");
        let mut found = files(checkpoints).expect("readable");
        found.sort_by_key(|file| file.is_whole);
        let expected = [(false, name.partial_path(checkpoints)), (true, name.path(checkpoints))]
            .map(|(is_whole, path)| WeightsFile { name, is_whole, path });
        assert_eq!(found, expected);
        // No checkpoint is taken for weights, nor the other way round.
        assert_eq!(crate::checkpoints::files(checkpoints).expect("readable"), []);
    }
}
