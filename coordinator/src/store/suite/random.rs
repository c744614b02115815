//! Random changes, valid and not, in a small world where most of them meet: a store must accept,
//! refuse and restore as the model does.

use std::cell::Cell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use scheduler::Change;
use scheduler::event::{AttemptEnd, EpochMetrics, FailureCause, Hold, OutcomeKind};

use super::memory::Memory;
use super::{
    AT, Place, added, attempt, closed, contents, header, hello, metrics, name, outcome, started,
    trial, worker,
};

const SWEEPS: [&str; 2] = ["a", "b"];
const WORKERS: [&str; 2] = ["w1", "w2"];
const TRIALS: u64 = 3;

/// One step: some changes that are committed together, and whether the store is opened again.
type Step = (Vec<Change>, bool);

pub fn equals_the_model(fresh: &dyn Fn() -> Box<dyn Place>) {
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let steps = prop::collection::vec(
        (prop::collection::vec(change(), 1..4), prop::bool::weighted(0.05)),
        1..60,
    );
    let (accepted, refused) = (Cell::new(0), Cell::new(0));
    TestRunner::new(config)
        .run(&steps, |steps| {
            let (one, other) = run(fresh, steps)?;
            accepted.set(accepted.get() + one);
            refused.set(refused.get() + other);
            Ok(())
        })
        .unwrap();
    let (accepted, refused) = (accepted.get(), refused.get());
    assert!(accepted > 50 && refused > 50, "{accepted} accepted, {refused} refused");
}

fn run(
    fresh: &dyn Fn() -> Box<dyn Place>,
    steps: Vec<Step>,
) -> Result<(usize, usize), TestCaseError> {
    let place = fresh();
    let model = Memory::default();
    let (mut store, mut expected) = (place.open(), model.open());
    let (mut accepted, mut refused) = (0, 0);
    for (changes, reopen) in steps {
        let ours = store.commit(&changes, AT).map_err(|error| error.to_string());
        let theirs = expected.commit(&changes, AT).map_err(|error| error.to_string());
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?}: {:?} {:?}", changes, ours, theirs);
        if ours.is_ok() {
            accepted += 1
        } else {
            refused += 1
        }
        if reopen {
            drop(store);
            store = place.open();
            prop_assert_eq!(contents(&mut *store), contents(&mut *expected));
        }
    }
    prop_assert_eq!(contents(&mut *store), contents(&mut *expected));
    Ok((accepted, refused))
}

/// Changes that are committed together, valid and not; a seed has its own.
pub fn commits(seed: u64, count: usize) -> Vec<Vec<Change>> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let commits = prop::collection::vec(prop::collection::vec(change(), 1..4), count);
    commits.new_tree(&mut runner).unwrap().current()
}

fn change() -> impl Strategy<Value = Change> {
    let sweep = || prop::sample::select(&SWEEPS[..]);
    let one = || 0..TRIALS;
    let of = || (one(), 1..4u32).prop_map(|(trial, number)| attempt(trial, number));
    let kind = || {
        prop::sample::select(vec![
            OutcomeKind::Completed,
            OutcomeKind::Diverged,
            OutcomeKind::Failed,
            OutcomeKind::Cancelled,
        ])
    };
    let attempts = prop_oneof![
        6 => (of(), prop::sample::select(&WORKERS[..]), 1..9u64)
            .prop_map(|(attempt, on, cohort)| started(attempt, on, cohort)),
        2 => of().prop_map(Change::AttemptAdopted),
        5 => (of(), end(), 0..3u32, prop::option::of(1..4u32)).prop_map(
            |(attempt, end, deaths, cohort_size_max)| {
                Change::AttemptEnded { attempt, end, deaths, cohort_size_max }
            }
        ),
        8 => (of(), epoch()).prop_map(|(attempt, epoch)| Change::EpochRecorded(attempt, epoch)),
        2 => (of(), kind(), prop::option::of(0.0..1.0)).prop_map(|(attempt, kind, error)| {
            Change::OutcomeRecorded(attempt, outcome(kind, error))
        }),
        1 => (one(), kind()).prop_map(|(number, kind)| {
            closed(&[number], kind)
        }),
        2 => (one(), one()).prop_map(|(one, other)| {
            let trials = BTreeSet::from([one, other]);
            Change::TrialsReopened(trials.into_iter().map(|number| trial(number).id).collect())
        }),
        1 => (one(), 0..3u32, prop::option::of(1..4u32)).prop_map(
            |(number, deaths, cohort_size_max)| {
                Change::TrialPardoned { trial: trial(number).id, deaths, cohort_size_max }
            }
        ),
    ];
    let sweeps = prop_oneof![
        3 => (sweep(), prop::option::of("[a-z]{4}"), any::<i32>()).prop_map(
            |(sweep, digest, priority)| {
                let mut header = header(sweep);
                header.data_digest = digest;
                header.priority = priority;
                Change::SweepApplied(header)
            }
        ),
        3 => one().prop_map(|number| Change::TrialsAdded(vec![trial(number)])),
        4 => (sweep(), 0..9u64, one()).prop_map(|(sweep, first, number)| {
            let [_, members] = added(sweep, first, &[number, (number + 1) % TRIALS]);
            members
        }),
        1 => (sweep(), one())
            .prop_map(|(sweep, number)| {
                Change::MembersRemoved(name(sweep), vec![trial(number).id])
            }),
        1 => sweep().prop_map(|sweep| Change::SweepExpanded(name(sweep))),
        1 => sweep().prop_map(|sweep| Change::SweepCompleted(name(sweep))),
        1 => sweep().prop_map(|sweep| Change::SweepReopened(name(sweep))),
        1 => (sweep(), hold()).prop_map(|(sweep, hold)| Change::SweepHeld(name(sweep), hold)),
        1 => sweep().prop_map(|sweep| Change::DataPinned(name(sweep), "pinned".into())),
        1 => prop::sample::select(&WORKERS[..]).prop_map(|id| Change::WorkerAttached(hello(id))),
        1 => prop::sample::select(&WORKERS[..]).prop_map(|id| Change::WorkerDetached(worker(id))),
    ];
    prop_oneof![attempts, sweeps]
}

fn hold() -> impl Strategy<Value = Option<Hold>> {
    let broken = Hold::Broken { reason: "signal 9: τ".into() };
    prop::sample::select(vec![None, Some(Hold::Paused), Some(Hold::Cancelled), Some(broken)])
}

fn end() -> impl Strategy<Value = AttemptEnd> {
    prop::sample::select(vec![
        AttemptEnd::Outcome(OutcomeKind::Completed),
        AttemptEnd::WorkerLost,
        AttemptEnd::Returned,
        AttemptEnd::Cancelled,
        AttemptEnd::CohortFailed {
            cause: FailureCause::OutOfMemory,
            counted: false,
            message: "memory".into(),
            stderr_tail: "tail".into(),
        },
    ])
}

/// Seconds are halves, so that their sums are exact in any order.
fn epoch() -> impl Strategy<Value = EpochMetrics> {
    (1..5u32, prop::option::of(0.0..1.0), 0..8u8).prop_map(|(epoch, error, halves)| EpochMetrics {
        val_error: error.unwrap_or(f64::NAN),
        seconds: f64::from(halves) / 2.0,
        ..metrics(epoch)
    })
}
