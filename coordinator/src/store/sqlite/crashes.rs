//! The store on a disk that loses power, or refuses, at every single operation: what was
//! acknowledged is there afterwards, what was refused is not, and nothing is there by half.
//!
//! `GRADSWEEP_CRASH_SEEDS` raises the number of stories that are told this way.

use common::telemetry::chain;
use scheduler::event::Hold;

use super::faults::{Disk, Fault, Faulty, Refusal};
use super::*;
use crate::store::suite::memory::Memory;
use crate::store::suite::{
    AT, Contents, Place, added, attempt, contents, header, lives, name, random, started, trial,
};

const SEEDS: u64 = 2;
const SEEDS_VARIABLE: &str = "GRADSWEEP_CRASH_SEEDS";
/// Disks that are tried for each power cut: what is left of unsynced writes differs.
const RESTARTS: u64 = 2;

/// Commits, and what the model has after each number of them.
struct Story {
    seed: u64,
    commits: Vec<Vec<Change>>,
    expected: Vec<Contents>,
}

/// How far a program came.
struct Reached {
    /// The store's identity, once it was open.
    id: Option<String>,
    acknowledged: usize,
    /// Whether the next commit may be stored.
    is_unknown: bool,
}

fn stories() -> impl Iterator<Item = Story> {
    let seeds = std::env::var(SEEDS_VARIABLE).map_or(SEEDS, |seeds| seeds.parse().unwrap());
    (0..seeds).map(Story::new)
}

impl Story {
    /// Every kind of change first; then random ones, other than with seed 0.
    fn new(seed: u64) -> Story {
        let model = Memory::default();
        let mut store = model.open();
        let mut story = Story { seed, commits: Vec::new(), expected: vec![contents(&mut *store)] };
        let random = if seed == 0 { Vec::new() } else { random::commits(seed, 40) };
        for (at, commit) in every_kind().into_iter().chain(random).enumerate() {
            let accepted = store.commit(&commit, AT);
            assert!(accepted.is_ok() || at >= every_kind().len(), "{commit:?}");
            if accepted.is_ok() {
                story.commits.push(commit);
                story.expected.push(contents(&mut *store));
            }
        }
        story
    }

    /// Some stories move the log to the database all the time, which production does rarely.
    fn prepare(&self, store: &SqliteStore) {
        let pages = [LOG_PAGES, 4, 24][usize::try_from(self.seed % 3).unwrap()];
        store.connection.pragma_update(None, "wal_autocheckpoint", pages).unwrap();
    }

    /// Half of the commits are made by a program that ends and starts again.
    fn reopens_at(&self, at: usize) -> bool {
        self.seed % 2 == 1 && at == self.commits.len() / 2
    }

    /// Plays the story until something fails.
    fn play(&self, faulty: &Faulty, prepare: &dyn Fn(&SqliteStore)) -> Reached {
        let mut reached = Reached { id: None, acknowledged: 0, is_unknown: false };
        while let Ok(mut store) = faulty.store() {
            prepare(&store);
            reached.id = store.id().ok();
            loop {
                let at = reached.acknowledged;
                let Some(commit) = self.commits.get(at) else { return reached };
                if let Err(error) = store.commit(commit, AT) {
                    reached.is_unknown = is_unknown(&error);
                    return reached;
                }
                reached.acknowledged += 1;
                if self.reopens_at(reached.acknowledged) {
                    break;
                }
            }
        }
        reached
    }

    /// Operations of a life without faults.
    fn operations(&self) -> u64 {
        let faulty = Faulty::new(Disk::new(self.seed));
        let reached = self.play(&faulty, &|store| self.prepare(store));
        assert_eq!(reached.acknowledged, self.commits.len());
        faulty.operations()
    }

