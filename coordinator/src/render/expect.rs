//! What became of a sweep's claims, for reading and as JSON.

use std::io::{self, Write};

use common::wire::{Expectation, ExpectationSide, Setting, Summary, Verdict};
use serde_json::{Value, json};

use super::grid;
use super::number::Unit;
use super::style::Style;
use super::table::trials;
use super::view::{Facts, facts};

/// Every claim with its verdict and what it rests on.
pub fn expectations(
    sweep: &str,
    expectations: &[Expectation],
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    if expectations.is_empty() {
        return writeln!(out, "sweep {sweep} expects nothing; `expect` in its file states claims");
    }
    let verdicts = [Verdict::Supported, Verdict::Contradicted, Verdict::Undecided];
    let mut counts = Vec::new();
    for verdict in verdicts {
        let count = expectations.iter().filter(|it| it.verdict() == verdict).count();
        if count > 0 {
            counts.push(format!("{count} {}", word(verdict)));
        }
    }
    writeln!(out, "sweep {sweep}, claims: {}", counts.join(", "))?;
    for expectation in expectations {
        writeln!(out)?;
        let verdict = grid::emphasised(word(expectation.verdict()), style);
        writeln!(out, "{verdict}: {}", grid::cell(&expectation.claim))?;
        facts(&claim_facts(expectation), style, out)?;
    }
    Ok(())
}

/// What the verdict on a claim rests on.
pub fn claim_facts(expectation: &Expectation) -> Facts {
    let unit = Unit::of(&expectation.metric);
    let [first, second] = [&expectation.first, &expectation.second].map(Option::as_ref);
    vec![
        ("  where", settings(&expectation.common)),
        side(first, expectation, unit),
        side(second, expectation, unit),
        ("  difference", difference(expectation, unit)),
        ("  note", expectation.note.clone()),
    ]
}

/// How many claims are contradicted.
pub fn contradicted(expectations: &[Expectation]) -> u64 {
    let is_contradicted = |it: &&Expectation| it.verdict() == Verdict::Contradicted;
    expectations.iter().filter(is_contradicted).count() as u64
}

/// A verdict.
pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Supported => "supported",
        Verdict::Contradicted => "contradicted",
        Verdict::Undecided | Verdict::Unspecified => "undecided",
    }
}

/// `activation relu, init_gain 1`.
pub(super) fn settings(settings: &[Setting]) -> String {
    let mut words = Vec::with_capacity(settings.len());
    for Setting { param, values } in settings {
        words.push(format!("{param} {}", values.join(" or ")));
    }
    words.join(", ")
}

fn side(
    side: Option<&ExpectationSide>,
    expectation: &Expectation,
    unit: Unit,
) -> (&'static str, String) {
    let Some(side) = side else { return ("", String::new()) };
    let name = match side.name.as_str() {
        "less" => "  less",
        "than" => "  than",
        "similar" => "  similar",
        _ => "  to",
    };
    let mut text = settings(&side.stated);
    if !side.chosen.is_empty() {
        let (chosen, by) = (settings(&side.chosen), &expectation.best_by);
        text.push_str(&format!(" (best by {by}: {chosen})"));
    }
    let summary = side.summary.unwrap_or_default();
    text.push_str(&format!(": {} {}", expectation.metric, mean(&summary, unit)));
    (name, text)
}

/// `5.80 ± 0.21 % (3, 1 diverged)`.
pub(super) fn mean(summary: &Summary, unit: Unit) -> String {
    let decimals = unit.decimals(0.0);
    let value = |value| unit.with_decimals(value, decimals);
    let percent = if unit == Unit::Percent { " %" } else { "" };
    let mean = match (summary.n, summary.std) {
        (0, _) => "-".into(),
        (_, None) => format!("{}{percent}", value(summary.mean)),
        (_, Some(std)) => format!("{} ± {}{percent}", value(summary.mean), value(std)),
    };
    format!("{mean} ({})", trials(summary))
}

fn difference(expectation: &Expectation, unit: Unit) -> String {
    let (Some(mean), Some(low), Some(high)) =
        (expectation.difference, expectation.low, expectation.high)
    else {
        return String::new();
    };
    let value = |value| unit.with_decimals(value, unit.decimals(0.0));
    let points = if unit == Unit::Percent { " percentage points" } else { "" };
    let within = match expectation.within {
        None => String::new(),
        Some(within) => format!(", at most {} is similar", value(within)),
    };
    let confidence = super::number::shortest(1e-9 * (expectation.confidence * 1e11).round());
    format!(
        "{}{points}, {confidence} % interval {} to {}{within}",
        value(mean),
        value(low),
        value(high)
    )
}

/// Every claim: the fields of the wire, errors as fractions.
pub fn expectations_json(expectations: &[Expectation]) -> Value {
    expectations.iter().map(expectation_json).collect()
}

fn expectation_json(expectation: &Expectation) -> Value {
    let [first, second] = [&expectation.first, &expectation.second].map(Option::as_ref);
    let text = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
    json!({
        "claim": expectation.claim,
        "verdict": word(expectation.verdict()),
        "metric": expectation.metric,
        "where": settings_json(&expectation.common),
        "sides": [first.map(side_json), second.map(side_json)],
        "within": expectation.within,
        "best_by": text(&expectation.best_by),
        "confidence": expectation.confidence,
        "difference": expectation.difference,
        "low": expectation.low,
        "high": expectation.high,
        "t": expectation.t,
        "degrees_of_freedom": expectation.degrees_of_freedom,
        "note": text(&expectation.note),
    })
}

pub(super) fn settings_json(settings: &[Setting]) -> Value {
    let entry = |setting: &Setting| (setting.param.clone(), Value::from(setting.values.clone()));
    Value::Object(settings.iter().map(entry).collect())
}

fn side_json(side: &ExpectationSide) -> Value {
    let summary = side.summary.unwrap_or_default();
    json!({
        "side": side.name,
        "stated": settings_json(&side.stated),
        "chosen": settings_json(&side.chosen),
        "summary": summary_json(&summary),
    })
}

/// A mean over no trials is null.
pub(super) fn summary_json(summary: &Summary) -> Value {
    let known = |value: f64| (summary.n > 0).then_some(value);
    json!({
        "n": summary.n,
        "mean": known(summary.mean),
        "std": summary.std,
        "min": known(summary.min),
        "max": known(summary.max),
        "median": known(summary.median),
        "diverged": summary.diverged,
        "failed": summary.failed,
        "unfinished": summary.unfinished,
    })
}
