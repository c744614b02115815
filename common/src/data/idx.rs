//! IDX files, read with known expectations: a header is compared, never followed.

use std::path::Path;

use super::DataError;
use super::file::{self, Located};

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
    pub fn file_bytes(self, count: u32) -> u64 {
        let item_bytes = match self {
            Content::Images { size } => u64::from(size[0]) * u64::from(size[1]),
            Content::Labels { .. } => 1,
        };
        self.header_bytes() as u64 + u64::from(count) * item_bytes
    }
}

/// The whole uncompressed content, checked to be an IDX file of `count` items.
pub(super) fn read(located: &Located, content: Content, count: u32) -> Result<Vec<u8>, DataError> {
    let bytes_max = content.file_bytes(count) + 1;
    let bytes = file::content(located, bytes_max)?;
    verify(&located.path, &bytes, content, count)?;
    Ok(bytes)
}

/// The items of a verified file: what follows its header.
pub(super) fn items(bytes: &[u8], content: Content) -> &[u8] {
    &bytes[content.header_bytes()..]
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
