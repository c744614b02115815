//! Checkpoints: a safetensors file is of one trial, whatever cohort it was in, and readable from
//! Python. `common::checkpoints` has its name.
//!
//! Tensors `model.NAME`, `adam.first.NAME`, `adam.second.NAME` and, once an epoch was eligible,
//! `best.NAME`, without the trial axis; counters in the metadata. Written to a temporary file,
//! synced and renamed, so that a file is whole or absent, and never written again.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use common::checkpoints::CheckpointName;
use common::config::RESULTS_SCHEMA_VERSION;
use common::ids::AttemptId;
use safetensors::{Dtype, SafeTensors, View};
use tch::{Device, Kind, Tensor};

use crate::selection::{Best, Evaluation};

/// A checkpoint that cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error("cannot {step} checkpoint {path}")]
    File {
        /// What was tried.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not a safetensors file, or cut off.
    #[error("checkpoint {path} is not a whole safetensors file")]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// Something that every checkpoint has is missing or of another trial.
    #[error("checkpoint {path}: {what}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// Where one trial stands at an epoch boundary.
#[derive(Debug)]
pub struct Checkpoint {
    /// The attempt that trained it up to here, and the epochs done.
    pub name: CheckpointName,
    /// What it was trained with.
    pub basis: Basis,
    /// Optimiser steps done.
    pub steps: u64,
    /// Seconds of training, those of earlier attempts included.
    pub seconds: f64,
    /// The best eligible epoch so far and its metrics.
    pub best: Option<Best>,
    /// By name, without the trial axis.
    pub tensors: HashMap<String, Tensor>,
}

/// What a trial must have in common with a checkpoint to go on from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Basis {
    /// Its parameters as JSON.
    pub params: String,
    /// Digest of the data's content: a shared folder is written from many hosts.
    pub data_digest: String,
}

impl Checkpoint {
    /// Writes the file, whole or not at all.
    pub fn save(&self, directory: &Path) -> Result<(), CheckpointError> {
        let path = self.name.path(directory);
        let host = |(name, tensor): (&String, &Tensor)| (name.clone(), HostTensor::new(tensor));
        let tensors = self.tensors.iter().map(host).collect::<Vec<_>>();
        let bytes = safetensors::serialize(tensors, Some(self.metadata()))
            .map_err(|source| CheckpointError::Format { path: path.clone(), source })?;
        let partial = self.name.partial_path(directory);
        write_whole(directory, &partial, &path, &bytes)
            .map_err(|(step, source)| CheckpointError::File { step, path, source })
    }

    /// Reads the file of this name.
    pub fn load(
        directory: &Path,
        name: CheckpointName,
        basis: &Basis,
    ) -> Result<Checkpoint, CheckpointError> {
        let path = name.path(directory);
        let bytes = fs::read(&path).map_err(|source| {
            let path = path.clone();
            CheckpointError::File { step: "read", path, source }
        })?;
        let format = |source| CheckpointError::Format { path: path.clone(), source };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(format)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let file = SafeTensors::deserialize(&bytes).map_err(format)?;
        let mut tensors = HashMap::new();
        for (name, view) in file.tensors() {
            let tensor = read_tensor(&view).ok_or_else(|| CheckpointError::Content {
                path: path.clone(),
                what: format!("tensor {name} has type {:?}", view.dtype()),
            })?;
            tensors.insert(name, tensor);
        }
        let fields = Fields { path: &path, metadata: &metadata };
        let AttemptId { trial, number } = name.attempt;
        fields.expect("trial", &trial.to_string())?;
        fields.expect("attempt", &number.to_string())?;
        fields.expect("epoch", &name.epoch.to_string())?;
        fields.expect("params", &basis.params)?;
        fields.expect("data_digest", &basis.data_digest)?;
        fields.expect("results_schema_version", &RESULTS_SCHEMA_VERSION.to_string())?;
        let (epoch, best) = (name.epoch, fields.best()?);
        if epoch == 0 || best.is_some_and(|best| best.epoch == 0 || best.epoch > epoch) {
            return Err(fields.content(format!("its best epoch is not one of its {epoch} epochs")));
        }
        Ok(Checkpoint {
            name,
            basis: basis.clone(),
            steps: fields.get("steps")?,
            seconds: fields.get("seconds")?,
            best,
            tensors,
        })
    }

