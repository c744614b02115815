//! Sweeps: applied, expanded in chunks, completed or stopped.

use std::collections::BTreeSet;

use common::ids::{SweepName, TrialId};

use crate::event::{Change, Message, SweepHeader, Trial};
use crate::scheduler::Scheduler;
use crate::sweep::{Expansion, Sweep, SweepIndex};
use crate::trial::{Membership, Memberships, Record, State, TrialIndex};

/// What the latest application of a sweep changed, in members.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// The sweep was known before.
    pub is_again: bool,
    /// Are new, or had been removed.
    pub added: u64,
    /// The file names them no more.
    pub removed: u64,
    /// Were members and still are.
    pub unchanged: u64,
}

/// Members of one chunk that the store must hear of: runs of consecutive places.
#[derive(Default)]
struct Runs {
    runs: Vec<(u32, Vec<TrialId>)>,
}

impl Runs {
    fn push(&mut self, place: u32, trial: TrialId) {
        if let Some((first, trials)) = self.runs.last_mut()
            && *first as usize + trials.len() == place as usize
        {
            trials.push(trial);
            return;
        }
        self.runs.push((place, vec![trial]));
    }
}

impl Scheduler {
    pub(crate) fn on_sweep_applied(&mut self, mut header: SweepHeader) {
        let index = match self.sweep_index.get(&header.name) {
            Some(&index) => {
                let sweep = self.sweep_mut(index);
                if sweep.header.data == header.data && header.data_digest.is_none() {
                    header.data_digest = sweep.header.data_digest.take();
                }
                sweep.header = header;
                sweep.expansion = Expansion::Again;
                index
            }
            None => self.add_sweep(header, Expansion::First),
        };
        let sweep = self.sweep_mut(index);
        sweep.expansion_number += 1;
        let is_again = sweep.expansion == Expansion::Again;
        sweep.applied = Applied { is_again, ..Applied::default() };
        sweep.place_next = 0;
        sweep.stopped = None;
        sweep.announced = false;
        let header = sweep.header.clone();
        self.order_sweeps();
        self.store(Change::SweepApplied(header));
    }

    /// Adds a sweep that is not known.
    pub(crate) fn add_sweep(&mut self, header: SweepHeader, expansion: Expansion) -> SweepIndex {
        let index = SweepIndex::new(self.sweeps.len());
        self.sweep_index.insert(header.name.clone(), index);
        self.sweeps.push(Sweep::new(header, expansion));
        self.order_sweeps();
        index
    }

    fn order_sweeps(&mut self) {
        self.sweep_order = (0..self.sweeps.len()).map(SweepIndex::new).collect();
        let sweeps = &self.sweeps;
        self.sweep_order.sort_by_key(|index| {
            (std::cmp::Reverse(sweeps[index.place()].header.priority), *index)
        });
    }

    pub(crate) fn on_trials_added(&mut self, name: &SweepName, trials: Vec<Trial>) {
        let sweep = self.sweep_of(name);
        let (mut unknown, mut runs, mut reopened) = (Vec::new(), Runs::default(), Vec::new());
        for trial in trials {
            let id = trial.id;
            let index = match self.trial_index.get(&id) {
                Some(&index) => index,
                None => {
                    let index = self.add_trial(&trial);
                    unknown.push(trial);
                    index
                }
            };
            if let Some(place) = self.name_member(sweep, index) {
                runs.push(place, id);
            }
            if self.is_to_reopen(sweep, index) {
                reopened.push(index);
            }
        }
        if !unknown.is_empty() {
            self.store(Change::TrialsAdded(unknown));
        }
        for (first, trials) in runs.runs {
            let first_index = u64::from(first);
            self.store(Change::MembersAdded { sweep: name.clone(), first_index, trials });
        }
        self.reopen(reopened);
    }

    fn add_trial(&mut self, trial: &Trial) -> TrialIndex {
        let config = self.catalog.intern(&trial.config);
        self.add_record(Record {
            id: trial.id,
            seed: trial.seed,
            config,
            attempts: 0,
            attempt_epoch: 0,
            deaths: 0,
            cohort_size_max: None,
            is_fenced: false,
            epochs: 0,
            gate: None,
            val_error: None,
            state: State::Pending,
            memberships: Memberships::none(),
        })
    }

    /// Adds a trial that is not known and belongs to no sweep yet.
    pub(crate) fn add_record(&mut self, record: Record) -> TrialIndex {
        let index = TrialIndex::new(self.trials.len());
        let known = self.trial_index.insert(record.id, index);
        assert!(known.is_none(), "a trial is added once");
        self.trials.push(record);
        index
    }

