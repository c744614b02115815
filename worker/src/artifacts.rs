//! The folder of checkpoints, which several workers may share: the files of trials that ended are
//! removed, and those that nobody has touched for long. Weights in it that are to be kept go when
//! the coordinator has them (`weights`), or by age as well.
//!
//! Trainers write here and clear up behind themselves; what they cannot know is that a trial ended.
//! A worker knows it of the attempts whose outcome it reported, and removes files of that number
//! and below: an outcome that comes late leaves a newer attempt's files alone. It does not know
//! what became of attempts that were stopped, lost or handed back, of which another worker may be
//! about to go on; those files go by age. A thread of its own does all of it: a network file system
//! may hang, and the agent must go on saying that it lives.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use common::checkpoints::{self, CheckpointFile};
use common::ids::{AttemptId, TrialId, WorkerId};
use common::weights;
use tokio::sync::oneshot;

/// Age at which a checkpoint is given up. One that is in use gets a successor every half minute or
/// epoch; one of a paused sweep, or of a trial that waits, costs its epochs again when it goes.
pub const UNTOUCHED_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often they are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(6 * 3600);
/// Outcomes that wait for a slow file system; the files of more go by age.
const FORGETTING_MAX: usize = 65_536;

/// Makes the folder where it is not there, and tries whether files can be written and removed.
pub fn check(folder: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let folder = folder.canonicalize()?;
    time_of(&folder, &format!("process-{}", std::process::id()))?;
    Ok(folder)
}

/// The time by the clock of the file system, which dates the files; a host's own may be wrong.
fn time_of(folder: &Path, who: &str) -> io::Result<SystemTime> {
    let path = folder.join(format!(".gradsweep-{who}"));
    let time = File::create(&path).and_then(|file| file.metadata()?.modified());
    match fs::remove_file(&path) {
        // Whoever has the same name has removed it.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        removed => removed?,
    }
    time
}

/// Tells the thread that keeps the folder; it ends when this is dropped.
#[derive(Debug)]
pub struct Artifacts {
    ended: SyncSender<AttemptId>,
}

impl Artifacts {
    /// Starts the thread; the receiver is told, by an error, when it has ended.
    pub fn keep(folder: PathBuf, worker: &WorkerId) -> (Artifacts, oneshot::Receiver<()>) {
        let (ended, waiting) = sync_channel(FORGETTING_MAX);
        let (done, is_done) = oneshot::channel();
        let mut keeper = Keeper { folder, who: worker.to_string(), is_refused: false };
        thread::spawn(move || {
            keeper.run(&waiting);
            drop(done);
        });
        (Artifacts { ended }, is_done)
    }

    /// The outcome of this attempt is stored: what it and those before it left is not needed.
    pub fn forget(&self, attempt: AttemptId) {
        if self.ended.try_send(attempt).is_err() {
            tracing::debug!(%attempt, "its checkpoints stay until they are old");
        }
    }
}

struct Keeper {
    folder: PathBuf,
    who: String,
    /// The file system refused the last time, which is said once.
    is_refused: bool,
}

