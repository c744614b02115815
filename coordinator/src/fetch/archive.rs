//! The published archive of CIFAR-10, unpacked. Of the archive only the content of the six expected
//! files is used, at most as much as they have: no path, link or mode of it reaches the disk.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use common::data::cifar10::{self, ARCHIVE_FOLDER, Expected, NAMES, RECORD_BYTES};
use common::telemetry::chain;
use flate2::read::MultiGzDecoder;
use tar::{Archive, EntryType};

use super::{FetchError, Refusal};

/// What the archive has besides the six files: names, headers, two small texts.
const REST_BYTES_MAX: u64 = 1 << 20;

/// Unpacks the six files into `folder`, which is made anew; all of them are right, or it fails.
pub(super) fn unpack(archive: &Path, folder: &Path, expected: &Expected) -> Result<(), Refusal> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(FetchError::disk("remove", folder)(error).into());
        }
        Ok(()) | Err(_) => {}
    }
    fs::create_dir_all(folder).map_err(FetchError::disk("make", folder))?;
    let unpacked = unpack_into(archive, folder, expected);
    if unpacked.is_err() {
        // What is left goes with the next attempt, at the latest.
        drop(fs::remove_dir_all(folder));
    }
    unpacked
}

fn unpack_into(archive: &Path, folder: &Path, expected: &Expected) -> Result<(), Refusal> {
    let file = File::open(archive).map_err(FetchError::disk("read", archive))?;
    let bytes_max = (NAMES.len() * expected.records * RECORD_BYTES) as u64 + REST_BYTES_MAX;
    let content = MultiGzDecoder::new(BufReader::new(file)).take(bytes_max);
    let damaged = |error: io::Error| Refusal::Content(format!("not a whole archive: {error}"));
    let mut found: [Option<PathBuf>; NAMES.len()] = Default::default();
    // Raw, so that no long name or extended header is gathered in memory.
    let mut archive = Archive::new(content);
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        let Some(index) = expected_index(&entry.path_bytes()) else { continue };
        let name = NAMES[index];
        if entry.header().entry_type() != EntryType::Regular {
            return Err(Refusal::Content(format!("`{name}` in the archive is not a file")));
        }
        if found[index].is_some() {
            return Err(Refusal::Content(format!("`{name}` is in the archive twice")));
        }
        let bytes = content_of(&mut entry, name, expected)?;
        let path = folder.join(name);
        let checked = cifar10::check_content(index, Path::new(name), &bytes, expected);
        checked.map_err(|error| Refusal::Content(chain(&error)))?;
        write(&path, &bytes).map_err(FetchError::disk("write", &path))?;
        found[index] = Some(path);
    }
    match found.iter().position(Option::is_none) {
        Some(index) => Err(Refusal::Content(format!("no `{}` in the archive", NAMES[index]))),
        None => Ok(()),
    }
}

/// The place in `NAMES` of a path in the archive.
fn expected_index(path: &[u8]) -> Option<usize> {
    let name = path.strip_prefix(ARCHIVE_FOLDER.as_bytes())?.strip_prefix(b"/")?;
    NAMES.iter().position(|expected| expected.as_bytes() == name)
}

fn content_of(
    entry: &mut (impl Read + Sized),
    name: &str,
    expected: &Expected,
) -> Result<Vec<u8>, Refusal> {
    let length = expected.records * RECORD_BYTES;
    let mut bytes = Vec::with_capacity(length);
    let read = entry.take(length as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Refusal::Content(format!("not a whole archive: {error}")))?;
    if bytes.len() == length {
        return Ok(bytes);
    }
    let found = if bytes.len() > length { "more" } else { "less" };
    Err(Refusal::Content(format!("`{name}` in the archive has {found} than {length} bytes")))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
