//! From the tree to what a sweep says, except its points (`space.rs`).
//!
//! Every reader reports what it refuses and goes on, so that one reading shows all errors.

use super::diagnostic::{Problem, Problems, Span};
use super::node::{Entry, Node, Tree};
use super::{Budget, Fusion, Keep, METRICS, OUTCOMES, TableSpec};
use crate::config::{Data, Model, Param};
use crate::ids::SweepName;
use crate::params::{self, Scalar, describe, nearest, printable};

/// The top-level keys, in the order of the resolved file.
pub(crate) const KEYS: [&str; 16] = [
    "name",
    "model",
    "data",
    "base",
    "grid",
    "zip",
    "exclude",
    "seeds",
    "table",
    "resources",
    "fusion",
    "priority",
    "budget",
    "keep",
    "expect",
    "overlays",
];
/// Seeds are kept exactly by every reader of JSON.
const SEED_MAX: i128 = (1 << 53) - 1;
const PRIORITY_MAX: i128 = 1_000_000;
/// More never pays: a cohort of this size fills any device.
const FUSION_MAX: i128 = 1_024;
/// As many as a sweep may have trials.
const TOP_MAX: i128 = 1_000_000;

/// `τ` is `tau`.
pub(crate) fn canonical_key(key: &str) -> &str {
    if key == "τ" { "tau" } else { key }
}

/// The entries of a top-level key; empty where they are parameters, none where it has no entries.
pub(crate) fn section_keys(section: &str) -> Option<&'static [&'static str]> {
    match section {
        "base" | "grid" | "zip" => Some(&[]),
        "table" => Some(&["rows", "columns", "metric"]),
        "resources" => Some(&["gpus"]),
        "budget" => Some(&["hours", "failures", "same_error"]),
        _ => None,
    }
}

/// A top-level key that there is not.
pub(crate) fn unknown_key(at: Span, key: &str) -> Problem {
    if let Some(param) = Param::from_name(key) {
        return Problem::new(at, format!("`{param}` is a parameter, not a top-level key"))
            .accepted(format!("base.{param}, grid.{param} or zip.{param}"));
    }
    Problem::unknown(at, "key", key, KEYS.into_iter())
}

/// The top-level entries of a file.
pub(crate) struct Sections<'a> {
    entries: &'a [Entry],
    /// Where a missing key is reported.
    pub top: Span,
}

