//! The start of a coordinator: what the store holds comes back as events, in the order of `Event`.

use common::ids::{CohortId, SweepName, TrialId};

use crate::event::{Hold, StoredState, StoredTrial, SweepHeader, Time};
use crate::scheduler::{Cohort, Scheduler};
use crate::sweep::{Expansion, SweepIndex};
use crate::trial::{Membership, Memberships, Record, State};
use crate::worker::{Link, Runner, Worker};

impl Scheduler {
    pub(crate) fn on_sweep_restored(&mut self, header: SweepHeader) {
        self.restoring = true;
        assert!(!self.sweep_index.contains_key(&header.name), "a sweep is restored once");
        self.add_sweep(header, Expansion::Done);
    }

    pub(crate) fn on_sweep_standing_restored(
        &mut self,
        name: &SweepName,
        expanded: bool,
        completed: bool,
        hold: Option<Hold>,
        slot_seconds: f64,
    ) {
        let index = self.sweep_of(name);
        let sweep = self.sweep_mut(index);
        sweep.expansion = if expanded { Expansion::Done } else { Expansion::Interrupted };
        sweep.completed = completed;
        sweep.hold = hold;
        sweep.slot_seconds = slot_seconds;
    }

    pub(crate) fn on_trials_restored(&mut self, now: Time, trials: Vec<StoredTrial>) {
        self.restoring = true;
        for stored in trials {
            let config = self.catalog.intern(&stored.trial.config);
            let state = match &stored.state {
                StoredState::Pending => State::Pending,
                StoredState::Running { cohort, .. } => State::Running { cohort: *cohort },
                StoredState::Ended(kind) => State::Ended(*kind),
            };
            let trial = self.add_record(Record {
                id: stored.trial.id,
                seed: stored.trial.seed,
                config,
                attempts: stored.attempts,
                attempt_epoch: stored.attempt_epoch,
                deaths: stored.deaths,
                cohort_size_max: stored.cohort_size_max,
                is_fenced: stored.is_fenced,
                epochs: stored.epochs,
                gate: None,
                val_error: stored.val_error,
                state,
                memberships: Memberships::none(),
            });
            if let StoredState::Running { worker, cohort } = stored.state {
                let owner = self.workers.entry(worker.clone());
                owner.or_insert_with(|| Worker::awaited(now)).cohorts.insert(cohort);
                let home = self.cohorts.entry(cohort).or_insert_with(|| Cohort {
                    worker: worker.clone(),
                    sweep: None,
                    slot: None,
                    runners: Vec::new(),
                });
                assert!(home.worker == worker, "a cohort runs on one worker");
                home.runners.push(Runner::new(trial));
            }
        }
    }

    pub(crate) fn on_members_restored(&mut self, name: &SweepName, members: Vec<(TrialId, bool)>) {
        let index = self.sweep_of(name);
        for (id, removed) in members {
            let trial = self.trial_index.get(&id).copied();
            let trial = trial.expect("the store holds the trial of each member");
            let epochs = u64::from(self.trial(trial).epochs);
            let sweep = self.sweep_mut(index);
            let rank = i64::try_from(sweep.members.len()).expect("fewer than 2^63 members");
            sweep.members.push(trial);
            if removed {
                sweep.tallies.counts.removed += 1;
            } else {
                sweep.epochs_total += epochs;
            }
            let member = Membership { sweep: index, expansion: 0, place: None, rank, removed };
            self.update(trial, |record| record.memberships.push(member));
        }
    }

    /// Lease clocks start now; what ended before the restart is not told again.
    pub(crate) fn on_restored(&mut self, now: Time, cohort_max: CohortId) {
        assert!(
            self.cohorts.keys().all(|cohort| *cohort <= cohort_max),
            "`Restored` has the highest cohort id",
        );
        self.restoring = false;
        self.cohort_last = self.cohort_last.max(cohort_max);
        self.share_slots();
        for worker in self.workers.values_mut() {
            assert!(worker.link == Link::Awaited, "workers attach after `Restored`");
            worker.last_seen = now;
        }
        for (place, sweep) in self.sweeps.iter_mut().enumerate() {
            if !sweep.is_done() {
                sweep.stopped = sweep.overrun();
            }
            sweep.announced = sweep.is_finished();
            self.touched.insert(SweepIndex::new(place));
        }
        self.lease_due = true;
    }

    /// Which sweep a cohort was leased for is not stored.
    fn share_slots(&mut self) {
        let mut shares = Vec::with_capacity(self.cohorts.len());
        for (id, cohort) in &self.cohorts {
            let first = cohort.runners.first().expect("a cohort holds a trial");
            shares.push((*id, self.share_of(first.trial)));
        }
        for (id, share) in shares {
            if let Some(sweep) = share {
                self.sweep_mut(sweep).cohorts_running += 1;
            }
            self.cohorts.get_mut(&id).expect("it was just seen").sweep = share;
        }
    }
}
