//! Whether a scalar from outside is a value of a parameter, and what to say where it is not.

use super::{Kind, ParamInfo};
use crate::config::Value;

/// A scalar from outside, before it is checked.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Scalar<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number; may be infinite or NaN.
    Float(f64),
    /// Text.
    Text(&'a str),
}

/// Why a value is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{problem}; accepted: {accepted}")]
pub struct Rejection {
    /// What is wrong, naming the parameter and the value.
    pub problem: String,
    /// What is accepted.
    pub accepted: String,
    /// A near word that is accepted.
    pub suggestion: Option<&'static str>,
}

impl ParamInfo {
    /// What is accepted, in words.
    pub fn accepted(&self) -> String {
        match self.kind {
            Kind::Words { built, later: [] } => built.join(", "),
            Kind::Words { built, later } => {
                format!("{} ({}: not built yet)", built.join(", "), later.join(", "))
            }
            Kind::Flag => "true or false".into(),
            Kind::Count { min, max, null } => {
                format!("a whole number from {min} to {max}{}", or_null(null))
            }
            Kind::Number { low, low_included, high, high_included, null } => {
                let from = if low_included { "from" } else { "above" };
                let to = if high_included { "to" } else { "to below" };
                format!("a number {from} {low} {to} {high}{}", or_null(null))
            }
        }
    }

    /// The value of this parameter that a scalar stands for: a whole number given for a number is
    /// that number, and `1e2` given for a count is 100.
    pub fn check(&self, scalar: Scalar<'_>) -> Result<Value, Rejection> {
        if let (Kind::Words { built, later }, Scalar::Text(text)) = (self.kind, scalar) {
            return self.check_word(text, built, later);
        }
        self.convert(scalar).ok_or_else(|| Rejection {
            problem: format!("`{}` cannot be {}", self.param, describe(scalar)),
            accepted: self.accepted(),
            suggestion: None,
        })
    }

    fn check_word(
        &self,
        text: &str,
        built: &'static [&'static str],
        later: &'static [&'static str],
    ) -> Result<Value, Rejection> {
        if let Some(word) = built.iter().find(|word| **word == text) {
            return Ok(Value::Word(word));
        }
        let problem = if later.contains(&text) {
            format!("`{}: {text}` is not available yet", self.param)
        } else {
            format!("`{}` is not a value of `{}`", printable(text), self.param)
        };
        Err(Rejection {
            problem,
            accepted: self.accepted(),
            suggestion: nearest(text, built.iter().copied()),
        })
    }

    fn convert(&self, scalar: Scalar<'_>) -> Option<Value> {
        match (self.kind, scalar) {
            (
                Kind::Count { null: Some(_), .. } | Kind::Number { null: Some(_), .. },
                Scalar::Null,
            ) => Some(Value::Null),
            (Kind::Flag, Scalar::Bool(flag)) => Some(Value::Bool(flag)),
            (Kind::Count { min, max, .. }, Scalar::Int(_) | Scalar::Float(_)) => {
                let whole = i64::try_from(whole(scalar)?).ok()?;
                (min..=max).contains(&whole).then_some(Value::Int(whole))
            }
            (
                Kind::Number { low, low_included, high, high_included, .. },
                Scalar::Int(_) | Scalar::Float(_),
            ) => {
                let number = number(scalar)?;
                let above = number > low || (low_included && number == low);
                let below = number < high || (high_included && number == high);
                // Adding zero turns negative zero into zero.
                (above && below).then_some(Value::Float(number + 0.0))
            }
            (Kind::Words { .. } | Kind::Flag | Kind::Count { .. } | Kind::Number { .. }, _) => None,
        }
    }
}

fn or_null(null: Option<&'static str>) -> String {
    null.map(|meaning| format!(", or null ({meaning})")).unwrap_or_default()
}

/// The whole number that a scalar is; none where it has a fraction or is no number.
pub(crate) fn whole(scalar: Scalar<'_>) -> Option<i128> {
    match scalar {
        Scalar::Int(whole) => Some(whole),
        #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53, as checked")]
        Scalar::Float(number) if number.fract() == 0.0 && number.abs() < 9.0e15 => {
            Some(number as i128)
        }
        Scalar::Null | Scalar::Bool(_) | Scalar::Float(_) | Scalar::Text(_) => None,
    }
}

/// The number that a scalar is; may be infinite or NaN.
pub(crate) fn number(scalar: Scalar<'_>) -> Option<f64> {
    match scalar {
        #[expect(clippy::cast_precision_loss, reason = "rounding is what a number means here")]
        Scalar::Int(whole) => Some(whole as f64),
        Scalar::Float(number) => Some(number),
        Scalar::Null | Scalar::Bool(_) | Scalar::Text(_) => None,
    }
}

/// A scalar as a user wrote it, for messages.
pub(crate) fn describe(scalar: Scalar<'_>) -> String {
    match scalar {
        Scalar::Null => "null".into(),
        Scalar::Bool(flag) => flag.to_string(),
        Scalar::Int(whole) => whole.to_string(),
        Scalar::Float(number) if number.is_finite() => format!("{number:?}"),
        Scalar::Float(number) => format!("{number} (not a finite number)"),
        Scalar::Text(text) => format!("the text \"{}\"", printable(text)),
    }
}

/// Text from outside for a message: short, and without control characters.
pub(crate) fn printable(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut out: String = text
        .chars()
        .take(CHARS_MAX)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}

/// The candidate that a misspelt word is likely to mean.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    const WORD_BYTES_MAX: usize = 64;
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let distance = strsim::damerau_levenshtein(&word, &candidate.replace('-', "_"));
        let near = distance <= candidate.len().max(word.len()) / 3;
        if near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}
