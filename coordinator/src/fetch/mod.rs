//! `data fetch`: the only part of the programs that downloads.
//!
//! `plan` decides, purely; `http` asks mirrors, `part` keeps what has come, `archive` unpacks. What
//! arrives gets its name only when its decompressed content is the published one, and nothing that
//! lies there already is overwritten. Blocks; for a thread of its own.

mod archive;
mod error;
mod http;
mod part;
mod plan;

use std::fs;
use std::path::{Path, PathBuf};

use common::config::Data;
use common::data::{DataError, cifar10, mnist};
use common::telemetry::chain;

pub use error::{Failure, FetchError};
pub use http::Timeouts;

use error::Refusal;
use http::Client;
use part::Part;
use plan::{Request, Step};

const MNIST_MIRRORS: [&str; 2] = [
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
];
const CIFAR10_MIRRORS: [&str; 1] = ["https://www.cs.toronto.edu/~kriz"];
const CIFAR10_ARCHIVE: &str = "cifar-10-binary.tar.gz";

/// A mirror that breaks off is asked for the rest this often, as long as it sends something.
const ATTEMPTS_MAX: usize = 5;

/// Where from and where to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data directory.
    pub directory: PathBuf,
    /// Addresses of folders with the files, in the order in which they are asked; empty: those that
    /// are well known.
    pub mirrors: Vec<String>,
    /// How long a mirror may be silent.
    pub timeouts: Timeouts,
}

/// Whoever watches a download.
pub trait Watch {
    /// Bytes of `file` begin to arrive; `held` are here, of `length` where that is known.
    fn begin(&mut self, file: &str, held: u64, length: Option<u64>);
    /// That many more have arrived.
    fn advance(&mut self, bytes: u64);
    /// No more arrive for now.
    fn end(&mut self);
    /// Something happened, in a line.
    fn say(&mut self, line: &str);
}

/// What fetching came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fetched {
    /// The data set is drawn by the program.
    Generated,
    /// All of it was there and right.
    Present(PathBuf),
    /// These files were downloaded to this folder.
    Downloaded(PathBuf, Vec<String>),
}

/// Makes sure that the files of a data set are there and right.
pub fn fetch(
    data: Data,
    settings: &Settings,
    watch: &mut dyn Watch,
) -> Result<Fetched, FetchError> {
    match data {
        Data::Mnist | Data::ClutteredMnist => fetch_mnist(settings, &mnist::PUBLISHED, watch),
        Data::Cifar10 => fetch_cifar10(settings, &cifar10::PUBLISHED, watch),
        Data::Strokes => Ok(Fetched::Generated),
    }
}

/// MNIST's four files, each where it is missing.
pub fn fetch_mnist(
    settings: &Settings,
    expected: &mnist::Expected,
    watch: &mut dyn Watch,
) -> Result<Fetched, FetchError> {
    let folder = mnist::folder(&settings.directory);
    let wrong = FetchError::present;
    let mut missing = Vec::new();
    for file in expected.files() {
        match file.find(&folder).map_err(wrong)? {
            Some(path) => file.check(&path).map_err(wrong)?,
            None => missing.push(file),
        }
    }
    if missing.is_empty() {
        return Ok(Fetched::Present(folder));
    }
    let download = Download::new(settings, &MNIST_MIRRORS);
    let mut names = Vec::new();
    for file in missing {
        let name = format!("{}.gz", file.name);
        let mut accept = |path: &Path| {
            file.check_gzip(path).map_err(|error| Refusal::Content(wrong_content(&error, path)))
        };
        // Compressed, it is hardly ever longer than plain.
        let bytes_max = file.bytes() + file.bytes() / 100 + 4096;
        let part = download.run(&folder, &name, bytes_max, watch, &mut accept)?;
        part.finish(&folder.join(&name))?;
        names.push(name);
    }
    Ok(Fetched::Downloaded(folder, names))
}

/// CIFAR-10's six files, from its archive, where none is there.
pub fn fetch_cifar10(
    settings: &Settings,
    expected: &cifar10::Expected,
    watch: &mut dyn Watch,
) -> Result<Fetched, FetchError> {
    let folder = cifar10::folder(&settings.directory);
    let target = folder.join(cifar10::ARCHIVE_FOLDER);
    if let Some(path) = cifar10::any_file(&settings.directory).map_err(FetchError::present)? {
        let files = cifar10::read(&settings.directory, expected);
        return match files {
            Ok(files) if files.is_complete() => Ok(Fetched::Present(folder)),
            Ok(_) | Err(DataError::Absent { .. }) => Err(FetchError::Subset { path }),
            Err(error) => Err(FetchError::present(error)),
        };
    }
    // An empty folder is replaced; what else may be in it is not ours.
    if fs::read_dir(&target).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(FetchError::InTheWay { path: target });
    }
    let staging = part::with_ending(&target, ".partial");
    let mut accept = |path: &Path| archive::unpack(path, &staging, expected);
    let content_bytes = (cifar10::NAMES.len() * expected.records * cifar10::RECORD_BYTES) as u64;
    let bytes_max = content_bytes + content_bytes / 100 + (1 << 20);
    let download = Download::new(settings, &CIFAR10_MIRRORS);
    let part = download.run(&folder, CIFAR10_ARCHIVE, bytes_max, watch, &mut accept)?;
    part::sync_folder(&staging.join(cifar10::NAMES[0]))?;
    fs::rename(&staging, &target).map_err(FetchError::disk("write", &target))?;
    part::sync_folder(&target)?;
    part.remove()?;
    Ok(Fetched::Downloaded(folder, vec![CIFAR10_ARCHIVE.into()]))
}

