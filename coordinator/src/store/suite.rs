//! What every store must do. An implementation gives a `Place` and runs `check` on it.

mod contradictions;
pub mod memory;
pub mod random;
mod reopened;
mod scheduled;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::config::{Config, Data, Model};
use common::ids::{AttemptId, CohortId, SweepName, TrialId, WorkerId};
use scheduler::event::{
    AttemptEnd, Device, EpochMetrics, FailureCause, Fusion, Hold, Outcome, OutcomeKind, Provenance,
    StoredState, StoredTrial, SweepHeader, Trial, WorkerHello,
};
use scheduler::{Change, Event};

use super::{RESTORE_ROWS_MAX, Store, StoreError, Trouble};

/// A place that keeps what is committed to it.
pub trait Place {
    /// Opens it, also again: the earlier store may have ended without notice.
    fn open(&self) -> Box<dyn Store>;
}

/// Everything; `fresh` makes an empty place.
pub fn check(fresh: &dyn Fn() -> Box<dyn Place>) {
    restores_every_change(&*fresh());
    outlives_reopening_and_updates(&*fresh());
    commits_all_or_nothing(&*fresh());
    contradictions::refuses_contradictions(&*fresh());
    contradictions::refuses_an_end_with_its_outcome_whole(&*fresh());
    reopened::reopens_what_failed_or_was_cancelled(&*fresh());
    restores_in_pages(&*fresh());
    random::equals_the_model(fresh);
    scheduled::accepts_what_the_scheduler_decides(fresh);
}

pub const AT: u64 = 1_700_000_000_000;

/// What a restoration tells, with its order checked.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Contents {
    pub sweeps: Vec<Standing>,
    pub trials: BTreeMap<TrialId, StoredTrial>,
    pub members: BTreeMap<SweepName, Vec<(TrialId, bool)>>,
    pub cohort_max: Option<CohortId>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Standing {
    pub header: SweepHeader,
    pub expanded: bool,
    pub completed: bool,
    pub hold: Option<Hold>,
    pub slot_seconds: f64,
}

pub fn contents(store: &mut dyn Store) -> Contents {
    let mut found = Contents::default();
    let mut header = None;
    let mut sink = |event: Event| {
        assert_eq!(found.cohort_max, None, "nothing follows `Restored`");
        let early = found.trials.is_empty() && found.members.is_empty();
        match event.clone() {
            Event::SweepRestored(restored) => {
                assert!(early && header.is_none());
                header = Some(restored);
            }
            Event::SweepStandingRestored { sweep, expanded, completed, hold, slot_seconds } => {
                let header = header.take().expect("right after its sweep");
                assert_eq!(header.name, sweep);
                found.sweeps.push(Standing { header, expanded, completed, hold, slot_seconds });
            }
            Event::TrialsRestored(page) => {
                assert!(found.members.is_empty() && (1..=RESTORE_ROWS_MAX).contains(&page.len()));
                for trial in page {
                    assert_eq!(found.trials.insert(trial.trial.id, trial), None);
                }
            }
            Event::MembersRestored(sweep, page) => {
                assert!((1..=RESTORE_ROWS_MAX).contains(&page.len()));
                found.members.entry(sweep).or_default().extend(page);
            }
            Event::Restored { cohort_max } => found.cohort_max = Some(cohort_max),
            Event::SweepApplied(_)
            | Event::TrialsAdded(..)
            | Event::SweepExpanded(_)
            | Event::SweepPruned(_)
            | Event::SweepPaused(_)
            | Event::SweepResumed(_)
            | Event::SweepCancelled(_)
            | Event::SweepRetried(_)
            | Event::WorkerDrained(_)
            | Event::WorkerAttached(..)
            | Event::WorkerDetached(..)
            | Event::Heartbeat { .. }
            | Event::Reported { .. }
            | Event::Closing
            | Event::Stalled
            | Event::Tick => panic!("{event:?} is no part of a restoration"),
        }
    };
    store.restore(&mut sink).unwrap();
    assert!(found.cohort_max.is_some(), "`Restored` ends it");
    let mut unexpanded = Vec::new();
    for sweep in found.sweeps.iter().filter(|sweep| !sweep.expanded) {
        unexpanded.push(sweep.header.name.clone());
    }
    assert_eq!(store.unexpanded().unwrap(), unexpanded);
    found
}

