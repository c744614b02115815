//! What a sweep says of its results before they are there: two configs and how a metric of theirs
//! compares. `spec` reads it from the sweep file; whether it held is for whoever has the results.

use crate::config::{Param, Value};

/// The share of trials that diverged: a quantity for expectations alone, since a diverged trial
/// has no other result.
pub const DIVERGED: &str = "diverged";

/// How sure an interval is where the sweep file does not say.
pub const CONFIDENCE: f64 = 0.95;

/// What is claimed of the difference of means, first side minus second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Relation {
    /// `less` and `than`: it is below 0.
    Less,
    /// `similar` and `to`: it is from `-within` to `within`.
    Similar {
        /// Above 0, in the metric's unit.
        within: f64,
    },
}

impl Relation {
    /// The keys of the two sides in the sweep file.
    pub const fn sides(self) -> [&'static str; 2] {
        match self {
            Relation::Less => ["less", "than"],
            Relation::Similar { .. } => ["similar", "to"],
        }
    }
}

/// Parameters with the values that they may have.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Selector(pub Vec<(Param, Vec<Value>)>);

impl Selector {
    /// Whether every parameter has one of its values; one that has no effect has none.
    pub fn matches(&self, get: impl Fn(Param) -> Option<Value>) -> bool {
        self.0.iter().all(|(param, values)| get(*param).is_some_and(|it| values.contains(&it)))
    }
}

/// A claim about the results of a sweep.
#[derive(Clone, PartialEq, Debug)]
pub struct Expectation {
    /// In the words of the sweep file.
    pub claim: String,
    /// One of `spec::METRICS`, or `DIVERGED`.
    pub metric: &'static str,
    /// What is claimed.
    pub relation: Relation,
    /// What the configs of both sides have.
    pub common: Selector,
    /// What the config of each side has besides; `relation` has their names.
    pub sides: [Selector; 2],
    /// One of `spec::METRICS_TO_CHOOSE_BY`: of several configs that match a side, the one with
    /// the lowest mean of it is meant.
    pub best_by: Option<&'static str>,
    /// Of the interval of the difference, from 0.5 to 0.999.
    pub confidence: f64,
}

impl Expectation {
    /// Whether a config, given by its parameters with effect, is one that a side means.
    pub fn matches(&self, side: usize, get: impl Fn(Param) -> Option<Value>) -> bool {
        self.common.matches(&get) && self.sides[side].matches(&get)
    }
}
