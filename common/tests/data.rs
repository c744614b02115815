//! Data sets: real MNIST where it lies, handmade IDX files for all that can be wrong with it, and
//! `strokes` on every machine the same.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::Path;

use common::config::Data;
use common::data::mnist::{Expected, PUBLISHED, Part};
use common::data::{self, DataError, mnist};
use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use proptest::prelude::*;
use tempfile::TempDir;

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";
const TRAIN_COUNT: u32 = 12;
const TEST_COUNT: u32 = 3;

/// Every image is one value, the image's index times ten.
fn images(count: u32) -> Vec<u8> {
    let mut bytes: Vec<u8> = [2051, count, 28, 28].map(u32::to_be_bytes).concat();
    for index in 0..count {
        bytes.extend([(index * 10) as u8; 784]);
    }
    bytes
}

/// Labels 0, 1, …, 9, 0, …
fn labels(count: u32) -> Vec<u8> {
    let mut bytes: Vec<u8> = [2049, count].map(u32::to_be_bytes).concat();
    bytes.extend((0..count).map(|index| (index % 10) as u8));
    bytes
}

fn md5(bytes: &[u8]) -> &'static str {
    let digits: String = Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    digits.leak()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn expected() -> Expected {
    let part =
        |count| Part { count, images_md5: md5(&images(count)), labels_md5: md5(&labels(count)) };
    Expected { train: part(TRAIN_COUNT), test: part(TEST_COUNT) }
}

/// A data directory with a small, whole MNIST.
fn small() -> TempDir {
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("mnist")).unwrap();
    let files = [
        (TRAIN_IMAGES, images(TRAIN_COUNT)),
        (TRAIN_LABELS, labels(TRAIN_COUNT)),
        (TEST_IMAGES, images(TEST_COUNT)),
        (TEST_LABELS, labels(TEST_COUNT)),
    ];
    for (name, bytes) in files {
        fs::write(directory.path().join("mnist").join(name), bytes).unwrap();
    }
    directory
}

/// The error and its cause, with the directory's own path written as `DIR`.
fn failure(directory: &TempDir, expected: &Expected) -> String {
    let error = mnist::read(directory.path(), expected).unwrap_err();
    described(directory.path(), &error)
}

fn described(directory: &Path, error: &DataError) -> String {
    let mut text = error.to_string();
    if let Some(source) = error.source() {
        text = format!("{text}: {source}");
    }
    text.replace(&directory.display().to_string(), "DIR")
}

/// What reading says once `name` holds `bytes`.
fn failure_with(name: &str, bytes: &[u8]) -> String {
    let directory = small();
    fs::write(directory.path().join("mnist").join(name), bytes).unwrap();
    failure(&directory, &expected())
}

#[test]
fn whole_files_are_split_and_permuted() {
    let directory = small();
    let files = mnist::read(directory.path(), &expected()).unwrap();
    let set = files.split();
    assert_eq!((set.name, set.shape, set.classes), (Data::Mnist, [1, 28, 28], 10));
    assert_eq!((set.train.labels.len(), set.val.labels.len()), (10, 2));
    let mut values = Vec::new();
    for split in [&set.train, &set.val] {
        for (image, label) in split.images.chunks(784).zip(&split.labels) {
            assert!(image.iter().all(|pixel| *pixel == image[0]), "an image stays whole");
            assert_eq!(image[0] / 10 % 10, *label, "an image keeps its label");
            values.push(image[0]);
        }
    }
    values.sort_unstable();
    assert_eq!(values, (0..12).map(|index| index * 10).collect::<Vec<u8>>());
    assert_eq!(set.test.labels, [0, 1, 2]);
    assert_eq!(set.test.images, images(3)[16..]);
    assert_eq!(set.digest, files.digest());
}

#[test]
fn compressed_files_give_the_same_and_plain_ones_win() {
    let directory = small();
    let plain = mnist::read(directory.path(), &expected()).unwrap().digest();
    for name in [TRAIN_IMAGES, TEST_LABELS] {
        let path = directory.path().join("mnist").join(name);
        fs::write(path.with_file_name(format!("{name}.gz")), gzip(&fs::read(&path).unwrap()))
            .unwrap();
        fs::remove_file(path).unwrap();
    }
    let compressed = mnist::read(directory.path(), &expected()).unwrap().digest();
    assert_eq!(compressed, plain);

    let damaged = directory.path().join("mnist").join(format!("{TRAIN_LABELS}.gz"));
    fs::write(damaged, b"not read, since the plain file is there").unwrap();
    assert_eq!(mnist::read(directory.path(), &expected()).unwrap().digest(), plain);
}

#[test]
fn an_absent_file_says_where_it_is_expected() {
    let directory = small();
    fs::remove_file(directory.path().join("mnist").join(TEST_IMAGES)).unwrap();
    assert_eq!(
        failure(&directory, &expected()),
        "data set `mnist`: no `t10k-images-idx3-ubyte` or `t10k-images-idx3-ubyte.gz` in \
         DIR/mnist; `coordinator data fetch mnist` downloads it; for files that you have, put \
         them there, or name the directory that holds `mnist/` with --data or GRADSWEEP_DATA"
    );
}