/// Commits changes one by one.
pub fn commit(store: &mut dyn Store, changes: impl IntoIterator<Item = Change>) {
    for change in changes {
        store.commit(std::slice::from_ref(&change), AT).unwrap_or_else(|error| {
            panic!("{change:?}: {}", common::telemetry::chain(&error));
        });
    }
}

pub fn name(text: &str) -> SweepName {
    text.parse().unwrap()
}

pub fn worker(text: &str) -> WorkerId {
    text.parse().unwrap()
}

pub fn header(sweep: &str) -> SweepHeader {
    SweepHeader {
        name: name(sweep),
        yaml: format!("name: {sweep}\n# τ\n"),
        model: Model::Mlp,
        data: Data::Strokes,
        fusion: Fusion::Size(16),
        priority: -3,
        failures_max: Some(7),
        slot_seconds_max: Some(3600.5),
        same_error_max: Some(20),
        data_digest: None,
    }
}

/// Trial `number` of the suite; its id is spread over all 64 bits.
pub fn trial(number: u64) -> Trial {
    let params = format!("{{\"depth\": {}, \"lr\": 0.1234567890123456}}", 1 + number % 7);
    let config = Config::from_json("mlp", "strokes", &params).unwrap();
    let seed = number / 7;
    Trial { id: config.trial_id(seed), config: Arc::new(config), seed }
}

pub fn attempt(trial_number: u64, number: u32) -> AttemptId {
    AttemptId { trial: trial(trial_number).id, number }
}

pub fn metrics(epoch: u32) -> EpochMetrics {
    EpochMetrics {
        epoch,
        train_loss: 0.5,
        train_error: 0.25,
        val_loss: f64::NAN,
        val_error: 1.0 / f64::from(epoch),
        gate: 0.1,
        lr: 3e-4,
        grad_norm: f64::INFINITY,
        examples_per_second: 1e4,
        seconds: 1.5,
        examples: 10_000,
    }
}

pub fn outcome(kind: OutcomeKind, val_error: Option<f64>) -> Outcome {
    Outcome {
        kind,
        epochs: 3,
        seconds: 9.5,
        best_epoch: val_error.map(|_| 2),
        test_error: val_error.map(|error| error + 0.01),
        test_loss: val_error.map(|error| error * 3.0),
        val_error,
        val_loss: val_error.map(|error| error * 2.0),
        train_loss: val_error,
        reason: "patience exhausted at epoch 3".into(),
        provenance: Provenance { program_version: "0.1.0".into(), ..Provenance::default() },
    }
}

pub fn hello(id: &str) -> WorkerHello {
    WorkerHello {
        id: worker(id),
        host: "host".into(),
        program_version: "0.1.0".into(),
        libtorch_version: String::new(),
        slots: vec![Device::Cuda(0), Device::Cpu],
        data_digests: [(Data::Strokes, "abc".to_owned())].into(),
        running: Vec::new(),
        draining: false,
    }
}

pub fn started(attempt: AttemptId, on: &str, cohort: u64) -> Change {
    let (worker, cohort) = (worker(on), CohortId(cohort));
    Change::AttemptStarted { attempt, worker, cohort, cohort_size: 4 }
}

pub fn ended(attempt: AttemptId, end: AttemptEnd) -> Change {
    Change::AttemptEnded { attempt, end, deaths: 0, cohort_size_max: None }
}

pub fn closed(trials: &[u64], kind: OutcomeKind) -> Change {
    let trials = trials.iter().map(|number| trial(*number).id).collect();
    Change::TrialsClosed { trials, kind, reason: "no sweep wants it".into() }
}

pub fn added(sweep: &str, first_index: u64, trials: &[u64]) -> [Change; 2] {
    let all: Vec<Trial> = trials.iter().map(|number| trial(*number)).collect();
    let ids = all.iter().map(|trial| trial.id).collect();
    let members = Change::MembersAdded { sweep: name(sweep), first_index, trials: ids };
    [Change::TrialsAdded(all), members]
}

fn stored(number: u64, state: StoredState) -> StoredTrial {
    StoredTrial {
        trial: trial(number),
        attempts: 1,
        deaths: 0,
        cohort_size_max: None,
        is_fenced: false,
        epochs: 0,
        attempt_epoch: 0,
        val_error: None,
        state,
    }
}

