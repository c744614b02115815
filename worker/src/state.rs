//! The state directory: the worker's identity, its spool, checkpoints and logs. One agent at a
//! time may use it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use common::ids::{IdError, WorkerId};
use serde::{Deserialize, Serialize};

const IDENTITY_FILE: &str = "worker.json";
/// How often a directory that is in use is tried again.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// A state directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A folder cannot be made.
    #[error("cannot create the folder `{}`", path.display())]
    Create {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read, written or locked.
    #[error("cannot {step} `{}`", path.display())]
    File {
        /// What was tried.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another agent uses it.
    #[error(
        "the state directory `{}` is in use by another worker (process {owner}); \
         give each worker its own with --state", path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Its process id, as it wrote it.
        owner: String,
    },
    /// The identity file is damaged.
    #[error("`{}` does not hold a worker's identity", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The identity file holds no valid id.
    #[error("`{}` does not hold a valid worker id", path.display())]
    Id {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: IdError,
    },
}

/// A state directory that this process holds.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    worker: WorkerId,
    identity: Identity,
    /// Locked as long as it is open.
    _lock: File,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    worker: String,
    /// The coordinator's store that the spool and what trains belong to; empty before the first.
    #[serde(default)]
    store: String,
}

impl StateDirectory {
    /// Makes what is missing and takes the directory for this process; waits so long for another
    /// one to leave it.
    pub fn open(path: &Path, host: &str, wait: Duration) -> Result<StateDirectory, StateError> {
        for folder in ["", "checkpoints", "spool", "logs"] {
            let path = path.join(folder);
            fs::create_dir_all(&path).map_err(|source| StateError::Create { path, source })?;
        }
        let path = path.canonicalize().map_err(|source| file_error("find", path)(source))?;
        let lock = lock(&path, wait)?;
        let (worker, identity) = identity(&path.join(IDENTITY_FILE), host)?;
        Ok(StateDirectory { path, worker, identity, _lock: lock })
    }

    /// The coordinator's store that the spool and what trains belong to; empty before the first.
    pub fn store(&self) -> &str {
        &self.identity.store
    }

    /// Remembers the coordinator's store.
    pub fn set_store(&mut self, store: &str) -> Result<(), StateError> {
        if self.identity.store == store {
            return Ok(());
        }
        self.identity.store = store.into();
        write_identity(&self.path.join(IDENTITY_FILE), &self.identity)
    }

    /// The worker's name.
    pub fn worker(&self) -> &WorkerId {
        &self.worker
    }

    /// Where trainers keep their checkpoints, unless there is a folder that workers share.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Where the spool is.
    pub fn spool(&self) -> PathBuf {
        self.path.join("spool")
    }

    /// Where the slots' logs are.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }
}

fn lock(directory: &Path, wait: Duration) -> Result<File, StateError> {
    let path = directory.join("lock");
    let mut options = File::options();
    let options = options.create(true).truncate(false).read(true).write(true);
    let mut file = options.open(&path).map_err(file_error("open", &path))?;
    let deadline = Instant::now() + wait;
    let mut is_waiting = false;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                if !is_waiting {
                    is_waiting = true;
                    tracing::info!(path = %directory.display(), "waits for an earlier worker");
                }
                std::thread::sleep(LOCK_POLL);
            }
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                // The owner may be about to write it: then the error goes without.
                if file.read_to_string(&mut owner).is_err() || owner.is_empty() {
                    owner = "unknown".into();
                }
                let owner = owner.trim().to_owned();
                return Err(StateError::InUse { path: directory.into(), owner });
            }
            Err(TryLockError::Error(source)) => return Err(file_error("lock", &path)(source)),
        }
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(file_error("write", &path))?;
    Ok(file)
}

/// Reads the identity, or makes it once.
fn identity(path: &Path, host: &str) -> Result<(WorkerId, Identity), StateError> {
    match fs::read(path) {
        Ok(bytes) => {
            let identity: Identity = serde_json::from_slice(&bytes)
                .map_err(|source| StateError::Identity { path: path.into(), source })?;
            let worker = identity.worker.parse();
            let worker = worker.map_err(|source| StateError::Id { path: path.into(), source })?;
            return Ok((worker, identity));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(file_error("read", path)(source)),
    }
    let worker = new_worker_id(host);
    let identity = Identity { worker: worker.to_string(), store: String::new() };
    write_identity(path, &identity)?;
    Ok((worker, identity))
}

fn write_identity(path: &Path, identity: &Identity) -> Result<(), StateError> {
    let text = serde_json::to_vec_pretty(identity)
        .map_err(|source| StateError::Identity { path: path.into(), source })?;
    // Renamed into place: a half-written identity would stop every later start.
    let fresh = path.with_extension("json.new");
    let written = File::create(&fresh)
        .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&fresh, path));
    written.map_err(file_error("write", path))
}

fn new_worker_id(host: &str) -> WorkerId {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanos = now.map_or(0, |elapsed| elapsed.as_nanos());
    let hash = blake3::hash(format!("{host} {nanos} {}", std::process::id()).as_bytes());
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let host = host.chars().filter(|c| allowed(*c)).take(100).collect::<String>();
    let text = format!("{host}-{}", &hash.to_hex()[..8]);
    text.parse().expect("the characters are filtered and the length is bounded")
}

fn file_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_path_buf();
    move |source| StateError::File { step, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_keeps_its_name_and_its_directory_to_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        let first = StateDirectory::open(&path, "höst name", Duration::ZERO).expect("opens");
        let name = first.worker().clone();
        assert!(name.as_str().starts_with("hstname-"), "{name}");
        let text =
            StateDirectory::open(&path, "other", Duration::ZERO).expect_err("in use").to_string();
        assert!(text.contains("is in use by another worker"), "{text}");
        assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
        // One that may wait gets it when the other one leaves.
        let waiting = std::thread::spawn({
            let path = path.clone();
            move || StateDirectory::open(&path, "other", Duration::from_secs(60))
        });
        drop(first);
        drop(waiting.join().expect("no panic").expect("opens"));
        let again = StateDirectory::open(&path, "other", Duration::ZERO).expect("opens");
        assert_eq!(again.worker(), &name);
        assert!(again.checkpoints().is_dir() && again.spool().is_dir() && again.logs().is_dir());
    }

    #[test]
    fn a_damaged_identity_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        fs::write(path.join("worker.json"), "{\"worker\": \"a/b\"}").expect("written");
        let text =
            StateDirectory::open(path, "host", Duration::ZERO).expect_err("damaged").to_string();
        assert!(text.contains("worker.json` does not hold a valid worker id"), "{text}");
        fs::write(path.join("worker.json"), "{").expect("written");
        let text =
            StateDirectory::open(path, "host", Duration::ZERO).expect_err("damaged").to_string();
        assert!(text.contains("worker.json` does not hold a worker's identity"), "{text}");
    }
}
