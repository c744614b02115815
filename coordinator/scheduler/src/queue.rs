//! A sweep's pending trials: in order, and by fusion key.
//!
//! Taking a cohort costs the logarithm of what waits, never a scan: `heads` holds the first trial
//! of each fusion key, so the first of all is at hand, and those it can train with follow it in
//! their own queue.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::KeyIndex;
use crate::trial::TrialIndex;

/// Order in the queue: the rank, then the trial where ranks are equal.
pub(crate) type Ticket = (i64, TrialIndex);

/// Pending trials of one sweep.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    by_key: BTreeMap<KeyIndex, BTreeSet<Ticket>>,
    heads: BTreeSet<(Ticket, KeyIndex)>,
}

impl Queue {
    /// Adds a trial that is not in the queue.
    pub fn insert(&mut self, key: KeyIndex, ticket: Ticket) {
        let tickets = self.by_key.entry(key).or_default();
        let head = tickets.first().copied();
        let added = tickets.insert(ticket);
        assert!(added, "a trial waits once in a queue");
        if head.is_none_or(|head| ticket < head) {
            self.heads.insert((ticket, key));
            if let Some(head) = head {
                self.heads.remove(&(head, key));
            }
        }
    }

    /// Removes a trial that is in the queue.
    pub fn remove(&mut self, key: KeyIndex, ticket: Ticket) {
        let tickets = self.by_key.get_mut(&key).expect("a queued trial's key has a queue");
        let removed = tickets.remove(&ticket);
        assert!(removed, "a trial that leaves the queue was in it");
        let next = tickets.first().copied();
        if next.is_none() {
            self.by_key.remove(&key);
        }
        if self.heads.remove(&(ticket, key))
            && let Some(next) = next
        {
            self.heads.insert((next, key));
        }
    }

    /// By fusion key, those with the first trials first: the trials in order.
    pub fn kinds(&self) -> impl Iterator<Item = impl Iterator<Item = TrialIndex> + '_> + '_ {
        self.heads.iter().map(|(_, key)| self.by_key[key].iter().map(|(_, trial)| *trial))
    }

    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Every waiting trial with its key; for checking.
    pub fn iter(&self) -> impl Iterator<Item = (KeyIndex, Ticket)> + '_ {
        self.by_key
            .iter()
            .flat_map(|(key, tickets)| tickets.iter().map(move |ticket| (*key, *ticket)))
    }

    /// The head of each fusion key is the first of its queue, and no queue is empty.
    pub fn heads_match(&self) -> bool {
        let mut heads = BTreeSet::new();
        for (key, tickets) in &self.by_key {
            let Some(first) = tickets.first() else { return false };
            heads.insert((*first, *key));
        }
        heads == self.heads
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::Catalog;

    fn keys() -> Vec<KeyIndex> {
        use common::config::{Config, Data, Model, Param, Value};
        let mut catalog = Catalog::default();
        let mut keys = Vec::new();
        for width in 1..4 {
            let values = BTreeMap::from([(Param::Width, Value::Int(width))]);
            let config = Config::new(Model::Mlp, Data::Strokes, values);
            let index = catalog.intern(&std::sync::Arc::new(config));
            keys.push(catalog.entry(index).key);
        }
        keys
    }

    proptest! {
        #[test]
        fn queue_agrees_with_a_sorted_list(
            actions in prop::collection::vec((0..3_usize, -5..5_i64, 0..6_usize), 0..60),
        ) {
            let keys = keys();
            let mut queue = Queue::default();
            let mut model: BTreeSet<(Ticket, KeyIndex)> = BTreeSet::new();
            for (key, rank, trial) in actions {
                let (key, ticket) = (keys[key], (rank, TrialIndex::new(trial)));
                if model.remove(&(ticket, key)) {
                    queue.remove(key, ticket);
                } else {
                    queue.insert(key, ticket);
                    model.insert((ticket, key));
                }
                prop_assert!(queue.heads_match());
                let mut sorted: Vec<_> = queue.iter().collect();
                sorted.sort_by_key(|(key, ticket)| (*ticket, *key));
                let expected: Vec<_> = model.iter().map(|(t, k)| (*k, *t)).collect();
                prop_assert_eq!(sorted, expected);
                let first = queue.kinds().next().and_then(|mut trials| trials.next());
                prop_assert_eq!(first, model.first().map(|((_, trial), _)| *trial));
            }
        }
    }
}