    /// What a power cut now leaves on the disk.
    fn judge(&self, faulty: &Faulty, reached: &Reached, restart: u64) -> Result<(), String> {
        let mut after = faulty.restarted(restart);
        if restart % 2 == 1 {
            // Once more, while the store recovers.
            after.fail(Fault::PowerCut { at: restart / 2 % 16 });
            _ = after.store();
            after = after.restarted(restart / 2);
        }
        let mut store = sound_store(&after)?;
        if let Some(id) = &reached.id {
            let found = store.id().map_err(|error| chain(&error))?;
            (found == *id).then_some(()).ok_or("another identity")?;
        }
        let found = contents(&mut store);
        let most = reached.acknowledged + usize::from(reached.is_unknown);
        let may_be = reached.acknowledged..=most;
        if self.expected[may_be.clone()].contains(&found) {
            return Ok(());
        }
        let is = self.expected.iter().position(|expected| *expected == found);
        Err(format!("{is:?} instead of {may_be:?} commits"))
    }

    /// Cuts the power at every operation.
    fn crash(&self, prepare: &dyn Fn(&SqliteStore)) -> Result<(), String> {
        for at in 0..=self.operations() {
            let faulty = Faulty::new(Disk::new(at));
            faulty.fail(Fault::PowerCut { at });
            let reached = self.play(&faulty, prepare);
            let is_over = reached.acknowledged == self.commits.len();
            assert!(!faulty.has_power() || is_over, "only the power cut ends it");
            for restart in 0..RESTARTS {
                let restart = at * RESTARTS + restart + self.seed;
                self.judge(&faulty, &reached, restart).map_err(|wrong| {
                    format!("seed {}, operation {at}, restart {restart}: {wrong}", self.seed)
                })?;
            }
        }
        Ok(())
    }

    /// Plays the story on a disk that refuses for a while, with one store that goes on.
    fn struggle(&self, faulty: &Faulty) -> Result<(), String> {
        let again = |_| {
            faulty.fail(Fault::None);
            faulty.store().map_err(|error| chain(&error))
        };
        let mut store = faulty.store().or_else(again)?;
        self.prepare(&store);
        let id = store.id().ok();
        let mut at = 0;
        while at < self.commits.len() {
            let Err(error) = store.commit(&self.commits[at], AT) else {
                at += 1;
                continue;
            };
            let reached =
                Reached { id: id.clone(), acknowledged: at, is_unknown: is_unknown(&error) };
            self.judge(faulty, &reached, at as u64)?;
            // It may fail for as long as the disk does.
            _ = store.restore(&mut |_| {});
            faulty.fail(Fault::None);
            let found = contents(&mut store);
            if reached.is_unknown && found == self.expected[at + 1] {
                at += 1;
            } else if found != self.expected[at] {
                return Err(format!("after {}: not {at} commits", chain(&error)));
            }
        }
        drop(store);
        let reached = Reached { id, acknowledged: at, is_unknown: false };
        self.judge(faulty, &reached, 0)
    }
}

fn is_unknown(error: &StoreError) -> bool {
    match error {
        StoreError::NotCommitted { trouble: Trouble::Io | Trouble::DiskFull, .. } => false,
        StoreError::Unknown { trouble: Trouble::Io | Trouble::DiskFull, .. } => true,
        _ => panic!("no error of a disk: {}", chain(error)),
    }
}

/// Opens a store as the program does; SQLite finds nothing wrong with it.
pub fn sound_store(faulty: &Faulty) -> Result<SqliteStore, String> {
    let mut store = faulty.store().map_err(|error| chain(&error))?;
    let check: String = store
        .connection
        .pragma_query_value(None, "integrity_check", |row| row.get(0))
        .map_err(|error| error.to_string())?;
    if check != "ok" {
        return Err(check);
    }
    let sql = "SELECT count(*) FROM pragma_foreign_key_check";
    let dangling: i64 =
        store.connection.query_row(sql, (), |row| row.get(0)).map_err(|error| error.to_string())?;
    if dangling > 0 {
        return Err(format!("{dangling} rows refer to nothing"));
    }
    store.restore(&mut |_| {}).map_err(|error| chain(&error))?;
    Ok(store)
}