    fn metadata(&self) -> HashMap<String, String> {
        let mut metadata = HashMap::new();
        let mut put = |key: &str, value: String| metadata.insert(key.to_owned(), value);
        put("trial", self.name.attempt.trial.to_string());
        put("attempt", self.name.attempt.number.to_string());
        put("epoch", self.name.epoch.to_string());
        put("params", self.basis.params.clone());
        put("data_digest", self.basis.data_digest.clone());
        put("results_schema_version", RESULTS_SCHEMA_VERSION.to_string());
        put("steps", self.steps.to_string());
        put("seconds", self.seconds.to_string());
        if let Some(best) = self.best {
            put("best_epoch", best.epoch.to_string());
            put("best_val_loss", best.validation.loss.to_string());
            put("best_val_error", best.validation.error.to_string());
            put("best_train_loss", best.train_loss.to_string());
        }
        metadata
    }
}

/// The metadata of one file, with errors that name it.
struct Fields<'a> {
    path: &'a Path,
    metadata: &'a HashMap<String, String>,
}

impl Fields<'_> {
    fn content(&self, what: String) -> CheckpointError {
        CheckpointError::Content { path: self.path.into(), what }
    }

    fn get<T: std::str::FromStr>(&self, key: &str) -> Result<T, CheckpointError> {
        let text = self.metadata.get(key);
        let text = text.ok_or_else(|| self.content(format!("it has no `{key}`")))?;
        text.parse().map_err(|_| self.content(format!("`{key}` is `{text}`")))
    }

    fn expect(&self, key: &str, expected: &str) -> Result<(), CheckpointError> {
        let found: String = self.get(key)?;
        if found != expected {
            return Err(self.content(format!("`{key}` is `{found}`, not `{expected}`")));
        }
        Ok(())
    }

    fn best(&self) -> Result<Option<Best>, CheckpointError> {
        if !self.metadata.contains_key("best_epoch") {
            return Ok(None);
        }
        Ok(Some(Best {
            epoch: self.get("best_epoch")?,
            validation: Evaluation {
                loss: self.get("best_val_loss")?,
                error: self.get("best_val_error")?,
            },
            train_loss: self.get("best_train_loss")?,
        }))
    }
}

/// Writes a file that is whole or absent; fails with the step that failed.
pub(crate) fn write_whole(
    directory: &Path,
    partial: &Path,
    path: &Path,
    bytes: &[u8],
) -> Result<(), (&'static str, std::io::Error)> {
    let write = || {
        fs::create_dir_all(directory).map_err(|error| ("make the folder of", error))?;
        let mut file = File::create(partial).map_err(|error| ("create", error))?;
        file.write_all(bytes).map_err(|error| ("write", error))?;
        file.sync_all().map_err(|error| ("sync", error))?;
        fs::rename(partial, path).map_err(|error| ("rename", error))?;
        File::open(directory)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| ("sync the folder of", error))
    };
    let written = write();
    if written.is_err() {
        // What is left of it would only take the room that may have been missing.
        let _ = fs::remove_file(partial);
    }
    written
}

/// A tensor's bytes on the host.
pub(crate) struct HostTensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl HostTensor {
    pub(crate) fn new(tensor: &Tensor) -> HostTensor {
        let host = tensor.detach().to_device(Device::Cpu).contiguous();
        let (dtype, size) = match host.kind() {
            Kind::Double => (Dtype::F64, 8),
            Kind::Float => (Dtype::F32, 4),
            kind => unreachable!("training state is f32 or f64, not {kind:?}"),
        };
        let mut bytes = vec![0; host.numel() * size];
        host.copy_data_u8(&mut bytes, host.numel());
        let shape = host.size().iter().map(|&size| size as usize).collect();
        HostTensor { dtype, shape, bytes }
    }
}

