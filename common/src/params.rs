//! What each parameter accepts, which model has it with which default, and when it has an effect.
//!
//! The one table behind the sweep file, the store and the trainer: all of them read parameters
//! through `check`, `default` and `with_effect`. Words that are known but not built are refused
//! with those that are.

mod check;
mod contradiction;

use crate::config::{Config, Data, Model, Param, Value};

pub use check::{Rejection, Scalar};
pub(crate) use check::{describe, nearest, number, printable, whole};
pub use contradiction::{Contradiction, contradiction};

/// What a parameter accepts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    /// One of these words; those of `later` are known but not built.
    Words {
        /// Built.
        built: &'static [&'static str],
        /// Not built yet.
        later: &'static [&'static str],
    },
    /// `true` or `false`.
    Flag,
    /// A whole number, both ends included.
    Count {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
        /// What `null` means, where it is accepted.
        null: Option<&'static str>,
    },
    /// A finite number.
    Number {
        /// Lower end.
        low: f64,
        /// The lower end itself is accepted.
        low_included: bool,
        /// Upper end.
        high: f64,
        /// The upper end itself is accepted.
        high_included: bool,
        /// What `null` means, where it is accepted.
        null: Option<&'static str>,
    },
}

/// A row of the table.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ParamInfo {
    /// The parameter.
    pub param: Param,
    /// What it accepts.
    pub kind: Kind,
    /// What it is, in a few words with its unit.
    pub doc: &'static str,
}

const LARGEST: f64 = 1e6;

const fn words(built: &'static [&'static str], later: &'static [&'static str]) -> Kind {
    Kind::Words { built, later }
}

const fn count(min: i64, max: i64, null: Option<&'static str>) -> Kind {
    Kind::Count { min, max, null }
}

const fn positive(null: Option<&'static str>) -> Kind {
    Kind::Number { low: 0.0, low_included: false, high: LARGEST, high_included: true, null }
}

const fn row(param: Param, kind: Kind, doc: &'static str) -> ParamInfo {
    ParamInfo { param, kind, doc }
}

static TABLE: [ParamInfo; Param::ALL.len()] = [
    row(
        Param::Activation,
        words(
            &[
                "relu",
                "leaky_relu",
                "very_leaky_relu",
                "prelu",
                "rrelu",
                "grelu",
                "inverse_grelu",
                "identity",
            ],
            &[],
        ),
        "activation of the hidden layers",
    ),
    row(Param::AugmentFlip, Kind::Flag, "random horizontal flips in training"),
    row(Param::BatchSize, count(1, 1_000_000, None), "examples per step"),
    row(Param::ClipNorm, positive(Some("off")), "largest norm of a trial's gradient"),
    row(
        Param::Conv,
        words(&["plain", "identity_to_conv", "conv_to_nin", "nin", "highway"], &[]),
        "kind of convolution",
    ),
    row(Param::Depth, count(1, 1_000, None), "number of hidden layers"),
    row(
        Param::Dropout,
        words(&["none", "static", "gradual", "probe"], &[]),
        "dropout after every hidden activation; a probe raises it from 0 to p over all epochs",
    ),
    row(
        Param::DropoutForm,
        words(&["rate", "mix"], &[]),
        "gradual dropout: the rate g·p, or the literal mix",
    ),
    row(Param::Epochs, count(1, 1_000_000, None), "passes over the training examples"),
    row(
        Param::Gate,
        words(&["linear", "cosine", "exponential", "step"], &[]),
        "shape of the gate's ramp",
    ),
    row(Param::GatePer, words(&["epoch", "step"], &[]), "when the gate moves"),
    row(Param::Init, words(&["orthogonal", "he", "xavier", "normal"], &[]), "initial weights"),
    row(Param::InitGain, positive(None), "factor on the hidden layers' initial weights"),
    row(Param::Lr, positive(None), "Adam's learning rate"),
    row(
        Param::Norm,
        words(&["none", "batch", "gradual_batch"], &[]),
        "normalisation before the activation",
    ),
    row(
        Param::P,
        Kind::Number { low: 0.0, low_included: true, high: 1.0, high_included: false, null: None },
        "probability that dropout drops a unit",
    ),
    row(
        Param::Patience,
        count(1, 1_000_000, Some("off")),
        "eligible epochs without a better one before the end",
    ),
    row(
        Param::Pooling,
        words(&["max", "mean", "average", "mixed", "gated", "gradual"], &[]),
        "kind of pooling",
    ),
    row(Param::Precision, words(&["fp32"], &["tf32", "bf16"]), "precision of the matrix products"),
    row(Param::Select, words(&["after_tau", "any"], &[]), "epochs that may be the best one"),
    row(
        Param::StnInit,
        words(&["orthogonal", "small_normal", "zero"], &[]),
        "initial weights of the localisation net's last layer",
    ),
    row(
        Param::Tau,
        Kind::Number {
            low: 0.0,
            low_included: true,
            high: LARGEST,
            high_included: true,
            null: None,
        },
        "epoch at which the gate reaches 1; 0 is from the start",
    ),
    row(
        Param::TrainExamples,
        count(1, 1_000_000, Some("all")),
        "training examples, the first of the split",
    ),
    row(Param::Transformer, words(&["none", "affine", "gradual"], &[]), "the spatial transformer"),
    row(
        Param::ValExamples,
        count(1, 1_000_000, Some("all")),
        "validation examples, the first of the split",
    ),
    row(
        Param::Width,
        count(1, 65_536, None),
        "units of a hidden layer; channels of the CNN's first two",
    ),
];

