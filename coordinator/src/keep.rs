//! Whose weights are kept: a pure function of what a sweep asks for and of its results.

use std::cmp::Ordering;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

use common::ids::TrialId;
use common::spec::Keep;

/// A completed trial of a sweep.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Completed {
    /// The trial.
    pub trial: TrialId,
    /// What tells its config from the others of the sweep.
    pub config: i64,
    /// At its best epoch; none where it is no number, and then it is no best trial.
    pub val_error: Option<f64>,
    /// When its outcome was stored.
    pub ended_unix_ms: u64,
}

/// A completed trial by how good it is: the least is the best, and of equal errors the earliest, so
/// that one that is kept is displaced by a better one alone.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Ranked {
    error: f64,
    ended_unix_ms: u64,
    trial: TrialId,
}

impl Eq for Ranked {}

impl Ord for Ranked {
    fn cmp(&self, other: &Ranked) -> Ordering {
        let rest = |ranked: &Ranked| (ranked.ended_unix_ms, ranked.trial);
        self.error.total_cmp(&other.error).then_with(|| rest(self).cmp(&rest(other)))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Ranked) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Completed {
    fn ranked(&self) -> Option<Ranked> {
        let Completed { trial, ended_unix_ms, .. } = *self;
        let error = self.val_error.filter(|error| !error.is_nan())?;
        Some(Ranked { error, ended_unix_ms, trial })
    }
}

/// Gathers a sweep's completed trials, in any order, and says which of them it keeps.
#[derive(Debug)]
pub struct Keeper {
    keep: Keep,
    all: BTreeSet<TrialId>,
    best: HashMap<i64, Ranked>,
    /// The worst of them first.
    top: BinaryHeap<Ranked>,
}

impl Keeper {
    /// For a sweep that asks for this.
    pub fn new(keep: Keep) -> Keeper {
        Keeper { keep, all: BTreeSet::new(), best: HashMap::new(), top: BinaryHeap::new() }
    }

    /// Takes a completed trial.
    pub fn add(&mut self, completed: Completed) {
        match (self.keep, completed.ranked()) {
            (Keep::All, _) => {
                self.all.insert(completed.trial);
            }
            (Keep::Best, Some(ranked)) => {
                let best = self.best.entry(completed.config).or_insert(ranked);
                *best = ranked.min(*best);
            }
            (Keep::Top(count), Some(ranked)) => {
                self.top.push(ranked);
                if self.top.len() > count as usize {
                    self.top.pop();
                }
            }
            (Keep::None, _) | (Keep::Best | Keep::Top(_), None) => {}
        }
    }

    /// Those that are kept.
    pub fn kept(self) -> BTreeSet<TrialId> {
        let mut kept = self.all;
        kept.extend(self.best.into_values().map(|ranked| ranked.trial));
        kept.extend(self.top.into_iter().map(|ranked| ranked.trial));
        kept
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(keep: Keep, completed: &[Completed]) -> BTreeSet<TrialId> {
        let mut keeper = Keeper::new(keep);
        completed.iter().for_each(|completed| keeper.add(*completed));
        keeper.kept()
    }

    fn of(trial: u64, config: i64, val_error: f64, ended_unix_ms: u64) -> Completed {
        let val_error = Some(val_error);
        Completed { trial: TrialId(trial), config, val_error, ended_unix_ms }
    }

    fn trials(ids: &[u64]) -> BTreeSet<TrialId> {
        ids.iter().copied().map(TrialId).collect()
    }

    #[test]
    fn the_lowest_error_of_each_config_is_kept_and_of_equal_ones_the_earlier() {
        let all = [
            of(1, 1, 0.2, 5),
            of(2, 1, 0.1, 9),
            of(3, 1, 0.1, 7),
            of(4, 2, 0.9, 1),
            of(5, 2, 0.9, 1),
        ];
        assert_eq!(kept(Keep::Best, &all), trials(&[3, 4]));
        assert_eq!(kept(Keep::Top(1), &all), trials(&[3]));
        assert_eq!(kept(Keep::Top(3), &all), trials(&[1, 2, 3]));
        assert_eq!(kept(Keep::All, &all), trials(&[1, 2, 3, 4, 5]));
        assert_eq!(kept(Keep::None, &all), trials(&[]));
    }

    #[test]
    fn a_trial_without_a_number_is_no_best_one() {
        let none = Completed { val_error: None, ..of(1, 1, 0.0, 1) };
        let all = [none, of(2, 2, f64::NAN, 1)];
        assert_eq!(kept(Keep::Best, &all), trials(&[]));
        assert_eq!(kept(Keep::Top(2), &all), trials(&[]));
        assert_eq!(kept(Keep::All, &all), trials(&[1, 2]));
    }

    /// A few configs and errors, so that ties are frequent.
    fn results() -> impl Strategy<Value = Vec<Completed>> {
        let one = (0..4i64, 0..4u8, 0..3u64, prop::bool::weighted(0.9));
        prop::collection::vec(one, 0..40).prop_map(|drawn| {
            let completed = |(trial, (config, error, ended, has)): (u64, (i64, u8, u64, bool))| {
                let val_error = has.then(|| f64::from(error) / 4.0);
                Completed { trial: TrialId(trial), config, val_error, ended_unix_ms: ended }
            };
            (0..).zip(drawn).map(completed).collect()
        })
    }

    proptest! {
        /// By the definition: a trial is kept where fewer are better than may be kept.
        #[test]
        fn exactly_the_wanted_are_kept_in_whatever_order_they_come(
            results in results(),
            count in 1..6u32,
            rotated in 0..40usize,
        ) {
            let better = |than: &Completed, in_config: bool| {
                let is_rival = |it: &&Completed| !in_config || it.config == than.config;
                let rivals = results.iter().filter(is_rival);
                let quarters = |of: &Completed| of.val_error.map(|error| (error * 4.0) as u8);
                let key = |of: &Completed| (quarters(of), of.ended_unix_ms, of.trial);
                rivals.filter(|rival| rival.val_error.is_some() && key(rival) < key(than)).count()
            };
            let wanted = |is_wanted: &dyn Fn(&Completed) -> bool| {
                let wanted = results.iter().filter(|of| is_wanted(of));
                wanted.map(|of| of.trial).collect::<BTreeSet<_>>()
            };
            let mut shuffled = results.clone();
            if !shuffled.is_empty() {
                let middle = rotated % shuffled.len();
                shuffled.rotate_left(middle);
            }
            let has = |of: &Completed| of.val_error.is_some();
            let best = wanted(&|of| has(of) && better(of, true) == 0);
            prop_assert_eq!(kept(Keep::Best, &shuffled), best);
            let top = wanted(&|of| has(of) && better(of, false) < count as usize);
            prop_assert_eq!(kept(Keep::Top(count), &shuffled), top);
            prop_assert_eq!(kept(Keep::All, &shuffled).len(), results.len());
            prop_assert!(kept(Keep::None, &shuffled).is_empty());
        }
    }
}
