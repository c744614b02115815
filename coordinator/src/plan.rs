//! `plan`: what a sweep would run, without running anything.
//!
//! Pure: a `Sweep` goes in, counts, cohorts and an estimate come out, and `write` renders them.
//! The estimate is arithmetic on the network's size, with its assumptions beside it, and never a
//! promise; only running a trial tells its time.

mod render;

use std::collections::{HashMap, HashSet};

use common::config::{Config, Param, Value};
use common::params;
use common::spec::{Counts, Fusion, Sweep, Warning};
use common::work::Work;

pub use render::{Format, write};

/// Floating-point operations per second that the estimate expects of one CPU core: measured for
/// networks of width 128 at 53 to 87 GFLOP/s.
const CORE_FLOPS_PER_SECOND: f64 = 50e9;
/// Copies of the weights that training keeps: weights, gradients, two moments, best weights.
const WEIGHT_COPIES: f64 = 5.0;
/// Activations that training keeps per unit: before and after the rectifier.
const ACTIVATION_COPIES: f64 = 2.0;
/// Bytes of a number in fp32.
const NUMBER_BYTES: f64 = 4.0;
/// Values of a parameter that are shown.
const VALUES_SHOWN: usize = 12;

/// What a sweep would run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Points, exclusions, collapses, configs and trials.
    pub counts: Counts,
    /// Seeds of every config.
    pub seeds: u64,
    /// Claims of the sweep file about the results.
    pub expectations: u64,
    /// As the sweep file has it.
    pub fusion: Fusion,
    /// On CPU slots.
    pub cohorts_cpu: Cohorts,
    /// On GPU slots.
    pub cohorts_gpu: Cohorts,
    /// Parameters that differ between configs, those that some configs do not have included.
    pub varying: Vec<Varying>,
    /// Parameters that every config has with the same value.
    pub fixed: Vec<(Param, Value)>,
    /// Size and time.
    pub estimate: Estimate,
    /// What the sweep file's reading warned of, without places.
    pub warnings: Vec<String>,
}

/// How trials are grouped for one kind of device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cohorts {
    /// Largest cohort.
    pub size_max: u32,
    /// Number of cohorts.
    pub count: u64,
}

/// A parameter that differs between configs.
#[derive(Clone, PartialEq, Debug)]
pub struct Varying {
    /// The parameter.
    pub param: Param,
    /// Number of distinct values.
    pub distinct: usize,
    /// The first of them, in the order of the sweep.
    pub first: Vec<Value>,
    /// Some configs do not have it, because it has no effect there.
    pub absent: bool,
    /// Characters of the longest value.
    width: usize,
}

/// What a sweep may cost. An upper bound in epochs: early stopping is not foreseen.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Estimate {
    /// Weights and biases of the smallest and of the largest network.
    pub network_parameters: (f64, f64),
    /// Floating-point operations of all trials.
    pub flops: f64,
    /// Floating-point operations of the most expensive trial.
    pub flops_trial_max: f64,
    /// Bytes of the largest trial alone.
    pub trial_bytes_max: f64,
    /// Bytes of the data set, once per trainer process.
    pub data_bytes: f64,
}

impl Estimate {
    /// Core-seconds of all trials.
    pub fn core_seconds(&self) -> f64 {
        self.flops / CORE_FLOPS_PER_SECOND
    }

    /// Core-seconds of the most expensive trial: no number of cores makes the sweep shorter.
    pub fn core_seconds_trial_max(&self) -> f64 {
        self.flops_trial_max / CORE_FLOPS_PER_SECOND
    }

    /// What the numbers rest on.
    pub fn basis() -> String {
        format!(
            "fp32, every epoch of every trial, {:.0} GFLOP/s per CPU core, 6 operations per weight \
             and training example and 2 per evaluated one; memory is {WEIGHT_COPIES} copies of the \
             weights and {ACTIVATION_COPIES} numbers per hidden unit and example of a batch",
            CORE_FLOPS_PER_SECOND / 1e9,
        )
    }
}

impl Plan {
    /// Plans a sweep: one pass over its configs.
    pub fn new(sweep: &Sweep, warnings: &[Warning]) -> Plan {
        let seeds = sweep.seeds.len() as u64;
        let mut tally = Tally::default();
        let mut expansion = sweep.expand();
        let mut last_seed = None;
        for (config, _, seed) in expansion.by_ref() {
            // The seeds of a config follow each other; the first one stands for all.
            if *last_seed.get_or_insert(seed) == seed {
                tally.add(&config);
            }
        }
        let counts = expansion.counts();
        let settings = scheduler::Settings::default();
        let (cpu, gpu) = match sweep.fusion {
            Fusion::Auto => (settings.cohort_size_cpu, settings.cohort_size_gpu(sweep.model)),
            Fusion::Off => (1, 1),
            Fusion::Size(size) => (size, size),
        };
        let mut varying = Vec::new();
        let mut fixed = Vec::new();
        for (param, seen) in Param::ALL.into_iter().zip(&tally.seen) {
            let absent = seen.configs < counts.configs;
            match seen.first.as_slice() {
                [] => {}
                [value] if !absent => fixed.push((param, *value)),
                [..] => varying.push(Varying {
                    param,
                    distinct: seen.distinct.len(),
                    first: seen.first.clone(),
                    absent,
                    width: seen.width,
                }),
            }
        }
        let mut estimate = tally.estimate;
        estimate.flops *= to_f64(seeds);
        estimate.data_bytes = data_bytes(sweep);
        Plan {
            counts,
            seeds,
            expectations: sweep.expect.len() as u64,
            fusion: sweep.fusion,
            cohorts_cpu: tally.cohorts(seeds, cpu),
            cohorts_gpu: tally.cohorts(seeds, gpu),
            varying,
            fixed,
            estimate,
            warnings: warnings.iter().map(|warning| warning.message().to_string()).collect(),
        }
    }
}

