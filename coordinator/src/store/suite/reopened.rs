//! Trials whose outcomes are taken back.

use scheduler::Change;
use scheduler::event::{AttemptEnd, OutcomeKind, StoredState};

use super::{
    Place, added, attempt, closed, commit, contents, ended, header, metrics, outcome, started,
    trial,
};

/// A trial that is tried again has no outcome, keeps its history, and can have another outcome.
pub fn reopens_what_failed_or_was_cancelled(place: &dyn Place) {
    let mut store = place.open();
    commit(&mut *store, [Change::SweepApplied(header("sweep"))]);
    commit(&mut *store, added("sweep", 0, &[0, 1]));
    let died = AttemptEnd::Outcome(OutcomeKind::Failed);
    commit(
        &mut *store,
        [
            started(attempt(0, 1), "w1", 1),
            Change::EpochRecorded(attempt(0, 1), metrics(1)),
            Change::AttemptEnded {
                attempt: attempt(0, 1),
                end: died,
                deaths: 3,
                cohort_size_max: Some(1),
            },
            Change::OutcomeRecorded(attempt(0, 1), outcome(OutcomeKind::Failed, None)),
            closed(&[1], OutcomeKind::Cancelled),
            Change::TrialsReopened(vec![trial(0).id, trial(1).id]),
        ],
    );
    drop(store);
    let mut store = place.open();
    let found = contents(&mut *store);
    let failed = &found.trials[&trial(0).id];
    assert_eq!((failed.attempts, failed.epochs, failed.deaths), (1, 1, 0));
    assert_eq!((&failed.state, failed.is_fenced), (&StoredState::Pending, true));
    assert_eq!(found.trials[&trial(1).id].state, StoredState::Pending);
    assert!(found.trials[&trial(1).id].is_fenced);
    commit(
        &mut *store,
        [
            started(attempt(0, 2), "w1", 2),
            ended(attempt(0, 2), AttemptEnd::Outcome(OutcomeKind::Completed)),
            Change::OutcomeRecorded(attempt(0, 2), outcome(OutcomeKind::Completed, Some(0.5))),
            closed(&[1], OutcomeKind::Cancelled),
        ],
    );
    let found = contents(&mut *store);
    assert!(!found.trials[&trial(0).id].is_fenced);
    assert_eq!(found.trials[&trial(0).id].val_error, Some(0.5));
}
