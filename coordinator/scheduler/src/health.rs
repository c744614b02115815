//! Whose fault deaths are: the trial's, the worker's or everything's.
//!
//! A trial that died alone is tried again elsewhere, after a rest. Where it gets further there than
//! it did, its first worker is to blame, and one that is to blame for several is set aside. Where
//! it dies there too, it is itself to blame. Trials that die one after the other of the same
//! error, on more than one worker, tell of a fault in what they share: their sweep stops.

use std::collections::BTreeSet;

use common::ids::WorkerId;

use crate::event::{Change, CohortFailure, FailureCause, Hold, Time};
use crate::scheduler::Scheduler;
use crate::sweep::SweepIndex;
use crate::trial::{State, TrialIndex};
use crate::worker::Worker;

/// Characters of an error that are compared: the same fault differs in addresses and numbers,
/// which are left out, and in long tails.
const ERROR_CHARS_MAX: usize = 160;

/// The latest trials of a sweep that died, in a row and of the same error.
#[derive(Debug, Default)]
pub(crate) struct Streak {
    error: String,
    trials: BTreeSet<TrialIndex>,
    workers: BTreeSet<WorkerId>,
}

/// Where a trial died last.
#[derive(Debug)]
pub(crate) struct Death {
    worker: WorkerId,
    /// Epochs of its history then.
    epochs: u32,
}

/// What deaths say of a worker.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Trials that died here alone, while none came to an end and none died elsewhere since.
    died: BTreeSet<TrialIndex>,
    /// Those that went on elsewhere.
    vindicated: BTreeSet<TrialIndex>,
    /// No lease before.
    rest_until: Option<Time>,
    pub aside: Option<Aside>,
}

/// A worker that gets no leases because trials die there.
#[derive(Debug)]
pub(crate) struct Aside {
    pub until: Time,
    pub reason: String,
}

impl Health {
    /// Nothing that happened here speaks against a lease now.
    pub fn may_lease(&self) -> bool {
        self.rest_until.is_none() && self.aside.is_none()
    }

    /// It was restarted, or has proved itself.
    pub fn clear(&mut self) {
        *self = Health::default();
    }

    /// When the next of its waits ends.
    pub fn deadline(&self) -> Option<Time> {
        let aside = self.aside.as_ref().map(|aside| aside.until);
        self.rest_until.into_iter().chain(aside).min()
    }

    /// Ends the waits that are over; true where there was one.
    pub fn wake(&mut self, now: Time) -> bool {
        let was_resting = self.rest_until.take_if(|until| *until <= now).is_some();
        self.aside.take_if(|aside| aside.until <= now).is_some() || was_resting
    }
}

impl Scheduler {
    /// A trial died alone on a worker.
    pub(crate) fn count_death(
        &mut self,
        now: Time,
        worker: &WorkerId,
        trial: TrialIndex,
        failure: &CohortFailure,
    ) {
        let epochs = self.trial(trial).epochs;
        let death = Death { worker: worker.clone(), epochs };
        if let Some(earlier) = self.died_on.insert(trial, death)
            && earlier.worker != *worker
            && let Some(first) = self.workers.get_mut(&earlier.worker)
        {
            // It died here too: nothing speaks against the first.
            first.health.died.remove(&trial);
        }
        // What does not fit does not fit here: the worker is as it should be.
        if failure.cause != FailureCause::OutOfMemory {
            self.rest_worker(now, worker, trial);
        }
        self.count_same_error(worker, trial, failure);
    }

    /// With others to go on, a worker where one trial dies after the other gets the next ones
    /// slowly, so that few die there before it is known whose fault it is.
    fn rest_worker(&mut self, now: Time, id: &WorkerId, trial: TrialIndex) {
        let others = self.workers.iter().any(|(other, worker)| other != id && worker.is_able());
        let (first, longest) = (self.settings.worker_rest_ms, self.settings.worker_rest_ms_max);
        let worker = self.workers.get_mut(id).expect("a heard worker");
        worker.health.died.insert(trial);
        let in_a_row = worker.health.died.len();
        if others && in_a_row > 1 {
            let doublings = u32::try_from(in_a_row - 2).unwrap_or(u32::MAX).min(30);
            let rest = first.saturating_mul(1 << doublings).min(longest);
            worker.health.rest_until = Some(Time(now.0.saturating_add(rest)));
        }
    }

    /// A trial got on: where it is further than where it died, its death was the other worker's.
    pub(crate) fn count_epoch_of(&mut self, now: Time, worker: &WorkerId, trial: TrialIndex) {
        let Some(death) = self.died_on.get(&trial) else { return };
        if death.worker == *worker || self.trial(trial).epochs <= death.epochs {
            return;
        }
        let death = self.died_on.remove(&trial).expect("it was just found");
        let Some(guilty) = self.workers.get_mut(&death.worker) else { return };
        if !guilty.health.died.contains(&trial) {
            return;
        }
        guilty.health.vindicated.insert(trial);
        if guilty.health.vindicated.len() >= self.settings.vindicated_max {
            self.set_aside(now, &death.worker);
        }
    }

