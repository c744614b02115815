//! The spool against torn and damaged files, a model, and a disk that refuses.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use common::ids::AttemptId;
use common::wire::{self, report};
use proptest::prelude::*;
use worker::spool::{BATCH_BYTES_MAX, Spool};

fn attempt(trial: u64) -> Option<wire::AttemptId> {
    Some(wire::AttemptId { trial: format!("{trial:016x}"), attempt: 1 })
}

fn epoch(trial: u64) -> report::Report {
    let attempt = attempt(trial);
    report::Report::Epoch(wire::EpochReport { attempt, epoch: 3, ..Default::default() })
}

fn outcome(trial: u64, reason: &str) -> report::Report {
    let (attempt, reason) = (attempt(trial), reason.to_owned());
    report::Report::Outcome(wire::AttemptOutcome { attempt, reason, ..Default::default() })
}

fn open(folder: &Path) -> Spool {
    Spool::open(folder).expect("opens")
}

fn append(spool: &mut Spool, report: report::Report) -> u64 {
    let (sequence, written) = spool.append(report);
    written.expect("the disk takes it");
    sequence
}

fn acknowledge(spool: &mut Spool, through: u64) -> usize {
    let (ended, compacted) = spool.acknowledge(through);
    compacted.expect("the disk takes it");
    ended.len()
}

/// Everything that a new stream is given.
fn all(spool: &mut Spool) -> Vec<wire::Report> {
    spool.rewind();
    let mut reports = Vec::new();
    loop {
        let batch = spool.next_batch();
        if batch.is_empty() {
            return reports;
        }
        reports.extend(batch);
    }
}

#[test]
fn reports_outlive_the_process_until_they_are_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spool = open(folder.path());
    assert!(spool.is_empty() && spool.next_batch().is_empty());
    let first = append(&mut spool, epoch(1));
    let second = append(&mut spool, outcome(1, "done"));
    let third = append(&mut spool, epoch(2));
    assert!(first < second && second < third);
    drop(spool);
    let mut spool = open(folder.path());
    let reports = all(&mut spool);
    let expected = [(first, epoch(1)), (second, outcome(1, "done")), (third, epoch(2))]
        .map(|(sequence, report)| wire::Report { sequence, report: Some(report) });
    assert_eq!(reports, expected);
    let (ended, compacted) = spool.acknowledge(second);
    compacted.expect("nothing to do");
    let trial = "0000000000000001".parse().expect("an id");
    assert_eq!(ended, [AttemptId { trial, number: 1 }]);
    assert_eq!(all(&mut spool), expected[2..]);
    assert_eq!(acknowledge(&mut spool, third), 0);
    assert!(spool.is_empty() && spool.bytes() == 0);
    drop(spool);
    // Whether or not the file still has them, a number is never used twice.
    let mut spool = open(folder.path());
    assert!(append(&mut spool, epoch(3)) > third);
}

#[test]
fn only_what_a_stream_was_given_is_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spool = open(folder.path());
    append(&mut spool, outcome(1, ""));
    assert_eq!(acknowledge(&mut spool, u64::MAX), 0);
    assert_eq!(spool.next_batch().len(), 1);
    append(&mut spool, outcome(2, ""));
    assert_eq!(acknowledge(&mut spool, u64::MAX), 1);
    assert_eq!(spool.next_batch().len(), 1);
    spool.rewind();
    assert_eq!(acknowledge(&mut spool, u64::MAX), 0, "a new stream was given nothing yet");
    assert_eq!(spool.next_batch().len(), 1);
}

#[test]
fn batches_stay_under_the_size_of_a_message() {
    use prost::Message;
    let folder = tempfile::tempdir().expect("a folder");
    let mut spool = open(folder.path());
    let text = "x".repeat(100_000);
    for trial in 0..20 {
        append(&mut spool, outcome(trial, &text));
    }
    let mut given = 0;
    while given < 20 {
        let reports = spool.next_batch();
        given += reports.len();
        assert!(reports.len() > 1, "a batch holds what fits");
        let message = wire::Reports { reports };
        assert!(message.encoded_len() <= BATCH_BYTES_MAX, "{}", message.encoded_len());
    }
}

#[test]
fn the_file_shrinks_when_its_reports_are_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spool = open(folder.path());
    let text = "x".repeat(10_000);
    let mut largest = 0;
    for trial in 0..1_000 {
        let sequence = append(&mut spool, outcome(trial, &text));
        spool.next_batch();
        acknowledge(&mut spool, sequence);
        let bytes = fs::metadata(folder.path().join("reports")).expect("exists").len();
        largest = largest.max(bytes);
    }
    assert!(largest < 2 << 20, "{largest} bytes for reports that are acknowledged at once");
}