/// What the trials of a cohort have in common.
type FusionKey = [Option<u64>; params::FUSION.len()];

/// What a pass over the configs gathers.
struct Tally {
    seen: Vec<Seen>,
    /// Configs by fusion key.
    keys: HashMap<FusionKey, u64>,
    estimate: Estimate,
}

impl Default for Tally {
    fn default() -> Tally {
        let estimate = Estimate {
            network_parameters: (f64::INFINITY, 0.0),
            flops: 0.0,
            flops_trial_max: 0.0,
            trial_bytes_max: 0.0,
            data_bytes: 0.0,
        };
        let seen = Param::ALL.map(|_| Seen::default()).into();
        Tally { seen, keys: HashMap::new(), estimate }
    }
}

/// The values of a parameter so far.
#[derive(Clone, Default)]
struct Seen {
    /// Configs that have it.
    configs: u64,
    distinct: HashSet<u64>,
    /// The latest key of `distinct`: neighbours mostly have the same value.
    last: Option<u64>,
    first: Vec<Value>,
    width: usize,
}

impl Seen {
    fn add(&mut self, value: Value) {
        self.configs += 1;
        let key = key_of(value);
        if self.last.replace(key) == Some(key) || !self.distinct.insert(key) {
            return;
        }
        self.width = self.width.max(value.to_string().len());
        if self.first.len() < VALUES_SHOWN {
            self.first.push(value);
        }
    }
}

impl Tally {
    fn add(&mut self, config: &Config) {
        for (param, value) in config.values() {
            self.seen[param as usize].add(value);
        }
        let key = params::fusion_key(config).map(|value| value.map(key_of));
        *self.keys.entry(key).or_default() += 1;
        let cost = Cost::of(config);
        let estimate = &mut self.estimate;
        let (least, most) = estimate.network_parameters;
        estimate.network_parameters = (least.min(cost.parameters), most.max(cost.parameters));
        estimate.flops += cost.flops;
        estimate.flops_trial_max = estimate.flops_trial_max.max(cost.flops);
        estimate.trial_bytes_max = estimate.trial_bytes_max.max(cost.bytes);
    }

    fn cohorts(&self, seeds: u64, size_max: u32) -> Cohorts {
        let mut count = 0;
        for configs in self.keys.values() {
            count += (configs * seeds).div_ceil(u64::from(size_max));
        }
        Cohorts { size_max, count }
    }
}

/// Differs for different values of one parameter.
fn key_of(value: Value) -> u64 {
    match value {
        Value::Null => u64::MAX,
        Value::Bool(flag) => u64::from(flag),
        Value::Int(whole) => whole.cast_unsigned(),
        Value::Float(number) => number.to_bits(),
        // Words of one parameter are few and differ in their first eight bytes and their length.
        Value::Word(word) => {
            let mut bytes = [0; 8];
            for (byte, from) in bytes.iter_mut().zip(word.as_bytes()) {
                *byte = *from;
            }
            u64::from_be_bytes(bytes) ^ word.len() as u64
        }
    }
}

/// What one trial takes.
struct Cost {
    /// Weights and biases.
    parameters: f64,
    /// Floating-point operations.
    flops: f64,
    /// Bytes, without the data set.
    bytes: f64,
}

impl Cost {
    fn of(config: &Config) -> Cost {
        let work = Work::of(config);
        let data = config.data.examples();
        let count = |param, all: usize| config.number(param).unwrap_or(to_f64(all as u64));
        let train = count(Param::TrainExamples, data.train);
        let validation = count(Param::ValExamples, data.validation);
        let epochs = config.number(Param::Epochs).expect("every model has epochs");
        let batch = config.number(Param::BatchSize).expect("every model has a batch size");
        let per_epoch = work.multiplications * (6.0 * train + 2.0 * validation);
        let test = 2.0 * work.multiplications * to_f64(data.test as u64);
        let units = ACTIVATION_COPIES * work.units + to_f64(data.inputs as u64);
        let numbers = WEIGHT_COPIES * work.parameters + batch * units;
        Cost {
            parameters: work.parameters,
            flops: epochs * per_epoch + test,
            bytes: NUMBER_BYTES * numbers,
        }
    }
}

fn data_bytes(sweep: &Sweep) -> f64 {
    let data = sweep.data.examples();
    NUMBER_BYTES * to_f64(((data.train + data.validation + data.test) * data.inputs) as u64)
}

#[expect(clippy::cast_precision_loss, reason = "an estimate needs no more than 53 bits")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
