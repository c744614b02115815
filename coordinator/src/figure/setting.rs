//! What a parameter is in a config, as a table's cell has it.

use std::cmp::Ordering;

use common::wire::{self, cell};

use super::scale::short;

/// A parameter's value.
#[derive(Clone, Debug)]
pub(super) enum Setting {
    /// The parameter has no effect in this config.
    Absent,
    Word(String),
    Number(f64),
}

impl Setting {
    pub fn of_cell(cell: &wire::Cell) -> Setting {
        match &cell.value {
            Some(cell::Value::Text(text)) if text.is_empty() => Setting::Absent,
            Some(cell::Value::Text(text)) => Setting::Word(text.clone()),
            Some(cell::Value::Number(number)) => Setting::Number(*number),
            #[expect(clippy::cast_precision_loss, reason = "parameters stay far below 2^53")]
            Some(cell::Value::Integer(integer)) => Setting::Number(*integer as f64),
            Some(cell::Value::Summary(_)) | None => Setting::Absent,
        }
    }

    pub fn text(&self) -> String {
        match self {
            Setting::Absent => "–".into(),
            Setting::Word(word) => word.clone(),
            Setting::Number(number) => short(*number),
        }
    }

    /// Whether this is what somebody wrote: numbers by their value, nothing where there is none.
    pub fn is(&self, text: &str) -> bool {
        match self {
            Setting::Absent => text.is_empty() || text == "–",
            Setting::Word(word) => word == text,
            Setting::Number(number) => text.parse::<f64>().is_ok_and(|asked| {
                // Tables round nothing, figures do: 1.414 means 1.4142135624.
                asked == *number || short(*number) == text
            }),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Setting::Absent => 0,
            Setting::Word(_) => 1,
            Setting::Number(_) => 2,
        }
    }
}

impl Ord for Setting {
    fn cmp(&self, other: &Setting) -> Ordering {
        match (self, other) {
            (Setting::Word(a), Setting::Word(b)) => a.cmp(b),
            (Setting::Number(a), Setting::Number(b)) => a.total_cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Setting {
    fn partial_cmp(&self, other: &Setting) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Setting {
    fn eq(&self, other: &Setting) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Setting {}

/// Each setting once: none first, then words as they come (the order of the sweep file), then
/// numbers by size.
pub(super) fn ranked<'s>(settings: impl IntoIterator<Item = &'s Setting>) -> Vec<Setting> {
    let mut seen: std::collections::BTreeSet<&Setting> = Default::default();
    let mut ranked: Vec<Setting> = Vec::new();
    for setting in settings {
        if seen.insert(setting) {
            ranked.push(setting.clone());
        }
    }
    ranked.sort_by(|a, b| match (a, b) {
        (Setting::Word(_), Setting::Word(_)) => Ordering::Equal,
        _ => a.cmp(b),
    });
    ranked
}

/// The numbers among settings, where all of them but absent ones are numbers.
pub(super) fn numbers(ranked: &[Setting]) -> Option<Vec<f64>> {
    let mut numbers = Vec::with_capacity(ranked.len());
    for setting in ranked {
        match setting {
            Setting::Number(number) => numbers.push(super::scale::drawable(*number)?),
            Setting::Absent => {}
            Setting::Word(_) => return None,
        }
    }
    (!numbers.is_empty()).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Setting {
        Setting::Word(text.into())
    }

    #[test]
    fn settings_rank_as_the_sweep_file_has_them() {
        let all = [
            word("relu"),
            Setting::Number(10.0),
            word("grelu"),
            Setting::Absent,
            Setting::Number(2.0),
            word("relu"),
        ];
        let expected = [
            Setting::Absent,
            word("relu"),
            word("grelu"),
            Setting::Number(2.0),
            Setting::Number(10.0),
        ];
        assert_eq!(ranked(&all), expected);
    }

    #[test]
    fn settings_are_named_by_their_value() {
        assert!(Setting::Number(0.5).is("0.50") && Setting::Number(3e-4).is("0.0003"));
        assert!(Setting::Number(1.7320508076).is("1.732"));
        assert!(!Setting::Number(0.5).is("half") && !Setting::Number(0.5).is("0.6"));
        assert!(word("relu").is("relu") && !word("relu").is("re"));
    }
}
