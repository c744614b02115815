//! A resolved sweep file as text: overlay and overrides applied, and read back as the same sweep.

use std::fmt::Write as _;

use super::node::{Entry, Node, Tree};
use super::read::{KEYS, canonical_key};

/// The text of a validated tree, its keys in the order of the format's description.
pub(crate) fn write(root: &Node) -> String {
    let Tree::Map(entries) = &root.tree else { return String::new() };
    let mut out = String::new();
    for key in KEYS {
        let Some(Entry { value, .. }) = entries.iter().find(|entry| entry.key == key) else {
            continue;
        };
        out.push_str(key);
        out.push(':');
        match &value.tree {
            Tree::Map(inner) if !inner.is_empty() => {
                for entry in inner {
                    out.push_str("\n  ");
                    write_entry(entry, &mut out);
                }
            }
            Tree::List(items) if items.iter().any(|item| matches!(item.tree, Tree::Map(_))) => {
                for item in items {
                    out.push_str("\n  - ");
                    write_node(item, &mut out);
                }
            }
            Tree::Null
            | Tree::Bool(_)
            | Tree::Int(_)
            | Tree::Float(_)
            | Tree::Text(_)
            | Tree::List(_)
            | Tree::Map(_) => {
                out.push(' ');
                write_node(value, &mut out);
            }
        }
        out.push('\n');
    }
    out
}

fn write_entry(entry: &Entry, out: &mut String) {
    write_text(canonical_key(&entry.key), out);
    out.push_str(": ");
    write_node(&entry.value, out);
}

fn write_node(node: &Node, out: &mut String) {
    match &node.tree {
        Tree::Null => out.push_str("null"),
        Tree::Bool(flag) => write!(out, "{flag}").expect("writing to a string succeeds"),
        Tree::Int(whole) => write!(out, "{whole}").expect("writing to a string succeeds"),
        Tree::Float(number) => write!(out, "{number:?}").expect("writing to a string succeeds"),
        Tree::Text(text) => write_text(text, out),
        Tree::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_node(item, out);
            }
            out.push(']');
        }
        Tree::Map(entries) => {
            out.push('{');
            for (index, entry) in entries.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_entry(entry, out);
            }
            out.push('}');
        }
    }
}

/// Plain where it is a word that reads back as text, else quoted as in JSON, which YAML reads.
fn write_text(text: &str, out: &mut String) {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let plain = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(word)
        && !matches!(text, "null" | "true" | "false");
    if plain {
        out.push_str(text);
    } else {
        let quoted = serde_json::to_string(text).expect("text is always valid JSON");
        out.push_str(&quoted);
    }
}
