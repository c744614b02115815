//! The points of a sweep: `base`, `grid`, `zip` and `exclude`, read but not expanded.
//!
//! Every value that a parameter takes somewhere is kept once as a `Setting`, and a point is an
//! array of indices of settings: walking a million points copies no value and prints no number.

use std::collections::BTreeMap;

use super::diagnostic::{Problem, Problems, Span};
use super::node::{Entry, Node, Tree};
use super::read::Sections;
use super::values;
use crate::canonical;
use crate::config::{Data, Model, Param, Value};
use crate::params::{self, printable};

/// Index of no setting: the model does not have the parameter.
pub(crate) const NONE: u32 = u32::MAX;

/// A setting by parameter.
pub(crate) type Point = [u32; Param::ALL.len()];

/// A value that a parameter takes somewhere in the sweep.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Setting {
    pub value: Value,
    /// Its line of the canonical form; empty for the default.
    pub line: Box<str>,
}

/// Parameters that advance together: one key of a grid, or a group of `zip`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Axis {
    pub params: Vec<Param>,
    /// Rows of one setting per parameter, one after the other.
    settings: Vec<u32>,
}

impl Axis {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.settings.len() / self.params.len()
    }

    /// The settings of a row, one per parameter.
    pub fn row(&self, index: usize) -> &[u32] {
        &self.settings[index * self.params.len()..][..self.params.len()]
    }
}

/// An item of `exclude`: a point that has one of the values of every key is left out.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Exclusion {
    pub at: Span,
    pub keys: Vec<(Param, Vec<Value>)>,
}

/// Everything that expansion needs.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Space {
    pub model: Model,
    pub data: Data,
    pub settings: Vec<Setting>,
    /// What every point starts from: the defaults and `base`.
    pub base: Point,
    /// The mappings of `grid`, each crossed with `zip`; one without axes where there is no grid.
    pub members: Vec<Vec<Axis>>,
    pub exclude: Vec<Exclusion>,
}

impl Space {
    /// Number of points, before exclusion and collapse.
    pub fn points(&self) -> u128 {
        let mut points = 0_u128;
        for axes in &self.members {
            let mut product = 1_u128;
            for axis in axes {
                product = product.saturating_mul(axis.len() as u128);
            }
            points = points.saturating_add(product);
        }
        points
    }

    /// Value of a parameter at a point.
    pub fn value(&self, point: &Point, param: Param) -> Option<Value> {
        let setting = point[param as usize];
        if setting == NONE { None } else { Some(self.settings[setting as usize].value) }
    }

    fn add(&mut self, param: Param, value: Value) -> u32 {
        let line = canonical::line(self.model, param, value).unwrap_or_default();
        self.settings.push(Setting { value, line: line.into() });
        u32::try_from(self.settings.len() - 1).expect("settings are bounded by the trials")
    }
}

/// Where each parameter stands in the file.
pub(crate) type Places = BTreeMap<Param, Place>;

/// Where a parameter stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    section: &'static str,
    /// Its key.
    pub at: Span,
    /// Its value, or the list of them.
    pub value_at: Span,
}

/// Reads the points of a sweep, and where its parameters stand. `trials_max` bounds every list
/// before it is made; the product is the caller's to check.
pub(crate) fn read(
    sections: &Sections<'_>,
    (model, data): (Option<Model>, Option<Data>),
    trials_max: u64,
    problems: &mut Problems,
) -> (Option<Space>, Places) {
    let errors_before = problems.errors.len();
    // Without a known model the rest is still validated, against parameters of any model.
    let space = Space {
        model: model.unwrap_or(Model::Mlp),
        data: data.unwrap_or(Data::Mnist),
        settings: Vec::new(),
        base: [NONE; Param::ALL.len()],
        members: Vec::new(),
        exclude: Vec::new(),
    };
    let mut reader = Reader { space, model, data, trials_max, places: Places::new(), problems };
    for param in params::of_model(reader.space.model) {
        let value = params::default(reader.space.model, param).expect("the model has it");
        reader.space.base[param as usize] = reader.space.add(param, value);
    }
    reader.base(sections.get("base"));
    let members = reader.grid(sections.get("grid"));
    let groups = reader.zip(sections.get("zip"));
    for mut axes in members {
        axes.extend(groups.iter().cloned());
        reader.space.members.push(axes);
    }
    reader.exclude(sections.get("exclude"));
    let Reader { space, places, problems, .. } = reader;
    (Some(space).filter(|_| problems.errors.len() == errors_before), places)
}

