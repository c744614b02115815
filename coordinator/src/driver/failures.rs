//! Failed trials in the log: one by one at first, then by their number, so that a sweep of a
//! million broken trials does not fill a disk.

use std::collections::BTreeMap;

use common::ids::{AttemptId, SweepName};
use scheduler::event::OutcomeKind;
use scheduler::{Change, Scheduler};

/// Failed trials of a sweep that get a line each.
const LINES_MAX: u64 = 20;
/// Beyond them, so many failed trials get a line together.
const TRIALS_PER_LINE: u64 = 100;

/// A trial whose outcome is a failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct FailedTrial {
    /// The oldest sweep that wants it.
    sweep: SweepName,
    attempt: AttemptId,
    reason: String,
}

/// The trials that fail with these changes and that some sweep wants.
pub(super) fn among(changes: &[Change], scheduler: &Scheduler) -> Vec<FailedTrial> {
    let mut failed = Vec::new();
    for change in changes {
        if let Change::OutcomeRecorded(attempt, outcome) = change
            && outcome.kind == OutcomeKind::Failed
            && let Some(sweep) = scheduler.sweeps_of(attempt.trial).into_iter().next()
        {
            let reason = outcome.reason.clone();
            failed.push(FailedTrial { sweep, attempt: *attempt, reason });
        }
    }
    failed
}

/// How many were told of each sweep, since the start.
#[derive(Debug, Default)]
pub(super) struct Failures {
    counts: BTreeMap<SweepName, u64>,
}

impl Failures {
    /// Counts a failed trial; gives the line that tells of it, where there is one.
    pub fn line(&mut self, failed: FailedTrial) -> Option<String> {
        let FailedTrial { sweep, attempt: AttemptId { trial, number }, reason } = failed;
        let count = self.counts.entry(sweep.clone()).or_default();
        *count += 1;
        match *count {
            0..LINES_MAX => {
                Some(format!("sweep {sweep}: trial {trial} failed in attempt {number}: {reason}"))
            }
            LINES_MAX => Some(format!(
                "sweep {sweep}: trial {trial} failed in attempt {number}: {reason}; from here on \
                 failed trials of the sweep are counted"
            )),
            count if count.is_multiple_of(TRIALS_PER_LINE) => {
                Some(format!("sweep {sweep}: {count} trials failed since the start"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use common::ids::{TrialId, WorkerId};
    use common::spec;
    use scheduler::event::{
        CohortFailure, Device, Event, FailureCause, Report, Session, Time, Trial, WorkerHello,
    };
    use scheduler::{Message, Settings};

    use super::*;
    use crate::driver::expansion;

    /// A scheduler that has leased the only trial of a sweep, and that lease.
    fn leased() -> (Scheduler, WorkerId, Message) {
        let mut scheduler = Scheduler::new(Settings::default());
        let text = "name: tiny\nmodel: mlp\ndata: strokes\n";
        let (sweep, _) = spec::load(text, "t", &spec::Options::default()).expect("valid");
        let trials = sweep.expand().map(|(config, id, seed)| Trial { id, config, seed });
        let worker: WorkerId = "w1".parse().expect("an id");
        let hello = WorkerHello {
            id: worker.clone(),
            host: String::new(),
            program_version: String::new(),
            libtorch_version: String::new(),
            slots: vec![Device::Cpu],
            data_digests: [(sweep.data, "digest".into())].into(),
            running: Vec::new(),
            draining: false,
        };
        for event in [
            Event::SweepApplied(expansion::header(&sweep)),
            Event::TrialsAdded(sweep.name.clone(), trials.collect()),
            Event::SweepExpanded(sweep.name.clone()),
        ] {
            scheduler.apply(Time(0), event);
        }
        let attached = Event::WorkerAttached(Session(1), hello);
        let lease = scheduler.apply(Time(0), attached).messages.pop().expect("a lease");
        (scheduler, worker, lease)
    }

    #[test]
    fn a_trial_that_fails_for_good_is_told_once() {
        let (mut scheduler, worker, mut lease) = leased();
        let mut told = Vec::new();
        for through in 1..=3 {
            let Message::Lease { cohort, ref trials, .. } = lease else { panic!("{lease:?}") };
            let failure = CohortFailure {
                cohort,
                attempts: vec![trials[0].attempt],
                cause: FailureCause::TrainerDied,
                message: "signal 9".into(),
                stderr_tail: String::new(),
            };
            let reports = vec![Report::CohortFailed(failure)];
            let (worker, session) = (worker.clone(), Session(1));
            // It waits longer after each death, and its worker is heard meanwhile.
            let now = Time(through * 100_000);
            let beat = Event::Heartbeat { worker: worker.clone(), session, draining: false };
            let event = Event::Reported { worker, session, through, reports };
            let effects = scheduler.apply(now, event);
            told.extend(among(&effects.changes, &scheduler));
            let later = Time(now.0 + 50_000);
            scheduler.apply(later, beat);
            let again = scheduler.apply(later, Event::Tick).messages.pop();
            lease = again.or(effects.messages.into_iter().last()).expect("a lease, or the end");
        }
        let [failed] = told.try_into().expect("one failed trial");
        let line = Failures::default().line(failed).expect("the first");
        let end = "failed in attempt 3: failed alone for the third time (attempt 3): its trainer \
                   died: signal 9";
        assert!(line.starts_with("sweep tiny: trial ") && line.ends_with(end), "{line}");
    }

    #[test]
    fn the_first_failures_are_told_one_by_one_and_the_rest_counted() {
        let mut failures = Failures::default();
        let mut failed = |sweep: &str, trial| {
            let attempt = AttemptId { trial: TrialId(trial), number: 5 };
            let sweep = sweep.parse().expect("a name");
            failures.line(FailedTrial { sweep, attempt, reason: "signal 9".into() })
        };
        let mut lines: Vec<String> = (1..=250).filter_map(|trial| failed("a", trial)).collect();
        assert_eq!(lines.len(), 20 + 2);
        let first = "sweep a: trial 0000000000000001 failed in attempt 5: signal 9";
        assert_eq!(lines[0], first);
        assert!(lines[19].ends_with("failed trials of the sweep are counted"), "{}", lines[19]);
        assert_eq!(lines.pop().expect("a count"), "sweep a: 200 trials failed since the start");
        let other = failed("b", 1).expect("each sweep has lines of its own");
        assert_eq!(other, first.replace("sweep a", "sweep b"));
    }
}
