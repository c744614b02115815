//! The writer against a store whose commits the test lets through one at a time.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use common::ids::SweepName;
use scheduler::Event;

use super::*;
use crate::store::Trouble;
use crate::store::suite::memory::Memory;
use crate::store::suite::{Place, added, contents, header};

const DEADLINE: Duration = Duration::from_secs(20);

/// Shows each commit, waits for a word, then does it or fails.
struct Gated {
    inner: Box<dyn Store>,
    commits: Sender<Vec<Change>>,
    words: Receiver<bool>,
}

impl Store for Gated {
    fn commit(&mut self, changes: &[Change], at_unix_ms: u64) -> Result<(), StoreError> {
        assert!(at_unix_ms > 1_600_000_000_000, "the time of the commit");
        self.commits.send(changes.to_vec()).unwrap();
        match self.words.recv_timeout(DEADLINE).unwrap() {
            true => self.inner.commit(changes, at_unix_ms),
            false => Err(StoreError::NotCommitted {
                path: PathBuf::from("gated"),
                trouble: Trouble::DiskFull,
                source: None,
            }),
        }
    }

    fn restore(&mut self, sink: &mut dyn FnMut(Event)) -> Result<(), StoreError> {
        self.inner.restore(sink)
    }

    fn unexpanded(&mut self) -> Result<Vec<SweepName>, StoreError> {
        self.inner.unexpanded()
    }
}

struct Bench {
    writer: Writer<u32>,
    commits: Receiver<Vec<Change>>,
    words: Sender<bool>,
    written: Receiver<Written<u32>>,
}

impl Bench {
    fn new() -> Bench {
        let (commits_sender, commits) = channel();
        let (words, words_receiver) = channel();
        let (written_sender, written) = channel();
        let inner = Memory::default().open();
        let store = Gated { inner, commits: commits_sender, words: words_receiver };
        let written_by = move |told| written_sender.send(told).unwrap();
        let writer = Writer::spawn(Box::new(store), written_by).unwrap();
        Bench { writer, commits, words, written }
    }

    fn send(&self, batch: Batch<u32>) {
        self.writer.blocking_send(batch).expect("the writer takes it");
    }

    /// The changes of the commit that waits.
    fn commit(&self) -> Vec<Change> {
        self.commits.recv_timeout(DEADLINE).expect("a commit")
    }

    fn committed(&self) -> (Vec<u32>, usize) {
        match self.written.recv_timeout(DEADLINE).expect("told") {
            Written::Committed { payloads, rows, seconds } => {
                assert!(seconds >= 0.0);
                (payloads, rows)
            }
            Written::Failed { error, .. } => panic!("{error}"),
        }
    }
}

fn sweep(number: u32) -> Change {
    Change::SweepApplied(header(&format!("sweep-{number}")))
}

fn batch(payload: u32) -> Batch<u32> {
    Batch { changes: vec![sweep(payload)], payload }
}

#[test]
fn writer_commits_together_what_waits() {
    let bench = Bench::new();
    bench.send(batch(0));
    assert_eq!(bench.commit(), [sweep(0)]);
    for number in 1..=10 {
        bench.send(batch(number));
    }
    assert!(bench.written.try_recv().is_err(), "nothing is told before it is committed");
    bench.words.send(true).unwrap();
    assert_eq!(bench.committed(), (vec![0], 1));
    assert_eq!(bench.commit(), (1..=10).map(sweep).collect::<Vec<Change>>());
    bench.words.send(true).unwrap();
    assert_eq!(bench.committed(), ((1..=10).collect(), 10));
    let mut store = bench.writer.close().expect("it did not fail");
    assert_eq!(contents(&mut *store).sweeps.len(), 11);
}

#[test]
fn writer_bounds_a_commit() {
    let bench = Bench::new();
    let large = |payload| {
        let numbers: Vec<u64> = (0..COMMIT_ROWS_MAX as u64).collect();
        let [trials, _] = added("sweep", 0, &numbers);
        Batch { changes: vec![trials], payload }
    };
    bench.send(batch(0));
    bench.commit();
    for payload in 1..=3 {
        bench.send(large(payload));
    }
    bench.words.send(true).unwrap();
    assert_eq!(bench.committed(), (vec![0], 1));
    for payload in 1..=3 {
        assert_eq!(bench.commit().len(), 1);
        bench.words.send(true).unwrap();
        assert_eq!(bench.committed(), (vec![payload], COMMIT_ROWS_MAX));
    }
}

#[test]
fn writer_keeps_messages_behind_earlier_changes() {
    let bench = Bench::new();
    bench.send(batch(0));
    bench.commit();
    bench.send(Batch { changes: Vec::new(), payload: 1 });
    assert_eq!(
        bench.written.recv_timeout(Duration::from_millis(20)).err(),
        Some(RecvTimeoutError::Timeout)
    );
    bench.words.send(true).unwrap();
    assert_eq!(bench.committed(), (vec![0], 1));
    assert_eq!(bench.committed(), (vec![1], 0));
    assert!(bench.commits.try_recv().is_err(), "without changes there is no commit");
}

#[test]
fn writer_commits_what_was_sent_before_it_closes() {
    let bench = Bench::new();
    for number in 0..5 {
        bench.send(batch(number));
        bench.words.send(true).unwrap();
    }
    let mut store = bench.writer.close().expect("it did not fail");
    assert_eq!(contents(&mut *store).sweeps.len(), 5);
    let mut payloads = Vec::new();
    while let Ok(Written::Committed { payloads: some, .. }) = bench.written.try_recv() {
        payloads.extend(some);
    }
    assert_eq!(payloads, [0, 1, 2, 3, 4]);
}

#[test]
fn writer_stops_at_a_failure_and_gives_everything_back() {
    let bench = Bench::new();
    bench.send(batch(0));
    bench.commit();
    bench.words.send(true).unwrap();
    assert_eq!(bench.committed(), (vec![0], 1));
    bench.send(batch(1));
    bench.commit();
    let mixed = Batch { changes: vec![sweep(2), sweep(3)], payload: 2 };
    let later = [mixed, Batch { changes: Vec::new(), payload: 3 }, batch(4)];
    for batch in later.clone() {
        bench.send(batch);
    }
    bench.words.send(false).unwrap();
    let Written::Failed { error, uncommitted, mut store } =
        bench.written.recv_timeout(DEADLINE).unwrap()
    else {
        panic!("it failed");
    };
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert_eq!(uncommitted[0], batch(1));
    assert_eq!(uncommitted[1..], later);
    assert_eq!(contents(&mut *store).sweeps.len(), 1);
    let refused = bench.writer.blocking_send(batch(9)).expect_err("it has stopped");
    assert_eq!(refused, batch(9));
    assert!(bench.writer.close().is_none());
}

#[test]
fn writer_splits_a_failed_group_as_it_was_sent() {
    let bench = Bench::new();
    bench.send(batch(0));
    bench.commit();
    let sent = [
        Batch { changes: vec![sweep(1), sweep(2)], payload: 1 },
        Batch { changes: Vec::new(), payload: 2 },
        Batch { changes: vec![sweep(3)], payload: 3 },
    ];
    for batch in sent.clone() {
        bench.send(batch);
    }
    bench.words.send(true).unwrap();
    bench.committed();
    assert_eq!(bench.commit().len(), 3);
    bench.words.send(false).unwrap();
    let told = bench.written.recv_timeout(DEADLINE).unwrap();
    assert!(matches!(told, Written::Failed { uncommitted, .. } if uncommitted == sent));
}
