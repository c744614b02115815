//! Sweeps that keep no weights: a trial that they alone name leaves none on its worker's disk.

use std::collections::BTreeSet;

use common::ids::SweepName;
use common::spec::{Keep, keep_of};
use scheduler::Scheduler;
use scheduler::event::LeasedTrial;

use crate::rpc::outgoing::Leased;

/// Their names.
#[derive(Clone, Debug, Default)]
pub struct Unkept(BTreeSet<SweepName>);

impl Unkept {
    /// A sweep has this file from now on.
    pub(super) fn note(&mut self, name: &SweepName, yaml: &str) {
        if keep_of(yaml) == Keep::None {
            self.0.insert(name.clone());
        } else {
            self.0.remove(name);
        }
    }

    /// The trials of a lease, with what is to be done with their weights.
    pub(super) fn marked(&self, trials: Vec<LeasedTrial>, scheduler: &Scheduler) -> Vec<Leased> {
        let mut marked = Vec::with_capacity(trials.len());
        for trial in trials {
            let keeps_weights = self.0.is_empty()
                || scheduler
                    .sweeps_of(trial.attempt.trial)
                    .iter()
                    .any(|name| !self.0.contains(name));
            marked.push(Leased { trial, keeps_weights });
        }
        marked
    }
}
