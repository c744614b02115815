//! A sweep as the scheduler holds it: its members, its queue, and tallies that follow each change
//! of a member, so that nothing ever counts a million trials.

use std::collections::{BTreeMap, BTreeSet};

use crate::application::Applied;
use crate::catalog::{ConfigIndex, Entry};
use crate::event::{Fusion, Hold, OutcomeKind, SweepHeader};
use crate::health::Streak;
use crate::overview::{Counts, FINISHED_TRIALS_MAX};
use crate::queue::Queue;
use crate::trial::{Record, State, TrialIndex};

/// Slot seconds over which the speed of a sweep is remembered.
const MEASURED_SLOT_SECONDS: f64 = 3_600.0;

/// Place of a sweep in the scheduler, in the order of first application.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct SweepIndex(u32);

impl SweepIndex {
    /// The sweep at this place.
    pub fn new(place: usize) -> SweepIndex {
        SweepIndex(u32::try_from(place).expect("fewer than 2^32 sweeps"))
    }

    /// The place.
    pub fn place(self) -> usize {
        self.0 as usize
    }
}

/// How far its members are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expansion {
    /// Members arrive for the first time and may be leased at once.
    First,
    /// Members arrive again; who is not named will be removed, so nothing is leased meanwhile.
    Again,
    /// The coordinator stopped in the middle: the members so far are run, and the sweep does not
    /// complete before it is applied again.
    Interrupted,
    /// All are known.
    Done,
}

/// Members of a config.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ConfigTally {
    pub wanted: u32,
    pub ended: u32,
}

impl ConfigTally {
    fn is_done(self) -> bool {
        self.wanted > 0 && self.wanted == self.ended
    }
}

/// What its wanted members add up to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tallies {
    pub counts: Counts,
    pub configs: BTreeMap<ConfigIndex, ConfigTally>,
    pub configs_done: u64,
    /// Work of the epochs that open members have left.
    pub cost_remaining: u128,
}

impl Tallies {
    /// Counts a wanted member in.
    pub fn add(&mut self, record: &Record, entry: &Entry) {
        *self.count_of(record.state) += 1;
        self.cost_remaining += remaining_cost(record, entry);
        self.change_config(record, |tally, ended| {
            tally.wanted += 1;
            tally.ended += ended;
        });
    }

    /// Counts a wanted member out.
    pub fn subtract(&mut self, record: &Record, entry: &Entry) {
        *self.count_of(record.state) -= 1;
        self.cost_remaining -= remaining_cost(record, entry);
        self.change_config(record, |tally, ended| {
            tally.wanted -= 1;
            tally.ended -= ended;
        });
        if self.configs[&record.config].wanted == 0 {
            self.configs.remove(&record.config);
        }
    }

    fn change_config(&mut self, record: &Record, change: impl FnOnce(&mut ConfigTally, u32)) {
        let ended = u32::from(matches!(record.state, State::Ended(_)));
        let tally = self.configs.entry(record.config).or_default();
        self.configs_done -= u64::from(tally.is_done());
        change(tally, ended);
        self.configs_done += u64::from(tally.is_done());
    }

    fn count_of(&mut self, state: State) -> &mut u64 {
        match state {
            State::Pending | State::Resting { .. } => &mut self.counts.pending,
            State::Running { .. } => &mut self.counts.running,
            State::Ended(OutcomeKind::Completed) => &mut self.counts.completed,
            State::Ended(OutcomeKind::Diverged) => &mut self.counts.diverged,
            State::Ended(OutcomeKind::Failed) => &mut self.counts.failed,
            State::Ended(OutcomeKind::Cancelled) => &mut self.counts.cancelled,
        }
    }
}

/// An ended trial gives back what it did not use.
fn remaining_cost(record: &Record, entry: &Entry) -> u128 {
    let epochs = match record.state {
        State::Pending | State::Resting { .. } | State::Running { .. } => {
            entry.epochs_max.saturating_sub(record.epochs)
        }
        State::Ended(_) => 0,
    };
    u128::from(epochs) * u128::from(entry.epoch_cost)
}

/// The speed of its recent epochs.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Measured {
    cost: f64,
    slot_seconds: f64,
}

impl Measured {
    fn add(&mut self, cost: f64, slot_seconds: f64) {
        self.cost += cost;
        self.slot_seconds += slot_seconds;
        if self.slot_seconds > MEASURED_SLOT_SECONDS {
            self.cost /= 2.0;
            self.slot_seconds /= 2.0;
        }
    }

    /// Work per second of one slot; none before the first epoch.
    pub fn cost_per_slot_second(&self) -> Option<f64> {
        (self.cost > 0.0 && self.slot_seconds > 0.0).then(|| self.cost / self.slot_seconds)
    }
}

