//! A data set's file, plain or compressed, read up to a bound that the caller knows: no byte of a
//! file decides how much memory is taken, so a damaged or hostile one costs nothing.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;

use super::DataError;

/// Bytes of one read from the file.
const BUFFER_BYTES: usize = 256 * 1024;
/// Enough for `xz -9`, whose window is 64 MiB; a header may ask for 4 GiB.
const XZ_MEMORY_KIB_MAX: u32 = 96 * 1024;

/// How a file is compressed, which the ending of its name says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// Not at all.
    Plain,
    /// `.gz`, of one or more members.
    Gzip,
    /// `.xz`, of one or more streams.
    Xz,
}

impl Form {
    const fn ending(self) -> &'static str {
        match self {
            Form::Plain => "",
            Form::Gzip => ".gz",
            Form::Xz => ".xz",
        }
    }

    /// The form of a file of this name.
    pub fn of(path: &Path) -> Form {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Form::Gzip,
            Some("xz") => Form::Xz,
            Some(_) | None => Form::Plain,
        }
    }
}

/// A file of a data set that is present.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Located {
    pub path: PathBuf,
    pub form: Form,
}

/// The files in the folder that are `name` in one of these forms, in the forms' order.
pub(super) fn locate(folder: &Path, name: &str, forms: &[Form]) -> Result<Vec<Located>, DataError> {
    let mut found = Vec::new();
    for form in forms.iter().copied() {
        let path = folder.join(format!("{name}{}", form.ending()));
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => found.push(Located { path, form }),
            Ok(_) => return Err(DataError::NotAFile { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // A file where the folder should be.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
            Err(source) => return Err(DataError::Unreadable { path, source }),
        }
    }
    Ok(found)
}

/// The uncompressed content, of which no more than `bytes_max` bytes are taken.
pub(super) fn content(located: &Located, bytes_max: u64) -> Result<Vec<u8>, DataError> {
    let path = || located.path.clone();
    let unreadable = |source| DataError::Unreadable { path: path(), source };
    let file = File::open(&located.path).map_err(unreadable)?;
    let reader = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut bytes = Vec::new();
    let (result, kind) = match located.form {
        Form::Plain => {
            reader.take(bytes_max).read_to_end(&mut bytes).map_err(unreadable)?;
            return Ok(bytes);
        }
        Form::Gzip => (MultiGzDecoder::new(reader).take(bytes_max).read_to_end(&mut bytes), "gzip"),
        Form::Xz => {
            let decoder = XzReader::new_mem_limit(reader, true, XZ_MEMORY_KIB_MAX);
            (decoder.take(bytes_max).read_to_end(&mut bytes), "xz")
        }
    };
    match result {
        Ok(_) => Ok(bytes),
        Err(source) if is_damage(&source) => Err(DataError::Damaged { path: path(), kind, source }),
        Err(source) => Err(unreadable(source)),
    }
}

/// Whether the decoder itself reports this; other errors come from the file.
fn is_damage(error: &io::Error) -> bool {
    let kinds = [
        io::ErrorKind::InvalidData,
        io::ErrorKind::InvalidInput,
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::Unsupported,
        io::ErrorKind::OutOfMemory,
        io::ErrorKind::Other,
    ];
    error.raw_os_error().is_none() && kinds.contains(&error.kind())
}
