//! Where an answer goes: standard output, or a file that appears when it is whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::{Path, PathBuf};

use super::Failure;
use crate::render::Style;

/// A place for an answer.
pub(super) enum Output {
    /// Standard output.
    Stdout(BufWriter<StdoutLock<'static>>),
    /// A file; written beside its place first, unless a device or pipe is there.
    File { out: BufWriter<File>, path: PathBuf, partial: Option<PathBuf> },
}

impl Output {
    /// Standard output.
    pub fn stdout() -> Output {
        Output::Stdout(BufWriter::new(io::stdout().lock()))
    }

    /// A file, or standard output where none is named.
    pub fn open(path: Option<&Path>) -> Result<Output, Failure> {
        let Some(path) = path else { return Ok(Output::stdout()) };
        let is_special = fs::metadata(path).is_ok_and(|found| !found.is_file());
        let partial = (!is_special).then(|| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{}.partial", std::process::id()));
            path.with_file_name(name)
        });
        let file = File::create(partial.as_deref().unwrap_or(path));
        let file = file.map_err(|error| {
            Failure::Mistake(format!("--output: cannot write {}: {error}", path.display()))
        })?;
        Ok(Output::File { out: BufWriter::new(file), path: path.into(), partial })
    }

    /// What the place can show.
    pub fn style(&self) -> Style {
        match self {
            Output::Stdout(_) => Style::of_stdout(),
            Output::File { .. } => Style::default(),
        }
    }

    /// Everything is written; a file appears.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.flush()?;
        if let Output::File { path, partial, .. } = &mut self
            && let Some(partial) = partial.take()
        {
            fs::rename(partial, path)?;
        }
        Ok(())
    }
}

impl Drop for Output {
    /// What is not whole does not stay.
    fn drop(&mut self) {
        if let Output::File { partial: Some(partial), .. } = self {
            drop(fs::remove_file(partial));
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::Stdout(out) => out.write(bytes),
            Output::File { out, .. } => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Stdout(out) => out.flush(),
            Output::File { out, .. } => out.flush(),
        }
    }
}
