//! A config as JSON: how it goes over the wire and into the store.
//!
//! Writing is total; reading validates as the sweep file does, since a store or a peer may be of
//! another version. A parameter that is absent takes its default, and one without effect is
//! dropped, so that what an older program wrote means the same config. What is stored may
//! contradict itself: an older program accepted it, and its results stay readable.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::canonical;
use crate::config::{Config, Data, Model, Param, Value};
use crate::ids::TrialId;
use crate::params::{self, Contradiction, Rejection, Scalar, describe, printable};

/// Why a config cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not a model, or one that is not built.
    #[error("unknown model `{}`; accepted: {}", printable(.0), models())]
    Model(String),
    /// Not a data set, or one that is not built or does not fit the model.
    #[error("unknown data `{}`; accepted: {}", printable(.name), data_sets(*.model))]
    Data {
        /// The name.
        name: String,
        /// The model that would read it.
        model: Model,
    },
    /// Not a JSON object of scalars.
    #[error("parameters are not a JSON object of scalars, each key once")]
    Json(#[source] serde_json::Error),
    /// A name that the model has no parameter of.
    #[error("model `{model}` does not have the parameter `{}`", printable(.name))]
    Param {
        /// The model.
        model: &'static str,
        /// The name.
        name: String,
    },
    /// A value that the parameter does not accept.
    #[error("parameter refused")]
    Value(#[source] Rejection),
    /// Values that make no sense together.
    #[error("parameters refused")]
    Contradiction(#[source] Contradiction),
}

fn models() -> String {
    Model::AVAILABLE.map(Model::name).join(", ")
}

fn data_sets(model: Model) -> String {
    let names = params::data_of(model).iter().map(|data| data.name());
    names.collect::<Vec<_>>().join(", ")
}

impl Config {
    /// Every parameter with effect as a JSON object, sorted by name.
    pub fn to_json(&self) -> String {
        let mut json = String::from("{");
        for (param, value) in self.values() {
            let comma = if json.len() == 1 { "" } else { "," };
            let written = match value {
                Value::Null => write!(json, "{comma}\"{param}\":null"),
                Value::Bool(flag) => write!(json, "{comma}\"{param}\":{flag}"),
                Value::Int(whole) => write!(json, "{comma}\"{param}\":{whole}"),
                // Shortest form, with a point or an exponent: a finite number of JSON.
                Value::Float(number) => write!(json, "{comma}\"{param}\":{number:?}"),
                // Words come from the table and need no escapes.
                Value::Word(word) => write!(json, "{comma}\"{param}\":\"{word}\""),
            };
            written.expect("writing to a string succeeds");
        }
        json.push('}');
        json
    }

    /// Reads what `to_json` wrote; validates all of it.
    pub fn from_json(model: &str, data: &str, params_json: &str) -> Result<Config, ConfigError> {
        let point = Point::read(model, data, params_json)?;
        match params::contradiction(point.data, &|param| point.get(param)) {
            Some(contradiction) => Err(ConfigError::Contradiction(contradiction)),
            None => Ok(point.config()),
        }
    }

    /// Reads what is in a store: each value is validated, but not whether they make sense
    /// together, since the program that accepted them may have known fewer contradictions.
    pub fn from_stored(model: &str, data: &str, params_json: &str) -> Result<Config, ConfigError> {
        Ok(Point::read(model, data, params_json)?.config())
    }

    /// The canonical form: what the id of each of its trials is the hash of, but for the seed.
    pub fn canonical_form(&self) -> String {
        canonical::form(self)
    }

    /// The id of its trial with this seed.
    pub fn trial_id(&self, seed: u64) -> TrialId {
        let mut hasher = blake3::Hasher::new();
        hasher.update(canonical::form(self).as_bytes());
        canonical::trial_id(&hasher, seed, &mut String::new())
    }
}

/// Every parameter of a model with an accepted value.
struct Point {
    model: Model,
    data: Data,
    values: BTreeMap<Param, Value>,
}

impl Point {
    fn read(model: &str, data: &str, params_json: &str) -> Result<Point, ConfigError> {
        let known = Model::AVAILABLE.into_iter().find(|known| known.name() == model);
        let model = known.ok_or_else(|| ConfigError::Model(model.into()))?;
        let known = Data::AVAILABLE.into_iter().find(|known| known.name() == data);
        let data = known
            .filter(|data| params::data_of(model).contains(data))
            .ok_or_else(|| ConfigError::Data { name: data.into(), model })?;
        let object: Object = serde_json::from_str(params_json).map_err(ConfigError::Json)?;
        let mut values: BTreeMap<Param, Value> = BTreeMap::new();
        for param in params::of_model(model) {
            values.insert(param, params::default(model, param).expect("the model has it"));
        }
        for (name, value) in object.0 {
            let param = Param::from_name(&name).filter(|param| values.contains_key(param));
            let Some(param) = param else {
                return Err(ConfigError::Param { model: model.name(), name });
            };
            let value = params::info(param).check(value.scalar()).map_err(ConfigError::Value)?;
            values.insert(param, value);
        }
        Ok(Point { model, data, values })
    }

    fn get(&self, param: Param) -> Option<Value> {
        self.values.get(&param).copied()
    }

    /// With the parameters alone that have an effect.
    fn config(self) -> Config {
        let effect = params::with_effect(self.model, &|param| self.get(param));
        let Point { model, data, mut values } = self;
        values.retain(|param, _| effect.contains(*param));
        Config::new(model, data, values)
    }
}

/// A JSON object's entries; duplicate keys are an error.
struct Object(BTreeMap<String, JsonScalar>);

enum JsonScalar {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
}

impl JsonScalar {
    fn scalar(&self) -> Scalar<'_> {
        match self {
            JsonScalar::Null => Scalar::Null,
            JsonScalar::Bool(flag) => Scalar::Bool(*flag),
            JsonScalar::Int(whole) => Scalar::Int(*whole),
            JsonScalar::Float(number) => Scalar::Float(*number),
            JsonScalar::Text(text) => Scalar::Text(text),
        }
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of scalars")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, JsonScalar>()? {
            if let Some(twice) = entries.insert(key.clone(), value) {
                let message =
                    format!("key `{}` twice, first {}", printable(&key), describe(twice.scalar()));
                return Err(serde::de::Error::custom(message));
            }
        }
        Ok(Object(entries))
    }
}

impl<'de> Deserialize<'de> for JsonScalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<JsonScalar, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = JsonScalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a flag, a number or text")
    }

    fn visit_unit<E>(self) -> Result<JsonScalar, E> {
        Ok(JsonScalar::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<JsonScalar, E> {
        Ok(JsonScalar::Bool(flag))
    }

    fn visit_i64<E>(self, whole: i64) -> Result<JsonScalar, E> {
        Ok(JsonScalar::Int(whole.into()))
    }

    fn visit_u64<E>(self, whole: u64) -> Result<JsonScalar, E> {
        Ok(JsonScalar::Int(whole.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<JsonScalar, E> {
        Ok(JsonScalar::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<JsonScalar, E> {
        Ok(JsonScalar::Text(text.into()))
    }
}
