//! Files of earlier schema versions: they open, are brought up to date whole or not at all, and
//! keep what they have.
//!
//! A new step needs nothing here but, where it changes what a restart tells, `expected`.

use scheduler::Change;
use scheduler::event::{Hold, StoredState};

use super::crashes::sound_store;
use super::faults::{Disk, Fault, Faulty};
use super::*;
use crate::store::suite::memory::Memory;
use crate::store::suite::{Contents, Place, added, commit, contents, header, lives, name};

/// A database that a program of version 1 wrote after it had committed `changes`.
const VERSION_1: &str = include_str!("tests/version_1.sql");
/// What the dump has of tables that a restart does not tell whole.
const COUNTED: [&str; 6] = ["configs", "attempts", "epochs", "outcomes", "cohort_logs", "workers"];

/// Version 1 knew no holds.
fn changes() -> Vec<Change> {
    let mut changes = vec![Change::SweepApplied(header("first"))];
    changes.extend(added("first", 0, &[0, 1, 2, 3, 4, 5]));
    changes.push(Change::SweepApplied(header("second")));
    changes.extend(added("second", 0, &[2, 0]));
    changes.extend(lives().into_iter().filter(|change| !matches!(change, Change::SweepHeld(..))));
    changes
}

/// Version 2 brought holds and fences.
const OF_VERSION_2: &str = "UPDATE sweeps SET hold = 'paused' WHERE name = 'first';
    UPDATE trials SET fenced = 1 WHERE state = 'pending';";

fn expected(version: i64) -> Contents {
    let mut model = Memory::default().open();
    commit(&mut *model, changes());
    if version >= 2 {
        commit(&mut *model, [Change::SweepHeld(name("first"), Some(Hold::Paused))]);
    }
    let mut contents = contents(&mut *model);
    for trial in contents.trials.values_mut() {
        trial.is_fenced |= version >= 2 && trial.state == StoredState::Pending;
    }
    contents
}

/// A file as a program of this version left it: ended in order, and killed with its log unmoved.
fn files(version: i64) -> [Faulty; 2] {
    let faulty = Faulty::new(Disk::new(1));
    let connection = faulty.connect().unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    connection.execute_batch(VERSION_1).unwrap();
    for step in &MIGRATIONS[1..usize::try_from(version).unwrap()] {
        connection.execute_batch(step).unwrap();
    }
    if version >= 2 {
        connection.execute_batch(OF_VERSION_2).unwrap();
    }
    connection.pragma_update(None, "user_version", version).unwrap();
    let killed = faulty.restarted(1);
    drop(connection);
    [faulty, killed]
}

fn counts(connection: &Connection) -> Vec<i64> {
    let count = |table: &&str| {
        let sql = format!("SELECT count(*) FROM {table}");
        connection.query_row(&sql, (), |row| row.get(0)).unwrap()
    };
    COUNTED.iter().map(count).collect()
}

fn schema(store: &SqliteStore) -> Vec<(String, Option<String>)> {
    let sql = "SELECT name, sql FROM sqlite_schema ORDER BY name";
    let mut statement = store.connection.prepare(sql).unwrap();
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn earlier_versions_open_with_their_content() {
    let fresh = Faulty::new(Disk::new(1));
    let newest = schema(&fresh.store().unwrap());
    for version in 1..=VERSION {
        for file in files(version) {
            let before = counts(&file.connect().unwrap());
            assert!(!before.contains(&0), "{COUNTED:?}: {before:?}");
            let mut store = sound_store(&file).unwrap();
            assert_eq!(identify(&store.connection).unwrap().version, VERSION);
            assert_eq!(contents(&mut store), expected(version), "from version {version}");
            assert_eq!(counts(&store.connection), before);
            assert_eq!(schema(&store), newest, "from version {version}");
            commit(&mut store, [Change::SweepApplied(header("third"))]);
            drop(store);
            let found = contents(&mut *file.open());
            assert_eq!(found.sweeps[2].header.name, name("third"));
        }
    }
}

#[test]
fn power_cuts_while_a_file_is_brought_up_to_date_cost_nothing() {
    let of = |version| files(version).map(|file| (version, file));
    for (from, file) in (1..VERSION).flat_map(of) {
        let whole = file.restarted(1);
        whole.fail(Fault::None);
        drop(whole.store().unwrap());
        for at in 0..=whole.operations() {
            let cut = file.restarted(1);
            cut.fail(Fault::PowerCut { at });
            drop(cut.store());
            for restart in at..at + 5 {
                let after = cut.restarted(restart);
                let mut store = sound_store(&after).unwrap();
                let version = identify(&store.connection).unwrap().version;
                assert_eq!(version, VERSION);
                let found = contents(&mut store);
                assert_eq!(found, expected(from), "cut at {at}, restart {restart}");
            }
        }
    }
}

#[test]
fn a_file_that_would_lose_a_row_stays_as_it_is() {
    let [file, _] = files(2);
    let connection = file.connect().unwrap();
    connection.execute_batch("PRAGMA foreign_keys = 0; DELETE FROM configs").unwrap();
    let before = counts(&connection);
    drop(connection);
    assert!(file.store().is_err(), "its trials have no config");
    let connection = file.connect().unwrap();
    assert_eq!(identify(&connection).unwrap().version, 2);
    assert_eq!(counts(&connection), before);
}
