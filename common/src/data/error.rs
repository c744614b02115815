//! What can be wrong with a data set, in words for the person who has to mend it.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::Data;

/// A data set that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file is not where it is expected.
    #[error(
        "data set `{}`: no {} in {}; `coordinator data fetch {}` downloads it; for files that \
         you have, put them there, or name the directory that holds `{}/` with --data or \
         GRADSWEEP_DATA",
        .data.name(), forms(.data, .file), .folder.display(), .data.name(), folder_name(.folder)
    )]
    Absent {
        /// Which data set.
        data: Data,
        /// The name of the file, uncompressed.
        file: &'static str,
        /// The directory looked in.
        folder: PathBuf,
    },
    /// Something else than a file has the file's name.
    #[error("{} is not a file", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The operating system would not give the content.
    #[error("could not read {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The compressed stream is damaged or cut off, or asks for more memory than it needs.
    #[error("{} is not a whole {kind} file", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// `gzip` or `xz`.
        kind: &'static str,
        /// What the decoder met.
        #[source]
        source: io::Error,
    },
    /// The same file is there twice, and one may be stale.
    #[error("{} and {} are the same file of the data set; remove one", .first.display(),
        .second.display())]
    Twice {
        /// A file.
        first: PathBuf,
        /// The same in another form or place.
        second: PathBuf,
    },
    /// The file holds nothing.
    #[error("{} is empty", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is no whole number of records.
    #[error(
        "{} has {found} bytes of content, not a multiple of {record} (a label and an image)",
        .path.display()
    )]
    Records {
        /// The file.
        path: PathBuf,
        /// Bytes of uncompressed content.
        found: u64,
        /// Bytes of a record.
        record: u64,
    },
    /// Too few images to split.
    #[error("{} has {found} training images, expected at least {expected}", .folder.display())]
    TooFew {
        /// The directory of the files.
        folder: PathBuf,
        /// Images of all its training files.
        found: usize,
        /// What a split needs.
        expected: usize,
    },
    /// The file is shorter than its header says, or than a header.
    #[error("{} is truncated: {found} bytes of content, expected {expected}", .path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes of uncompressed content.
        found: u64,
        /// Bytes that there should be.
        expected: u64,
    },
    /// The file goes on after its last item.
    #[error("{} has bytes after its {expected} bytes of content", .path.display())]
    Trailing {
        /// The file.
        path: PathBuf,
        /// Bytes that there should be.
        expected: u64,
    },
    /// The file does not begin as an IDX file of its kind.
    #[error(
        "{} has magic number 0x{found:08x}, expected 0x{expected:08x} ({kind})", .path.display()
    )]
    Magic {
        /// The file.
        path: PathBuf,
        /// What it begins with.
        found: u32,
        /// What it should begin with.
        expected: u32,
        /// What the expected number means.
        kind: &'static str,
    },
    /// The file holds another number of images or labels.
    #[error("{} has {found} {items}, expected {expected}", .path.display())]
    Count {
        /// The file.
        path: PathBuf,
        /// The count in its header.
        found: u32,
        /// The published count.
        expected: u32,
        /// `images` or `labels`.
        items: &'static str,
    },
    /// The images are of another size.
    #[error("{} has images of {}x{}, expected {}x{}", .path.display(), .found[0], .found[1],
        .expected[0], .expected[1])]
    ImageSize {
        /// The file.
        path: PathBuf,
        /// Rows and columns in its header.
        found: [u32; 2],
        /// Rows and columns of the data set.
        expected: [u32; 2],
    },
    /// A label is not a class.
    #[error("{} has label {label} at index {index}, expected 0 to {label_max}", .path.display())]
    Label {
        /// The file.
        path: PathBuf,
        /// Which example.
        index: usize,
        /// Its label.
        label: u8,
        /// The largest label that is a class.
        label_max: u8,
    },
    /// The content is well formed but not the published one.
    #[error(
        "{} is not the published file: its content has MD5 {found}, expected {expected}",
        .path.display()
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// MD5 of the uncompressed content.
        found: String,
        /// MD5 of the published content.
        expected: &'static str,
    },
    /// This machine makes other bytes than every other.
    #[error(
        "data set `{}`: the images made on this machine have digest {found}, expected {expected}",
        .data.name()
    )]
    Generated {
        /// Which data set.
        data: Data,
        /// What was made here.
        found: String,
        /// What is made elsewhere.
        expected: &'static str,
    },
}

/// The names that a file may have: `a` or `a.gz`.
fn forms(data: &Data, file: &str) -> String {
    match data {
        Data::Cifar10 => format!("`{file}`, `{file}.gz` or `{file}.xz`"),
        Data::Mnist | Data::ClutteredMnist | Data::Strokes => format!("`{file}` or `{file}.gz`"),
    }
}

fn folder_name(folder: &Path) -> Cow<'_, str> {
    folder.file_name().unwrap_or_default().to_string_lossy()
}