fn failed(counted: bool) -> AttemptEnd {
    AttemptEnd::CohortFailed {
        cause: FailureCause::TrainerDied,
        counted,
        message: "signal 9".into(),
        stderr_tail: "last words".into(),
    }
}

/// The life of the trials of `restores_every_change`.
pub fn lives() -> Vec<Change> {
    vec![
        Change::SweepExpanded(name("first")),
        Change::DataPinned(name("first"), "digest".into()),
        Change::MembersRemoved(name("first"), vec![trial(5).id]),
        Change::WorkerAttached(hello("w1")),
        started(attempt(0, 1), "w1", 8),
        started(attempt(1, 1), "w1", 8),
        started(attempt(2, 1), "w1", 9),
        started(attempt(3, 1), "w1", 12),
        Change::EpochRecorded(attempt(0, 1), metrics(1)),
        Change::EpochRecorded(attempt(0, 1), metrics(2)),
        ended(attempt(0, 1), AttemptEnd::WorkerLost),
        started(attempt(0, 2), "w1", 10),
        Change::EpochRecorded(attempt(0, 2), metrics(2)),
        ended(attempt(0, 2), AttemptEnd::Outcome(OutcomeKind::Completed)),
        Change::OutcomeRecorded(attempt(0, 2), outcome(OutcomeKind::Completed, Some(0.25))),
        Change::AttemptEnded {
            attempt: attempt(1, 1),
            end: failed(true),
            deaths: 1,
            cohort_size_max: Some(2),
        },
        ended(attempt(2, 1), AttemptEnd::Returned),
        Change::EpochRecorded(attempt(2, 1), metrics(1)),
        Change::AttemptAdopted(attempt(2, 1)),
        closed(&[4], OutcomeKind::Cancelled),
        Change::SweepHeld(name("second"), Some(Hold::Cancelled)),
        Change::SweepCompleted(name("second")),
        Change::SweepReopened(name("second")),
        Change::SweepCompleted(name("first")),
        Change::WorkerDetached(worker("w1")),
    ]
}

/// Every kind of change, and what a restart must know of it.
fn restores_every_change(place: &dyn Place) {
    let mut store = place.open();
    let running = |cohort| StoredState::Running { worker: worker("w1"), cohort: CohortId(cohort) };
    commit(&mut *store, [Change::SweepApplied(header("first"))]);
    commit(&mut *store, added("first", 0, &[0, 1, 2, 3, 4, 5]));
    commit(&mut *store, [Change::SweepApplied(header("second"))]);
    commit(&mut *store, added("second", 0, &[2, 0]));
    commit(&mut *store, lives());
    let mut first = header("first");
    first.data_digest = Some("digest".into());
    let kinds = [OutcomeKind::Completed, OutcomeKind::Cancelled].map(StoredState::Ended);
    let [completed, cancelled] = kinds;
    let trials = [
        StoredTrial {
            attempts: 2,
            epochs: 2,
            attempt_epoch: 2,
            val_error: Some(0.25),
            ..stored(0, completed)
        },
        StoredTrial { deaths: 1, cohort_size_max: Some(2), ..stored(1, StoredState::Pending) },
        StoredTrial { epochs: 1, attempt_epoch: 1, val_error: Some(1.0), ..stored(2, running(9)) },
        stored(3, running(12)),
        StoredTrial { attempts: 0, ..stored(4, cancelled) },
        StoredTrial { attempts: 0, ..stored(5, StoredState::Pending) },
    ];
    let member = |number: u64| (trial(number).id, number == 5);
    let expected = Contents {
        sweeps: vec![
            Standing {
                header: first,
                expanded: true,
                completed: true,
                hold: None,
                // Four epochs of 1.5 s in cohorts of four.
                slot_seconds: 1.5,
            },
            Standing {
                header: header("second"),
                expanded: false,
                completed: false,
                hold: Some(Hold::Cancelled),
                slot_seconds: 1.5,
            },
        ],
        trials: trials.map(|trial| (trial.trial.id, trial)).into(),
        members: [
            (name("first"), (0..6).map(member).collect()),
            (name("second"), [2, 0].map(member).into()),
        ]
        .into(),
        cohort_max: Some(CohortId(12)),
    };
    assert_eq!(contents(&mut *store), expected);
    drop(store);
    assert_eq!(contents(&mut *place.open()), expected);
}

