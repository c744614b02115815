//! The overview: what the scheduler shows of itself.

use common::ids::{TrialId, WorkerId};

use crate::event::{Hold, Time};
use crate::overview::{
    ACTIVE_TRIALS_MAX, ActiveTrial, Overview, SlotOverview, SweepOverview, SweepState,
    WorkerOverview, WorkerState,
};
use crate::scheduler::Scheduler;
use crate::sweep::{Expansion, Sweep, SweepIndex};
use crate::trial::TrialIndex;
use crate::worker::{Link, Runner, Worker};

/// Running trials of one sweep.
#[derive(Default)]
struct Running<'a> {
    cohorts: u32,
    runners: Vec<&'a Runner>,
}

impl Scheduler {
    /// What progress and gauges show. Costs as much as there are sweeps, workers and running
    /// trials.
    pub fn overview(&self, now: Time) -> Overview {
        let running = self.running_by_sweep();
        let mut sweeps = Vec::with_capacity(self.sweeps.len());
        for &index in &self.sweep_order {
            sweeps.push(self.sweep_overview(index, &running[index.place()]));
        }
        let workers = self.workers.iter();
        let workers = workers.map(|(id, worker)| self.worker_overview(now, id, worker)).collect();
        Overview { sweeps, workers, counters: self.counters.clone() }
    }

