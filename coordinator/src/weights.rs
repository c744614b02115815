//! The weights that are kept, a file per trial in the state directory: `weights/TRIAL.safetensors`.
//!
//! Workers offer those of every completed trial; the results that are stored decide which are
//! taken (`keep`), and which of those that were go again. A file is there, whole and checked
//! against its result, or it is not: nothing else remembers it. What goes wrong here is told to the
//! worker, which offers again, and holds nothing else up.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::ids::{AttemptId, TrialId};
use common::telemetry::chain;
use common::weights::FORMAT;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::query::{Fate, QueryError, Reader, Tested};

/// Largest file that is taken: a billion parameters.
pub const BYTES_MAX: u64 = 4 << 30;
/// Files that arrive at one time; others wait their turn.
const ARRIVALS_MAX: usize = 4;
/// Pieces that wait for the disk.
const CHUNKS_WAITING_MAX: usize = 2;
/// Largest description at the head of a file.
const HEAD_BYTES_MAX: u64 = 16 << 20;
/// After looking for what may go, so many times as long nobody looks again: a large store is not
/// read all the time.
const REST: u32 = 20;
const WHOLE: &str = "safetensors";

/// Weights that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The store does not say whether they are wanted.
    #[error("cannot read the results")]
    Query(#[source] QueryError),
    /// The file system refused.
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
    /// They ended early, or their sender went.
    #[error("{received} of {bytes} bytes came")]
    Short {
        /// That came.
        received: u64,
        /// That were announced.
        bytes: u64,
    },
    /// They are not what was announced, or not of this result.
    #[error("the weights of {attempt}: {what}")]
    Content {
        /// Whose they should be.
        attempt: AttemptId,
        /// What is wrong.
        what: String,
    },
    /// A fault of the program.
    #[error("keeping weights panicked")]
    Panicked,
}

/// Weights that are announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    /// Whose.
    pub attempt: AttemptId,
    /// Size of the file.
    pub bytes: u64,
    /// Hash of the file.
    pub hash: [u8; 32],
}

/// Where the files are, given the state directory.
pub fn folder(state: &Path) -> PathBuf {
    state.join("weights")
}

/// The file of a trial.
pub fn path(state: &Path, trial: TrialId) -> PathBuf {
    folder(state).join(format!("{trial}.{WHOLE}"))
}

/// Bytes of a trial's weights, where they are kept.
pub fn kept_bytes(state: &Path, trial: TrialId) -> Option<u64> {
    fs::metadata(path(state, trial)).ok().filter(fs::Metadata::is_file).map(|found| found.len())
}

/// The trials whose weights are kept.
pub fn kept(state: &Path) -> io::Result<BTreeSet<TrialId>> {
    let mut trials = BTreeSet::new();
    for name in names(state)? {
        if let Some((stem, WHOLE)) = name.split_once('.')
            && let Ok(trial) = stem.parse()
        {
            trials.insert(trial);
        }
    }
    Ok(trials)
}

fn names(state: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder(state)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}

/// The files of a running server.
#[derive(Debug)]
pub struct Weights {
    state: PathBuf,
    turns: Arc<Semaphore>,
    /// Tells partial files of this process from each other.
    arrivals: AtomicU64,
    /// Something arrived since the last look for what may go.
    is_dirty: AtomicBool,
    arrived: Notify,
}

impl Weights {
    /// Of a state directory that is ours; removes what an earlier process left half.
    pub fn new(state: PathBuf) -> Weights {
        let left = names(&state).map(|names| {
            for name in names.iter().filter(|name| name.contains(".partial-")) {
                // What cannot go now is tried again at the next start.
                let _ = fs::remove_file(folder(&state).join(name));
            }
        });
        if let Err(error) = left {
            tracing::warn!("the weights that are kept cannot be listed: {error}");
        }
        Weights {
            state,
            turns: Arc::new(Semaphore::new(ARRIVALS_MAX)),
            arrivals: AtomicU64::new(0),
            is_dirty: AtomicBool::new(true),
            arrived: Notify::new(),
        }
    }

