//! SQLite's own cases: files that are not ours, disks that refuse, and processes that were killed.

use std::fs;
use std::path::{Path, PathBuf};

use common::telemetry::chain;
use scheduler::event::OutcomeKind;

use super::*;
use crate::store::suite::{
    self, AT, Contents, Place, added, attempt, commit, contents, ended, header, metrics, name,
    outcome, started,
};

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Directory {
        Directory(tempfile::tempdir().unwrap())
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(self.0.path()).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.0.path().join(FILE_NAME)
    }
}

impl Place for Directory {
    fn open(&self) -> Box<dyn Store> {
        Box::new(self.store())
    }
}

#[test]
fn sqlite_passes_the_suite() {
    suite::check(&|| Box::new(Directory::new()));
}

fn with_a_sweep(store: &mut SqliteStore) {
    commit(store, [Change::SweepApplied(header("sweep"))]);
    commit(store, added("sweep", 0, &[0, 1, 2]));
    commit(store, [started(attempt(0, 1), "w1", 1)]);
}

/// The error of opening a directory.
fn refused(dir: &Directory) -> String {
    let error = SqliteStore::open(dir.0.path()).err().expect("refused");
    let text = chain(&error);
    assert!(text.contains(&dir.file().display().to_string()), "{text}");
    text
}

#[test]
fn sqlite_keeps_what_it_promises_to_the_disk() {
    let dir = Directory::new();
    let store = dir.store();
    let pragma = |name: &str| -> String {
        let sql = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}");
        store.connection.query_row(&sql, (), |row| row.get(0)).unwrap()
    };
    assert_eq!(pragma("journal_mode"), "wal");
    assert_eq!(pragma("synchronous"), "2", "full");
    assert_eq!(pragma("foreign_keys"), "1");
    assert_eq!(pragma("user_version"), VERSION.to_string());
}

#[test]
fn sqlite_refuses_a_newer_schema() {
    let dir = Directory::new();
    dir.store().connection.pragma_update(None, "user_version", VERSION + 1).unwrap();
    let text = refused(&dir);
    assert!(text.contains(&format!("has schema version {}", VERSION + 1)), "{text}");
    assert!(text.contains("use the newer program"), "{text}");
}

#[test]
fn sqlite_refuses_another_programs_database() {
    let dir = Directory::new();
    let other = Connection::open(dir.file()).unwrap();
    other.execute_batch("CREATE TABLE notes (text TEXT)").unwrap();
    assert!(refused(&dir).contains("is a database of another program"));
    other.pragma_update(None, "user_version", VERSION).unwrap();
    assert!(refused(&dir).contains("is a database of another program"));
    assert_eq!(other.query_row("SELECT count(*) FROM notes", (), |row| row.get(0)), Ok(0));
}

#[test]
fn sqlite_refuses_a_file_that_is_no_database() {
    let dir = Directory::new();
    fs::write(dir.file(), "results, as text\n".repeat(500)).unwrap();
    let text = refused(&dir);
    assert!(text.contains("it is not an SQLite database; move it away"), "{text}");
}

#[test]
fn sqlite_says_that_a_directory_is_no_file() {
    let dir = Directory::new();
    fs::create_dir(dir.file()).unwrap();
    let text = refused(&dir);
    assert!(text.contains("it cannot be opened; check that it is a file"), "{text}");
    let below = dir.0.path().join("plain");
    fs::write(&below, "").unwrap();
    let error = SqliteStore::open(&below.join("state")).err().expect("refused");
    assert!(error.to_string().starts_with("cannot make the state directory"), "{error}");
}

#[test]
fn sqlite_tells_a_damaged_file() {
    let dir = Directory::new();
    let mut store = dir.store();
    commit(&mut store, [Change::SweepApplied(header("sweep"))]);
    let numbers: Vec<u64> = (0..3_000).collect();
    commit(&mut store, added("sweep", 0, &numbers));
    drop(store);
    let mut bytes = fs::read(dir.file()).unwrap();
    let page = 4096;
    assert!(bytes.len() > 40 * page && bytes.len().is_multiple_of(page));
    for at in (bytes.len() / page / 2 * page..bytes.len()).step_by(page) {
        bytes[at..at + 64].fill(0xa5);
    }
    fs::write(dir.file(), bytes).unwrap();
    let mut store = dir.store();
    let error = store.restore(&mut |_| {}).expect_err("damaged");
    let text = error.to_string();
    assert!(matches!(error, StoreError::Read { trouble: Trouble::Corrupt, .. }), "{text}");
    assert!(text.contains("it is damaged; restore it from a copy"), "{text}");
}

