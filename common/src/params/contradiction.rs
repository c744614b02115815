//! Combinations of values that are each accepted and make no sense together.

use crate::config::{Data, Param, Value};

/// Why a point makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
#[error("{problem}; accepted: {accepted}")]
pub struct Contradiction {
    /// The parameters that contradict each other; the first one is to blame.
    pub params: &'static [Param],
    /// What is wrong.
    pub problem: &'static str,
    /// What would make sense.
    pub accepted: &'static str,
}

const LINEAR_NIN: Contradiction = Contradiction {
    params: &[Param::Conv, Param::Activation],
    problem: "a 1×1 convolution after a linear one is no network in network: with `activation: \
              identity` both are one convolution",
    accepted: "conv: plain, or an activation that is not linear",
};

const MIRRORED_DIGITS: Contradiction = Contradiction {
    params: &[Param::AugmentFlip],
    problem: "a mirrored digit is not that digit: `augment_flip: true`, the default of `cnn`, \
              trains on wrong labels",
    accepted: "augment_flip: false with digits, or data: cifar10",
};

const GRADUAL_PROBE: Contradiction = Contradiction {
    params: &[Param::Dropout],
    problem: "a probe raises the dropout over all epochs, and another gradual component would \
              ramp with it: the rate that it finds would not be that of the final network",
    accepted: "dropout: probe with components that are not gradual",
};

/// What makes no sense at a point; `get` gives every parameter that the model has.
pub fn contradiction(data: Data, get: &impl Fn(Param) -> Option<Value>) -> Option<Contradiction> {
    let is = |param, word| get(param) == Some(Value::Word(word));
    let is_nin = is(Param::Conv, "nin") || is(Param::Conv, "conv_to_nin");
    if is_nin && is(Param::Activation, "identity") {
        return Some(LINEAR_NIN);
    }
    if get(Param::AugmentFlip) == Some(Value::Bool(true)) && data != Data::Cifar10 {
        return Some(MIRRORED_DIGITS);
    }
    if is(Param::Dropout, "probe") && super::is_gradual(get) {
        return Some(GRADUAL_PROBE);
    }
    None
}