/// The name of the part means nothing to whoever reads which mirror was wrong.
fn wrong_content(error: &DataError, path: &Path) -> String {
    chain(error).replace(&path.display().to_string(), "what it sent")
}

type Accept<'a> = &'a mut dyn FnMut(&Path) -> Result<(), Refusal>;

/// How a mirror failed.
enum Trouble {
    /// In words; another may do better.
    Mirror(String),
    /// No mirror can help.
    Here(FetchError),
}

impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Trouble {
        Trouble::Here(error)
    }
}

struct Download {
    client: Client,
    mirrors: Vec<String>,
}

impl Download {
    fn new(settings: &Settings, well_known: &[&str]) -> Download {
        let mirrors = match settings.mirrors.is_empty() {
            true => well_known.iter().map(ToString::to_string).collect(),
            false => settings.mirrors.clone(),
        };
        Download { client: Client::new(settings.timeouts), mirrors }
    }

    /// Downloads a file from the first mirror whose bytes are accepted.
    fn run(
        &self,
        folder: &Path,
        name: &str,
        bytes_max: u64,
        watch: &mut dyn Watch,
        accept: Accept<'_>,
    ) -> Result<Part, FetchError> {
        let mut part = Part::open(folder, name)?;
        let mut failures = Vec::new();
        for url in plan::addresses(&self.mirrors, name) {
            for _ in 0..ATTEMPTS_MAX {
                let held = part.held;
                let mut transfer = Transfer { part: &mut part, name, bytes_max, watch };
                let (reason, again) = match self.attempt(&url, &mut transfer, accept) {
                    Ok(()) => return Ok(part),
                    Err(Trouble::Here(error)) => return Err(error),
                    Err(Trouble::Mirror(reason)) => {
                        // Only what can be continued is worth another attempt.
                        let rest = plan::request(&url, part.held, part.source.as_ref());
                        let grown = part.held > held && matches!(rest, Request::Rest { .. });
                        // What was joined and is wrong may be right as a whole.
                        (reason, grown || (held > 0 && part.held == 0))
                    }
                };
                watch.say(&format!("{url}: {reason}"));
                failures.push(Failure { url: url.clone(), reason });
                if !again {
                    break;
                }
            }
        }
        if part.held == 0 {
            part.remove()?;
        }
        Err(FetchError::Mirrors { name: name.into(), folder: folder.into(), failures })
    }

    /// Takes what is missing from one mirror and checks the whole; wrong bytes do not stay.
    fn attempt(
        &self,
        url: &str,
        transfer: &mut Transfer<'_>,
        accept: Accept<'_>,
    ) -> Result<(), Trouble> {
        let part = &transfer.part;
        let mut request = plan::request(url, part.held, part.source.as_ref());
        if request != Request::Nothing {
            let (mut head, mut reply) = self.get(url, &request)?;
            let mut step = plan::step(url, &request, &head);
            if step == Step::Again {
                request = Request::Whole;
                (head, reply) = self.get(url, &request)?;
                step = plan::step(url, &request, &head);
            }
            let length = match step {
                Step::Write(source) => {
                    transfer.part.restart(source)?;
                    head.length
                }
                Step::Append => head.length.map(|length| transfer.part.held.saturating_add(length)),
                Step::Again => return Err(Trouble::Mirror("sent a part of another file".into())),
                Step::Refused(status) => return Err(Trouble::Mirror(status_text(status))),
            };
            transfer.receive(reply, length)?;
        }
        transfer.part.sync()?;
        match accept(&transfer.part.path) {
            Ok(()) => Ok(()),
            Err(Refusal::Failed(error)) => Err(Trouble::Here(error)),
            Err(Refusal::Content(reason)) => {
                transfer.part.clear()?;
                Err(Trouble::Mirror(reason))
            }
        }
    }

    fn get(&self, url: &str, request: &Request) -> Result<(plan::Head, http::Reply), Trouble> {
        self.client.get(url, request).map_err(Trouble::Mirror)
    }
}

fn status_text(status: u16) -> String {
    let reason = ureq::http::StatusCode::from_u16(status).ok();
    let reason = reason.and_then(|status| status.canonical_reason()).unwrap_or_default();
    format!("HTTP status {status} {reason}").trim_end().to_owned()
}

/// A file on its way.
struct Transfer<'a> {
    part: &'a mut Part,
    name: &'a str,
    bytes_max: u64,
    watch: &'a mut dyn Watch,
}

impl Transfer<'_> {
    /// Takes the bytes of an answer after those that are here, to be `length` in all.
    fn receive(&mut self, reply: http::Reply, length: Option<u64>) -> Result<(), Trouble> {
        let Transfer { part, name, bytes_max, watch } = self;
        let too_many = || Trouble::Mirror(format!("sends more than {bytes_max} bytes"));
        if length.is_some_and(|length| length > *bytes_max) {
            return Err(too_many());
        }
        watch.begin(name, part.held, length);
        let received = reply.read(|bytes| {
            if part.held + bytes.len() as u64 > *bytes_max {
                return Err(too_many());
            }
            watch.advance(bytes.len() as u64);
            part.append(bytes).map_err(Trouble::Here)
        });
        watch.end();
        let held = part.held;
        match (received?, length) {
            (Err(reason), Some(length)) => {
                Err(Trouble::Mirror(format!("{reason}, after {held} of {length} bytes")))
            }
            (Err(reason), None) => Err(Trouble::Mirror(format!("{reason}, after {held} bytes"))),
            (Ok(()), Some(length)) if held != length => {
                Err(Trouble::Mirror(format!("sent {held} bytes of {length}")))
            }
            (Ok(()), Some(_) | None) => Ok(()),
        }
    }
}