#[test]
fn an_empty_directory_is_an_absent_data_set() {
    let directory = TempDir::new().unwrap();
    for result in [
        data::load(Data::Mnist, Some(directory.path())).map(drop),
        data::digest(Data::Mnist, Some(directory.path())).map(drop),
        data::check(Data::Mnist, Some(directory.path())).map(drop),
    ] {
        let text = described(directory.path(), &result.unwrap_err());
        assert!(text.starts_with("data set `mnist`: no `train-images-idx3-ubyte` or"), "{text}");
    }
}

#[test]
fn a_wrong_magic_number_is_named() {
    assert_eq!(
        failure_with(TRAIN_LABELS, &images(TRAIN_COUNT)),
        "DIR/mnist/train-labels-idx1-ubyte has magic number 0x00000803, expected 0x00000801 \
         (IDX labels)"
    );
    assert_eq!(
        failure_with(TRAIN_IMAGES, b"<html>404 not found</html>"),
        "DIR/mnist/train-images-idx3-ubyte has magic number 0x3c68746d, expected 0x00000803 \
         (IDX images)"
    );
}

#[test]
fn a_truncated_file_is_named() {
    let bytes = images(TRAIN_COUNT);
    assert_eq!(
        failure_with(TRAIN_IMAGES, &bytes[..bytes.len() - 1]),
        "DIR/mnist/train-images-idx3-ubyte is truncated: 9423 bytes of content, expected 9424"
    );
    assert_eq!(
        failure_with(TEST_LABELS, &[0, 0]),
        "DIR/mnist/t10k-labels-idx1-ubyte is truncated: 2 bytes of content, expected 11"
    );
    assert_eq!(
        failure_with(TRAIN_IMAGES, &[]),
        "DIR/mnist/train-images-idx3-ubyte is truncated: 0 bytes of content, expected 9424"
    );
}

#[test]
fn trailing_bytes_are_an_error() {
    let mut bytes = labels(TEST_COUNT);
    bytes.push(0);
    assert_eq!(
        failure_with(TEST_LABELS, &bytes),
        "DIR/mnist/t10k-labels-idx1-ubyte has bytes after its 11 bytes of content"
    );
}

#[test]
fn a_wrong_count_is_named() {
    assert_eq!(
        failure_with(TRAIN_LABELS, &labels(11)),
        "DIR/mnist/train-labels-idx1-ubyte has 11 labels, expected 12"
    );
    assert_eq!(
        failure(&small(), &PUBLISHED),
        "DIR/mnist/train-images-idx3-ubyte has 12 images, expected 60000"
    );
}

/// A header must not decide how much memory is taken.
#[test]
fn a_count_beyond_the_file_costs_nothing() {
    let header: Vec<u8> = [2051, u32::MAX, 28, 28].map(u32::to_be_bytes).concat();
    assert_eq!(
        failure_with(TRAIN_IMAGES, &header),
        "DIR/mnist/train-images-idx3-ubyte has 4294967295 images, expected 12"
    );
}

#[test]
fn a_wrong_image_size_is_named() {
    let header: Vec<u8> = [2051, TRAIN_COUNT, 32, 28].map(u32::to_be_bytes).concat();
    assert_eq!(
        failure_with(TRAIN_IMAGES, &header),
        "DIR/mnist/train-images-idx3-ubyte has images of 32x28, expected 28x28"
    );
}

#[test]
fn a_label_that_is_no_class_is_named() {
    let mut bytes = labels(TRAIN_COUNT);
    bytes[8 + 5] = 10;
    assert_eq!(
        failure_with(TRAIN_LABELS, &bytes),
        "DIR/mnist/train-labels-idx1-ubyte has label 10 at index 5, expected 0 to 9"
    );
}

#[test]
fn other_content_of_the_same_form_fails_its_checksum() {
    let mut bytes = images(TRAIN_COUNT);
    bytes[100] ^= 1;
    let found = md5(&bytes);
    let published = md5(&images(TRAIN_COUNT));
    assert_eq!(
        failure_with(TRAIN_IMAGES, &bytes),
        format!(
            "DIR/mnist/train-images-idx3-ubyte is not the published file: its content has MD5 \
             {found}, expected {published}"
        )
    );
}

/// What reading says of the test labels as `bytes` in a `.gz`.
fn failure_with_gzip(bytes: &[u8]) -> String {
    let directory = small();
    let plain = directory.path().join("mnist").join(TEST_LABELS);
    fs::remove_file(&plain).unwrap();
    fs::write(plain.with_file_name(format!("{TEST_LABELS}.gz")), bytes).unwrap();
    failure(&directory, &expected())
}

