//! `cluttered-mnist`: pinned over digits made here, and over real MNIST where it lies.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use common::config::Data;
use common::data::{self, DataSet, Split, cluttered};

/// Digits of a plain pattern, different in each image and split.
fn digits(count: usize, salt: usize) -> Split {
    let pixel = |image: usize, at: usize| ((image * 31 + at * at * 7 + salt) % 256) as u8;
    let images = (0..count).flat_map(|image| (0..784).map(move |at| pixel(image, at))).collect();
    Split { images, labels: (0..count).map(|image| (image % 10) as u8).collect() }
}

fn mnist() -> DataSet {
    DataSet {
        name: Data::Mnist,
        shape: [1, 28, 28],
        classes: 10,
        train: digits(50, 1),
        val: digits(20, 2),
        test: digits(30, 3),
        digest: "of these digits".into(),
    }
}

fn content_digest(set: &DataSet) -> String {
    let mut hasher = blake3::Hasher::new();
    for split in [&set.train, &set.val, &set.test] {
        hasher.update(&split.images);
        hasher.update(&split.labels);
    }
    hasher.finalize().to_hex().to_string()
}

/// Other bytes are another recipe version.
#[test]
fn images_of_given_digits_are_pinned() {
    let source = mnist();
    let set = cluttered::generate(&source);
    assert_eq!((set.name, set.shape, set.classes), (Data::ClutteredMnist, [1, 60, 60], 10));
    for (split, digits) in
        [(&set.train, &source.train), (&set.val, &source.val), (&set.test, &source.test)]
    {
        assert_eq!(split.labels, digits.labels);
        assert_eq!(split.images.len(), digits.labels.len() * 3600);
    }
    assert_eq!(
        content_digest(&set),
        "661d9b0c476009ba2c051770ad655bd0ca07d12cf7bd713013a3c2a6b64defa2"
    );
}

/// The digest is that of the source and the recipe, so that other digits give another.
#[test]
fn the_digest_follows_the_source() {
    let source = mnist();
    assert_eq!(cluttered::generate(&source).digest, cluttered::digest(&source.digest));
    assert_eq!(
        cluttered::digest(&source.digest),
        "630e8da0a1813b1efd842c7b42686cc095b17e10f99c7fa643ab12b76efe29b6"
    );
    assert_ne!(cluttered::digest("of others"), cluttered::digest(&source.digest));
}

#[test]
fn images_of_real_mnist_are_pinned() {
    let Some(directory) = support::real("mnist") else { return };
    let set = data::load(Data::ClutteredMnist, Some(&directory)).unwrap();
    assert!(set.is_complete());
    assert_eq!(
        content_digest(&set),
        "83fd36ecc2fc4fb41ca2e72d58075987198d9e3b695149cb51ec76fb94803b37"
    );
    assert_eq!(set.digest, data::digest(Data::ClutteredMnist, Some(&directory)).unwrap());
    let report = data::check(Data::ClutteredMnist, Some(&directory)).unwrap();
    assert_eq!((report.digest, report.files.len()), (set.digest, 4));
}