fn every_kind() -> Vec<Vec<Change>> {
    let [trials, members] = added("first", 0, &[0, 1, 2, 3, 4, 5]);
    let [more, second] = added("second", 0, &[2, 0]);
    let mut commits = vec![
        vec![Change::SweepApplied(header("first")), trials, members],
        vec![Change::SweepApplied(header("second"))],
        vec![more, second],
    ];
    commits.extend(lives().chunks(2).map(<[Change]>::to_vec));
    let pardoned = trial(1).id;
    commits.extend([
        vec![Change::TrialPardoned { trial: pardoned, deaths: 0, cohort_size_max: None }],
        vec![Change::TrialsReopened(vec![trial(4).id]), started(attempt(4, 1), "w1", 13)],
        vec![Change::SweepHeld(name("first"), Some(Hold::Paused))],
    ]);
    // Many pages at once.
    let [many, members] = added("first", 6, &(6..150).collect::<Vec<u64>>());
    commits.push(vec![many, members]);
    commits
}

/// A kind that is added has to have a number here, and `every_kind` to have it.
fn number_of_kind(change: &Change) -> usize {
    match change {
        Change::SweepApplied(_) => 0,
        Change::TrialsAdded(_) => 1,
        Change::MembersAdded { .. } => 2,
        Change::MembersRemoved(..) => 3,
        Change::SweepExpanded(_) => 4,
        Change::SweepCompleted(_) => 5,
        Change::SweepReopened(_) => 6,
        Change::SweepHeld(..) => 7,
        Change::DataPinned(..) => 8,
        Change::WorkerAttached(_) => 9,
        Change::WorkerDetached(_) => 10,
        Change::AttemptStarted { .. } => 11,
        Change::AttemptAdopted(_) => 12,
        Change::AttemptEnded { .. } => 13,
        Change::EpochRecorded(..) => 14,
        Change::OutcomeRecorded(..) => 15,
        Change::TrialsClosed { .. } => 16,
        Change::TrialsReopened(_) => 17,
        Change::TrialPardoned { .. } => 18,
    }
}

#[test]
fn stories_have_every_kind_of_change() {
    let mut missing: Vec<usize> = (0..19).collect();
    for change in every_kind().iter().flatten() {
        missing.retain(|kind| *kind != number_of_kind(change));
    }
    assert_eq!(missing, [0; 0]);
}

#[test]
fn power_cuts_lose_nothing_acknowledged_and_store_nothing_by_half() {
    for story in stories() {
        story.crash(&|store| story.prepare(store)).unwrap();
    }
}

/// Without it, the test above could pass because the disk is too kind.
#[test]
fn power_cuts_show_a_store_that_does_not_sync() {
    let story = Story::new(1);
    let wrong = story
        .crash(&|store| {
            story.prepare(store);
            store.connection.pragma_update(None, "synchronous", "off").unwrap();
        })
        .expect_err("acknowledged commits are lost");
    assert!(wrong.contains("commits") || wrong.contains("malformed"), "{wrong}");
}

/// SQLite tells the new journal mode before it has written it.
#[test]
fn stores_that_open_have_a_write_ahead_log() {
    for from in 0..8 {
        for why in [Refusal::Full, Refusal::Device] {
            let faulty = Faulty::new(Disk::new(from));
            faulty.fail(Fault::Refusal { from, until: from + 1, why });
            let Ok(store) = faulty.store() else { continue };
            let mode: String = store
                .connection
                .pragma_query_value(None, "journal_mode", |row| row.get(0))
                .unwrap();
            assert_eq!(mode, "wal", "{why:?} at {from}");
        }
    }
}

#[test]
fn disks_that_refuse_for_a_while_cost_nothing_acknowledged() {
    for story in stories() {
        for from in 0..story.operations() {
            let why = [Refusal::Full, Refusal::Device][usize::try_from(from / 2 % 2).unwrap()];
            let until = if from % 2 == 0 { from + 1 } else { u64::MAX };
            let faulty = Faulty::new(Disk::new(from));
            faulty.fail(Fault::Refusal { from, until, why });
            story.struggle(&faulty).unwrap_or_else(|wrong| {
                panic!("seed {}, {why:?} from {from} until {until}: {wrong}", story.seed);
            });
        }
    }
}