    /// The running expansion names a trial. Returns its place where the store must hear of it.
    fn name_member(&mut self, sweep: SweepIndex, trial: TrialIndex) -> Option<u32> {
        let (expansion, place) = {
            let sweep = self.sweep(sweep);
            assert!(
                matches!(sweep.expansion, Expansion::First | Expansion::Again),
                "members arrive between `SweepApplied` and `SweepExpanded`",
            );
            (sweep.expansion_number, sweep.place_next)
        };
        let known = self.trial(trial).memberships.of(sweep).copied();
        if known.is_some_and(|known| known.expansion == expansion) {
            return None;
        }
        let counts = self.sweep_mut(sweep);
        counts.place_next += 1;
        match known {
            Some(known) if !known.removed => counts.applied.unchanged += 1,
            Some(_) | None => counts.applied.added += 1,
        }
        let unchanged = known.is_some_and(|known| !known.removed && known.place == Some(place));
        match known {
            None => self.sweep_mut(sweep).members.push(trial),
            Some(known) if known.removed => self.sweep_mut(sweep).tallies.counts.removed -= 1,
            Some(_) => {}
        }
        self.update(trial, |record| {
            // A trial that went to the front stays there.
            let front = known.map(|known| known.rank).filter(|rank| *rank < 0);
            let rank = front.unwrap_or(i64::from(place));
            let place = Some(place);
            let member = Membership { sweep, expansion, place, rank, removed: false };
            match record.memberships.of_mut(sweep) {
                Some(known) => *known = member,
                None => record.memberships.push(member),
            }
        });
        (!unchanged).then_some(place)
    }

    pub(crate) fn on_sweep_expanded(&mut self, name: &SweepName) {
        let index = self.sweep_of(name);
        let sweep = self.sweep(index);
        let mut removed = Vec::new();
        if sweep.expansion == Expansion::Again {
            for &trial in &sweep.members {
                let member = self.trial(trial).memberships.of(index);
                let member = member.expect("a sweep's member knows of its membership");
                if !member.removed && member.expansion != sweep.expansion_number {
                    removed.push(trial);
                }
            }
        }
        for &trial in &removed {
            self.update(trial, |record| {
                let member = record.memberships.of_mut(index);
                member.expect("a sweep's member knows of its membership").removed = true;
            });
        }
        if !removed.is_empty() {
            let trials = removed.iter().map(|trial| self.trial(*trial).id).collect();
            self.sweep_mut(index).tallies.counts.removed += removed.len() as u64;
            self.refill_finished(index);
            self.store(Change::MembersRemoved(name.clone(), trials));
            self.close_cancelled(&removed);
        }
        let sweep = self.sweep_mut(index);
        sweep.applied.removed = removed.len() as u64;
        sweep.expansion = Expansion::Done;
        self.store(Change::SweepExpanded(name.clone()));
        if self.sweep(index).is_cancelled() {
            self.cancel_members(index);
        }
        self.touched.insert(index);
        self.lease_due = true;
    }

    /// What the latest application of a sweep changed; of the sweeps that were applied since the
    /// start.
    pub fn applied(&self, name: &SweepName) -> Option<Applied> {
        let sweep = self.sweep(*self.sweep_index.get(name)?);
        (sweep.expansion_number > 0).then_some(sweep.applied)
    }

    /// The members of a sweep that its file names; none of an unknown sweep.
    pub fn members(&self, name: &SweepName) -> Option<Vec<TrialId>> {
        let index = *self.sweep_index.get(name)?;
        let mut members = Vec::new();
        for &trial in &self.sweep(index).members {
            let record = self.trial(trial);
            if record.memberships.of(index).is_some_and(|member| !member.removed) {
                members.push(record.id);
            }
        }
        Some(members)
    }

    /// The sweeps whose files name a trial, oldest first.
    pub fn sweeps_of(&self, trial: TrialId) -> Vec<SweepName> {
        let Some(&trial) = self.trial_index.get(&trial) else { return Vec::new() };
        let mut indices = Vec::new();
        for member in self.trial(trial).memberships.as_slice() {
            if !member.removed {
                indices.push(member.sweep);
            }
        }
        indices.sort();
        indices.into_iter().map(|index| self.sweep(index).header.name.clone()).collect()
    }

    /// Removed members left gaps among the best: the next best come up.
    fn refill_finished(&mut self, index: SweepIndex) {
        let mut finished = BTreeSet::new();
        for &trial in &self.sweep(index).members {
            let record = self.trial(trial);
            let wanted = record.memberships.of(index).is_some_and(|member| !member.removed);
            if let (true, Some(error)) = (wanted, record.completed_error()) {
                finished.insert((error.to_bits(), trial));
                if finished.len() > crate::overview::FINISHED_TRIALS_MAX {
                    finished.pop_last();
                }
            }
        }
        self.sweep_mut(index).finished = finished;
    }

    /// After each event: budgets stop sweeps, and their ends are stored and told once.
    pub(crate) fn settle_sweeps(&mut self) {
        for index in std::mem::take(&mut self.touched) {
            let sweep = &mut self.sweeps[index.place()];
            let name = || sweep.header.name.clone();
            if sweep.stopped.is_none() && !sweep.is_done() {
                sweep.stopped = sweep.overrun();
            }
            if !sweep.completed && sweep.is_done() {
                sweep.completed = true;
                self.effects.changes.push(Change::SweepCompleted(name()));
            } else if sweep.completed && sweep.counts().open() > 0 {
                sweep.completed = false;
                // What a cancelled one has open again runs for another.
                sweep.announced &= sweep.is_cancelled();
                self.effects.changes.push(Change::SweepReopened(name()));
            }
            if !sweep.announced && sweep.is_finished() {
                sweep.announced = true;
                self.effects.messages.push(Message::SweepCompleted(name()));
            }
        }
    }
}
