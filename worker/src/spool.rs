//! Reports that the coordinator has not acknowledged: in memory to be sent, and in a file to
//! outlive this process.
//!
//! The file is a magic followed by records: length (4 bytes), checksum (8), a `wire::Report`.
//! Outcomes and everything else that ends an attempt are synced before they can be sent: they
//! stand for minutes or hours of work. Epochs are not: they come in numbers, survive the death of
//! this process in the kernel's memory, and a power cut also takes the trainer, whose resumed or
//! repeated attempt reports them again. Limit: a damaged record hides those after it.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use common::ids::AttemptId;
use common::wire::{self, report};
use prost::Message;

/// Unacknowledged bytes at which trainers pause: hours of epochs of a whole host.
pub const SPOOL_BYTES_MAX: u64 = 64 << 20;
/// Acknowledged bytes that the file may hold before it is written anew without them.
const COMPACT_BYTES: u64 = 1 << 20;
/// One message to the coordinator stays well below what it accepts.
pub const BATCH_BYTES_MAX: usize = wire::MESSAGE_BYTES_MAX / 2;
/// Skipped at every start: records that a power cut took may have been acknowledged, and their
/// numbers must not come again.
const SEQUENCE_SKIP: u64 = 1 << 32;
/// Reports per millisecond that no host comes near, so that a start can count from the time: a
/// spool that was lost or moved away does not bring old numbers back.
const SEQUENCE_PER_MS_BITS: u32 = 20;

const MAGIC: &[u8; 8] = b"GSSPOOL1";
const RECORD_HEADER_BYTES: usize = 12;

/// The spool's file cannot be used. What was appended is in memory all the same.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The operating system refused.
    #[error("cannot {step} the spool `{}`", path.display())]
    File {
        /// What was tried.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is something else.
    #[error("`{}` is not a spool of this version; move it away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

/// One report that is not acknowledged.
#[derive(Debug)]
struct Entry {
    sequence: u64,
    /// An encoded `wire::Report`: a spool of epochs takes far less room so.
    payload: Vec<u8>,
    /// The attempt whose outcome this report is.
    ended: Option<AttemptId>,
}

/// The spool.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    file: File,
    /// Length of the whole records in the file.
    file_bytes: u64,
    /// The file lacks entries that are in memory: a write failed.
    is_file_behind: bool,
    entries: VecDeque<Entry>,
    entries_bytes: u64,
    /// Entries at the front that the present stream has been given.
    sent: usize,
    next_sequence: u64,
}

impl Spool {
    /// Opens the spool in a folder, or makes one. A torn or damaged tail is cut off and said.
    pub fn open(folder: &Path) -> Result<Spool, SpoolError> {
        let path = folder.join("reports");
        let error = |step| file_error(step, &path);
        let mut options = File::options();
        let options = options.create(true).truncate(false).read(true).write(true);
        let file = options.open(&path).map_err(error("open"))?;
        let bytes = fs::read(&path).map_err(error("read"))?;
        if bytes.len() >= MAGIC.len() && !bytes.starts_with(MAGIC) {
            return Err(SpoolError::Foreign { path });
        }
        let recovered = recover(&bytes);
        let lost = bytes.len() - recovered.whole_bytes;
        if lost > 0 {
            tracing::warn!(
                path = %path.display(), bytes = lost, reports = recovered.entries.len(),
                "the end of the spool was torn or damaged and is cut off"
            );
        }
        let mut spool = Spool {
            path,
            file,
            file_bytes: recovered.whole_bytes as u64,
            is_file_behind: false,
            entries_bytes: recovered.entries.iter().map(record_bytes).sum(),
            entries: recovered.entries,
            sent: 0,
            next_sequence: first_sequence(recovered.sequence_max),
        };
        // Also makes a new file whole, and the cut durable before anything is appended.
        spool.rewrite()?;
        Ok(spool)
    }

