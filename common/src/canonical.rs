//! The canonical form of a trial, and its id.
//!
//! One line for the model, one for the data with the version of its recipe, one for each parameter
//! that is not at its default (sorted by name, numbers in their shortest form), one for the results
//! schema, and the seed last, so that the seeds of a config share the hashing of all but one line.
//! A default is left out: a parameter that the program learns later re-identifies nothing. Any
//! change here makes every stored result unreachable; golden ids are tested.

use std::fmt::Write as _;

use crate::config::{Config, Data, Model, Param, RESULTS_SCHEMA_VERSION, Value};
use crate::ids::TrialId;
use crate::params;

/// The lines before those of the parameters.
pub(crate) fn head(model: Model, data: Data) -> String {
    format!("model={}\ndata={} {}\n", model.name(), data.name(), data.recipe_version())
}

/// A parameter's line; none at its default.
pub(crate) fn line(model: Model, param: Param, value: Value) -> Option<String> {
    (params::default(model, param) != Some(value)).then(|| format!("{param}={value}\n"))
}

/// The line after those of the parameters.
pub(crate) fn tail() -> String {
    format!("schema={RESULTS_SCHEMA_VERSION}\n")
}

/// The canonical form of a config: all but the seed's line.
pub(crate) fn form(config: &Config) -> String {
    let mut form = head(config.model, config.data);
    for (param, value) in config.values() {
        form.extend(line(config.model, param, value));
    }
    form.push_str(&tail());
    form
}

/// The id of a config's trial, from the hasher that has read the config's form.
pub(crate) fn trial_id(hasher: &blake3::Hasher, seed: u64, line: &mut String) -> TrialId {
    line.clear();
    writeln!(line, "seed={seed}").expect("writing to a string succeeds");
    let mut hasher = hasher.clone();
    hasher.update(line.as_bytes());
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    TrialId(u64::from_be_bytes(first))
}
