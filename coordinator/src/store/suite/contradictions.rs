//! What contradicts the stored rows is refused, and changes nothing.

use scheduler::Change;
use scheduler::event::{AttemptEnd, OutcomeKind};

use super::{
    Place, Store, added, attempt, closed, commit, contents, ended, header, metrics, name, outcome,
    refused, started, trial,
};

/// Trial 0 has completed, trial 1 runs.
fn lived(store: &mut dyn Store) {
    commit(store, [Change::SweepApplied(header("sweep"))]);
    commit(store, added("sweep", 0, &[0, 1, 2]));
    let done = outcome(OutcomeKind::Completed, Some(0.5));
    commit(
        store,
        [
            started(attempt(0, 1), "w1", 1),
            Change::EpochRecorded(attempt(0, 1), metrics(1)),
            ended(attempt(0, 1), AttemptEnd::Outcome(OutcomeKind::Completed)),
            Change::OutcomeRecorded(attempt(0, 1), done),
            started(attempt(1, 1), "w1", 2),
        ],
    );
}

/// What happens once cannot be stored twice, and nothing refers to what is not there.
pub fn refuses_contradictions(place: &dyn Place) {
    let mut store = place.open();
    lived(&mut *store);
    let done = outcome(OutcomeKind::Completed, Some(0.5));
    let closed = |number| closed(&[number], OutcomeKind::Cancelled);
    let reopened = |number| Change::TrialsReopened(vec![trial(number).id]);
    let (deaths, cohort_size_max) = (0, None);
    let pardoned =
        |number| Change::TrialPardoned { trial: trial(number).id, deaths, cohort_size_max };
    let before = contents(&mut *store);
    let member = |sweep: &str, number| Change::MembersAdded {
        sweep: name(sweep),
        first_index: 0,
        trials: vec![trial(number).id],
    };
    let refusals = [
        (Change::OutcomeRecorded(attempt(0, 1), done.clone()), "the outcome of"),
        (closed(0), "closing 1 trials"),
        (reopened(0), "reopening 1 trials"),
        (reopened(1), "reopening 1 trials"),
        (reopened(9), "reopening 1 trials"),
        (pardoned(0), "pardoning trial"),
        (pardoned(9), "pardoning trial"),
        (Change::SweepHeld(name("other"), None), "holding"),
        (started(attempt(0, 2), "w1", 3), "the start of"),
        (ended(attempt(0, 1), AttemptEnd::Returned), "the end of"),
        (Change::AttemptAdopted(attempt(0, 1)), "adopting"),
        (Change::EpochRecorded(attempt(0, 1), metrics(1)), "epoch 1 of"),
        (Change::EpochRecorded(attempt(0, 2), metrics(2)), "epoch 2 of"),
        (started(attempt(1, 1), "w1", 3), "the start of"),
        (started(attempt(1, 2), "w1", 3), "the start of"),
        (closed(1), "closing 1 trials"),
        (Change::OutcomeRecorded(attempt(1, 1), done.clone()), "the outcome of"),
        (Change::OutcomeRecorded(attempt(1, 2), done), "the outcome of"),
        (Change::AttemptAdopted(attempt(1, 1)), "adopting"),
        (Change::AttemptAdopted(attempt(2, 0)), "adopting"),
        (ended(attempt(2, 1), AttemptEnd::WorkerLost), "the end of"),
        (started(attempt(9, 1), "w1", 3), "the start of"),
        (closed(9), "closing 1 trials"),
        (member("sweep", 9), "adding 1 members"),
        (member("other", 0), "adding 1 members"),
        (Change::MembersRemoved(name("sweep"), vec![trial(9).id]), "removing 1 members"),
        (Change::SweepExpanded(name("other")), "the expansion"),
        (Change::SweepCompleted(name("other")), "the completion"),
        (Change::SweepReopened(name("other")), "reopening"),
        (Change::DataPinned(name("other"), "x".into()), "pinning"),
    ];
    for (change, says) in refusals {
        refused(&mut *store, &[change], says);
    }
    assert_eq!(contents(&mut *store), before);
}

/// An end with its outcome is refused as its first part is.
pub fn refuses_an_end_with_its_outcome_whole(place: &dyn Place) {
    let mut store = place.open();
    lived(&mut *store);
    let before = contents(&mut *store);
    let end = |number, attempt_number| {
        let attempt = attempt(number, attempt_number);
        let kind = OutcomeKind::Completed;
        let done = Change::OutcomeRecorded(attempt, outcome(kind, Some(0.5)));
        [ended(attempt, AttemptEnd::Outcome(kind)), done]
    };
    for (number, attempt_number) in [(0, 1), (0, 2), (1, 2), (2, 1), (9, 1)] {
        refused(&mut *store, &end(number, attempt_number), "the end of");
    }
    let [end, _] = end(1, 1);
    let other = Change::OutcomeRecorded(attempt(0, 1), outcome(OutcomeKind::Completed, None));
    refused(&mut *store, &[end, other], "the outcome of");
    assert_eq!(contents(&mut *store), before);
}