/// The parameter that a key names; reports one that there is not, or that the model lacks.
pub(crate) fn param_of(
    entry: &Entry,
    model: Option<Model>,
    problems: &mut Problems,
) -> Option<Param> {
    let has = |param: &Param| model.is_none_or(|model| params::default(model, *param).is_some());
    let names = Param::ALL.into_iter().filter(has).map(Param::name);
    let Some(param) = Param::from_name(&entry.key) else {
        let mut problem = Problem::unknown(entry.at, "parameter", &entry.key, names);
        if entry.key == "<<" {
            problem = problem.note("merge keys are not supported: repeat the entries");
        } else if super::read::KEYS.contains(&entry.key.as_str()) {
            problem = problem.note(format!("`{}` is a top-level key", printable(&entry.key)));
        }
        problems.error(problem);
        return None;
    };
    if let Some(model) = model
        && !has(&param)
    {
        let message = format!("model `{}` does not have the parameter `{param}`", model.name());
        let list: Vec<&str> = names.collect();
        problems.error(Problem::new(entry.at, message).accepted(list.join(", ")));
        return None;
    }
    Some(param)
}

struct Reader<'p> {
    space: Space,
    model: Option<Model>,
    data: Option<Data>,
    trials_max: u64,
    places: Places,
    problems: &'p mut Problems,
}

