//! CIFAR-10, binary version, in `cifar-10/` or the folder of the published archive below it: five
//! training files and one test file, plain, `.gz` or `.xz`.
//!
//! A subset is accepted: some of the training files, and files of fewer records. A file with all of
//! its records must be the published one. A fifth of the training images, by a permutation that is
//! part of the recipe, validates.

use std::path::{Path, PathBuf};

use md5::{Digest, Md5};

use super::file::{self, Form, Located};
use super::{DataError, DataSet, FileReport, Split, hexadecimal};
use crate::config::Data;
use crate::philox::{Philox, Purpose};

/// The folder that the published archive unpacks to.
pub const ARCHIVE_FOLDER: &str = "cifar-10-batches-bin";
/// The training files and, last, the test file.
pub const NAMES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];
/// Bytes of a record: a label, then the red, the green and the blue plane.
pub const RECORD_BYTES: usize = 1 + IMAGE_BYTES;

/// Names of the test file: of the published one, and of its first 2,000 records.
const TEST_NAMES: [&str; 2] = [NAMES[TEST], "test_batch_2000.bin"];
const TEST: usize = 5;
const CLASSES: u8 = 10;
const SIDE: usize = 32;
const IMAGE_BYTES: usize = 3 * SIDE * SIDE;
const VAL_DIVISOR: usize = 5;
/// Chooses the permutation that splits; a change is a new recipe version.
const SPLIT_SEED: u64 = 0;

/// What files with all of their records must be.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Records of each file.
    pub records: usize,
    /// MD5 of each file's uncompressed content, in the order of `NAMES`.
    pub md5s: [&'static str; 6],
}

/// The published CIFAR-10.
pub const PUBLISHED: Expected = Expected {
    records: 10_000,
    md5s: [
        "5dd7e06a14cb22eb9f671a540d1b7c25",
        "5ea93a67294ea407fff1d09f752e9692",
        "942cd6a4bcdd0dd3c604fbe906cb4421",
        "ae636b3ba5c66a11e91e8cb52e771fcb",
        "53f37980c15c3d472c316c40844f3f0d",
        "803d5f7f4d78ea53de84dbe85f74fb6d",
    ],
};

/// The files that are there, checked: training files in order, then the test file.
pub struct Files(Vec<Batch>);

struct Batch {
    /// Its place in `NAMES`.
    index: usize,
    path: PathBuf,
    bytes: Vec<u8>,
    md5: String,
    is_published: bool,
}

/// Reads and checks the files in `directory/cifar-10/`.
pub fn read(directory: &Path, expected: &Expected) -> Result<Files, DataError> {
    let folder = folder(directory);
    let mut found = Vec::new();
    for index in 0..NAMES.len() {
        if let Some(located) = locate(&folder, index)? {
            found.push((index, located));
        }
    }
    let absent = |file| DataError::Absent { data: Data::Cifar10, file, folder: folder.clone() };
    match found.first() {
        None | Some((TEST, _)) => return Err(absent("data_batch_{1..5}.bin")),
        Some(_) => {}
    }
    if found.last().is_some_and(|(index, _)| *index != TEST) {
        return Err(absent(NAMES[TEST]));
    }
    let batches = found.into_iter().map(|(index, located)| checked(index, located, expected));
    let files = Files(batches.collect::<Result<_, _>>()?);
    let found = files.train().iter().map(|batch| batch.records().count()).sum();
    if found < VAL_DIVISOR {
        return Err(DataError::TooFew { folder, found, expected: VAL_DIVISOR });
    }
    Ok(files)
}

/// Where the files lie in a data directory.
pub fn folder(directory: &Path) -> PathBuf {
    directory.join("cifar-10")
}

/// One of the files that are there in any form; none in an empty folder.
pub fn any_file(directory: &Path) -> Result<Option<PathBuf>, DataError> {
    for index in 0..NAMES.len() {
        if let Some(located) = locate(&folder(directory), index)? {
            return Ok(Some(located.path));
        }
    }
    Ok(None)
}

/// Whether the content of a file is what the full one's must be; `path` is for the error.
pub fn check_content(
    index: usize,
    path: &Path,
    bytes: &[u8],
    expected: &Expected,
) -> Result<(), DataError> {
    verify(path, bytes, expected.records)?;
    compared(index, path, &hexadecimal(&Md5::digest(bytes)), expected)
}

