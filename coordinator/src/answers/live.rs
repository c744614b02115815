//! What only the running coordinator knows, added to what is stored.

use common::wire;
use scheduler::Overview;
use scheduler::event::Device;
use scheduler::overview::{SlotOverview, SweepOverview, SweepState, WorkerOverview, WorkerState};

use crate::driver::{Clock, Health};

/// Where a sweep stands, in a word, or why nothing runs.
fn state_of(sweep: &SweepOverview) -> &str {
    match &sweep.state {
        SweepState::Running => "running",
        SweepState::Completed => "completed",
        SweepState::Paused => "paused",
        SweepState::Cancelled => "cancelled",
        SweepState::Stopped { reason } | SweepState::Waiting { reason } => reason,
    }
}

/// A sweep as far as the driver's picture has it: without times, failures, lost attempts, file.
pub fn sweep_of(sweep: &SweepOverview) -> wire::Sweep {
    let counts = &sweep.counts;
    wire::Sweep {
        name: sweep.name.to_string(),
        model: sweep.model.name().into(),
        data: sweep.data.name().into(),
        trials: Some(wire::TrialCounts {
            pending: counts.pending,
            running: counts.running,
            completed: counts.completed,
            diverged: counts.diverged,
            failed: counts.failed,
            cancelled: counts.cancelled,
            removed: counts.removed,
        }),
        configs: sweep.configs,
        configs_done: sweep.configs_done,
        best_val_error: sweep.best.map(|(_, error)| error),
        best_trial: sweep.best.map_or(String::new(), |(trial, _)| trial.to_string()),
        epochs: sweep.epochs_total,
        state: state_of(sweep).into(),
        eta_seconds: sweep.eta_seconds,
        ..wire::Sweep::default()
    }
}

/// Adds the estimate of the time left and why nothing runs.
pub fn complete_sweep(sweep: &mut wire::Sweep, overview: &Overview, health: &Health) {
    let is_open = sweep.trials.is_some_and(|trials| trials.pending + trials.running > 0);
    if let (Health::StoreFailed { reason }, true) = (health, is_open) {
        sweep.state = format!("nothing is handed out, the store failed: {reason}");
        return;
    }
    let live = overview.sweeps.iter().find(|live| live.name.as_str() == sweep.name);
    let Some(live) = live else { return };
    sweep.eta_seconds = live.eta_seconds;
    match &live.state {
        // The store has the words for these.
        SweepState::Running
        | SweepState::Completed
        | SweepState::Paused
        | SweepState::Cancelled => {}
        SweepState::Stopped { reason } | SweepState::Waiting { reason } => {
            sweep.state = reason.clone();
        }
    }
}

/// Replaces what is stored of the workers that this coordinator knows; the others are lost.
pub fn complete_workers(workers: &mut Vec<wire::Worker>, overview: &Overview, clock: Clock) {
    for worker in workers.iter_mut() {
        let live = overview.workers.iter().find(|live| live.id.as_str() == worker.worker);
        match live {
            Some(live) => complete_worker(worker, live, clock),
            None => {
                worker.state = WorkerState::Lost.name().into();
                for slot in &mut worker.slots {
                    *slot = wire::WorkerSlot { device: slot.device.clone(), ..free() };
                }
            }
        }
    }
    for live in &overview.workers {
        // Attached a moment ago, and not stored yet.
        if !workers.iter().any(|worker| worker.worker == live.id.as_str()) {
            let mut worker = wire::Worker { worker: live.id.to_string(), ..Default::default() };
            complete_worker(&mut worker, live, clock);
            workers.push(worker);
        }
    }
    workers.sort_by(|a, b| a.worker.cmp(&b.worker));
}

fn complete_worker(worker: &mut wire::Worker, live: &WorkerOverview, clock: Clock) {
    worker.state = live.state.name().into();
    worker.slots = live.slots.iter().map(slot).collect();
    worker.last_seen_unix_ms = clock.unix_ms(live.last_seen);
    worker.reason = live.reason.clone().unwrap_or_default();
    // One that has not come back since the coordinator started is known from the store alone.
    if !live.host.is_empty() {
        worker.host = live.host.clone();
        worker.program_version = live.program_version.clone();
        worker.libtorch_version = live.libtorch_version.clone();
        let digests = live.data_digests.iter();
        worker.data_digests =
            digests.map(|(data, digest)| (data.name().to_owned(), digest.clone())).collect();
    }
}

fn slot(slot: &SlotOverview) -> wire::WorkerSlot {
    let device = match slot.device {
        Device::Cpu => "cpu".into(),
        Device::Cuda(ordinal) => format!("cuda:{ordinal}"),
    };
    match slot.cohort {
        Some(cohort) => wire::WorkerSlot {
            device,
            state: "busy".into(),
            cohort: cohort.0,
            attempts: slot.attempts,
        },
        None => wire::WorkerSlot { device, ..free() },
    }
}

fn free() -> wire::WorkerSlot {
    wire::WorkerSlot { state: "free".into(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use common::ids::CohortId;
    use scheduler::event::Time;

    use super::*;

    fn stored(name: &str) -> wire::Worker {
        let slot = wire::WorkerSlot { device: "cpu".into(), cohort: 4, ..free() };
        wire::Worker {
            worker: name.into(),
            host: "stored".into(),
            state: "connected".into(),
            slots: vec![slot],
            ..Default::default()
        }
    }

    fn live(name: &str, host: &str) -> WorkerOverview {
        let cohort = Some(CohortId(9));
        WorkerOverview {
            id: name.parse().expect("an id"),
            host: host.into(),
            program_version: "1".into(),
            libtorch_version: "2".into(),
            data_digests: BTreeMap::new(),
            state: WorkerState::Draining,
            has_left: false,
            slots: vec![SlotOverview { device: Device::Cuda(1), cohort, attempts: 3 }],
            reason: Some("it drains".into()),
            last_seen: Time(5),
        }
    }

    #[test]
    fn workers_are_those_stored_as_they_are_now() {
        let mut workers = vec![stored("a"), stored("b")];
        let live = vec![live("a", ""), live("c", "new")];
        let overview = Overview { workers: live, ..Overview::default() };
        let clock = Clock::start();
        complete_workers(&mut workers, &overview, clock);
        let states: Vec<_> = workers
            .iter()
            .map(|worker| (worker.worker.as_str(), worker.host.as_str(), worker.state.as_str()))
            .collect();
        let expected =
            [("a", "stored", "draining"), ("b", "stored", "lost"), ("c", "new", "draining")];
        assert_eq!(states, expected);
        assert_eq!(workers[0].slots[0].device, "cuda:1");
        assert_eq!((workers[0].slots[0].cohort, workers[0].slots[0].attempts), (9, 3));
        assert_eq!(workers[0].last_seen_unix_ms, clock.unix_ms(Time(5)));
        assert_eq!((workers[1].slots[0].cohort, workers[1].slots[0].state.as_str()), (0, "free"));
    }

    #[test]
    fn a_sweep_with_open_trials_says_that_the_store_failed() {
        let health = Health::StoreFailed { reason: "the disk is full".into() };
        let mut sweep = wire::Sweep {
            trials: Some(wire::TrialCounts { pending: 1, ..Default::default() }),
            state: "idle".into(),
            ..Default::default()
        };
        complete_sweep(&mut sweep, &Overview::default(), &health);
        assert_eq!(sweep.state, "nothing is handed out, the store failed: the disk is full");
        let done = wire::Sweep { state: "completed".into(), ..Default::default() };
        let mut shown = done.clone();
        complete_sweep(&mut shown, &Overview::default(), &health);
        assert_eq!(shown, done);
    }
}
