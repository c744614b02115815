//! Which checkpoint a trial goes on from, and which ones it leaves in the folder.
//!
//! The folder may be shared by many hosts, on one of which an older attempt may still train because
//! it does not know that it was superseded. So an attempt goes on from its own or an older one's
//! files alone, and from none beyond what the coordinator has stored: the epochs between would be
//! in no history. It leaves two: its newest may be ahead of what the coordinator has stored when
//! its host is lost, and then the one before serves.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use common::checkpoints::{self, CheckpointFile, CheckpointName};
use common::telemetry::chain;

use crate::checkpoint::{Basis, Checkpoint};
use crate::job::Job;

/// The checkpoint that a trial goes on from; what cannot be used is passed over.
pub(crate) fn resumable(
    job: &Job,
    basis: &Basis,
    folder: &Path,
    files: &[CheckpointFile],
    fits: impl Fn(&Checkpoint) -> bool,
) -> Option<Checkpoint> {
    let (attempt, stored) = (job.id, job.epochs_stored);
    let (candidates, ahead) = candidates(job, files);
    if let Some(epoch) = ahead {
        tracing::warn!(%attempt, epoch, stored, "a checkpoint is ahead of the stored history");
    }
    for name in candidates {
        match Checkpoint::load(folder, name, basis) {
            Ok(checkpoint) if fits(&checkpoint) => {
                tracing::info!(%attempt, %name, "resumes from a checkpoint");
                return Some(checkpoint);
            }
            Ok(_) => tracing::warn!(%attempt, %name, "passed over: it is of another model"),
            Err(error) => tracing::warn!(%attempt, "passed over: {}", chain(&error)),
        }
    }
    None
}

/// What the attempt may go on from, the best first, and the newest epoch that is beyond.
fn candidates(job: &Job, files: &[CheckpointFile]) -> (Vec<CheckpointName>, Option<u32>) {
    let is_own = |file: &&CheckpointFile| {
        let attempt = file.name.attempt;
        file.is_whole && attempt.trial == job.id.trial && attempt.number <= job.id.number
    };
    let own = files.iter().filter(is_own).map(|file| file.name);
    // After its last epoch there is nothing left to train, and its outcome is not in a checkpoint.
    let is_useful =
        |name: &CheckpointName| name.epoch <= job.epochs_stored && name.epoch < job.epochs;
    let (mut useful, beyond) = own.partition::<Vec<_>, _>(is_useful);
    // Of one epoch the newest attempt's: an older one's may have been about to be removed.
    useful.sort_unstable_by_key(|name| std::cmp::Reverse((name.epoch, name.attempt.number)));
    (useful, beyond.iter().map(|name| name.epoch).max())
}

/// What an attempt has in the folder.
#[derive(Debug)]
pub(crate) struct Kept {
    /// What it wrote last, or before that what it resumed from.
    newest: Option<CheckpointName>,
    /// The one before.
    fallback: Option<CheckpointName>,
}

impl Kept {
    /// Of an attempt that begins.
    pub(crate) fn new(resumed_from: Option<CheckpointName>) -> Kept {
        Kept { newest: resumed_from, fallback: None }
    }

    /// Whether the attempt could go on from here already.
    pub(crate) fn has(&self, epoch: u32) -> bool {
        self.newest.is_some_and(|newest| newest.epoch == epoch)
    }

    /// Takes a file that is written, and removes what it makes superfluous.
    pub(crate) fn wrote(&mut self, name: CheckpointName, folder: &Path) {
        let is_first = self.newest.is_none_or(|newest| newest.attempt != name.attempt);
        if is_first && name.attempt.number > 1 {
            self.remove_older(name, folder);
        }
        if let Some(superfluous) = self.fallback.take() {
            remove(&superfluous.path(folder));
        }
        self.fallback = self.newest.replace(name);
    }

    /// Once per attempt: its predecessors leave one file at most.
    fn remove_older(&self, name: CheckpointName, folder: &Path) {
        let files = checkpoints::files(folder).unwrap_or_else(|error| {
            tracing::warn!("older checkpoints stay: they cannot be listed: {error}");
            Vec::new()
        });
        for file in files {
            let attempt = file.name.attempt;
            let is_older =
                attempt.trial == name.attempt.trial && attempt.number < name.attempt.number;
            if is_older && (self.newest != Some(file.name) || !file.is_whole) {
                remove(&file.path);
            }
        }
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => {}
        // Another host was quicker.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(path = %path.display(), "cannot remove a checkpoint: {error}");
        }
    }
}
