//! What can go wrong with input from outside: a config, or a checkpoint's tensors.

use common::config::Param;
use tch::{Kind, TchError};

/// A config that no trial of this package can be made of.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SpecError {
    /// A parameter is absent or not of its type.
    #[error("parameter `{param}` is missing or has no valid value")]
    Missing {
        /// The parameter.
        param: Param,
    },
    /// A word that the parameter has, but that is not built here.
    #[error("`{param}: {value}` is not available; accepted: {accepted}")]
    Unavailable {
        /// The parameter.
        param: Param,
        /// Its value.
        value: String,
        /// The words that are built.
        accepted: String,
    },
    /// A number outside the parameter's range.
    #[error("`{param}: {value}` is out of range; accepted: {accepted}")]
    OutOfRange {
        /// The parameter.
        param: Param,
        /// Its value.
        value: String,
        /// The range.
        accepted: &'static str,
    },
}

/// Tensors that do not fit a model.
#[derive(Debug, thiserror::Error)]
pub enum GradnetError {
    /// A parameter has no tensor.
    #[error("tensor `{name}` is missing")]
    MissingTensor {
        /// The parameter.
        name: String,
    },
    /// A tensor has another shape than its parameter.
    #[error("tensor `{name}` has shape {found:?}, its parameter {expected:?}")]
    WrongShape {
        /// The parameter.
        name: String,
        /// The tensor's shape.
        found: Vec<i64>,
        /// The parameter's shape, without the trial axis.
        expected: Vec<i64>,
    },
    /// A tensor has another element type than its parameter.
    #[error("tensor `{name}` holds {found:?}, its parameter {expected:?}")]
    WrongKind {
        /// The parameter.
        name: String,
        /// The tensor's element type.
        found: Kind,
        /// The parameter's element type.
        expected: Kind,
    },
    /// libtorch refused to copy a tensor.
    #[error("tensor `{name}` cannot be copied into its parameter")]
    Copy {
        /// The parameter.
        name: String,
        /// Why.
        #[source]
        source: TchError,
    },
}