impl<'a> Sections<'a> {
    /// The sections of a tree; reports unknown keys.
    pub fn of(root: &'a Node, problems: &mut Problems) -> Option<Sections<'a>> {
        let Tree::Map(entries) = &root.tree else {
            let found = match root.tree {
                Tree::Null => "the file is empty".to_string(),
                Tree::Bool(_)
                | Tree::Int(_)
                | Tree::Float(_)
                | Tree::Text(_)
                | Tree::List(_)
                | Tree::Map(_) => format!("a sweep file cannot be {}", root.describe()),
            };
            problems.error(
                Problem::new(root.at, found).accepted("a mapping with at least name, model, data"),
            );
            return None;
        };
        for entry in entries {
            if !KEYS.contains(&entry.key.as_str()) {
                problems.error(unknown_key(entry.at, &entry.key));
            }
        }
        Some(Sections { entries, top: root.at })
    }

    /// The entry of a key.
    pub fn get(&self, key: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn required(&self, key: &str, accepted: &str, problems: &mut Problems) -> Option<&'a Node> {
        let entry = self.get(key);
        if entry.is_none() {
            let missing = format!("`{key}` is missing");
            problems.error(Problem::new(self.top, missing).accepted(accepted));
        }
        entry.map(|entry| &entry.value)
    }

    /// `name`.
    pub fn name(&self, problems: &mut Problems) -> Option<SweepName> {
        let accepted = "1 to 63 of a-z, 0-9 and -";
        let node = self.required("name", accepted, problems)?;
        let text = match &node.tree {
            Tree::Text(text) => text.clone(),
            // A name of digits alone reads as a number.
            Tree::Int(whole) => whole.to_string(),
            Tree::Null | Tree::Bool(_) | Tree::Float(_) | Tree::List(_) | Tree::Map(_) => {
                String::new()
            }
        };
        let name = text.parse().ok();
        if name.is_none() {
            let message = format!("`name` cannot be {}", node.describe());
            problems.error(Problem::new(node.at, message).accepted(accepted));
        }
        name
    }

    /// `model`.
    pub fn model(&self, problems: &mut Problems) -> Option<Model> {
        let names = Model::ALL.map(Model::name);
        let available = Model::AVAILABLE.map(Model::name);
        let node = self.required("model", &available.join(", "), problems)?;
        let index = choice(node, "model", &names, &available, problems)?;
        Some(Model::ALL[index])
    }

    /// `data`.
    pub fn data(&self, model: Option<Model>, problems: &mut Problems) -> Option<Data> {
        let names = Data::ALL.map(Data::name);
        let available = Data::AVAILABLE.map(Data::name);
        let node = self.required("data", &available.join(", "), problems)?;
        let data = Data::ALL[choice(node, "data", &names, &available, problems)?];
        if let Some(model) = model
            && !params::data_of(model).contains(&data)
        {
            let fitting: Vec<&str> = params::data_of(model).iter().map(|d| d.name()).collect();
            let message = format!("model `{}` cannot read `{}`", model.name(), data.name());
            problems.error(Problem::new(node.at, message).accepted(fitting.join(", ")));
        }
        Some(data)
    }

    /// `seeds`: a count or a list.
    pub fn seeds(&self, trials_max: u64, problems: &mut Problems) -> Option<Vec<u64>> {
        let Some(entry) = self.get("seeds") else { return Some(vec![0]) };
        let node = &entry.value;
        if let Tree::List(items) = &node.tree {
            return seed_list(node, items, problems);
        }
        let accepted = "a count from 1 (5 means seeds 0 to 4), or a list of seeds";
        let count = node.scalar().and_then(params::whole).filter(|count| *count >= 1);
        let Some(count) = count else {
            let message = format!("`seeds` cannot be {}", node.describe());
            problems.error(Problem::new(node.at, message).accepted(accepted));
            return None;
        };
        match u64::try_from(count) {
            Ok(count) if count <= trials_max => Some((0..count).collect()),
            Ok(_) | Err(_) => {
                let message = format!("{count} seeds are more than a sweep may have trials");
                problems.error(
                    Problem::new(node.at, message)
                        .accepted(format!("at most {trials_max} trials (--max-trials)")),
                );
                None
            }
        }
    }

    /// `fusion`.
    pub fn fusion(&self, problems: &mut Problems) -> Fusion {
        let Some(entry) = self.get("fusion") else { return Fusion::Auto };
        let scalar = entry.value.scalar();
        match scalar {
            Some(Scalar::Text("auto")) => return Fusion::Auto,
            Some(Scalar::Text("off")) => return Fusion::Off,
            Some(_) | None => {}
        }
        let size = scalar.and_then(params::whole).filter(|size| (1..=FUSION_MAX).contains(size));
        if let Some(size) = size.and_then(|size| u32::try_from(size).ok()) {
            return Fusion::Size(size);
        }
        let accepted = format!("auto, off, or a cohort size from 1 to {FUSION_MAX}");
        let message = format!("`fusion` cannot be {}", entry.value.describe());
        problems.error(Problem::new(entry.value.at, message).accepted(accepted));
        Fusion::Auto
    }

    /// `priority`.
    pub fn priority(&self, problems: &mut Problems) -> i32 {
        let Some(entry) = self.get("priority") else { return 0 };
        let range = -PRIORITY_MAX..=PRIORITY_MAX;
        let priority = whole_in(&entry.value, "priority", range, problems);
        priority.and_then(|priority| i32::try_from(priority).ok()).unwrap_or(0)
    }

    /// `resources`: the number of devices of a trial.
    pub fn gpus(&self, problems: &mut Problems) -> u32 {
        let gpus = self.inner("resources", problems).find(|entry| entry.key == "gpus");
        let Some(entry) = gpus else { return 1 };
        if entry.value.scalar().and_then(params::whole) != Some(1) {
            let message = format!("`gpus` cannot be {} yet", entry.value.describe());
            problems.error(
                Problem::new(entry.value.at, message)
                    .accepted("1 (several devices for one trial are not built yet)"),
            );
        }
        1
    }

    /// `budget`.
    pub fn budget(&self, problems: &mut Problems) -> Budget {
        let mut budget = Budget::default();
        for entry in self.inner("budget", problems) {
            let value = &entry.value;
            let mut trials = |key, least| {
                let whole = whole_in(value, key, least..=SEED_MAX, problems)?;
                u64::try_from(whole).ok()
            };
            match entry.key.as_str() {
                "failures" => budget.failures = trials("failures", 1),
                // `null`: never.
                "same_error" if value.tree == Tree::Null => budget.same_error = None,
                "same_error" => budget.same_error = trials("same_error", 2),
                _ => budget.hours = hours(value, problems),
            }
        }
        budget
    }

    /// `keep`: a word, or `{top: K}`.
    pub fn keep(&self, problems: &mut Problems) -> Keep {
        let words = ["best", "all", "none"];
        let Some(entry) = self.get("keep") else { return Keep::default() };
        let node = &entry.value;
        if let Tree::Map(_) = node.tree {
            // No section whose entries `--set` changes one by one: it may be a word as well.
            let mut inner = self.entries("keep", &["top"], problems);
            let Some(top) = inner.next() else {
                let message = "`keep` does not say how many";
                problems.error(Problem::new(node.at, message).accepted("{top: K}"));
                return Keep::default();
            };
            let count = whole_in(&top.value, "top", 1..=TOP_MAX, problems);
            let count = count.and_then(|count| u32::try_from(count).ok());
            return count.map_or(Keep::default(), Keep::Top);
        }
        match node.scalar() {
            Some(Scalar::Text("best")) => return Keep::Best,
            Some(Scalar::Text("all")) => return Keep::All,
            Some(Scalar::Text("none")) => return Keep::None,
            Some(_) | None => {}
        }
        let near = match node.scalar() {
            Some(Scalar::Text(text)) => nearest(text, words.into_iter()),
            Some(_) | None => None,
        };
        let message = format!("`keep` cannot be {}", node.describe());
        let accepted = "best (of each config), all, none, or {top: K} (the K best of the sweep)";
        problems.error(Problem::new(node.at, message).suggest(near).accepted(accepted));
        Keep::default()
    }

    /// `table`.
    pub fn table(&self, model: Option<Model>, problems: &mut Problems) -> TableSpec {
        let mut table = TableSpec::default();
        let mut placed: Vec<(Param, Span)> = Vec::new();
        for entry in self.inner("table", problems) {
            match entry.key.as_str() {
                "rows" => table.rows = table_axis(&entry.value, model, &mut placed, problems),
                "columns" => table.columns = table_axis(&entry.value, model, &mut placed, problems),
                _ => {
                    let shown = [&METRICS[..], &OUTCOMES].concat();
                    let metric = choice(&entry.value, "metric", &shown, &shown, problems);
                    table.metric = metric.map(|index| shown[index].to_string());
                }
            }
        }
        table
    }

    /// The entries of a section with fixed keys; reports unknown ones and leaves them out.
    fn inner(
        &self,
        section: &'static str,
        problems: &mut Problems,
    ) -> impl Iterator<Item = &'a Entry> + use<'a> {
        self.entries(section, section_keys(section).unwrap_or_default(), problems)
    }

    /// As `inner`, with the keys that there are.
    fn entries(
        &self,
        section: &'static str,
        known: &'static [&'static str],
        problems: &mut Problems,
    ) -> impl Iterator<Item = &'a Entry> + use<'a> {
        let entries = match self.get(section).map(|entry| &entry.value) {
            Some(Node { tree: Tree::Map(entries), .. }) => entries.as_slice(),
            Some(Node { tree: Tree::Null, .. }) | None => &[],
            Some(other) => {
                let message = format!("`{section}` cannot be {}", other.describe());
                let accepted = format!("a mapping with {}", known.join(", "));
                problems.error(Problem::new(other.at, message).accepted(accepted));
                &[]
            }
        };
        for entry in entries {
            if !known.contains(&entry.key.as_str()) {
                let what = format!("unknown key `{}` of `{section}`", printable(&entry.key));
                problems.error(
                    Problem::new(entry.at, what)
                        .suggest(nearest(&entry.key, known.iter().copied()))
                        .accepted(known.join(", ")),
                );
            }
        }
        entries.iter().filter(move |entry| known.contains(&entry.key.as_str()))
    }
}

