//! `data fetch` against a server here: whole and broken downloads, several mirrors, archives.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod server;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::config::Data;
use common::data::{cifar10, mnist};
use common::telemetry::chain;
use coordinator::fetch::{
    self, FetchError, Fetched, Settings, Timeouts, Watch, fetch_cifar10, fetch_mnist,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use server::{Answer, Asked, Server};
use tempfile::TempDir;

/// Long enough that no working answer meets it on a busy machine.
const PATIENT: Timeouts =
    Timeouts { connect: Duration::from_secs(60), stall: Duration::from_secs(60) };
const NAMES: [&str; 4] = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
];

fn md5(bytes: &[u8]) -> &'static str {
    let digits: String = Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    digits.leak()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    // Not compressed, so that a cut anywhere leaves something to continue.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn images(count: u32) -> Vec<u8> {
    let mut bytes: Vec<u8> = [2051, count, 28, 28].map(u32::to_be_bytes).concat();
    bytes.extend((0..count * 784).map(|at| (at % 251) as u8));
    bytes
}

fn labels(count: u32) -> Vec<u8> {
    let mut bytes: Vec<u8> = [2049, count].map(u32::to_be_bytes).concat();
    bytes.extend((0..count).map(|index| (index % 10) as u8));
    bytes
}

/// The four files of a small MNIST, as a mirror has them.
fn files() -> [Vec<u8>; 4] {
    [gzip(&images(12)), gzip(&labels(12)), gzip(&images(3)), gzip(&labels(3))]
}

fn small_mnist() -> mnist::Expected {
    let part = |count| mnist::Part {
        count,
        images_md5: md5(&images(count)),
        labels_md5: md5(&labels(count)),
    };
    mnist::Expected { train: part(12), test: part(3) }
}

fn whole(bytes: &[u8]) -> Answer {
    Answer::File { bytes: bytes.to_vec(), etag: "\"one\"" }
}

/// A mirror with a small MNIST.
fn mirror() -> Server {
    let server = Server::new();
    for (name, bytes) in NAMES.iter().zip(files()) {
        server.answers(&format!("/{name}"), vec![whole(&bytes)]);
    }
    server
}

/// Keeps what it is told.
#[derive(Default)]
struct Told {
    lines: Vec<String>,
    begun: Vec<(String, u64, Option<u64>)>,
    bytes: u64,
}

impl Watch for Told {
    fn begin(&mut self, file: &str, held: u64, length: Option<u64>) {
        self.begun.push((file.to_owned(), held, length));
    }

    fn advance(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    fn end(&mut self) {}

    fn say(&mut self, line: &str) {
        self.lines.push(line.to_owned());
    }
}

/// A data directory, and what a fetch into it came to.
struct Bench {
    directory: TempDir,
    told: Told,
}

impl Bench {
    fn new() -> Bench {
        Bench { directory: TempDir::new().unwrap(), told: Told::default() }
    }

    fn settings(&self, mirrors: &[&Server], timeouts: Timeouts) -> Settings {
        let mirrors = mirrors.iter().map(|server| server.url.clone()).collect();
        Settings { directory: self.directory.path().to_owned(), mirrors, timeouts }
    }

    fn mnist(&mut self, mirrors: &[&Server]) -> Result<Fetched, FetchError> {
        fetch_mnist(&self.settings(mirrors, PATIENT), &small_mnist(), &mut self.told)
    }

    fn cifar10(&mut self, archive: Vec<u8>) -> Result<Fetched, FetchError> {
        let server = Server::new();
        server.answers("/cifar-10-binary.tar.gz", vec![whole(&archive)]);
        fetch_cifar10(&self.settings(&[&server], PATIENT), &small_cifar10(), &mut self.told)
    }

