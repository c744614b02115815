//! What a data set holds, for `data check`.

use std::fmt;
use std::path::PathBuf;

use super::{DataSet, Split};
use crate::config::{Data, Examples};

/// A file that a data set was read from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileReport {
    /// Where it is; may end in `.gz` or `.xz`.
    pub path: PathBuf,
    /// Bytes of uncompressed content.
    pub bytes: u64,
    /// MD5 of the uncompressed content.
    pub md5: String,
    /// That is the published MD5; else none is known, since the file holds a part only.
    pub is_published: bool,
}

/// One split's counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SplitReport {
    /// `train`, `val` or `test`.
    pub name: &'static str,
    /// Examples.
    pub count: usize,
    /// Examples of each class.
    pub class_counts: Vec<usize>,
}

/// What a data set that passed its checks holds. `Display` is several lines of text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Which data set.
    pub name: Data,
    /// Channels, height, width of an image.
    pub shape: [usize; 3],
    /// Every published example is there; results on fewer are not comparable.
    pub is_complete: bool,
    /// Digest of the content.
    pub digest: String,
    /// Train, val and test.
    pub splits: Vec<SplitReport>,
    /// The files that it was read from; none where it is generated.
    pub files: Vec<FileReport>,
}

impl Report {
    pub(super) fn new(set: &DataSet, files: Vec<FileReport>) -> Report {
        let splits = [("train", &set.train), ("val", &set.val), ("test", &set.test)];
        Report {
            name: set.name,
            shape: set.shape,
            is_complete: set.is_complete(),
            digest: set.digest.clone(),
            splits: splits.map(|(name, split)| split_report(name, split, set.classes)).to_vec(),
            files,
        }
    }
}

fn split_report(name: &'static str, split: &Split, classes: usize) -> SplitReport {
    let mut class_counts = vec![0; classes];
    for label in &split.labels {
        class_counts[usize::from(*label)] += 1;
    }
    SplitReport { name, count: split.labels.len(), class_counts }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [channels, height, width] = self.shape;
        writeln!(f, "{}: {channels}x{height}x{width}", self.name.name())?;
        for file in &self.files {
            let path = file.path.display();
            let checked = if file.is_published { "" } else { ", not checked: a part of the file" };
            writeln!(f, "  {path}: {} bytes, MD5 {}{checked}", file.bytes, file.md5)?;
        }
        for split in &self.splits {
            let counts: Vec<String> = split.class_counts.iter().map(usize::to_string).collect();
            let counts = counts.join(" ");
            writeln!(f, "  {}: {} examples; per class {counts}", split.name, split.count)?;
        }
        if !self.is_complete {
            let Examples { train, validation, test, .. } = self.name.examples();
            writeln!(
                f,
                "  a subset: the full set has {train}, {validation} and {test} examples; results \
                 are not comparable with it"
            )?;
        }
        write!(f, "  digest {}", self.digest)
    }
}
