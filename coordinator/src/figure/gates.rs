//! The gate beneath learning curves: a line per schedule, however many configs have it.

use std::cmp::Reverse;

use super::epochs::{Histories, Moments};

/// A way in which the gate opens.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Schedule {
    /// That have it, in order.
    pub groups: Vec<usize>,
    /// By epoch, as far as the longest of them goes.
    pub curve: Vec<(f64, Moments)>,
}

/// The distinct schedules, in the order of their first groups.
pub(super) fn schedules(histories: &Histories) -> Vec<Schedule> {
    let curves = (0..histories.groups.len()).map(|group| (group, histories.curve(group, "gate")));
    let mut curves: Vec<_> = curves.filter(|(_, curve)| !curve.is_empty()).collect();
    // A shorter one that agrees with a longer one is the start of it.
    curves.sort_by_key(|(_, curve)| Reverse(curve.len()));
    let mut schedules: Vec<Schedule> = Vec::new();
    for (group, curve) in curves {
        match schedules.iter_mut().find(|it| agree(&it.curve, &curve)) {
            Some(schedule) => schedule.groups.push(group),
            None => schedules.push(Schedule { groups: vec![group], curve }),
        }
    }
    for schedule in &mut schedules {
        schedule.groups.sort_unstable();
    }
    schedules.sort_by_key(|schedule| schedule.groups[0]);
    schedules
}

/// Whether all of the shorter one lies on the longer one.
fn agree(long: &[(f64, Moments)], short: &[(f64, Moments)]) -> bool {
    const NEAR: f64 = 1e-6;
    short.iter().all(|(epoch, moments)| {
        let at = long.binary_search_by(|(other, _)| other.total_cmp(epoch));
        at.is_ok_and(|at| (long[at].1.mean - moments.mean).abs() < NEAR)
    })
}

/// What the configs of a schedule have in common and others have not, such as `gate: tau 5`.
/// `settings` has the texts of each config, by parameter.
pub(super) fn label(schedule: &Schedule, params: &[String], settings: &[Vec<String>]) -> String {
    let groups = &schedule.groups;
    let first = &settings[groups[0]];
    let is_own = |at: &usize| {
        groups.iter().all(|group| settings[*group][*at] == first[*at])
            && settings.iter().any(|other| other[*at] != first[*at])
    };
    let own: Vec<String> =
        (0..first.len()).filter(is_own).map(|at| format!("{} {}", params[at], first[at])).collect();
    match own.is_empty() {
        true => format!("gate: {} and {} more", first.join(", "), groups.len() - 1),
        false => format!("gate: {}", own.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_say_what_the_configs_of_a_schedule_have_in_common() {
        let texts = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<String>>();
        let settings = [["relu", "2"], ["relu", "20"], ["grelu", "2"], ["grelu", "20"]];
        let settings: Vec<Vec<String>> = settings.iter().map(|it| texts(it)).collect();
        let of = |groups: &[usize]| Schedule { groups: groups.to_vec(), curve: Vec::new() };
        let params = texts(&["activation", "depth"]);
        assert_eq!(label(&of(&[2, 3]), &params, &settings), "gate: activation grelu");
        assert_eq!(label(&of(&[0, 3]), &params, &settings), "gate: relu, 2 and 1 more");
    }
}