    /// Every file below the data directory.
    fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(self.directory.path(), &mut found);
        let below =
            |path: PathBuf| path.strip_prefix(self.directory.path()).unwrap().display().to_string();
        let mut found: Vec<String> = found.into_iter().map(below).collect();
        found.sort();
        found
    }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

fn text(error: &FetchError, servers: &[&Server]) -> String {
    let mut text = chain(error);
    for (index, server) in servers.iter().enumerate() {
        text = text.replace(&server.url, &format!("MIRROR{index}"));
    }
    text
}

fn asked(name: &str, range: Option<&str>, if_range: Option<&str>) -> Asked {
    Asked {
        path: format!("/{name}"),
        range: range.map(Into::into),
        if_range: if_range.map(Into::into),
    }
}

#[test]
fn everything_is_downloaded_once() {
    let (mut bench, server) = (Bench::new(), mirror());
    let folder = bench.directory.path().join("mnist");
    let fetched = bench.mnist(&[&server]).unwrap();
    assert_eq!(fetched, Fetched::Downloaded(folder.clone(), NAMES.map(Into::into).to_vec()));
    let mut names = NAMES.map(|name| format!("mnist/{name}"));
    names.sort();
    assert_eq!(bench.files(), names);
    let length: usize = files().iter().map(Vec::len).sum();
    assert_eq!((bench.told.bytes, bench.told.begun.len()), (length as u64, 4));
    mnist::read(bench.directory.path(), &small_mnist()).unwrap();
    // And again: nothing is asked for.
    assert_eq!(bench.mnist(&[&server]).unwrap(), Fetched::Present(folder.clone()));
    assert_eq!(server.asked().len(), 4);
    // A file that is missing is all that comes.
    fs::remove_file(folder.join(NAMES[1])).unwrap();
    let fetched = bench.mnist(&[&server]).unwrap();
    assert_eq!(fetched, Fetched::Downloaded(folder, vec![NAMES[1].into()]));
    assert_eq!(server.asked().len(), 5);
}

#[test]
fn a_download_that_breaks_off_goes_on_from_there() {
    let (mut bench, server) = (Bench::new(), mirror());
    let bytes = files()[0].clone();
    let cut = Answer::Cut { bytes: bytes.clone(), etag: "\"one\"", after: 5000 };
    server.answers(&format!("/{}", NAMES[0]), vec![cut, whole(&bytes)]);
    bench.mnist(&[&server]).unwrap();
    let expected =
        [asked(NAMES[0], None, None), asked(NAMES[0], Some("bytes=5000-"), Some("\"one\""))];
    assert_eq!(server.asked()[..2], expected);
    let length = bytes.len() as u64;
    assert_eq!(bench.told.begun[1], (NAMES[0].to_owned(), 5000, Some(length)));
    let line = format!("closed the connection before the end, after 5000 of {length} bytes");
    assert!(bench.told.lines[0].ends_with(&line), "{:?}", bench.told.lines);
}

/// The part of one call is continued by the next.
#[test]
fn a_later_call_goes_on_where_the_first_ended() {
    let (mut bench, server) = (Bench::new(), mirror());
    let bytes = files()[0].clone();
    let path = format!("/{}", NAMES[0]);
    let cut = Answer::Cut { bytes: bytes.clone(), etag: "\"one\"", after: 5000 };
    server.answers(&path, vec![cut, Answer::Status(503)]);
    let error = bench.mnist(&[&server]).unwrap_err();
    assert!(text(&error, &[&server]).contains("HTTP status 503 Service Unavailable"), "{error}");
    let part = format!("mnist/{}.partial", NAMES[0]);
    assert_eq!(bench.files(), [part.clone(), format!("{part}.source")]);
    server.answers(&path, vec![whole(&bytes)]);
    bench.mnist(&[&server]).unwrap();
    let expected = asked(NAMES[0], Some("bytes=5000-"), Some("\"one\""));
    assert_eq!(server.asked()[2], expected);
    assert_eq!(bench.files().len(), 4);
}

/// A part that is whole, left by a process that ended before its check, is not asked for.
#[test]
fn a_whole_part_is_only_checked() {
    let (mut bench, server) = (Bench::new(), mirror());
    let folder = bench.directory.path().join("mnist");
    fs::create_dir(&folder).unwrap();
    let bytes = &files()[0];
    fs::write(folder.join(format!("{}.partial", NAMES[0])), bytes).unwrap();
    let source = serde_json::json!({
        "url": format!("{}/{}", server.url, NAMES[0]), "validator": null, "length": bytes.len()
    });
    fs::write(folder.join(format!("{}.partial.source", NAMES[0])), source.to_string()).unwrap();
    bench.mnist(&[&server]).unwrap();
    assert_eq!(server.asked().len(), 3);
    assert_eq!(bench.files().len(), 4);
}

/// Each case: what the second request is answered with, after a part of the first file came.
#[test]
fn parts_of_different_files_are_never_joined() {
    let bytes = files()[0].clone();
    let newer = Answer::File { bytes: bytes.clone(), etag: "\"two\"" };
    let other = Answer::OtherPart { first: 4000, bytes: bytes[4000..].to_vec() };
    let cases: [(Vec<Answer>, usize); 4] = [
        // It has changed meanwhile, so that If-Range gives the whole.
        (vec![newer], 2),
        (vec![Answer::NoRanges(bytes.clone())], 2),
        // It begins elsewhere: asked again, for everything.
        (vec![other, whole(&bytes)], 3),
        (vec![Answer::Status(416), whole(&bytes)], 3),
    ];
    for (answers, requests) in cases {
        let (mut bench, server) = (Bench::new(), mirror());
        // Another file of the same length.
        let cut = Answer::Cut { bytes: vec![7; bytes.len()], etag: "\"old\"", after: 5000 };
        let answers = [vec![cut], answers].concat();
        server.answers(&format!("/{}", NAMES[0]), answers.clone());
        bench.mnist(&[&server]).unwrap();
        assert_eq!(server.asked().len(), requests + 3, "{answers:?}");
    }
}

/// A mirror that sends the rest of other bytes under the same name: seen by the checksum, and
/// downloaded anew.
#[test]
fn what_was_joined_wrongly_is_downloaded_whole() {
    let (mut bench, server) = (Bench::new(), mirror());
    let bytes = files()[0].clone();
    let cut = Answer::Cut { bytes: vec![7; bytes.len()], etag: "\"one\"", after: 5000 };
    server.answers(&format!("/{}", NAMES[0]), vec![cut, whole(&bytes)]);
    bench.mnist(&[&server]).unwrap();
    assert!(bench.told.lines[1].contains("what it sent is not a whole gzip file"));
    assert_eq!(server.asked()[2], asked(NAMES[0], None, None));
}

#[test]
fn wrong_content_leaves_nothing() {
    let (mut bench, server) = (Bench::new(), mirror());
    let mut other = images(12);
    other[100] ^= 1;
    server.answers(&format!("/{}", NAMES[0]), vec![whole(&gzip(&other))]);
    let error = bench.mnist(&[&server]).unwrap_err();
    let expected = format!(
        "no mirror gave `{0}`\n  MIRROR0/{0}: what it sent is not the published file: its content \
         has MD5 {1}, expected {2}\nname others with --mirror or GRADSWEEP_MIRRORS, or put it \
         yourself into {3}",
        NAMES[0],
        md5(&other),
        md5(&images(12)),
        bench.directory.path().join("mnist").display()
    );
    assert_eq!(text(&error, &[&server]), expected);
    assert_eq!(bench.files(), Vec::<String>::new());
    assert_eq!(server.asked().len(), 1, "the same again would not help");
    let page = b"<html>please log in</html>";
    server.answers(&format!("/{}", NAMES[0]), vec![whole(page)]);
    let error = bench.mnist(&[&server]).unwrap_err();
    assert!(text(&error, &[]).contains("what it sent is not a whole gzip file: "), "{error}");
}

#[test]
fn the_next_mirror_is_asked_where_one_fails() {
    let (mut bench, empty, full) = (Bench::new(), Server::new(), mirror());
    bench.mnist(&[&empty, &full]).unwrap();
    let expected = format!("{}/{}: HTTP status 404 Not Found", empty.url, NAMES[0]);
    assert_eq!(bench.told.lines[0], expected);
    assert_eq!((empty.asked().len(), full.asked().len()), (4, 4));
}

/// A part of one mirror is not continued by another.
#[test]
fn each_mirror_starts_anew() {
    let (mut bench, first, second) = (Bench::new(), mirror(), mirror());
    let bytes = files()[0].clone();
    let cut = Answer::Cut { bytes: bytes.clone(), etag: "\"one\"", after: 5000 };
    first.answers(&format!("/{}", NAMES[0]), vec![cut, Answer::Status(500)]);
    bench.mnist(&[&first, &second]).unwrap();
    assert_eq!(second.asked()[0], asked(NAMES[0], None, None));
}

#[test]
fn every_failure_is_named_where_all_mirrors_fail() {
    let (mut bench, first, second) = (Bench::new(), Server::new(), Server::new());
    second.answers(&format!("/{}", NAMES[0]), vec![Answer::Status(500)]);
    // Nobody listens there any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut settings = bench.settings(&[&first, &second], PATIENT);
    settings.mirrors.push(format!("http://{closed}"));
    let error = fetch_mnist(&settings, &small_mnist(), &mut bench.told).unwrap_err();
    let text = text(&error, &[&first, &second]);
    for (mirror, reason) in [
        ("MIRROR0", "HTTP status 404 Not Found\n"),
        ("MIRROR1", "HTTP status 500 Internal Server Error\n"),
        (&format!("http://{closed}"), "Connection refused"),
    ] {
        let expected = format!("\n  {mirror}/{}: {reason}", NAMES[0]);
        assert!(text.contains(&expected), "{expected} in {text}");
    }
    assert_eq!(bench.files(), Vec::<String>::new());
}

/// Encryption is there and asks for a certificate: who has none is told.
#[test]
fn a_mirror_that_does_not_speak_tls_is_left() {
    let mut bench = Bench::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // All of its greeting, so that closing sends no reset ahead of the answer.
            let mut greeting = [0; 5];
            stream.read_exact(&mut greeting).unwrap();
            let length = u16::from_be_bytes([greeting[3], greeting[4]]);
            stream.read_exact(&mut vec![0; length.into()]).unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        }
    });
    let mut settings = bench.settings(&[], PATIENT);
    settings.mirrors = vec![format!("https://{address}")];
    let error = fetch_mnist(&settings, &small_mnist(), &mut bench.told).unwrap_err();
    let FetchError::Mirrors { failures, .. } = &error else { panic!("{error}") };
    assert!(failures[0].reason.contains("InvalidContentType"), "{error}");
}