    /// A trial of several sweeps runs for each of them; its cohort counts where one of its
    /// trials does.
    fn running_by_sweep(&self) -> Vec<Running<'_>> {
        let mut running: Vec<Running<'_>> = Vec::new();
        running.resize_with(self.sweeps.len(), Running::default);
        let mut counted = vec![None; self.sweeps.len()];
        for (id, cohort) in &self.cohorts {
            for runner in &cohort.runners {
                for membership in self.trial(runner.trial).memberships.as_slice() {
                    if membership.removed {
                        continue;
                    }
                    let place = membership.sweep.place();
                    running[place].runners.push(runner);
                    if counted[place] != Some(*id) {
                        counted[place] = Some(*id);
                        running[place].cohorts += 1;
                    }
                }
            }
        }
        running
    }

    fn sweep_overview(&self, index: SweepIndex, running: &Running<'_>) -> SweepOverview {
        let sweep = self.sweep(index);
        let mut active = Vec::new();
        let runners = running.runners.iter().map(|runner| (runner.trial, true));
        let finished = sweep.finished.iter().map(|(_, trial)| (*trial, false));
        for (trial, runs) in runners.chain(finished).take(ACTIVE_TRIALS_MAX) {
            active.push(self.active_trial(trial, runs));
        }
        SweepOverview {
            name: sweep.header.name.clone(),
            model: sweep.header.model,
            data: sweep.header.data,
            counts: *sweep.counts(),
            configs: sweep.tallies.configs.len() as u64,
            configs_done: sweep.tallies.configs_done,
            best: self.best(sweep, running),
            epochs_total: sweep.epochs_total,
            examples_total: sweep.examples_total,
            examples_per_second: running.runners.iter().map(|r| r.examples_per_second).sum(),
            eta_seconds: eta_seconds(sweep, running.cohorts),
            active,
            active_truncated: running.runners.len() > ACTIVE_TRIALS_MAX,
            state: self.sweep_state(index),
        }
    }

    fn active_trial(&self, trial: TrialIndex, running: bool) -> ActiveTrial {
        let record = self.trial(trial);
        ActiveTrial {
            id: record.id,
            config: self.entry(trial).config.clone(),
            seed: record.seed,
            running,
            epoch: record.epochs,
            gate: record.gate.map(f64::from),
            val_error: record.val_error,
        }
    }

    fn best(&self, sweep: &Sweep, running: &Running<'_>) -> Option<(TrialId, f64)> {
        let finished = sweep.finished.first();
        let mut best = finished.map(|(bits, trial)| (*trial, f64::from_bits(*bits)));
        for runner in &running.runners {
            if let Some(error) = runner.best_error
                && best.is_none_or(|(_, lowest)| error < lowest)
            {
                best = Some((runner.trial, error));
            }
        }
        best.map(|(trial, error)| (self.trial(trial).id, error))
    }

    fn sweep_state(&self, index: SweepIndex) -> SweepState {
        let sweep = self.sweep(index);
        match &sweep.hold {
            Some(Hold::Cancelled) => return SweepState::Cancelled,
            Some(Hold::Paused) if !sweep.is_done() => return SweepState::Paused,
            Some(Hold::Broken { reason }) if !sweep.is_done() => {
                return SweepState::Stopped { reason: reason.clone() };
            }
            Some(Hold::Paused | Hold::Broken { .. }) | None => {}
        }
        if sweep.is_done() {
            return SweepState::Completed;
        }
        if let Some(reason) = &sweep.stopped {
            return SweepState::Stopped { reason: reason.clone() };
        }
        if sweep.counts().running > 0 {
            return SweepState::Running;
        }
        match sweep.expansion {
            Expansion::First | Expansion::Again => return SweepState::Running,
            Expansion::Interrupted if sweep.counts().pending == 0 => {
                let reason = "its expansion was interrupted: apply it again".into();
                return SweepState::Waiting { reason };
            }
            Expansion::Interrupted | Expansion::Done => {}
        }
        match self.obstacle(index) {
            Some(reason) => SweepState::Waiting { reason },
            None => SweepState::Running,
        }
    }

    fn worker_overview(&self, now: Time, id: &WorkerId, worker: &Worker) -> WorkerOverview {
        let hello = worker.hello.as_ref();
        let state = match worker.link {
            Link::Lost { .. } | Link::Awaited => WorkerState::Lost,
            Link::Attached { .. } | Link::Detached if worker.drains() => WorkerState::Draining,
            Link::Attached { .. } | Link::Detached if worker.health.aside.is_some() => {
                WorkerState::SetAside
            }
            Link::Attached { .. } | Link::Detached => WorkerState::Connected,
        };
        let mut slots = Vec::with_capacity(worker.slots.len());
        for (slot, cohort) in worker.slots.iter().enumerate() {
            let held = cohort.map_or(0, |cohort| self.cohorts[&cohort].runners.len());
            let attempts = u32::try_from(held).expect("a cohort's size is a u32");
            slots.push(SlotOverview { device: worker.device(slot), cohort: *cohort, attempts });
        }
        WorkerOverview {
            id: id.clone(),
            host: hello.map_or_else(String::new, |hello| hello.host.clone()),
            program_version: hello.map_or_else(String::new, |h| h.program_version.clone()),
            libtorch_version: hello.map_or_else(String::new, |h| h.libtorch_version.clone()),
            data_digests: hello.map(|hello| hello.data_digests.clone()).unwrap_or_default(),
            state,
            has_left: matches!(worker.link, Link::Lost { left: true, .. }),
            slots,
            reason: self.worker_reason(now, worker),
            last_seen: worker.last_seen,
        }
    }

    fn worker_reason(&self, now: Time, worker: &Worker) -> Option<String> {
        let silent_s = now.0.saturating_sub(worker.last_seen.0) / 1_000;
        match worker.link {
            Link::Awaited => Some("has not attached since the coordinator started".into()),
            Link::Lost { left: true, .. } => {
                Some("it left: drained, or with an error that its own log has".into())
            }
            Link::Lost { left: false, .. } => Some(format!("no sign of life for {silent_s} s")),
            Link::Detached => Some(format!("its stream broke {silent_s} s ago")),
            Link::Attached { .. } if worker.drains() => Some("it drains".into()),
            Link::Attached { .. } => match &worker.health.aside {
                Some(aside) => Some(aside.reason.clone()),
                None => self.refusal(worker),
            },
        }
    }

    /// Why a free slot of an attached worker stays empty although a sweep has pending trials.
    fn refusal(&self, worker: &Worker) -> Option<String> {
        if worker.slots.is_empty() {
            return Some("it has no slots".into());
        }
        if !worker.has_free_slot() {
            return None;
        }
        let waiting = self.sweep_order.iter().map(|index| self.sweep(*index));
        waiting
            .filter(|sweep| sweep.may_lease())
            .find_map(|sweep| worker.digest_for(&sweep.header).err())
    }
}

/// Work left over the speed measured per slot, times the slots it has; none of a sweep that gets no
/// more.
fn eta_seconds(sweep: &Sweep, cohorts: u32) -> Option<f64> {
    let per_slot = sweep.measured.cost_per_slot_second()?;
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let remaining = sweep.tallies.cost_remaining as f64;
    let goes_on = cohorts > 0 && sweep.hold.is_none() && sweep.stopped.is_none();
    let seconds = goes_on.then(|| remaining / (per_slot * f64::from(cohorts)));
    seconds.filter(|seconds| seconds.is_finite())
}
