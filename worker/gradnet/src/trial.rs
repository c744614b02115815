//! One member of a stack: what its config says about the model.

use common::config::{Config, Model, Param};

use crate::SpecError;
use crate::activation::Activation;
use crate::batch_norm::Norm;
use crate::conv::ConvKind;
use crate::dropout::{Dropout, Form};
use crate::gate::{Per, Schedule, Shape};
use crate::init::Init;
use crate::interpolate::Gate;
use crate::pooling::Pooling;
use crate::transformer::{StnInit, Transformer};

/// One trial of a stack. What its model family does not have is plain.
#[derive(Clone, PartialEq, Debug)]
pub struct Trial {
    /// Number of hidden layers, at least 1; 1 where the family's depth is fixed.
    pub depth: usize,
    /// Activation of the hidden layers.
    pub activation: Activation,
    /// Dropout after every hidden activation.
    pub dropout: Dropout,
    /// Normalisation of the convolutions.
    pub norm: Norm,
    /// Kind of the convolutions.
    pub conv: ConvKind,
    /// Kind of pooling.
    pub pooling: Pooling,
    /// Kind of downsampling.
    pub transformer: Transformer,
    /// Initial weights of the localisation net's last layer.
    pub stn_init: StnInit,
    /// Course of the gate; `Schedule::FULL` where nothing is gradual.
    pub schedule: Schedule,
    /// Initial weights.
    pub init: Init,
    /// Factor on the hidden layers' initial weights. The output layer has gain 1.
    pub init_gain: f64,
    /// Initial weights and random draws follow from it.
    pub seed: u64,
}

impl Trial {
    /// A plain trial: one hidden ReLU layer or plain convolutions with max pooling, orthogonal.
    pub const fn plain(seed: u64) -> Trial {
        Trial {
            depth: 1,
            activation: Activation::Relu,
            dropout: Dropout::None,
            norm: Norm::None,
            conv: ConvKind::Plain,
            pooling: Pooling::Max,
            transformer: Transformer::None,
            stn_init: StnInit::Orthogonal,
            schedule: Schedule::FULL,
            init: Init::Orthogonal,
            init_gain: 1.0,
            seed,
        }
    }

    /// The trial of a config and a seed.
    pub fn from_config(config: &Config, seed: u64) -> Result<Trial, SpecError> {
        let plain = Trial::plain(seed);
        let trial = Trial {
            activation: word(config, Param::Activation, &ACTIVATIONS)?,
            dropout: dropout(config)?,
            schedule: schedule(config)?,
            init: word(config, Param::Init, &INITS)?,
            init_gain: number(config, Param::InitGain)?,
            ..plain
        };
        match config.model {
            Model::Mlp | Model::Rnn => Ok(Trial { depth: depth(config)?, ..trial }),
            Model::Cnn => Ok(Trial {
                norm: word(config, Param::Norm, &NORMS)?,
                conv: word(config, Param::Conv, &CONVS)?,
                pooling: word(config, Param::Pooling, &POOLINGS)?,
                ..trial
            }),
            Model::Stn => {
                let transformer = word(config, Param::Transformer, &TRANSFORMERS)?;
                // A config without a transformer has no initial weights of one.
                let stn_init = optional_word(config, Param::StnInit, &STN_INITS)?;
                Ok(Trial { transformer, stn_init: stn_init.unwrap_or(trial.stn_init), ..trial })
            }
        }
    }

    /// Weight of a gradual component's late form at this gate.
    pub fn weight(&self, which: Gate, gate: f64) -> f64 {
        match which {
            Gate::Schedule => gate,
            Gate::Pooling => self.pooling.weight(gate),
            Gate::Norm => self.norm.weight(gate),
            Gate::Conv => self.conv.weight(gate),
            Gate::Transformer => self.transformer.weight(gate),
        }
    }
}

const ACTIVATIONS: [(&str, Activation); 8] = [
    ("relu", Activation::Relu),
    ("leaky_relu", Activation::LeakyRelu),
    ("very_leaky_relu", Activation::VeryLeakyRelu),
    ("prelu", Activation::PRelu),
    ("rrelu", Activation::RRelu),
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

const NORMS: [(&str, Norm); 3] =
    [("none", Norm::None), ("batch", Norm::Batch), ("gradual_batch", Norm::GradualBatch)];

const CONVS: [(&str, ConvKind); 5] = [
    ("plain", ConvKind::Plain),
    ("identity_to_conv", ConvKind::IdentityToConv),
    ("conv_to_nin", ConvKind::ConvToNin),
    ("nin", ConvKind::Nin),
    ("highway", ConvKind::Highway),
];

const POOLINGS: [(&str, Pooling); 6] = [
    ("max", Pooling::Max),
    ("mean", Pooling::Mean),
    ("average", Pooling::Average),
    ("mixed", Pooling::Mixed),
    ("gated", Pooling::Gated),
    ("gradual", Pooling::Gradual),
];

const TRANSFORMERS: [(&str, Transformer); 3] = [
    ("none", Transformer::None),
    ("affine", Transformer::Affine),
    ("gradual", Transformer::Gradual),
];

const STN_INITS: [(&str, StnInit); 3] = [
    ("orthogonal", StnInit::Orthogonal),
    ("small_normal", StnInit::SmallNormal),
    ("zero", StnInit::Zero),
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
    Probe,
}

const DROPOUTS: [(&str, Kind); 4] = [
    ("none", Kind::None),
    ("static", Kind::Static),
    ("gradual", Kind::Gradual),
    ("probe", Kind::Probe),
];

fn depth(config: &Config) -> Result<usize, SpecError> {
    let depth = config.count(Param::Depth).ok_or(missing(Param::Depth))?;
    if depth == 0 {
        let (param, accepted) = (Param::Depth, "at least 1");
        return Err(SpecError::OutOfRange { param, value: "0".into(), accepted });
    }
    Ok(depth)
}

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
        Kind::Probe => Ok(Dropout::Gradual { p: rate()?, form: Form::Rate }),
    }
}

/// A config has `tau` only where something is gradual, and the others only where tau is above 0.
/// A probe's rate rises over all of its epochs.
fn schedule(config: &Config) -> Result<Schedule, SpecError> {
    if let Kind::Probe = word(config, Param::Dropout, &DROPOUTS)? {
        let tau = number(config, Param::Epochs)?;
        return Ok(Schedule { shape: Shape::Linear, per: Per::Step, tau });
    }
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
