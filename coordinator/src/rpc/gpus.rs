//! Figures of GPUs between wire and table. What a worker sends is checked here.

use std::collections::BTreeSet;

use common::wire::{self, GPUS_MAX};
use scheduler::overview::WorkerState;

use super::convert::{ConvertError, NAME_BYTES_MAX, finite, shortened, value};
use crate::gpus::{Gpu, Gpus};

/// Reads the GPUs of a heartbeat. A figure that cannot be one is absent; two GPUs of one index, or
/// more than a host has, are a mistake of the worker.
pub fn gpus(sent: Vec<wire::Gpu>) -> Result<Vec<Gpu>, ConvertError> {
    if sent.len() > GPUS_MAX {
        return Err(value("heartbeat", "gpus", sent.len(), format!("at most {GPUS_MAX}")));
    }
    let mut seen = BTreeSet::new();
    let mut gpus = Vec::with_capacity(sent.len());
    for gpu in sent {
        if !seen.insert(gpu.index) {
            return Err(value("gpu", "index", gpu.index, "each once".into()));
        }
        gpus.push(Gpu {
            index: gpu.index,
            name: shortened(gpu.name, NAME_BYTES_MAX),
            utilization: finite(gpu.utilization).filter(|share| (0.0..=1.0).contains(share)),
            memory_used_bytes: gpu.memory_used_bytes,
            memory_total_bytes: gpu.memory_total_bytes,
            temperature_celsius: finite(gpu.temperature_celsius),
            power_watts: finite(gpu.power_watts).filter(|watts| *watts >= 0.0),
        });
    }
    Ok(gpus)
}

/// Adds what is known of the GPUs of workers that are there.
pub fn complete_workers(workers: &mut [wire::Worker], known: &Gpus) {
    for worker in workers.iter_mut().filter(|worker| worker.state != WorkerState::Lost.name()) {
        if let Ok(id) = worker.worker.parse() {
            worker.gpus = known.of(&id).into_iter().map(to_wire).collect();
        }
    }
}

fn to_wire(gpu: Gpu) -> wire::Gpu {
    wire::Gpu {
        index: gpu.index,
        name: gpu.name,
        utilization: gpu.utilization,
        memory_used_bytes: gpu.memory_used_bytes,
        memory_total_bytes: gpu.memory_total_bytes,
        temperature_celsius: gpu.temperature_celsius,
        power_watts: gpu.power_watts,
    }
}

#[cfg(test)]
mod tests {
    use scheduler::event::Session;

    use super::*;

    #[test]
    fn figures_that_are_none_are_absent() {
        let wild = wire::Gpu {
            name: "ä".repeat(NAME_BYTES_MAX),
            utilization: Some(1.5),
            memory_used_bytes: Some(u64::MAX),
            temperature_celsius: Some(f64::NAN),
            power_watts: Some(f64::NEG_INFINITY),
            ..wire::Gpu::default()
        };
        let below = wire::Gpu { index: 1, power_watts: Some(-1.0), ..wire::Gpu::default() };
        let read = gpus(vec![wild, below]).expect("accepted");
        let expected = Gpu {
            name: "ä".repeat(NAME_BYTES_MAX / 2),
            memory_used_bytes: Some(u64::MAX),
            ..Gpu::default()
        };
        assert_eq!(read, [expected, Gpu { index: 1, ..Gpu::default() }]);
    }

    #[test]
    fn too_many_gpus_and_one_told_twice_are_refused() {
        let gpu = |index| wire::Gpu { index, ..wire::Gpu::default() };
        assert_eq!(gpus((0..64).map(gpu).collect()).expect("as many as may be").len(), 64);
        let error = gpus((0..65).map(gpu).collect()).expect_err("too many").to_string();
        assert_eq!(error, "heartbeat: `gpus` is 65; accepted: at most 64");
        let error = gpus(vec![gpu(3), gpu(3)]).expect_err("twice").to_string();
        assert_eq!(error, "gpu: `index` is 3; accepted: each once");
    }

    #[test]
    fn workers_have_their_gpus_unless_they_are_lost() {
        let known = Gpus::default();
        let gpu = Gpu { index: 2, utilization: Some(0.5), ..Gpu::default() };
        for id in ["a", "b"] {
            known.set(&id.parse().expect("an id"), Session(1), vec![gpu.clone()]);
        }
        let worker = |id: &str, state: WorkerState| wire::Worker {
            worker: id.into(),
            state: state.name().into(),
            ..wire::Worker::default()
        };
        let mut workers = [
            worker("a", WorkerState::Draining),
            worker("b", WorkerState::Lost),
            worker("c", WorkerState::Connected),
        ];
        complete_workers(&mut workers, &known);
        assert_eq!(workers[0].gpus, [to_wire(gpu)]);
        assert_eq!((workers[1].gpus.len(), workers[2].gpus.len()), (0, 0));
    }
}
