//! Pictures in, series out.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::config::{Config, Data, Model};
use common::ids::{CohortId, TrialId};
use scheduler::event::{Device, Session, Time};
use scheduler::overview::{
    ActiveTrial, Counters, Counts, SlotOverview, SweepOverview, SweepState, WorkerOverview,
    WorkerState,
};

use super::sweeps::TRIAL_SERIES_MAX;
use super::*;
use crate::gpus::Gpu;

fn metrics_of(gpus: Gpus) -> Metrics {
    Metrics::new(env!("CARGO_MANIFEST_DIR").into(), gpus).expect("names are unique")
}

fn metrics() -> Metrics {
    metrics_of(Gpus::default())
}

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
        has_left: false,
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
    let metrics = metrics();
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
    metrics.exposition(&overview, true).expect("text");
    let text = metrics.exposition(&overview, true).expect("text");
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
        (r#"gradsweep_configs{sweep="depth"}"#.to_owned(), 7.0),
        (r#"gradsweep_configs_done{sweep="depth"}"#.to_owned(), 1.0),
        (r#"gradsweep_sweep_state{state="running",sweep="depth"}"#.to_owned(), 1.0),
        (r#"gradsweep_sweep_state{state="paused",sweep="depth"}"#.to_owned(), 0.0),
        (r#"gradsweep_epochs_total{sweep="depth"}"#.to_owned(), 30.0),
        (r#"gradsweep_examples_total{sweep="depth"}"#.to_owned(), 300.0),
        (r#"gradsweep_eta_seconds{sweep="depth"}"#.to_owned(), 60.0),
        (r#"gradsweep_workers{state="connected"}"#.to_owned(), 1.0),
        (r#"gradsweep_workers{state="lost"}"#.to_owned(), 0.0),
        (r#"gradsweep_workers{state="left"}"#.to_owned(), 0.0),
        (r#"gradsweep_slots{state="busy",worker="w1"}"#.to_owned(), 1.0),
        (r#"gradsweep_slots{state="free",worker="w1"}"#.to_owned(), 1.0),
        (r#"gradsweep_cohort_size{worker="w1"}"#.to_owned(), 3.0),
        ("gradsweep_lease_expirations_total".to_owned(), 0.0),
        ("gradsweep_stale_reports_total".to_owned(), 5.0),
        (r#"gradsweep_attempts_total{outcome="completed"}"#.to_owned(), 9.0),
        (r#"gradsweep_attempts_total{outcome="worker_lost"}"#.to_owned(), 0.0),
        ("gradsweep_ready".to_owned(), 1.0),
        ("gradsweep_store_commit_seconds_count".to_owned(), 0.0),
        ("gradsweep_scheduler_apply_seconds_count".to_owned(), 0.0),
        (r#"gradsweep_rpc_seconds_count{code="Ok",method="Attach"}"#.to_owned(), 1.0),
    ];
    for (name, value) in expected {
        assert_eq!(series.get(&name), Some(&value), "{name} in\n{text}");
    }
    assert!(series.keys().any(|name| name.starts_with("gradsweep_build_info{version=")));
    let (free, size) = (series["gradsweep_state_free_bytes"], series["gradsweep_state_size_bytes"]);
    assert!(0.0 < free && free <= size, "{free} of {size}");
    assert!(text.contains("# TYPE gradsweep_epochs_total counter"));
}

#[test]
fn series_go_with_their_subject() {
    let metrics = metrics();
    let full = Overview {
        sweeps: vec![sweep(vec![trial(1, &config())])],
        workers: vec![worker(WorkerState::Connected)],
        counters: Counters::default(),
    };
    metrics.exposition(&full, true).expect("text");
    let lost = Overview { workers: vec![worker(WorkerState::Lost)], ..Overview::default() };
    let text = metrics.exposition(&lost, false).expect("text");
    for gone in ["sweep=", "trial=", "worker="] {
        assert!(!text.contains(gone), "{gone} in\n{text}");
    }
    assert_eq!(parse(&text)[r#"gradsweep_workers{state="lost"}"#], 1.0);
    assert_eq!(parse(&text)["gradsweep_ready"], 0.0);
}

#[test]
fn a_worker_that_left_is_not_one_that_is_lost() {
    let left = WorkerOverview { has_left: true, ..worker(WorkerState::Lost) };
    let overview = Overview { workers: vec![left], ..Overview::default() };
    let series = parse(&metrics().exposition(&overview, true).expect("text"));
    let [lost, left] =
        ["lost", "left"].map(|state| format!(r#"gradsweep_workers{{state="{state}"}}"#));
    assert_eq!((series[&lost], series[&left]), (0.0, 1.0));
}

#[test]
fn a_directory_that_is_not_there_has_no_space() {
    let metrics = Metrics::new("/no/such/directory".into(), Gpus::default());
    let text = metrics.expect("names are unique").exposition(&Overview::default(), true);
    let text = text.expect("text");
    assert!(!text.contains("gradsweep_state_"), "{text}");
}

/// The file stands for a GPU host in the tests of the dashboard and the rules
/// (`deploy/tests/test_prometheus.py`), so it has to be what a coordinator says.
#[test]
fn gpus_become_the_series_that_the_dashboard_is_tested_with() {
    let gpus = Gpus::default();
    let worker = worker(WorkerState::Connected);
    let full = |index, utilization| Gpu {
        index,
        name: "NVIDIA Test".into(),
        utilization: Some(utilization),
        memory_used_bytes: Some(12_884_901_888),
        memory_total_bytes: Some(150_754_820_096),
        temperature_celsius: Some(64.0),
        power_watts: Some(412.5),
    };
    let part = Gpu { index: 2, memory_used_bytes: Some(1 << 30), ..Gpu::default() };
    gpus.set(&worker.id, Session(1), vec![full(0, 0.87), full(1, 0.04), part]);
    let metrics = metrics_of(gpus);
    let overview = Overview { workers: vec![worker.clone()], ..Overview::default() };
    let text = metrics.exposition(&overview, true).expect("text");
    let lines = text.lines().filter(|line| line.contains("gradsweep_gpu_"));
    let said: String = lines.map(|line| format!("{line}\n")).collect();
    assert_eq!(said, include_str!("../../../deploy/tests/gpus.prom"));
    let lost = WorkerOverview { state: WorkerState::Lost, ..worker };
    let overview = Overview { workers: vec![lost], ..Overview::default() };
    let text = metrics.exposition(&overview, true).expect("text");
    assert!(!text.contains("gradsweep_gpu_"), "{text}");
}

#[test]
fn trial_series_are_capped() {
    let metrics = metrics();
    let config = config();
    let active = |first: u64| (first..first + 100).map(|id| trial(id, &config)).collect();
    let mut sweeps = Vec::new();
    for index in 0..11 {
        let mut sweep = sweep(active(index * 100));
        sweep.name = format!("s{index}").parse().expect("a name");
        sweeps.push(sweep);
    }
    let overview = Overview { sweeps, ..Overview::default() };
    let series = parse(&metrics.exposition(&overview, true).expect("text"));
    let count = series.keys().filter(|name| name.starts_with("gradsweep_trial_gate")).count();
    assert_eq!(count, TRIAL_SERIES_MAX);
    assert_eq!(series["gradsweep_trial_series_truncated"], 1.0);
}