impl View for HostTensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn read_tensor(view: &safetensors::tensor::TensorView<'_>) -> Option<Tensor> {
    let kind = match view.dtype() {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        _ => return None,
    };
    let shape = view.shape().iter().map(|&size| size as i64).collect::<Vec<_>>();
    Tensor::f_from_data_size(view.data(), &shape, kind).ok()
}

#[cfg(test)]
mod tests {
    use common::ids::TrialId;

    use super::*;

    fn checkpoint() -> Checkpoint {
        let tensor = Tensor::from_slice(&[0.1f32, -2.5, f32::MIN_POSITIVE]);
        let wide = Tensor::from_slice(&[1.0f64 / 3.0, 2.0, 3.0, 4.0]).view([2, 2]);
        Checkpoint {
            name: CheckpointName {
                attempt: AttemptId { trial: TrialId(0x00112233445566ff), number: 2 },
                epoch: 3,
            },
            basis: Basis { params: r#"{"depth":2}"#.into(), data_digest: "abc".into() },
            steps: 300,
            seconds: 1.0 / 3.0,
            best: Some(Best {
                epoch: 2,
                validation: Evaluation { loss: 0.1 + 0.2, error: 0.05 },
                train_loss: 1e-300,
            }),
            tensors: [("model.a".to_owned(), tensor), ("best.b".to_owned(), wide)].into(),
        }
    }

    #[test]
    fn a_checkpoint_reads_back_bit_for_bit() {
        let folder = tempfile::tempdir().expect("a folder");
        let saved = checkpoint();
        saved.save(folder.path()).expect("saved");
        let loaded = Checkpoint::load(folder.path(), saved.name, &saved.basis).expect("readable");
        assert_eq!((loaded.name, loaded.steps), (saved.name, saved.steps));
        assert_eq!(loaded.seconds.to_bits(), saved.seconds.to_bits());
        assert_eq!(loaded.best, saved.best);
        assert_eq!(loaded.tensors.len(), 2);
        for (name, tensor) in &saved.tensors {
            assert_eq!(&loaded.tensors[name], tensor, "{name}");
        }
        let files = fs::read_dir(folder.path()).expect("readable").count();
        assert_eq!(files, 1, "no temporary file stays");
    }

    #[test]
    fn what_was_trained_with_something_else_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let saved = checkpoint();
        saved.save(folder.path()).expect("saved");
        let refused = |name, basis: &Basis| {
            let error = Checkpoint::load(folder.path(), name, basis).expect_err("refused");
            error.to_string()
        };
        let params = Basis { params: "{}".into(), ..saved.basis.clone() };
        assert!(refused(saved.name, &params).contains("`params` is"));
        let data = Basis { data_digest: "abd".into(), ..saved.basis.clone() };
        assert!(refused(saved.name, &data).contains("`data_digest` is `abc`, not `abd`"));
        // A file that somebody renamed says itself what it is.
        let renamed = CheckpointName { epoch: 2, ..saved.name };
        fs::rename(saved.name.path(folder.path()), renamed.path(folder.path())).expect("ours");
        assert!(refused(renamed, &saved.basis).contains("`epoch` is `3`, not `2`"));
        assert!(refused(saved.name, &saved.basis).contains("cannot read checkpoint"));
    }

    #[test]
    fn a_cut_off_file_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let saved = checkpoint();
        saved.save(folder.path()).expect("saved");
        let file = saved.name.path(folder.path());
        let bytes = fs::read(&file).expect("readable");
        for length in [0, 4, 20, bytes.len() - 1] {
            fs::write(&file, &bytes[..length]).expect("writable");
            let error = Checkpoint::load(folder.path(), saved.name, &saved.basis);
            let error = error.expect_err("cut off").to_string();
            assert!(error.contains("not a whole safetensors file"), "{error}");
        }
    }
}
