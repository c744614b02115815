//! Why a trial is pending, in words.

use common::ids::TrialId;

use crate::event::{Hold, Time};
use crate::scheduler::Scheduler;
use crate::sweep::{Expansion, SweepIndex};
use crate::trial::{Record, State, TrialIndex};

impl Scheduler {
    /// Why a trial is pending; none where it is not, or where it is not known.
    pub fn explain(&self, now: Time, trial: TrialId) -> Option<String> {
        let index = *self.trial_index.get(&trial)?;
        let record = self.trial(index);
        match record.state {
            State::Pending | State::Resting { .. } => {}
            State::Running { .. } | State::Ended(_) => return None,
        }
        let mut reasons = Vec::new();
        for membership in record.memberships.as_slice() {
            if !membership.removed {
                reasons.push(self.explain_for(membership.sweep, index));
            }
        }
        let limit = explain_limit(record);
        let (deaths, deaths_max) = (record.deaths, self.settings.deaths_max);
        // A trial runs as soon as one of its sweeps lets it.
        let reason = reasons.into_iter().min_by_key(|(blocked, _)| *blocked);
        let reason = reason.map_or_else(|| "no sweep names it any more".into(), |(_, text)| text);
        let reason = match record.state {
            State::Resting { until } => {
                let seconds = until.0.saturating_sub(now.0).div_ceil(1_000);
                format!("it died alone {deaths} of {deaths_max} times and rests for {seconds} s")
            }
            State::Pending | State::Running { .. } | State::Ended(_) => reason,
        };
        Some(format!("{reason}{limit}"))
    }

    /// Whether the sweep itself is held back, and why it gets no slot now.
    fn explain_for(&self, index: SweepIndex, trial: TrialIndex) -> (bool, String) {
        let sweep = self.sweep(index);
        let name = &sweep.header.name;
        match &sweep.hold {
            Some(Hold::Paused) => {
                let text = format!("sweep `{name}` is paused; `coordinator resume {name}`");
                return (true, text);
            }
            Some(Hold::Cancelled) => return (true, format!("sweep `{name}` is cancelled")),
            Some(Hold::Broken { reason }) => {
                return (true, format!("sweep `{name}` stopped: {reason}"));
            }
            None => {}
        }
        if let Some(reason) = &sweep.stopped {
            return (true, format!("sweep `{name}` stopped: {reason}"));
        }
        if sweep.expansion == Expansion::Again {
            return (true, format!("sweep `{name}` is being expanded again"));
        }
        if let Some(obstacle) = self.obstacle(index) {
            return (false, self.explain_share(index).unwrap_or(obstacle));
        }
        let avoids = self.workers.keys().find(|id| self.avoids(id, trial, index));
        let waits = match avoids {
            Some(id) => format!("it died on worker {id} and waits for another"),
            None => format!("its turn in sweep `{name}` has not come"),
        };
        (false, waits)
    }

    /// Which other sweep has the slots that are busy.
    fn explain_share(&self, index: SweepIndex) -> Option<String> {
        let sweep = self.sweep(index);
        let priority = sweep.header.priority;
        let holds = |other: &&SweepIndex| {
            let other = self.sweep(**other);
            other.header.priority > priority && other.cohorts_running > 0
        };
        let above = self.sweep_order.iter().find(holds).map(|above| self.sweep(*above))?;
        Some(format!(
            "every slot that may run it is busy; sweep `{}` goes first, with priority {} over {}",
            above.header.name, above.header.priority, priority,
        ))
    }

    /// Why no slot takes a pending trial of this sweep now; none where one may.
    pub(crate) fn obstacle(&self, index: SweepIndex) -> Option<String> {
        if self.closing {
            return Some("the coordinator is stopping".into());
        }
        let header = &self.sweep(index).header;
        let (mut attached, mut draining, mut refusals) = (0_u32, 0_u32, Vec::new());
        let mut busy = false;
        for (id, worker) in &self.workers {
            if worker.live_session().is_none() {
                continue;
            }
            attached += 1;
            if worker.drains() {
                draining += 1;
                continue;
            }
            if let Some(aside) = &worker.health.aside {
                refusals.push(format!("worker {id}: {}", aside.reason));
                continue;
            }
            match worker.digest_for(header) {
                Err(reason) => refusals.push(format!("worker {id}: {reason}")),
                Ok(_) if worker.has_free_slot() && worker.health.may_lease() => return None,
                Ok(_) if worker.has_free_slot() => {
                    refusals.push(format!("worker {id}: trials died there in a row; it rests"));
                }
                Ok(_) => busy = true,
            }
        }
        if attached == 0 {
            return Some("no worker is attached".into());
        }
        if busy {
            return Some("every slot that may run it is busy".into());
        }
        if draining == attached {
            return Some("every attached worker drains".into());
        }
        let first = refusals.into_iter().next().expect("a worker that neither drains nor may run");
        Some(format!("no attached worker may run it; {first}"))
    }
}

fn explain_limit(record: &Record) -> String {
    match record.cohort_size_max {
        None => String::new(),
        Some(1) => "; it runs alone, since a cohort with it failed".into(),
        Some(max) => {
            format!("; it runs in cohorts of at most {max}, since a larger one with it failed")
        }
    }
}