/// Index of a word among `names`; those that are not `available` are refused as not built.
pub(crate) fn choice(
    node: &Node,
    key: &str,
    names: &[&'static str],
    available: &[&'static str],
    problems: &mut Problems,
) -> Option<usize> {
    let Some(Scalar::Text(text)) = node.scalar() else {
        let message = format!("`{key}` cannot be {}", node.describe());
        problems.error(Problem::new(node.at, message).accepted(available.join(", ")));
        return None;
    };
    if available.contains(&text) {
        return names.iter().position(|name| *name == text);
    }
    let message = if names.contains(&text) {
        format!("`{key}: {text}` is not available yet")
    } else {
        format!("`{}` is not a value of `{key}`", printable(text))
    };
    problems.error(
        Problem::new(node.at, message)
            .suggest(nearest(text, available.iter().copied()))
            .accepted(available.join(", ")),
    );
    None
}

fn hours(node: &Node, problems: &mut Problems) -> Option<f64> {
    let hours = node.scalar().and_then(params::number);
    let hours = hours.filter(|hours| *hours > 0.0 && hours.is_finite());
    if hours.is_none() {
        let message = format!("`hours` cannot be {}", node.describe());
        problems.error(Problem::new(node.at, message).accepted("a number above 0"));
    }
    hours
}

fn whole_in(
    node: &Node,
    key: &str,
    range: std::ops::RangeInclusive<i128>,
    problems: &mut Problems,
) -> Option<i128> {
    let whole = node.scalar().and_then(params::whole).filter(|whole| range.contains(whole));
    if whole.is_none() {
        let message = format!("`{key}` cannot be {}", node.describe());
        let accepted = format!("a whole number from {} to {}", range.start(), range.end());
        problems.error(Problem::new(node.at, message).accepted(accepted));
    }
    whole
}

fn seed_list(node: &Node, items: &[Node], problems: &mut Problems) -> Option<Vec<u64>> {
    let accepted = format!("whole numbers from 0 to {SEED_MAX}, each once");
    if items.is_empty() {
        problems.error(Problem::new(node.at, "`seeds` has no values").accepted("at least one"));
        return None;
    }
    let mut seeds = Vec::with_capacity(items.len());
    let mut first = std::collections::HashMap::new();
    for item in items {
        let scalar = item.scalar();
        let seed = scalar.and_then(params::whole).filter(|seed| (0..=SEED_MAX).contains(seed));
        let Some(seed) = seed.and_then(|seed| u64::try_from(seed).ok()) else {
            let found = scalar.map_or_else(|| item.describe(), describe);
            let message = format!("a seed cannot be {found}");
            problems.error(Problem::new(item.at, message).accepted(&accepted));
            continue;
        };
        if let Some(earlier) = first.insert(seed, item.at) {
            let message = format!("duplicate seed {seed}");
            problems.error(
                Problem::new(item.at, message).related(earlier, "first here").accepted(&accepted),
            );
        }
        seeds.push(seed);
    }
    (seeds.len() == items.len() && first.len() == items.len()).then_some(seeds)
}

fn table_axis(
    node: &Node,
    model: Option<Model>,
    placed: &mut Vec<(Param, Span)>,
    problems: &mut Problems,
) -> Vec<Param> {
    let items = match &node.tree {
        Tree::List(items) => items.as_slice(),
        Tree::Null
        | Tree::Bool(_)
        | Tree::Int(_)
        | Tree::Float(_)
        | Tree::Text(_)
        | Tree::Map(_) => std::slice::from_ref(node),
    };
    let has = |param: &Param| model.is_none_or(|model| params::default(model, *param).is_some());
    let names = Param::ALL.into_iter().filter(has).map(Param::name);
    let mut axis = Vec::new();
    for item in items {
        let Some(Scalar::Text(text)) = item.scalar() else {
            let message = format!("a table's axis cannot be {}", item.describe());
            problems.error(
                Problem::new(item.at, message).accepted("a parameter, or a list of parameters"),
            );
            continue;
        };
        let Some(param) = Param::from_name(text).filter(has) else {
            problems.error(Problem::unknown(item.at, "parameter", text, names.clone()));
            continue;
        };
        if let Some((_, earlier)) = placed.iter().find(|(earlier, _)| *earlier == param) {
            let message = format!("`{param}` stands twice in `table`");
            problems.error(Problem::new(item.at, message).related(*earlier, "first here"));
            continue;
        }
        placed.push((param, item.at));
        axis.push(param);
    }
    axis
}