fn not_committed(store: &mut SqliteStore, change: Change) -> (Trouble, String) {
    let error = store.commit(&[change], AT).expect_err("refused");
    let text = chain(&error);
    assert!(text.contains(&store.path.display().to_string()), "{text}");
    assert!(text.starts_with("nothing of the last batch is stored"), "{text}");
    let StoreError::NotCommitted { trouble, .. } = error else { panic!("{text}") };
    (trouble, text)
}

#[test]
fn sqlite_goes_on_after_another_program_let_go() {
    let dir = Directory::new();
    let mut store = dir.store();
    with_a_sweep(&mut store);
    store.connection.busy_timeout(Duration::from_millis(1)).unwrap();
    let other = Connection::open(dir.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let epoch = || Change::EpochRecorded(attempt(0, 1), metrics(1));
    let (trouble, text) = not_committed(&mut store, epoch());
    assert_eq!(trouble, Trouble::Locked);
    assert!(text.contains("another program holds it"), "{text}");
    drop(other);
    store.commit(&[epoch()], AT).unwrap();
}

#[test]
fn sqlite_names_a_disk_that_cannot_be_written() {
    let dir = Directory::new();
    let mut store = dir.store();
    with_a_sweep(&mut store);
    store.connection.pragma_update(None, "query_only", true).unwrap();
    let epoch = Change::EpochRecorded(attempt(0, 1), metrics(1));
    let (trouble, text) = not_committed(&mut store, epoch);
    assert_eq!(trouble, Trouble::ReadOnly);
    assert!(text.contains("not mounted read-only"), "{text}");
}

#[test]
fn sqlite_loses_nothing_when_the_disk_is_full() {
    let dir = Directory::new();
    let mut store = dir.store();
    with_a_sweep(&mut store);
    let before = contents(&mut store);
    let pages: i64 =
        store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    let limit = |store: &SqliteStore, pages: i64| {
        let set = store
            .connection
            .pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0));
        assert_eq!(set, Ok(pages));
    };
    limit(&store, pages);
    let many = || {
        let numbers: Vec<u64> = (100..3_000).collect();
        let [trials, members] = added("sweep", 3, &numbers);
        [Change::EpochRecorded(attempt(0, 1), metrics(1)), trials, members]
    };
    let error = store.commit(&many(), AT).expect_err("no room");
    let text = error.to_string();
    assert!(matches!(error, StoreError::NotCommitted { trouble: Trouble::DiskFull, .. }), "{text}");
    assert!(text.contains("the disk is full; free some"), "{text}");
    assert_eq!(contents(&mut store), before);
    limit(&store, 100 * pages);
    store.commit(&many(), AT).unwrap();
    assert_eq!(contents(&mut store).trials.len(), 3 + 2_900);
}

/// What the disk holds when the process is killed: the files as they are, without a clean end.
fn killed(dir: &Directory, shared_memory: bool) -> Directory {
    let copy = Directory::new();
    for suffix in ["", "-wal", "-shm"] {
        let name = format!("{FILE_NAME}{suffix}");
        if suffix != "-shm" || shared_memory {
            fs::copy(dir.0.path().join(&name), copy.0.path().join(&name)).unwrap();
        }
    }
    copy
}

#[test]
fn sqlite_has_everything_committed_after_a_kill() {
    let dir = Directory::new();
    let mut store = dir.store();
    with_a_sweep(&mut store);
    store
        .commit(
            &[
                Change::EpochRecorded(attempt(0, 1), metrics(1)),
                ended(attempt(0, 1), scheduler::event::AttemptEnd::WorkerLost),
                started(attempt(0, 2), "w2", 2),
            ],
            AT,
        )
        .unwrap();
    let before = contents(&mut store);
    for shared_memory in [true, false] {
        let copy = killed(&dir, shared_memory);
        assert_eq!(contents(&mut copy.store()), before);
    }
}