impl Keeper {
    fn run(&mut self, ended: &Receiver<AttemptId>) {
        let mut expire_at = Instant::now();
        loop {
            if expire_at <= Instant::now() {
                let expired = time_of(&self.folder, &self.who)
                    .and_then(|now| expire(&self.folder, now, UNTOUCHED_MAX));
                self.tell(&expired);
                if let Ok(count @ 1..) = expired {
                    tracing::info!(count, "removed checkpoints that nobody touched for a month");
                }
                expire_at = Instant::now() + EXPIRY_INTERVAL;
            }
            match ended.recv_timeout(expire_at.saturating_duration_since(Instant::now())) {
                Ok(first) => {
                    let forgotten = forget(&self.folder, &latest(first, ended.try_iter()));
                    self.tell(&forgotten);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn tell(&mut self, result: &io::Result<u64>) {
        if let Err(error) = result
            && !self.is_refused
        {
            let path = self.folder.display();
            tracing::warn!(%path, "cannot remove checkpoints, which stay until it can: {error}");
        }
        self.is_refused = result.is_err();
    }
}

/// The highest attempt of each trial.
fn latest(first: AttemptId, more: impl Iterator<Item = AttemptId>) -> HashMap<TrialId, u32> {
    let mut latest = HashMap::from([(first.trial, first.number)]);
    for attempt in more {
        let number = latest.entry(attempt.trial).or_default();
        *number = attempt.number.max(*number);
    }
    latest
}

/// Removes the files of attempts up to these; returns how many.
fn forget(folder: &Path, ended: &HashMap<TrialId, u32>) -> io::Result<u64> {
    let has_ended = |file: &CheckpointFile| {
        let attempt = file.name.attempt;
        ended.get(&attempt.trial).is_some_and(|number| attempt.number <= *number)
    };
    let files = checkpoints::files(folder)?.into_iter().filter(has_ended);
    remove(files.map(|file| file.path), |_| Ok(true))
}

/// Removes what has not been touched for so long; returns how many.
fn expire(folder: &Path, now: SystemTime, untouched_max: Duration) -> io::Result<u64> {
    let files = checkpoints::files(folder)?.into_iter().map(|file| file.path);
    let files = files.chain(weights::files(folder)?.into_iter().map(|file| file.path));
    remove(files, |path| {
        let touched = fs::metadata(path)?.modified()?;
        Ok(now.duration_since(touched).is_ok_and(|age| age > untouched_max))
    })
}

/// A file that went meanwhile is what was wanted; another that cannot go holds up none.
fn remove(
    files: impl Iterator<Item = PathBuf>,
    is_superfluous: impl Fn(&Path) -> io::Result<bool>,
) -> io::Result<u64> {
    let (mut count, mut refused) = (0, Ok(()));
    for path in files {
        let removed = is_superfluous(&path).and_then(|is_superfluous| match is_superfluous {
            true => fs::remove_file(&path).map(|()| 1),
            false => Ok(0),
        });
        match removed {
            Ok(removed) => count += removed,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => refused = Err(error),
        }
    }
    refused.map(|()| count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::checkpoints::CheckpointName;

    fn attempt(trial: u64, number: u32) -> AttemptId {
        AttemptId { trial: TrialId(trial), number }
    }

    fn write(folder: &Path, attempt: AttemptId, epoch: u32) -> PathBuf {
        let path = CheckpointName { attempt, epoch }.path(folder);
        fs::write(&path, "").expect("writable");
        path
    }

    #[test]
    fn an_ended_attempt_takes_those_before_it_along_and_no_newer_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let gone = [write(folder, attempt(1, 1), 9), write(folder, attempt(1, 2), 8)];
        let partial = CheckpointName { attempt: attempt(1, 2), epoch: 9 }.partial_path(folder);
        fs::write(&partial, "").expect("writable");
        let kept = [
            write(folder, attempt(1, 3), 8),
            write(folder, attempt(2, 1), 1),
            folder.join("notes.txt"),
        ];
        fs::write(&kept[2], "").expect("writable");
        let ended =
            latest(attempt(1, 1), [attempt(1, 2), attempt(1, 1), attempt(3, 7)].into_iter());
        assert_eq!(forget(folder, &ended).expect("ours"), 3);
        assert!(!gone.iter().chain([&partial]).any(|path| path.exists()));
        assert!(kept.iter().all(|path| path.exists()));
        assert_eq!(forget(&folder.join("absent"), &ended).expect("nothing to do"), 0);
    }

    #[test]
    fn a_file_that_cannot_go_holds_up_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = CheckpointName { attempt: attempt(1, 1), epoch: 1 };
        // A folder is not removed as a file, whoever runs this.
        fs::create_dir(name.path(folder.path())).expect("ours");
        let others = [2, 3].map(|epoch| write(folder.path(), attempt(1, 1), epoch));
        let ended = latest(attempt(1, 1), std::iter::empty());
        forget(folder.path(), &ended).expect_err("one cannot be removed");
        assert!(!others.iter().any(|path| path.exists()));
    }

    #[test]
    fn only_what_is_old_by_the_file_systems_clock_expires() {
        let folder = tempfile::tempdir().expect("a folder");
        let old = write(folder.path(), attempt(1, 1), 1);
        let recent = write(folder.path(), attempt(2, 1), 1);
        let unwanted = weights::WeightsName(attempt(1, 1)).path(folder.path());
        fs::create_dir(weights::folder(folder.path())).expect("ours");
        fs::write(&unwanted, "").expect("writable");
        let now = time_of(folder.path(), "test").expect("writable");
        let hour = Duration::from_secs(3600);
        let (past, not_yet) = (UNTOUCHED_MAX + hour, UNTOUCHED_MAX - hour);
        for (path, age) in [(&old, past), (&unwanted, past), (&recent, not_yet)] {
            let file = File::options().write(true).open(path).expect("ours");
            file.set_modified(now - age).expect("ours");
        }
        assert_eq!(expire(folder.path(), now, UNTOUCHED_MAX).expect("ours"), 2);
        assert!(!old.exists() && !unwanted.exists() && recent.exists());
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 2);
    }
}
