//! From a sweep to its trials, one at a time.
//!
//! The order is that of the file: the mappings of `grid` one after the other; in each, the keys of
//! the grid in their order, then the groups of `zip`, the last one fastest; the seeds innermost.
//! Points that collapse to the same config are one config, at the place of the first.

use std::collections::HashSet;
use std::sync::Arc;

use super::space::{NONE, Point, Space};
use crate::canonical;
use crate::config::{Config, Param};
use crate::ids::TrialId;
use crate::params;

/// How many points an expansion has seen, and what became of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Points of the grid, without seeds.
    pub points: u64,
    /// Left out by `exclude`.
    pub excluded: u64,
    /// Equal to an earlier config.
    pub collapsed: u64,
    /// Distinct configs.
    pub configs: u64,
    /// Configs times seeds.
    pub trials: u64,
}

/// Goes through the points of a space, in the order of the file.
pub(crate) struct Walk {
    space: Arc<Space>,
    member: usize,
    /// Row by axis of the member; none before its first point.
    rows: Option<Vec<usize>>,
    point: Point,
}

impl Walk {
    pub fn new(space: Arc<Space>) -> Walk {
        let point = space.base;
        Walk { space, member: 0, rows: None, point }
    }

    /// The next point.
    pub fn next(&mut self) -> Option<&Point> {
        loop {
            let axes = self.space.members.get(self.member)?;
            let Some(rows) = &mut self.rows else {
                self.rows = Some(vec![0; axes.len()]);
                self.point = self.space.base;
                for axis in axes {
                    put(&mut self.point, &axis.params, axis.row(0));
                }
                return Some(&self.point);
            };
            for (axis, row) in axes.iter().zip(rows.iter_mut()).rev() {
                *row += 1;
                let done = *row < axis.len();
                if !done {
                    *row = 0;
                }
                put(&mut self.point, &axis.params, axis.row(*row));
                if done {
                    return Some(&self.point);
                }
            }
            self.member += 1;
            self.rows = None;
        }
    }
}

fn put(point: &mut Point, params: &[Param], settings: &[u32]) {
    for (param, setting) in params.iter().zip(settings) {
        point[*param as usize] = *setting;
    }
}

/// The index of the first item of `exclude` that a point matches.
pub(crate) fn exclusion(space: &Space, point: &Point) -> Option<usize> {
    space.exclude.iter().position(|item| matches(space, point, item))
}

/// Whether a point has one of the values of every key of an item.
pub(crate) fn matches(space: &Space, point: &Point, item: &super::space::Exclusion) -> bool {
    for (param, values) in &item.keys {
        let value = space.value(point, *param);
        if !values.iter().any(|excluded| Some(*excluded) == value) {
            return false;
        }
    }
    true
}

/// A sweep's trials in a stable order, made one at a time.
pub struct Expansion {
    space: Arc<Space>,
    seeds: Arc<[u64]>,
    walk: Walk,
    head: String,
    tail: String,
    /// 128 bits of the hash of every config so far.
    seen: HashSet<u128>,
    /// The config whose seeds are being given out, and the index of the next seed.
    current: Option<(Arc<Config>, blake3::Hasher, usize)>,
    text: String,
    counts: Counts,
}

impl Expansion {
    pub(crate) fn new(space: Arc<Space>, seeds: Arc<[u64]>) -> Expansion {
        Expansion {
            head: canonical::head(space.model, space.data),
            tail: canonical::tail(),
            walk: Walk::new(Arc::clone(&space)),
            space,
            seeds,
            seen: HashSet::new(),
            current: None,
            text: String::new(),
            counts: Counts::default(),
        }
    }

    /// What was seen so far; all of it once the iterator is exhausted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The next distinct config with the hasher that has read its form.
    fn next_config(&mut self) -> Option<(Arc<Config>, blake3::Hasher)> {
        while let Some(point) = self.walk.next() {
            self.counts.points += 1;
            if exclusion(&self.space, point).is_some() {
                self.counts.excluded += 1;
                continue;
            }
            let effect =
                params::with_effect(self.space.model, &|param| self.space.value(point, param));
            self.text.clear();
            self.text.push_str(&self.head);
            for param in effect.iter() {
                let setting = point[param as usize];
                assert!(setting != NONE, "a parameter with effect is one that the model has");
                self.text.push_str(&self.space.settings[setting as usize].line);
            }
            self.text.push_str(&self.tail);
            let mut hasher = blake3::Hasher::new();
            hasher.update(self.text.as_bytes());
            let mut key = [0; 16];
            hasher.finalize_xof().fill(&mut key);
            if !self.seen.insert(u128::from_be_bytes(key)) {
                self.counts.collapsed += 1;
                continue;
            }
            self.counts.configs += 1;
            let mut values = Vec::with_capacity(Param::ALL.len());
            for param in effect.iter() {
                let value = self.space.value(point, param).expect("the model has it");
                values.push((param, value));
            }
            let (model, data) = (self.space.model, self.space.data);
            let config = Config::of_sorted(model, data, values.into());
            return Some((Arc::new(config), hasher));
        }
        None
    }
}

impl Iterator for Expansion {
    type Item = (Arc<Config>, TrialId, u64);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((config, hasher, index)) = &mut self.current
                && let Some(seed) = self.seeds.get(*index)
            {
                *index += 1;
                self.counts.trials += 1;
                let id = canonical::trial_id(hasher, *seed, &mut self.text);
                return Some((Arc::clone(config), id, *seed));
            }
            let (config, hasher) = self.next_config()?;
            self.current = Some((config, hasher, 0));
        }
    }
}