const _: () = {
    let mut i = 0;
    while i < TABLE.len() {
        assert!(TABLE[i].param as usize == i, "rows are in the order of the parameters");
        i += 1;
    }
};

/// What a parameter accepts and means.
pub fn info(param: Param) -> &'static ParamInfo {
    &TABLE[param as usize]
}

const MLP: &[(Param, Value)] = &[
    (Param::Activation, Value::Word("relu")),
    (Param::BatchSize, Value::Int(500)),
    (Param::ClipNorm, Value::Null),
    (Param::Depth, Value::Int(2)),
    (Param::Dropout, Value::Word("none")),
    (Param::DropoutForm, Value::Word("rate")),
    (Param::Epochs, Value::Int(100)),
    (Param::Gate, Value::Word("linear")),
    (Param::GatePer, Value::Word("step")),
    (Param::Init, Value::Word("orthogonal")),
    (Param::InitGain, Value::Float(1.0)),
    (Param::Lr, Value::Float(1e-3)),
    (Param::P, Value::Float(0.5)),
    (Param::Patience, Value::Int(10)),
    (Param::Precision, Value::Word("fp32")),
    (Param::Select, Value::Word("after_tau")),
    (Param::Tau, Value::Float(5.0)),
    (Param::TrainExamples, Value::Null),
    (Param::ValExamples, Value::Null),
    (Param::Width, Value::Int(512)),
];

// The paper fixes tau, batch size, dropout and flips; the learning rate is that of its author's
// neighbouring code; epochs and patience are this project's.
const CNN: &[(Param, Value)] = &[
    (Param::Activation, Value::Word("relu")),
    (Param::AugmentFlip, Value::Bool(true)),
    (Param::BatchSize, Value::Int(256)),
    (Param::ClipNorm, Value::Null),
    (Param::Conv, Value::Word("plain")),
    (Param::Dropout, Value::Word("static")),
    (Param::DropoutForm, Value::Word("rate")),
    (Param::Epochs, Value::Int(300)),
    (Param::Gate, Value::Word("linear")),
    (Param::GatePer, Value::Word("step")),
    (Param::Init, Value::Word("orthogonal")),
    (Param::InitGain, Value::Float(1.0)),
    (Param::Lr, Value::Float(2e-4)),
    (Param::Norm, Value::Word("none")),
    (Param::P, Value::Float(0.3)),
    (Param::Patience, Value::Int(20)),
    (Param::Pooling, Value::Word("max")),
    (Param::Precision, Value::Word("fp32")),
    (Param::Select, Value::Word("after_tau")),
    (Param::Tau, Value::Float(100.0)),
    (Param::TrainExamples, Value::Null),
    (Param::ValExamples, Value::Null),
    (Param::Width, Value::Int(96)),
];

