//! `expect`: what a sweep file says of its results. This reads the items; `matching` holds them
//! against the points.

mod matching;

use super::diagnostic::{Problem, Problems, Span};
use super::node::{Entry, Node, Tree};
use super::read::{Sections, choice};
use super::space::param_of;
use super::{METRICS, METRICS_TO_CHOOSE_BY, TRIALS_MAX, values};
use crate::config::{Model, Param, Value};
use crate::expectation::{CONFIDENCE, DIVERGED, Expectation, Relation, Selector};
use crate::params::{self, nearest, printable};

pub(crate) use matching::check;

const KEYS: [&str; 10] = [
    "claim",
    "metric",
    "where",
    "less",
    "than",
    "similar",
    "to",
    "within",
    "best_by",
    "confidence",
];
/// Most items: the answer about all of them is one message.
const ITEMS_MAX: usize = 100;
/// Longest claim, for the same reason.
const CLAIM_CHARS_MAX: usize = 300;
/// Most values of one parameter, for the same reason.
const VALUES_MAX: usize = 20;

/// An item with where its sides stand.
pub(crate) struct Stated {
    pub expectation: Expectation,
    sides: [Side; 2],
}

/// What the config of a side has, `where` included.
#[derive(Clone)]
struct Side {
    name: &'static str,
    at: Span,
    /// How many of the keys stand in `where`.
    common: usize,
    keys: Vec<Key>,
}

/// A parameter with its values.
#[derive(Clone)]
struct Key {
    param: Param,
    values: Vec<Value>,
    at: Span,
    value_at: Span,
}

fn selector(keys: &[Key]) -> Selector {
    Selector(keys.iter().map(|key| (key.param, key.values.clone())).collect())
}

/// Reads `expect`.
pub(crate) fn read(
    sections: &Sections<'_>,
    model: Option<Model>,
    problems: &mut Problems,
) -> Vec<Stated> {
    let Some(section) = sections.get("expect") else { return Vec::new() };
    let items = match &section.value.tree {
        Tree::List(items) => items.as_slice(),
        Tree::Map(_) => std::slice::from_ref(&section.value),
        Tree::Null => &[],
        Tree::Bool(_) | Tree::Int(_) | Tree::Float(_) | Tree::Text(_) => {
            let message = format!("`expect` cannot be {}", section.value.describe());
            problems.error(Problem::new(section.value.at, message).accepted("a list of claims"));
            &[]
        }
    };
    if items.len() > ITEMS_MAX {
        let message = format!("`expect` has {} items", items.len());
        problems.error(Problem::new(section.at, message).accepted(format!("at most {ITEMS_MAX}")));
        return Vec::new();
    }
    let mut stated = Vec::with_capacity(items.len());
    for item in items {
        let Tree::Map(entries) = &item.tree else {
            let message = format!("an item of `expect` cannot be {}", item.describe());
            problems.error(
                Problem::new(item.at, message)
                    .accepted("a mapping with claim and less, than or similar, to, within"),
            );
            continue;
        };
        stated.extend(Reader { entries, at: item.at, model, problems }.item());
    }
    stated
}

/// Reads one item.
struct Reader<'a, 'p> {
    entries: &'a [Entry],
    /// Where it begins.
    at: Span,
    model: Option<Model>,
    problems: &'p mut Problems,
}

