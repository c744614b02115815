//! What Prometheus scrapes: a mapping from the scheduler's picture to series, and the histograms
//! that others observe into. Base units; trials are labels only for the few that the picture
//! lists, and a series whose subject is gone is gone at the next scrape.

mod edge;
mod registrar;
mod sweeps;
mod workers;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};
use scheduler::Overview;
use scheduler::overview::{ATTEMPT_ENDS, Counters};

use crate::gpus::Gpus;
pub use edge::EdgeSeries;
use registrar::{Registrar, gauge};
use sweeps::SweepSeries;
use workers::WorkerSeries;

/// All series of this process.
pub struct Metrics {
    registry: Registry,
    pictured: Mutex<Pictured>,
    /// The state directory.
    state: PathBuf,
    gpus: Gpus,
    /// One batch of changes, from its hand-over to the writer until it is durable.
    pub store_commit_seconds: Histogram,
    /// One event in the scheduler.
    pub scheduler_apply_seconds: Histogram,
    /// A call until its first answer, by method and code.
    pub rpc_seconds: HistogramVec,
    /// What is refused, and the certificate.
    pub edge: EdgeSeries,
}

/// The series that are set at each scrape.
struct Pictured {
    sweeps: SweepSeries,
    workers: WorkerSeries,
    lease_expirations_total: IntCounter,
    stale_reports_total: IntCounter,
    attempts_total: IntCounterVec,
    ready: IntGauge,
    state_free_bytes: IntGaugeVec,
    state_size_bytes: IntGaugeVec,
}

impl Metrics {
    /// Registers everything in a registry of its own. The state directory is looked at and the
    /// GPUs are asked for at each scrape.
    pub fn new(state: PathBuf, gpus: Gpus) -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        let r = Registrar(&registry);
        let build_info = r.int_gauge("build_info", "Version of the coordinator.", &["version"])?;
        build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let commit = "Seconds from handing a batch of changes to the store until it is durable.";
        let apply = "Seconds that the scheduler takes for one event.";
        let calls = "Seconds from a call until its first answer.";
        let metrics = Metrics {
            pictured: Mutex::new(Pictured::new(&r)?),
            state,
            gpus,
            store_commit_seconds: r.histogram("store_commit_seconds", commit, 1.0)?,
            // Most events take microseconds.
            scheduler_apply_seconds: r.histogram("scheduler_apply_seconds", apply, 100.0)?,
            rpc_seconds: r.histograms("rpc_seconds", calls, &["method", "code"])?,
            edge: EdgeSeries::new(&r)?,
            registry: registry.clone(),
        };
        // Without the prefix: the process's own series have names that dashboards know.
        metrics.registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// The text that Prometheus reads, with the series of this picture. It may block: the file
    /// system of the state directory is asked for its space.
    pub fn exposition(
        &self,
        overview: &Overview,
        is_ready: bool,
    ) -> Result<String, prometheus::Error> {
        let space = rustix::fs::statvfs(&self.state);
        // Held until the text is made: two scrapes at a time must not see half of a picture.
        let pictured = self.pictured.lock().unwrap_or_else(PoisonError::into_inner);
        pictured.sweeps.set(&overview.sweeps);
        pictured.workers.set(&overview.workers, &self.gpus);
        pictured.count(&overview.counters);
        pictured.ready.set(i64::from(is_ready));
        match space {
            Ok(space) => pictured.set_space(&space),
            Err(error) => {
                tracing::debug!(%error, "the state directory's file system tells no space");
                pictured.state_free_bytes.reset();
                pictured.state_size_bytes.reset();
            }
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Pictured {
    fn new(r: &Registrar<'_>) -> Result<Pictured, prometheus::Error> {
        let expirations = "Leases of cohorts that expired with their worker.";
        let stale = "Reports dropped because their attempt was no longer current.";
        let ready = "1 where the coordinator hands out work, as /ready says.";
        let free = "Bytes that are free for the coordinator where the state directory is.";
        let size = "Bytes of the file system where the state directory is.";
        Ok(Pictured {
            sweeps: SweepSeries::new(r)?,
            workers: WorkerSeries::new(r)?,
            lease_expirations_total: r.single_counter("lease_expirations_total", expirations)?,
            stale_reports_total: r.single_counter("stale_reports_total", stale)?,
            attempts_total: r.counter("attempts_total", "Attempts that ended.", &["outcome"])?,
            ready: r.single_gauge("ready", ready)?,
            // Without a label, and vectors all the same: they are absent where nothing is known.
            state_free_bytes: r.int_gauge("state_free_bytes", free, &[])?,
            state_size_bytes: r.int_gauge("state_size_bytes", size, &[])?,
        })
    }

    fn count(&self, counters: &Counters) {
        self.lease_expirations_total.reset();
        self.lease_expirations_total.inc_by(counters.lease_expirations);
        self.stale_reports_total.reset();
        self.stale_reports_total.inc_by(counters.stale_reports);
        self.attempts_total.reset();
        // A series that begins with its first count has no increase before the second.
        for outcome in ATTEMPT_ENDS {
            self.attempts_total.with_label_values(&[outcome]);
        }
        for (outcome, count) in &counters.attempts {
            self.attempts_total.with_label_values(&[outcome]).inc_by(*count);
        }
    }

    fn set_space(&self, space: &rustix::fs::StatVfs) {
        let bytes = |blocks: u64| gauge(blocks.saturating_mul(space.f_frsize));
        let unlabelled: [&str; 0] = [];
        self.state_free_bytes.with_label_values(&unlabelled).set(bytes(space.f_bavail));
        self.state_size_bytes.with_label_values(&unlabelled).set(bytes(space.f_blocks));
    }
}

#[cfg(test)]
mod tests;
