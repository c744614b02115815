//! The dropout rates that probes show, for reading and as JSON.

use std::io::{self, Write};

use common::wire::{ProbeConfig, ProbePoint};
use serde_json::{Value, json};

use super::expect::{mean, settings, settings_json, summary_json};
use super::grid::{self, GridColumn};
use super::number::Unit;
use super::style::Style;

/// One row per config, then the curves that there are.
pub fn probe(configs: &[ProbeConfig], style: Style, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "dropout rate from which on val_error rises: mean ± standard deviation (trials)\n"
    )?;
    let columns = [
        GridColumn::new("config").key(),
        GridColumn::new("rate"),
        GridColumn::new("val_error there"),
        GridColumn::new("did not rise"),
    ];
    let mut rows = Vec::with_capacity(configs.len());
    for config in configs {
        rows.push(vec![
            grid::cell(&name(config)),
            mean(&config.rate.unwrap_or_default(), Unit::Gate),
            mean(&config.val_error.unwrap_or_default(), Unit::Percent),
            match config.level_rate {
                Some(rate) => format!("{} up to {}", config.level, Unit::Gate.value(rate)),
                None => "-".into(),
            },
        ]);
    }
    grid::write(&columns, &rows, style, out)?;
    for config in configs.iter().filter(|config| !config.curve.is_empty()) {
        writeln!(out, "\n{}", grid::cell(&name(config)))?;
        curve(&config.curve, style, out)?;
    }
    Ok(())
}

fn name(config: &ProbeConfig) -> String {
    if config.config.is_empty() { "the only one".into() } else { settings(&config.config) }
}

fn curve(points: &[ProbePoint], style: Style, out: &mut dyn Write) -> io::Result<()> {
    let columns = [
        GridColumn::new("epoch").right(),
        GridColumn::new("rate").right(),
        GridColumn::new("val_error %").right(),
        GridColumn::new("trials").right(),
    ];
    let mut rows = Vec::with_capacity(points.len());
    for point in points {
        rows.push(vec![
            point.epoch.to_string(),
            Unit::Gate.value(point.rate),
            Unit::Percent.value(point.val_error),
            point.n.to_string(),
        ]);
    }
    grid::write(&columns, &rows, style, out)
}

/// Every config: the fields of the wire, errors as fractions.
pub fn probe_json(configs: &[ProbeConfig]) -> Value {
    configs.iter().map(config_json).collect()
}

fn config_json(config: &ProbeConfig) -> Value {
    let point = |point: &ProbePoint| {
        json!({
            "epoch": point.epoch,
            "rate": point.rate,
            "val_error": point.val_error,
            "n": point.n,
        })
    };
    json!({
        "config": settings_json(&config.config),
        "rate": summary_json(&config.rate.unwrap_or_default()),
        "val_error": summary_json(&config.val_error.unwrap_or_default()),
        "did_not_rise": config.level,
        "did_not_rise_up_to": config.level_rate,
        "curve": config.curve.iter().map(point).collect::<Value>(),
    })
}