#[test]
fn sqlite_drops_a_torn_commit_whole() {
    let dir = Directory::new();
    let mut store = dir.store();
    with_a_sweep(&mut store);
    let before = contents(&mut store);
    let log = |dir: &Path| dir.join(format!("{FILE_NAME}-wal"));
    let length = fs::metadata(log(dir.0.path())).unwrap().len();
    let numbers: Vec<u64> = (100..400).collect();
    store.commit(&added("sweep", 3, &numbers), AT).unwrap();
    let after: Contents = contents(&mut store);
    let full = fs::metadata(log(dir.0.path())).unwrap().len();
    assert!(full > length + 8192, "several pages");
    for cut in [length, length + 100, (length + full) / 2, full - 1] {
        let copy = killed(&dir, false);
        let file = fs::OpenOptions::new().write(true).open(log(copy.0.path())).unwrap();
        file.set_len(cut).unwrap();
        let found = contents(&mut copy.store());
        assert!(found == before, "cut at {cut} of {full}");
        assert!(found != after);
    }
}

#[test]
fn sqlite_counts_workers_as_detached_after_a_restart() {
    let dir = Directory::new();
    let mut store = dir.store();
    commit(&mut store, [Change::WorkerAttached(suite::hello("w1"))]);
    let attached = |store: &SqliteStore| -> i64 {
        let sql = "SELECT count(*) FROM workers WHERE attached";
        store.connection.query_row(sql, (), |row| row.get(0)).unwrap()
    };
    assert_eq!(attached(&store), 1);
    drop(store);
    let mut store = dir.store();
    store.restore(&mut |_| {}).unwrap();
    assert_eq!(attached(&store), 0);
}

#[test]
fn sqlite_has_one_log_for_a_failed_cohort() {
    use scheduler::event::{AttemptEnd, FailureCause};
    let dir = Directory::new();
    let mut store = dir.store();
    with_a_sweep(&mut store);
    commit(&mut store, [started(attempt(1, 1), "w1", 1)]);
    for number in [0, 1] {
        let end = AttemptEnd::CohortFailed {
            cause: FailureCause::TrainerDied,
            counted: false,
            message: "signal 11".into(),
            stderr_tail: "a long tail".into(),
        };
        commit(&mut store, [ended(attempt(number, 1), end)]);
    }
    let count = |sql: &str| -> i64 { store.connection.query_row(sql, (), |r| r.get(0)).unwrap() };
    assert_eq!(count("SELECT count(*) FROM cohort_logs WHERE stderr_tail = 'a long tail'"), 1);
    assert_eq!(count("SELECT count(*) FROM attempts WHERE message = 'signal 11'"), 2);
}

#[test]
fn sqlite_names_a_config_that_it_cannot_read() {
    let dir = Directory::new();
    let mut store = dir.store();
    with_a_sweep(&mut store);
    store.connection.execute("UPDATE configs SET params = '{\"depht\": 3}'", ()).unwrap();
    let error = store.restore(&mut |_| {}).expect_err("unknown parameter");
    let text = chain(&error);
    assert!(text.contains("has a config (") && text.contains("`depht`"), "{text}");
}

#[test]
fn sqlite_stores_numbers_that_are_none() {
    let dir = Directory::new();
    let mut store = dir.store();
    with_a_sweep(&mut store);
    let mut diverged = outcome(OutcomeKind::Diverged, None);
    diverged.seconds = f64::NAN;
    commit(
        &mut store,
        [
            Change::EpochRecorded(attempt(0, 1), metrics(1)),
            ended(attempt(0, 1), scheduler::event::AttemptEnd::Outcome(OutcomeKind::Diverged)),
            Change::OutcomeRecorded(attempt(0, 1), diverged),
            Change::SweepExpanded(name("sweep")),
        ],
    );
    let row: (Option<f64>, f64) = store
        .connection
        .query_row("SELECT val_loss, grad_norm FROM epochs", (), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(row, (None, f64::INFINITY));
}
