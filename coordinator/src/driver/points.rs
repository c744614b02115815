//! Sweeps that are stored and given again with `--set`: an override that is forgotten or added
//! between two runs would quietly turn one sweep into another, so it takes a new name.

use std::collections::BTreeSet;

use common::ids::TrialId;
use common::spec::Sweep;
use scheduler::Scheduler;

use super::Restored;

/// What is wrong with the overrides of these sweeps, given what is stored.
pub fn mistakes(restored: &Restored, sweeps: &[Sweep]) -> Vec<String> {
    let mut mistakes = Vec::new();
    for sweep in sweeps.iter().filter(|sweep| sweep.are_points_set) {
        // A cut off expansion did not come to all of its trials.
        let cut_off = restored.unexpanded.iter().find(|stored| stored.name == sweep.name);
        let target = if sweeps.len() > 1 { format!("{}:", sweep.name) } else { String::new() };
        let mistake = match cut_off {
            Some(stored) => difference(sweep, &trials(stored), &target),
            None => difference_to_members(&restored.scheduler, sweep, &target),
        };
        mistakes.extend(mistake.map(|mistake| format!("error: {mistake}")));
    }
    mistakes
}

/// As `mistakes`, of one sweep.
pub(super) fn mistake(scheduler: &Scheduler, sweep: &Sweep) -> Option<String> {
    sweep.are_points_set.then(|| difference_to_members(scheduler, sweep, "")).flatten()
}

fn difference_to_members(scheduler: &Scheduler, sweep: &Sweep, target: &str) -> Option<String> {
    let stored = scheduler.members(&sweep.name)?.into_iter().collect();
    difference(sweep, &stored, target)
}

fn difference(sweep: &Sweep, stored: &BTreeSet<TrialId>, target: &str) -> Option<String> {
    let given = trials(sweep);
    let (added, removed) = (given.difference(stored).count(), stored.difference(&given).count());
    if added == 0 && removed == 0 {
        return None;
    }
    Some(format!(
        "--set changes the points of the sweep `{}` that the state directory has: {added} would be \
         added and {removed} removed of {}; `--set {target}name=NEW` makes them a sweep of their \
         own",
        sweep.name,
        stored.len()
    ))
}

fn trials(sweep: &Sweep) -> BTreeSet<TrialId> {
    sweep.expand().map(|(_, id, _)| id).collect()
}
