//! The values of a parameter: a scalar, a list, or a generator.

use std::collections::HashSet;

use super::diagnostic::{Problem, Problems, Span};
use super::node::{Node, Tree};
use crate::config::{Param, Value};
use crate::params::{self, Scalar};

const GENERATORS: [&str; 3] = ["linspace", "logspace", "range"];
/// Digits that generated numbers keep, so that 0.1 + 0.2 is 0.3 and ids are the same everywhere.
const DIGITS: usize = 12;

/// Reads the one value of a parameter.
pub(crate) fn one(node: &Node, param: Param, problems: &mut Problems) -> Option<Value> {
    let Some(scalar) = node.scalar() else {
        let message = format!("`{param}` takes one value here, not {}", node.describe());
        problems.error(
            Problem::new(node.at, message)
                .accepted(params::info(param).accepted())
                .note("several values stand in `grid` or `zip`"),
        );
        return None;
    };
    match params::info(param).check(scalar) {
        Ok(value) => Some(value),
        Err(rejection) => {
            problems.error(Problem::rejected(node.at, rejection));
            None
        }
    }
}

/// Reads the values of a parameter: at least one, at most `count_max`.
pub(crate) fn many(
    node: &Node,
    param: Param,
    count_max: u64,
    problems: &mut Problems,
) -> Option<Vec<Value>> {
    match &node.tree {
        Tree::Map(_) => match generate(node, count_max) {
            Ok(numbers) => checked(node.at, param, &numbers, problems),
            Err(problem) => {
                problems.error(*problem);
                None
            }
        },
        Tree::List(items) if items.is_empty() => {
            let message = format!("`{param}` has no values");
            problems.error(Problem::new(node.at, message).accepted("at least one"));
            None
        }
        Tree::List(items) => list(items, param, problems),
        Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Float(_) | Tree::Text(_) => {
            one(node, param, problems).map(|value| vec![value])
        }
    }
}

/// Reads every item, so that all wrong ones are shown.
fn list(items: &[Node], param: Param, problems: &mut Problems) -> Option<Vec<Value>> {
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        values.extend(one(item, param, problems));
    }
    (values.len() == items.len()).then_some(values)
}

/// Warns of values that stand twice in a list: they give the same configs.
pub(crate) fn warn_repeated(node: &Node, values: &[Value], problems: &mut Problems) {
    let Tree::List(items) = &node.tree else { return };
    let mut seen = HashSet::new();
    for (item, value) in items.iter().zip(values) {
        if !seen.insert(value.to_string()) {
            let message = format!("{value} stands twice in this list; equal configs count once");
            problems.warn(Problem::new(item.at, message));
        }
    }
}

fn checked(at: Span, param: Param, numbers: &[f64], problems: &mut Problems) -> Option<Vec<Value>> {
    let mut values = Vec::with_capacity(numbers.len());
    for (index, number) in numbers.iter().enumerate() {
        match params::info(param).check(Scalar::Float(*number)) {
            Ok(value) => values.push(value),
            Err(rejection) => {
                let note = format!("it is value {} of {} generated", index + 1, numbers.len());
                problems.error(Problem::rejected(at, rejection).note(note));
                return None;
            }
        }
    }
    Some(values)
}

/// The numbers of a generator, rounded. The problem is boxed because it is large and rare.
fn generate(node: &Node, count_max: u64) -> Result<Vec<f64>, Box<Problem>> {
    let Tree::Map(entries) = &node.tree else { return Ok(Vec::new()) };
    let [entry] = entries.as_slice() else {
        let message = "a generator is a mapping with one key".to_string();
        return Err(Box::new(Problem::new(node.at, message).accepted(GENERATORS.join(", "))));
    };
    let shape = match entry.key.as_str() {
        "linspace" | "logspace" => "[low, high, count]",
        "range" => "[start, stop, step]",
        other => {
            let unknown = Problem::unknown(entry.at, "generator", other, GENERATORS.into_iter());
            return Err(Box::new(unknown));
        }
    };
    let wrong = |why: &str| {
        let message = format!("`{}` {why}", entry.key);
        Box::new(
            Problem::new(entry.value.at, message).accepted(format!("{{{}: {shape}}}", entry.key)),
        )
    };
    let numbers = three_numbers(&entry.value).ok_or_else(|| wrong("takes three finite numbers"))?;
    let [low, high, last] = numbers;
    if entry.key == "range" {
        return range(low, high, last, count_max).map_err(|why| wrong(&why));
    }
    let count = count_of(last, count_max).map_err(|why| wrong(&why))?;
    if entry.key == "linspace" {
        return Ok(linspace(low, high, count));
    }
    if low <= 0.0 || high <= 0.0 {
        return Err(wrong("takes ends above 0"));
    }
    let exponents = (0..count).map(|i| between(libm::log10(low), libm::log10(high), i, count));
    let mut numbers: Vec<f64> = exponents.map(|exponent| round(libm::exp10(exponent))).collect();
    numbers[0] = round(low);
    numbers[count - 1] = round(high);
    Ok(numbers)
}

fn three_numbers(node: &Node) -> Option<[f64; 3]> {
    let Tree::List(items) = &node.tree else { return None };
    let [a, b, c] = items.as_slice() else { return None };
    let mut numbers = [0.0; 3];
    for (number, item) in numbers.iter_mut().zip([a, b, c]) {
        *number = params::number(item.scalar()?)?;
        if !number.is_finite() {
            return None;
        }
    }
    Some(numbers)
}

fn count_of(count: f64, count_max: u64) -> Result<usize, String> {
    let whole = params::whole(Scalar::Float(count)).filter(|whole| *whole >= 2);
    let Some(whole) = whole else {
        return Err(format!("takes a count of at least 2, not {count}"));
    };
    if whole > i128::from(count_max) {
        return Err(format!("gives {whole} values, and a sweep has at most {count_max} trials"));
    }
    usize::try_from(whole).map_err(|_| format!("takes a count below {}", usize::MAX))
}

fn linspace(low: f64, high: f64, count: usize) -> Vec<f64> {
    (0..count).map(|i| round(between(low, high, i, count))).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn between(low: f64, high: f64, i: usize, count: usize) -> f64 {
    let share = i as f64 / (count - 1) as f64;
    if i == count - 1 { high } else { low + (high - low) * share }
}

fn range(start: f64, stop: f64, step: f64, count_max: u64) -> Result<Vec<f64>, String> {
    if step == 0.0 {
        return Err("takes a step other than 0".into());
    }
    let steps = ((stop - start) / step).ceil();
    if steps <= 0.0 {
        return Err(format!("has no values from {start} to {stop} in steps of {step}"));
    }
    #[expect(clippy::cast_precision_loss, reason = "only compared")]
    if steps - 1.0 > count_max as f64 {
        return Err(format!("gives {steps} values, and a sweep has at most {count_max} trials"));
    }
    let stop = round(stop);
    let mut numbers = Vec::new();
    let mut i = 0.0;
    while i < steps {
        let number = round(start + i * step);
        // Rounding may carry the last value onto the stop, which is excluded.
        let before_stop = if step > 0.0 { number < stop } else { number > stop };
        if !before_stop {
            break;
        }
        numbers.push(number);
        i += 1.0;
    }
    if numbers.is_empty() {
        return Err(format!("has no values: {start} and {stop} are equal to {DIGITS} digits"));
    }
    Ok(numbers)
}

/// Rounded to 12 significant digits.
fn round(number: f64) -> f64 {
    if !number.is_finite() {
        return number;
    }
    let text = format!("{number:.*e}", DIGITS - 1);
    text.parse().expect("a printed number reads back")
}
