//! The stream of `WatchSweep`: the driver's picture of one sweep. It costs nothing while its reader
//! takes nothing, however many readers there are.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use common::ids::SweepName;
use common::wire;
use scheduler::Overview;
use scheduler::overview::{ActiveTrial, SweepOverview, WorkerState};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use crate::answers::sweep_of;

/// People read no faster.
const EVERY: Duration = Duration::from_secs(1);

/// The stream.
pub(super) type Progress = Pin<Box<dyn Stream<Item = Result<wire::SweepProgress, Status>> + Send>>;

/// The picture has the sweep.
pub(super) fn has(overview: &Overview, sweep: &SweepName) -> bool {
    overview.sweeps.iter().any(|known| known.name == *sweep)
}

/// The newest picture of a sweep, when there is one and whenever it changes.
pub(super) fn progress(overview: watch::Receiver<Arc<Overview>>, sweep: SweepName) -> Progress {
    let mut last = None;
    let news = WatchStream::new(overview).filter_map(move |overview| {
        let found = overview.sweeps.iter().find(|known| known.name == sweep)?;
        let progress = of(found, &overview);
        if last.as_ref() == Some(&progress) {
            return None;
        }
        last = Some(progress.clone());
        Some(Ok(progress))
    });
    Box::pin(news.throttle(EVERY))
}

fn of(sweep: &SweepOverview, overview: &Overview) -> wire::SweepProgress {
    let is_there = |state: WorkerState| match state {
        WorkerState::Connected | WorkerState::Draining | WorkerState::SetAside => true,
        WorkerState::Lost => false,
    };
    let workers = || overview.workers.iter().filter(|worker| is_there(worker.state));
    let slots = || workers().flat_map(|worker| &worker.slots);
    wire::SweepProgress {
        sweep: Some(sweep_of(sweep)),
        active: sweep.active.iter().map(active).collect(),
        active_truncated: sweep.active_truncated,
        examples_per_second: sweep.examples_per_second,
        workers_connected: workers().count() as u64,
        slots: slots().count() as u64,
        slots_busy: slots().filter(|slot| slot.cohort.is_some()).count() as u64,
    }
}

fn active(trial: &ActiveTrial) -> wire::ActiveTrial {
    wire::ActiveTrial {
        trial: trial.id.to_string(),
        params: trial.config.to_json(),
        seed: trial.seed,
        running: trial.running,
        epoch: trial.epoch,
        gate: trial.gate,
        val_error: trial.val_error,
    }
}
