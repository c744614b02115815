//! One trial of a cohort, read from its description: what to train and when to stop.

use common::config::{Config, Data, Model, Param, Value};
use common::ids::{AttemptId, TrialId};
use common::params;
use common::wire;
use gradnet::Trial;

/// A description that cannot be trained.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// A trial without an attempt id.
    #[error("a trial of the cohort has no attempt id")]
    NoAttempt,
    /// Its trial has no valid id.
    #[error("a trial of the cohort has no valid id")]
    TrialId(#[source] common::ids::IdError),
    /// The parameters are not those of a config.
    #[error("trial {trial}: its parameters are not valid")]
    Config {
        /// The trial.
        trial: String,
        /// Why.
        #[source]
        source: common::config::ConfigError,
    },
    /// A parameter that every config has is missing.
    #[error("trial {trial}: parameter `{param}` is missing")]
    Missing {
        /// The trial.
        trial: String,
        /// The parameter.
        param: Param,
    },
    /// The model cannot be built from the config.
    #[error("trial {trial}: its model cannot be built")]
    Model {
        /// The trial.
        trial: String,
        /// Why.
        #[source]
        source: gradnet::SpecError,
    },
    /// Trials of one cohort must agree in what is shared.
    #[error("trial {trial} cannot join the cohort: its {what} differs from the first trial's")]
    NotFusible {
        /// The trial.
        trial: String,
        /// What differs.
        what: &'static str,
    },
    /// No trial at all.
    #[error("the cohort has no trials")]
    Empty,
}

/// One trial as its trainer sees it.
#[derive(Clone, Debug)]
pub struct Job {
    /// Fencing token of every report.
    pub attempt: wire::AttemptId,
    /// The same, and of every checkpoint.
    pub id: AttemptId,
    /// Its parameters.
    pub config: Config,
    /// The replicate: data order, initial weights and masks follow from it.
    pub seed: u64,
    /// A checkpoint beyond this epoch is not resumed from.
    pub epochs_stored: u32,
    /// The best epoch's weights are written for keeping.
    pub keeps_weights: bool,
    /// Its member of the model.
    pub model: Trial,
    /// Epochs to train at most.
    pub epochs: u32,
    /// Learning rate.
    pub lr: f64,
    /// Largest norm of the trial's gradients.
    pub clip_norm: Option<f64>,
    /// Eligible epochs without improvement before it stops.
    pub patience: Option<u32>,
    /// Training images are mirrored at random.
    pub augment_flip: bool,
    /// Every epoch may be chosen, not only those whose evaluation gate is 1.
    pub select_any: bool,
}

impl Job {
    /// Reads a trial's description.
    pub fn from_wire(trial: wire::LeasedTrial) -> Result<Job, JobError> {
        let attempt = trial.attempt.ok_or(JobError::NoAttempt)?;
        let id = attempt.trial.clone();
        let trial_id = id.parse::<TrialId>().map_err(JobError::TrialId)?;
        let config = Config::from_json(&trial.model, &trial.data, &trial.params)
            .map_err(|source| JobError::Config { trial: id.clone(), source })?;
        let model = Trial::from_config(&config, trial.seed)
            .map_err(|source| JobError::Model { trial: id.clone(), source })?;
        let missing = |param| JobError::Missing { trial: id.clone(), param };
        Ok(Job {
            model,
            id: AttemptId { trial: trial_id, number: attempt.attempt },
            seed: trial.seed,
            epochs_stored: trial.epochs_stored,
            keeps_weights: trial.keeps_weights,
            epochs: config.count(Param::Epochs).ok_or_else(|| missing(Param::Epochs))? as u32,
            lr: config.number(Param::Lr).ok_or_else(|| missing(Param::Lr))?,
            clip_norm: config.number(Param::ClipNorm),
            patience: config.count(Param::Patience).map(|patience| patience as u32),
            augment_flip: config.get(Param::AugmentFlip) == Some(Value::Bool(true)),
            select_any: config.word(Param::Select).is_none_or(|select| select == "any"),
            attempt,
            config,
        })
    }

    /// Whether the epoch may be chosen: its evaluation gate is 1, or any may.
    pub fn is_eligible(&self, epoch: u32) -> bool {
        self.select_any || self.model.schedule.gate_after(epoch) >= 1.0
    }
}

/// What the trials of a cohort share, of their fusion key.
#[derive(Clone, PartialEq, Debug)]
pub struct Shared {
    /// Model family.
    pub model: Model,
    /// Data set.
    pub data: Data,
    /// Width, where the family has one.
    pub width: Option<usize>,
    /// Examples per step.
    pub batch_size: usize,
    /// Training examples used; none = all.
    pub train_examples: Option<usize>,
    /// Validation examples used; none = all.
    pub val_examples: Option<usize>,
}

/// Reads a cohort: its trials, deepest first, and what they share.
pub fn read_cohort(cohort: wire::TrainCohort) -> Result<(Vec<Job>, Shared), JobError> {
    let jobs = cohort.trials.into_iter().map(Job::from_wire);
    let mut jobs = jobs.collect::<Result<Vec<_>, _>>()?;
    let shared = shared(jobs.first().ok_or(JobError::Empty)?)?;
    for job in &jobs[1..] {
        if let Some(what) = difference(&jobs[0].config, &job.config) {
            return Err(JobError::NotFusible { trial: job.attempt.trial.clone(), what });
        }
    }
    jobs.sort_by_key(|job| std::cmp::Reverse(job.model.depth));
    Ok((jobs, shared))
}

fn shared(job: &Job) -> Result<Shared, JobError> {
    let config = &job.config;
    let missing = |param| JobError::Missing { trial: job.attempt.trial.clone(), param };
    Ok(Shared {
        model: config.model,
        data: config.data,
        width: config.count(Param::Width),
        batch_size: config.count(Param::BatchSize).ok_or_else(|| missing(Param::BatchSize))?,
        train_examples: config.count(Param::TrainExamples),
        val_examples: config.count(Param::ValExamples),
    })
}

fn difference(first: &Config, other: &Config) -> Option<&'static str> {
    if first.model != other.model {
        return Some("model");
    }
    if first.data != other.data {
        return Some("data");
    }
    let (first, other) = (params::fusion_key(first), params::fusion_key(other));
    let differs = first.iter().zip(&other).position(|(first, other)| first != other)?;
    Some(params::FUSION[differs].name())
}
