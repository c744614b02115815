//! MNIST from its four IDX files in `mnist/`, plain or `.gz`: the published bytes or an error.
//!
//! The 60,000 training images are split 50,000/10,000 by a permutation that is part of the recipe;
//! the test set is the 10,000 of `t10k`.

use std::path::{Path, PathBuf};

use md5::{Digest, Md5};

use super::file::{self, Form, Located};
use super::idx::{self, Content};
use super::{DataError, DataSet, FileReport, Split, hexadecimal};
use crate::config::Data;
use crate::philox::{Philox, Purpose};

const CLASSES: u8 = 10;
const SIDE: usize = 28;
const IMAGE_BYTES: usize = SIDE * SIDE;
/// A sixth of the training images validates.
const VAL_DIVISOR: usize = 6;
/// Chooses the permutation that splits; a change is a new recipe version.
const SPLIT_SEED: u64 = 0;

const IMAGES: Content = Content::Images { size: [SIDE as u32, SIDE as u32] };
const LABELS: Content = Content::Labels { label_max: CLASSES - 1 };

/// Two files that belong together: counts and checksums to hold them to.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Images, and labels.
    pub count: u32,
    /// MD5 of the uncompressed image file.
    pub images_md5: &'static str,
    /// MD5 of the uncompressed label file.
    pub labels_md5: &'static str,
}

/// What the four files must be.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The `train-*` files.
    pub train: Part,
    /// The `t10k-*` files.
    pub test: Part,
}

/// The published MNIST.
pub const PUBLISHED: Expected = Expected {
    train: Part {
        count: 60_000,
        images_md5: "6bbc9ace898e44ae57da46a324031adb",
        labels_md5: "a25bea736e30d166cdddb491f175f624",
    },
    test: Part {
        count: 10_000,
        images_md5: "2646ac647ad5339dbf082846283269ea",
        labels_md5: "27ae3e4e09519cfbb04c329615203637",
    },
};

/// The four files, checked: train images, train labels, test images, test labels.
pub struct Files([Checked; 4]);

struct Checked {
    path: PathBuf,
    bytes: Vec<u8>,
    content: Content,
    md5: &'static str,
}

/// One of the four files and what it must be.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedFile {
    /// Its name, uncompressed.
    pub name: &'static str,
    content: Content,
    count: u32,
    md5: &'static str,
}

impl Expected {
    /// Train images, train labels, test images, test labels.
    pub fn files(&self) -> [ExpectedFile; 4] {
        let Expected { train, test } = *self;
        let file = |name, content, count, md5| ExpectedFile { name, content, count, md5 };
        [
            file("train-images-idx3-ubyte", IMAGES, train.count, train.images_md5),
            file("train-labels-idx1-ubyte", LABELS, train.count, train.labels_md5),
            file("t10k-images-idx3-ubyte", IMAGES, test.count, test.images_md5),
            file("t10k-labels-idx1-ubyte", LABELS, test.count, test.labels_md5),
        ]
    }
}

impl ExpectedFile {
    /// Bytes of the uncompressed file.
    pub fn bytes(&self) -> u64 {
        self.content.file_bytes(self.count)
    }

    /// Where the file is in `folder`: plain, or `.gz` where no plain one is.
    pub fn find(&self, folder: &Path) -> Result<Option<PathBuf>, DataError> {
        Ok(self.locate(folder)?.map(|located| located.path))
    }

    /// Whether a gzip file at `path`, whatever its name, has the published content.
    pub fn check_gzip(&self, path: &Path) -> Result<(), DataError> {
        self.checked(Located { path: path.to_owned(), form: Form::Gzip }).map(drop)
    }

    /// Whether the file at `path`, which `find` gave, has the published content.
    pub fn check(&self, path: &Path) -> Result<(), DataError> {
        self.checked(Located { path: path.to_owned(), form: Form::of(path) }).map(drop)
    }

    fn locate(&self, folder: &Path) -> Result<Option<Located>, DataError> {
        Ok(file::locate(folder, self.name, &[Form::Plain, Form::Gzip])?.into_iter().next())
    }

    fn read(&self, folder: &Path) -> Result<Checked, DataError> {
        let absent =
            || DataError::Absent { data: Data::Mnist, file: self.name, folder: folder.to_owned() };
        self.checked(self.locate(folder)?.ok_or_else(absent)?)
    }

    fn checked(&self, located: Located) -> Result<Checked, DataError> {
        let ExpectedFile { content, count, md5, .. } = *self;
        let bytes = idx::read(&located, content, count)?;
        let path = located.path;
        let found = hexadecimal(&Md5::digest(&bytes));
        if found != md5 {
            return Err(DataError::Checksum { path, found, expected: md5 });
        }
        Ok(Checked { path, bytes, content, md5 })
    }
}

/// Reads and checks the four files in `directory/mnist/`.
pub fn read(directory: &Path, expected: &Expected) -> Result<Files, DataError> {
    let folder = folder(directory);
    let [train_images, train_labels, images, labels] = expected.files();
    Ok(Files([
        train_images.read(&folder)?,
        train_labels.read(&folder)?,
        images.read(&folder)?,
        labels.read(&folder)?,
    ]))
}

/// Where the files lie in a data directory.
pub fn folder(directory: &Path) -> PathBuf {
    directory.join("mnist")
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Files").field(&self.reports()).finish()
    }
}

impl Files {
    /// BLAKE3 of the uncompressed files one after another.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for file in &self.0 {
            hasher.update(&file.bytes);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// What was read, for a report.
    pub fn reports(&self) -> Vec<FileReport> {
        let report = |file: &Checked| FileReport {
            path: file.path.clone(),
            bytes: file.bytes.len() as u64,
            md5: file.md5.to_owned(),
            is_published: true,
        };
        self.0.iter().map(report).collect()
    }

    /// The data set, with the training images split.
    pub fn split(&self) -> DataSet {
        let [images, labels, test_images, test_labels] =
            self.0.each_ref().map(|file| idx::items(&file.bytes, file.content));
        let order = Philox::new(SPLIT_SEED, Purpose::Data).permutation(0, labels.len());
        let (train, val) = order.split_at(labels.len() - labels.len() / VAL_DIVISOR);
        DataSet {
            name: Data::Mnist,
            shape: [1, SIDE, SIDE],
            classes: usize::from(CLASSES),
            train: chosen(images, labels, train),
            val: chosen(images, labels, val),
            test: Split { images: test_images.to_vec(), labels: test_labels.to_vec() },
            digest: self.digest(),
        }
    }
}

/// The examples of these indices, in their order.
fn chosen(images: &[u8], labels: &[u8], indices: &[u32]) -> Split {
    let mut split = Split {
        images: Vec::with_capacity(indices.len() * IMAGE_BYTES),
        labels: Vec::with_capacity(indices.len()),
    };
    for index in indices {
        let index = *index as usize;
        let at = index * IMAGE_BYTES;
        split.images.extend_from_slice(&images[at..at + IMAGE_BYTES]);
        split.labels.push(labels[index]);
    }
    split
}
