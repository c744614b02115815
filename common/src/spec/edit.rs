//! Overlays and `--set`: changes to the tree before it is validated.
//!
//! A change names an entry by a dotted path of one or two keys. `base`, `grid`, `table`,
//! `resources` and `budget` are merged entry by entry; everything else is replaced whole. Where
//! `grid` or `zip` is a list of mappings, a dotted key is replaced wherever it stands.

use super::diagnostic::{Problem, Problems, Source, Span};
use super::node::{self, Entry, Node, Tree};
use super::read::{KEYS, canonical_key, section_keys, unknown_key};
use super::{set_parts, values};
use crate::config::Param;
use crate::params::{self, Scalar, nearest, printable};

/// Sections that no point is made of: a change of them leaves every trial what it is.
const POINTLESS: [&str; 8] =
    ["name", "table", "priority", "fusion", "budget", "keep", "resources", "expect"];

/// A change of one entry.
struct Edit<'a> {
    section: &'a str,
    /// Entry of the section; none replaces the section.
    key: Option<&'a str>,
    at: Span,
    value: &'a Node,
}

/// Takes `overlays` out of the tree and applies the one that was asked for.
pub(crate) fn overlay(
    root: &mut Node,
    chosen: Option<&str>,
    sources: &mut Vec<Source>,
    problems: &mut Problems,
) {
    let Tree::Map(entries) = &mut root.tree else { return };
    let at = entries.iter().position(|entry| entry.key == "overlays");
    let overlays = at.map(|at| entries.remove(at));
    let empty = Vec::new();
    let named = match overlays.as_ref().map(|entry| &entry.value) {
        None => &empty,
        Some(Node { tree: Tree::Map(named), .. }) => named,
        Some(other) => {
            let found = format!("`overlays` cannot be {}", other.describe());
            problems.error(Problem::new(other.at, found).accepted("a mapping of named overlays"));
            return;
        }
    };
    for overlay in named {
        let edits = edits_of(overlay, problems);
        if chosen == Some(overlay.key.as_str()) {
            for edit in edits {
                apply(root, &edit, problems);
            }
        } else {
            for edit in edits {
                check(&edit, problems);
            }
        }
    }
    let Some(chosen) = chosen else { return };
    if named.iter().any(|overlay| overlay.key == chosen) {
        if let Some(name) = root.entry_mut("name")
            && let Some(scalar) = name.value.scalar()
        {
            let text = match scalar {
                Scalar::Text(text) => text.to_string(),
                Scalar::Null | Scalar::Bool(_) | Scalar::Int(_) | Scalar::Float(_) => {
                    params::describe(scalar)
                }
            };
            name.value.tree = Tree::Text(format!("{text}-{chosen}"));
        }
        return;
    }
    let names = named.iter().map(|overlay| overlay.key.as_str());
    let at = Span { source: sources.len(), start: 0, end: chosen.len() };
    sources.push(Source { name: "--overlay".into(), text: chosen.into() });
    problems.error(Problem::unknown(at, "overlay", chosen, names));
}

/// Applies the `--set` flags that are meant for this file; each becomes a source of its own.
/// Returns whether one of them changed what makes the points.
pub(crate) fn sets(
    root: &mut Node,
    flags: &[String],
    names: &[String],
    sources: &mut Vec<Source>,
    problems: &mut Problems,
) -> bool {
    let mut are_points_set = false;
    for flag in flags {
        let source = sources.len();
        sources.push(Source { name: "--set".into(), text: flag.clone() });
        let whole = Span { source, start: 0, end: flag.len() };
        let Some((target, path, value)) = set_parts(flag) else {
            problems.error(
                Problem::new(whole, format!("`{}` sets nothing", printable(flag)))
                    .accepted("key=value, for example base.width=128"),
            );
            continue;
        };
        if target.is_some_and(|target| !names.iter().any(|name| name == target)) {
            continue;
        }
        let at = Span {
            source,
            start: flag.len() - value.len() - 1 - path.len(),
            end: flag.len() - value.len() - 1,
        };
        match node::parse(value, source, flag.len() - value.len()) {
            Err(problem) => problems.error(*problem),
            Ok(value) => {
                duplicates(&value, problems);
                if let Some(edit) = edit_of(path, at, &value, problems) {
                    apply(root, &edit, problems);
                    are_points_set |= !POINTLESS.contains(&edit.section);
                }
            }
        }
    }
    are_points_set
}

/// Reports keys that stand twice in one mapping, and keeps the first.
pub(crate) fn duplicates(node: &Node, problems: &mut Problems) {
    match &node.tree {
        Tree::Map(entries) => {
            let mut first = std::collections::HashMap::new();
            for entry in entries {
                match first.entry(canonical_key(&entry.key)) {
                    std::collections::hash_map::Entry::Vacant(vacant) => {
                        vacant.insert(entry.at);
                    }
                    std::collections::hash_map::Entry::Occupied(earlier) => {
                        let message = format!("duplicate key `{}`", printable(&entry.key));
                        problems.error(
                            Problem::new(entry.at, message)
                                .related(*earlier.get(), "first here")
                                .accepted("each key once"),
                        );
                    }
                }
                duplicates(&entry.value, problems);
            }
        }
        Tree::List(items) => {
            for item in items {
                duplicates(item, problems);
            }
        }
        Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Float(_) | Tree::Text(_) => {}
    }
}