    /// A trial came to its end on a worker.
    pub(crate) fn count_end(&mut self, now: Time, worker: &WorkerId, trial: TrialIndex) {
        // It may have had no epoch left to report.
        self.count_epoch_of(now, worker, trial);
        self.died_on.remove(&trial);
        if let Some(worker) = self.workers.get_mut(worker) {
            // It need not wait any longer.
            self.lease_due |= !worker.health.may_lease();
            worker.health.clear();
        }
        for membership in self.trials[trial.place()].memberships.as_slice() {
            self.sweeps[membership.sweep.place()].streak = Streak::default();
        }
    }

    fn set_aside(&mut self, now: Time, id: &WorkerId) {
        let worker = self.workers.get_mut(id).expect("the worker was just found");
        let died = std::mem::take(&mut worker.health.died);
        let vindicated = std::mem::take(&mut worker.health.vindicated).len();
        let minutes = self.settings.aside_ms / 60_000;
        worker.health.aside = Some(Aside {
            until: Time(now.0.saturating_add(self.settings.aside_ms)),
            reason: format!(
                "set aside: {} trials died here one after the other, and {vindicated} of them got \
                 further on other workers; it is tried again after {minutes} min, or when its \
                 agent is started anew",
                died.len(),
            ),
        });
        for trial in died {
            self.pardon(trial);
        }
        // A trial that avoided it no longer has to, and others may be the last to run one.
        self.lease_due = true;
    }

    /// Where every worker that is left was set aside, they are better than none.
    pub(crate) fn trust_the_last(&mut self) {
        if self.workers.values().any(Worker::is_able) {
            return;
        }
        for worker in self.workers.values_mut() {
            worker.health.aside = None;
        }
    }

    /// The trial's death was its worker's.
    fn pardon(&mut self, trial: TrialIndex) {
        if matches!(self.trial(trial).state, State::Ended(_)) {
            return;
        }
        self.update(trial, |record| {
            record.deaths = record.deaths.saturating_sub(1);
            record.cohort_size_max = None;
        });
        let record = self.trial(trial);
        let (trial, deaths, cohort_size_max) = (record.id, record.deaths, record.cohort_size_max);
        self.store(Change::TrialPardoned { trial, deaths, cohort_size_max });
    }

    /// Whether a worker should leave a trial to others, because it died there.
    pub(crate) fn avoids(&self, id: &WorkerId, trial: TrialIndex, sweep: SweepIndex) -> bool {
        let Some(death) = self.died_on.get(&trial) else { return false };
        let header = &self.sweep(sweep).header;
        death.worker == *id
            && self.workers.iter().any(|(other, worker)| {
                other != id && worker.is_able() && worker.digest_for(header).is_ok()
            })
    }

    fn count_same_error(&mut self, id: &WorkerId, trial: TrialIndex, failure: &CohortFailure) {
        let error = signature(failure);
        let able = self.workers.values().filter(|worker| worker.is_able()).count();
        let mut broken = Vec::new();
        for membership in self.trials[trial.place()].memberships.as_slice() {
            let sweep = &mut self.sweeps[membership.sweep.place()];
            if membership.removed || sweep.hold.is_some() {
                continue;
            }
            if sweep.streak.error != error {
                sweep.streak = Streak { error: error.clone(), ..Streak::default() };
            }
            sweep.streak.trials.insert(trial);
            sweep.streak.workers.insert(id.clone());
            let (trials, workers) = (sweep.streak.trials.len(), sweep.streak.workers.len());
            let many = sweep.header.same_error_max.is_some_and(|max| trials as u64 >= max);
            if many && (workers > 1 || able <= 1) {
                broken.push((membership.sweep, trials, workers));
            }
        }
        for (index, trials, workers) in broken {
            let name = self.sweep(index).header.name.clone();
            let on = if workers == 1 { "one worker" } else { &format!("{workers} workers") };
            let reason = format!(
                "{trials} trials in a row died of the same error on {on}: {}; once that is mended \
                 `coordinator retry {name}` goes on",
                failure.message,
            );
            self.hold(index, Some(Hold::Broken { reason }));
            self.sweep_mut(index).streak = Streak::default();
        }
    }
}

/// What is the same where the same fault happens again.
fn signature(failure: &CohortFailure) -> String {
    let mut text = String::new();
    let line = failure.message.lines().next().unwrap_or_default();
    for word in line.split_whitespace() {
        let is_number = word.chars().any(|letter| letter.is_ascii_digit());
        text.push_str(if is_number { "#" } else { word });
        text.push(' ');
    }
    let end = text.char_indices().nth(ERROR_CHARS_MAX).map_or(text.len(), |(end, _)| end);
    format!("{:?}: {}", failure.cause, &text[..end])
}

#[cfg(test)]
mod tests {
    use common::ids::CohortId;

    use super::*;

    #[test]
    fn the_same_fault_is_known_by_its_words() {
        let of = |message: &str, cause| {
            let message = message.to_owned();
            let (attempts, stderr_tail) = (Vec::new(), String::new());
            signature(&CohortFailure { cohort: CohortId(1), attempts, cause, message, stderr_tail })
        };
        let bug = FailureCause::Bug;
        assert_eq!(of("no kernel at 0x7f3a for 12", bug), of("no kernel at 0x81bb for 9\nx", bug));
        assert_ne!(of("no kernel", bug), of("no memory", bug));
        assert_ne!(of("no kernel", bug), of("no kernel", FailureCause::TrainerDied));
        assert!(of(&"é ".repeat(500), bug).chars().count() < 180);
    }
}
