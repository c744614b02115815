//! A sweep file as a tree of nodes with positions.
//!
//! YAML is parsed into this tree first and validated afterwards, so that every error of a file is
//! shown at once and where it stands. Nothing here knows what a sweep is.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{DefaultMessageFormatter, MessageFormatter, Spanned};

use super::diagnostic::{Problem, Span};
use crate::params::Scalar;

/// Largest sweep file: expansion happens on the coordinator, so no sensible file comes near.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting; the format itself needs six levels.
const DEPTH_MAX: usize = 16;
/// Most nodes, aliases expanded.
const NODES_MAX: usize = 100_000;
/// Most aliases and anchors.
const ALIASES_MAX: usize = 1_000;

/// A value with its position.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Node {
    /// The value.
    pub tree: Tree,
    /// Where it stands; of a list or a mapping, where it begins.
    pub at: Span,
}

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Tree {
    Null,
    Bool(bool),
    Int(i128),
    /// May be infinite or NaN.
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// An entry of a mapping.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Entry {
    /// The key; a key that is no text is written as a message shows it.
    pub key: String,
    /// Where the key stands.
    pub at: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The scalar that the node is; none for a list or a mapping.
    pub fn scalar(&self) -> Option<Scalar<'_>> {
        match &self.tree {
            Tree::Null => Some(Scalar::Null),
            Tree::Bool(flag) => Some(Scalar::Bool(*flag)),
            Tree::Int(whole) => Some(Scalar::Int(*whole)),
            Tree::Float(number) => Some(Scalar::Float(*number)),
            Tree::Text(text) => Some(Scalar::Text(text)),
            Tree::List(_) | Tree::Map(_) => None,
        }
    }

    /// What the node is, for messages.
    pub fn describe(&self) -> String {
        match &self.tree {
            Tree::List(_) => "a list".into(),
            Tree::Map(_) => "a mapping".into(),
            Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Float(_) | Tree::Text(_) => {
                self.scalar().map(crate::params::describe).unwrap_or_default()
            }
        }
    }

    /// The entry of this key, where the node is a mapping that has it.
    pub fn entry_mut(&mut self, key: &str) -> Option<&mut Entry> {
        match &mut self.tree {
            Tree::Map(entries) => entries.iter_mut().find(|entry| entry.key == key),
            Tree::Null
            | Tree::Bool(_)
            | Tree::Int(_)
            | Tree::Float(_)
            | Tree::Text(_)
            | Tree::List(_) => None,
        }
    }
}

/// Parses YAML; positions are byte offsets into `text` plus `offset`, in source `source`.
pub(crate) fn parse(text: &str, source: usize, offset: usize) -> Result<Node, Box<Problem>> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("{} bytes are too much for a sweep file", text.len());
        let accepted = format!("at most {FILE_BYTES_MAX} bytes");
        let at = Span { source, start: offset, end: offset };
        return Err(Box::new(Problem::new(at, message).accepted(accepted)));
    }
    let bom = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    match serde_yaml::from_str_with_options::<Spanned<Raw>>(&text[bom..], options()) {
        Ok(raw) => Ok(place(raw, source, offset + bom)),
        Err(error) => {
            let error = error.without_snippet();
            let range = error.location().map_or(0..0, |location| range_of(&text[bom..], location));
            let at =
                Span { source, start: offset + bom + range.start, end: offset + bom + range.end };
            let message = DefaultMessageFormatter.format_message(error);
            Err(Box::new(Problem::new(at, format!("the YAML cannot be read: {message}"))))
        }
    }
}

fn options() -> serde_yaml::Options {
    let mut limits = serde_yaml::options::AliasLimits::default();
    limits.max_total_replayed_events = NODES_MAX;
    limits.max_replay_stack_depth = DEPTH_MAX;
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_documents: 1,
            max_inclusion_depth: 0,
            max_total_scalar_bytes: FILE_BYTES_MAX,
            max_recorded_anchor_events: NODES_MAX,
            max_recorded_anchor_bytes: FILE_BYTES_MAX,
        },
        alias_limits: limits,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        // Duplicate keys, merge keys and infinite numbers are found by the validation, all at
        // once, instead of stopping the parser at the first.
        duplicate_keys: serde_yaml::DuplicateKeyPolicy::PassThrough,
        merge_keys: serde_yaml::MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: serde_yaml::NonFiniteFloatPolicy::PassThrough,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// Where an error stands: the scanner's errors have line and column alone.
fn range_of(text: &str, location: serde_yaml::Location) -> Range<usize> {
    if let Some(range) = byte_range(&location.span()) {
        return range;
    }
    let line = usize::try_from(location.line()).unwrap_or(1).saturating_sub(1);
    let column = usize::try_from(location.column()).unwrap_or(1).saturating_sub(1);
    let line_start = text.split_inclusive('\n').take(line).map(str::len).sum::<usize>();
    let line = text[line_start..].lines().next().unwrap_or_default();
    let start = line_start + line.chars().take(column).map(char::len_utf8).sum::<usize>();
    start..start
}

fn byte_range(span: &serde_yaml::Span) -> Option<Range<usize>> {
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    Some(start..start.checked_add(length)?)
}

fn place(raw: Spanned<Raw>, source: usize, offset: usize) -> Node {
    let range = byte_range(&raw.referenced.span()).unwrap_or(0..0);
    let at = Span { source, start: offset + range.start, end: offset + range.end };
    let tree = match raw.value {
        Raw::Null => Tree::Null,
        Raw::Bool(flag) => Tree::Bool(flag),
        Raw::Int(whole) => Tree::Int(whole),
        Raw::Float(number) => Tree::Float(number),
        Raw::Text(text) => Tree::Text(text),
        Raw::List(items) => {
            Tree::List(items.into_iter().map(|item| place(item, source, offset)).collect())
        }
        Raw::Map(entries) => {
            let mut placed = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let key = place(key, source, offset);
                placed.push(Entry {
                    key: key_text(&key),
                    at: key.at,
                    value: place(value, source, offset),
                });
            }
            Tree::Map(placed)
        }
    };
    Node { tree, at }
}

fn key_text(key: &Node) -> String {
    match &key.tree {
        Tree::Text(text) => text.clone(),
        Tree::Null
        | Tree::Bool(_)
        | Tree::Int(_)
        | Tree::Float(_)
        | Tree::List(_)
        | Tree::Map(_) => key.describe(),
    }
}

/// The tree as the parser gives it, before positions are put in.
enum Raw {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar, a list or a mapping")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(flag))
    }

    fn visit_i64<E>(self, whole: i64) -> Result<Raw, E> {
        Ok(Raw::Int(whole.into()))
    }

    fn visit_u64<E>(self, whole: u64) -> Result<Raw, E> {
        Ok(Raw::Int(whole.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Raw, E> {
        Ok(Raw::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}
