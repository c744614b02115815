//! Series of workers, their slots and their GPUs.

use prometheus::{GaugeVec, IntGaugeVec, Result};
use scheduler::overview::{WorkerOverview, WorkerState};

use super::registrar::{Registrar, gauge};
use crate::gpus::{Gpu, Gpus};

/// The state of a worker that is lost because it left.
const LEFT: &str = "left";

pub(super) struct WorkerSeries {
    workers: IntGaugeVec,
    slots: IntGaugeVec,
    cohort_size: IntGaugeVec,
    gpu_utilization_ratio: GaugeVec,
    gpu_memory_used_bytes: IntGaugeVec,
    gpu_memory_total_bytes: IntGaugeVec,
    gpu_temperature_celsius: GaugeVec,
    gpu_power_watts: GaugeVec,
}

impl WorkerSeries {
    pub fn new(r: &Registrar<'_>) -> Result<WorkerSeries> {
        let workers = "Workers by state; left are those that drained and went.";
        let cohort_size = "Attempts of the largest cohort that a worker trains.";
        let utilization = "Share of the time in which a kernel ran on the GPU, 0 to 1.";
        let (gpu, used) = (&["worker", "gpu"], "Memory of the GPU in use.");
        let temperature = "Temperature of the GPU.";
        Ok(WorkerSeries {
            workers: r.int_gauge("workers", workers, &["state"])?,
            slots: r.int_gauge("slots", "Slots by state.", &["worker", "state"])?,
            cohort_size: r.int_gauge("cohort_size", cohort_size, &["worker"])?,
            gpu_utilization_ratio: r.gauge("gpu_utilization_ratio", utilization, gpu)?,
            gpu_memory_used_bytes: r.int_gauge("gpu_memory_used_bytes", used, gpu)?,
            gpu_memory_total_bytes: r.int_gauge(
                "gpu_memory_total_bytes",
                "Memory of the GPU.",
                gpu,
            )?,
            gpu_temperature_celsius: r.gauge("gpu_temperature_celsius", temperature, gpu)?,
            gpu_power_watts: r.gauge("gpu_power_watts", "Power that the GPU draws.", gpu)?,
        })
    }

    pub fn set(&self, workers: &[WorkerOverview], gpus: &Gpus) {
        self.reset();
        for state in WorkerState::ALL {
            let of_state = |worker: &&WorkerOverview| worker.state == state && !worker.has_left;
            let count = workers.iter().filter(of_state).count();
            self.workers.with_label_values(&[state.name()]).set(gauge(count as u64));
        }
        let left = workers.iter().filter(|worker| worker.has_left).count();
        self.workers.with_label_values(&[LEFT]).set(gauge(left as u64));
        for worker in workers {
            match worker.state {
                WorkerState::Lost => {}
                WorkerState::Connected | WorkerState::Draining | WorkerState::SetAside => {
                    self.set_worker(worker);
                    for gpu in gpus.of(&worker.id) {
                        self.set_gpu(worker.id.as_str(), &gpu);
                    }
                }
            }
        }
    }

    fn reset(&self) {
        let counts = [&self.workers, &self.slots, &self.cohort_size];
        let memory = [&self.gpu_memory_used_bytes, &self.gpu_memory_total_bytes];
        for vector in counts.into_iter().chain(memory) {
            vector.reset();
        }
        let figures =
            [&self.gpu_utilization_ratio, &self.gpu_temperature_celsius, &self.gpu_power_watts];
        for vector in figures {
            vector.reset();
        }
    }

    fn set_worker(&self, worker: &WorkerOverview) {
        let name = worker.id.as_str();
        let busy = worker.slots.iter().filter(|slot| slot.cohort.is_some()).count();
        let free = worker.slots.len() - busy;
        self.slots.with_label_values(&[name, "busy"]).set(gauge(busy as u64));
        self.slots.with_label_values(&[name, "free"]).set(gauge(free as u64));
        let largest = worker.slots.iter().map(|slot| slot.attempts).max().unwrap_or(0);
        self.cohort_size.with_label_values(&[name]).set(i64::from(largest));
    }

    fn set_gpu(&self, worker: &str, gpu: &Gpu) {
        let index = gpu.index.to_string();
        let labels = [worker, index.as_str()];
        let figures = [
            (&self.gpu_utilization_ratio, gpu.utilization),
            (&self.gpu_temperature_celsius, gpu.temperature_celsius),
            (&self.gpu_power_watts, gpu.power_watts),
        ];
        for (series, figure) in figures {
            if let Some(figure) = figure {
                series.with_label_values(&labels).set(figure);
            }
        }
        let memory = [
            (&self.gpu_memory_used_bytes, gpu.memory_used_bytes),
            (&self.gpu_memory_total_bytes, gpu.memory_total_bytes),
        ];
        for (series, bytes) in memory {
            if let Some(bytes) = bytes {
                series.with_label_values(&labels).set(gauge(bytes));
            }
        }
    }
}