impl Reader<'_> {
    fn base(&mut self, section: Option<&Entry>) {
        let Some(section) = section else { return };
        for entry in self.mapping(&section.value, "base") {
            let Some(param) = param_of(entry, self.model, self.problems) else { continue };
            self.place(param, "base", entry);
            let Some(value) = values::one(&entry.value, param, self.problems) else { continue };
            self.check_examples(param, value, entry.value.at);
            self.space.base[param as usize] = self.space.add(param, value);
        }
    }

    fn grid(&mut self, section: Option<&Entry>) -> Vec<Vec<Axis>> {
        let Some(section) = section else { return vec![Vec::new()] };
        let mut members = Vec::new();
        for member in self.mappings(&section.value, "grid") {
            let mut axes = Vec::new();
            for entry in self.mapping(member, "grid") {
                let Some(param) = param_of(entry, self.model, self.problems) else { continue };
                self.place(param, "grid", entry);
                let Some(values) = self.values(entry, param) else { continue };
                let mut settings = Vec::with_capacity(values.len());
                for value in values {
                    settings.push(self.space.add(param, value));
                }
                axes.push(Axis { params: vec![param], settings });
            }
            members.push(axes);
        }
        if members.is_empty() {
            members.push(Vec::new());
        }
        members
    }

    fn zip(&mut self, section: Option<&Entry>) -> Vec<Axis> {
        let Some(section) = section else { return Vec::new() };
        let mut groups = Vec::new();
        for group in self.mappings(&section.value, "zip") {
            let mut columns: Vec<(Param, Vec<Value>)> = Vec::new();
            let mut first: Option<(Param, usize, Span)> = None;
            for entry in self.mapping(group, "zip") {
                let Some(param) = param_of(entry, self.model, self.problems) else { continue };
                self.place(param, "zip", entry);
                let Some(values) = self.values(entry, param) else { continue };
                let (leader, length, at) =
                    *first.get_or_insert((param, values.len(), entry.value.at));
                if values.len() != length {
                    let message = format!(
                        "`{param}` has {} values, but `{leader}` of the same zip has {length}",
                        values.len()
                    );
                    self.problems.error(
                        Problem::new(entry.value.at, message)
                            .related(at, format!("{length} values"))
                            .accepted("keys that advance together have equally many values"),
                    );
                    continue;
                }
                columns.push((param, values));
            }
            groups.extend(self.group(&columns));
        }
        groups
    }

    fn group(&mut self, columns: &[(Param, Vec<Value>)]) -> Option<Axis> {
        let rows = columns.first()?.1.len();
        let mut settings = Vec::with_capacity(rows * columns.len());
        for row in 0..rows {
            for (param, values) in columns {
                settings.push(self.space.add(*param, values[row]));
            }
        }
        Some(Axis { params: columns.iter().map(|(param, _)| *param).collect(), settings })
    }

    fn exclude(&mut self, section: Option<&Entry>) {
        let Some(section) = section else { return };
        for item in self.mappings(&section.value, "exclude") {
            let mut keys = Vec::new();
            let entries = self.mapping(item, "exclude");
            for entry in entries {
                let Some(param) = param_of(entry, self.model, self.problems) else { continue };
                let values = values::many(&entry.value, param, self.trials_max, self.problems);
                keys.extend(values.map(|values| (param, values)));
            }
            if entries.is_empty() && matches!(item.tree, Tree::Map(_)) {
                let message = "an item of `exclude` without keys would leave every point out";
                self.problems.error(Problem::new(item.at, message).accepted("at least one key"));
            }
            self.space.exclude.push(Exclusion { at: item.at, keys });
        }
    }

    fn values(&mut self, entry: &Entry, param: Param) -> Option<Vec<Value>> {
        let values = values::many(&entry.value, param, self.trials_max, self.problems)?;
        for value in &values {
            self.check_examples(param, *value, entry.value.at);
        }
        if self.places.get(&param).is_some_and(|place| place.section == "grid") {
            values::warn_repeated(&entry.value, &values, self.problems);
        }
        Some(values)
    }

    /// Notes where a parameter stands. Only the mappings of one grid list may share a key.
    fn place(&mut self, param: Param, section: &'static str, entry: &Entry) {
        let place = Place { section, at: entry.at, value_at: entry.value.at };
        let Some(earlier) = self.places.get(&param) else {
            self.places.insert(param, place);
            return;
        };
        if earlier.section == section && section != "zip" {
            return;
        }
        let message = if earlier.section == section {
            format!("`{param}` stands in two groups of `zip`")
        } else {
            format!("`{param}` stands in both `{}` and `{section}`", earlier.section)
        };
        self.problems.error(
            Problem::new(entry.at, message)
                .related(earlier.at, "first here")
                .accepted("a key in one place of `base`, `grid` and `zip`"),
        );
    }

    fn check_examples(&mut self, param: Param, value: Value, at: Span) {
        let (Some(data), Value::Int(count)) = (self.data, value) else { return };
        let most = match param {
            Param::TrainExamples => data.examples().train,
            Param::ValExamples => data.examples().validation,
            _ => return,
        };
        if usize::try_from(count).is_ok_and(|count| count > most) {
            let message = format!("`{param}` cannot be {count}: `{}` has {most}", data.name());
            let accepted = format!("a whole number from 1 to {most}, or null (all)");
            self.problems.error(Problem::new(at, message).accepted(accepted));
        }
    }

    /// The entries of a mapping; a null one has none.
    fn mapping<'a>(&mut self, node: &'a Node, section: &str) -> &'a [Entry] {
        match &node.tree {
            Tree::Map(entries) => entries,
            Tree::Null => &[],
            Tree::Bool(_) | Tree::Int(_) | Tree::Float(_) | Tree::Text(_) | Tree::List(_) => {
                let accepted = match section {
                    "base" => "a mapping of parameters to values",
                    "exclude" => "a list of mappings of parameters to values",
                    _ => "a mapping of parameters to lists or generators, or a list of such",
                };
                let message = format!("`{section}` cannot be {}", node.describe());
                self.problems.error(Problem::new(node.at, message).accepted(accepted));
                &[]
            }
        }
    }

    /// The mappings of a list; a mapping alone is a list of one, and null an empty list.
    fn mappings<'a>(&mut self, node: &'a Node, section: &str) -> &'a [Node] {
        match &node.tree {
            Tree::List(mappings) => mappings,
            Tree::Map(_) => std::slice::from_ref(node),
            Tree::Null => &[],
            Tree::Bool(_) | Tree::Int(_) | Tree::Float(_) | Tree::Text(_) => {
                self.mapping(node, section);
                &[]
            }
        }
    }
}