const STN: &[(Param, Value)] = &[
    (Param::Activation, Value::Word("relu")),
    (Param::BatchSize, Value::Int(500)),
    (Param::ClipNorm, Value::Null),
    (Param::Dropout, Value::Word("none")),
    (Param::DropoutForm, Value::Word("rate")),
    (Param::Epochs, Value::Int(100)),
    (Param::Gate, Value::Word("linear")),
    (Param::GatePer, Value::Word("step")),
    (Param::Init, Value::Word("orthogonal")),
    (Param::InitGain, Value::Float(1.0)),
    (Param::Lr, Value::Float(1e-3)),
    (Param::P, Value::Float(0.5)),
    (Param::Patience, Value::Int(10)),
    (Param::Precision, Value::Word("fp32")),
    (Param::Select, Value::Word("after_tau")),
    (Param::StnInit, Value::Word("orthogonal")),
    (Param::Tau, Value::Float(5.0)),
    (Param::TrainExamples, Value::Null),
    (Param::Transformer, Value::Word("affine")),
    (Param::ValExamples, Value::Null),
];

const fn defaults_of(model: Model) -> [Option<Value>; Param::ALL.len()] {
    let rows = match model {
        Model::Mlp => MLP,
        Model::Cnn => CNN,
        Model::Stn => STN,
        // The paper has no recurrent net: the MLP's parameters, one step per row of the image.
        Model::Rnn => MLP,
    };
    let mut defaults = [None; Param::ALL.len()];
    let mut i = 0;
    while i < rows.len() {
        defaults[rows[i].0 as usize] = Some(rows[i].1);
        i += 1;
    }
    defaults
}

static DEFAULTS: [[Option<Value>; Param::ALL.len()]; Model::ALL.len()] = {
    let mut table = [[None; Param::ALL.len()]; Model::ALL.len()];
    let mut i = 0;
    while i < table.len() {
        table[i] = defaults_of(Model::ALL[i]);
        i += 1;
    }
    table
};

/// The value of a parameter that a sweep does not name; none where the model does not have it.
pub fn default(model: Model, param: Param) -> Option<Value> {
    DEFAULTS[model as usize][param as usize]
}

/// The parameters that a model has, sorted by name.
pub fn of_model(model: Model) -> impl Iterator<Item = Param> {
    Param::ALL.into_iter().filter(move |param| default(model, *param).is_some())
}

/// The data sets that a model can read.
pub const fn data_of(model: Model) -> &'static [Data] {
    match model {
        Model::Mlp | Model::Rnn => &[Data::Mnist, Data::Strokes],
        Model::Cnn => &[Data::Cifar10, Data::Mnist, Data::Strokes],
        Model::Stn => &[Data::ClutteredMnist],
    }
}

/// What must be equal, besides model and data, for trials to train as one batched model.
pub type FusionKey = [Option<Value>; FUSION.len()];

/// The parameters of a fusion key, in its order.
pub const FUSION: [Param; 11] = [
    Param::BatchSize,
    Param::Precision,
    Param::TrainExamples,
    Param::ValExamples,
    Param::Width,
    Param::Activation,
    Param::Conv,
    Param::Depth,
    Param::Norm,
    Param::Pooling,
    Param::Transformer,
];