#[test]
fn a_mirror_that_falls_silent_is_left() {
    let impatient = Timeouts { stall: Duration::from_millis(50), ..PATIENT };
    let (mut bench, server) = (Bench::new(), Server::new());
    let bytes = files()[0].clone();
    for (answer, expected) in [
        (Answer::Silence, "MIRROR0/train-images-idx3-ubyte.gz: sent nothing for 50ms\n".to_owned()),
        (
            Answer::Stall { bytes: bytes.clone(), after: 5000 },
            format!("sent nothing for 50ms, after 5000 of {} bytes\n", bytes.len()),
        ),
    ] {
        server.answers(&format!("/{}", NAMES[0]), vec![answer, Answer::Silence]);
        let settings = bench.settings(&[&server], impatient);
        let error = fetch_mnist(&settings, &small_mnist(), &mut bench.told).unwrap_err();
        let text = text(&error, &[&server]);
        assert!(text.contains(&expected), "{expected} in {text}");
    }
}

#[test]
fn a_mirror_cannot_fill_the_disk() {
    let (mut bench, server) = (Bench::new(), mirror());
    server.answers(&format!("/{}", NAMES[3]), vec![whole(&vec![0; 1 << 20])]);
    let error = bench.mnist(&[&server]).unwrap_err();
    assert!(text(&error, &[]).contains(": sends more than 4107 bytes\n"), "{error}");
    assert_eq!(bench.files().len(), 3, "the others came");
}

