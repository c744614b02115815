//! Files of a data set, plain and compressed, that somebody else made.
#![no_main]

use std::fs;
use std::path::Path;

use common::data::{cifar10, mnist};
use libfuzzer_sys::fuzz_target;

const FILES: [&str; 6] = [
    "mnist/train-images-idx3-ubyte",
    "mnist/train-images-idx3-ubyte.gz",
    "mnist/t10k-labels-idx1-ubyte.gz",
    "cifar-10/data_batch_1.bin",
    "cifar-10/data_batch_1.bin.gz",
    "cifar-10/test_batch.bin.xz",
];

fuzz_target!(|input: (u8, &[u8])| {
    let (file, bytes) = input;
    let folder = Path::new("/dev/shm").join(format!("gradsweep-data-{}", std::process::id()));
    for name in ["mnist", "cifar-10"] {
        fs::create_dir_all(folder.join(name)).expect("a folder");
    }
    fs::write(folder.join(FILES[usize::from(file) % FILES.len()]), bytes).expect("written");
    drop(mnist::read(&folder, &mnist::PUBLISHED));
    drop(cifar10::read(&folder, &cifar10::PUBLISHED));
    fs::remove_dir_all(&folder).expect("removed");
});
