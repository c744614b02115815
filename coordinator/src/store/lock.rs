//! One coordinator per state directory: a lock on the file `lock`, which also names its owner.
//!
//! The kernel's lock ends with its process, however that ends, so that a file left behind blocks
//! nobody. What the file says is for messages only.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fmt, process, thread};

use serde::{Deserialize, Serialize};

/// The file in the state directory.
pub const FILE_NAME: &str = "lock";

/// `owner` shares the lock for an instant; who wants it for good waits that long.
const PATIENCE: Duration = Duration::from_millis(200);

/// Whoever holds a state directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// Host name.
    pub host: String,
    /// When it took the lock.
    pub started_unix_ms: u64,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = unix_ms().saturating_sub(self.started_unix_ms) / 60_000;
        write!(f, "process {} on {}, started ", self.pid, self.host)?;
        match minutes {
            0 => write!(f, "less than a minute ago"),
            1..120 => write!(f, "{minutes} min ago"),
            _ => write!(f, "{} h ago", minutes / 60),
        }
    }
}

/// Why a state directory is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another coordinator has it.
    #[error(
        "the state directory {} is in use by {}; stop that coordinator or give another --state",
        state_dir.display(),
        owner.as_ref().map_or("another process".into(), Owner::to_string)
    )]
    Held {
        /// The directory.
        state_dir: PathBuf,
        /// Its owner, where the file says.
        owner: Option<Owner>,
    },
    /// A file operation failed.
    #[error("cannot {step} {}; check --state", path.display())]
    File {
        /// The step.
        step: &'static str,
        /// File or directory.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
}

/// A held state directory; dropping it lets go.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the state directory, making it where needed.
pub fn acquire(state_dir: &Path) -> Result<Lock, LockError> {
    let path = state_dir.join(FILE_NAME);
    let wrong = |step, path: &Path| {
        let path = path.to_owned();
        move |source| LockError::File { step, path, source }
    };
    fs::create_dir_all(state_dir).map_err(wrong("make the state directory", state_dir))?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(wrong("open", &path))?;
    let patience_ends = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < patience_ends => {
                thread::sleep(PATIENCE / 10);
            }
            Err(TryLockError::WouldBlock) => {
                let owner = says(&mut file);
                return Err(LockError::Held { state_dir: state_dir.into(), owner });
            }
            Err(TryLockError::Error(source)) => return Err(wrong("lock", &path)(source)),
        }
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let owner = Owner { pid: process::id(), host, started_unix_ms: unix_ms() };
    let content = serde_json::to_string(&owner).expect("three plain fields");
    let write = |file: &mut File| -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{content}")
    };
    write(&mut file).map_err(wrong("write", &path))?;
    Ok(Lock { _file: file })
}

/// Whoever holds the state directory now; none where nobody does.
pub fn owner(state_dir: &Path) -> Result<Option<Owner>, LockError> {
    let path = state_dir.join(FILE_NAME);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LockError::File { step: "open", path, source }),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => {
            let unnamed = Owner { pid: 0, host: "?".into(), started_unix_ms: unix_ms() };
            Ok(Some(says(&mut file).unwrap_or(unnamed)))
        }
        Err(TryLockError::Error(source)) => {
            Err(LockError::File { step: "look at the lock of", path, source })
        }
    }
}

/// What the file says; none where its owner is about to write it.
fn says(file: &mut File) -> Option<Owner> {
    const BYTES_MAX: u64 = 4096;
    let mut content = String::new();
    file.rewind().ok()?;
    file.take(BYTES_MAX).read_to_string(&mut content).ok()?;
    serde_json::from_str(&content).ok()
}

/// Milliseconds since 1970 by the system's clock; 0 before.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_names_its_owner_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(owner(dir.path()).unwrap(), None);
        let held = acquire(dir.path()).unwrap();
        let found = owner(dir.path()).unwrap().expect("held");
        assert_eq!(found.pid, process::id());
        let error = acquire(dir.path()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, LockError::Held { owner: Some(o), .. } if o == found));
        for part in [&dir.path().display().to_string(), &format!("process {}", found.pid)] {
            assert!(text.contains(part), "{text}");
        }
        drop(held);
        assert_eq!(owner(dir.path()).unwrap(), None);
        drop(acquire(dir.path()).unwrap());
    }

    #[test]
    fn lock_file_of_a_dead_process_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let left = "{\"pid\":1,\"host\":\"gone\",\"started_unix_ms\":5}, and a longer old line\n";
        fs::write(dir.path().join(FILE_NAME), left).unwrap();
        let _held = acquire(dir.path()).unwrap();
        assert_eq!(owner(dir.path()).unwrap().expect("held").pid, process::id());
    }

    const HOLDS: &str = "GRADSWEEP_TEST_HOLDS";

    /// Not a test by itself: the process that the next one kills.
    #[test]
    fn lock_is_held_until_killed() {
        let Some(dir) = std::env::var_os(HOLDS) else { return };
        let _held = acquire(Path::new(&dir)).unwrap();
        let ended = io::stdin().read(&mut [0]);
        panic!("it should have been killed: {ended:?}");
    }

    #[test]
    fn lock_of_a_killed_process_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let mut holder = process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::lock::tests::lock_is_held_until_killed", "--nocapture"])
            .env(HOLDS, dir.path())
            .stdin(process::Stdio::piped())
            .stdout(process::Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while fs::read_to_string(dir.path().join(FILE_NAME)).unwrap_or_default().is_empty() {
            assert!(Instant::now() < deadline, "it never took the lock");
            thread::yield_now();
        }
        let named = format!("in use by process {} on", holder.id());
        let error = acquire(dir.path()).unwrap_err().to_string();
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert!(error.contains(&named), "{error}");
        assert_eq!(owner(dir.path()).unwrap(), None);
        drop(acquire(dir.path()).unwrap());
    }

    #[test]
    fn lock_below_a_file_is_a_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = acquire(&file.join("state")).unwrap_err().to_string();
        assert!(error.starts_with("cannot make the state directory"), "{error}");
    }
}