    /// Whether these weights are to be sent.
    pub async fn fate(&self, offer: Offer) -> Result<Fate, WeightsError> {
        let state = self.state.clone();
        let asked = spawn_blocking(move || {
            let fate = Reader::open(&state)?.fate(offer.attempt)?;
            let is_kept = kept_bytes(&state, offer.attempt.trial).is_some();
            Ok(if is_kept && matches!(fate, Fate::Wanted(_)) { Fate::Unwanted } else { fate })
        });
        let fate = asked.await.map_err(|_| WeightsError::Panicked)?.map_err(WeightsError::Query)?;
        if offer.bytes > BYTES_MAX && matches!(fate, Fate::Wanted(_)) {
            let Offer { attempt, bytes, .. } = offer;
            let why = format!("its weights are not kept: at most {BYTES_MAX} bytes are");
            tracing::warn!(%attempt, bytes, "{why}");
            return Ok(Fate::Unwanted);
        }
        Ok(fate)
    }

    /// Begins to take weights that are wanted, when it is their turn.
    pub async fn begin(self: &Arc<Weights>, offer: Offer, result: Tested) -> Arrival {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.expect("the turns are never closed");
        let number = self.arrivals.fetch_add(1, Ordering::Relaxed);
        let trial = offer.attempt.trial;
        let partial = folder(&self.state).join(format!("{trial}.partial-{number}"));
        let (chunks, waiting) = mpsc::channel(CHUNKS_WAITING_MAX);
        let weights = Arc::clone(self);
        let writing = spawn_blocking(move || weights.write(offer, result, &partial, waiting, turn));
        Arrival { chunks, writing }
    }

    fn write(
        &self,
        offer: Offer,
        result: Tested,
        partial: &Path,
        chunks: mpsc::Receiver<Vec<u8>>,
        _turn: OwnedSemaphorePermit,
    ) -> Result<(), WeightsError> {
        let written = self.write_whole(offer, result, partial, chunks);
        if written.is_err() {
            // What is left of it would only take the room that may have been missing.
            let _ = fs::remove_file(partial);
        } else {
            self.is_dirty.store(true, Ordering::Release);
            self.arrived.notify_one();
        }
        written
    }

    fn write_whole(
        &self,
        offer: Offer,
        result: Tested,
        partial: &Path,
        mut chunks: mpsc::Receiver<Vec<u8>>,
    ) -> Result<(), WeightsError> {
        let Offer { attempt, bytes, hash } = offer;
        let content = |what: String| WeightsError::Content { attempt, what };
        let step = |step| {
            let path = partial.to_owned();
            move |source| WeightsError::File { step, path, source }
        };
        let folder = folder(&self.state);
        fs::create_dir_all(&folder).map_err(step("make the folder of"))?;
        let options = File::options().create_new(true).read(true).write(true).open(partial);
        let mut file = options.map_err(step("create"))?;
        let mut hasher = blake3::Hasher::new();
        while let Some(chunk) = chunks.blocking_recv() {
            if hasher.count() + chunk.len() as u64 > bytes {
                return Err(content(format!("more than the {bytes} bytes that were announced")));
            }
            hasher.update(&chunk);
            file.write_all(&chunk).map_err(step("write"))?;
        }
        if hasher.count() < bytes {
            return Err(WeightsError::Short { received: hasher.count(), bytes });
        }
        if *hasher.finalize().as_bytes() != hash {
            return Err(content("not the bytes whose hash was announced".into()));
        }
        file.rewind().map_err(step("read"))?;
        check(&mut file, attempt, result).map_err(content)?;
        file.sync_all().map_err(step("sync"))?;
        fs::rename(partial, path(&self.state, attempt.trial)).map_err(step("rename"))?;
        File::open(&folder).and_then(|folder| folder.sync_all()).map_err(step("sync the folder of"))
    }