/// A sweep.
#[derive(Debug)]
pub(crate) struct Sweep {
    pub header: SweepHeader,
    pub expansion: Expansion,
    /// Counts the expansions, so that a member knows whether the latest one named it.
    pub expansion_number: u32,
    /// What this expansion changed so far.
    pub applied: Applied,
    /// Place of the next member of this expansion.
    pub place_next: u32,
    /// Every trial that was ever named, once.
    pub members: Vec<TrialIndex>,
    pub tallies: Tallies,
    /// The best completed members by the bits of their validation error, which order as the
    /// (not negative) errors do.
    pub finished: BTreeSet<(u64, TrialIndex)>,
    pub queue: Queue,
    /// Rank of the member that went to the front last.
    pub rank_front: i64,
    pub epochs_total: u64,
    pub examples_total: u64,
    /// Training time of its members, all slots added.
    pub slot_seconds: f64,
    pub measured: Measured,
    /// Cohorts that were leased for it and run.
    pub cohorts_running: u32,
    /// Its budget is used up: why.
    pub stopped: Option<String>,
    pub hold: Option<Hold>,
    /// Of the latest trials that died.
    pub streak: Streak,
    /// Every member has an outcome, and the store knows.
    pub completed: bool,
    /// Its end was told since it was applied or reopened.
    pub announced: bool,
}

impl Sweep {
    /// A sweep without members.
    pub fn new(header: SweepHeader, expansion: Expansion) -> Sweep {
        Sweep {
            header,
            expansion,
            expansion_number: 0,
            applied: Applied::default(),
            place_next: 0,
            members: Vec::new(),
            tallies: Tallies::default(),
            finished: BTreeSet::new(),
            queue: Queue::default(),
            rank_front: 0,
            epochs_total: 0,
            examples_total: 0,
            slot_seconds: 0.0,
            measured: Measured::default(),
            cohorts_running: 0,
            stopped: None,
            hold: None,
            streak: Streak::default(),
            completed: false,
            announced: false,
        }
    }

    /// Its members by state.
    pub fn counts(&self) -> &Counts {
        &self.tallies.counts
    }

    /// Takes a wanted member into the tallies and, where it is pending, into the queue.
    pub fn list(&mut self, trial: TrialIndex, record: &Record, entry: &Entry, rank: i64) {
        self.tallies.add(record, entry);
        if let Some(error) = record.completed_error() {
            self.finished.insert((error.to_bits(), trial));
            if self.finished.len() > FINISHED_TRIALS_MAX {
                self.finished.pop_last();
            }
        }
        if record.state == State::Pending {
            self.queue.insert(entry.key, (rank, trial));
        }
    }

    /// The reverse of `list`.
    pub fn unlist(&mut self, trial: TrialIndex, record: &Record, entry: &Entry, rank: i64) {
        self.tallies.subtract(record, entry);
        if let Some(error) = record.completed_error() {
            self.finished.remove(&(error.to_bits(), trial));
        }
        if record.state == State::Pending {
            self.queue.remove(entry.key, (rank, trial));
        }
    }

    /// Counts an epoch of a member that trained with `cohort_size - 1` others.
    pub fn count_epoch(&mut self, entry: &Entry, seconds: f64, cohort_size: usize, examples: u64) {
        self.epochs_total += 1;
        self.examples_total = self.examples_total.saturating_add(examples);
        if !(seconds.is_finite() && seconds >= 0.0) {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let (share, cost) = (seconds / cohort_size.max(1) as f64, entry.epoch_cost as f64);
        self.slot_seconds += share;
        self.measured.add(cost, share);
    }

    /// Whether trials may be leased for it.
    pub fn may_lease(&self) -> bool {
        let expanded = match self.expansion {
            Expansion::First | Expansion::Interrupted | Expansion::Done => true,
            Expansion::Again => false,
        };
        let held = self.stopped.is_some() || self.hold.is_some();
        expanded && !held && !self.queue.is_empty()
    }

    /// Every member has an outcome.
    pub fn is_done(&self) -> bool {
        self.expansion == Expansion::Done && self.counts().open() == 0
    }

    /// Somebody cancelled it.
    pub fn is_cancelled(&self) -> bool {
        self.hold == Some(Hold::Cancelled)
    }

    /// Nothing of it runs, and nothing will unless somebody says so. What a cancelled sweep has
    /// open runs for another.
    pub fn is_finished(&self) -> bool {
        let stopped = match self.hold {
            Some(Hold::Cancelled) => true,
            Some(Hold::Broken { .. }) => self.counts().running == 0,
            Some(Hold::Paused) => false,
            None => self.stopped.is_some() && self.counts().running == 0,
        };
        self.is_done() || stopped && self.expansion == Expansion::Done
    }

    /// Why its budget ends it now, where it does.
    pub fn overrun(&self) -> Option<String> {
        let failed = self.counts().failed;
        if let Some(max) = self.header.failures_max
            && failed > 0
            && failed >= max
        {
            return Some(format!("failed trials: {failed}; its budget ends at {max}"));
        }
        if let Some(max) = self.header.slot_seconds_max
            && self.slot_seconds >= max
        {
            let hours = max / 3600.0;
            return Some(format!("its budget of {hours} slot hours is used up"));
        }
        None
    }

    /// Its cohort size on a device, before its members' own limits.
    pub fn cohort_size(&self, auto: u32) -> u32 {
        match self.header.fusion {
            Fusion::Auto => auto.max(1),
            Fusion::Off => 1,
            Fusion::Size(size) => size.max(1),
        }
    }

    /// The rank of a member that goes before all others.
    pub fn take_front_rank(&mut self) -> i64 {
        self.rank_front -= 1;
        self.rank_front
    }
}