    /// Adds a report and returns its sequence number with what became of the file. Where that
    /// failed the report is in memory, as all later ones are until `rewrite` succeeds.
    pub fn append(&mut self, report: report::Report) -> (u64, Result<(), SpoolError>) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let ended = ended_attempt(&report);
        let is_end = !matches!(report, report::Report::Epoch(_));
        let payload = wire::Report { sequence, report: Some(report) }.encode_to_vec();
        let entry = Entry { sequence, payload, ended };
        self.entries_bytes += record_bytes(&entry);
        let written = if self.is_file_behind { Ok(()) } else { self.write(&entry, is_end) };
        self.is_file_behind |= written.is_err();
        self.entries.push_back(entry);
        (sequence, written)
    }

    /// Forgets the reports up to this one; returns the attempts whose outcomes they were.
    pub fn acknowledge(&mut self, through: u64) -> (Vec<AttemptId>, Result<(), SpoolError>) {
        let mut ended = Vec::new();
        // What this stream was not given cannot be meant.
        while self.sent > 0
            && let Some(entry) = self.entries.pop_front_if(|entry| entry.sequence <= through)
        {
            self.entries_bytes -= record_bytes(&entry);
            self.sent -= 1;
            ended.extend(entry.ended);
        }
        let idle_bytes = self.file_bytes.saturating_sub(self.entries_bytes);
        // At least half of what is written anew was idle, so the work per report stays bounded.
        let compacted = if idle_bytes > COMPACT_BYTES.max(self.entries_bytes) {
            self.rewrite()
        } else {
            Ok(())
        };
        (ended, compacted)
    }

    /// Forgets every report: they mean nothing to whoever is attached now.
    pub fn discard(&mut self) -> Result<(), SpoolError> {
        self.entries.clear();
        self.entries_bytes = 0;
        self.sent = 0;
        self.rewrite()
    }

    /// A new stream has been given nothing yet.
    pub fn rewind(&mut self) {
        self.sent = 0;
    }

    /// The next reports for the present stream, as many as fit into one message; none when it has
    /// been given all.
    pub fn next_batch(&mut self) -> Vec<wire::Report> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for entry in self.entries.range(self.sent..) {
            // A record in a repeated field takes its tag and length too.
            bytes += entry.payload.len() + 6;
            if bytes > BATCH_BYTES_MAX && !batch.is_empty() {
                break;
            }
            let report = wire::Report::decode(entry.payload.as_slice());
            batch.push(report.expect("encoded here, or decoded when the spool was opened"));
        }
        self.sent += batch.len();
        batch
    }

    /// Whether everything is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that are not acknowledged.
    pub fn bytes(&self) -> u64 {
        self.entries_bytes
    }

    /// Whether the file lacks reports that are in memory, because the disk refused them.
    pub fn is_file_behind(&self) -> bool {
        self.is_file_behind
    }

    /// Writes the file anew with what is not acknowledged, beside the old one, and renames it.
    /// Tried again where a write has failed.
    pub fn rewrite(&mut self) -> Result<(), SpoolError> {
        let mut bytes = MAGIC.to_vec();
        // A record without a report keeps the numbering when everything is acknowledged.
        let first = self.entries.front().map_or(self.next_sequence, |entry| entry.sequence);
        let floor = wire::Report { sequence: first - 1, report: None };
        push_record(&mut bytes, &floor.encode_to_vec());
        for entry in &self.entries {
            push_record(&mut bytes, &entry.payload);
        }
        let fresh = self.path.with_extension("new");
        let written = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&fresh)
            .and_then(|mut file| {
                file.write_all(&bytes)?;
                file.sync_all()?;
                fs::rename(&fresh, &self.path)?;
                sync_folder(&self.path)?;
                Ok(file)
            });
        self.file = written.map_err(file_error("write", &self.path))?;
        self.file_bytes = bytes.len() as u64;
        self.is_file_behind = false;
        Ok(())
    }

    fn write(&mut self, entry: &Entry, sync: bool) -> Result<(), SpoolError> {
        let mut record = Vec::with_capacity(entry.payload.len() + RECORD_HEADER_BYTES);
        push_record(&mut record, &entry.payload);
        // At the end of the whole records: a torn one before it would hide this one for ever.
        let written = self.file.write_all_at(&record, self.file_bytes);
        written.map_err(file_error("write", &self.path))?;
        if sync {
            self.file.sync_data().map_err(file_error("sync", &self.path))?;
        }
        self.file_bytes += record.len() as u64;
        Ok(())
    }
}

fn first_sequence(sequence_max: u64) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now_ms =
        u64::try_from(now.as_millis()).unwrap_or(0) % (u64::MAX >> SEQUENCE_PER_MS_BITS >> 2);
    (sequence_max + SEQUENCE_SKIP).max(now_ms << SEQUENCE_PER_MS_BITS)
}

fn record_bytes(entry: &Entry) -> u64 {
    (entry.payload.len() + RECORD_HEADER_BYTES) as u64
}

fn ended_attempt(report: &report::Report) -> Option<AttemptId> {
    match report {
        report::Report::Outcome(outcome) => {
            let attempt = outcome.attempt.as_ref()?;
            Some(AttemptId { trial: attempt.trial.parse().ok()?, number: attempt.attempt })
        }
        report::Report::Epoch(_) | report::Report::Returned(_) | report::Report::Failed(_) => None,
    }
}

fn push_record(bytes: &mut Vec<u8>, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("reports are under 1 MiB");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checksum(payload));
    bytes.extend_from_slice(payload);
}

fn checksum(payload: &[u8]) -> [u8; 8] {
    let hash = blake3::hash(payload);
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

struct Recovered {
    entries: VecDeque<Entry>,
    sequence_max: u64,
    whole_bytes: usize,
}

/// Reads records up to the first that is not whole.
fn recover(bytes: &[u8]) -> Recovered {
    let mut recovered = Recovered { entries: VecDeque::new(), sequence_max: 0, whole_bytes: 0 };
    if !bytes.starts_with(MAGIC) {
        return recovered;
    }
    recovered.whole_bytes = MAGIC.len();
    while let Some((payload, report)) = whole_record(&bytes[recovered.whole_bytes..]) {
        let is_first = recovered.whole_bytes == MAGIC.len();
        if !is_first && report.sequence <= recovered.sequence_max {
            break;
        }
        recovered.sequence_max = report.sequence;
        recovered.whole_bytes += RECORD_HEADER_BYTES + payload.len();
        if let Some(report) = &report.report {
            let ended = ended_attempt(report);
            let entry =
                Entry { sequence: recovered.sequence_max, payload: payload.to_vec(), ended };
            recovered.entries.push_back(entry);
        }
    }
    recovered
}

fn whole_record(bytes: &[u8]) -> Option<(&[u8], wire::Report)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let payload = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    if checksum(payload) != *sum {
        return None;
    }
    let report = wire::Report::decode(payload).ok()?;
    // Room below for the record in front, and above for every later start to skip ahead.
    let is_ours = report.report.is_none() || report.sequence > 0;
    (is_ours && report.sequence < u64::MAX / 2).then_some((payload, report))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().expect("the spool is a file in a folder");
    File::open(folder)?.sync_all()
}

fn file_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpoolError + use<> {
    let path = path.to_path_buf();
    move |source| SpoolError::File { step, path, source }
}