    /// Removes what no sweep keeps any more, after arrivals, until the end.
    pub async fn prune(self: Arc<Weights>, end: CancellationToken) {
        loop {
            let started = Instant::now();
            if self.is_dirty.swap(false, Ordering::AcqRel) {
                self.prune_once().await;
            }
            if end.is_cancelled() {
                return;
            }
            let rest = tokio::time::sleep(started.elapsed().max(Duration::from_millis(1)) * REST);
            tokio::select! {
                () = async { rest.await; self.arrived.notified().await } => {}
                () = end.cancelled() => {}
            }
        }
    }

    async fn prune_once(&self) {
        let state = self.state.clone();
        let pruned = spawn_blocking(move || prune(&state)).await;
        match pruned.map_err(|_| WeightsError::Panicked).flatten() {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "removed weights that no sweep keeps any more"),
            Err(error) => {
                tracing::warn!("weights that no sweep keeps may be left: {}", chain(&error));
            }
        }
    }
}

/// Weights that arrive; what was written goes where it is dropped before its end.
pub struct Arrival {
    chunks: mpsc::Sender<Vec<u8>>,
    writing: JoinHandle<Result<(), WeightsError>>,
}

impl Arrival {
    /// Takes the next bytes; false where nothing more is taken, and `finish` says why.
    pub async fn write(&self, chunk: Vec<u8>) -> bool {
        self.chunks.send(chunk).await.is_ok()
    }

    /// Everything came: returns when it is on the disk.
    pub async fn finish(self) -> Result<(), WeightsError> {
        drop(self.chunks);
        self.writing.await.map_err(|_| WeightsError::Panicked)?
    }
}

/// Whether a file says of itself that it is what it should be.
fn check(file: &mut File, attempt: AttemptId, result: Tested) -> Result<(), String> {
    let said = metadata(file).ok_or("not a safetensors file")?;
    let text = |key: &str| said.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    let expected = [
        ("format", FORMAT.to_owned()),
        ("trial", attempt.trial.to_string()),
        ("attempt", attempt.number.to_string()),
        ("best_epoch", result.best_epoch.map_or(String::new(), |epoch| epoch.to_string())),
        ("val_error", number(result.val_error)),
        ("test_error", number(result.test_error)),
    ];
    for (key, expected) in expected {
        if text(key) != expected {
            let found = text(key).chars().take(80).collect::<String>().escape_debug().to_string();
            return Err(format!("`{key}` is `{found}`, and `{expected}` in the result"));
        }
    }
    Ok(())
}

/// What stands beside the tensors.
fn metadata(file: &mut File) -> Option<serde_json::Value> {
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    if length > HEAD_BYTES_MAX {
        return None;
    }
    let mut head = Vec::new();
    file.take(length).read_to_end(&mut head).ok()?;
    let mut head = serde_json::from_slice::<serde_json::Value>(&head).ok()?;
    head.get_mut("__metadata__").map(serde_json::Value::take)
}

/// Removes the files that no sweep keeps; returns how many.
fn prune(state: &Path) -> Result<u64, WeightsError> {
    let folder = folder(state);
    // Before the results are read: what arrives meanwhile is not judged by older ones.
    let there =
        kept(state).map_err(|source| WeightsError::File { step: "list", path: folder, source })?;
    if there.is_empty() {
        return Ok(0);
    }
    let wanted = Reader::open(state).and_then(|reader| reader.wanted_among(&there));
    let wanted = wanted.map_err(WeightsError::Query)?;
    let mut count = 0;
    for trial in there.difference(&wanted) {
        let path = path(state, *trial);
        fs::remove_file(&path).map_err(|source| WeightsError::File {
            step: "remove",
            path: path.clone(),
            source,
        })?;
        count += 1;
    }
    Ok(count)
}
