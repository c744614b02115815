//! Which configs of the sweep the sides of an expectation mean: exactly one each, unless `best_by`
//! chooses among several. One walk over the points, a second only where a side means none.

use std::sync::Arc;

use super::{Key, Side, Stated};
use crate::config::{Param, Value};
use crate::params::{self, ParamSet, nearest};
use crate::spec::Options;
use crate::spec::diagnostic::{Problem, Problems};
use crate::spec::expand::{Walk, exclusion};
use crate::spec::space::{Point, Space};

/// Values of a parameter that a message lists.
const VALUES_SHOWN: usize = 12;

/// Checks that the sides mean configs of the sweep; the space is otherwise valid.
pub(crate) fn check(
    space: &Arc<Space>,
    stated: &[Stated],
    options: &Options,
    problems: &mut Problems,
) {
    if stated.is_empty() {
        return;
    }
    let mut found: Vec<[Found; 2]> = stated.iter().map(|_| Default::default()).collect();
    for_each_point(space, |point, effect| {
        for (stated, found) in stated.iter().zip(&mut found) {
            for (side, found) in stated.sides.iter().zip(found) {
                found.add(space, point, effect, side);
            }
        }
    });
    for (stated, found) in stated.iter().zip(&found) {
        let mut reported: Vec<Problem> = Vec::new();
        for (side, found) in stated.sides.iter().zip(found) {
            let problem = match found.first {
                None => found.why_none(space, side),
                Some(_) if stated.expectation.best_by.is_none() && found.varies.is_some() => {
                    found.why_several(side)
                }
                Some(_) => continue,
            };
            // What is wrong in `where` is wrong for both sides, and said once.
            if !reported.contains(&problem) {
                problems.error(with_hint(problem.clone(), options));
                reported.push(problem);
            }
        }
        let [first, second] = found;
        if reported.is_empty() && first.is_same(second) {
            let [one, other] = &stated.sides;
            let message = format!("`{}` and `{}` are the same config", one.name, other.name);
            let problem = Problem::new(other.at, message).related(one.at, "first here");
            problems.error(with_hint(problem.accepted("two different configs"), options));
        }
    }
}

/// Every point that is not excluded, with the parameters that have an effect there.
fn for_each_point(space: &Arc<Space>, mut each: impl FnMut(&Point, ParamSet)) {
    let mut walk = Walk::new(Arc::clone(space));
    while let Some(point) = walk.next() {
        if exclusion(space, point).is_none() {
            let effect = params::with_effect(space.model, &|param| space.value(point, param));
            each(point, effect);
        }
    }
}

fn with_hint(problem: Problem, options: &Options) -> Problem {
    if options.overlay.is_none() && options.sets.is_empty() {
        return problem;
    }
    problem.note("an overlay or --set that changes the points may replace `expect` as well")
}

type Settings = [Option<Value>; Param::ALL.len()];

/// What a side was found to mean.
#[derive(Default)]
struct Found {
    /// The first config.
    first: Option<Settings>,
    /// A parameter that another one has differently.
    varies: Option<Param>,
    /// Parameters of the side without effect, at a point that matches but for that.
    without_effect: Option<ParamSet>,
}

impl Found {
    fn add(&mut self, space: &Space, point: &Point, effect: ParamSet, side: &Side) {
        let mut without_effect = ParamSet::default();
        for key in &side.keys {
            if !space.value(point, key.param).is_some_and(|value| key.values.contains(&value)) {
                return;
            }
            if !effect.contains(key.param) {
                without_effect.insert(key.param);
            }
        }
        if without_effect != ParamSet::default() {
            self.without_effect.get_or_insert(without_effect);
            return;
        }
        let setting = |param| space.value(point, param).filter(|_| effect.contains(param));
        let first = self.first.get_or_insert_with(|| Param::ALL.map(setting));
        if self.varies.is_none() {
            let differs = |param: &Param| first[*param as usize] != setting(*param);
            // One that only some configs have depends on another, which is the one to name.
            let both = |param: &Param| differs(param) && effect.contains(*param);
            let both = |param: &Param| both(param) && first[*param as usize].is_some();
            let all = || Param::ALL.into_iter();
            self.varies = all().find(both).or_else(|| all().find(differs));
        }
    }

    /// Both mean one config, and it is the same.
    fn is_same(&self, other: &Found) -> bool {
        self.first == other.first && self.varies.is_none() && other.varies.is_none()
    }

    fn why_several(&self, side: &Side) -> Problem {
        let param = self.varies.expect("several configs differ in a parameter");
        let name = side.name;
        Problem::new(side.at, format!("`{name}` matches several configs: `{param}` varies"))
            .accepted(format!("one config: name `{param}` in `where` or in `{name}`"))
            .note("`best_by: val_error` takes the config with the lowest mean of that metric")
    }

    fn why_none(&self, space: &Arc<Space>, side: &Side) -> Problem {
        for (at, key) in side.keys.iter().enumerate() {
            let there = values_of(space, key.param);
            if !key.values.iter().any(|value| there.contains(value)) {
                return why_value(key, if at < side.common { "where" } else { side.name }, &there);
            }
        }
        let name = side.name;
        let inert = |key: &&Key| self.without_effect.is_some_and(|it| it.contains(key.param));
        if let Some(Key { param, at, .. }) = side.keys.iter().find(inert) {
            let message = format!("`{name}` matches no config: `{param}` has no effect there");
            return Problem::new(*at, message).accepted(format!("`{name}` without `{param}`"));
        }
        let named: Vec<String> = side.keys.iter().map(|key| format!("`{}`", key.param)).collect();
        let message = format!(
            "`{name}` matches no config: each value of {} is there, all together are not",
            named.join(", ")
        );
        Problem::new(side.at, message).accepted("a combination that the sweep has")
    }
}

/// The values that a parameter has where it has an effect, in the order of the file.
fn values_of(space: &Arc<Space>, param: Param) -> Vec<Value> {
    let mut is_there = vec![false; space.settings.len()];
    for_each_point(space, |point, effect| {
        if effect.contains(param) {
            is_there[point[param as usize] as usize] = true;
        }
    });
    let mut values = Vec::new();
    for (setting, _) in space.settings.iter().zip(is_there).filter(|(_, is_there)| *is_there) {
        if !values.contains(&setting.value) {
            values.push(setting.value);
        }
    }
    values
}

/// `name` is that of the side, or `where`.
fn why_value(key: &Key, name: &str, there: &[Value]) -> Problem {
    let Key { param, values, at, value_at } = key;
    if there.is_empty() {
        let message = format!("`{name}` matches no config: `{param}` has no effect in this sweep");
        return Problem::new(*at, message).accepted(format!("an item without `{param}`"));
    }
    let wanted = values.iter().take(VALUES_SHOWN).map(Value::to_string).collect::<Vec<_>>();
    let message = format!("`{name}` matches no config: none has `{param}` {}", wanted.join(", "));
    let words = |values: &[Value]| -> Vec<&'static str> {
        let word = |value: &Value| match value {
            Value::Word(word) => Some(*word),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => None,
        };
        values.iter().filter_map(word).collect()
    };
    let near = words(values).into_iter().find_map(|word| nearest(word, words(there).into_iter()));
    let mut listed = there.iter().take(VALUES_SHOWN).map(Value::to_string).collect::<Vec<_>>();
    if there.len() > listed.len() {
        listed.push(format!("… ({} values)", there.len()));
    }
    Problem::new(*value_at, message).suggest(near).accepted(listed.join(", "))
}