/// Applying again updates a sweep and keeps what it has.
fn outlives_reopening_and_updates(place: &dyn Place) {
    let mut store = place.open();
    let empty = Contents { cohort_max: Some(CohortId(0)), ..Contents::default() };
    assert_eq!(contents(&mut *store), empty);
    commit(&mut *store, [Change::SweepApplied(header("sweep"))]);
    commit(&mut *store, added("sweep", 0, &[0, 1, 2]));
    commit(
        &mut *store,
        [Change::SweepExpanded(name("sweep")), Change::DataPinned(name("sweep"), "pinned".into())],
    );
    drop(store);
    let mut store = place.open();
    let again = SweepHeader {
        yaml: "changed".into(),
        priority: 9,
        fusion: Fusion::Auto,
        failures_max: None,
        slot_seconds_max: None,
        same_error_max: None,
        data_digest: Some("carried over".into()),
        ..header("sweep")
    };
    commit(&mut *store, [Change::SweepApplied(again.clone())]);
    // Trial 1 goes, trial 3 comes in its place, trial 2 moves to the front.
    commit(&mut *store, added("sweep", 0, &[2, 3, 0]));
    commit(&mut *store, [Change::MembersRemoved(name("sweep"), vec![trial(1).id])]);
    let found = contents(&mut *place.open());
    assert_eq!(
        found.sweeps,
        [Standing {
            header: again,
            expanded: false,
            completed: false,
            hold: None,
            slot_seconds: 0.0
        }]
    );
    let mut members = found.members[&name("sweep")].clone();
    // Where a removed member stands among the others does not matter.
    let removed = members.iter().position(|(_, removed)| *removed).unwrap();
    assert_eq!(members.remove(removed), (trial(1).id, true));
    assert_eq!(members, [2, 3, 0].map(|number| (trial(number).id, false)));
    commit(&mut *store, added("sweep", 1, &[1]));
    assert!(contents(&mut *store).members[&name("sweep")].contains(&(trial(1).id, false)));
}

fn commits_all_or_nothing(place: &dyn Place) {
    let mut store = place.open();
    commit(&mut *store, [Change::SweepApplied(header("sweep"))]);
    commit(&mut *store, added("sweep", 0, &[0, 1]));
    commit(&mut *store, [started(attempt(0, 1), "w1", 1)]);
    let before = contents(&mut *store);
    let batch = [
        Change::EpochRecorded(attempt(0, 1), metrics(1)),
        Change::SweepApplied(header("other")),
        started(attempt(1, 1), "w1", 2),
        Change::EpochRecorded(attempt(0, 1), metrics(1)),
    ];
    refused(&mut *store, &batch, "epoch 1 of attempt");
    assert_eq!(contents(&mut *store), before);
    store.commit(&batch[..3], AT).unwrap();
    drop(store);
    let after = contents(&mut *place.open());
    assert_eq!(after.sweeps.len(), 2);
    assert_eq!(after.trials[&trial(0).id].epochs, 1);
    assert_eq!(after.trials[&trial(1).id].attempts, 1);
}

fn refused(store: &mut dyn Store, changes: &[Change], says: &str) {
    let error = store.commit(changes, AT).expect_err(says);
    let StoreError::NotCommitted { trouble: Trouble::Contradiction(what), .. } = &error else {
        panic!("{error:?}");
    };
    assert!(what.contains(says), "{what} instead of {says}");
}

/// More rows than a page, in the order of expansion.
fn restores_in_pages(place: &dyn Place) {
    let mut store = place.open();
    let count = 2 * RESTORE_ROWS_MAX as u64 + 1;
    let numbers: Vec<u64> = (0..count).rev().collect();
    commit(&mut *store, [Change::SweepApplied(header("large"))]);
    for (at, chunk) in (0..).zip(numbers.chunks(RESTORE_ROWS_MAX)) {
        store.commit(&added("large", at * RESTORE_ROWS_MAX as u64, chunk), AT).unwrap();
    }
    let found = contents(&mut *store);
    assert_eq!(found.trials.len() as u64, count);
    let members: Vec<TrialId> = found.members[&name("large")].iter().map(|(id, _)| *id).collect();
    let expected: Vec<TrialId> = numbers.iter().map(|number| trial(*number).id).collect();
    assert_eq!(members, expected);
}
