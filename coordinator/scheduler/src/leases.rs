//! Handing out work: which trials train together, and where.
//!
//! Free slots are filled worker by worker. Sweeps of a higher priority go first; those of equal
//! priority share the slots evenly. A cohort is the sweep's first pending trial with the next ones
//! of its fusion key.

use std::cmp::Reverse;

use common::ids::{CohortId, WorkerId};

use crate::event::{Change, Device, LeasedTrial, Message, Session, Trial};
use crate::scheduler::{Cohort, Scheduler};
use crate::sweep::SweepIndex;
use crate::trial::{State, TrialIndex};
use crate::worker::Runner;

/// Trials that are looked at for a cohort, as a multiple of its size: those that may only join
/// smaller ones are passed over.
const CANDIDATES_PER_MEMBER: usize = 4;

impl Scheduler {
    /// Fills free slots, if this event freed anything.
    pub(crate) fn lease(&mut self) {
        if !std::mem::take(&mut self.lease_due) || self.closing {
            return;
        }
        self.trust_the_last();
        let mut free = Vec::new();
        for (id, worker) in &self.workers {
            if let (Some(session), true) = (worker.lease_session(), worker.has_free_slot()) {
                free.push((id.clone(), session));
            }
        }
        for (id, session) in free {
            for slot in 0..self.workers[&id].slots.len() {
                if self.workers[&id].slots[slot].is_some() {
                    continue;
                }
                if !self.lease_slot(&id, session, slot) {
                    break;
                }
            }
        }
    }

    /// Leases one cohort; false where there is none for this worker.
    fn lease_slot(&mut self, id: &WorkerId, session: Session, slot: usize) -> bool {
        let Some((index, trials)) = self.choose(id, slot) else { return false };
        let sweep = self.sweep(index);
        if sweep.header.data_digest.is_none() {
            let digest = self.workers[id].digest_for(&sweep.header);
            let digest = digest.expect("a chosen worker has the data").to_owned();
            let sweep = self.sweep_mut(index);
            sweep.header.data_digest = Some(digest.clone());
            let name = sweep.header.name.clone();
            self.store(Change::DataPinned(name, digest));
        }
        self.start(id, session, slot, index, &trials);
        true
    }

    /// The next cohort for a slot: of the sweeps of the highest priority, of the one that holds the
    /// fewest slots.
    pub(crate) fn choose(
        &self,
        id: &WorkerId,
        slot: usize,
    ) -> Option<(SweepIndex, Vec<TrialIndex>)> {
        let worker = &self.workers[id];
        let mut able = Vec::new();
        for &index in &self.sweep_order {
            let sweep = self.sweep(index);
            if sweep.may_lease() && worker.digest_for(&sweep.header).is_ok() {
                able.push((Reverse(sweep.header.priority), sweep.cohorts_running, index));
            }
        }
        // Equal shares go to the sweep that was applied first.
        able.sort_unstable();
        able.into_iter().find_map(|(_, _, index)| {
            let trials = self.cohort_for(index, id, worker.device(slot));
            (!trials.is_empty()).then_some((index, trials))
        })
    }

    /// The next cohort of a sweep that has pending trials, deepest first; none where the worker
    /// leaves what waits to others.
    fn cohort_for(&self, index: SweepIndex, id: &WorkerId, device: Device) -> Vec<TrialIndex> {
        let sweep = self.sweep(index);
        let auto = match device {
            Device::Cpu => self.settings.cohort_size_cpu,
            Device::Cuda(_) => self.settings.cohort_size_gpu(sweep.header.model),
        };
        let mut size_max = sweep.cohort_size(auto) as usize;
        let looked_at = size_max.saturating_mul(CANDIDATES_PER_MEMBER) + self.died_on.len();
        let mut chosen: Vec<TrialIndex> = Vec::new();
        for candidates in sweep.queue.kinds() {
            for trial in candidates.take(looked_at) {
                if chosen.len() >= size_max {
                    break;
                }
                let own_max =
                    self.trial(trial).cohort_size_max.map_or(size_max, |max| max as usize);
                if own_max > chosen.len() && !self.avoids(id, trial, index) {
                    chosen.push(trial);
                    size_max = size_max.min(own_max);
                }
            }
            if !chosen.is_empty() {
                break;
            }
        }
        chosen.sort_by_key(|trial| Reverse(self.entry(*trial).depth));
        chosen
    }

    fn start(
        &mut self,
        id: &WorkerId,
        session: Session,
        slot: usize,
        index: SweepIndex,
        trials: &[TrialIndex],
    ) {
        let cohort = CohortId(self.cohort_last.0 + 1);
        self.cohort_last = cohort;
        let size = u32::try_from(trials.len()).expect("a cohort's size is a u32");
        let mut leased = Vec::with_capacity(trials.len());
        for &trial in trials {
            self.update(trial, |record| {
                record.attempts += 1;
                record.attempt_epoch = 0;
                record.is_fenced = false;
                record.state = State::Running { cohort };
            });
            let record = self.trial(trial);
            let attempt = record.attempt();
            let config = self.entry(trial).config.clone();
            leased.push(LeasedTrial {
                trial: Trial { id: record.id, config, seed: record.seed },
                attempt,
                epochs_stored: record.epochs,
            });
            let worker = id.clone();
            self.store(Change::AttemptStarted { attempt, worker, cohort, cohort_size: size });
        }
        let slot_number = u32::try_from(slot).expect("a worker's slots come as a u32");
        let runners = trials.iter().copied().map(Runner::new).collect();
        let (worker, slot_held, sweep) = (id.clone(), Some(slot_number), Some(index));
        self.cohorts.insert(cohort, Cohort { worker, sweep, slot: slot_held, runners });
        self.sweep_mut(index).cohorts_running += 1;
        let worker = self.workers.get_mut(id).expect("a leasing worker is known");
        worker.slots[slot] = Some(cohort);
        worker.cohorts.insert(cohort);
        let (worker, slot) = (id.clone(), slot_number);
        self.send(Message::Lease { worker, session, slot, cohort, trials: leased });
    }
}
