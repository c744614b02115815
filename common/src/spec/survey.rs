//! What only the points of a sweep show: gates that never open, excluded points, table axes.
//!
//! One walk over all points; a message is given once for the values that cause it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::TableSpec;
use super::diagnostic::{Problem, Problems, Span};
use super::expand::{Walk, exclusion, matches};
use super::read::Sections;
use super::space::{NONE, Place, Places, Point, Space};
use crate::config::{Param, Value};
use crate::params;

/// Gates that never open are listed up to this number of combinations.
const SHUT_GATES_MAX: usize = 5;

/// Checks the points of a space that is otherwise valid.
pub(crate) fn run(
    sections: &Sections<'_>,
    space: &Arc<Space>,
    places: &Places,
    table: &TableSpec,
    problems: &mut Problems,
) {
    let mut matched = vec![false; space.exclude.len()];
    let mut shut = BTreeSet::new();
    let mut contradictions = BTreeSet::new();
    let mut included = false;
    let mut varying = Varying::default();
    let mut walk = Walk::new(Arc::clone(space));
    while let Some(point) = walk.next() {
        if let Some(first) = exclusion(space, point) {
            for (index, matched) in matched.iter_mut().enumerate().skip(first) {
                *matched |= index == first || matches(space, point, &space.exclude[index]);
            }
            continue;
        }
        included = true;
        if shut.len() < SHUT_GATES_MAX {
            shut.extend(shut_gate(space, point));
        }
        let get = |param| space.value(point, param);
        contradictions.extend(params::contradiction(space.data, &get));
        varying.add(space, point);
    }
    for (item, matched) in space.exclude.iter().zip(&matched) {
        if !matched {
            problems.warn(Problem::new(item.at, "this item of `exclude` matches no point"));
        }
    }
    let place = |params: &[Param]| -> Span {
        let place = params.iter().find_map(|param| places.get(param));
        place.map_or(sections.top, |place: &Place| place.value_at)
    };
    for gate in shut {
        let at = place(&[Param::Epochs, Param::Tau, Param::Activation, Param::Dropout]);
        problems.error(gate.problem(at));
    }
    for contradiction in contradictions {
        let problem = Problem::new(place(contradiction.params), contradiction.problem);
        problems.error(problem.accepted(contradiction.accepted));
    }
    if !included {
        let at = sections.get("exclude").map_or(sections.top, |entry| entry.at);
        problems.error(
            Problem::new(at, "`exclude` leaves no point of the sweep").accepted("at least one"),
        );
    }
    if table.rows.is_empty() {
        return;
    }
    for param in varying.params() {
        if !table.rows.contains(&param) && !table.columns.contains(&param) {
            let at = places.get(&param).map_or(sections.top, |place| place.at);
            let message = format!("`{param}` varies and is on neither axis of `table`");
            let note = "the table at the end needs it on an axis, `--pool` or `--best-by`";
            problems.warn(Problem::new(at, message).note(note));
        }
    }
}

/// Parameters of a gradual trial whose epochs never reach gate 1.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ShutGate {
    epochs: i64,
    /// As in the canonical form, so that it can be ordered.
    tau: String,
    gate_per: &'static str,
    needed: u64,
}

impl ShutGate {
    fn problem(&self, at: Span) -> Problem {
        let ShutGate { epochs, tau, gate_per, needed } = self;
        Problem::new(
            at,
            format!("with `epochs: {epochs}` and `tau: {tau}` the gate never reaches 1"),
        )
        .note(format!(
            "with `gate_per: {gate_per}` the first eligible epoch is {needed}, so no epoch could \
             be chosen"
        ))
        .accepted(format!("epochs of at least {needed}, a smaller tau, or select: any"))
    }
}

fn shut_gate(space: &Space, point: &Point) -> Option<ShutGate> {
    let get = |param| space.value(point, param);
    if !params::is_gradual(&get) || get(Param::Select) == Some(Value::Word("any")) {
        return None;
    }
    let (Some(Value::Int(epochs)), Some(Value::Float(tau)), Some(Value::Word(gate_per))) =
        (get(Param::Epochs), get(Param::Tau), get(Param::GatePer))
    else {
        return None;
    };
    let needed = params::first_full_epoch(tau, gate_per);
    let reached = u64::try_from(epochs).is_ok_and(|epochs| epochs >= needed);
    (!reached).then(|| ShutGate { epochs, tau: Value::Float(tau).to_string(), gate_per, needed })
}

/// Which parameters take more than one value where they have an effect.
struct Varying {
    first: Point,
    varies: params::ParamSet,
}

impl Default for Varying {
    fn default() -> Varying {
        Varying { first: [NONE; Param::ALL.len()], varies: params::ParamSet::default() }
    }
}

impl Varying {
    fn add(&mut self, space: &Space, point: &Point) {
        for param in params::with_effect(space.model, &|param| space.value(point, param)).iter() {
            let setting = point[param as usize];
            let first = &mut self.first[param as usize];
            if *first == NONE {
                *first = setting;
            } else if *first != setting && !self.varies.contains(param) {
                let value = |setting: u32| space.settings[setting as usize].value;
                if value(*first) != value(setting) {
                    self.varies.insert(param);
                }
            }
        }
    }

    fn params(&self) -> impl Iterator<Item = Param> {
        self.varies.iter()
    }
}
