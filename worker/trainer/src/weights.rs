//! The weights of a trial's best epoch, for keeping: a safetensors file that says by itself what it
//! is of. `common::weights` has its name.
//!
//! Tensors by their names, without the trial axis: parameters and running statistics, which is all
//! that evaluation needs. In the metadata: what was trained, the gate that the test set was read
//! with, and what came of it. Written before the outcome is reported, whole or not at all.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use common::config::RESULTS_SCHEMA_VERSION;
use common::weights::{FORMAT, WeightsName, folder};
use tch::Tensor;

use crate::checkpoint::{HostTensor, write_whole};
use crate::job::Job;
use crate::selection::{Best, Evaluation};

/// Weights that cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WeightsError {
    /// The file system refused.
    #[error("cannot {step} the weights {path}")]
    File {
        /// What was tried.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The tensors do not go into a file.
    #[error("cannot encode the weights {path}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: safetensors::SafeTensorError,
    },
}

/// What is said beside the tensors.
pub(crate) struct About<'a> {
    /// The trial.
    pub job: &'a Job,
    /// Its best epoch.
    pub best: Best,
    /// The gate that the test set was read with.
    pub gate: f64,
    /// Of the test set.
    pub test: Evaluation,
    /// Digest of the data's content.
    pub data_digest: &'a str,
    /// Of libtorch.
    pub libtorch_version: &'a str,
}

impl About<'_> {
    /// Writes the file of the attempt beside the checkpoints.
    pub fn save(
        &self,
        tensors: &[(String, Tensor)],
        checkpoints: &Path,
    ) -> Result<(), WeightsError> {
        let name = WeightsName(self.job.id);
        let path = name.path(checkpoints);
        let host = |(name, tensor): &(String, Tensor)| (name.clone(), HostTensor::new(tensor));
        let tensors = tensors.iter().map(host).collect::<Vec<_>>();
        let bytes = safetensors::serialize(tensors, Some(self.metadata()))
            .map_err(|source| WeightsError::Format { path: path.clone(), source })?;
        let partial = name.partial_path(checkpoints);
        write_whole(&folder(checkpoints), &partial, &path, &bytes)
            .map_err(|(step, source)| WeightsError::File { step, path, source })
    }

    fn metadata(&self) -> HashMap<String, String> {
        let config = &self.job.config;
        let mut metadata = HashMap::new();
        let mut put = |key: &str, value: String| metadata.insert(key.to_owned(), value);
        put("format", FORMAT.to_owned());
        put("trial", self.job.id.trial.to_string());
        put("attempt", self.job.id.number.to_string());
        put("model", config.model.name().to_owned());
        put("data", config.data.name().to_owned());
        put("data_digest", self.data_digest.to_owned());
        put("params", config.to_json());
        put("seed", self.job.seed.to_string());
        put("best_epoch", self.best.epoch.to_string());
        put("gate", self.gate.to_string());
        put("val_error", self.best.validation.error.to_string());
        put("val_loss", self.best.validation.loss.to_string());
        put("test_error", self.test.error.to_string());
        put("test_loss", self.test.loss.to_string());
        put("program_version", env!("CARGO_PKG_VERSION").to_owned());
        put("libtorch_version", self.libtorch_version.to_owned());
        put("results_schema_version", RESULTS_SCHEMA_VERSION.to_string());
        metadata
    }
}