#[test]
fn a_file_of_something_else_is_refused_and_a_torn_beginning_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("reports");
    fs::write(&path, "something else").expect("written");
    let error = Spool::open(folder.path()).expect_err("refused").to_string();
    assert!(error.contains("is not a spool of this version; move it away"), "{error}");
    fs::write(&path, "GSS").expect("written");
    let mut spool = open(folder.path());
    append(&mut spool, epoch(1));
    drop(spool);
    assert_eq!(all(&mut open(folder.path())).len(), 1);
}

#[test]
fn a_disk_that_refuses_loses_nothing_that_is_in_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spool = open(folder.path());
    append(&mut spool, outcome(1, "before"));
    // A folder in the place of the new file makes every rewrite fail, for root too.
    let blocker = folder.path().join("reports.new");
    fs::create_dir(&blocker).expect("created");
    let error = spool.rewrite().expect_err("refused").to_string();
    assert!(error.contains("cannot write the spool"), "{error}");
    append(&mut spool, outcome(2, "meanwhile"));
    fs::remove_dir(&blocker).expect("removed");
    spool.rewrite().expect("the disk is back");
    append(&mut spool, outcome(3, "after"));
    assert_eq!(all(&mut spool).len(), 3);
    drop(spool);
    assert_eq!(all(&mut open(folder.path())).len(), 3);
}

/// What a history of appends, acknowledgements, new streams and restarts does.
#[derive(Clone, Debug)]
enum Step {
    Append { large: bool },
    Send,
    Acknowledge(usize),
    Rewind,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::bool::weighted(0.3).prop_map(|large| Step::Append { large }),
        3 => Just(Step::Send),
        3 => (0usize..8).prop_map(Step::Acknowledge),
        1 => Just(Step::Rewind),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_report_is_kept_in_order_until_it_is_acknowledged(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut spool = open(folder.path());
        let text = "x".repeat(200_000);
        let mut model: VecDeque<u64> = VecDeque::new();
        let mut highest = 0;
        for (trial, step) in (0..).zip(steps) {
            match step {
                Step::Append { large } => {
                    let report = if large { outcome(trial, &text) } else { epoch(trial) };
                    let sequence = append(&mut spool, report);
                    prop_assert!(sequence > highest);
                    highest = sequence;
                    model.push_back(sequence);
                }
                Step::Send => while !spool.next_batch().is_empty() {},
                Step::Acknowledge(index) => {
                    if let Some(through) = model.get(index).copied() {
                        while !spool.next_batch().is_empty() {}
                        acknowledge(&mut spool, through);
                        model.drain(..=index);
                    }
                }
                Step::Rewind => spool.rewind(),
                Step::Restart => {
                    drop(spool);
                    spool = open(folder.path());
                    // The file may still have acknowledged reports in front, and nothing else.
                    let sequences = all(&mut spool).iter().map(|r| r.sequence).collect::<Vec<_>>();
                    prop_assert!(sequences.ends_with(model.make_contiguous()));
                    model = sequences.into();
                }
            }
            prop_assert_eq!(spool.is_empty(), model.is_empty());
        }
        let sequences = all(&mut spool).iter().map(|r| r.sequence).collect::<VecDeque<_>>();
        prop_assert_eq!(sequences, model);
    }

    #[test]
    fn a_torn_or_damaged_file_gives_the_reports_before_the_damage(
        count in 1u64..12,
        at in any::<prop::sample::Index>(),
        flip in 0u8..8,
        cut in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut spool = open(folder.path());
        for trial in 0..count {
            append(&mut spool, if trial % 2 == 0 { epoch(trial) } else { outcome(trial, "r") });
        }
        let written = all(&mut spool);
        drop(spool);
        let path = folder.path().join("reports");
        let mut bytes = fs::read(&path).expect("read");
        let at = 8 + at.index(bytes.len() - 8);
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << flip;
        }
        fs::write(&path, &bytes).expect("written");
        let mut spool = open(folder.path());
        let kept = all(&mut spool);
        prop_assert!(written.starts_with(&kept));
        prop_assert!(kept.len() < written.len(), "one record at least was damaged");
        // It goes on from there, and the next start reads all of it.
        append(&mut spool, outcome(99, "after"));
        drop(spool);
        prop_assert_eq!(all(&mut open(folder.path())).len(), kept.len() + 1);
    }

    #[test]
    fn any_bytes_open_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut content = b"GSSPOOL1".to_vec();
        content.extend(bytes);
        fs::write(folder.path().join("reports"), &content).expect("written");
        prop_assert!(all(&mut open(folder.path())).is_empty());
    }
}