#[test]
fn what_is_there_and_wrong_is_left() {
    let (mut bench, server) = (Bench::new(), mirror());
    let folder = bench.directory.path().join("mnist");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("t10k-labels-idx1-ubyte"), b"mine").unwrap();
    let error = bench.mnist(&[&server]).unwrap_err();
    let text = text(&error, &[]);
    assert!(
        text.starts_with("a file is there already and is wrong; move it away and fetch again: ")
            && text.contains("mnist/t10k-labels-idx1-ubyte is truncated: 4 bytes"),
        "{text}"
    );
    assert_eq!(bench.files(), ["mnist/t10k-labels-idx1-ubyte"]);
    assert_eq!(server.asked(), []);
}

#[test]
fn two_at_once_do_not_write_the_same_file() {
    let (mut bench, server) = (Bench::new(), mirror());
    let folder = bench.directory.path().join("mnist");
    fs::create_dir(&folder).unwrap();
    let path = folder.join(format!("{}.partial", NAMES[0]));
    let other = fs::File::create(&path).unwrap();
    rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let error = bench.mnist(&[&server]).unwrap_err();
    let expected = format!("another process is writing {}; wait for it", path.display());
    assert_eq!(text(&error, &[]), expected);
}

const RECORDS: usize = 3;

fn batch(place: usize) -> Vec<u8> {
    let mut bytes = vec![place as u8; RECORDS * cifar10::RECORD_BYTES];
    bytes.iter_mut().step_by(cifar10::RECORD_BYTES).for_each(|label| *label = 9);
    bytes
}

