//! What Prometheus scrapes: a mapping from the scheduler's picture to series, and the histograms
//! that others observe into. Base units; trials are labels only for the few that the picture
//! lists, and a series whose subject is gone is gone at the next scrape.

use std::sync::{Mutex, PoisonError};

use common::config::{Config, Param};
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use scheduler::Overview;
use scheduler::overview::{ActiveTrial, SweepOverview, WorkerOverview, WorkerState};

/// Trial series over all sweeps; one sweep alone is capped by the scheduler's picture.
const TRIAL_SERIES_MAX: usize = 1_000;

/// From a tenth of a millisecond to ten seconds.
const SECONDS_BUCKETS: [f64; 11] = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0];

/// All series of this process.
pub struct Metrics {
    registry: Registry,
    pictured: Mutex<Pictured>,
    /// One batch of changes, from its hand-over to the writer until it is durable.
    pub store_commit_seconds: Histogram,
    /// One event in the scheduler.
    pub scheduler_apply_seconds: Histogram,
    /// A call until its first answer, by method and code.
    pub rpc_seconds: HistogramVec,
}

/// The series that are set from the scheduler's picture.
struct Pictured {
    trials: IntGaugeVec,
    best_val_error: GaugeVec,
    trial_val_error: GaugeVec,
    trial_gate: GaugeVec,
    trial_series_truncated: IntGauge,
    configs_done: IntGaugeVec,
    epochs_total: IntCounterVec,
    examples_total: IntCounterVec,
    eta_seconds: GaugeVec,
    workers: IntGaugeVec,
    slots: IntGaugeVec,
    cohort_size: IntGaugeVec,
    lease_expirations_total: IntCounter,
    stale_reports_total: IntCounter,
    attempts_total: IntCounterVec,
}

