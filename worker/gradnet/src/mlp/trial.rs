//! One member of a stack: what its config says about the model.

use common::config::{Config, Model, Param};
use tch::Tensor;

use crate::SpecError;
use crate::activation::Activation;
use crate::dropout::{Dropout, Form};
use crate::gate::{Per, Schedule, Shape};
use crate::init::Init;

/// One trial of the stack. Everything here may differ between the trials of a stack.
#[derive(Clone, PartialEq, Debug)]
pub struct MlpTrial {
    /// Number of hidden layers, at least 1.
    pub depth: usize,
    /// Activation of the hidden layers.
    pub activation: Activation,
    /// Dropout after every hidden activation.
    pub dropout: Dropout,
    /// Course of the gate; `Schedule::FULL` where nothing is gradual.
    pub schedule: Schedule,
    /// Initial weights.
    pub init: Init,
    /// Factor on the hidden layers' initial weights. The output layer has gain 1.
    pub init_gain: f64,
    /// Initial weights and dropout masks follow from it.
    pub seed: u64,
}

impl MlpTrial {
    /// The trial of a config and a seed.
    pub fn from_config(config: &Config, seed: u64) -> Result<MlpTrial, SpecError> {
        if config.model != Model::Mlp {
            return Err(SpecError::wrong_model(Model::Mlp, config.model));
        }
        let depth = config.count(Param::Depth).ok_or(missing(Param::Depth))?;
        if depth == 0 {
            let (param, accepted) = (Param::Depth, "at least 1");
            return Err(SpecError::OutOfRange { param, value: "0".into(), accepted });
        }
        Ok(MlpTrial {
            depth,
            activation: word(config, Param::Activation, &ACTIVATIONS)?,
            dropout: dropout(config)?,
            schedule: schedule(config)?,
            init: word(config, Param::Init, &INITS)?,
            init_gain: number(config, Param::InitGain)?,
            seed,
        })
    }

    /// Initial weights of a hidden layer, `[outputs, inputs]` in f64.
    pub(super) fn hidden_weight(&self, layer: usize, outputs: usize, inputs: usize) -> Tensor {
        self.init.weight(self.init_gain, self.seed, counter(layer), outputs, inputs)
    }

    /// Initial weights of the output layer, `[outputs, inputs]` in f64.
    pub(super) fn output_weight(&self, outputs: usize, inputs: usize) -> Tensor {
        self.init.weight(1.0, self.seed, counter(self.depth), outputs, inputs)
    }
}

const ACTIVATIONS: [(&str, Activation); 6] = [
    ("relu", Activation::Relu),
    ("leaky_relu", Activation::LeakyRelu),
    ("very_leaky_relu", Activation::VeryLeakyRelu),
    ("grelu", Activation::GRelu),
    ("inverse_grelu", Activation::InverseGRelu),
    ("identity", Activation::Identity),
];

const INITS: [(&str, Init); 4] = [
    ("orthogonal", Init::Orthogonal),
    ("he", Init::He),
    ("xavier", Init::Xavier),
    ("normal", Init::Normal),
];

const SHAPES: [(&str, Shape); 4] = [
    ("linear", Shape::Linear),
    ("cosine", Shape::Cosine),
    ("exponential", Shape::Exponential),
    ("step", Shape::Step),
];

const PERS: [(&str, Per); 2] = [("epoch", Per::Epoch), ("step", Per::Step)];

const FORMS: [(&str, Form); 2] = [("rate", Form::Rate), ("mix", Form::Mix)];

#[derive(Clone, Copy)]
enum Kind {
    None,
    Static,
    Gradual,
}

const DROPOUTS: [(&str, Kind); 3] =
    [("none", Kind::None), ("static", Kind::Static), ("gradual", Kind::Gradual)];

fn dropout(config: &Config) -> Result<Dropout, SpecError> {
    let kind = word(config, Param::Dropout, &DROPOUTS)?;
    let rate = || {
        let p = number(config, Param::P)?;
        let (param, accepted) = (Param::P, "from 0 to below 1");
        let out = SpecError::OutOfRange { param, value: p.to_string(), accepted };
        if (0.0..1.0).contains(&p) { Ok(p) } else { Err(out) }
    };
    match kind {
        Kind::None => Ok(Dropout::None),
        Kind::Static => Ok(Dropout::Static { p: rate()? }),
        Kind::Gradual => {
            // A config without it has gate 1 throughout, where both forms are the same.
            let form = optional_word(config, Param::DropoutForm, &FORMS)?.unwrap_or(Form::Rate);
            Ok(Dropout::Gradual { p: rate()?, form })
        }
    }
}

/// A config has `tau` only where something is gradual, and the others only where tau is above 0.
fn schedule(config: &Config) -> Result<Schedule, SpecError> {
    let Some(tau) = config.number(Param::Tau) else {
        return Ok(Schedule::FULL);
    };
    if tau.is_nan() || tau < 0.0 {
        let (param, accepted) = (Param::Tau, "at least 0");
        return Err(SpecError::OutOfRange { param, value: tau.to_string(), accepted });
    }
    if tau == 0.0 {
        return Ok(Schedule::FULL);
    }
    let shape = word(config, Param::Gate, &SHAPES)?;
    let per = word(config, Param::GatePer, &PERS)?;
    Ok(Schedule { shape, per, tau })
}

fn counter(layer: usize) -> u32 {
    u32::try_from(layer).expect("a net has fewer than 2^32 layers")
}

fn missing(param: Param) -> SpecError {
    SpecError::Missing { param }
}

fn number(config: &Config, param: Param) -> Result<f64, SpecError> {
    config.number(param).ok_or(missing(param))
}

fn word<T: Copy>(config: &Config, param: Param, accepted: &[(&str, T)]) -> Result<T, SpecError> {
    optional_word(config, param, accepted)?.ok_or(missing(param))
}

fn optional_word<T: Copy>(
    config: &Config,
    param: Param,
    accepted: &[(&str, T)],
) -> Result<Option<T>, SpecError> {
    let Some(found) = config.word(param) else {
        return Ok(None);
    };
    let known = accepted.iter().find(|(word, _)| *word == found);
    let words = || accepted.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
    let unavailable =
        || SpecError::Unavailable { param, value: found.to_owned(), accepted: words() };
    known.map(|(_, value)| Some(*value)).ok_or_else(unavailable)
}
