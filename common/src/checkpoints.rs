//! The files of a checkpoint folder by name: trainers write them, and the agents of every host that
//! shares the folder remove them.
//!
//! A name has the attempt, which is the fencing token here too: an attempt writes under its own
//! number alone and removes what is of its own number or below, so one that was superseded and does
//! not know it can neither overwrite nor remove what a newer attempt has. It also has the epoch, so
//! that a file is never written twice and the right one is found without reading any.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::ids::AttemptId;

const WHOLE: &str = "safetensors";
const PARTIAL: &str = "partial-";

/// What a checkpoint is of: `TRIAL.ATTEMPT.EPOCH.safetensors`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CheckpointName {
    /// Who wrote it.
    pub attempt: AttemptId,
    /// Epochs done.
    pub epoch: u32,
}

impl fmt::Display for CheckpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{WHOLE}", self.stem())
    }
}

impl CheckpointName {
    /// Its file.
    pub fn path(&self, folder: &Path) -> PathBuf {
        folder.join(self.to_string())
    }

    /// Where this process writes it before it is whole.
    pub fn partial_path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.{PARTIAL}{}", self.stem(), std::process::id()))
    }

    fn stem(&self) -> String {
        format!("{}.{}.{}", self.attempt.trial, self.attempt.number, self.epoch)
    }
}

/// A file of a checkpoint folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckpointFile {
    /// What it is of.
    pub name: CheckpointName,
    /// It has its final name; else it is being written, or was when its writer died.
    pub is_whole: bool,
    /// Where it is.
    pub path: PathBuf,
}

impl CheckpointFile {
    /// A file that no checkpoint is called is none, whatever it holds.
    fn of(path: PathBuf) -> Option<CheckpointFile> {
        let text = path.file_name()?.to_str()?;
        let mut parts = text.splitn(4, '.');
        let trial = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        let epoch = parts.next()?.parse().ok()?;
        let ending = parts.next()?;
        let name = CheckpointName { attempt: AttemptId { trial, number }, epoch };
        let is_whole = ending == WHOLE;
        let is_ours = is_whole || ending.starts_with(PARTIAL);
        // `+1` and `01` are numbers, and not how one is written here.
        let is_canonical = text.strip_suffix(ending)?.strip_suffix('.')? == name.stem();
        (is_ours && is_canonical).then_some(CheckpointFile { name, is_whole, path })
    }
}

/// The files of a folder; none where there is no folder.
pub fn files(folder: &Path) -> io::Result<Vec<CheckpointFile>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        files.extend(CheckpointFile::of(entry?.path()));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TrialId;

    #[test]
    fn a_name_reads_back_and_nothing_else_is_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let attempt = AttemptId { trial: TrialId(0xff), number: 3 };
        let name = CheckpointName { attempt, epoch: 12 };
        assert_eq!(name.to_string(), "00000000000000ff.3.12.safetensors");
        let strangers = [
            "00000000000000ff.safetensors",
            "00000000000000ff.3.safetensors",
            "00000000000000ff.03.12.safetensors",
            "00000000000000ff.+3.12.safetensors",
            "00000000000000ff.3.12.safetensors.bak",
            "00000000000000FF.3.12.safetensors",
            "00000000000000ff.3.4294967296.safetensors",
            "worker.json",
        ];
        for stranger in strangers {
            std::fs::write(folder.join(stranger), "").expect("writable");
        }
        assert_eq!(files(folder).expect("readable"), []);
        std::fs::write(name.path(folder), "").expect("writable");
        std::fs::write(name.partial_path(folder), "").expect("writable");
        let mut found = files(folder).expect("readable");
        found.sort_by_key(|file| file.is_whole);
        let expected = [(false, name.partial_path(folder)), (true, name.path(folder))]
            .map(|(is_whole, path)| CheckpointFile { name, is_whole, path });
        assert_eq!(found, expected);
        assert_eq!(files(&folder.join("absent")).expect("as if empty"), []);
    }
}