impl<'a> Reader<'a, '_> {
    /// The item, or none where something is wrong with it; all that is wrong is reported.
    fn item(mut self) -> Option<Stated> {
        let errors_before = self.problems.errors.len();
        self.unknown_keys();
        let claim = self.claim();
        let metric = self.word("metric", &[&METRICS[..], &[DIVERGED]].concat());
        let best_by = self.word("best_by", &METRICS_TO_CHOOSE_BY);
        let confidence = self.confidence();
        let common = self.keys("where");
        let relation = self.relation();
        let sides = match relation.map(Relation::sides) {
            Some(names) => Some(names.map(|name| self.side(name, &common))),
            None => {
                // Which of them are meant is not known, what is wrong in them is.
                for name in ["less", "than", "similar", "to"] {
                    self.keys(name);
                }
                None
            }
        };
        if self.problems.errors.len() != errors_before {
            return None;
        }
        let [first, second] = sides?;
        let (first, second) = (first?, second?);
        let own = |side: &Side| selector(&side.keys[side.common..]);
        let expectation = Expectation {
            claim: claim?,
            metric: metric.unwrap_or(METRICS[0]),
            relation: relation?,
            sides: [own(&first), own(&second)],
            common: selector(&common),
            best_by,
            confidence: confidence?,
        };
        Some(Stated { expectation, sides: [first, second] })
    }

    fn get(&self, key: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn unknown_keys(&mut self) {
        for entry in self.entries {
            let key = entry.key.as_str();
            if KEYS.contains(&key) {
                continue;
            }
            let message = format!("unknown key `{}` of an item of `expect`", printable(key));
            let mut problem = Problem::new(entry.at, message)
                .suggest(nearest(key, KEYS.into_iter()))
                .accepted(KEYS.join(", "));
            if let Some(param) = Param::from_name(key) {
                let note = format!("`{param}` is a parameter: it stands in a side or in `where`");
                problem = problem.note(note);
            }
            self.problems.error(problem);
        }
    }

    fn claim(&mut self) -> Option<String> {
        let accepted = format!("a sentence of at most {CLAIM_CHARS_MAX} characters");
        let Some(entry) = self.get("claim") else {
            let message = "`claim` is missing in an item of `expect`";
            self.problems.error(Problem::new(self.at, message).accepted(accepted));
            return None;
        };
        if let Tree::Text(text) = &entry.value.tree
            && !text.trim().is_empty()
            && text.chars().count() <= CLAIM_CHARS_MAX
        {
            return Some(text.trim().to_owned());
        }
        let message = format!("`claim` cannot be {}", entry.value.describe());
        self.problems.error(Problem::new(entry.value.at, message).accepted(accepted));
        None
    }

    fn word(&mut self, key: &str, accepted: &[&'static str]) -> Option<&'static str> {
        let entry = self.get(key)?;
        let index = choice(&entry.value, key, accepted, accepted, self.problems)?;
        Some(accepted[index])
    }

    fn confidence(&mut self) -> Option<f64> {
        let Some(entry) = self.get("confidence") else { return Some(CONFIDENCE) };
        let number = entry.value.scalar().and_then(params::number);
        let confidence = number.filter(|number| (0.5..=0.999).contains(number));
        if confidence.is_none() {
            let message = format!("`confidence` cannot be {}", entry.value.describe());
            let accepted = format!("a number from 0.5 to 0.999 [default: {CONFIDENCE}]");
            self.problems.error(Problem::new(entry.value.at, message).accepted(accepted));
        }
        confidence
    }

    /// What is claimed, from the keys that are there. A missing side is reported by `side`.
    fn relation(&mut self) -> Option<Relation> {
        const ACCEPTED: &str = "less and than, or similar, to and within";
        let less = self.get("less").or(self.get("than"));
        let similar = self.get("similar").or(self.get("to"));
        let within = self.get("within");
        match (less, similar, within) {
            (Some(less), Some(other), _) | (Some(less), None, Some(other)) => {
                let message = format!("`{}` does not go with `{}`", other.key, less.key);
                let problem = Problem::new(other.at, message).related(less.at, "also here");
                self.problems.error(problem.accepted(ACCEPTED));
                None
            }
            (Some(_), None, None) => Some(Relation::Less),
            (None, Some(_), Some(entry)) => {
                let number = entry.value.scalar().and_then(params::number);
                let within = number.filter(|number| *number > 0.0 && number.is_finite());
                if within.is_none() {
                    let message = format!("`within` cannot be {}", entry.value.describe());
                    let accepted = "a number above 0, in the metric's unit (errors are fractions)";
                    self.problems.error(Problem::new(entry.value.at, message).accepted(accepted));
                }
                Some(Relation::Similar { within: within.unwrap_or(1.0) })
            }
            (None, Some(similar), None) => {
                let message = format!("`within` is missing beside `{}`", similar.key);
                let accepted = "a number above 0, in the metric's unit (errors are fractions)";
                self.problems.error(Problem::new(similar.at, message).accepted(accepted));
                Some(Relation::Similar { within: 1.0 })
            }
            (None, None, _) => {
                let message = "an item of `expect` compares nothing";
                self.problems.error(Problem::new(self.at, message).accepted(ACCEPTED));
                None
            }
        }
    }

    /// A side with what stands in `where`.
    fn side(&mut self, name: &'static str, common: &[Key]) -> Option<Side> {
        let accepted = "parameters with a value or a list of values";
        let Some(entry) = self.get(name) else {
            let message = format!("`{name}` is missing in an item of `expect`");
            self.problems.error(Problem::new(self.at, message).accepted(accepted));
            return None;
        };
        let own = self.keys(name);
        if matches!(&entry.value.tree, Tree::Null)
            || matches!(&entry.value.tree, Tree::Map(entries) if entries.is_empty())
        {
            let message = format!("`{name}` names no parameter");
            self.problems.error(Problem::new(entry.value.at, message).accepted(accepted));
        }
        for key in &own {
            if let Some(earlier) = common.iter().find(|earlier| earlier.param == key.param) {
                let message = format!("`{}` stands in both `where` and `{name}`", key.param);
                let problem = Problem::new(key.at, message).related(earlier.at, "first here");
                self.problems.error(problem.accepted("a parameter in one of them"));
            }
        }
        let keys = [common, &own].concat();
        Some(Side { name, at: entry.at, common: common.len(), keys })
    }

    /// The parameters of `where` or a side; none where the key is absent.
    fn keys(&mut self, name: &str) -> Vec<Key> {
        let entries = match self.get(name).map(|entry| &entry.value) {
            None | Some(Node { tree: Tree::Null, .. }) => return Vec::new(),
            Some(Node { tree: Tree::Map(entries), .. }) => entries,
            Some(other) => {
                let message = format!("`{name}` cannot be {}", other.describe());
                let accepted = "a mapping of parameters to a value or a list of values";
                self.problems.error(Problem::new(other.at, message).accepted(accepted));
                return Vec::new();
            }
        };
        let mut keys = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(param) = param_of(entry, self.model, self.problems) else { continue };
            let values = values::many(&entry.value, param, TRIALS_MAX, self.problems);
            let Some(values) = values else { continue };
            if values.len() > VALUES_MAX {
                let message = format!("`{param}` has {} values here", values.len());
                let accepted = format!("at most {VALUES_MAX}");
                self.problems.error(Problem::new(entry.value.at, message).accepted(accepted));
            }
            keys.push(Key { param, values, at: entry.at, value_at: entry.value.at });
        }
        keys
    }
}
