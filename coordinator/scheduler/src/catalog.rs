//! Configs, each held once, with what the scheduler derives from them: the fusion key, the depth
//! and the cost of an epoch.
//!
//! Trials point into the catalog by index, so that a million of them stay small. Nothing leaves it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use common::config::{Config, Data, Model, Param, Value};
use common::params;
use common::work::Work;

/// A config in the catalog.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ConfigIndex(u32);

/// A fusion key in the catalog: trials of one key can train together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct KeyIndex(u32);

/// A config and what follows from it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The config.
    pub config: Arc<Config>,
    /// What must be equal in a cohort.
    pub key: KeyIndex,
    /// Hidden layers.
    pub depth: u32,
    /// Epochs of a trial that does not stop early.
    pub epochs_max: u32,
    /// Work of an epoch in an arbitrary unit, at least 1.
    pub epoch_cost: u64,
    /// Epochs before the gate's end may be chosen.
    pub selects_any: bool,
}

/// A value with a total order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Part {
    Absent,
    Null,
    Bool(bool),
    Int(i64),
    FloatBits(u64),
    Word(&'static str),
}

impl From<Option<Value>> for Part {
    fn from(value: Option<Value>) -> Part {
        match value {
            None => Part::Absent,
            Some(Value::Null) => Part::Null,
            Some(Value::Bool(value)) => Part::Bool(value),
            Some(Value::Int(value)) => Part::Int(value),
            Some(Value::Float(value)) => Part::FloatBits(value.to_bits()),
            Some(Value::Word(value)) => Part::Word(value),
        }
    }
}

type FusionKey = (Model, Data, Vec<Part>);

/// Every config that a trial has, once.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    entries: Vec<Entry>,
    by_hash: BTreeMap<u64, ConfigIndex>,
    /// By the address of an entry's own config, which stays while the entry does: most configs
    /// come again as the same value.
    by_address: BTreeMap<usize, ConfigIndex>,
    keys: BTreeMap<FusionKey, KeyIndex>,
}

impl Catalog {
    /// What is known of a config.
    pub fn entry(&self, index: ConfigIndex) -> &Entry {
        &self.entries[index.0 as usize]
    }

    /// The place of an equal config, which is added where there is none.
    pub fn intern(&mut self, config: &Arc<Config>) -> ConfigIndex {
        // The seeds of a config follow each other, but not when they come from the store.
        if let Some(last) = self.entries.last()
            && Arc::ptr_eq(&last.config, config)
        {
            return self.index_of(self.entries.len() - 1);
        }
        let address = Arc::as_ptr(config).addr();
        if let Some(&index) = self.by_address.get(&address) {
            return index;
        }
        let mut hash = hash_of(config);
        while let Some(&index) = self.by_hash.get(&hash) {
            if self.entry(index).config == *config {
                return index;
            }
            hash = hash.wrapping_add(1);
        }
        let index = self.index_of(self.entries.len());
        self.by_hash.insert(hash, index);
        self.by_address.insert(address, index);
        let key = self.key_of(config);
        self.entries.push(Entry {
            config: config.clone(),
            key,
            depth: count(config, Param::Depth).unwrap_or(0),
            epochs_max: count(config, Param::Epochs).unwrap_or(1),
            epoch_cost: epoch_cost(config),
            selects_any: config.word(Param::Select) == Some("any"),
        });
        index
    }

    fn index_of(&self, place: usize) -> ConfigIndex {
        ConfigIndex(u32::try_from(place).expect("fewer than 2^32 configs"))
    }

    fn key_of(&mut self, config: &Config) -> KeyIndex {
        let parts = params::fusion_key(config).map(Part::from).to_vec();
        let next = KeyIndex(u32::try_from(self.keys.len()).expect("fewer than 2^32 fusion keys"));
        *self.keys.entry((config.model, config.data, parts)).or_insert(next)
    }
}

fn hash_of(config: &Config) -> u64 {
    let mut hasher = DefaultHasher::new();
    (config.model, config.data).hash(&mut hasher);
    for (param, value) in config.values() {
        (param, Part::from(Some(value))).hash(&mut hasher);
    }
    hasher.finish()
}

fn count(config: &Config, param: Param) -> Option<u32> {
    config.count(param).map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

/// Millions of multiplications of an epoch, roughly: what matters is the ratio between configs.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts saturate")]
fn epoch_cost(config: &Config) -> u64 {
    let examples = config.count(Param::TrainExamples).unwrap_or(config.data.examples().train);
    let multiplications = Work::of(config).multiplications as u64;
    (multiplications.saturating_mul(examples as u64) / 1_000_000).max(1)
}
