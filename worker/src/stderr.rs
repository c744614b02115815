//! A slot's log: what its trainers write to stderr, in a file of bounded size and in memory.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// Newest bytes that are kept in memory, and the most that a failure report carries.
pub const TAIL_BYTES_MAX: usize = 16 * 1024;
/// Size at which the file is renamed to the old one, which it replaces.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The log of one slot.
#[derive(Debug)]
pub struct SlotLog {
    path: PathBuf,
    tail: Mutex<Vec<u8>>,
}

impl SlotLog {
    /// The log of this slot in a folder, which must exist.
    pub fn new(folder: &Path, slot: usize) -> SlotLog {
        let path = folder.join(format!("slot-{slot}.log"));
        SlotLog { path, tail: Mutex::new(Vec::new()) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The newest lines of the running trainer.
    pub fn tail(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&tail);
        // Lossy decoding can lengthen what was cut inside a character.
        let start = text.ceil_char_boundary(text.len().saturating_sub(TAIL_BYTES_MAX));
        text[start..].to_owned()
    }

    /// Copies a trainer's stderr until it ends, on a thread of its own: the pipe is small, and a
    /// trainer that logs must never wait for the agent. The receiver resolves at the end.
    pub fn follow(self: &Arc<Self>, stderr: io::PipeReader) -> oneshot::Receiver<()> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let (done, ended) = oneshot::channel();
        let log = Arc::clone(self);
        std::thread::spawn(move || {
            if let Err(error) = log.copy(stderr) {
                tracing::warn!(path = %log.path.display(), "cannot write a trainer's log: {error}");
            }
            // Nobody waits any more where the agent is leaving.
            let _ = done.send(());
        });
        ended
    }

    fn copy(&self, mut stderr: io::PipeReader) -> io::Result<()> {
        let mut buffer = [0; 4096];
        // A full disk must not stop the reading: the trainer would block on its pipe.
        let mut file = self.open();
        loop {
            let count = match stderr.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if count == 0 {
                return file.map(|_| ());
            }
            self.remember(&buffer[..count]);
            file = file.and_then(|file| self.append(file, &buffer[..count]));
        }
    }

    fn remember(&self, bytes: &[u8]) {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(bytes);
        let excess = tail.len().saturating_sub(TAIL_BYTES_MAX);
        tail.drain(..excess);
    }

    fn open(&self) -> io::Result<File> {
        File::options().create(true).append(true).open(&self.path)
    }

    fn append(&self, mut file: File, bytes: &[u8]) -> io::Result<File> {
        if file.metadata()?.len() >= FILE_BYTES_MAX {
            fs::rename(&self.path, self.path.with_extension("log.old"))?;
            file = self.open()?;
        }
        file.write_all(bytes)?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_log_keeps_its_newest_lines_in_bounded_space() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = Arc::new(SlotLog::new(folder.path(), 3));
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let ended = log.follow(reader);
        let lines = (0..200_000).map(|line| format!("line {line}\n")).collect::<String>();
        writer.write_all(lines.as_bytes()).expect("the thread reads");
        drop(writer);
        ended.await.expect("the thread ends");
        let tail = log.tail();
        assert!(tail.len() <= TAIL_BYTES_MAX && tail.ends_with("line 199999\n"));
        let sizes = ["slot-3.log", "slot-3.log.old"]
            .map(|name| fs::metadata(folder.path().join(name)).expect("exists").len());
        assert!(sizes.iter().all(|bytes| *bytes <= FILE_BYTES_MAX + 4096), "{sizes:?}");
        let newest = fs::read_to_string(log.path()).expect("text");
        assert!(newest.ends_with("line 199999\n"));
    }
}