/// The file of this place in `NAMES`, in whatever form; there must not be two.
fn locate(folder: &Path, index: usize) -> Result<Option<Located>, DataError> {
    let names = if index == TEST { &TEST_NAMES[..] } else { &NAMES[index..=index] };
    let mut found = Vec::new();
    for folder in [folder.to_owned(), folder.join(ARCHIVE_FOLDER)] {
        for name in names {
            found.extend(file::locate(&folder, name, &[Form::Plain, Form::Gzip, Form::Xz])?);
        }
    }
    if let [first, second, ..] = &found[..] {
        let (first, second) = (first.path.clone(), second.path.clone());
        return Err(DataError::Twice { first, second });
    }
    Ok(found.pop())
}

fn checked(index: usize, located: Located, expected: &Expected) -> Result<Batch, DataError> {
    let bytes_max = expected.records * RECORD_BYTES;
    let bytes = file::content(&located, bytes_max as u64 + 1)?;
    let path = located.path;
    verify(&path, &bytes, expected.records)?;
    let md5 = hexadecimal(&Md5::digest(&bytes));
    let is_published = bytes.len() == bytes_max;
    if is_published {
        compared(index, &path, &md5, expected)?;
    }
    Ok(Batch { index, path, bytes, md5, is_published })
}

/// Whether these are whole records, at most `records_max`, of known classes.
fn verify(path: &Path, bytes: &[u8], records_max: usize) -> Result<(), DataError> {
    let path = || path.to_owned();
    if bytes.is_empty() {
        return Err(DataError::Empty { path: path() });
    }
    if bytes.len() > records_max * RECORD_BYTES {
        let expected = (records_max * RECORD_BYTES) as u64;
        return Err(DataError::Trailing { path: path(), expected });
    }
    if !bytes.len().is_multiple_of(RECORD_BYTES) {
        let (found, record) = (bytes.len() as u64, RECORD_BYTES as u64);
        return Err(DataError::Records { path: path(), found, record });
    }
    let labels = bytes.iter().step_by(RECORD_BYTES);
    for (index, label) in labels.enumerate() {
        if *label >= CLASSES {
            let (label, label_max) = (*label, CLASSES - 1);
            return Err(DataError::Label { path: path(), index, label, label_max });
        }
    }
    Ok(())
}

fn compared(index: usize, path: &Path, md5: &str, expected: &Expected) -> Result<(), DataError> {
    let expected = expected.md5s[index];
    if md5 == expected {
        return Ok(());
    }
    Err(DataError::Checksum { path: path.to_owned(), found: md5.to_owned(), expected })
}

impl Batch {
    fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks_exact(RECORD_BYTES)
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Files").field(&self.reports()).finish()
    }
}

impl Files {
    /// Every published file is there, with all of its records.
    pub fn is_complete(&self) -> bool {
        self.0.len() == NAMES.len() && self.0.iter().all(|batch| batch.is_published)
    }

    /// BLAKE3 of the uncompressed files one after another, each after its place in `NAMES` and its
    /// length, since a subset is known by which records it has of which file.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for batch in &self.0 {
            hasher.update(&(batch.index as u64).to_le_bytes());
            hasher.update(&(batch.bytes.len() as u64).to_le_bytes());
            hasher.update(&batch.bytes);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// What was read, for a report.
    pub fn reports(&self) -> Vec<FileReport> {
        let report = |batch: &Batch| FileReport {
            path: batch.path.clone(),
            bytes: batch.bytes.len() as u64,
            md5: batch.md5.clone(),
            is_published: batch.is_published,
        };
        self.0.iter().map(report).collect()
    }

    /// The data set, with the training images split.
    pub fn split(&self) -> DataSet {
        let records: Vec<&[u8]> = self.train().iter().flat_map(Batch::records).collect();
        let order = Philox::new(SPLIT_SEED, Purpose::Data).permutation(0, records.len());
        let (train, val) = order.split_at(order.len() - order.len() / VAL_DIVISOR);
        let chosen = |indices: &[u32]| split(indices.iter().map(|at| records[*at as usize]));
        DataSet {
            name: Data::Cifar10,
            shape: [3, SIDE, SIDE],
            classes: usize::from(CLASSES),
            train: chosen(train),
            val: chosen(val),
            test: split(self.0.iter().filter(|batch| batch.index == TEST).flat_map(Batch::records)),
            digest: self.digest(),
        }
    }

    fn train(&self) -> &[Batch] {
        let (_, train) = self.0.split_last().expect("reading found a test file");
        train
    }
}

/// Records apart into images and labels.
fn split<'a>(records: impl Iterator<Item = &'a [u8]>) -> Split {
    let count = records.size_hint().0;
    let mut split = Split {
        images: Vec::with_capacity(count * IMAGE_BYTES),
        labels: Vec::with_capacity(count),
    };
    for record in records {
        split.labels.push(record[0]);
        split.images.extend_from_slice(&record[1..]);
    }
    split
}
