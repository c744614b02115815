//! Data sets as bytes, without libtorch: what they are, where they lie, and whether they are whole.
//!
//! Images are `u8` (the device divides by 255), so that a data set is the same bytes on every
//! machine and in its digest. Splits are fixed and already permuted: validation chooses, test is
//! read once. This module reads files and makes images; it downloads nothing.

pub mod cifar10;
pub mod cluttered;
mod error;
mod file;
mod glyphs;
mod idx;
pub mod mnist;
mod report;
mod strokes;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use error::DataError;
pub use report::{FileReport, Report, SplitReport};

use crate::config::{Data, Examples};

/// The environment variable that names the data directory.
pub const DIRECTORY_VARIABLE: &str = "GRADSWEEP_DATA";

/// Images and their labels, in order.
#[derive(Clone, PartialEq, Eq)]
pub struct Split {
    /// [n, channels, height, width], row-major; 255 is ink.
    pub images: Vec<u8>,
    /// [n]; each below the number of classes.
    pub labels: Vec<u8>,
}

impl std::fmt::Debug for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Split({} images of {} bytes)", self.labels.len(), self.images.len())
    }
}

/// A data set in memory.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// Which one.
    pub name: Data,
    /// Channels, height, width of an image.
    pub shape: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// Training examples.
    pub train: Split,
    /// Validation examples: choose the epoch.
    pub val: Split,
    /// Test examples: read once per trial.
    pub test: Split,
    /// BLAKE3 of the content, 64 hexadecimal digits.
    pub digest: String,
}

impl DataSet {
    /// Every published example is there: a CIFAR-10 may be a subset.
    pub fn is_complete(&self) -> bool {
        let Examples { train, validation, test, .. } = self.name.examples();
        let counts = [&self.train, &self.val, &self.test].map(|split| split.labels.len());
        counts == [train, validation, test]
    }
}

/// Loads a data set from `directory(dir)`, or makes it.
///
/// Fails where its files are absent or not the published ones.
pub fn load(data: Data, dir: Option<&Path>) -> Result<DataSet, DataError> {
    match data {
        Data::Mnist => Ok(mnist::read(&directory(dir), &mnist::PUBLISHED)?.split()),
        Data::Cifar10 => Ok(cifar10::read(&directory(dir), &cifar10::PUBLISHED)?.split()),
        Data::ClutteredMnist => Ok(cluttered::generate(&load(Data::Mnist, dir)?)),
        Data::Strokes => strokes::generate(),
    }
}

/// The digest of a data set's content, as in `DataSet`. For files it reads and checks them; for
/// `strokes` it is known beforehand.
pub fn digest(data: Data, dir: Option<&Path>) -> Result<String, DataError> {
    match data {
        Data::Mnist => Ok(mnist::read(&directory(dir), &mnist::PUBLISHED)?.digest()),
        Data::Cifar10 => Ok(cifar10::read(&directory(dir), &cifar10::PUBLISHED)?.digest()),
        Data::ClutteredMnist => Ok(cluttered::digest(&digest(Data::Mnist, dir)?)),
        Data::Strokes => Ok(strokes::DIGEST.to_owned()),
    }
}

/// Loads a data set and reports what it holds.
pub fn check(data: Data, dir: Option<&Path>) -> Result<Report, DataError> {
    match data {
        Data::Mnist | Data::ClutteredMnist => {
            let files = mnist::read(&directory(dir), &mnist::PUBLISHED)?;
            let mnist = files.split();
            let cluttered = (data == Data::ClutteredMnist).then(|| cluttered::generate(&mnist));
            Ok(Report::new(cluttered.as_ref().unwrap_or(&mnist), files.reports()))
        }
        Data::Cifar10 => {
            let files = cifar10::read(&directory(dir), &cifar10::PUBLISHED)?;
            Ok(Report::new(&files.split(), files.reports()))
        }
        Data::Strokes => Ok(Report::new(&strokes::generate()?, Vec::new())),
    }
}

/// Where data sets lie: the flag, else the variable `GRADSWEEP_DATA`, else `./data`.
pub fn directory(flag: Option<&Path>) -> PathBuf {
    resolved(flag, std::env::var_os(DIRECTORY_VARIABLE))
}

/// `directory` with the variable's value given; an empty one counts as unset.
fn resolved(flag: Option<&Path>, variable: Option<OsString>) -> PathBuf {
    if let Some(flag) = flag {
        return flag.to_owned();
    }
    match variable {
        Some(value) if !value.is_empty() => PathBuf::from(value),
        Some(_) | None => PathBuf::from("./data"),
    }
}

/// A digest as it is printed and compared.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_is_flag_then_variable_then_default() {
        let variable = Some(OsString::from("/from/variable"));
        let flag = Path::new("/from/flag");
        assert_eq!(resolved(Some(flag), variable.clone()), flag);
        assert_eq!(resolved(None, variable), Path::new("/from/variable"));
        assert_eq!(resolved(None, Some(OsString::new())), Path::new("./data"));
        assert_eq!(resolved(None, None), Path::new("./data"));
    }
}