/// The fusion key of a config. Of the parameters that choose components only what decides the
/// tensors of the model counts: forms that share them train together, each at its own weight.
pub fn fusion_key(config: &Config) -> FusionKey {
    FUSION.map(|param| {
        let value = config.get(param)?;
        let Value::Word(word) = value else {
            // Only the MLP's layers hold a part of a stack.
            let is_ragged = param == Param::Depth && config.model == Model::Mlp;
            return (!is_ragged).then_some(value);
        };
        let class = match (param, word) {
            (Param::Activation, "prelu" | "rrelu") => word,
            (Param::Activation, _) => "slope",
            (Param::Conv, "plain" | "identity_to_conv") => "plain",
            (Param::Conv, "nin" | "conv_to_nin") => "nin",
            (Param::Norm, "batch" | "gradual_batch") => "batch",
            (Param::Pooling, "mixed" | "gated") => word,
            (Param::Pooling, _) => "weighed",
            (Param::Transformer, "affine" | "gradual") => "affine",
            (_, word) => word,
        };
        Some(Value::Word(class))
    })
}

/// A set of parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ParamSet(u32);

impl ParamSet {
    /// Adds a parameter.
    pub fn insert(&mut self, param: Param) {
        self.0 |= 1 << (param as u32);
    }

    /// Takes a parameter out.
    pub fn remove(&mut self, param: Param) {
        self.0 &= !(1 << (param as u32));
    }

    /// Whether it holds a parameter.
    pub fn contains(self, param: Param) -> bool {
        self.0 & (1 << (param as u32)) != 0
    }

    /// Its parameters, sorted by name.
    pub fn iter(self) -> impl Iterator<Item = Param> {
        Param::ALL.into_iter().filter(move |param| self.contains(*param))
    }
}

/// Whether some component of the model is weighed by the gate of `tau`.
pub fn is_gradual(get: &impl Fn(Param) -> Option<Value>) -> bool {
    let word = |param| match get(param) {
        Some(Value::Word(word)) => word,
        Some(Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_)) | None => "",
    };
    matches!(word(Param::Activation), "grelu" | "inverse_grelu")
        || word(Param::Dropout) == "gradual"
        || word(Param::Pooling) == "gradual"
        || word(Param::Norm) == "gradual_batch"
        || matches!(word(Param::Conv), "identity_to_conv" | "conv_to_nin")
        || word(Param::Transformer) == "gradual"
}

/// The parameters of a model that have an effect at a point; `get` gives every parameter that the
/// model has, defaults included. The others are not part of a config:
/// - the gate's parameters where nothing is gradual; its shape, its pace and `select` where
///   `tau` is 0, since the gate is 1 throughout and every epoch is eligible;
/// - `patience` of a probe, which goes through all of its rates;
/// - `p` without dropout; `dropout_form` unless dropout is gradual and `tau` above 0, since both
///   forms are the same at gate 1;
/// - `stn_init` without a transformer.
pub fn with_effect(model: Model, get: &impl Fn(Param) -> Option<Value>) -> ParamSet {
    let mut set = ParamSet::default();
    for param in Param::ALL {
        if DEFAULTS[model as usize][param as usize].is_some() {
            set.insert(param);
        }
    }
    let gradual = is_gradual(get);
    if !gradual {
        set.remove(Param::Tau);
    }
    let full = get(Param::Tau) == Some(Value::Float(0.0));
    if !gradual || full {
        set.remove(Param::Gate);
        set.remove(Param::GatePer);
        set.remove(Param::Select);
    }
    let dropout = get(Param::Dropout);
    if dropout == Some(Value::Word("none")) {
        set.remove(Param::P);
    }
    if dropout == Some(Value::Word("probe")) {
        set.remove(Param::Patience);
    }
    if dropout != Some(Value::Word("gradual")) || full {
        set.remove(Param::DropoutForm);
    }
    if get(Param::Transformer) == Some(Value::Word("none")) {
        set.remove(Param::StnInit);
    }
    set
}

/// Whole epochs until an evaluation sees gate 1: the evaluation after epoch e sees the gate at
/// t = e where it moves per step, at t = e - 1 where it moves per epoch.
pub fn first_full_epoch(tau: f64, gate_per: &str) -> u64 {
    assert!(tau >= 0.0, "tau is validated");
    if tau == 0.0 {
        return 1;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "tau is validated to be from 0 to 1e6"
    )]
    let whole = tau.ceil() as u64;
    if gate_per == "epoch" { whole + 1 } else { whole }
}
