//! Sweeps that are stored and given again with `--set`: an override that is forgotten or added
//! between two runs would quietly turn one sweep into another, so it takes a new name.

use std::collections::BTreeSet;

use common::ids::{SweepName, TrialId};
use common::spec::Sweep;

use crate::driver::Restored;

/// What is wrong with the overrides of these sweeps, given what is stored.
pub(super) fn mistakes(restored: &Restored, sweeps: &[Sweep]) -> Vec<String> {
    let mut mistakes = Vec::new();
    for sweep in sweeps.iter().filter(|sweep| sweep.are_points_set) {
        let Some(stored) = stored(restored, &sweep.name) else { continue };
        let given = trials(sweep);
        let (added, removed) =
            (given.difference(&stored).count(), stored.difference(&given).count());
        if added == 0 && removed == 0 {
            continue;
        }
        let name = &sweep.name;
        let target = if sweeps.len() > 1 { format!("{name}:") } else { String::new() };
        mistakes.push(format!(
            "error: --set changes the points of the sweep `{name}` that the state directory has: \
             {added} would be added and {removed} removed of {}; `--set {target}name=NEW` makes \
             them a sweep of their own",
            stored.len()
        ));
    }
    mistakes
}

fn trials(sweep: &Sweep) -> BTreeSet<TrialId> {
    sweep.expand().map(|(_, id, _)| id).collect()
}

/// The trials of a stored sweep, those that a cut off expansion did not come to included.
fn stored(restored: &Restored, name: &SweepName) -> Option<BTreeSet<TrialId>> {
    match restored.unexpanded.iter().find(|sweep| sweep.name == *name) {
        Some(sweep) => Some(trials(sweep)),
        None => Some(restored.scheduler.members(name)?.into_iter().collect()),
    }
}
