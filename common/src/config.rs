//! A config: one point of the grid, with every parameter that has an effect resolved.
//!
//! The parameters are a closed set (design, section 4). `Param` lists them, `params.rs` says what
//! each accepts and which model has it; this file holds a point.

use std::collections::BTreeMap;
use std::fmt;

pub use crate::config_json::ConfigError;

/// Version of the canonical form and of what a result means; part of every trial's id.
pub const RESULTS_SCHEMA_VERSION: u32 = 1;

macro_rules! params {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A parameter of a config, in the order of its name.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Param { $(#[doc = concat!("`", $name, "`")] $variant),+ }

        impl Param {
            /// Every parameter, sorted by name.
            pub const ALL: [Param; [$($name),+].len()] = [$(Param::$variant),+];

            /// The name in the sweep file.
            pub const fn name(self) -> &'static str {
                match self { $(Param::$variant => $name),+ }
            }
        }
    };
}

params! {
    Activation = "activation", AugmentFlip = "augment_flip", BatchSize = "batch_size",
    ClipNorm = "clip_norm", Conv = "conv", Depth = "depth", Dropout = "dropout",
    DropoutForm = "dropout_form", Epochs = "epochs", Gate = "gate", GatePer = "gate_per",
    Init = "init", InitGain = "init_gain", Lr = "lr", Norm = "norm", P = "p",
    Patience = "patience", Pooling = "pooling", Precision = "precision", Select = "select",
    StnInit = "stn_init", Tau = "tau", TrainExamples = "train_examples",
    Transformer = "transformer", ValExamples = "val_examples", Width = "width",
}

impl Param {
    /// The parameter of this name; `τ` is `tau`.
    pub fn from_name(name: &str) -> Option<Param> {
        let name = if name == "τ" { "tau" } else { name };
        Param::ALL.into_iter().find(|param| param.name() == name)
    }
}

impl fmt::Display for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A parameter's value. Words come from closed sets, so a value is small and copied freely.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Value {
    /// `null`: off, or all of it.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number; never negative zero.
    Float(f64),
    /// One of a parameter's words.
    Word(&'static str),
}

impl fmt::Display for Value {
    /// As in the canonical form: the shortest text that reads back as the same number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value}"),
            Value::Word(value) => f.write_str(value),
        }
    }
}

/// Model families.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Model {
    /// The paper's multilayer perceptron.
    Mlp,
    /// The CIFAR-10 network.
    Cnn,
    /// The cluttered-MNIST classifier with a spatial transformer.
    Stn,
    /// The row-by-row recurrent network.
    Rnn,
}

impl Model {
    /// Every model family that the sweep file knows.
    pub const ALL: [Model; 4] = [Model::Mlp, Model::Cnn, Model::Stn, Model::Rnn];
    /// Those that are built.
    pub const AVAILABLE: [Model; 4] = Model::ALL;

    /// The name in the sweep file.
    pub const fn name(self) -> &'static str {
        match self {
            Model::Mlp => "mlp",
            Model::Cnn => "cnn",
            Model::Stn => "stn",
            Model::Rnn => "rnn",
        }
    }
}

/// Data sets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Data {
    /// MNIST from IDX files.
    Mnist,
    /// CIFAR-10, binary version.
    Cifar10,
    /// 60×60 images with distractors, generated from MNIST.
    ClutteredMnist,
    /// Procedural 28×28 stroke glyphs (synthetic).
    Strokes,
}

impl Data {
    /// Every data set that the sweep file knows.
    pub const ALL: [Data; 4] = [Data::Mnist, Data::Cifar10, Data::ClutteredMnist, Data::Strokes];
    /// Those that are built.
    pub const AVAILABLE: [Data; 4] = Data::ALL;

    /// The name in the sweep file.
    pub const fn name(self) -> &'static str {
        match self {
            Data::Mnist => "mnist",
            Data::Cifar10 => "cifar10",
            Data::ClutteredMnist => "cluttered-mnist",
            Data::Strokes => "strokes",
        }
    }

    /// How many examples each split has, and their shape.
    pub const fn examples(self) -> Examples {
        let (train, validation, test) = match self {
            Data::Mnist | Data::ClutteredMnist => (50_000, 10_000, 10_000),
            Data::Cifar10 => (40_000, 10_000, 10_000),
            Data::Strokes => (10_000, 2_000, 2_000),
        };
        let [channels, height, width] = self.image();
        Examples { train, validation, test, inputs: channels * height * width, classes: 10 }
    }

    /// Channels, height and width of an image.
    pub const fn image(self) -> [usize; 3] {
        match self {
            Data::Mnist | Data::Strokes => [1, 28, 28],
            Data::ClutteredMnist => [1, 60, 60],
            Data::Cifar10 => [3, 32, 32],
        }
    }

    /// Version of how the examples are made from their source; part of every trial's id.
    pub const fn recipe_version(self) -> u32 {
        1
    }
}

/// The size of a data set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Examples {
    /// Training examples.
    pub train: usize,
    /// Validation examples.
    pub validation: usize,
    /// Test examples.
    pub test: usize,
    /// Numbers of one example.
    pub inputs: usize,
    /// Classes.
    pub classes: usize,
}

/// One point of the grid, without the seed. Holds exactly the parameters that have an effect on
/// this model, defaults included.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Model family.
    pub model: Model,
    /// Data set.
    pub data: Data,
    values: Box<[(Param, Value)]>,
}

impl Config {
    /// A config of these values, which must already be validated and collapsed (`params.rs`).
    pub fn new(model: Model, data: Data, values: BTreeMap<Param, Value>) -> Config {
        Config { model, data, values: values.into_iter().collect() }
    }

    /// As `new`, of values that are already sorted by parameter.
    pub(crate) fn of_sorted(model: Model, data: Data, values: Box<[(Param, Value)]>) -> Config {
        debug_assert!(values.is_sorted_by_key(|(param, _)| *param), "lookups bisect the values");
        Config { model, data, values }
    }

    /// The value of a parameter; none where it has no effect.
    pub fn get(&self, param: Param) -> Option<Value> {
        let at = self.values.binary_search_by_key(&param, |(param, _)| *param).ok()?;
        Some(self.values[at].1)
    }

    /// Every parameter with effect, sorted by name.
    pub fn values(&self) -> impl Iterator<Item = (Param, Value)> + '_ {
        self.values.iter().copied()
    }

    /// A word-valued parameter.
    pub fn word(&self, param: Param) -> Option<&'static str> {
        match self.get(param)? {
            Value::Word(word) => Some(word),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => None,
        }
    }

    /// A number, whole or not; none where it is null or has no effect.
    pub fn number(&self, param: Param) -> Option<f64> {
        match self.get(param)? {
            Value::Float(value) => Some(value),
            #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
            Value::Int(value) => Some(value as f64),
            Value::Null | Value::Bool(_) | Value::Word(_) => None,
        }
    }

    /// A whole number; none where it is null or has no effect.
    pub fn count(&self, param: Param) -> Option<usize> {
        match self.get(param)? {
            Value::Int(value) => usize::try_from(value).ok(),
            Value::Null | Value::Bool(_) | Value::Float(_) | Value::Word(_) => None,
        }
    }
}
