//! Why a trial is pending, in words.

use common::ids::TrialId;

use crate::scheduler::Scheduler;
use crate::sweep::{Expansion, SweepIndex};
use crate::trial::{Record, State};

impl Scheduler {
    /// Why a trial is pending; none where it is not, or where it is not known.
    pub fn explain(&self, trial: TrialId) -> Option<String> {
        let record = self.trial(*self.trial_index.get(&trial)?);
        match record.state {
            State::Pending => {}
            State::Running { .. } | State::Ended(_) => return None,
        }
        let mut reasons = Vec::new();
        for membership in record.memberships.as_slice() {
            if !membership.removed {
                reasons.push(self.explain_for(membership.sweep));
            }
        }
        let limit = explain_limit(record);
        // A trial runs as soon as one of its sweeps lets it.
        let reason = reasons.into_iter().min_by_key(|(blocked, _)| *blocked);
        let reason = reason.map_or_else(|| "no sweep names it any more".into(), |(_, text)| text);
        Some(format!("{reason}{limit}"))
    }

    /// Whether the sweep itself is held back, and why it gets no slot now.
    fn explain_for(&self, index: SweepIndex) -> (bool, String) {
        let sweep = self.sweep(index);
        let name = &sweep.header.name;
        if let Some(reason) = &sweep.stopped {
            return (true, format!("sweep `{name}` stopped: {reason}"));
        }
        if sweep.expansion == Expansion::Again {
            return (true, format!("sweep `{name}` is being expanded again"));
        }
        let waits = || format!("its turn in sweep `{name}` has not come");
        (false, self.obstacle(index).unwrap_or_else(waits))
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
            if worker.draining {
                draining += 1;
                continue;
            }
            match worker.digest_for(header) {
                Err(reason) => refusals.push(format!("worker {id}: {reason}")),
                Ok(_) if worker.has_free_slot() => return None,
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