fn small_cifar10() -> cifar10::Expected {
    let md5s = [0, 1, 2, 3, 4, 5].map(|place| md5(&batch(place)));
    cifar10::Expected { records: RECORDS, md5s }
}

/// An archive of these paths and contents; paths are written as they are, however hostile.
fn archive(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_mode(0o777);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append(&header, &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn published() -> Vec<(&'static str, Vec<u8>)> {
    let paths = [
        "cifar-10-batches-bin/data_batch_1.bin",
        "cifar-10-batches-bin/data_batch_2.bin",
        "cifar-10-batches-bin/data_batch_3.bin",
        "cifar-10-batches-bin/data_batch_4.bin",
        "cifar-10-batches-bin/data_batch_5.bin",
        "cifar-10-batches-bin/test_batch.bin",
    ];
    let mut entries = vec![("cifar-10-batches-bin/batches.meta.txt", b"airplane\n".to_vec())];
    entries.extend(paths.into_iter().enumerate().map(|(place, path)| (path, batch(place))));
    entries
}

#[test]
fn the_archive_is_unpacked_to_the_six_files() {
    let mut bench = Bench::new();
    let mut entries = published();
    // None of these is written anywhere.
    entries.insert(0, ("../../evil.bin", b"evil".to_vec()));
    entries.insert(0, ("/tmp/evil/data_batch_1.bin", b"evil".to_vec()));
    entries.insert(0, ("cifar-10-batches-bin/../data_batch_1.bin", b"evil".to_vec()));
    let fetched = bench.cifar10(archive(&entries)).unwrap();
    let folder = bench.directory.path().join("cifar-10");
    assert_eq!(fetched, Fetched::Downloaded(folder.clone(), vec!["cifar-10-binary.tar.gz".into()]));
    let names = cifar10::NAMES.map(|name| format!("cifar-10/cifar-10-batches-bin/{name}"));
    assert_eq!(bench.files(), names);
    let files = cifar10::read(bench.directory.path(), &small_cifar10()).unwrap();
    assert!(files.is_complete());
    assert_eq!(bench.cifar10(Vec::new()).unwrap(), Fetched::Present(folder), "nothing is asked");
}

#[test]
fn an_archive_with_anything_wrong_leaves_nothing() {
    let changed = |index: usize, bytes: Vec<u8>| {
        let mut entries = published();
        entries[index].1 = bytes;
        archive(&entries)
    };
    let mut long = batch(1);
    long.push(0);
    let mut label = batch(2);
    label[0] = 10;
    let mut twice = published();
    twice.push(twice[1].clone());
    let whole = archive(&published());
    let cases = [
        (changed(2, batch(3)), "data_batch_2.bin is not the published file: its content has MD5"),
        (changed(2, long), "`data_batch_2.bin` in the archive has more than 9219 bytes"),
        (changed(1, batch(0)[1..].to_vec()), "`data_batch_1.bin` in the archive has less than"),
        (changed(3, label), "data_batch_3.bin has label 10 at index 0, expected 0 to 9"),
        (archive(&twice), "`data_batch_1.bin` is in the archive twice"),
        (archive(&published()[..6]), "no `test_batch.bin` in the archive"),
        (whole[..whole.len() / 2].to_vec(), "not a whole archive: "),
        (b"<html>please log in</html>".to_vec(), "not a whole archive: "),
        // More than six files could have, in an entry that is passed over.
        (archive(&[("zeros", vec![0; 4 << 20])]), "not a whole archive: "),
    ];
    for (bytes, expected) in cases {
        let mut bench = Bench::new();
        let error = bench.cifar10(bytes).unwrap_err();
        assert!(text(&error, &[]).contains(expected), "{expected} in {error}");
        assert_eq!(bench.files(), Vec::<String>::new());
    }
}

/// A link in place of a file could point anywhere.
#[test]
fn links_in_an_archive_are_refused() {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    header.set_path("cifar-10-batches-bin/data_batch_1.bin").unwrap();
    header.set_link_name("/etc/passwd").unwrap();
    header.set_cksum();
    builder.append(&header, &[][..]).unwrap();
    let mut bench = Bench::new();
    let error = bench.cifar10(builder.into_inner().unwrap().finish().unwrap()).unwrap_err();
    assert!(text(&error, &[]).contains("`data_batch_1.bin` in the archive is not a file"));
}

#[test]
fn a_subset_and_foreign_files_are_left_alone() {
    let mut bench = Bench::new();
    let folder = bench.directory.path().join("cifar-10/cifar-10-batches-bin");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    let error = bench.cifar10(archive(&published())).unwrap_err();
    let expected = format!(
        "{} is there with other files in it; move it away and fetch again",
        folder.display()
    );
    assert_eq!(text(&error, &[]), expected);
    let path = bench.directory.path().join("cifar-10/data_batch_1.bin");
    fs::write(&path, batch(0)).unwrap();
    let error = bench.cifar10(archive(&published())).unwrap_err();
    let expected = format!(
        "{} is of a subset or of an incomplete data set, which is left as it is; move its files \
         away, or fetch to another directory with --data",
        path.display()
    );
    assert_eq!(text(&error, &[]), expected);
    fs::write(&path, b"mine").unwrap();
    fs::write(path.with_file_name("test_batch.bin"), batch(5)).unwrap();
    let error = bench.cifar10(archive(&published())).unwrap_err();
    assert!(text(&error, &[]).contains("data_batch_1.bin has 4 bytes of content"), "{error}");
}

/// The command, with the published files from the mirror: its progress on stderr, in lines, and
/// what it did on stdout.
#[test]
fn the_command_fetches_real_mnist_and_says_so() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let source = std::env::var_os("GRADSWEEP_DATA").map_or(beside, PathBuf::from).join("mnist");
    let server = Server::new();
    for name in NAMES {
        let Ok(bytes) = fs::read(source.join(name)) else {
            return eprintln!("skipped: no mnist/{name} in GRADSWEEP_DATA or ../shared/data");
        };
        server.answers(&format!("/m/{name}"), vec![whole(&bytes)]);
    }
    let bench = Bench::new();
    let fetch = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_coordinator"));
        command.args(["data", "fetch", "cluttered-mnist", "--data", "d"]);
        command.args(["--mirror", &format!("{}/m/", server.url)]);
        let output = command.current_dir(bench.directory.path()).output().unwrap();
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(output.status.success(), "{stderr}");
        (stdout, stderr)
    };
    let (stdout, stderr) = fetch();
    assert_eq!(stdout, format!("d/mnist: downloaded and checked {}\n", NAMES.join(", ")));
    let length = fs::metadata(source.join(NAMES[0])).unwrap().len();
    for expected in [
        &format!("{}: downloading {length} bytes\n", NAMES[0]),
        "train-images-idx3-ubyte.gz: 50 %\n",
        "t10k-labels-idx1-ubyte.gz: 100 %\n",
    ] {
        assert!(stderr.contains(expected), "{expected} in\n{stderr}");
    }
    let (stdout, stderr) = fetch();
    assert_eq!(stdout, "d/mnist is complete and right: nothing to fetch\n");
    assert_eq!((stderr.as_str(), server.asked().len()), ("", 4));
}

#[test]
fn strokes_needs_nothing_and_cluttered_mnist_needs_mnist() {
    let mut bench = Bench::new();
    let server = Server::new();
    let settings = bench.settings(&[&server], PATIENT);
    let fetched = fetch::fetch(Data::Strokes, &settings, &mut bench.told).unwrap();
    assert_eq!(fetched, Fetched::Generated);
    fetch::fetch(Data::ClutteredMnist, &settings, &mut bench.told).unwrap_err();
    assert_eq!(server.asked(), [asked(NAMES[0], None, None)]);
}