fn edits_of<'a>(overlay: &'a Entry, problems: &mut Problems) -> Vec<Edit<'a>> {
    let Tree::Map(entries) = &overlay.value.tree else {
        let found =
            format!("overlay `{}` cannot be {}", printable(&overlay.key), overlay.value.describe());
        let accepted = "a mapping of changes, for example {base.width: 128}";
        problems.error(Problem::new(overlay.value.at, found).accepted(accepted));
        return Vec::new();
    };
    let mut edits = Vec::new();
    for entry in entries {
        let merged =
            matches!(entry.key.as_str(), "base" | "grid" | "table" | "resources" | "budget");
        match &entry.value.tree {
            Tree::Map(inner) if merged => {
                for inner in inner {
                    let path = (entry.key.as_str(), Some(inner.key.as_str()));
                    edits.extend(known_edit(path, inner.at, &inner.value, problems));
                }
            }
            Tree::Null
            | Tree::Bool(_)
            | Tree::Int(_)
            | Tree::Float(_)
            | Tree::Text(_)
            | Tree::List(_)
            | Tree::Map(_) => edits.extend(edit_of(&entry.key, entry.at, &entry.value, problems)),
        }
    }
    edits
}

fn edit_of<'a>(
    path: &'a str,
    at: Span,
    value: &'a Node,
    problems: &mut Problems,
) -> Option<Edit<'a>> {
    let path = match path.split_once('.') {
        Some((section, key)) => (section, Some(key)),
        None => (path, None),
    };
    known_edit(path, at, value, problems)
}

fn known_edit<'a>(
    (section, key): (&'a str, Option<&'a str>),
    at: Span,
    value: &'a Node,
    problems: &mut Problems,
) -> Option<Edit<'a>> {
    if section == "overlays" || !KEYS.contains(&section) {
        problems.error(unknown_key(at, section));
        return None;
    }
    let Some(key) = key else { return Some(Edit { section, key: None, at, value }) };
    let known = match section_keys(section) {
        None => {
            let found = format!("`{section}` has no entry `{}`", printable(key));
            problems.error(Problem::new(at, found).accepted(format!("`{section}` as a whole")));
            return None;
        }
        Some([]) => Param::from_name(key).is_some(),
        Some(keys) => keys.contains(&key),
    };
    if !known {
        problems.error(unknown_entry(at, section, key));
        return None;
    }
    Some(Edit { section, key: Some(canonical_key(key)), at, value })
}

fn unknown_entry(at: Span, section: &str, key: &str) -> Problem {
    let keys = section_keys(section).unwrap_or_default();
    if keys.is_empty() {
        let names = Param::ALL.into_iter().map(Param::name);
        Problem::unknown(at, "parameter", key, names)
    } else {
        Problem::new(at, format!("unknown key `{}` of `{section}`", printable(key)))
            .suggest(nearest(key, keys.iter().copied()))
            .accepted(keys.join(", "))
    }
}

/// What can be said of a change without applying it: the values of parameters.
fn check(edit: &Edit<'_>, problems: &mut Problems) {
    let Some(param) = edit.key.and_then(Param::from_name) else { return };
    match edit.section {
        "base" => {
            values::one(edit.value, param, problems);
        }
        "grid" | "zip" => {
            values::many(edit.value, param, u64::MAX, problems);
        }
        _ => {}
    }
}

fn apply(root: &mut Node, edit: &Edit<'_>, problems: &mut Problems) {
    let Tree::Map(sections) = &mut root.tree else { return };
    let found = sections.iter().position(|entry| entry.key == edit.section);
    let Some(key) = edit.key else {
        put(sections, found, edit.section, edit);
        return;
    };
    let index = found.unwrap_or_else(|| {
        let value = Node { tree: Tree::Map(Vec::new()), at: edit.at };
        sections.push(Entry { key: edit.section.into(), at: edit.at, value });
        sections.len() - 1
    });
    let section = &mut sections[index].value;
    match &mut section.tree {
        Tree::Map(entries) => {
            let found = entries.iter().position(|entry| canonical_key(&entry.key) == key);
            put(entries, found, key, edit);
        }
        Tree::List(mappings) => {
            let mut replaced = false;
            for mapping in mappings {
                let Tree::Map(entries) = &mut mapping.tree else { continue };
                let found = entries.iter().position(|entry| canonical_key(&entry.key) == key);
                if found.is_some() {
                    put(entries, found, key, edit);
                    replaced = true;
                }
            }
            if !replaced {
                let message =
                    format!("`{}` is a list of mappings, none of which has `{key}`", edit.section);
                problems.error(
                    Problem::new(edit.at, message)
                        .accepted(format!("a key that one has, or `{}` as a whole", edit.section)),
                );
            }
        }
        Tree::Null => {
            let mut entries = Vec::new();
            put(&mut entries, None, key, edit);
            section.tree = Tree::Map(entries);
        }
        // The validation says what is wrong with the section.
        Tree::Bool(_) | Tree::Int(_) | Tree::Float(_) | Tree::Text(_) => {}
    }
}

fn put(entries: &mut Vec<Entry>, found: Option<usize>, key: &str, edit: &Edit<'_>) {
    let entry = Entry { key: key.into(), at: edit.at, value: edit.value.clone() };
    match found {
        Some(at) => entries[at] = entry,
        None => entries.push(entry),
    }
}
