//! The sweep files of the repository: each loads, whole and with its `small` overlay, without a
//! warning, and carries its claims.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use common::spec::{Options, load};

#[test]
fn every_sweep_file_loads_whole_and_small() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sweeps");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        for overlay in [None, Some("small".to_owned())] {
            let options = Options { overlay: overlay.clone(), ..Options::default() };
            let (sweep, warnings) =
                load(&text, &name, &options).unwrap_or_else(|errors| panic!("{errors}"));
            let expected = overlay.map_or(name.clone(), |overlay| format!("{name}-{overlay}"));
            assert_eq!(sweep.name.as_str(), expected);
            assert!(warnings.is_empty(), "{name}: {}", warnings[0]);
            assert!(!sweep.expect.is_empty(), "{name} states what it expects");
        }
        names.push(name);
    }
    names.sort();
    let expected = [
        "batchnorm",
        "combining",
        "convolutions",
        "depth",
        "dropout",
        "dropout-probe",
        "grelu",
        "pooling",
        "quickstart",
        "recurrent",
        "stn",
    ];
    assert_eq!(names, expected);
}
