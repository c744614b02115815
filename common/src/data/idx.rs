//! IDX files, plain or gzip, read with known expectations: no byte of a file decides how much
//! memory is taken, so a damaged or hostile header costs nothing.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::DataError;
use crate::config::Data;

/// Bytes of one read from the file.
const BUFFER_BYTES: usize = 256 * 1024;

/// What an IDX file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// Three dimensions: images, rows, columns.
    Images {
        /// Rows and columns of an image.
        size: [u32; 2],
    },
    /// One dimension.
    Labels {
        /// The largest label that is a class.
        label_max: u8,
    },
}

impl Content {
    const fn magic(self) -> (u32, &'static str) {
        match self {
            Content::Images { .. } => (2051, "IDX images"),
            Content::Labels { .. } => (2049, "IDX labels"),
        }
    }

    const fn items(self) -> &'static str {
        match self {
            Content::Images { .. } => "images",
            Content::Labels { .. } => "labels",
        }
    }

    const fn header_bytes(self) -> usize {
        match self {
            Content::Images { .. } => 16,
            Content::Labels { .. } => 8,
        }
    }

    /// Bytes of a whole file of `count` items.
    fn file_bytes(self, count: u32) -> u64 {
        let item_bytes = match self {
            Content::Images { size } => u64::from(size[0]) * u64::from(size[1]),
            Content::Labels { .. } => 1,
        };
        self.header_bytes() as u64 + u64::from(count) * item_bytes
    }
}

/// A file of a data set that is present, plain or compressed.
#[derive(Debug)]
pub(super) struct Located {
    pub path: PathBuf,
    compressed: bool,
}

/// Finds `file` or `file.gz` in the folder; the plain one where both are there.
pub(super) fn locate(data: Data, folder: &Path, file: &'static str) -> Result<Located, DataError> {
    for compressed in [false, true] {
        let path = folder.join(if compressed { format!("{file}.gz") } else { file.to_owned() });
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => return Ok(Located { path, compressed }),
            Ok(_) => return Err(DataError::NotAFile { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(DataError::Unreadable { path, source }),
        }
    }
    Err(DataError::Absent { data, file, folder: folder.to_owned() })
}

/// The whole uncompressed content, checked to be an IDX file of `count` items.
pub(super) fn read(located: &Located, content: Content, count: u32) -> Result<Vec<u8>, DataError> {
    let bytes_max = content.file_bytes(count) + 1;
    let bytes = uncompressed(located, bytes_max)?;
    verify(&located.path, &bytes, content, count)?;
    Ok(bytes)
}

/// The items of a verified file: what follows its header.
pub(super) fn items(bytes: &[u8], content: Content) -> &[u8] {
    &bytes[content.header_bytes()..]
}

/// At most `bytes_max` bytes of the uncompressed content.
fn uncompressed(located: &Located, bytes_max: u64) -> Result<Vec<u8>, DataError> {
    let path = || located.path.clone();
    let unreadable = |source| DataError::Unreadable { path: path(), source };
    let file = File::open(&located.path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let reader = BufReader::with_capacity(BUFFER_BYTES, file);
    if !located.compressed {
        reader.take(bytes_max).read_to_end(&mut bytes).map_err(unreadable)?;
        return Ok(bytes);
    }
    let result = MultiGzDecoder::new(reader).take(bytes_max).read_to_end(&mut bytes);
    match result {
        Ok(_) => Ok(bytes),
        Err(source) if is_damage(source.kind()) => Err(DataError::Gzip { path: path(), source }),
        Err(source) => Err(unreadable(source)),
    }
}

/// The kinds of error that the decoder itself reports; others come from the file.
fn is_damage(kind: io::ErrorKind) -> bool {
    let kinds =
        [io::ErrorKind::InvalidData, io::ErrorKind::InvalidInput, io::ErrorKind::UnexpectedEof];
    kinds.contains(&kind)
}

/// Checks from the outside in, so that the first error is the one that explains the others.
fn verify(path: &Path, bytes: &[u8], content: Content, count: u32) -> Result<(), DataError> {
    let path = || path.to_owned();
    let found = bytes.len() as u64;
    let header_bytes = content.header_bytes();
    if bytes.len() < header_bytes {
        let expected = content.file_bytes(count);
        return Err(DataError::Truncated { path: path(), found, expected });
    }
    let field = |index: usize| {
        let at = index * 4;
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let (magic, kind) = content.magic();
    if field(0) != magic {
        return Err(DataError::Magic { path: path(), found: field(0), expected: magic, kind });
    }
    if let Content::Images { size } = content
        && [field(2), field(3)] != size
    {
        let found = [field(2), field(3)];
        return Err(DataError::ImageSize { path: path(), found, expected: size });
    }
    if field(1) != count {
        let items = content.items();
        return Err(DataError::Count { path: path(), found: field(1), expected: count, items });
    }
    let expected = content.file_bytes(count);
    if found < expected {
        return Err(DataError::Truncated { path: path(), found, expected });
    }
    if found > expected {
        return Err(DataError::Trailing { path: path(), expected });
    }
    if let Content::Labels { label_max } = content {
        let labels = items(bytes, content);
        if let Some(index) = labels.iter().position(|label| *label > label_max) {
            let label = labels[index];
            return Err(DataError::Label { path: path(), index, label, label_max });
        }
    }
    Ok(())
}
