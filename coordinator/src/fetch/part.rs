//! A download on its way: `NAME.partial` with, beside it, what its bytes came from. It outlives the
//! process, so that the next one goes on where this one ended, and only one process has it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::FetchError;
use super::plan::Source;

/// The part of a file that is here.
#[derive(Debug)]
pub(super) struct Part {
    pub path: PathBuf,
    file: File,
    source_path: PathBuf,
    /// What the bytes came from; none where that is not known.
    pub source: Option<Source>,
    /// Bytes that are here.
    pub held: u64,
}

impl Part {
    /// Opens what there is of `name` in the folder, or begins it.
    pub fn open(folder: &Path, name: &str) -> Result<Part, FetchError> {
        fs::create_dir_all(folder).map_err(FetchError::disk("make", folder))?;
        let path = folder.join(format!("{name}.partial"));
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(FetchError::disk("write", &path))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(FetchError::Busy { path });
        }
        let held = file.seek(SeekFrom::End(0)).map_err(FetchError::disk("read", &path))?;
        let source_path = folder.join(format!("{name}.partial.source"));
        // One that cannot be read is not known, and the download starts anew.
        let text = fs::read(&source_path).unwrap_or_default();
        let source = serde_json::from_slice(&text).ok();
        Ok(Part { path, file, source_path, source, held })
    }

    /// Drops what is here; what follows comes from `source`.
    pub fn restart(&mut self, source: Source) -> Result<(), FetchError> {
        self.clear()?;
        let text = serde_json::to_vec(&source).expect("a source is plain JSON");
        let disk = FetchError::disk("write", &self.source_path);
        fs::write(&self.source_path, text).map_err(disk)?;
        self.source = Some(source);
        Ok(())
    }

    /// Drops what is here and where it came from.
    pub fn clear(&mut self) -> Result<(), FetchError> {
        removed(&self.source_path)?;
        self.source = None;
        let disk = FetchError::disk("write", &self.path);
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(disk)?;
        self.held = 0;
        Ok(())
    }

    /// Adds bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(bytes).map_err(FetchError::disk("write", &self.path))?;
        self.held += bytes.len() as u64;
        Ok(())
    }

    /// All bytes are on the disk.
    pub fn sync(&self) -> Result<(), FetchError> {
        self.file.sync_all().map_err(FetchError::disk("write", &self.path))
    }

    /// The whole file gets its name.
    pub fn finish(self, target: &Path) -> Result<(), FetchError> {
        fs::rename(&self.path, target).map_err(FetchError::disk("write", target))?;
        removed(&self.source_path)?;
        sync_folder(target)
    }

    /// Nothing of it stays.
    pub fn remove(self) -> Result<(), FetchError> {
        removed(&self.path)?;
        removed(&self.source_path)
    }
}

/// A rename is on the disk once its folder is.
pub(super) fn sync_folder(target: &Path) -> Result<(), FetchError> {
    let folder = target.parent().unwrap_or(target);
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(FetchError::disk("write", folder))
}

fn removed(path: &Path) -> Result<(), FetchError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FetchError::disk("remove", path)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// `path` with something after its last name.
pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}
