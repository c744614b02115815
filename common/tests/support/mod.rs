//! Real data sets, for tests that pin what is made of them.

use std::path::{Path, PathBuf};

use common::data;

/// The data directory, if it has this folder: `GRADSWEEP_DATA`, or the one beside the repository.
/// Says so where a test cannot run.
pub fn real(folder: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let directory = std::env::var_os(data::DIRECTORY_VARIABLE).map_or(beside, PathBuf::from);
    if directory.join(folder).is_dir() {
        return Some(directory);
    }
    eprintln!("skipped: no {folder}/ in GRADSWEEP_DATA or ../shared/data");
    None
}