impl Metrics {
    /// Registers everything in a registry of its own.
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        let r = Registrar(&registry);
        let build_info = r.int_gauge("build_info", "Version of the coordinator.", &["version"])?;
        build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let commit = "Seconds from handing a batch of changes to the store until it is durable.";
        let calls = "Seconds from a call until its first answer.";
        let metrics = Metrics {
            pictured: Mutex::new(Pictured::new(&r)?),
            store_commit_seconds: r.histogram("store_commit_seconds", commit, 1.0)?,
            scheduler_apply_seconds: r.histogram(
                "scheduler_apply_seconds",
                "Seconds that the scheduler takes for one event.",
                // Most events take microseconds.
                100.0,
            )?,
            rpc_seconds: r.histograms("rpc_seconds", calls, &["method", "code"])?,
            registry: registry.clone(),
        };
        // Without the prefix: the process's own series have names that dashboards know.
        metrics.registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// The text that Prometheus reads, with the series of this picture.
    pub fn exposition(&self, overview: &Overview) -> Result<String, prometheus::Error> {
        // Held until the text is made: two scrapes at a time must not see half of a picture.
        let pictured = self.pictured.lock().unwrap_or_else(PoisonError::into_inner);
        pictured.set(overview);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Pictured {
    fn new(r: &Registrar<'_>) -> Result<Pictured, prometheus::Error> {
        let trial = &["sweep", "trial", "depth", "tau", "p", "activation"];
        Ok(Pictured {
            trials: r.int_gauge("trials", "Trials of a sweep by state.", &["sweep", "state"])?,
            best_val_error: r.gauge(
                "best_val_error",
                "Lowest validation error of a sweep, as a fraction.",
                &["sweep"],
            )?,
            trial_val_error: r.gauge(
                "trial_val_error",
                "Validation error of running trials and the best finished ones, as a fraction.",
                trial,
            )?,
            trial_gate: r.gauge("trial_gate", "Gate of the last evaluation.", trial)?,
            trial_series_truncated: r.single(IntGauge::with_opts(options(
                "trial_series_truncated",
                "1 where running trials have no series.",
            )))?,
            configs_done: r.int_gauge(
                "configs_done",
                "Configs of which every seed has an outcome.",
                &["sweep"],
            )?,
            epochs_total: r.counter("epochs_total", "Epochs trained.", &["sweep"])?,
            examples_total: r.counter(
                "examples_total",
                "Training examples seen since the coordinator started.",
                &["sweep"],
            )?,
            eta_seconds: r.gauge(
                "eta_seconds",
                "Seconds until the last trial ends.",
                &["sweep"],
            )?,
            workers: r.int_gauge("workers", "Workers by state.", &["state"])?,
            slots: r.int_gauge("slots", "Slots by state.", &["worker", "state"])?,
            cohort_size: r.int_gauge(
                "cohort_size",
                "Attempts of the largest cohort that a worker trains.",
                &["worker"],
            )?,
            lease_expirations_total: r.single(IntCounter::with_opts(options(
                "lease_expirations_total",
                "Leases of cohorts that expired with their worker.",
            )))?,
            stale_reports_total: r.single(IntCounter::with_opts(options(
                "stale_reports_total",
                "Reports dropped because their attempt was no longer current.",
            )))?,
            attempts_total: r.counter("attempts_total", "Attempts that ended.", &["outcome"])?,
        })
    }

    fn set(&self, overview: &Overview) {
        self.reset();
        let mut series_left = TRIAL_SERIES_MAX;
        let mut truncated = false;
        for sweep in &overview.sweeps {
            self.set_sweep(sweep);
            truncated |= sweep.active_truncated || sweep.active.len() > series_left;
            for trial in sweep.active.iter().take(series_left) {
                self.set_trial(sweep, trial);
            }
            series_left = series_left.saturating_sub(sweep.active.len());
        }
        self.trial_series_truncated.set(i64::from(truncated));
        for state in WorkerState::ALL {
            let count = overview.workers.iter().filter(|worker| worker.state == state).count();
            self.workers.with_label_values(&[state.name()]).set(gauge(count as u64));
        }
        for worker in &overview.workers {
            self.set_worker(worker);
        }
        self.lease_expirations_total.inc_by(overview.counters.lease_expirations);
        self.stale_reports_total.inc_by(overview.counters.stale_reports);
        for (outcome, count) in &overview.counters.attempts {
            self.attempts_total.with_label_values(&[outcome]).inc_by(*count);
        }
    }

    fn reset(&self) {
        for vector in [&self.best_val_error, &self.trial_val_error, &self.trial_gate] {
            vector.reset();
        }
        self.eta_seconds.reset();
        for vector in [&self.trials, &self.configs_done, &self.slots, &self.cohort_size] {
            vector.reset();
        }
        for vector in [&self.epochs_total, &self.examples_total, &self.attempts_total] {
            vector.reset();
        }
        self.lease_expirations_total.reset();
        self.stale_reports_total.reset();
    }

    fn set_sweep(&self, sweep: &SweepOverview) {
        let name = sweep.name.as_str();
        let counts = &sweep.counts;
        let states = [
            ("pending", counts.pending),
            ("running", counts.running),
            ("completed", counts.completed),
            ("diverged", counts.diverged),
            ("failed", counts.failed),
            ("cancelled", counts.cancelled),
            ("removed", counts.removed),
        ];
        for (state, count) in states {
            self.trials.with_label_values(&[name, state]).set(gauge(count));
        }
        self.configs_done.with_label_values(&[name]).set(gauge(sweep.configs_done));
        self.epochs_total.with_label_values(&[name]).inc_by(sweep.epochs_total);
        self.examples_total.with_label_values(&[name]).inc_by(sweep.examples_total);
        if let Some((_, error)) = sweep.best {
            self.best_val_error.with_label_values(&[name]).set(error);
        }
        if let Some(seconds) = sweep.eta_seconds {
            self.eta_seconds.with_label_values(&[name]).set(seconds);
        }
    }

    fn set_trial(&self, sweep: &SweepOverview, trial: &ActiveTrial) {
        let id = trial.id.to_string();
        let [depth, tau, p, activation] = [Param::Depth, Param::Tau, Param::P, Param::Activation]
            .map(|param| label(&trial.config, param));
        let labels = [sweep.name.as_str(), &id, &depth, &tau, &p, &activation];
        if let Some(error) = trial.val_error {
            self.trial_val_error.with_label_values(&labels).set(error);
        }
        if let Some(value) = trial.gate {
            self.trial_gate.with_label_values(&labels).set(value);
        }
    }

    fn set_worker(&self, worker: &WorkerOverview) {
        match worker.state {
            WorkerState::Lost => return,
            WorkerState::Connected | WorkerState::Draining | WorkerState::SetAside => {}
        }
        let name = worker.id.as_str();
        let busy = worker.slots.iter().filter(|slot| slot.cohort.is_some()).count();
        let free = worker.slots.len() - busy;
        self.slots.with_label_values(&[name, "busy"]).set(gauge(busy as u64));
        self.slots.with_label_values(&[name, "free"]).set(gauge(free as u64));
        let largest = worker.slots.iter().map(|slot| slot.attempts).max().unwrap_or(0);
        self.cohort_size.with_label_values(&[name]).set(i64::from(largest));
    }
}

/// Empty where the parameter has no effect on the trial.
fn label(config: &Config, param: Param) -> String {
    config.get(param).map_or_else(String::new, |value| value.to_string())
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("gradsweep")
}

/// Makes series and registers them.
struct Registrar<'a>(&'a Registry);

impl Registrar<'_> {
    fn single<C>(&self, series: prometheus::Result<C>) -> prometheus::Result<C>
    where
        C: prometheus::core::Collector + Clone + 'static,
    {
        let series = series?;
        self.0.register(Box::new(series.clone()))?;
        Ok(series)
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
        self.single(GaugeVec::new(options(name, help), labels))
    }

