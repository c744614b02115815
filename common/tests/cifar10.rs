//! CIFAR-10: files made here for all that can be wrong, and the subset beside the repository.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use common::config::Data;
use common::data::cifar10::{self, ARCHIVE_FOLDER, Expected, NAMES, PUBLISHED, RECORD_BYTES};
use common::data::{self, DataError};
use flate2::Compression;
use flate2::write::GzEncoder;
use lzma_rust2::{XzOptions, XzWriter};
use md5::{Digest, Md5};
use proptest::prelude::*;
use tempfile::TempDir;

/// Records of a whole file here.
const RECORDS: usize = 4;

/// Every image is one value, 40 times the file's place and its index.
fn batch(place: usize, records: usize) -> Vec<u8> {
    let record = |index: usize| {
        let mut record = vec![(place * 40 + index) as u8; RECORD_BYTES];
        record[0] = (index % 10) as u8;
        record
    };
    (0..records).flat_map(record).collect()
}

fn md5(bytes: &[u8]) -> &'static str {
    let digits: String = Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    digits.leak()
}

fn expected() -> Expected {
    Expected { records: RECORDS, md5s: [0, 1, 2, 3, 4, 5].map(|place| md5(&batch(place, RECORDS))) }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = XzWriter::new(Vec::new(), XzOptions::with_preset(1)).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A data directory.
struct Folder(TempDir);

impl Folder {
    fn empty() -> Folder {
        let directory = TempDir::new().unwrap();
        fs::create_dir_all(directory.path().join("cifar-10").join(ARCHIVE_FOLDER)).unwrap();
        Folder(directory)
    }

    /// All six files, plain.
    fn whole() -> Folder {
        let folder = Folder::empty();
        for (place, name) in NAMES.into_iter().enumerate() {
            folder.put(name, &batch(place, RECORDS));
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("cifar-10").join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> &Folder {
        fs::write(self.path(name), bytes).unwrap();
        self
    }

    fn remove(&self, name: &str) -> &Folder {
        fs::remove_file(self.path(name)).unwrap();
        self
    }

    fn read(&self) -> Result<cifar10::Files, DataError> {
        cifar10::read(self.0.path(), &expected())
    }

    /// The error and its cause, with the directory's own path written as `DIR`.
    fn failure(&self) -> String {
        described(self.0.path(), &self.read().unwrap_err())
    }
}

fn described(directory: &Path, error: &DataError) -> String {
    let mut text = error.to_string();
    if let Some(source) = error.source() {
        text = format!("{text}: {source}");
    }
    text.replace(&directory.display().to_string(), "DIR")
}

#[test]
fn whole_files_are_split_and_permuted() {
    let files = Folder::whole().read().unwrap();
    assert!(files.is_complete());
    assert!(files.reports().iter().all(|report| report.is_published));
    let set = files.split();
    assert_eq!((set.name, set.shape, set.classes), (Data::Cifar10, [3, 32, 32], 10));
    assert_eq!((set.train.labels.len(), set.val.labels.len()), (16, 4));
    let mut values = Vec::new();
    for split in [&set.train, &set.val] {
        for (image, label) in split.images.chunks(3072).zip(&split.labels) {
            assert!(image.iter().all(|value| *value == image[0]), "an image stays whole");
            assert_eq!(image[0] % 40, *label, "an image keeps its label");
            values.push(image[0]);
        }
    }
    assert!(!values.is_sorted());
    values.sort_unstable();
    let all = (0..5).flat_map(|place| (0..4).map(move |index| place * 40 + index));
    assert_eq!(values, all.collect::<Vec<u8>>());
    assert_eq!(set.test.labels, [0, 1, 2, 3]);
    assert_eq!(
        set.test.images.chunks(3072).map(|image| image[0]).collect::<Vec<_>>(),
        [200, 201, 202, 203]
    );
    assert_eq!(set.digest, files.digest());
}

#[test]
fn every_form_and_place_gives_the_same() {
    let folder = Folder::whole();
    let plain = folder.read().unwrap().digest();
    folder.remove(NAMES[0]).put("data_batch_1.bin.gz", &gzip(&batch(0, RECORDS)));
    folder.remove(NAMES[5]).put("test_batch.bin.xz", &xz(&batch(5, RECORDS)));
    let below = format!("{ARCHIVE_FOLDER}/data_batch_2.bin");
    folder.remove(NAMES[1]).put(&below, &batch(1, RECORDS));
    let files = folder.read().unwrap();
    assert!(files.is_complete());
    assert_eq!(files.digest(), plain);
    assert!(files.reports()[1].path.ends_with(&below), "{files:?}");
}

#[test]
fn a_subset_is_accepted_and_is_not_complete() {
    let folder = Folder::empty();
    folder.put("data_batch_3.bin", &batch(2, RECORDS)).put("data_batch_5.bin", &batch(4, 2));
    folder.put("test_batch_2000.bin", &batch(5, 3));
    let files = folder.read().unwrap();
    assert!(!files.is_complete());
    let published: Vec<bool> = files.reports().iter().map(|file| file.is_published).collect();
    assert_eq!(published, [true, false, false]);
    let set = files.split();
    assert!(!set.is_complete());
    let counts = [&set.train, &set.val, &set.test].map(|split| split.labels.len());
    assert_eq!(counts, [5, 1, 3]);
    // The same records in other files are another subset.
    let other = Folder::empty();
    other.put("data_batch_3.bin", &batch(2, RECORDS)).put("data_batch_4.bin", &batch(4, 2));
    other.put("test_batch_2000.bin", &batch(5, 3));
    assert_ne!(other.read().unwrap().digest(), files.digest());
}

#[test]
fn absent_files_name_the_forms_and_the_command() {
    let rest = "in DIR/cifar-10; `coordinator data fetch cifar10` downloads it; for files that you \
                have, put them there, or name the directory that holds `cifar-10/` with --data or \
                GRADSWEEP_DATA";
    let train = "data set `cifar10`: no `data_batch_{1..5}.bin`, `data_batch_{1..5}.bin.gz` or \
                 `data_batch_{1..5}.bin.xz`";
    let folder = Folder::empty();
    assert_eq!(folder.failure(), format!("{train} {rest}"));
    folder.put(NAMES[5], &batch(5, 1));
    assert_eq!(folder.failure(), format!("{train} {rest}"));
    folder.remove(NAMES[5]).put(NAMES[0], &batch(0, RECORDS));
    let test =
        "data set `cifar10`: no `test_batch.bin`, `test_batch.bin.gz` or `test_batch.bin.xz`";
    assert_eq!(folder.failure(), format!("{test} {rest}"));
    let nowhere = Path::new("/nowhere");
    for result in [
        data::load(Data::Cifar10, Some(nowhere)).map(drop),
        data::digest(Data::Cifar10, Some(nowhere)).map(drop),
        data::check(Data::Cifar10, Some(nowhere)).map(drop),
    ] {
        assert!(matches!(result, Err(DataError::Absent { data: Data::Cifar10, .. })));
    }
}

#[test]
fn each_fault_of_a_file_is_named() {
    let mut label = batch(2, RECORDS);
    label[RECORD_BYTES * 3] = 10;
    let cases = [
        (Vec::new(), "DIR/cifar-10/data_batch_3.bin is empty"),
        (
            batch(2, RECORDS)[1..].to_vec(),
            "DIR/cifar-10/data_batch_3.bin has 12291 bytes of content, not a multiple of 3073 (a \
             label and an image)",
        ),
        (
            batch(2, RECORDS + 1),
            "DIR/cifar-10/data_batch_3.bin has bytes after its 12292 bytes of content",
        ),
        (label, "DIR/cifar-10/data_batch_3.bin has label 10 at index 3, expected 0 to 9"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(Folder::whole().put("data_batch_3.bin", &bytes).failure(), expected);
    }
    let other = batch(3, RECORDS);
    let text = Folder::whole().put("data_batch_3.bin", &other).failure();
    let (found, published) = (md5(&other), md5(&batch(2, RECORDS)));
    assert_eq!(
        text,
        format!(
            "DIR/cifar-10/data_batch_3.bin is not the published file: its content has MD5 {found}, \
             expected {published}"
        )
    );
}

#[test]
fn too_few_images_cannot_be_split() {
    let folder = Folder::empty();
    folder.put("data_batch_1.bin", &batch(0, 4)).put("test_batch.bin", &batch(5, 1));
    assert_eq!(folder.failure(), "DIR/cifar-10 has 4 training images, expected at least 5");
}

#[test]
fn the_same_file_twice_is_an_error() {
    let below = format!("{ARCHIVE_FOLDER}/data_batch_1.bin.xz");
    for name in ["data_batch_1.bin.gz", "data_batch_1.bin.xz", &below] {
        let folder = Folder::whole();
        assert_eq!(
            folder.put(name, b"whatever").failure(),
            format!(
                "DIR/cifar-10/data_batch_1.bin and DIR/cifar-10/{name} are the same file of the \
                 data set; remove one"
            )
        );
    }
    let text = Folder::whole().put("test_batch_2000.bin", &batch(5, 2)).failure();
    assert!(text.contains("test_batch.bin and DIR/cifar-10/test_batch_2000.bin are"), "{text}");
}

#[test]
fn damaged_compressed_files_are_named() {
    for (ending, kind, whole) in
        [("gz", "gzip", gzip(&batch(0, RECORDS))), ("xz", "xz", xz(&batch(0, RECORDS)))]
    {
        let folder = Folder::whole();
        folder.remove(NAMES[0]);
        let name = format!("data_batch_1.bin.{ending}");
        let mut trailing = whole.clone();
        trailing.extend(b"and more than the stream");
        let half = whole.len() / 2;
        for bytes in [&whole[..whole.len() - 1], &whole[..half], &[], b"plain text", &trailing] {
            let text = folder.put(&name, bytes).failure();
            let start = format!("DIR/cifar-10/{name} is not a whole {kind} file: ");
            assert!(text.starts_with(&start), "{text}");
        }
    }
}

/// Small files that would unpack to 64 MiB, and one whose header asks for a window of 4 GiB.
#[test]
fn bombs_are_not_unpacked() {
    let zeros = vec![0; 64 << 20];
    for (name, bytes) in
        [("data_batch_1.bin.gz", gzip(&zeros)), ("data_batch_1.bin.xz", xz(&zeros))]
    {
        let folder = Folder::whole();
        let text = folder.remove(NAMES[0]).put(name, &bytes).failure();
        assert!(text.ends_with("has bytes after its 12292 bytes of content"), "{text}");
    }
    let mut options = XzOptions::with_preset(1);
    options.lzma_options.dict_size = 200 << 20;
    let mut encoder = XzWriter::new(Vec::new(), options).unwrap();
    encoder.write_all(&batch(0, RECORDS)).unwrap();
    let folder = Folder::whole();
    folder.remove(NAMES[0]).put("data_batch_1.bin.xz", &encoder.finish().unwrap());
    let text = folder.failure();
    assert!(text.contains("is not a whole xz file: needed memory too big"), "{text}");
}

#[test]
fn a_directory_in_place_of_a_file_is_named() {
    let folder = Folder::whole();
    folder.remove(NAMES[2]);
    fs::create_dir(folder.path(NAMES[2])).unwrap();
    assert_eq!(folder.failure(), "DIR/cifar-10/data_batch_3.bin is not a file");
}

proptest! {
    /// Whatever happens to a file, its content is the same or there is an error, never a panic.
    #[test]
    fn changed_content_is_never_accepted(
        places in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4),
        form in 0..3_usize,
        cut in any::<bool>(),
    ) {
        let folder = Folder::whole();
        let content = batch(0, RECORDS);
        let (name, mut bytes) = match form {
            0 => ("data_batch_1.bin", content.clone()),
            1 => ("data_batch_1.bin.gz", gzip(&content)),
            _ => ("data_batch_1.bin.xz", xz(&content)),
        };
        let original = bytes.clone();
        for (place, flip) in places {
            let at = place.index(bytes.len());
            if cut {
                bytes.truncate(at.max(1));
            } else {
                bytes[at] ^= flip;
            }
        }
        folder.remove(NAMES[0]).put(name, &bytes);
        // Some bits of a gzip file carry nothing, so a change may leave the content whole; a file
        // cut after a record is a subset.
        match folder.read() {
            Ok(files) if files.is_complete() => {
                prop_assert_eq!(files.digest(), Folder::whole().read().unwrap().digest());
                prop_assert!(form > 0 || bytes == original);
            }
            Ok(_) => prop_assert!(cut && form == 0),
            Err(_) => {}
        }
    }
}

/// The first training file and 2,000 test images.
#[test]
fn the_real_subset_is_read_and_pinned() {
    let Some(directory) = support::real("cifar-10") else { return };
    let files = cifar10::read(&directory, &PUBLISHED).unwrap();
    if files.is_complete() {
        return eprintln!("skipped: the full set is there, not the subset");
    }
    let set = files.split();
    let counts = [&set.train, &set.val, &set.test].map(|split| split.labels.len());
    assert_eq!(counts, [8_000, 2_000, 2_000]);
    assert_eq!(set.test.labels[..10], [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]);
    assert_eq!(set.digest, "5657196e40940cb4f02bd301bdd06d074e7141d8767c145fbe432a00129893aa");
    // Another split of the same files is another recipe.
    let train = blake3::hash(&set.train.images).to_hex();
    assert_eq!(train.as_str(), "18a3be9eec757c93cc93ddbf6132878f7033008065a52b1e328542104c82af8e");
    let text = data::check(Data::Cifar10, Some(&directory)).unwrap().to_string();
    for expected in [
        "data_batch_1.bin.xz: 30730000 bytes, MD5 5dd7e06a14cb22eb9f671a540d1b7c25\n",
        "bytes, MD5 5eb6620f4afdc74b4e6ab8872105cc25, not checked: a part of the file\n",
        "  train: 8000 examples; per class ",
        "\n  a subset: the full set has 40000, 10000 and 10000 examples; results are not ",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
}
