//! What is always true between two events. Each check is a sentence; all of them are kept in
//! release builds. They look at every trial, so tests call them, and the running coordinator
//! relies on the assertions inside the steps.

use std::collections::BTreeSet;

use crate::event::OutcomeKind;
use crate::scheduler::Scheduler;
use crate::sweep::{Expansion, SweepIndex, Tallies};
use crate::trial::{State, TrialIndex};

impl Scheduler {
    /// Panics with the sentence that does not hold.
    pub fn check_invariants(&self) {
        let sentences = [
            (
                "each running trial runs once in its cohort",
                self.each_running_trial_runs_once_in_its_cohort(),
            ),
            (
                "each cohort holds trials that run in it",
                self.each_cohort_holds_trials_that_run_in_it(),
            ),
            (
                "no slot holds two cohorts and no cohort two slots",
                self.no_slot_holds_two_cohorts_and_no_cohort_two_slots(),
            ),
            ("each worker knows its cohorts", self.each_worker_knows_its_cohorts()),
            ("lost workers hold nothing", self.lost_workers_hold_nothing()),
            ("tallies match the members", self.tallies_match_the_members()),
            ("queues hold the wanted pending trials", self.queues_hold_the_wanted_pending_trials()),
            ("shares count the cohorts", self.shares_count_the_cohorts()),
            (
                "cancelled trials are those that no sweep wants",
                self.cancelled_trials_are_those_that_no_sweep_wants(),
            ),
            ("resting trials are woken", self.resting_trials_are_woken()),
            ("completed sweeps have nothing open", self.completed_sweeps_have_nothing_open()),
            ("finished sweeps are announced", self.finished_sweeps_are_announced()),
            (
                "no slot idles while it may run something",
                self.no_slot_idles_while_it_may_run_something(),
            ),
        ];
        for (sentence, holds) in sentences {
            assert!(holds, "violated: {sentence}\n{self:#?}");
        }
    }

    fn each_running_trial_runs_once_in_its_cohort(&self) -> bool {
        let mut seen = BTreeSet::new();
        for cohort in self.cohorts.values() {
            for runner in &cohort.runners {
                if !seen.insert(runner.trial) {
                    return false;
                }
            }
        }
        let running =
            self.trials.iter().filter(|record| matches!(record.state, State::Running { .. }));
        running.count() == seen.len()
    }

    fn each_cohort_holds_trials_that_run_in_it(&self) -> bool {
        self.cohorts.iter().all(|(id, cohort)| {
            let runs = |place| self.trial(place).state == State::Running { cohort: *id };
            (self.restoring || *id <= self.cohort_last)
                && !cohort.runners.is_empty()
                && cohort.runners.iter().all(|runner| runs(runner.trial))
                && cohort.runners.iter().all(|runner| self.trial(runner.trial).attempts > 0)
        })
    }

    fn no_slot_holds_two_cohorts_and_no_cohort_two_slots(&self) -> bool {
        let mut placed = BTreeSet::new();
        for (id, worker) in &self.workers {
            for (slot, held) in worker.slots.iter().enumerate() {
                let Some(held) = held else { continue };
                let Some(cohort) = self.cohorts.get(held) else { return false };
                let slot_matches = cohort.slot.map(|slot| slot as usize) == Some(slot);
                if cohort.worker != *id || !slot_matches || !placed.insert(*held) {
                    return false;
                }
            }
        }
        let with_slot = self.cohorts.values().filter(|cohort| cohort.slot.is_some()).count();
        with_slot == placed.len()
    }

    fn each_worker_knows_its_cohorts(&self) -> bool {
        let known = self.workers.values().map(|worker| worker.cohorts.len()).sum::<usize>();
        known == self.cohorts.len()
            && self.cohorts.iter().all(|(id, cohort)| {
                let worker = self.workers.get(&cohort.worker);
                worker.is_some_and(|worker| worker.cohorts.contains(id))
            })
    }

    fn lost_workers_hold_nothing(&self) -> bool {
        self.workers.values().all(|worker| !worker.is_lost() || worker.cohorts.is_empty())
    }

