//! Figures of the workers' GPUs. They are kept beside the scheduler, which decides nothing by
//! them: each heartbeat replaces its worker's, and they go with the stream that brought them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::ids::WorkerId;
use scheduler::event::Session;

/// A GPU as its worker tells of it; every figure is a finite number, or absent.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Gpu {
    /// N of the slots' device `cuda:N`.
    pub index: u32,
    /// What its maker calls it.
    pub name: String,
    /// Share of the time in which a kernel ran, 0 to 1.
    pub utilization: Option<f64>,
    /// Memory in use, by whomever.
    pub memory_used_bytes: Option<u64>,
    /// All of its memory.
    pub memory_total_bytes: Option<u64>,
    /// Of the chip.
    pub temperature_celsius: Option<f64>,
    /// Drawn by the board.
    pub power_watts: Option<f64>,
}

/// Those of one worker.
#[derive(Debug)]
struct Told {
    session: Session,
    gpus: Vec<Gpu>,
}

/// The GPUs of every attached worker that has some.
#[derive(Clone, Debug, Default)]
pub struct Gpus(Arc<Mutex<BTreeMap<WorkerId, Told>>>);

impl Gpus {
    /// What a worker told on this stream; what it told on a newer one stays.
    pub fn set(&self, worker: &WorkerId, session: Session, gpus: Vec<Gpu>) {
        let mut known = self.lock();
        if known.get(worker).is_some_and(|told| told.session > session) {
            return;
        }
        if gpus.is_empty() {
            known.remove(worker);
        } else {
            known.insert(worker.clone(), Told { session, gpus });
        }
    }

    /// A worker's stream ended.
    pub fn forget(&self, worker: &WorkerId, session: Session) {
        let mut known = self.lock();
        if known.get(worker).is_some_and(|told| told.session == session) {
            known.remove(worker);
        }
    }

    /// Those of one worker; none where it is not attached.
    pub fn of(&self, worker: &WorkerId) -> Vec<Gpu> {
        self.lock().get(worker).map(|told| told.gpus.clone()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<WorkerId, Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_go_with_the_stream_that_brought_them() {
        let (gpus, worker) = (Gpus::default(), "w".parse().expect("an id"));
        let gpu = |index| Gpu { index, ..Gpu::default() };
        gpus.set(&worker, Session(2), vec![gpu(0)]);
        gpus.set(&worker, Session(1), vec![gpu(9)]);
        gpus.forget(&worker, Session(1));
        assert_eq!(gpus.of(&worker), [gpu(0)], "an older stream changes nothing");
        gpus.set(&worker, Session(3), vec![gpu(1), gpu(2)]);
        assert_eq!(gpus.of(&worker), [gpu(1), gpu(2)]);
        gpus.forget(&worker, Session(3));
        assert_eq!(gpus.of(&worker), []);
        gpus.set(&worker, Session(4), vec![gpu(0)]);
        gpus.set(&worker, Session(4), Vec::new());
        assert_eq!(gpus.of(&worker), [], "it tells of none any more");
    }
}
