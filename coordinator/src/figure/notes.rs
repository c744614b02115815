//! What a figure says about itself: what its spread is, and what is not in it.

use super::cells::{Axes, Cell};
use super::request::YScale;
use super::trials::{CONFIGS_MAX, Counts, Trials, VALUES_MAX};
use super::words::{counted, listed, param};

/// The sentences below a figure of trials.
pub(super) fn of_trials(
    trials: &Trials,
    axes: &Axes,
    cells: &[Cell],
    best_by: &str,
) -> Vec<String> {
    let mut notes = Vec::new();
    if !axes.pool.is_empty() {
        let mut pooled = vec!["seeds".to_owned()];
        pooled.extend(axes.pool.iter().map(|at| param(&trials.params()[*at])));
        notes.push(format!("Replicates are {}.", listed(&pooled)));
    }
    if !axes.choice.is_empty() {
        let chosen: Vec<String> =
            axes.choice.iter().map(|at| param(&trials.params()[*at])).collect();
        notes.push(format!("Of {} those with the lowest {best_by} are shown.", listed(&chosen)));
    }
    let mut counts = Counts::default();
    for cell in cells {
        counts.add(cell.counts);
    }
    notes.extend(lost(counts, true));
    if trials.left_out > 0 {
        let left_out = counted(trials.left_out, "trial");
        notes.push(format!(
            "The first {CONFIGS_MAX} configs and {VALUES_MAX} values are shown; {left_out} beyond \
             them are left out."
        ));
    }
    notes
}

/// What a logarithmic axis cannot show. `below` are means less their deviations.
pub(super) fn of_log(
    asked: YScale,
    least: f64,
    is_log: bool,
    mut below: impl Iterator<Item = f64>,
) -> Option<String> {
    if asked == YScale::Log && least <= 0.0 {
        return Some("Values of 0 have no place on a logarithmic axis.".into());
    }
    let is_cut = is_log && below.any(|end| end <= 0.0);
    is_cut.then(|| "A deviation down to 0 or less goes beyond the logarithmic axis.".into())
}

/// Trials that are in no mean.
pub(super) fn lost(counts: Counts, with_unfinished: bool) -> Option<String> {
    let unfinished = if with_unfinished { counts.unfinished } else { 0 };
    let kinds = [
        (counts.diverged, "diverged"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
        (unfinished, "unfinished"),
    ];
    let some = kinds.into_iter().filter(|(count, _)| *count > 0);
    let words: Vec<String> = some.map(|(count, kind)| format!("{count} {kind}")).collect();
    let trials =
        if counts.lost() + counts.cancelled + unfinished == 1 { "trial" } else { "trials" };
    (!words.is_empty()).then(|| format!("Not in the mean: {} {trials}.", listed(&words)))
}

/// `Mean of 2 trials`, `Mean of 1 to 3 trials`, `One trial each`.
pub(super) fn replicates(
    statistic: &str,
    counts: impl IntoIterator<Item = usize>,
) -> Option<String> {
    let mut least = usize::MAX;
    let mut most = 0;
    for count in counts.into_iter().filter(|count| *count > 0) {
        (least, most) = (least.min(count), most.max(count));
    }
    match (least, most) {
        (_, 0) => None,
        (1, 1) => Some("One trial each".into()),
        (least, most) if least == most => Some(format!("{statistic} of {most} trials")),
        (least, most) => Some(format!("{statistic} of {least} to {most} trials")),
    }
}

/// Why there is nothing to see.
pub(super) fn nothing(trials: &Trials) -> String {
    let counts = trials.counts();
    let ended = lost(counts, true).map_or(String::new(), |text| format!(" {text}"));
    match trials.configs().is_empty() {
        true => "There are no such trials.".into(),
        false => format!("No trial has a result yet.{ended}"),
    }
}