    fn tallies_match_the_members(&self) -> bool {
        (0..self.sweeps.len()).map(SweepIndex::new).all(|index| {
            let sweep = self.sweep(index);
            let mut tallies = Tallies::default();
            let mut completed = 0;
            for &trial in &sweep.members {
                let record = self.trial(trial);
                let Some(member) = record.memberships.of(index) else { return false };
                if member.removed {
                    tallies.counts.removed += 1;
                } else {
                    tallies.add(record, self.entry(trial));
                    completed += usize::from(record.completed_error().is_some());
                }
            }
            let best = completed.min(crate::overview::FINISHED_TRIALS_MAX);
            tallies == sweep.tallies && sweep.finished.len() == best
        })
    }

    fn queues_hold_the_wanted_pending_trials(&self) -> bool {
        (0..self.sweeps.len()).map(SweepIndex::new).all(|index| {
            let sweep = self.sweep(index);
            let mut waiting = BTreeSet::new();
            for &trial in &sweep.members {
                let record = self.trial(trial);
                let Some(member) = record.memberships.of(index) else { return false };
                if !member.removed && record.state == State::Pending {
                    waiting.insert((self.entry(trial).key, (member.rank, trial)));
                }
            }
            sweep.queue.heads_match() && sweep.queue.iter().collect::<BTreeSet<_>>() == waiting
        })
    }

    fn completed_sweeps_have_nothing_open(&self) -> bool {
        self.sweeps.iter().all(|sweep| !sweep.completed || sweep.counts().open() == 0)
    }

    fn finished_sweeps_are_announced(&self) -> bool {
        let settled = |expansion| expansion == Expansion::Done && !self.restoring;
        self.sweeps
            .iter()
            .all(|sweep| !settled(sweep.expansion) || !sweep.is_finished() || sweep.announced)
    }

    fn no_slot_idles_while_it_may_run_something(&self) -> bool {
        if self.closing || self.restoring {
            return true;
        }
        self.workers.iter().all(|(id, worker)| {
            let mut slots = worker.slots.iter().enumerate();
            worker.lease_session().is_none()
                || slots.all(|(slot, held)| held.is_some() || self.choose(id, slot).is_none())
        })
    }

    fn shares_count_the_cohorts(&self) -> bool {
        let mut counted = vec![0_u32; self.sweeps.len()];
        for cohort in self.cohorts.values() {
            if let Some(sweep) = cohort.sweep {
                counted[sweep.place()] += 1;
            }
        }
        self.restoring
            || counted
                .iter()
                .zip(&self.sweeps)
                .all(|(count, sweep)| *count == sweep.cohorts_running)
    }

    fn cancelled_trials_are_those_that_no_sweep_wants(&self) -> bool {
        let cancelled = State::Ended(OutcomeKind::Cancelled);
        let indices = (0..self.trials.len()).map(TrialIndex::new);
        self.restoring
            || indices.into_iter().all(|trial| {
                let record = self.trial(trial);
                let members = record.memberships.as_slice();
                let settled = members.iter().any(|member| {
                    let sweep = self.sweep(member.sweep);
                    !member.removed && sweep.is_cancelled() && sweep.expansion == Expansion::Done
                });
                // What ran when the last sweep let it go, goes on.
                let waits = matches!(record.state, State::Pending | State::Resting { .. });
                match self.is_wanted(trial) {
                    true => record.state != cancelled || self.is_expanding(trial),
                    false => !waits || !settled,
                }
            })
    }

    /// Some sweep of it is between two chunks: what it names again is reopened then.
    fn is_expanding(&self, trial: TrialIndex) -> bool {
        let mut members = self.trial(trial).memberships.as_slice().iter();
        members.any(|member| self.sweep(member.sweep).expansion != Expansion::Done)
    }

    fn resting_trials_are_woken(&self) -> bool {
        self.trials.iter().enumerate().all(|(place, record)| match record.state {
            State::Resting { until } => self.resting.contains(&(until, TrialIndex::new(place))),
            State::Pending | State::Running { .. } | State::Ended(_) => true,
        })
    }
}