#[test]
fn a_damaged_gzip_file_is_named() {
    let whole = gzip(&labels(TEST_COUNT));
    let mut wrong_sum = whole.clone();
    let at = wrong_sum.len() - 8;
    wrong_sum[at] ^= 1;
    let mut trailing = whole.clone();
    trailing.extend(b"and more than the stream");
    let cases = [&whole[..whole.len() - 1], &whole[..5], &[], b"plain text", &wrong_sum, &trailing];
    for bytes in cases {
        let text = failure_with_gzip(bytes);
        let start = "DIR/mnist/t10k-labels-idx1-ubyte.gz is not a whole gzip file: ";
        assert!(text.starts_with(start), "{bytes:?}: {text}");
    }
}

/// A small file that would unpack to 8 MiB is given up at the first byte too many.
#[test]
fn a_gzip_bomb_is_not_unpacked() {
    let mut bytes = labels(TEST_COUNT);
    bytes.resize(8 << 20, 0);
    assert_eq!(
        failure_with_gzip(&gzip(&bytes)),
        "DIR/mnist/t10k-labels-idx1-ubyte.gz has bytes after its 11 bytes of content"
    );
}

#[test]
fn a_directory_in_place_of_a_file_is_named() {
    let directory = small();
    let path = directory.path().join("mnist").join(TRAIN_LABELS);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(failure(&directory, &expected()), "DIR/mnist/train-labels-idx1-ubyte is not a file");
}

#[cfg(unix)]
#[test]
fn an_unreadable_file_gives_the_reason() {
    let directory = small();
    let path = directory.path().join("mnist").join(TRAIN_LABELS);
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&path, &path).unwrap();
    let text = failure(&directory, &expected());
    let start = "could not read DIR/mnist/train-labels-idx1-ubyte: ";
    assert!(text.starts_with(start) && text.len() > start.len(), "{text}");
}

proptest! {
    /// Whatever happens to a file, its content is the same or there is an error.
    #[test]
    fn changed_content_is_never_accepted(
        place in any::<prop::sample::Index>(),
        flip in 1_u8..,
        (compressed, cut) in any::<(bool, bool)>(),
    ) {
        let directory = small();
        let plain = directory.path().join("mnist").join(TEST_LABELS);
        let mut bytes = labels(TEST_COUNT);
        let mut path = plain.clone();
        if compressed {
            fs::remove_file(&plain).unwrap();
            path = plain.with_file_name(format!("{TEST_LABELS}.gz"));
            bytes = gzip(&bytes);
        }
        let at = place.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= flip;
        }
        fs::write(path, bytes).unwrap();
        // Some bits of a gzip file carry nothing, so a change may leave the content whole.
        if let Ok(files) = mnist::read(directory.path(), &expected()) {
            prop_assert!(compressed && !cut);
            prop_assert_eq!(&files.split().test.labels, &[0, 1, 2]);
        }
    }
}

#[test]
fn strokes_is_balanced_and_known_beforehand() {
    let report = data::check(Data::Strokes, None).unwrap();
    // Computed from the images made here. Other bytes are another recipe version.
    assert_eq!(report.digest, "a7108a319defd6fd9bef8e2f0d4f181e26182c342f2ff6b53ec11eaf89df68cd");
    assert_eq!(report.digest, data::digest(Data::Strokes, None).unwrap());
    assert_eq!(report.files, []);
    let counts = [("train", 10_000), ("val", 2_000), ("test", 2_000)];
    for (split, (name, count)) in report.splits.iter().zip(counts) {
        assert_eq!((split.name, split.count), (name, count));
        assert_eq!(split.class_counts, vec![count / 10; 10]);
    }
    let text = report.to_string();
    assert!(text.starts_with("strokes: 1x28x28\n  train: 10000 examples; per class 1000 "));
}

#[test]
fn real_mnist_has_its_published_checksums_and_pinned_splits() {
    let Some(directory) = support::real("mnist") else { return };
    let files = mnist::read(&directory, &PUBLISHED).unwrap();
    let set = files.split();
    assert_eq!(set.digest, "9c2782a4ace77336e9cb6e94c646a791ac2c14626e0d64647dc3757017eac84a");
    let md5s = files.reports().into_iter().map(|file| file.md5);
    let Expected { train, test } = PUBLISHED;
    assert!(md5s.eq([train.images_md5, train.labels_md5, test.images_md5, test.labels_md5]));
    let counts = [&set.train, &set.val, &set.test].map(|split| split.labels.len());
    assert_eq!(counts, [50_000, 10_000, 10_000]);
    assert_eq!(set.test.labels[..10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
    assert_eq!(set.train.labels[..10], [4, 6, 9, 4, 4, 1, 9, 1, 9, 8]);
    // Another split of the same files is another recipe.
    let train = blake3::hash(&set.train.images).to_hex();
    assert_eq!(train.as_str(), "055658e1febe75d5569ec12c1c4b6b54af21fdcc24d77ec8a8ebde83a0c140a9");
}