    fn int_gauge(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntGaugeVec> {
        self.single(IntGaugeVec::new(options(name, help), labels))
    }

    fn counter(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.single(IntCounterVec::new(options(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, parts: f64) -> prometheus::Result<Histogram> {
        let buckets = SECONDS_BUCKETS.map(|bound| bound / parts).to_vec();
        self.single(Histogram::with_opts(HistogramOpts::from(options(name, help)).buckets(buckets)))
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<HistogramVec> {
        let options = HistogramOpts::from(options(name, help)).buckets(SECONDS_BUCKETS.to_vec());
        self.single(HistogramVec::new(options, labels))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use common::config::{Data, Model};
    use common::ids::{CohortId, TrialId};
    use scheduler::event::{Device, Time};
    use scheduler::overview::{Counters, Counts, SlotOverview, SweepState};

    use super::*;

    /// The series of a text, each with its value; the text must be well formed.
    fn parse(text: &str) -> BTreeMap<String, f64> {
        let mut series = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            let value = value.parse().expect("a number");
            assert_eq!(series.insert(name.to_owned(), value), None, "{name} stands twice");
        }
        series
    }

    fn trial(id: u64, config: &Arc<Config>) -> ActiveTrial {
        ActiveTrial {
            id: TrialId(id),
            config: Arc::clone(config),
            seed: 0,
            running: true,
            epoch: 3,
            gate: Some(0.5),
            val_error: Some(0.25),
        }
    }

    fn sweep(active: Vec<ActiveTrial>) -> SweepOverview {
        SweepOverview {
            name: "depth".parse().expect("a name"),
            model: Model::Mlp,
            data: Data::Strokes,
            counts: Counts { pending: 4, running: 1, failed: 2, ..Counts::default() },
            configs: 7,
            configs_done: 1,
            best: Some((TrialId(1), 0.125)),
            epochs_total: 30,
            examples_total: 300,
            examples_per_second: 10.0,
            eta_seconds: Some(60.0),
            active,
            active_truncated: false,
            state: SweepState::Running,
        }
    }

    fn worker(state: WorkerState) -> WorkerOverview {
        let slot = |cohort, attempts| SlotOverview { device: Device::Cpu, cohort, attempts };
        WorkerOverview {
            id: "w1".parse().expect("an id"),
            host: "h".into(),
            program_version: String::new(),
            libtorch_version: String::new(),
            data_digests: BTreeMap::new(),
            state,
            slots: vec![slot(Some(CohortId(1)), 3), slot(None, 0)],
            reason: None,
            last_seen: Time(0),
        }
    }

    fn config() -> Arc<Config> {
        let params = r#"{"depth": 20, "activation": "grelu", "tau": 2.5}"#;
        Arc::new(Config::from_json("mlp", "strokes", params).expect("a config"))
    }

    #[test]
    fn the_picture_becomes_series() {
        let metrics = Metrics::new().expect("names are unique");
        metrics.rpc_seconds.with_label_values(&["Attach", "Ok"]).observe(0.002);
        let overview = Overview {
            sweeps: vec![sweep(vec![trial(0xff, &config())])],
            workers: vec![worker(WorkerState::Connected)],
            counters: Counters {
                stale_reports: 5,
                attempts: BTreeMap::from([("completed", 9)]),
                ..Counters::default()
            },
        };
        // Twice: counters are set, not added to.
        metrics.exposition(&overview).expect("text");
        let text = metrics.exposition(&overview).expect("text");
        let series = parse(&text);
        let of_trial = concat!(
            r#"activation="grelu",depth="20",p="","#,
            r#"sweep="depth",tau="2.5",trial="00000000000000ff""#
        );
        let expected = [
            (r#"gradsweep_trials{state="pending",sweep="depth"}"#.to_owned(), 4.0),
            (r#"gradsweep_trials{state="failed",sweep="depth"}"#.to_owned(), 2.0),
            (r#"gradsweep_best_val_error{sweep="depth"}"#.to_owned(), 0.125),
            (format!("gradsweep_trial_val_error{{{of_trial}}}"), 0.25),
            (format!("gradsweep_trial_gate{{{of_trial}}}"), 0.5),
            ("gradsweep_trial_series_truncated".to_owned(), 0.0),
            (r#"gradsweep_configs_done{sweep="depth"}"#.to_owned(), 1.0),
            (r#"gradsweep_epochs_total{sweep="depth"}"#.to_owned(), 30.0),
            (r#"gradsweep_examples_total{sweep="depth"}"#.to_owned(), 300.0),
            (r#"gradsweep_eta_seconds{sweep="depth"}"#.to_owned(), 60.0),
            (r#"gradsweep_workers{state="connected"}"#.to_owned(), 1.0),
            (r#"gradsweep_workers{state="lost"}"#.to_owned(), 0.0),
            (r#"gradsweep_slots{state="busy",worker="w1"}"#.to_owned(), 1.0),
            (r#"gradsweep_slots{state="free",worker="w1"}"#.to_owned(), 1.0),
            (r#"gradsweep_cohort_size{worker="w1"}"#.to_owned(), 3.0),
            ("gradsweep_lease_expirations_total".to_owned(), 0.0),
            ("gradsweep_stale_reports_total".to_owned(), 5.0),
            (r#"gradsweep_attempts_total{outcome="completed"}"#.to_owned(), 9.0),
            ("gradsweep_store_commit_seconds_count".to_owned(), 0.0),
            ("gradsweep_scheduler_apply_seconds_count".to_owned(), 0.0),
            (r#"gradsweep_rpc_seconds_count{code="Ok",method="Attach"}"#.to_owned(), 1.0),
        ];
        for (name, value) in expected {
            assert_eq!(series.get(&name), Some(&value), "{name} in\n{text}");
        }
        assert!(series.keys().any(|name| name.starts_with("gradsweep_build_info{version=")));
        assert!(text.contains("# TYPE gradsweep_epochs_total counter"));
    }

    #[test]
    fn series_go_with_their_subject() {
        let metrics = Metrics::new().expect("names are unique");
        let full = Overview {
            sweeps: vec![sweep(vec![trial(1, &config())])],
            workers: vec![worker(WorkerState::Connected)],
            counters: Counters::default(),
        };
        metrics.exposition(&full).expect("text");
        let lost = Overview { workers: vec![worker(WorkerState::Lost)], ..Overview::default() };
        let text = metrics.exposition(&lost).expect("text");
        for gone in ["sweep=", "trial=", "worker="] {
            assert!(!text.contains(gone), "{gone} in\n{text}");
        }
        assert_eq!(parse(&text)[r#"gradsweep_workers{state="lost"}"#], 1.0);
    }

    #[test]
    fn trial_series_are_capped() {
        let metrics = Metrics::new().expect("names are unique");
        let config = config();
        let active = |first: u64| (first..first + 100).map(|id| trial(id, &config)).collect();
        let mut sweeps = Vec::new();
        for index in 0..11 {
            let mut sweep = sweep(active(index * 100));
            sweep.name = format!("s{index}").parse().expect("a name");
            sweeps.push(sweep);
        }
        let overview = Overview { sweeps, ..Overview::default() };
        let series = parse(&metrics.exposition(&overview).expect("text"));
        let count = series.keys().filter(|name| name.starts_with("gradsweep_trial_gate")).count();
        assert_eq!(count, TRIAL_SERIES_MAX);
        assert_eq!(series["gradsweep_trial_series_truncated"], 1.0);
    }
}
